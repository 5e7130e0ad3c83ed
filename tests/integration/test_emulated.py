"""Two emulated machines with Debian's kernel, for what the kernel below lacks: VLANs and bonds, lines that are slow (netem),
AppArmor at work, disks by iSCSI, cards plugged in, cgroups v2 alone. The tests build on each other, in this order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import libvirt
import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import command, sh
from nornir_stack.confirmed import Network, confirmed
from nornir_stack.lab.identity import key_pair
from nornir_stack.lab.machine import wait_for
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.tasks.hypervisor.infrastructure import infrastructure
from nornir_stack.tasks.hypervisor.names import mac_of
from nornir_stack.tasks.networking.deploy import deploy
from nornir_stack.tasks.networking.links import links
from nornir_stack.tasks.openstack.initiator import initiator
from nornir_stack.tasks.system.clock import clock
from nornir_stack.tasks.system.disk import data_disk
from nornir_stack.tasks.system.facts import facts
from nornir_stack.tasks.system.mounts import requires_mount
from nornir_stack.tasks.system.services import restart, service
from nornir_stack.tasks.system.swap import swap_file
from tests.integration.hypervisors import Site, problem, sockets
from tests.integration.libvirtd import reason_against
from tests.integration.test_infrastructure import IMAGES, WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir.core import Nornir
    from nornir.core.task import Task

    from nornir_stack.results import Report, Result

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(bool(reason_against()), reason=reason_against()),
    pytest.mark.skipif(
        "not config.getoption('--campaign', default=False)", reason="two emulated machines: only with --campaign"
    ),
]
NODES = {"node1": "10.77.70.11", "node2": "10.77.70.12"}
DATA = {"node1": "172.16.1.1/24", "node2": "172.16.1.2/24"}
PLAN = {"control": {"cidr": "10.77.70.0/24"}, "data": {"cidr": "172.16.1.0/24"}}
PACKAGES = ["apparmor", "chrony", "fdisk", "ifupdown", "open-iscsi", "tgt"]
CONFIRM = 300.0  # seconds; an emulated machine takes its time to let somebody in
UNDO = 30.0  # of what is to be undone
TARGET = "iqn.2026-01.net.example:data"
DISK = f"/dev/disk/by-path/ip-172.16.1.1:3260-iscsi-{TARGET}-lun-1"
# What a second run, and a change that was undone, must leave as it is; a device that was made anew has another index.
STATE = r"""
ip -o -4 address | cut -d: -f2-; ip -4 route show table all; tc qdisc show dev eth0
for d in /sys/class/net/*; do
    echo "$d $(cat "$d/address") $(readlink "$d/master") $(cat "$d/bonding/mode" 2>/dev/null)"
done
cat /proc/net/vlan/config 2>/dev/null
cat /etc/systemd/network/* /etc/network/interfaces /etc/network/interfaces.d/* 2>/dev/null
cat /etc/nornir-stack/* /etc/fstab /etc/hosts 2>/dev/null
systemctl show -p ActiveEnterTimestampMonotonic systemd-networkd networking
"""


@dataclass
class Pair(Site):
    """The machines are asked by connections that stay open: a login takes an emulated one seconds."""

    alone: Nornir | None = None

    def on_machines(self, chain: Chain, **more: Any) -> Report:
        """On the machines alone: the hypervisor is this machine, whose network is not theirs."""
        if self.alone is None:
            self.alone = Site(self.folder, self.sockets, {}, self.machines, self.key, self.cidrs).open()
        return chain.run(self.alone, **more)

    def let_go(self) -> None:
        """They are logged in to anew at the next run."""
        if self.alone is not None:
            self.alone.close_connections()
        self.alone = None


def declared(folder: Path, found: dict[str, Path]) -> Pair:
    """One hypervisor; on it two machines of 384 MiB with a card for control and one for data."""
    hypervisor = {
        # two cards of a machine on one segment, as on two switches that are joined
        "networks": {
            "control": {"bridge": "hve-control", "address": "10.77.70.1", "dhcp": True},
            "left": {"bridge": "hve-data"},
            "right": {"mode": "bridged", "bridge": "hve-data"},
        },
        "pools": {"default": {"path": str(folder / "pool")}, "images": {"path": str(IMAGES)}},
        "images": {"debian": {"packages": PACKAGES}},
        "image_pool": "images",
        "accelerator": "emulated",
    }
    common = {"hypervisor": "hv1", "cpus": 1, "memory": "384M", "disk": "3G", "console": "none"}
    common["authorized_keys"] = [key_pair(folder / "id").strip()]
    machines = {
        name: {"machine": {**common, "networks": {"control": address, "left": None}}} for name, address in NODES.items()
    }
    return Pair(folder, found, {"hv1": hypervisor}, machines, key=str(folder / "id"), cidrs=PLAN)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("emulated")
    with sockets(folder / "libvirt", "hv1") as found:
        site = declared(folder, found)
        report = site.run(infrastructure(within=WITHIN))
        assert not report.exit_code, problem(report)
        yield site
        site.let_go()


def one(site: Pair, name: str, function: Callable[..., Any], /, **arguments: Any) -> Report:
    return site.on_machines(Chain("one", Stage("one", [do(function, **arguments)], hosts(name))))


def good(report: Report) -> Report:
    assert not report.exit_code, problem(report)
    return report


def twice(site: Pair, name: str, function: Callable[..., Any], /, **arguments: Any) -> None:
    """A run that changes something, then one that changes nothing."""
    assert good(one(site, name, function, **arguments)).changed
    assert not good(one(site, name, function, **arguments)).changed


def said(task: Task, *, script: str) -> Result[str]:
    node = Node(task)
    return node.done(node.read(sh(script, label="a script of the test"), timeout=300).text)


def inside(site: Pair, name: str, script: str) -> str:
    """What a script says in a machine; it must end well."""
    return str(good(one(site, name, said, script=script)).value(said, name))


def state(site: Pair) -> list[str]:
    return [inside(site, name, STATE) for name in NODES]


def bring(site: Pair, chain: Chain) -> None:
    """A dry run touches nothing; a run changes something; another changes nothing, and leaves all as it is."""
    before = state(site)
    assert site.on_machines(chain, dry_run=True).exit_code == 3
    assert state(site) == before
    assert good(site.on_machines(chain)).changed
    before = state(site)
    assert not good(site.on_machines(chain)).changed
    assert state(site) == before


def linked(*names: str, within: float = CONFIRM) -> Chain:
    return Chain("trial", Stage("links", [do(links, within=within)], hosts(*names)))


def layout(name: str, number: int, mode: str | None = None, **more: Any) -> dict[str, Any]:
    """A VLAN for data over a bond of both cards. ifupdown is there too, so who has the links is said."""
    bond = {"kind": "bond", "ports": ["eth1", "eth2"], **({"mode": mode} if mode else {})}
    return {
        "manager": "networkd",
        "links": {"bond0": bond, "data": {"kind": "vlan", "over": "bond0", "vlan": number, "addresses": [DATA[name]]}, **more},
    }


def answered(site: Pair, count: int = 3) -> bool:
    """Whether the second machine answers the first over the VLAN, every time."""
    return f" {count} received" in inside(site, "node1", f"ping -c {count} -i 0.3 -W 5 172.16.1.2; :")


def boots(site: Pair) -> list[str]:
    return [inside(site, name, "cat /proc/sys/kernel/random/boot_id") for name in NODES]


def test_a_card_is_plugged_in_while_it_runs(site: Pair) -> None:
    """It is seen and written down by its address; no machine is restarted; a second run changes nothing."""
    before = boots(site)
    for name in NODES:
        site.machines[name]["machine"]["networks"]["right"] = None
    report = good(site.run(infrastructure(within=WITHIN)))
    assert all(any(f"{name}: plug in a card on right" in line for line in report.changed) for name in NODES)
    assert not good(site.run(infrastructure(within=WITHIN))).changed
    assert boots(site) == before
    for name in NODES:
        mac = mac_of(name, "right")
        assert inside(site, name, "cat /sys/class/net/eth2/address") == mac
        assert f"MACAddress={mac}" in inside(site, name, "cat /etc/systemd/network/20-right.network")


# networkd has seen it when it says whether it looks after it
BY_HAND = """
set -e
ip link add link eth0 name byhand type vlan id 9
ip link set dev byhand up
until networkctl --no-legend list byhand | grep -Eq 'unmanaged|configured'; do sleep 0.2; done
networkctl --no-legend list byhand
ip -o -4 address show dev byhand
ip link delete dev byhand
"""


def test_a_vlan_over_a_card_does_not_get_its_address(site: Pair) -> None:
    """It has the card's hardware address, by which the card's own file finds the card."""
    said = inside(site, "node1", BY_HAND)
    assert ("unmanaged" in said, "inet" in said) == (True, False)


def test_facts_of_a_machine_with_cgroups_v2_alone(site: Pair) -> None:
    """Its memory is what the kernel has: the root of cgroups v2 has no limit to read."""
    report = good(one(site, "node1", facts))
    seen = report.value(facts, "node1")
    assert inside(site, "node1", "stat -f -c %T /sys/fs/cgroup; ls /sys/fs/cgroup/memory.max 2>/dev/null; :") == "cgroup2fs"
    assert seen.memory == int(inside(site, "node1", "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")) * 1024
    assert (seen.virtualization, seen.init, seen.selinux) == ("qemu", "systemd", "absent")


def test_a_vlan_over_a_bond(site: Pair) -> None:
    """Machines of different VLANs do not hear each other; where one is given the other's number, they do."""
    site.machines["node1"]["network"] = layout("node1", 172)
    site.machines["node2"]["network"] = layout("node2", 173)
    bring(site, deploy())
    assert not answered(site, 1)
    site.machines["node2"]["network"] = layout("node2", 172)
    bring(site, linked("node2"))
    assert "vlan protocol 802.1Q id 172" in inside(site, "node2", "ip -d link show dev data")
    assert answered(site)


WRONG = {"eth0": {"addresses": ["192.0.2.7/24"]}}


def cable(site: Pair, name: str, network: str, plugged: str) -> None:
    """Plug the cable of a card in (`up`), or pull it out (`down`)."""
    with site.libvirt("hv1") as link:
        domain = link.lookupByName(name)
        mac = mac_of(name, network)
        cards = ET.fromstring(domain.XMLDesc()).iterfind("devices/interface")  # noqa: S314  libvirt's own
        card = next(each for each in cards if each.find(f"mac[@address='{mac}']") is not None)
        state = card.find("link")
        (ET.SubElement(card, "link") if state is None else state).set("state", plugged)
        domain.updateDeviceFlags(ET.tostring(card, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def forwards() -> bool:
    """Whether the switch takes from all its ports: a cable that was plugged in has it listen for a while (spanning tree)."""
    return {path.read_text() for path in Path("/sys/class/net/hve-data/brif").glob("*/state")} == {"3\n"}


