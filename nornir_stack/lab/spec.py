"""What a lab is made of, as values; and the lab that an inventory describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import UsageError
from nornir_stack.inventory.networks import read_networks
from nornir_stack.journal import state_folder

if TYPE_CHECKING:
    from nornir.core.inventory import Inventory

# What the lab's own package mirror holds beside what these need: what the library's tasks may want to install.
MIRROR = (
    "apache2",
    "chrony",
    "curl",
    "fdisk",
    "firewalld",
    "galera-arbitrator-4",
    "galera-4",
    "gdisk",
    "haproxy",
    "iptables",
    "iptables-persistent",
    "keepalived",
    "libapache2-mod-php",
    "logrotate",
    "mariadb-backup",
    "mariadb-client",
    "mariadb-server",
    "openvswitch-switch",
    "parted",
    "php-mysql",
    "rsync",
    "socat",
    "unattended-upgrades",
    "xfsprogs",
)
_NAME = re.compile(r"[a-z][a-z0-9]{0,7}")
_CARD = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,14}")


@dataclass(frozen=True)
class NodeSpec:
    """A node: `address` with its prefix (`10.77.20.11/24`), the image `tree` it runs on, a disk of `disk_mib` MiB (0: none).

    `suite` is its Debian, by default that of the lab. `nics` are more network cards: the name that each has in the node, and
    the segment that it is plugged into. A segment is a switch of the lab, without an address of this machine.
    """

    name: str
    address: str
    tree: str = "base"
    disk_mib: int = 0
    suite: str = ""
    nics: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LabSpec:
    """A lab: one bridge with the network's first address, nodes on it, and a folder for keys and the nodes' disks."""

    name: str
    network: IPv4Network
    nodes: tuple[NodeSpec, ...]
    state: Path = Path()  # by default in the user's state folder, by the lab's name
    suite: str = "bookworm"
    mirror: tuple[str, ...] = MIRROR

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"a lab's name is a letter and up to 7 letters or digits, not {self.name!r}")
        if self.state == Path():
            object.__setattr__(self, "state", state_folder() / "lab" / self.name)
        for node in self.nodes:
            if IPv4Interface(node.address).ip not in self.network:
                raise UsageError(f"{node.name}: {node.address} is not in the lab's network {self.network}")
            for card, _ in node.nics:
                if not _CARD.fullmatch(card) or card == "host0":
                    raise UsageError(f"{node.name}: {card!r} is no name of a network card: up to 15 of a-z, A-Z, 0-9, - and _")

    @property
    def gateway(self) -> str:
        """The host's own address on the bridge."""
        return str(next(self.network.hosts()))

    @property
    def bridge(self) -> str:
        return f"ns-{self.name}"

    @property
    def segments(self) -> dict[str, str]:
        """The bridge of each segment that a node is plugged into."""
        names = sorted({segment for node in self.nodes for _, segment in node.nics})
        return {name: f"{self.bridge}.{number}" for number, name in enumerate(names, 1)}

    def suite_of(self, node: NodeSpec) -> str:
        return node.suite or self.suite

    def node(self, name: str) -> NodeSpec:
        for node in self.nodes:
            if node.name == name:
                return node
        raise UsageError(f"the lab {self.name!r} has no node {name!r}; it has {', '.join(n.name for n in self.nodes)}")


def lab_of(inventory: Inventory) -> LabSpec:
    """The lab that the inventory's defaults describe: `data: {lab: {name: demo, network: data}}`.

    Every host whose hostname is an address of that network is a node. A host's data may say more:
    `lab: {tree: db, disk_mib: 512, suite: trixie, nics: {ex1: outside}}`. Raises UsageError where there is no such description.
    """
    described: object = inventory.defaults.data.get("lab")
    if not isinstance(described, Mapping) or not {"name", "network"} <= set(described):
        raise UsageError("this inventory describes no lab: give its defaults `data: {lab: {name: demo, network: data}}`")
    networks, complaints = read_networks(inventory.defaults.data)
    network = networks.get(str(described["network"]))
    if network is None or complaints or not isinstance(network.cidr, IPv4Network):
        raise UsageError(f"lab: network: {described['network']!r} is no IPv4 network of this inventory")
    nodes = [
        _node(name, host.hostname or "", network.cidr, host.data.get("lab") or {})
        for name, host in inventory.hosts.items()
        if _inside(host.hostname or "", network.cidr)
    ]
    return LabSpec(str(described["name"]), network.cidr, tuple(nodes))


def _inside(address: str, network: IPv4Network) -> bool:
    try:
        return ip_address(address) in network
    except ValueError:
        return False


def _node(name: str, address: str, network: IPv4Network, own: Mapping[str, Any]) -> NodeSpec:
    nics = tuple((str(card), str(segment)) for card, segment in (own.get("nics") or {}).items())
    tree, disk, suite = str(own.get("tree", "base")), int(own.get("disk_mib", 0)), str(own.get("suite", ""))
    return NodeSpec(name, f"{address}/{network.prefixlen}", tree, disk, suite, nics)
