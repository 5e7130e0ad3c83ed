"""An Open vSwitch bridge over a NIC, and the physical network of Neutron that it stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.files import ini_value
from nornir_stack.node import Node
from nornir_stack.tasks.networking.cards import pinned
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import restart, service, unit_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.system.services import UnitState

AGENT_INI = "/etc/neutron/plugins/ml2/openvswitch_agent.ini"
_UNITS = "/etc/systemd/system"
AGENT = "neutron-openvswitch-agent.service"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")  # IFNAMSIZ of the kernel less the NUL

# One line each: what there is of the bridge $1, then of each port. `error` is where ovs-vsctl, which ends with 0 all the
# same, leaves why a device could not be opened (ovs-vswitchd.conf.db(5), Interface: error).
_LOOK = r"""
command -v ovs-vsctl >/dev/null || { echo missing; exit; }
vs() { ovs-vsctl --timeout=10 "$@"; }
vs show >/dev/null || exit
if [ -d /sys/module/openvswitch ] || modprobe --quiet --dry-run openvswitch 2>/dev/null; then echo kernel; fi
b=$1; shift
if vs br-exists "$b"; then
    echo "datapath $(vs get bridge "$b" datapath_type)"
    for p in $(vs list-ports "$b"); do echo "port $p"; done
fi
for d in "$b" "$@"; do
    if other=$(vs port-to-br "$d" 2>/dev/null); then echo "on $d $other"; fi
    if [ -e "/sys/class/net/$d" ]; then
        over=$(ls -d "/sys/class/net/$d/upper_"* 2>/dev/null | sed 's/.*upper_//' | tr '\n' ' ')
        echo "nic $d $(ip -o link show dev "$d" up | wc -l) $(ip -o address show dev "$d" scope global | wc -l) $over"
    fi
    if [ -e "/sys/class/net/$d/device" ]; then echo "mac $d $(cat "/sys/class/net/$d/address")"; fi
    error=$(vs --if-exists get interface "$d" error)
    case $error in ''|'[]') ;; *) echo "error $d $error" ;; esac
