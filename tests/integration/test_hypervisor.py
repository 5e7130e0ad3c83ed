"""Hypervisors with machines that need no system for what is tried on them: networks, devices, snapshots, moves."""

from __future__ import annotations

import hashlib
import re
import subprocess
from typing import TYPE_CHECKING, Any

import libvirt
import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.connections.libvirt import Hypervisor, _program, uri_of
from nornir_stack.errors import ConnectionFailed, LibvirtFailed
from nornir_stack.select import role
from nornir_stack.tasks.hypervisor.default_network import default_network
from nornir_stack.tasks.hypervisor.devices import attach_disk, attach_nic, detach_disk, detach_nic
from nornir_stack.tasks.hypervisor.domain_xml import disks_of, macs_of
from nornir_stack.tasks.hypervisor.domains import delete, start, stop
from nornir_stack.tasks.hypervisor.infrastructure import images, infrastructure
from nornir_stack.tasks.hypervisor.machines import machines
from nornir_stack.tasks.hypervisor.movable import ASIDE
from nornir_stack.tasks.hypervisor.moving import move
from nornir_stack.tasks.hypervisor.names import mac_of
from nornir_stack.tasks.hypervisor.networks import networks
from nornir_stack.tasks.hypervisor.pools import pools
from nornir_stack.tasks.hypervisor.snapshots import revert, snapshot
from nornir_stack.tasks.hypervisor.teardown import teardown
from nornir_stack.tasks.hypervisor.xml import parsed
from tests.integration.hypervisors import Site, problem, sockets
from tests.integration.libvirtd import reason_against
from tests.unit.ssh_server import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(bool(reason_against()), reason=reason_against())


@pytest.fixture(scope="module")
def virt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Path]]]:
    """Two libvirtds, and an image without a system: its machines stop at the firmware, and cost nothing."""
    folder = tmp_path_factory.mktemp("virt")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(folder / "empty.qcow2"), "16M"], check=True)
    with sockets(folder, "hv1", "hv2") as found:
        yield folder, found


@pytest.fixture
def site(virt: tuple[Path, dict[str, Path]]) -> Iterator[Site]:
    """Two hypervisors whose control networks are one, and a machine on the first; everything is gone afterwards."""
    folder, found = virt
    image = folder / "empty.qcow2"
    images = {"empty": {"source": str(image), "sha256": hashlib.sha256(image.read_bytes()).hexdigest()}}
    declared: dict[str, dict[str, Any]] = {}
    for name in ("hv1", "hv2"):
        declared[name] = {
            "networks": {
                "control": {"bridge": "hvt-control", "address": "10.77.65.1", "dhcp": True},
                "external": {"bridge": "hvt-ext"},
            },
            "pools": {"default": {"path": str(folder / f"{name}-pool")}},
            "images": images,
            "accelerator": "emulated",
        }
    declared["hv2"]["networks"] = {each: {"mode": "bridged", "bridge": f"hvt-{each[:3]}"} for each in ("external",)}
    declared["hv2"]["networks"]["control"] = {"mode": "bridged", "bridge": "hvt-control"}
    machine = {
        "hypervisor": "hv1",
        "image": "empty",
        "cpus": 1,
        "memory": "64M",
        "disk": "32M",
        "authorized_keys": ["ssh-ed25519 AAAA"],
    }
    machine["networks"] = {"control": "10.77.65.21"}
    site = Site(folder, found, declared, {"vm1": {"machine": machine}})
    yield site
    for name in found:
        with site.libvirt(name) as link:
            emptied(link)


def emptied(link: libvirt.virConnect) -> None:
    """Takes everything out of a libvirt, past the library."""
    for each in (*link.listAllDomains(), *link.listAllNetworks()):
        if each.isActive():
            each.destroy()
    for domain in link.listAllDomains():  # one that was not persistent is gone by now
        domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    for network in link.listAllNetworks():
        network.undefine()
    for pool in link.listAllStoragePools():
        if pool.isActive():
            pool.refresh()
            for volume in pool.listAllVolumes():
                volume.delete()
            pool.destroy()
        pool.undefine()


def made(site: Site) -> None:
    """The site as declared, without waiting for machines that never answer."""

    report = site.run(Chain("made", Stage("made", [networks, pools, images, machines], role("hypervisor"))))
    assert not report.exit_code, problem(report)


