"""A node's links, routes and rules as its declaration has them: now, at each boot, and undone where they cut it off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import command, sh
from nornir_stack.confirmed import File, Network, confirmed
from nornir_stack.errors import Refused
from nornir_stack.files import edited_ini
from nornir_stack.inventory.networks import networks_of
from nornir_stack.node import Node
from nornir_stack.settings import dotted
from nornir_stack.tasks.networking import bonds, ovs, vlans
from nornir_stack.tasks.networking.bridge import AGENT, AGENT_INI, mapped
from nornir_stack.tasks.networking.cards import pinned
from nornir_stack.tasks.networking.check import wrong
from nornir_stack.tasks.networking.differ import differences, problems, refuse
from nornir_stack.tasks.networking.managers import manager_of
from nornir_stack.tasks.networking.observe import look
from nornir_stack.tasks.networking.order import Text, complete, devices, in_ovs, with_macs
from nornir_stack.tasks.networking.others import of_interfaces, of_netplan, of_nobody
from nornir_stack.tasks.networking.record import RECORD, forgotten, freed, record_of, recorded
from nornir_stack.tasks.networking.resolvers import carried
from nornir_stack.tasks.networking.settings import Links
from nornir_stack.tasks.networking.uplink import declared, leases
from nornir_stack.tasks.networking.upstream import with_upstream
from nornir_stack.tasks.networking.way_in import lost, stripped, taken
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import restart, unit_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.command import Command
    from nornir_stack.results import Result
    from nornir_stack.tasks.networking.managers import Manager
    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.order import Files
    from nornir_stack.tasks.networking.record import Record

OFFLOAD = "/etc/systemd/system/nornir-stack-offload.service"
_OFFLOAD = OFFLOAD.rpartition("/")[2]
WITHIN = 60.0


def links(task: Task, *, within: float = WITHIN) -> Result[NodeNetwork]:
    """Have the node's links, addresses, routes and rules as the inventory's `network` declares them.

    They are written for whoever manages the node's network (networkd, ifupdown, netplan, NetworkManager, network scripts:
    looked at) and applied through `confirmed`: where the node cannot be reached `within` seconds, or is not as declared
    then, it has its former network again, and Undone is raised. Links that are not declared are left alone.
    Raises Refused for a declaration that does not hold together, a device that does not exist, two managers at work, and
    where the address that the node is reached by would go in a way that undoing or a boot does not bring back.
    """
    node = Node(task)
    now = look(node)
    record = recorded(node.read_file(RECORD))
    wanted = declared(task.host, now, record.devices)
    if task.host.has_parent_group("router"):
        wanted = with_upstream(wanted, task.nornir.inventory)
    refuse_wrong(wanted, node)
    for why in stripped(wanted, now):
        raise Refused(f"{node.name}: {why}")
    have(node, with_macs(complete(wanted), now), now, record, within)
    return node.done(lambda: look(node)) if node.gate.effects else node.done(now)


def refuse_wrong(declared: Links, node: Node) -> None:
    """Raise Refused with every complaint about a declaration."""
    complaints = list(wrong(declared, networks_of(node.host.defaults)))
    if complaints:
        lines = [f"{node.name}: {dotted(Links.key, *one.path)}: {one.text}" for one in complaints]
        raise Refused("\n".join(lines))


def have(node: Node, wanted: Links, now: NodeNetwork, record: Record, within: float) -> None:
    """Have the node as `wanted` (complete), which was seen as `now`."""
    if not wanted.links and not record.files:
        return
    refuse(wanted, now, node.name)
    mappings = _mappings(node, wanted)
    agent = bool(mappings) and unit_state(node.task, unit=AGENT).value.running
    manager = manager_of(now, wanted.manager, node.name)
    others = {"ifupdown": of_interfaces, "netplan": of_netplan}.get(manager.name, of_nobody)(node, wanted, now)
    files = {**files_of(manager, wanted, now), **others.files}
    elsewhere = None if manager.at_once else others.described
    ports = taken(wanted, now, record) if manager.name != "netplan" else ()  # whose bridges keep theirs in files of others
    for why in (*lost(wanted, now, record, elsewhere), *ports):
        raise Refused(f"{node.name}: {why}")
    steps = [*_writes(node, files), *_removals(node, files, record)]
    names = list(differences(wanted, now))
    stale = [name for name in record.devices if name not in wanted.links and name in now.links]
    former = forgotten(record, wanted, now)
    free = freed(record, wanted, now)
    if any(link.offload is False for link in wanted.links.values()):
        packages(node.task, present=("ethtool",))
    if steps or names or stale or former or free:
        written = [step.path for step in steps if isinstance(step, File)]
        # no difference, for nobody knows whether a server answers; but its client has to be started
        leaseless = [name for name, link in devices(wanted).items() if link.dhcp and steps and not _leased(name, now)]
        told = [*names, *filter(None, map(manager.link_of, written)), *leaseless]
        acts = actions(manager, wanted, now, told, bool(steps))
        # a bridge goes last, when its card has its own address again; what else is gone first leaves its ports free
        gone = [_delete(name, record.devices[name]) for name in stale if record.devices[name] != "bridge"]
        acts += [_delete(name, "bridge") for name in stale if record.devices[name] == "bridge"]
        acts += [_release(card, over, now) for card, over in free.items()]
        if former:  # after the manager, who may have done it
            acts += [sh('ip "$@" 2>/dev/null; :', *words.split(), label=f"ip {words}") for words in former]

        def check(node: Node) -> Sequence[str]:
            seen = look(node)
            left = [f"it still has {words}" for words in forgotten(record, wanted, seen)]
            left += [f"{card} is still a port of {over}" for card, over in freed(record, wanted, seen).items()]
            return [*problems(wanted, seen), *left]

        paths = [RECORD, *files, *record.files, f"/etc/systemd/system/multi-user.target.wants/{_OFFLOAD}"]
        confirmed(
            node, [*steps, *gone, *acts], undo=Network(paths, undoing(manager, wanted, now, record)), check=check, within=within
        )
    if mappings and node.edit_ini(AGENT_INI, "ovs", {"bridge_mappings": mappings}, independent=True) and agent:
        node.then(restart, unit=AGENT)


def _leased(name: str, now: NodeNetwork) -> bool:
    """Whether a client of DHCP is at work there, as far as can be seen."""
    return name in now.links and bool(leases(now.links[name]))


def files_of(manager: Manager, wanted: Links, now: NodeNetwork) -> Files:
    """Our files: the manager's, the unit for offload, the names of cards, and the record."""
    files = manager.render(wanted, now.datapath, carried(wanted, now))
    if off := [name for name, link in devices(wanted).items() if link.offload is False]:
        files[OFFLOAD] = Text(offload_unit(off))
    for name, link in devices(wanted).items():
        if link.kind == "card" and name in now.links and (mac := now.links[name].hardware):
            path, text = pinned(name, mac)
            files[path] = Text(text)
    files[RECORD] = Text(record_of(wanted, list(files)))
    return files


