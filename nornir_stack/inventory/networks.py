"""The networks that an inventory declares, once, in its defaults: `data: {networks: {data: {cidr: 10.77.0.0/24}}}`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, ClassVar, Literal

from nornir.core.inventory import Defaults
from pydantic import BeforeValidator

from nornir_stack import schema
from nornir_stack.errors import InventoryError
from nornir_stack.inventory.network_rules import overlaps, wrong_in
from nornir_stack.schema import Complaint
from nornir_stack.settings import Address, Device, Text


def _cidr(value: Any) -> Any:
    return ip_network(value) if isinstance(value, str) else value


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Addresses that something hands out by itself (DHCP, floating addresses): both ends belong to it."""

    first: Address
    last: Address

    def __contains__(self, address: object) -> bool:
        same = type(address) is type(self.first) is type(self.last)
        return same and int(self.first) <= int(address) <= int(self.last)  # type: ignore[call-overload]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network by its `cidr`, `10.77.0.0/24`.

    `pools` are handed out by DHCP, `floating` ranges to instances. `bridge` is the bridge over which instances reach it
    (`br-ex`), `bridge_address` the address that this bridge has itself; `routers` are addresses of virtual routers.
    `static`: what else has an address here, by name, a host of the inventory or anything (`switch1`).
    """

    cidr: Annotated[IPv4Network | IPv6Network, BeforeValidator(_cidr)]
    kind: Literal["private", "public"] = "private"
    gateway: Address | None = None
    pools: tuple[Pool, ...] = ()
    floating: tuple[Pool, ...] = ()
    bridge: Device | None = None
    bridge_address: Address | None = None
    routers: tuple[Address, ...] = ()
    static: Mapping[Text, Address] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Declared:
    key: ClassVar[str] = "networks"
    networks: Mapping[str, Network]


def read_networks(data: Mapping[str, Any]) -> tuple[dict[str, Network], list[Complaint]]:
    """The networks in the data of the defaults, and every complaint, its path from `networks` on."""
    declared = data.get("networks") or {}
    if not isinstance(declared, Mapping):
        declared, complaints = {}, [Complaint(("networks",), "expected a mapping of names to networks")]
        return {}, complaints
    networks: dict[str, Network] = {}
    complaints = []
    for name, raw in declared.items():
        network, wrong = schema.read(Network, raw)
        if network is not None:
            networks[name] = network
            wrong = list(wrong_in(network))
        complaints += [complaint.at("networks", name) for complaint in wrong]
    complaints += [complaint.at("networks") for complaint in overlaps(networks)]
    return networks, complaints


def networks_of(defaults: Defaults) -> dict[str, Network]:
    """The networks that an inventory declares (`host.defaults`). Raises InventoryError where they are not in order."""
    networks, complaints = read_networks(defaults.data)
    if complaints:
        raise InventoryError([f"{'.'.join(map(str, c.path))}: {c.text}" for c in complaints])
    return networks