def lively(site: Site, name: str = "vm1", on: str = "hv1") -> str:
    with site.libvirt(on) as link:
        return str(link.lookupByName(name).XMLDesc())


def test_looking_cannot_change(site: Site) -> None:
    """The daemon itself refuses a change on the connection by which the library looks."""
    hypervisor = Hypervisor(f"qemu:///system?socket={site.sockets['hv1']}")
    with pytest.raises(LibvirtFailed, match="read only"):
        hypervisor.look(lambda link: link.networkDefineXML("<network><name>x</name></network>"))
    hypervisor.close()


def test_a_second_run_changes_nothing(site: Site) -> None:
    """Not a letter of libvirt's XML; a dry run before it promises as much, and changes nothing either."""

    dry = site.run(Chain("dry", Stage("dry", [networks, pools], role("hypervisor"))), dry_run=True)
    assert dry.changed
    assert "<name>" not in site.told("hv1")
    made(site)
    before = [site.told(name) for name in site.sockets]
    report = site.run(Chain("again", Stage("again", [networks, pools, machines], role("hypervisor"))))
    assert (report.changed, [site.told(name) for name in site.sockets]) == ((), before)


def test_a_host_key_is_known_before_the_first_login(site: Site) -> None:
    """It was made here, injected, and stands in known_hosts; the private half is in no description."""
    made(site)
    known = (site.folder / "known_hosts").read_text()
    assert re.search(r"^10\.77\.65\.21 ssh-ed25519 \S+$", known, re.MULTILINE)
    assert known.split()[-1] in lively(site)
    assert "PRIVATE" not in site.told("hv1")


def test_reservations_change_under_a_running_machine(site: Site) -> None:
    """The network is not restarted; dnsmasq gives the new address."""
    made(site)
    with site.libvirt("hv1") as link:
        before = link.networkLookupByName("control").XMLDesc()
    site.machines["vm2"] = {"machine": {**site.machines["vm1"]["machine"], "networks": {"control": "10.77.65.22"}}}
    report = site.task("hv1", networks)
    assert report.changed, problem(report)
    with site.libvirt("hv1") as link:
        after = link.networkLookupByName("control").XMLDesc()
    assert ("10.77.65.22" in before, "10.77.65.22" in after) == (False, True)
    assert not site.task("hv1", networks).changed


def test_the_default_network_is_there_for_who_wants_to_delete_it(site: Site) -> None:
    """A dry run makes none; then it runs, a second run changes nothing; one that was stopped is started, not defined anew."""
    words = {"cidr": "10.77.68.0/24", "bridge": "hvt-default"}
    assert site.run(Chain("dry", Stage("dry", [do(default_network, **words)], role("hypervisor"))), dry_run=True).changed
    assert site.told("hv1") == ""
    report = site.task("hv1", default_network, **words)
    assert report.value(default_network, "hv1") == "hvt-default", problem(report)
    before = site.told("hv1")
    assert not site.task("hv1", default_network, **words).changed
    with site.libvirt("hv1") as link:
        network = link.networkLookupByName("default")
        assert (network.isActive(), network.autostart()) == (1, 0)
        network.destroy()  # by hand, as an installer does it first
    assert len(site.task("hv1", default_network).changed) == 1
    assert site.told("hv1") == before
    site.hypervisors["hv1"]["networks"]["default"] = {"bridge": "hvt-default"}
    assert "the inventory declares a network 'default'" in problem(site.task("hv1", default_network))


def test_a_network_with_machines_is_restarted_only_when_named(site: Site) -> None:
    """Else it is refused, and says who is on it; when named, the machine's card is on the new bridge."""
    made(site)
    site.hypervisors["hv1"]["networks"]["control"]["mode"] = "routed"
    refused = site.task("hv1", networks)
    assert re.search(r"machines run on it \(vm1\).*restart='control'", problem(refused))
    report = site.task("hv1", networks, restart=["control"])
    assert report.changed, problem(report)
    target = parsed(lively(site)).find("devices/interface/target")
    assert target is not None
    shown = subprocess.run(
        ["ip", "-o", "link", "show", "dev", target.attrib["dev"]], check=True, capture_output=True, text=True
    )
    assert "master hvt-control" in shown.stdout


