"""The packet rules that make a host with public networks behind it a good citizen, as nft reads them. Pure.

Only the own range is answered for, foreign ARP is dropped in both directions, packets to addresses not in the range are
dropped, nothing leaves with another's source, and the gateway's address is closed to instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nornir_stack.tasks.networking.observe import NodeNetwork, SeenRoute
    from nornir_stack.tasks.networking.uplink import How

TABLE = "nornir_stack_external"
FAMILIES = ("ip", "arp", "bridge")
_PROBE = "0.0.0.0"  # noqa: S104  the source of a probe before an address is taken (RFC 5227)


@dataclass(frozen=True)
class Guarded:
    """One public network as the rules need it: `own` are its ranges, `gateway` the host's own address in it ('': none).

    `card_addresses` are those that the host itself has on the card.
    """

    mode: How
    card: str
    bridge: str
    own: tuple[str, ...]
    gateway: str = ""
    card_addresses: tuple[str, ...] = ()


def rules(networks: Sequence[Guarded]) -> str:
    """A file for `nft -f` that replaces what an earlier one loaded, in one transaction."""
    bodies = {"ip": list(_ip(networks)), "arp": list(_arp(networks)), "bridge": list(_bridge(networks))}
    head = [f"table {family} {TABLE}\ndelete table {family} {TABLE}" for family in FAMILIES]
    made = [f"table {family} {TABLE} {{\n" + "\n".join(lines) + "\n}" for family, lines in bodies.items() if lines]
    return "\n".join(["# written by nornir_stack from the inventory's `external`", *head, *made, ""])


def _chain(name: str, hook: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"    chain {name} {{"
        # before the filters of others: what is dropped here reaches none
        yield f"        type filter hook {hook} priority -5; policy accept;"
        yield from (f"        {line}" for line in lines)
        yield "    }"


def _set(words: Sequence[str]) -> str:
    return "{ " + ", ".join(dict.fromkeys(words)) + " }"


def _cards(networks: Sequence[Guarded]) -> dict[str, list[Guarded]]:
    found: dict[str, list[Guarded]] = {}
    for one in networks:
        found.setdefault(one.card, []).append(one)
    return found


def _ip(networks: Sequence[Guarded]) -> Iterator[str]:
    routed = [one for one in networks if one.mode != "bridged"]
    forward, closed = [], []
    for card, mine in _cards(routed).items():
        own = _set([word for one in mine for word in one.own])
        forward.append(f'iifname "{card}" ct state new ip daddr != {own} drop')
    for one in routed:
        forward.append(f'iifname "{one.bridge}" ip saddr != {_set(one.own)} drop')
        forward.append(f'oifname "{one.bridge}" ip daddr != {_set(one.own)} drop')
        if one.gateway:
            closed.append(f'iifname "{one.bridge}" ip daddr {one.gateway} ct state new reject with icmp admin-prohibited')
    yield from _chain("forward", "forward", forward)
    yield from _chain("input", "input", closed)


def _arp(networks: Sequence[Guarded]) -> Iterator[str]:
    heard, said = [], []
    for card, mine in _cards([one for one in networks if one.mode == "proxy_arp"]).items():
        own = [word for one in mine for word in one.own]
        host = [word for one in mine for word in one.card_addresses]
        heard.append(f'iifname "{card}" arp operation request arp daddr ip != {_set([*own, *host])} drop')
        heard.append(f'iifname "{card}" arp saddr ip {_set(own)} drop')
        said.append(f'oifname "{card}" arp saddr ip != {_set([*own, *host, _PROBE])} drop')
    yield from _chain("input", "input", heard)
    yield from _chain("output", "output", said)


def _bridge(networks: Sequence[Guarded]) -> Iterator[str]:
    """Of a bridged network: instances speak only for the own ranges, and nobody outside does."""
    lines = []
    for card, mine in _cards([one for one in networks if one.mode == "bridged"]).items():
        own = [word for one in mine for word in one.own]
        lines.append(f'oifname "{card}" arp saddr ip != {_set([*own, _PROBE])} drop')
        lines.append(f'oifname "{card}" ip saddr != {_set(own)} drop')
        lines.append(f'iifname "{card}" arp operation request arp daddr ip != {_set(own)} drop')
        lines.append(f'iifname "{card}" arp saddr ip {_set(own)} drop')
    yield from _chain("forward", "forward", lines)


def answered(now: NodeNetwork, card: str) -> list[SeenRoute]:
    """The routes for whose addresses the kernel would answer ARP on `card`: those that leave by another link.

    The default route is one of them where it leaves by another link (arp_process of the kernel: it asks only whether the
    way out is another device).
    """
    return [
        one
        for one in now.routes
        if one.table == "main" and one.kind == "unicast" and one.target.version == 4 and one.link not in {card, "lo", ""}  # noqa: PLR2004
    ]
