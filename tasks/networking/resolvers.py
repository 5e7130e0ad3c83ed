"""Name servers that a link's former files name: ours take the place of these, and nobody declares them. Pure.

They go where the link's address goes: to the bridge that a card becomes a port of, and back. What DHCP brings is not here.
Netplan's other files keep theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.settings import Links

_SERVERS = {"DNS", "dns", "dns-nameservers", "dns-nameserver"}
_SEARCH = {"Domains", "DOMAIN", "dns-search", "dns-domain"}


@dataclass(frozen=True)
class Resolver:
    """The addresses of name servers as they stand there (networkd's may have a port or a name), and the domains to search."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


NONE = Resolver()


def parse(text: str, names: Mapping[str, str]) -> dict[str, Resolver]:
    """Lines `WHO LINK KEY VALUES`, as the look prints them: of networkd the link by its index, which `names` knows."""
    found: dict[str, Resolver] = {}
    for line in text.splitlines():
        who, link, key, *values = line.replace("=", " ", 1).translate(str.maketrans(";,\"'", "    ")).split() + [""] * 3
        name = names.get(link, "") if who == "networkd" else link
        was, more = found.get(name, NONE), tuple(value for value in values if value)
        if key in _SERVERS or (key.startswith("DNS") and key[3:].isdigit()):
            found[name] = Resolver(_joined(was.servers, more), was.search)
        elif key in _SEARCH:
            found[name] = Resolver(was.servers, _joined(was.search, more))
    return {name: one for name, one in found.items() if name and one != NONE}


def _joined(one: tuple[str, ...], two: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*one, *two]))


def carried(links: Links, now: NodeNetwork) -> dict[str, Resolver]:
    """By link of the declaration (complete) the name servers that it has, or that its ports or its bridge have now."""
    found = {}
    for name, link in links.links.items():
        if not (link.addresses or link.dhcp):
            continue
        over = now.links[name].master if name in now.links else ""
        theirs = [now.resolvers[one] for one in (name, *link.ports, over) if one in now.resolvers]
        if theirs:
            found[name] = theirs[0]
    return found