done
"""
_MAKE = r"""
b=$1 add="--may-exist add-br $1 -- set bridge $1 datapath_type=$2"
shift 2
for p; do add="$add -- --may-exist add-port $b $p"; done
ovs-vsctl --timeout=30 $add || exit
for d in "$b" "$@"; do ip link set dev "$d" up || exit; done
"""


@dataclass(frozen=True)
class Nic:
    """A device as the kernel has it: up or not, how many addresses it carries, and devices made of it (VLANs, a bond)."""

    up: bool
    addresses: int
    over: tuple[str, ...] = ()


def at_boot(bridge: str, ports: Sequence[str], macs: Mapping[str, str]) -> dict[str, str]:
    """The files by which a boot has the bridge and its ports up, the unit first. Pure.

    Open vSwitch remembers its bridges and ports, by name, and brings none of them up. `macs` are the hardware addresses of
    cards, which keep their names by them.
    """
    up = f"for d in {bridge} $$(ovs-vsctl --timeout=30 list-ports {bridge})"
    up += "; do if [ -e /sys/class/net/$$d ]; then ip link set dev $$d up || exit; fi; done"
    unit = [
        "[Unit]",
        f"Description=The bridge {bridge} of Open vSwitch and its ports, up",
        "After=network.target openvswitch-switch.service openvswitch.service",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"ExecStart=/bin/sh -c '{up}'",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    files = {f"{_UNITS}/{unit_of(bridge)}": "".join(f"{line}\n" for line in unit)}
    for port in ports:
        if port in macs:
            path, text = pinned(port, macs[port])
            files[path] = text
    return files


def unit_of(bridge: str) -> str:
    return f"nornir-stack-bridge-{bridge}.service"


@dataclass(frozen=True)
class Bridge:
    """A bridge as Open vSwitch has it. `datapath` is `system`, `netdev` or '' where there is no such bridge.

    `kernel`: this kernel has Open vSwitch's own datapath. `elsewhere`: port to the other bridge that it is on.
    """

    name: str
    datapath: str = ""
    ports: tuple[str, ...] = ()
    kernel: bool = False
    nics: Mapping[str, Nic] | None = None
    macs: Mapping[str, str] | None = None
    elsewhere: Mapping[str, str] | None = None
    errors: Mapping[str, str] | None = None
    mappings: str = ""


def open_vswitch(task: Task) -> Result[UnitState | None]:
    """Open vSwitch installed, running, and started at a boot."""
    node = Node(task)
    kind = family(node)
    packages(task, present=kind.package("openvswitch"))
    return node.done(node.then(service, unit=kind.unit("openvswitch"), state="started", enabled=True))


def bridge(
    task: Task, *, bridge: str, ports: Sequence[str], physical_network: str = "", config: str = AGENT_INI
) -> Result[Bridge]:
    """Have the bridge with these ports, up, at a boot too; with `physical_network` also mapped to it in the agent's `config`.

    The userspace datapath (`netdev`) is taken where the kernel has none, for a new bridge. Ports that are on it beside
    these stay. The agent is restarted when its mapping changed and it runs. Raises Refused for a NIC that does not exist,
    carries addresses or other devices (they would be cut off), or is on another bridge, and where Open vSwitch is not there.
    """
    for name in (bridge, *ports):
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name of a device: up to 15 letters, digits, dots, - and _")
    node = Node(task)
    now = parse(bridge, node.read(sh(_LOOK, bridge, *ports, label=f"look at the bridge {bridge}")).stdout)
    refuse(now, ports)
    mappings = mapped(node.read_file(config), config, physical_network, bridge) if physical_network else ""
    agent = bool(physical_network) and unit_state(task, unit=AGENT).value.running
    diff = decide(now, ports)
    if diff:
        make = sh(_MAKE, bridge, datapath(now), *ports, label=f"ovs-vsctl add-br {bridge}, add-port {' '.join(ports)}")
        # nothing goes through these ports: `refuse` has seen to it
        node.change(make, what=f"bridge {bridge} with {', '.join(ports)}", diff=diff, repeatable=True, cannot_cut=True)
    for path, text in at_boot(bridge, ports, now.macs or {}).items():
        node.write_file(path, text, independent=True)
    unit = unit_of(bridge)
    if node.stat(f"{_UNITS}/multi-user.target.wants/{unit}", independent=True) is None:
        node.change("systemctl", "enable", unit, repeatable=True)
    if physical_network and node.edit_ini(config, "ovs", {"bridge_mappings": mappings}, independent=True) and agent:
        node.then(restart, unit=AGENT)
    return node.done(lambda: _verified(node, now, ports, mappings))


def datapath(now: Bridge) -> str:
    """What a new bridge gets; one that is there keeps what it has."""
    return now.datapath or ("system" if now.kernel else "netdev")


def decide(now: Bridge, ports: Sequence[str]) -> str:
    """What is to be made, as a diff; '' if everything stands. Pure."""
    lines = [] if now.datapath else [f"+bridge {now.name} datapath_type={datapath(now)}"]
    lines += [f"+port {port}" for port in ports if port not in now.ports]
    down = [name for name in (now.name, *ports) if name not in (now.nics or {}) or not (now.nics or {})[name].up]
    lines += [f"+{name} up" for name in down]
    where = f"ovs {now.name}"
    return "\n".join([f"--- {where}", f"+++ {where}", *lines, ""]) if lines else ""


def refuse(now: Bridge, ports: Sequence[str]) -> None:
    """Raise Refused where making it would break something, or cannot work."""
    nics = now.nics or {}
    for port in ports:
        if port not in nics:
            raise Refused(f"there is no network device {port}: check its name (ip link)")
        if other := (now.elsewhere or {}).get(port, ""):
            if other != now.name:
                raise Refused(f"{port} is on the bridge {other}: take it off there first (ovs-vsctl del-port {other} {port})")
        elif nics[port].addresses:
            raise Refused(
                f"{port} carries {nics[port].addresses} addresses, which a bridge would cut off: move them to {now.name} "
                "first, or take another NIC"
            )
        elif nics[port].over:
            raise Refused(f"{port} carries {', '.join(nics[port].over)}, which a bridge would cut off: take another NIC")
    if now.name in nics and not now.datapath:
        raise Refused(f"{now.name} is a device that Open vSwitch does not know: choose another name, or remove it")


def mapped(text: str | None, config: str, network: str, bridge: str) -> str:
    """The value of bridge_mappings with `network` mapped to `bridge`, those of others kept. Pure; raises Refused."""
    if text is None:
        raise Refused(f"{config} does not exist: install Neutron's Open vSwitch agent, or name its file by config=")
    pairs = [pair.strip() for pair in (ini_value(text, "ovs", "bridge_mappings") or "").split(",") if pair.strip()]
    for pair in pairs:
        name, _, other = (part.strip() for part in pair.partition(":"))
        if (name == network) != (other == bridge):
            raise Refused(f"{config} maps {name} to {other}, so {network} cannot be mapped to {bridge}: correct it there first")
    wanted = f"{network}:{bridge}"
    return ",".join(pairs if wanted in pairs else [*pairs, wanted])


def parse(name: str, text: str) -> Bridge:
    """What the look printed. Raises Refused where Open vSwitch is not installed. Pure."""
    found = Bridge(name)
    ports: list[str] = []
    nics: dict[str, Nic] = {}
    elsewhere: dict[str, str] = {}
    errors: dict[str, str] = {}
    macs: dict[str, str] = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        first, _, more = rest.partition(" ")
        if kind == "missing":
            raise Refused("Open vSwitch is not installed: run network.open_vswitch first")
        if kind == "kernel":
            found = replace(found, kernel=True)
        elif kind == "datapath":
            found = replace(found, datapath=first.strip('"') or "system")
        elif kind == "port":
            ports.append(first)
        elif kind == "on":
            elsewhere[first] = more
        elif kind == "error":
            errors[first] = more.strip('"')
        elif kind == "mac":
            macs[first] = more
        elif kind == "nic":
            up, addresses, *over = more.split()
            nics[first] = Nic(up != "0", int(addresses), tuple(over))
    return replace(found, ports=tuple(ports), nics=nics, macs=macs, elsewhere=elsewhere, errors=errors)


def _verified(node: Node, before: Bridge, ports: Sequence[str], mappings: str) -> Bridge:
    """The bridge as it is now. Raises Refused where Open vSwitch took the words and could not do it."""
    now = before
    if node.gate.effects:
        now = parse(before.name, node.read(sh(_LOOK, before.name, *ports, label=f"look at the bridge {before.name}")).stdout)
    if now.errors:
        why = "; ".join(f"{name}: {error}" for name, error in now.errors.items())
        raise Refused(f"Open vSwitch could not open a device of {now.name}: {why}")
    if left := decide(now, ports):
        raise Refused(f"{now.name} was made and is not as wanted:\n{left}")
    return replace(now, mappings=mappings)