def offload_unit(names: Sequence[str]) -> str:
    """A unit that switches transmit offload off at each boot, whoever manages the network."""
    lines = [f"ExecStart=/bin/sh -c 'exec ethtool -K {name} tx off'" for name in names]
    return "\n".join(
        [
            "[Unit]",
            "Description=Checksums written by the sender, as Open vSwitch in userspace needs them",
            "After=network.target openvswitch-switch.service openvswitch.service",
            "[Service]",
            "Type=oneshot",
            "RemainAfterExit=yes",
            *lines,
            "[Install]",
            "WantedBy=multi-user.target",
            "",
        ]
    )


def _writes(node: Node, files: Files) -> list[Command | File]:
    steps: list[Command | File] = []
    folders = set()
    for path, wanted in files.items():
        now = node.stat(path)
        if now is not None and now.content == wanted.text.encode() and now.mode.lstrip("0") == wanted.mode.lstrip("0"):
            continue
        folder = path.rpartition("/")[0]
        if folder not in folders and node.stat(folder) is None:
            steps.append(command("mkdir", "-p", folder))
        folders.add(folder)
        steps.append(File(path, wanted.text, wanted.mode))
    if any(isinstance(step, File) and step.path == OFFLOAD for step in steps):
        steps.append(command("systemctl", "daemon-reload"))
        steps.append(command("systemctl", "enable", _OFFLOAD))
    return steps