def test_a_card_that_was_left_without_a_bridge_is_plugged_in_again(site: Site) -> None:
    """By a network that was stopped and started by hand, or by a run that was cut between the two."""
    made(site)
    with site.libvirt("hv1") as link:
        link.networkLookupByName("control").destroy()
    assert site.task("hv1", networks).changed
    target = parsed(lively(site)).find("devices/interface/target")
    assert target is not None
    shown = subprocess.run(["ip", "-o", "link", "show", "dev", target.attrib["dev"]], check=True, capture_output=True)
    assert b"master hvt-control" in shown.stdout
    with site.libvirt("hv1") as link:
        network = link.networkLookupByName("control")
        network.destroy()
        network.create()
    assert len(site.task("hv1", networks).changed) == 1
    assert not site.task("hv1", networks).changed


def test_a_disk_grows_while_it_runs(site: Site) -> None:
    """In QEMU and in its file; less is refused."""
    made(site)
    site.machines["vm1"]["machine"]["disk"] = "48M"
    report = site.task("hv1", machines)
    assert report.changed, problem(report)
    with site.libvirt("hv1") as link:
        assert link.lookupByName("vm1").blockInfo("vda")[0] == 48 << 20
    assert not site.task("hv1", machines).changed
    site.machines["vm1"]["machine"]["disk"] = "32M"
    assert "a disk is never made smaller" in problem(site.task("hv1", machines))


def test_cards_and_disks_come_and_go_while_it_runs(site: Site) -> None:
    """In the running machine and in its definition; its last card stays, a disk goes only when confirmed."""
    made(site)
    for function, arguments in ((attach_nic, {"network": "external"}), (attach_disk, {"disk": "data", "size": "8M"})):
        report = site.task("hv1", function, machine="vm1", **arguments)
        assert report.changed, problem(report)
        assert not report.exit_code, problem(report)
        assert not site.task("hv1", function, machine="vm1", **arguments).changed
    with site.libvirt("hv1") as link:
        config = link.lookupByName("vm1").XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    for xml in (config, lively(site)):
        assert mac_of("vm1", "external") in macs_of(xml)
        assert "data" in disks_of(xml)
    assert "has one card only" not in problem(site.task("hv1", detach_nic, machine="vm1", network="external"))
    assert "confirm='data'" in problem(site.task("hv1", detach_disk, machine="vm1", disk="data"))


def test_a_machine_that_does_not_shut_down_still_runs(site: Site) -> None:
    """After its time it is refused by its name; by force it is switched off, and can be started again."""
    made(site)
    refused = site.task("hv1", stop, machine="vm1", within=1.0)
    assert "vm1 was asked to shut down and still runs after 1 s" in problem(refused)
    assert not problem(site.task("hv1", stop, machine="vm1", within=0.5, force=True))
    with site.libvirt("hv1") as link:
        assert not link.lookupByName("vm1").isActive()
    assert not problem(site.task("hv1", start, machine="vm1"))
    with site.libvirt("hv1") as link:
        assert link.lookupByName("vm1").isActive()


def test_a_snapshot_is_gone_back_to_when_confirmed(site: Site) -> None:
    """A second one of the same name changes nothing."""
    made(site)
    assert not problem(site.task("hv1", snapshot, machine="vm1", snapshot="before"))
    assert not site.task("hv1", snapshot, machine="vm1", snapshot="before").changed
    assert "confirm='before'" in problem(site.task("hv1", revert, machine="vm1", snapshot="before"))
    assert not problem(site.task("hv1", revert, machine="vm1", snapshot="before", confirm="before"))


def test_machines_of_nova_are_never_touched(site: Site) -> None:
    """Whatever is asked, it is refused, and the machine runs on."""
    made(site)
    name = "instance-0000001a"
    with site.libvirt("hv1") as link:
        text = re.sub(r"<interface.*</interface>|<disk.*</disk>", "", lively(site), flags=re.DOTALL)
        link.createXML(re.sub(r"<uuid>.*?</uuid>", "", text.replace("<name>vm1</name>", f"<name>{name}</name>")))
    for function, more in (
        (stop, {"force": True}),
        (delete, {}),
        (snapshot, {"snapshot": "x"}),
        (attach_nic, {"network": "external"}),
    ):
        assert "machine of Nova" in problem(site.task("hv1", function, machine=name, **more)), function
    with site.libvirt("hv1") as link:
        assert link.lookupByName(name).isActive()


