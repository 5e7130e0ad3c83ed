"""Two emulated machines with Debian's kernel, for what the kernel below lacks: VLANs and bonds, lines that are slow (netem),
AppArmor at work, cards plugged in, cgroups v2 alone. The tests build on each other, in this order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import command, sh
from nornir_stack.confirmed import Network, confirmed
from nornir_stack.lab.identity import key_pair
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.tasks.hypervisor.infrastructure import infrastructure
from nornir_stack.tasks.hypervisor.names import mac_of
from nornir_stack.tasks.networking.deploy import deploy
from nornir_stack.tasks.networking.links import links
from nornir_stack.tasks.system.clock import clock
from nornir_stack.tasks.system.facts import facts
from nornir_stack.tasks.system.services import restart, service
from nornir_stack.tasks.system.swap import swap_file
from tests.integration.hypervisors import Site, problem, sockets
from tests.integration.libvirtd import reason_against
from tests.integration.test_infrastructure import IMAGES, WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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
PACKAGES = ["apparmor", "chrony"]
CONFIRM = 300.0  # seconds; an emulated machine takes its time to let somebody in
UNDO = 30.0  # of what is to be undone
# What a second run, and a change that was undone, must leave as it is; a device that was made anew has another index.
STATE = r"""
ip -o -4 address | cut -d: -f2-; ip -4 route show table all; tc qdisc show dev eth0
for d in /sys/class/net/*; do echo "$d $(readlink "$d/master") $(cat "$d/bonding/mode" 2>/dev/null)"; done
cat /proc/net/vlan/config 2>/dev/null
cat /etc/systemd/network/* /etc/nornir-stack/* /etc/fstab /etc/hosts 2>/dev/null
systemctl show -p ActiveEnterTimestampMonotonic systemd-networkd
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


def layout(name: str, number: int, mode: str | None = None) -> dict[str, Any]:
    """A VLAN for data over a bond of both cards."""
    bond = {"kind": "bond", "ports": ["eth1", "eth2"], **({"mode": mode} if mode else {})}
    return {"links": {"bond0": bond, "data": {"kind": "vlan", "over": "bond0", "vlan": number, "addresses": [DATA[name]]}}}


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