def _removals(node: Node, files: Files, record: Record) -> list[Command | File]:
    stale = [path for path in record.files if path not in files and node.stat(path) is not None]
    off: list[Command | File] = [command("systemctl", "disable", _OFFLOAD)] if OFFLOAD in stale else []
    return [*off, command("rm", "-f", "--", *stale)] if stale else []


def actions(manager: Manager, wanted: Links, now: NodeNetwork, names: Sequence[str], written: bool) -> list[Command]:
    """What makes the node as the files say: Open vSwitch first, for its devices carry addresses."""
    anew = vlans.concerned(wanted, now)
    mine = [name for name in devices(wanted) if name in names or name in anew]
    # Open vSwitch takes no device that is a port of the kernel's
    into = [name for name in devices(wanted) if in_ovs(name, wanted) and name in now.links]
    kernel = [name for name in into if now.links[name].master not in {"", "ovs-system"}]
    acts = [command("ip", "link", "set", "dev", name, "nomaster") for name in kernel]
    acts += ovs.steps(wanted, now) + vlans.steps(wanted, now)
    if manager.name == "networkmanager":  # which does it itself, and leaves the ports to be brought up
        ports = [port for name in bonds.other(wanted, now) for port in wanted.links[name].ports]
        mine += [name for name in devices(wanted) if name in ports and name not in mine]
    else:
        acts += bonds.steps(wanted, now)
    acts += manager.apply(mine, wanted) if written or mine else []
    if off := [name for name in mine if wanted.links[name].offload is False]:
        acts.append(sh('for d; do ethtool -K "$d" tx off || exit; done', *off, label=f"ethtool -K {' '.join(off)} tx off"))
    return acts


def undoing(manager: Manager, wanted: Links, now: NodeNetwork, record: Record) -> list[Command]:
    """What runs after the files are back: devices that were made go, Open vSwitch and the manager have their former say."""
    new = [name for name, link in devices(wanted).items() if link.kind in {"bridge", "bond", "vlan"} and name not in now.links]
    there = [name for name in devices(wanted) if name in now.links]
    acts = ovs.restore(wanted, now, freed(record, wanted, now))
    if new:
        acts.append(
            sh(
                'for d; do ip link delete dev "$d" 2>/dev/null; done; :',
                *reversed(new),
                label=f"ip link delete {' '.join(new)}",
            )
        )
    acts += vlans.restore(wanted, now)
    former = [link for path in record.files if (link := manager.link_of(path)) in now.links]
    deleted = [name for name in record.devices if name not in wanted.links and name in now.links]
    acts += ovs.again([name for name in deleted if name in now.bridges], now)
    acts += manager.back(list(dict.fromkeys([*there, *former, *deleted])))
    return acts if manager.name == "networkmanager" else [*acts, *bonds.restore(wanted, now)]


def _release(card: str, over: str, now: NodeNetwork) -> Command:
    """A port that is no longer declared leaves its bridge or bond, as it would at a boot."""
    if over in now.bridges:
        return command("ovs-vsctl", "--timeout=30", "--if-exists", "del-port", over, card)
    return command("ip", "link", "set", "dev", card, "nomaster")


def _delete(name: str, kind: str) -> Command:
    if kind == "ovs-bridge":
        return command("ovs-vsctl", "--timeout=30", "--if-exists", "del-br", name)
    # NetworkManager takes away by itself what it made, as soon as its profile is gone
    gone = '! [ -e "/sys/class/net/$1" ]'
    return sh(f'{gone} || ip link delete dev "$1" || {gone}', name, label=f"ip link delete dev {name}")


def _mappings(node: Node, wanted: Links) -> str:
    """The value of Neutron's bridge_mappings with the declared bridges; '' where none stands for a physical network."""
    pairs = {link.physical_network: name for name, link in wanted.links.items() if link.physical_network}
    text = node.read_file(AGENT_INI) if pairs else None
    value = ""
    for network, bridge in pairs.items():
        value = mapped(with_mapping(text, value), AGENT_INI, network, bridge)
    return value


def with_mapping(text: str | None, value: str) -> str | None:
    """The agent's file as it would be with these mappings."""
    return edited_ini(text, "ovs", {"bridge_mappings": value}) if text is not None and value else text