def test_what_does_not_fit_is_not_begun(site: Site) -> None:
    """Memory is not promised twice: no disk was made, no machine defined."""
    site.machines["vm1"]["machine"]["memory"] = "4T"
    site.task("hv1", networks)
    site.task("hv1", pools)
    assert "memory is not promised twice" in problem(site.task("hv1", machines))
    assert "<domain" not in site.told("hv1")


def test_a_machine_moves_and_the_old_one_is_kept_until_confirmed(site: Site) -> None:
    """Its files arrive with the same sums, its card with the same address; nobody makes a second one of it meanwhile."""
    made(site)
    site.task("hv1", stop, machine="vm1", within=0.0, force=True)
    site.machines["vm1"]["machine"]["hypervisor"] = "hv2"
    assert "vm1 is on hv1, and the inventory says hv2" in problem(site.run(infrastructure(within=0.0)))
    moved = site.run(move(machine="vm1", within=0.0))
    assert "vm1 does not answer by ssh yet" in problem(moved)  # there is no system in it
    with site.libvirt("hv1") as old, site.libvirt("hv2") as new:
        there, kept = new.lookupByName("vm1"), old.lookupByName("vm1")
        assert (there.isActive(), kept.isActive(), kept.autostart()) == (1, 0, 0)
        assert macs_of(there.XMLDesc()) == macs_of(kept.XMLDesc())
    again = site.run(move(machine="vm1"))
    assert (again.changed, again.exit_code) == ((), 0), problem(again)
    assert "names something else" in problem(site.run(move(machine="vm1", confirm="vm2")))
    assert "does not answer by ssh" in problem(site.run(move(machine="vm1", within=0.0, confirm="vm1")))
    assert "confirm='vm1+vm1-root.qcow2+vm1-seed.raw'" in problem(site.task("hv1", delete, machine="vm1"))
    assert not problem(site.task("hv1", delete, machine="vm1", confirm="vm1+vm1-root.qcow2+vm1-seed.raw"))
    with site.libvirt("hv1") as old:
        assert [each.name() for each in old.listAllDomains()] == []


def test_a_machine_that_cannot_be_moved_runs_on(site: Site) -> None:
    """What would stay behind, and what is in its way, is told while it runs: it is not stopped for nothing."""
    made(site)
    site.machines["vm1"]["machine"]["hypervisor"] = "hv2"
    place = site.folder / "hv2-pool" / "vm1-root.qcow2"
    place.write_bytes(b"somebody's")
    assert f"{place} is there already" in problem(site.run(move(machine="vm1", within=0.0)))
    place.unlink()
    assert not problem(site.task("hv1", snapshot, machine="vm1", snapshot="before"))
    assert "snapshot before would stay behind" in problem(site.run(move(machine="vm1", within=0.0)))
    with site.libvirt("hv1") as link:
        vm1 = link.lookupByName("vm1")
        assert (vm1.isActive(), vm1.autostart()) == (1, 1)
    assert "<name>vm1</name>" not in site.told("hv2")


def test_a_move_that_was_cut_goes_on_and_an_older_machine_is_no_new_one(site: Site) -> None:
    """Half a copy is copied again; a definition without its disks gets them; what a move left behind is never started."""
    made(site)
    site.task("hv1", stop, machine="vm1", within=0.0, force=True)
    site.machines["vm1"]["machine"]["hypervisor"] = "hv2"
    disk = site.folder / "hv2-pool" / "vm1-root.qcow2"
    aside = disk.with_name(f"{disk.name}{ASIDE}")
    aside.write_bytes(b"half")
    assert "vm1 does not answer by ssh yet" in problem(site.run(move(machine="vm1", within=0.0)))
    assert (disk.exists(), aside.exists()) == (True, False)
    site.task("hv2", stop, machine="vm1", within=0.0, force=True)
    disk.rename(aside)  # as if it had been cut before
    assert "vm1 does not answer by ssh yet" in problem(site.run(move(machine="vm1", within=0.0)))
    assert (disk.exists(), aside.exists()) == (True, False)
    assert "belongs to hv2" in problem(site.task("hv1", start, machine="vm1"))
    # the way back meets the one that was left
    site.machines["vm1"]["machine"]["hypervisor"] = "hv1"
    assert "hv1 has one of that name that is shut off, and is older" in problem(site.run(move(machine="vm1", within=0.0)))
    site.task("hv2", stop, machine="vm1", within=0.0, force=True)
    assert "runs on none" in problem(site.run(infrastructure(within=0.0)))
    assert "is not made of what hv2 has" in problem(site.run(move(machine="vm1", within=0.0)))
    with site.libvirt("hv1") as link:
        assert not link.lookupByName("vm1").isActive()


