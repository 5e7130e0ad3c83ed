"""What an inventory says about a host's own network: its links, addresses, routes and policy rules. The key `network`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_interface, ip_network
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, Union

from nornir.core.inventory import Inventory
from pydantic import BeforeValidator, Field, Strict

from nornir_stack.inventory.networks import read_networks
from nornir_stack.select import role
from nornir_stack.settings import Address, Claim, Device, Finding, Text, dotted, form
from nornir_stack.tasks.networking.check import wrong


def _interface(value: Any) -> Any:
    if isinstance(value, str) and "/" not in value:
        raise ValueError(f"{value} has no prefix: write it as {value}/24")
    return ip_interface(value) if isinstance(value, str) else value


def _target(value: Any) -> Any:
    return ip_network(value) if isinstance(value, str) and value != "default" else value


AnyNetwork: TypeAlias = Union[IPv4Network, IPv6Network]  # noqa: UP007  evaluated, on Python 3.10 too
AnyInterface: TypeAlias = Union[IPv4Interface, IPv6Interface]  # noqa: UP007
AnyAddress: TypeAlias = Union[IPv4Address, IPv6Address]  # noqa: UP007

Interface = Annotated[AnyInterface, BeforeValidator(_interface)]
Target = Annotated[Union[AnyNetwork, Literal["default"]], BeforeValidator(_target)]  # noqa: UP007
Vlan = Annotated[int, Strict(), Field(ge=1, le=4094)]
Mtu = Annotated[int, Strict(), Field(ge=576, le=65535)]
Mac = Annotated[str, form(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "a hardware address, such as 52:54:00:0a:0b:0c")]
Table = Annotated[int, Strict(), Field(ge=1, le=4294967295)]
Metric = Annotated[int, Strict(), Field(ge=1, le=4294967295)]
Priority = Annotated[int, Strict(), Field(ge=1, le=32765)]

_GATEWAYS = role("router") | role("network") | role("hypervisor")  # as the inventory has it for all addresses
Kind: TypeAlias = Literal["card", "bridge", "bond", "vlan", "ovs-bridge", "ovs-bond", "ovs-patch"]
Manager: TypeAlias = Literal["networkd", "ifupdown", "netplan", "networkmanager", "ifcfg"]
# bonding.txt of the kernel; balance-tcp and balance-slb are Open vSwitch's (ovs-vswitchd.conf.db(5), Port: bond_mode)
Mode: TypeAlias = Literal["active-backup", "balance-rr", "balance-xor", "802.3ad", "balance-slb", "balance-tcp"]


@dataclass(frozen=True, kw_only=True)
class Link:
    """A device by its name. `addresses` with their prefix are all that it has; a `card` is one that is there.

    `ports` are those of a bridge or a bond. `vlan` is the number of a `vlan` device `over` another one, or the tag of a
    port of an Open vSwitch bridge (`trunks`: those that pass with their tag). `peer` is the other end of an `ovs-patch`.
    A bridge has the hardware address (`mac`) of its first card if nothing is said: neighbours know the address by it.
    `physical_network` is what Neutron calls an `ovs-bridge`. `offload: false` has the sender write its checksums itself:
    the userspace datapath of Open vSwitch drops TCP otherwise.
    """

    kind: Kind = "card"
    addresses: tuple[Interface, ...] = ()
    dhcp: bool = False
    mtu: Mtu | None = None
    mac: Mac | None = None
    ports: tuple[Device, ...] = ()
    mode: Mode | None = None
    over: Device | None = None
    vlan: Vlan | None = None
    trunks: tuple[Vlan, ...] = ()
    peer: Device | None = None
    physical_network: Text | None = None
    offload: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """A route `to` a network or `default`, `via` a gateway or straight over `link`; both where the gateway needs one."""

    to: Target
    via: Address | None = None
    link: Device | None = None
    metric: Metric | None = None
    table: Table | None = None

    @property
    def target(self) -> AnyNetwork:
        """The network, 0.0.0.0/0 or ::/0 for `default`."""
        if isinstance(self.to, (IPv4Network, IPv6Network)):
            return self.to
        return ip_network("::/0" if self.via is not None and self.via.version == 6 else "0.0.0.0/0")  # noqa: PLR2004


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A policy rule (ip-rule(8)): what comes from `source`, or goes to `target`, looks its route up in `table`."""

    table: Table
    priority: Priority
    source: Annotated[AnyNetwork, BeforeValidator(_target)] | None = None
    target: Annotated[AnyNetwork, BeforeValidator(_target)] | None = None


@dataclass(frozen=True, kw_only=True)
class Links:
    """Links, routes and rules of a host: what stands here is made so; links that are not named are left alone.

    `manager` has to be said only where more than one is at work on the node.
    """

    key: ClassVar[str] = "network"

    links: Mapping[Device, Link] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    manager: Manager | None = None

    def claims(self) -> Iterator[Claim]:
        """The addresses of its links."""
        for name, link in self.links.items():
            for address in link.addresses:
                yield Claim(dotted("links", name), address.ip)

    @staticmethod
    def judge(mine: Mapping[str, "Links"], inventory: Inventory) -> Iterator[Finding]:
        """Each declaration holds together, and fits the plan of addresses; who is no gateway has no gateway's address."""
        networks, _ = read_networks(inventory.defaults.data)
        gateways = {network.gateway: name for name, network in networks.items() if network.gateway is not None}
        for host, links in mine.items():
            for complaint in wrong(links, networks):
                yield Finding(host, dotted(*complaint.path), complaint.text)
            for name, link in links.links.items() if not _GATEWAYS.holds(inventory.hosts[host]) else ():
                for index, address in enumerate(link.addresses):
                    if address.ip in gateways:
                        text = f"{address.ip} is the gateway of network {gateways[address.ip]!r}"
                        yield Finding(host, dotted("links", name, "addresses", index), text)
