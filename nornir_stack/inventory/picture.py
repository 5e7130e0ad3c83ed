"""The networks of an inventory as a picture: a line for each network, its hosts hanging on it, the way out above. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nornir_stack.inventory.addressing import Holder, NetworkPlan
    from nornir_stack.inventory.observed import Difference

_BOX, _GAP, _LEFT, _TOP = 132, 18, 190, 64
_STEP = 92  # from one network to the next
_BRIDGE = 96
_HEIGHT = 46  # of a host's box
_LINE = 18  # of a note
_COLOURS = {"public": "#b3541e", "private": "#1e5fb3"}

_STYLE = """
text { font: 13px sans-serif; fill: #222; paint-order: stroke; stroke: #fff; stroke-width: 5px }
.box { stroke: none }
.small { font-size: 11px; fill: #555 }
.name { font-weight: bold }
.address { font: 10.5px monospace; fill: #222 }
.wrong { fill: #c00000; font-weight: bold }
"""


@dataclass(frozen=True)
class Drawn:
    """A host in the picture: its roles in words, and its address in each network that it stands in.

    `marked` are the networks where it differs from the plan; `lost` says that it could not be looked at.
    """

    name: str
    about: str
    addresses: Mapping[str, str]
    marked: frozenset[str] = frozenset()
    lost: bool = False


def hosts_of(plans: Sequence[NetworkPlan], holders: Iterable[Holder], about: Mapping[str, str]) -> list[Drawn]:
    """Hosts in declared order (that of `about`, host to its roles in words) with the networks that hold their addresses."""
    known = list(holders)
    found: dict[str, dict[str, str]] = {name: {} for name in about}
    for plan in plans:
        static = ((name, address) for name, address in plan.network.static.items() if name in about)
        for name, address in [*((one.host, one.address) for one in known), *static]:
            if address in plan.network.cidr:
                found[name].setdefault(plan.name, str(address))
    return [Drawn(name, about[name], addresses) for name, addresses in found.items()]


def marked(hosts: Sequence[Drawn], found: Iterable[Difference], missing: Iterable[str]) -> list[Drawn]:
    """The hosts with what differs from the plan: an address that is there without being planned is drawn too."""
    wrong = list(found)
    lost = set(missing)
    result = []
    for host in hosts:
        mine = [one for one in wrong if one.host == host.name]
        addresses = {**{one.network: str(one.address) for one in mine}, **host.addresses}
        names = frozenset(one.network for one in mine)
        result.append(replace(host, addresses=addresses, marked=names, lost=host.name in lost))
    return result


def svg(plans: Sequence[NetworkPlan], hosts: Sequence[Drawn], notes: Sequence[str] = ()) -> str:
    """A self-contained SVG; `notes` are sentences below it, in red, for what is marked."""
    width = max(_LEFT + len(hosts) * (_BOX + _GAP) + _BRIDGE + 30, 760)
    lines = {plan.name: _TOP + 60 + number * _STEP for number, plan in enumerate(plans)}
    bottom = _TOP + 60 + len(plans) * _STEP - 20
    height = bottom + _HEIGHT + 40 + len(notes) * _LINE
    body = [
        *(part for number, host in enumerate(hosts) for part in _wires(host, number, lines, bottom)),
        *_way_out(plans, lines),
        *(part for plan in plans for part in _network(plan, lines[plan.name], width)),
        *(part for number, host in enumerate(hosts) for part in _host(host, number, lines, bottom)),
        *(_text(16, bottom + _HEIGHT + 32 + number * _LINE, note, "wrong") for number, note in enumerate(notes)),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    background = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", background, *body, "</svg>", ""])


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(ends: tuple[float, float, float, float], colour: str, width: float) -> str:
    x1, y1, x2, y2 = ends
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="{width:g}"/>'


def _way_out(plans: Sequence[NetworkPlan], lines: Mapping[str, float]) -> Iterator[str]:
    """The upstream network, and a gateway on the way from it to each network that has one."""
    yield f'<rect x="16" y="14" width="{_LEFT - 46}" height="34" rx="17" fill="#eee" stroke="#999"/>'
    yield _text((_LEFT - 14) / 2, 36, "upstream", anchor="middle")
    behind = [plan for plan in plans if plan.network.gateway is not None]
    for number, plan in enumerate(behind):
        x, y = 34 + number * 14, lines[plan.name]
        colour = _COLOURS[plan.network.kind]
        yield f'<polyline points="{x},48 {x},{y:g} {_LEFT - 30},{y:g}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield f'<circle cx="{x}" cy="{y:g}" r="5" fill="#fff" stroke="{colour}" stroke-width="2"/>'


def _network(plan: NetworkPlan, y: float, width: float) -> Iterator[str]:
    network = plan.network
    colour = _COLOURS[network.kind]
    yield _line((_LEFT - 30, y, width - 20, y), colour, 4)
    about = f'<tspan class="small" dx="10">{network.cidr}, {network.kind}</tspan>'
    yield f'<text x="{_LEFT - 26}" y="{y - 26:g}" class="name">{escape(plan.name)}{about}</text>'
    parts = [f"gateway {network.gateway}"] if network.gateway is not None else []
    parts += [f"router {router}" for router in network.routers]
    parts += [f"floating {pool.first} - {pool.last}" for pool in network.floating]
    parts += [f"pool {pool.first} - {pool.last}" for pool in network.pools]
    yield _text(_LEFT - 26, y - 10, " · ".join(parts), "small")
    if network.bridge:
        x = width - _BRIDGE - 20
        box = f'<rect x="{x:g}" y="{y - 14:g}" width="{_BRIDGE}" height="28" rx="3"'
        yield f'{box} fill="#fff" stroke="{colour}" stroke-width="2"/>'
        yield _text(x + _BRIDGE / 2, y + 5, network.bridge, "name box", "middle")
        yield _text(x + _BRIDGE / 2, y + 30, str(network.bridge_address or "no address"), "address", "middle")


def _wires(host: Drawn, number: int, lines: Mapping[str, float], top: float) -> Iterator[str]:
    for name, x in _places(host, number):
        yield _line((x, lines[name], x, top), "#c00000" if name in host.marked else "#999", 1.5)


def _host(host: Drawn, number: int, lines: Mapping[str, float], top: float) -> Iterator[str]:
    """Its box below all networks, and its address beside each of its wires."""
    for name, x in _places(host, number):
        wrong = name in host.marked
        colour = "#c00000" if wrong else "#555"
        yield f'<circle cx="{x:g}" cy="{lines[name]:g}" r="4.5" fill="{colour}"/>'
        yield _text(x + 7, lines[name] + 18, host.addresses[name], "address wrong" if wrong else "address")
    left = _LEFT + number * (_BOX + _GAP)
    edge = 'stroke="#c00000" stroke-dasharray="4 3"' if host.lost else 'stroke="#777"'
    yield f'<rect x="{left:g}" y="{top:g}" width="{_BOX}" height="{_HEIGHT}" rx="4" fill="#f6f6f6" {edge}/>'
    yield _text(left + _BOX / 2, top + 20, host.name, "name box", "middle")
    yield _text(left + _BOX / 2, top + 36, host.about, "small box", "middle")


def _places(host: Drawn, number: int) -> Iterator[tuple[str, float]]:
    """Where the wires run: the address of the lowest network stands leftmost, so that no wire crosses an address."""
    for place, name in enumerate(reversed([*host.addresses])):
        yield name, _LEFT + number * (_BOX + _GAP) + 12 + place * 14