def active(site: Pair, name: str, card: str) -> bool:
    return inside(site, name, "cat /sys/class/net/bond0/bonding/active_slave") == card


def test_a_bond_outlives_the_loss_of_a_link(site: Pair) -> None:
    """The cable of the one, then of the other: packets go on. A port that was set down by hand is up again after a run."""
    for network, left in (("left", "eth2"), ("right", "eth1")):
        cable(site, "node1", network, "down")
        wait_for(lambda left=left: active(site, "node1", left), 60, f"{left} to take over")  # type: ignore[misc]
        assert answered(site)
        cable(site, "node1", network, "up")
        wait_for(lambda: inside(site, "node1", "cat /sys/class/net/*/bonding_slave/mii_status") == "up\nup", 60, "both ports")
        wait_for(forwards, 60, "the switch")
    inside(site, "node1", "ip link set dev eth1 down")
    wait_for(lambda: active(site, "node1", "eth2"), 60, "eth2 to take over")
    assert answered(site)
    report = site.on_machines(linked("node1"), dry_run=True)
    assert report.exit_code == 3
    bring(site, linked("node1"))
    assert "UP" in inside(site, "node1", "ip -o link show dev eth1 | grep -o '<.*>'")


def test_what_locks_out_brings_bond_and_vlan_back(site: Pair) -> None:
    """A wrong address at the card of the way in, with another VLAN and another mode of the bond: all is as it was."""
    before = state(site)
    site.machines["node2"]["network"] = layout("node2", 174, "balance-rr", **WRONG)
    report = site.on_machines(linked("node2", within=UNDO))
    assert "has its former network again" in problem(report)
    assert state(site) == before
    site.machines["node2"]["network"] = layout("node2", 172)
    assert answered(site)


