"""How routers with a prompt are told of static routes: lines to send, and what is shown. Pure.

Cisco IOS Command Reference (ip route, show ip route), VyOS user guide (protocols static), FRR's user guide (STATIC).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_INSTALLED = re.compile(r"^S\S*\s+(\d+\.\d+\.\d+\.\d+)(?:/\d+)?\s.*?\bvia (\d+\.\d+\.\d+\.\d+)", re.MULTILINE)
_FAULT = re.compile(r"^\s*(%.*|.*(?:Commit failed|Invalid command|Configuration path.*not valid).*)$", re.MULTILINE)


@dataclass(frozen=True)
class Static:
    """A static route: a network and the address it is sent to."""

    target: IPv4Network
    via: IPv4Address

    def __str__(self) -> str:
        return f"{self.target} via {self.via}"


@dataclass(frozen=True)
class Dialect:
    """A router's words: `show` prints its static routes as they are configured, `installed` those that it routes by.

    `save` keeps the configuration over a restart; '' where `lines` does so itself. `saved` prints what is kept ('': nothing
    does).
    """

    show: str
    installed: str
    save: str
    add: Callable[[Static], str]
    remove: Callable[[Static], str]
    parse: Callable[[str], Iterator[Static]]
    after: tuple[str, ...] = ()
    saved: str = ""

    def lines(self, add: Sequence[Static], remove: Sequence[Static]) -> list[str]:
        """What is sent in configuration mode; a route that replaces another comes first, so that there is always one."""
        return [*map(self.add, add), *map(self.remove, remove), *self.after]


def _prefix(text: str) -> Iterator[Static]:
    """`ip route 111.0.0.0/28 10.0.0.2 [...]`, a route to an interface or a blackhole left out."""
    for found in re.finditer(r"^\s*ip route (\d\S*/\d+) (\d+\.\d+\.\d+\.\d+)", text, re.MULTILINE):
        yield Static(ip_network(found[1]), ip_address(found[2]))  # type: ignore[arg-type]


def _mask(text: str) -> Iterator[Static]:
    """`ip route 111.0.0.0 255.255.255.240 10.0.0.2 [...]`."""
    for found in re.finditer(
        r"^\s*ip route (\d+\.\d+\.\d+\.\d+) (\d+\.\d+\.\d+\.\d+) (\d+\.\d+\.\d+\.\d+)", text, re.MULTILINE
    ):
        yield Static(ip_network(f"{found[1]}/{found[2]}"), ip_address(found[3]))  # type: ignore[arg-type]


def _set(text: str) -> Iterator[Static]:
    """`set protocols static route 111.0.0.0/28 next-hop 10.0.0.2`, with quotes in some releases."""
    pattern = r"^\s*set protocols static route '?(\d\S*/\d+?)'? next-hop '?(\d+\.\d+\.\d+\.\d+)'?"
    for found in re.finditer(pattern, text, re.MULTILINE):
        yield Static(ip_network(found[1]), ip_address(found[2]))  # type: ignore[arg-type]


def _ios(route: Static) -> str:
    return f"ip route {route.target.network_address} {route.target.netmask} {route.via}"


def _frr(route: Static) -> str:
    return f"ip route {route.target} {route.via}"


DIALECTS: Mapping[str, Dialect] = {
    "cisco": Dialect(
        show="show running-config | include ^ip route",
        installed="show ip route static",
        save="write memory",
        add=_ios,
        remove=lambda route: f"no {_ios(route)}",
        parse=_mask,
        saved="show startup-config | include ^ip route",
    ),
    "frr": Dialect(
        show="show running-config",
        installed="show ip route static",
        save="write memory",
        add=_frr,
        remove=lambda route: f"no {_frr(route)}",
        parse=_prefix,
    ),
    "vyos": Dialect(
        show='show configuration commands | match "protocols static route"',
        installed="show ip route static",
        save="",
        add=lambda route: f"set protocols static route {route.target} next-hop {route.via}",
        remove=lambda route: f"delete protocols static route {route.target} next-hop {route.via}",
        parse=_set,
        after=("commit", "save", "exit"),
    ),
}


def installed(text: str) -> set[tuple[IPv4Address, IPv4Address]]:
    """First address and gateway of each static route that a router routes by; Cisco's lines may lack the prefix."""
    return {(IPv4Address(first), IPv4Address(via)) for first, via in _INSTALLED.findall(text)}


def faults(text: str) -> list[str]:
    """What a router said against the lines it was sent."""
    return [line.strip() for line in _FAULT.findall(text)]


def decide(
    there: Sequence[Static], wanted: Sequence[Static], managed: Sequence[IPv4Network]
) -> tuple[list[Static], list[Static]]:
    """The routes to add and to remove. Only those to `managed` networks are ours; any other stays."""
    add = [route for route in wanted if route not in there]
    remove = [route for route in there if route.target in managed and route not in wanted]
    return add, remove
