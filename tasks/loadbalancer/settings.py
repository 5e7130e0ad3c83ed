"""What an inventory says about a load balancer: the key `loadbalancer` of hosts of the role `loadbalancer`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from nornir.core.inventory import Inventory
from pydantic import Field, Strict

from nornir_stack.select import nearest, role
from nornir_stack.settings import AbsolutePath, Address, Claim, Finding, Port, Text, form

ListenerName = Annotated[str, form(r"[A-Za-z0-9_-]+", "a listener's name: letters, digits, _ and -")]
Weight = Annotated[int, Strict(), Field(ge=0, le=256)]


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
class LoadBalancer:
    """A load balancer: one virtual address in a network of the inventory, and its listeners by name."""

    key: ClassVar[str] = "loadbalancer"

    virtual_address: Address
    network: Text = "data"
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

    def claims(self) -> Iterator[Claim]:
        yield Claim("virtual_address", self.virtual_address, self.network, shared=True)

    @staticmethod
    def judge(mine: Mapping[str, "LoadBalancer"], inventory: Inventory) -> Iterator[Finding]:
        """Each listener has members, and weighs only those."""
        for name, balancer in mine.items():
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
