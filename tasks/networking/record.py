"""What an earlier run made of a node's network, so that what is declared no longer goes too. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from nornir_stack.tasks.networking.differ import has_route, rule_words
from nornir_stack.tasks.networking.order import devices, family, ip_route, ip_rule, link_of
from nornir_stack.tasks.networking.settings import Route, Rule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.settings import Links

RECORD = "/etc/nornir-stack/network.json"


@dataclass(frozen=True)
class Record:
    """Files by path, devices that were made with their kind, cards, routes (each with its link) and rules of a declaration."""

    files: tuple[str, ...] = ()
    devices: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[tuple[Route, str], ...] = ()
    rules: tuple[Rule, ...] = ()
    cards: tuple[str, ...] = ()


def record_of(links: Links, files: Sequence[str]) -> str:
    """The record's text for a declaration (complete)."""
    made = {name: link.kind for name, link in devices(links).items() if link.kind != "card"}
    routes = [
        [str(route.to), str(route.via) if route.via is not None else None, link_of(route, links), route.metric, route.table]
        for route in links.routes
    ]
    rules = [[rule.table, rule.priority, _text(rule.source), _text(rule.target)] for rule in links.rules]
    cards = [name for name, link in devices(links).items() if link.kind == "card"]
    found = {"files": list(files), "devices": made, "cards": cards, "routes": routes, "rules": rules}
    return json.dumps(found, indent=1) + "\n"


def recorded(text: str | None) -> Record:
    """The record, empty where there is none."""
    found: dict[str, Any] = json.loads(text) if text else {}
    routes = tuple(
        (
            Route(
                to=to if to == "default" else ip_network(to), via=ip_address(via) if via else None, metric=metric, table=table
            ),
            link,
        )
        for to, via, link, metric, table in found.get("routes", ())
    )
    rules = tuple(
        Rule(table=table, priority=priority, source=_network(source), target=_network(target))
        for table, priority, source, target in found.get("rules", ())
    )
    return Record(tuple(found.get("files", ())), found.get("devices", {}), routes, rules, tuple(found.get("cards", ())))


def forgotten(record: Record, links: Links, now: NodeNetwork) -> list[str]:
    """What is still there of routes and rules that were declared once and are no longer, as `ip` takes them away."""
    wanted = [(route.target, route.via, link_of(route, links), route.metric, route.table) for route in links.routes]
    gone = [
        f"-{family(route)} route delete {ip_route(route, link)}"
        for route, link in record.routes
        if (route.target, route.via, link, route.metric, route.table) not in wanted
        and not _connected(route, link, links)
        and has_route(route, link, now)
    ]
    lost = [rule for rule in record.rules if rule not in links.rules and rule_words(rule) in now.rules]
    return [*gone, *(f"-{family(rule)} rule delete {ip_rule(rule)}" for rule in lost)]


def freed(record: Record, links: Links, now: NodeNetwork) -> dict[str, str]:
    """Cards that were declared once, are no longer, and are a port of a declared bridge or bond still: that one."""
    found = {}
    for card in record.cards:
        seen = now.links.get(card)
        if card in links.links or seen is None:
            continue
        bridge = next((name for name, one in now.bridges.items() if card in one.ports), "")
        if (bridge or seen.master) in links.links:
            found[card] = bridge or seen.master
    return found


def _connected(route: Route, link: str, links: Links) -> bool:
    """Whether an address that is declared brings it."""
    held = links.links[link].addresses if link in links.links else ()
    return route.via is None and any(address.network == route.target for address in held)


def _text(network: object) -> str | None:
    return str(network) if network is not None else None


def _network(text: str | None) -> Any:
    return ip_network(text) if text else None
