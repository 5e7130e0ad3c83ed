"""What can be wrong with networks as they are declared: outside, on top of each other, where nothing may stand. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.schema import Complaint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    from nornir_stack.inventory.networks import Network, Pool

_IPV4 = 4


def first_and_last(cidr: IPv4Network | IPv6Network) -> dict[IPv4Address | IPv6Address, str]:
    """The addresses of a network that no host may have, with what they are; none where it has one or two addresses.

    An IPv6 network has no broadcast address; its first is the routers' anycast address (RFC 4291, 2.6.1).
    """
    if cidr.num_addresses <= 2:  # noqa: PLR2004  RFC 3021, RFC 6164
        return {}
    ends: dict[IPv4Address | IPv6Address, str] = {cidr.network_address: "network"}
    if cidr.version == _IPV4:
        ends[cidr.broadcast_address] = "broadcast"
    return ends


def wrong_in(network: Network) -> Iterator[Complaint]:
    """What is wrong with one network, at its keys."""
    yield from _wrong_addresses(network)
    good: list[tuple[str, int, Pool]] = []
    for key, ranges in (("pools", network.pools), ("floating", network.floating)):
        for index, pool in enumerate(ranges):
            wrong = list(_wrong_range(network, pool))
            yield from (complaint.at(key, index) for complaint in wrong)
            good += [] if wrong else [(key, index, pool)]
    for number, (key, index, pool) in enumerate(good):
        for other_key, other_index, other in good[:number]:
            if int(pool.first) <= int(other.last) and int(other.first) <= int(pool.last):
                yield Complaint((key, index), f"{_shown(pool)} overlaps {other_key}.{other_index} ({_shown(other)})")
    if network.bridge_address is not None and network.bridge is None:
        yield Complaint(("bridge_address",), f"{network.bridge_address} is the address of no bridge: name it by `bridge`")


def overlaps(networks: Mapping[str, Network]) -> Iterator[Complaint]:
    """Networks that share addresses, at the later of two."""
    names = list(networks)
    for number, name in enumerate(names):
        for other in names[:number]:
            one, two = networks[name].cidr, networks[other].cidr
            if one.version == two.version and one.overlaps(two):
                yield Complaint((name, "cidr"), f"{one} overlaps network {other!r} ({two})")


def _named(network: Network) -> Iterator[tuple[tuple[str | int, ...], IPv4Address | IPv6Address]]:
    if network.gateway is not None:
        yield ("gateway",), network.gateway
    if network.bridge_address is not None:
        yield ("bridge_address",), network.bridge_address
    for index, router in enumerate(network.routers):
        yield ("routers", index), router
    for name, address in network.static.items():
        yield ("static", name), address


def _wrong_addresses(network: Network) -> Iterator[Complaint]:
    ends = first_and_last(network.cidr)
    taken: dict[IPv4Address | IPv6Address, str] = {}
    for path, address in _named(network):
        name = ".".join(map(str, path))
        if address not in network.cidr:
            yield Complaint(path, f"{address} stands outside {network.cidr}")
        elif address in ends:
            yield Complaint(path, f"{address} is the {ends[address]} address of {network.cidr}")
        elif address in taken:
            yield Complaint(path, f"{address} is the {taken[address]} already")
        taken.setdefault(address, name)


def _wrong_range(network: Network, pool: Pool) -> Iterator[Complaint]:
    outside = [end for end in ("first", "last") if getattr(pool, end) not in network.cidr]
    for end in outside:
        yield Complaint((end,), f"{getattr(pool, end)} stands outside {network.cidr}")
    if pool.first.version != pool.last.version:
        return
    if int(pool.first) > int(pool.last):
        yield Complaint((), f"begins at {pool.first}, after its end {pool.last}")
    elif not outside:
        yield from _covered(network, pool)


def _covered(network: Network, pool: Pool) -> Iterator[Complaint]:
    """Routers are not among them: they take an address of the range that instances have theirs from."""
    bridge = f"{network.bridge or 'its bridge'}'s own address"
    for address, what in (
        (network.gateway, "the gateway"),
        (network.bridge_address, bridge),
        *((end, f"the {what} address") for end, what in first_and_last(network.cidr).items()),
        *((address, f"{name}'s address") for name, address in network.static.items()),
    ):
        if address is not None and address in pool:
            yield Complaint((), f"{_shown(pool)} holds {what} ({address}): it would be handed out")


def _shown(pool: Pool) -> str:
    return f"{pool.first}-{pool.last}"
