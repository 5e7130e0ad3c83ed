"""The plan of addresses: who has what in each network, what is free, and which public addresses are lost, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from nornir_stack.inventory.network_rules import first_and_last

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from nornir_stack.inventory.networks import Network, Pool


@dataclass(frozen=True)
class Holder:
    """A host that has an address, and what for (`hostname`, `galera.address`)."""

    address: IPv4Address | IPv6Address
    host: str
    use: str = ""


@dataclass(frozen=True)
class Row:
    """Addresses next to each other with one use: from `first` to `last`, both included; `who` has them."""

    first: IPv4Address | IPv6Address
    last: IPv4Address | IPv6Address
    who: str

    @property
    def count(self) -> int:
        return int(self.last) - int(self.first) + 1


@dataclass(frozen=True)
class Lost:
    """A public address that no instance can have: by whom it is held, why, and how it is won back ('': it is not)."""

    address: IPv4Address | IPv6Address
    holder: str
    why: str
    how: str = ""


@dataclass(frozen=True)
class NetworkPlan:
    """A network with all of its addresses, in order; `lost` only where it is public."""

    name: str
    network: Network
    rows: tuple[Row, ...]
    lost: tuple[Lost, ...]


def plan(networks: Mapping[str, Network], holders: Iterable[Holder]) -> list[NetworkPlan]:
    """The plan of each network, in declared order. `networks` are in order (`read_networks` without complaints)."""
    known = [*holders, *(Holder(at, who) for network in networks.values() for who, at in network.static.items())]
    return [NetworkPlan(name, network, rows(network, known), lost(network)) for name, network in networks.items()]


def rows(network: Network, holders: Sequence[Holder]) -> tuple[Row, ...]:
    """Every address of the network once, in order, those with the same use together."""
    single = _single(network, holders)
    ranges = [(int(pool.first), int(pool.last), what) for pool, what in _ranges(network)]
    start, end = int(network.cidr.network_address), int(network.cidr.broadcast_address)
    cuts = {start, end + 1, *single, *(address + 1 for address in single)}
    cuts |= {cut for first, last, _ in ranges for cut in (first, last + 1)}
    edges = sorted(cuts)
    found: list[Row] = []
    for first, following in pairwise(edges):
        what = next((name for low, high, name in ranges if low <= first <= high), "free")
        who = single.get(first, what)
        if found and first not in single and found[-1].who == who:
            found[-1] = Row(found[-1].first, _address(following - 1, network), who)
        else:
            found.append(Row(_address(first, network), _address(following - 1, network), who))
    return tuple(found)


def lost(network: Network) -> tuple[Lost, ...]:
    """Of a public network, the addresses that go to the network itself; none of a private one."""
    if network.kind != "public":
        return ()
    found = [
        Lost(address, what, f"no machine can have the {what} address of a network")
        for address, what in first_and_last(network.cidr).items()
    ]
    if network.gateway is not None:
        why = "the first hop of the instances; close it to them: what they send to the address itself is rejected"
        found.append(Lost(network.gateway, "gateway", why))
    if network.bridge_address is not None:
        why = f"the node with {network.bridge} needs no public address"
        how = f"take it off {network.bridge} and give the bridge a static route, {network.cidr} dev {network.bridge}"
        found.append(Lost(network.bridge_address, f"bridge {network.bridge}", why, how))
    found += [Lost(router, "router", "the gateway of the instances behind it") for router in network.routers]
    return tuple(sorted(found, key=lambda one: int(one.address)))


def _single(network: Network, holders: Sequence[Holder]) -> dict[int, str]:
    names: dict[int, list[str]] = {int(address): [what] for address, what in first_and_last(network.cidr).items()}
    special = [(network.gateway, "gateway"), (network.bridge_address, f"bridge {network.bridge}")]
    for address, name in [*special, *((router, "router") for router in network.routers)]:
        if address is not None:
            names.setdefault(int(address), []).append(name)
    for holder in holders:
        if holder.address in network.cidr:
            use = "" if holder.use in {"", "hostname"} else f" ({holder.use})"
            mine = names.setdefault(int(holder.address), [])
            if not any(name.partition(" (")[0] == holder.host for name in mine):
                mine.append(f"{holder.host}{use}")
    return {address: ", ".join(who) for address, who in names.items()}


def _ranges(network: Network) -> list[tuple[Pool, str]]:
    return [*((pool, "floating") for pool in network.floating), *((pool, "pool") for pool in network.pools)]


def _address(number: int, network: Network) -> IPv4Address | IPv6Address:
    return type(network.cidr.network_address)(number)