def test_a_bond_of_another_mode(site: Pair) -> None:
    """LACP where nobody answers it is a bond of one link; the VLAN over it stays, with its address."""
    for name in NODES:
        site.machines[name]["network"] = layout(name, 172, "802.3ad")
    bring(site, linked(*NODES))
    for name in NODES:
        assert inside(site, name, "cat /sys/class/net/bond0/bonding/mode") == "802.3ad 4"
    assert answered(site)


def delay(task: Task, *, words: str) -> Result[None]:
    """A line of the machine for control that is slow, or good again."""
    node = Node(task)
    node.change("tc", "qdisc", *words.split(), cannot_cut=True)
    return node.done()


def cut(task: Task, *, former: str, within: float) -> Result[None]:
    """A change after which nothing comes through."""
    node = Node(task)
    gone = command("tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "loss", "100%")
    confirmed(node, [gone], undo=Network(restore=[command("tc", "qdisc", *former.split())]), within=within)
    return node.done()


def test_a_slow_and_lossy_line(site: Pair) -> None:
    """A change is confirmed over a delay of 300 ms with 5 % loss; one that cuts the line is undone, and told."""
    slow = "replace dev eth0 root netem delay 300ms 20ms loss 5%"
    good(one(site, "node1", delay, words=slow))
    wider = {"addresses": [DATA["node1"], "172.16.1.3/24"]}
    site.machines["node1"]["network"]["links"]["data"] |= wider
    began = time.monotonic()
    good(site.on_machines(linked("node1")))
    assert time.monotonic() - began < CONFIRM + UNDO
    assert not good(site.on_machines(linked("node1"))).changed
    before = state(site)
    report = one(site, "node1", cut, former=slow, within=UNDO)
    assert "has its former network again" in problem(report)
    assert state(site) == before
    good(one(site, "node1", delay, words="delete dev eth0 root"))
    assert " 1 received" in inside(site, "node2", "ping -c 1 -W 5 172.16.1.3")


def configured(task: Task, *, path: str, extra: str) -> Result[None]:
    """chrony reads its configuration from another file, and AppArmor is told `extra` by the file that is made for it."""
    node = Node(task)
    node.make_folder(path.rpartition("/")[0])
    node.write_file(path, "pool 192.0.2.1\ndriftfile /var/lib/chrony/chrony.drift\n")
    if node.write_file("/etc/default/chrony", f'DAEMON_OPTS="-F 1 -f {path}"\n'):
        node.change("systemctl", "daemon-reload")
    if node.write_file("/etc/apparmor.d/local/usr.sbin.chronyd", extra):
        node.change("apparmor_parser", "-r", "/etc/apparmor.d/usr.sbin.chronyd", timeout=300)
    return node.done()


def test_apparmor_at_work(site: Pair) -> None:
    """Tasks go on under it; a service that it keeps from a moved file is told by its own words, and starts when allowed."""
    assert inside(site, "node1", "cat /sys/module/apparmor/parameters/enabled") == "Y"
    confined = "cat /proc/$(systemctl show -p MainPID --value chrony)/attr/apparmor/current"
    assert inside(site, "node1", confined) == "/usr/sbin/chronyd (enforce)"
    seen = good(one(site, "node1", clock)).value(clock, "node1")
    assert (seen.service, seen.synchronised) == ("chrony", False)
    twice(site, "node1", swap_file, size="64M")

    path = "/srv/chrony/chrony.conf"
    twice(site, "node1", configured, path=path, extra="")
    report = one(site, "node1", restart, unit="chrony")
    assert f"Could not open {path} : Permission denied" in problem(report)
    twice(site, "node1", configured, path=path, extra="/srv/chrony/** r,\n")
    twice(site, "node1", service, unit="chrony", state="started")
    assert inside(site, "node1", confined) == "/usr/sbin/chronyd (enforce)"


SHARE = f"""
set -e
truncate -s 256M /srv/data.img
cat >/etc/tgt/conf.d/data.conf <<END
<target {TARGET}>
    backing-store /srv/data.img
</target>
END
tgt-admin --update ALL
systemctl enable tgt
"""
LOGIN = f"""
set -e
iscsiadm -m discovery -t sendtargets -p 172.16.1.1
iscsiadm -m node -T {TARGET} --login
udevadm settle
"""
KEPT = f"iscsiadm -m node -T {TARGET} -o update -n node.startup -v automatic"
# It writes when it ends, as a database does.
SERVER = """
set -e
cat >/etc/systemd/system/server.service <<'END'
[Service]
ExecStart=/bin/sh -c 'trap "cp /proc/sys/kernel/random/boot_id /srv/data/ended; exit" TERM; while :; do sleep 1 & wait; done'
[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --now server
"""


def test_a_data_disk_by_iscsi(site: Pair) -> None:
    """Refused where no boot logs in to its target; else it is one over the network in fstab, and a server can wait for it."""
    inside(site, "node1", SHARE)
    twice(site, "node2", initiator)
    inside(site, "node2", LOGIN)
    words = {"device": DISK, "mount": "/srv/data", "label": "data"}
    assert KEPT in problem(one(site, "node2", data_disk, **words))
    inside(site, "node2", KEPT)
    twice(site, "node2", data_disk, **words)
    assert "/srv/data ext4 defaults,nofail,_netdev 0 2" in inside(site, "node2", "cat /etc/fstab")
    twice(site, "node2", requires_mount, unit="server", path="/srv/data")
    inside(site, "node2", SERVER)


REBOOT = "systemd-run --quiet --on-active=1 systemctl reboot"  # after the answer


def test_after_a_boot(site: Pair) -> None:
    """All is as declared, by the machines' own files; the server ended before its disk was unmounted, and that before the net.

    A disk outlives the boot of the machine that gives it, too.
    """
    before = boots(site)
    inside(site, "node2", REBOOT)
    wait_for(lambda: booted(site, "node2", before[1]), 600, "node2")
    assert inside(site, "node2", "cat /srv/data/ended") == before[1]
    assert inside(site, "node2", "systemctl is-active server") == "active"
    mounted = inside(site, "node2", "dmesg | grep 'EXT4-fs (sd'")
    assert ("mounted filesystem" in mounted, "recover" in mounted) == (True, False)
    inside(site, "node1", REBOOT)
    wait_for(lambda: booted(site, "node1", before[0]), 600, "node1")
    for name in NODES:
        assert not good(site.on_machines(linked(name))).changed
        assert inside(site, name, "cat /sys/class/net/bond0/bonding/mode") == "802.3ad 4"
    assert answered(site)
    assert not good(one(site, "node2", data_disk, device=DISK, mount="/srv/data", label="data")).changed


def booted(site: Pair, name: str, before: str) -> bool:
    """Whether it has been started anew, and is up whole."""
    site.let_go()
    report = one(site, name, said, script="cat /proc/sys/kernel/random/boot_id; systemctl is-system-running --wait || :")
    return report.exit_code == 0 and str(report.value(said, name)).split()[:1] != [before]