def test_a_machine_moves_as_it_runs_where_storage_is_shared(site: Site) -> None:
    """libvirt migrates it: it runs there with the same cards, and is nowhere else; a disk that is a copy is refused."""
    shared = {"default": {"path": str(site.folder / "shared-pool")}}
    for name in site.sockets:
        site.hypervisors[name]["pools"] = shared
    made(site)
    cards = macs_of(lively(site))
    site.machines["vm1"]["machine"]["hypervisor"] = "hv2"
    dry = site.run(move(machine="vm1", live=True, within=0.0), dry_run=True)
    assert [effect for effect in dry.changed if "migrate vm1 from hv1" in effect], problem(dry)
    report = site.run(move(machine="vm1", live=True, within=0.0))
    assert "vm1 does not answer by ssh yet" in problem(report)  # there is no system in it
    with site.libvirt("hv1") as old, site.libvirt("hv2") as new:
        assert [each.name() for each in old.listAllDomains()] == []
        there = new.lookupByName("vm1")
        told = there.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
        assert told["operation"] == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN
        assert (there.isActive(), there.isPersistent(), there.autostart()) == (1, 1, 1)
        assert macs_of(there.XMLDesc()) == cards
    assert not site.run(move(machine="vm1", live=True, within=0.0)).changed
    # the way back, onto a disk that only looks like it
    site.machines["vm1"]["machine"]["hypervisor"] = "hv1"
    disk = site.folder / "shared-pool" / "vm1-root.qcow2"
    aside = disk.with_suffix(".aside")
    disk.rename(aside)
    disk.write_bytes(aside.read_bytes())
    refused = problem(site.run(move(machine="vm1", live=True, within=0.0)))
    assert f"{disk} is" in refused
    aside.replace(disk)
    assert "<name>vm1</name>" not in site.told("hv1")
    assert "vm1 does not answer by ssh yet" in problem(site.run(move(machine="vm1", live=True, within=0.0)))
    assert "<name>vm1</name>" in site.told("hv1")


def test_a_teardown_leaves_nothing_and_says_so_first(site: Site) -> None:
    """Only with the names of what goes; then no machine, network, pool or bridge is left."""
    made(site)
    assert "confirm='vm1'" in problem(site.run(teardown()))
    report = site.run(teardown(confirm="vm1"))
    assert not report.exit_code, problem(report)
    assert (site.told("hv1"), site.told("hv2")) == ("", "")
    assert subprocess.run(["ip", "link", "show", "hvt-control"], check=False, capture_output=True).returncode
    assert not site.run(teardown()).changed


def test_a_hypervisor_is_reached_by_ssh(site: Site, tmp_path: Path) -> None:
    """By qemu+ssh, its host key checked: one that is not known is refused."""
    with serving(tmp_path) as server:
        (server.folder / "client_key").chmod(0o600)  # ssh takes no other
        extras = {"client_keys": [server.client_key]}
        login = {"hostname": "127.0.0.1", "port": server.port, "username": "root", "extras": extras}

        def opened(known_hosts: str) -> Hypervisor:
            uri = uri_of(login, local=False, program=_program(known_hosts))
            return Hypervisor(f"{uri}&socket={site.sockets['hv1']}")

        hypervisor = opened(server.known_hosts)
        for _ in range(50):  # long answers, one after the other
            assert hypervisor.look(lambda link: link.getCapabilities())
        hypervisor.close()
        with pytest.raises(ConnectionFailed, match="Host key verification failed"):
            opened(str(tmp_path / "knows_nobody"))
