"""What can be wrong with a declaration of links, routes and rules, told before anything is touched. Pure."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from nornir_stack.inventory.network_rules import first_and_last
from nornir_stack.schema import Complaint
from nornir_stack.select import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir_stack.inventory.networks import Network
    from nornir_stack.tasks.networking.settings import AnyAddress, AnyInterface, AnyNetwork, Link, Links, Route

WITH_PORTS = {"bridge", "bond", "ovs-bridge", "ovs-bond"}
OVS = {"ovs-bridge", "ovs-bond", "ovs-patch"}
_MTU = 1500  # of a device that is told none (RFC 894)
_KERNEL_MODES = {"active-backup", "balance-rr", "balance-xor", "802.3ad"}
_OVS_MODES = {"active-backup", "balance-slb", "balance-tcp"}


def wrong(links: Links, networks: Mapping[str, Network]) -> Iterator[Complaint]:
    """Every complaint, at its keys. `networks` is the plan of addresses that the addresses must fit."""
    for name, link in links.links.items():
        for complaint in (*_of_kind(link), *_ports(name, link, links), *_addresses(link, networks), *_mtu(link, links)):
            yield complaint.at("links", name)
    yield from _shared_ports(links)
    yield from _same_vlans(links)
    yield from _overlaps(links)
    for index, route in enumerate(links.routes):
        for text in (*_route(route, index, links), *_planned(route, networks)):
            yield Complaint(("routes", index), text)
    yield from _rules(links)


def _of_kind(link: Link) -> Iterator[Complaint]:
    kind = link.kind
    needs = {"vlan": (("over", link.over), ("vlan", link.vlan)), "ovs-patch": (("peer", link.peer),)}
    for key, value in needs.get(kind, ()):
        if value is None:
            yield Complaint((key,), f"missing: a {kind} has one")
    if link.ports and kind not in WITH_PORTS:
        yield Complaint(("ports",), f"a {kind} has no ports")
    if kind in {"bond", "ovs-bond"}:
        if len(link.ports) < 2:  # noqa: PLR2004  of one there is nothing to bond
            yield Complaint(("ports",), "a bond has two ports or more")
        modes = _OVS_MODES if kind == "ovs-bond" else _KERNEL_MODES
        if link.mode is not None and link.mode not in modes:
            yield Complaint(("mode",), f"{link.mode} is no mode of a {kind}: {', '.join(sorted(modes))}")
    elif link.mode is not None:
        yield Complaint(("mode",), f"a {kind} has no mode")
    if link.over is not None and kind != "vlan":
        yield Complaint(("over",), f"a {kind} stands over nothing")
    if link.physical_network is not None and kind != "ovs-bridge":
        yield Complaint(("physical_network",), f"a {kind} stands for no network of Neutron: an ovs-bridge does")


def _ports(name: str, link: Link, links: Links) -> Iterator[Complaint]:
    known = links.links
    if link.kind == "ovs-patch":
        other = known.get(link.peer or "")
        if link.peer is not None and (other is None or other.peer != name):
            yield Complaint(("peer",), f"{link.peer} is to be an ovs-patch whose peer is {name}")
    if link.kind in {"ovs-patch", "ovs-bond"} and not any(name in one.ports for one in known.values()):
        yield Complaint((), f"is a port of no ovs-bridge: name it in the `ports` of one{nearest(name, known)}")
    if name in _beneath(name, links):
        yield Complaint((), "stands on itself")
    tagged = link.trunks or (link.vlan is not None and link.kind != "vlan")
    if tagged and not any(name in one.ports and one.kind == "ovs-bridge" for one in known.values()):
        yield Complaint(("trunks" if link.trunks else "vlan",), "only a vlan, or a port of an ovs-bridge, has a VLAN")


def _beneath(name: str, links: Links) -> list[str]:
    """All that a link stands on: ports, what a VLAN is over, and what these stand on."""
    found: list[str] = []
    todo = [name]
    for one in todo:  # it grows meanwhile
        link = links.links.get(one)
        mine = [*link.ports, *([link.over] if link.over else [])] if link is not None else []
        todo += [other for other in mine if other not in found]
        found += [other for other in mine if other not in found]
    return found


def _mtu(link: Link, links: Links) -> Iterator[Complaint]:
    """What is beneath passes frames as large: the kernel refuses a larger VLAN, and a bridge loses what a port cannot send."""
    beneath = link.ports if link.kind == "bridge" else (link.over,) if link.kind == "vlan" and link.over else ()
    for name in beneath:
        least = (links.links[name].mtu if name in links.links else None) or _MTU
        if link.mtu is not None and link.mtu > least:
            yield Complaint(("mtu",), f"{link.mtu} is more than the {least} of {name}, beneath it: say `mtu` there too")


def _same_vlans(links: Links) -> Iterator[Complaint]:
    first: dict[tuple[str | None, int | None], str] = {}
    for name, link in links.links.items():
        other = first.setdefault((link.over, link.vlan), name) if link.kind == "vlan" else name
        if other != name:
            yield Complaint(("links", name, "vlan"), f"{link.vlan} over {link.over} is {other} already")


def _shared_ports(links: Links) -> Iterator[Complaint]:
    """A device is a port once, and then carries no address itself: the bridge would swallow it."""
    taken: dict[str, str] = {}
    for name, link in links.links.items():
        for port in link.ports:
            other = taken.setdefault(port, name)
            if other != name:
                yield Complaint(("links", name, "ports"), f"{port} is a port of {other} already")
            member = links.links.get(port)
            if member is not None and (member.addresses or member.dhcp):
                what = member.addresses[0] if member.addresses else "a DHCP address"
                yield Complaint(("links", port, "addresses"), f"{what}: {port} is a port of {name}, which has the address then")
            if member is not None and member.kind in OVS and not link.kind.startswith("ovs-"):
                yield Complaint(("links", name, "ports"), f"{port} is an {member.kind}, and {name} a {link.kind}")


def _addresses(link: Link, networks: Mapping[str, Network]) -> Iterator[Complaint]:
    for index, address in enumerate(link.addresses):
        for text in _address(address, networks):
            yield Complaint(("addresses", index), text)


def _address(address: AnyInterface, networks: Mapping[str, Network]) -> Iterator[str]:
    """The slips: a netmask of /24 on a /29; an address at an end, of a pool, or outside every network that it covers."""
    ends = first_and_last(address.network)
    if address.ip in ends:
        yield f"{address.ip} is the {ends[address.ip]} address of {address.network}: no host can have it"
    for name, network in networks.items():
        if network.cidr.version != address.version or not network.cidr.overlaps(address.network):
            continue
        if address.ip not in network.cidr:
            if network.cidr != address.network and address.network.supernet_of(network.cidr):  # type: ignore[arg-type]
                yield f"{address} takes in network {name!r} ({network.cidr}), which lies elsewhere"
            continue
        if address.network.prefixlen not in {network.cidr.prefixlen, address.max_prefixlen}:
            right = f"{address.ip}/{network.cidr.prefixlen}"
            yield f"{address} has the wrong netmask: network {name!r} is {network.cidr}, so write {right}"
        for pool in (*network.pools, *network.floating):
            if address.ip in pool:
                yield f"{address.ip} stands in the range {pool.first}-{pool.last} of network {name!r}: it would be handed out"


def _overlaps(links: Links) -> Iterator[Complaint]:
    held = [(name, address.network) for name, link in links.links.items() for address in link.addresses]
    for (one, first), (two, second) in combinations(held, 2):
        if one != two and first.version == second.version and first.overlaps(second) and not _host(first, second):
            yield Complaint(
                ("links", two, "addresses"), f"{second} overlaps {first} of {one}: answers would leave by the other"
            )


def _host(*networks: AnyNetwork) -> bool:
    """Whether one of them is a single address (such as a virtual one)."""
    return any(network.num_addresses == 1 for network in networks)


def _route(route: Route, index: int, links: Links) -> Iterator[str]:
    if route.via is None and route.link is None:
        yield "goes nowhere: give it `via` or `link`"
        return
    if route.link is not None and route.link not in links.links:
        yield f"{route.link} is not declared in `links`{nearest(route.link, links.links)}"
    if route.via is None:
        return
    if route.via.version != route.target.version:
        yield f"{route.target} cannot be reached via {route.via}: another family of addresses"
        return
    if any(route.via == address.ip for link in links.links.values() for address in link.addresses):
        yield f"via {route.via}, which is this host's own address"
    elif not reached(route.via, route.link, links, but=index):
        yield (
            f"to {route.to}: its gateway {route.via} is reached by no address and no other route of"
            f" {route.link or 'a declared link'}: put {{to: ITS NETWORK, link: LINK}} there too"
        )


def _planned(route: Route, networks: Mapping[str, Network]) -> Iterator[str]:
    """Whether a route fits the plan of addresses: straight over a link goes what the plan has there, and no more."""
    target = route.target
    for name, network in networks.items():
        ends = first_and_last(network.cidr)
        if route.via in ends:
            yield f"via {route.via}, which is the {ends[route.via]} address of network {name!r}"
        if route.via is not None or target.version != network.cidr.version or target.prefixlen == 0:
            continue
        if target != network.cidr and network.cidr.subnet_of(target):  # type: ignore[arg-type]
            yield f"{target} over {route.link} takes in more than network {name!r}: write {network.cidr}"


def reached(gateway: AnyAddress, link: str | None, links: Links, but: int = -1) -> bool:
    """Whether a gateway lies on a declared link, by an address of it or by an on-link route.

    Of DHCP nobody knows: where the route names the link, it is believed.
    """
    for name, one in links.links.items():
        if link in {None, name} and any(gateway in address.network for address in one.addresses):
            return True
        if one.dhcp and link == name:
            return True
    return any(
        route.via is None and route.link is not None and link in {None, route.link} and gateway in route.target
        for index, route in enumerate(links.routes)
        if index != but
    )


def _rules(links: Links) -> Iterator[Complaint]:
    tables = {route.table for route in links.routes} | {254, 255, 253}
    priorities: dict[int, int] = {}
    for index, rule in enumerate(links.rules):
        if rule.source is None and rule.target is None:
            yield Complaint(("rules", index), "is for everything: give it `source` or `target`")
        elif rule.source is not None and rule.target is not None and rule.source.version != rule.target.version:
            yield Complaint(("rules", index), f"{rule.source} and {rule.target} are of two families")
        if rule.table not in tables:
            yield Complaint(("rules", index, "table"), f"no route is declared in table {rule.table}: what it catches is lost")
        other = priorities.setdefault(rule.priority, index)
        if other != index:
            yield Complaint(("rules", index, "priority"), f"{rule.priority} is the priority of rules.{other} already")
    seen: dict[tuple[object, ...], int] = {}
    for index, route in enumerate(links.routes):
        other = seen.setdefault((route.target, route.metric, route.table), index)
        if other != index:
            yield Complaint(("routes", index), f"{route.target} has a route already (routes.{other}): give one a metric")
