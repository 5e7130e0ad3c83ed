"""Static routes to public networks on the upstream router: put in, read back, kept, removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from nornir_stack.device import Router as Console
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.networking.dialects import DIALECTS, Static, decide, faults, installed
from nornir_stack.tasks.networking.links import links
from nornir_stack.tasks.networking.upstream import upstream_routes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.networking.dialects import Dialect


@dataclass(frozen=True, kw_only=True)
class Router:
    """An upstream router. `linux` is one with a shell: its routes are written as its own `network` is."""

    key: ClassVar[str] = "router"

    dialect: Literal["cisco", "frr", "vyos", "linux"] = "cisco"


def static_routes(task: Task) -> Result[tuple[str, ...]]:
    """Have static routes to the public networks that hosts of the inventory route, each via its host; others' are kept.

    One to a network that is no longer routed is removed; one that goes elsewhere is replaced. The configuration is saved.
    The value are the routes that the router has now. Raises Refused where it does not take them, or does not route by them.
    """
    node = Node(task)
    dialect = settings_of(task.host, Router).dialect
    wanted, managed = upstream_routes(task.nornir.inventory)
    if dialect == "linux":
        node.then(links)
        return node.done(tuple(map(str, wanted)))
    return _told(node, DIALECTS[dialect], wanted, managed)


def _told(node: Node, words: Dialect, wanted: Sequence[Static], managed: Sequence[IPv4Network]) -> Result[tuple[str, ...]]:
    console = Console(node)
    there = list(words.parse(console.read(words.show)))
    add, remove = decide(there, wanted, managed)
    unsaved = bool(words.saved) and not set(wanted) <= set(words.parse(console.read(words.saved)))
    if add or remove:
        what = "; ".join([*(f"route {route}" for route in add), *(f"no route {route}" for route in remove)])
        said = console.change(words.lines(add, remove), what=what, repeatable=True)
        if said is not None:
            _refuse_unless(node, list(words.parse(console.read(words.show))), wanted, remove, said)
    if words.save and (add or remove or unsaved):
        console.save(words.save)
    return node.done(lambda: _now(node, console, words, wanted))


def _refuse_unless(node: Node, after: Sequence[Static], wanted: Sequence[Static], remove: Sequence[Static], said: str) -> None:
    """Raise Refused unless the router has just these routes now; nothing is saved then."""
    lacking = [route for route in wanted if route not in after]
    left = [route for route in remove if route in after]
    if lacking or left:
        why = "; ".join(faults(said)) or "it said nothing against it"
        what = ", ".join([*(f"no route {route}" for route in lacking), *(f"still the route {route}" for route in left)])
        raise Refused(f"{node.name} was told and has {what}: {why}")


def _now(node: Node, console: Console, words: Dialect, wanted: Sequence[Static]) -> tuple[str, ...]:
    """The routes that the router routes by. Raises Refused for one that it has and does not use."""
    used = installed(console.read(words.installed))
    idle = [route for route in wanted if (route.target.network_address, route.via) not in used]
    if idle:
        raise Refused(
            f"{node.name} has the route {idle[0]} and does not route by it: is {idle[0].via} in a network of the router's own,"
            " and up?"
        )
    return tuple(map(str, wanted))
