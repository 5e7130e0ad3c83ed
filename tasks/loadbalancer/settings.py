"""What an inventory says about a load balancer: the key `loadbalancer` of hosts of the role `loadbalancer`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated, Any, ClassVar, Literal

from nornir.core.inventory import Host, Inventory
from pydantic import Field, Strict

from nornir_stack.inventory.networks import read_networks
from nornir_stack.secret import Secret
from nornir_stack.select import nearest, role
from nornir_stack.settings import AbsolutePath, Address, Claim, Finding, Port, Text, form

ListenerName = Annotated[str, form(r"[A-Za-z0-9_-]+", "a listener's name: letters, digits, _ and -")]
Weight = Annotated[int, Strict(), Field(ge=0, le=256)]
RouterId = Annotated[int, Strict(), Field(ge=1, le=255)]


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A port of the virtual address, and the members behind it.

    `balanced`: all members take turns. `single-writer`: one member takes all, the others stand in for it, in declared order.
    `donors`: a member that sends its data to a joiner keeps its traffic. Members weigh 1 where `weights` is silent.
    """

    port: Port
    mode: Literal["balanced", "single-writer"] = "balanced"
    balance: Literal["roundrobin", "leastconn"] = "roundrobin"
    members_role: Text = "db"
    weights: Mapping[str, Weight] = field(default_factory=dict)
    donors: bool = False
    check_port: Port = 9200


@dataclass(frozen=True, kw_only=True)
class Keepalived:
    """How balancers that share a virtual address settle who has it (VRRP, RFC 3768), by unicast among themselves.

    `virtual_router_id`: this pair's number, nobody else's in the network. `secret`: 4 to 8 letters and digits, the same on
    all of them; it travels in the clear and keeps slips out, not intruders. `preempt`: the first declared takes the address
    back when it returns, which costs clients another gap.
    """

    virtual_router_id: RouterId
    secret: Secret
    preempt: bool = False


@dataclass(frozen=True, kw_only=True)
class LoadBalancer:
    """A load balancer: one virtual address in a network of the inventory, and its listeners by name.

    `keepalived`: the address is shared by the balancers that name it, and moves between them. `address` is then this
    balancer's own in that network, by default its hostname.
    """

    key: ClassVar[str] = "loadbalancer"

    virtual_address: Address
    network: Text = "data"
    address: Address | None = None
    keepalived: Keepalived | None = None
    listeners: Mapping[ListenerName, Listener]
    stats_socket: AbsolutePath = "/run/haproxy/admin.sock"

    def __post_init__(self) -> None:
        if not self.listeners:
            raise ValueError("listeners is empty: name at least one")
        taken: dict[int, str] = {}
        for name, listener in self.listeners.items():
            if listener.port in taken:
                raise ValueError(f"listeners {taken[listener.port]} and {name} both have port {listener.port}")
            taken[listener.port] = name

    @staticmethod
    def from_host(host: Host) -> Mapping[str, Any]:
        """A hostname that is an address is the balancer's own address, unless the data say otherwise."""
        try:
            return {"address": ip_address(host.hostname or "")}
        except ValueError:
            return {}

    def claims(self) -> Iterator[Claim]:
        yield Claim("virtual_address", self.virtual_address, self.network, shared=True)
        if self.keepalived and self.address:
            yield Claim("address", self.address, self.network)

    @staticmethod
    def judge(mine: Mapping[str, "LoadBalancer"], inventory: Inventory) -> Iterator[Finding]:
        """Each listener has members, and weighs only those; an address is shared by those who agree on how."""
        for name, balancer in mine.items():
            yield from _members(name, balancer, inventory)
            if balancer.keepalived:
                yield from _place(name, balancer, inventory)
        yield from _sharing(mine)


def _members(name: str, balancer: LoadBalancer, inventory: Inventory) -> Iterator[Finding]:
    for title, listener in balancer.listeners.items():
        members = role(listener.members_role).hosts(inventory)
        if not members:
            others = set(inventory.groups) - {listener.members_role}
            text = f"no members: no host has the role {listener.members_role!r}"
            yield Finding(name, f"listeners.{title}", text + nearest(listener.members_role, others))
            continue
        for unknown in [weighed for weighed in listener.weights if weighed not in members]:
            text = f"no host of the role {listener.members_role!r}{nearest(unknown, members)}"
            yield Finding(name, f"listeners.{title}.weights.{unknown}", text)


def _place(name: str, balancer: LoadBalancer, inventory: Inventory) -> Iterator[Finding]:
    """A shared address moves by itself: nothing else may hand it out, and balancers find each other by address."""
    if balancer.address is None:
        yield Finding(name, "address", "the hostname is no address: say which address this balancer has in the network")
    if balancer.virtual_address.version == 6:  # noqa: PLR2004  IP version 6
        yield Finding(name, "virtual_address", f"{balancer.virtual_address} is IPv6, and only IPv4 is shared: take IPv4")
    network = read_networks(inventory.defaults.data)[0].get(balancer.network)
    if network and any(balancer.virtual_address in pool for pool in (*network.pools, *network.floating)):
        text = f"{balancer.virtual_address} stands in a pool of network {balancer.network!r}: take one that nothing hands out"
        yield Finding(name, "virtual_address", text)


def _sharing(mine: Mapping[str, LoadBalancer]) -> Iterator[Finding]:
    first: dict[object, str] = {}
    routers: dict[tuple[str, int], str] = {}
    for name, balancer in mine.items():
        other = first.setdefault(balancer.virtual_address, name)
        if other != name:
            yield from _agreement(name, balancer, other, mine[other])
        if balancer.keepalived and other == name:
            number = (balancer.network, balancer.keepalived.virtual_router_id)
            same = routers.setdefault(number, name)
            if same != name:
                text = f"{number[1]} is that of {same}, whose virtual address is another: each pair has its own"
                yield Finding(name, "keepalived.virtual_router_id", text)
    for address, name in first.items():
        if mine[name].keepalived and sum(one.virtual_address == address for one in mine.values()) == 1:
            text = f"{name} is alone with {address}: nobody would take it over; give it to a second balancer"
            yield Finding(name, "keepalived", text, warning=True)


def _agreement(name: str, one: LoadBalancer, other: str, first: LoadBalancer) -> Iterator[Finding]:
    if one.keepalived is None or first.keepalived is None:
        text = f"{one.virtual_address} is also that of {other}, and without keepalived both would answer at once: give both one"
        yield Finding(name, "virtual_address", text)
        return
    for setting in ("network", "keepalived"):
        if getattr(one, setting) != getattr(first, setting):
            yield Finding(name, setting, f"not as on {other}: balancers that share an address have it in common")
