"""A declaration as the writers of files need it: who is whose port, and routes by link, the way to a gateway first. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from nornir_stack.tasks.networking.check import OVS
from nornir_stack.tasks.networking.settings import Link

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.settings import Links, Route, Rule


class Text(NamedTuple):
    """What a file is to hold, and its mode."""

    text: str
    mode: str = "0644"


Files = dict[str, Text]


def complete(links: Links) -> Links:
    """With every port as a link of its own, one that is named only as a port too."""
    ports = [port for link in links.links.values() for port in link.ports]
    under = [link.over for link in links.links.values() if link.over]
    return replace(links, links={**links.links, **{name: Link() for name in (*ports, *under) if name not in links.links}})


def with_macs(links: Links, now: NodeNetwork) -> Links:
    """With the hardware address of its first card at each bridge of the kernel that has one and is told none.

    An address that moves from a card to a bridge, or back, is then found where its neighbours remember it.
    """
    found = dict(links.links)
    for name, link in links.links.items():
        cards = [port for port in link.ports if links.links[port].kind == "card" and port in now.links]
        if link.kind == "bridge" and link.mac is None and cards:
            found[name] = replace(link, mac=now.links[cards[0]].mac)
    return replace(links, links=found)


def above(name: str, links: Links) -> str | None:
    """The bridge or bond that a link is a port of."""
    return next((one for one, link in links.links.items() if name in link.ports), None)


def in_ovs(name: str, links: Links) -> bool:
    """Whether it is a port of Open vSwitch."""
    over = above(name, links)
    return over is not None and links.links[over].kind in OVS


def bridge_of(name: str, links: Links) -> str | None:
    """The Open vSwitch bridge that a port is on, by its bond where it is in one."""
    over = above(name, links)
    while over is not None and links.links[over].kind == "ovs-bond":
        over = above(over, links)
    return over


def over_vlans(name: str, links: Links) -> list[str]:
    """The VLAN devices over a link."""
    return [one for one, link in links.links.items() if link.kind == "vlan" and link.over == name]


def devices(links: Links) -> dict[str, Link]:
    """What the kernel shows as a device: what others stand on comes first. An OVS bond and a patch port are none."""
    todo = {name: link for name, link in links.links.items() if link.kind not in {"ovs-bond", "ovs-patch"}}
    done: dict[str, Link] = {}
    while todo:
        ready = {name: link for name, link in todo.items() if not {*link.ports, link.over} & {*todo}} or todo
        done |= ready
        todo = {name: link for name, link in todo.items() if name not in ready}
    return done


def link_of(route: Route, links: Links) -> str:
    """The link that a route leaves by: the one it names, or the one whose address or on-link route reaches its gateway."""
    if route.link is not None:
        return route.link
    for name, link in links.links.items():
        if any(route.via in address.network for address in link.addresses):
            return name
    return next(other.link for other in links.routes if other.via is None and other.link and route.via in other.target)


def routes(name: str, links: Links) -> list[Route]:
    """The routes that leave by a link, in the order in which they can be made: those without a gateway, then the wider."""
    mine = [route for route in links.routes if link_of(route, links) == name]
    return sorted(mine, key=lambda route: (route.via is not None, -route.target.prefixlen))


def on_link(route: Route, name: str, links: Links) -> bool:
    """Whether the gateway is reached by no address of its link, only by a route over it.

    networkd 252 leaves such a route out now and then where it is not told so (seen on a node).
    """
    link = links.links[name]
    return route.via is not None and not link.dhcp and not any(route.via in address.network for address in link.addresses)


def other_way_out(name: str, links: Links) -> bool:
    """Whether a default route of IPv4 is declared over another link: none that DHCP brings to this one is to take its place.

    networkd and netplan give that of DHCP a higher metric by themselves, and so it waits.
    """
    return any(
        route.target.prefixlen == 0 and family(route) == 4 and route.table in {None, 254} and link_of(route, links) != name  # noqa: PLR2004
        for route in links.routes
    )


def rules(name: str, links: Links) -> list[Rule]:
    """The policy rules that stand in a link's file: those of a table whose first route leaves by it."""
    first: dict[int, str] = {}
    for route in links.routes:
        if route.table is not None:
            first.setdefault(route.table, link_of(route, links))
    fallback = next(iter(links.links), "")
    return [rule for rule in links.rules if first.get(rule.table, fallback) == name]


def ip_route(route: Route, name: str) -> str:
    """As `ip route add` takes it."""
    target = "default" if route.target.prefixlen == 0 else str(route.target)
    words = [target, *(("via", str(route.via)) if route.via is not None else ()), "dev", name]
    words += ["metric", str(route.metric)] if route.metric is not None else []
    return " ".join([*words, *(["table", str(route.table)] if route.table is not None else [])])


def ip_rule(rule: Rule) -> str:
    """As `ip rule add` takes it."""
    words = ["from", str(rule.source)] if rule.source is not None else []
    words += ["to", str(rule.target)] if rule.target is not None else []
    return " ".join([*words, "table", str(rule.table), "priority", str(rule.priority)])


def family(item: Route | Rule) -> int:
    """4 or 6."""
    target = item.target if item.target is not None else getattr(item, "source", None)
    return 4 if target is None else target.version


def sections(parts: Iterator[tuple[str, Mapping[str, object]]]) -> str:
    """An ini file; a value None is left out, a list stands line by line, a section without lines goes."""
    text = []
    for title, values in parts:
        lines = []
        for key, value in values.items():
            lines += [f"{key}={one}" for one in (value if isinstance(value, (list, tuple)) else [value]) if one is not None]
        if lines:
            text.append("\n".join([f"[{title}]", *lines, ""]))
    return "\n".join(text)
