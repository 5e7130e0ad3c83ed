"""The plan of addresses beside what nodes have: what is planned and not there, and what is there and not planned. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

    from nornir_stack.inventory.addressing import Holder, NetworkPlan

    Interfaces: TypeAlias = Mapping[str, Sequence[IPv4Interface | IPv6Interface]]  # by the name of the device


@dataclass(frozen=True)
class Difference:
    """One of a host, in a network of the plan; `address` is what is meant, `text` the sentence."""

    host: str
    network: str
    address: IPv4Address | IPv6Address
    text: str


def differences(plans: Sequence[NetworkPlan], holders: Iterable[Holder], seen: Mapping[str, Interfaces]) -> list[Difference]:
    """Of the hosts that were looked at, in the order of the networks. Addresses outside every planned network are no matter.

    An address that several hosts share is where one of them has it.
    """
    known = [(one.host, one.address) for one in holders]
    known += [(who, address) for plan in plans for who, address in plan.network.static.items()]
    return [one for plan in plans for one in _in_network(plan, list(dict.fromkeys(known)), seen)]


def _in_network(
    plan: NetworkPlan, known: Sequence[tuple[str, IPv4Address | IPv6Address]], seen: Mapping[str, Interfaces]
) -> Iterator[Difference]:
    cidr = plan.network.cidr
    there = {host: list(_held(plan, links)) for host, links in seen.items()}
    for host, address in known:
        if host not in seen or address not in cidr:
            continue
        mine = next((one for _, one in there[host] if one.ip == address), None)
        sharing = [other for other, same in known if same == address and other in seen]
        if mine is None and not any(one.ip == address for other in sharing for _, one in there[other]):
            yield Difference(host, plan.name, address, f"{address} is planned for {host}, which does not have it")
        elif mine is not None and mine.network.prefixlen not in {cidr.prefixlen, cidr.max_prefixlen}:
            text = f"{host} has {mine}, and network {plan.name} is {cidr}"
            yield Difference(host, plan.name, address, text)
    for host, found in there.items():
        for link, one in found:
            if (host, one.ip) not in known and not _special(plan, one.ip):
                text = f"{host} has {one.ip} on {link}, which is {_use(plan, one.ip)} in the plan"
                yield Difference(host, plan.name, one.ip, text)


def _held(plan: NetworkPlan, links: Interfaces) -> Iterator[tuple[str, IPv4Interface | IPv6Interface]]:
    for link, addresses in links.items():
        for one in addresses:
            if one.version == plan.network.cidr.version and one.ip in plan.network.cidr:
                yield link, one


def _special(plan: NetworkPlan, address: IPv4Address | IPv6Address) -> bool:
    """Whether the plan gives it to the network itself: some host has the gateway's address, the bridge's, a router's."""
    network = plan.network
    return address in {network.gateway, network.bridge_address, *network.routers}


def _use(plan: NetworkPlan, address: IPv4Address | IPv6Address) -> str:
    return next((row.who for row in plan.rows if int(row.first) <= int(address) <= int(row.last)), "outside")
