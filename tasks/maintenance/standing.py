"""What of a site runs on a node, in the groups in which a site is stopped; and what was noted of it. Pure but for the look."""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003  read at run time, with the dataclass
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.tasks.config.services import TABLE, candidates
from nornir_stack.tasks.system.facts import family

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

Group: TypeAlias = Literal["services", "web", "messages", "balancer"]
GROUPS: tuple[Group, ...] = ("services", "web", "messages", "balancer")
NOTE = "/var/lib/nornir-stack/at-rest.json"
# Of both families; a node has those of one. Apache is stopped after the services, of which it may serve some itself.
_UNITS: Mapping[str, tuple[str, ...]] = {
    "web": ("apache2.service", "httpd.service"),
    "messages": ("rabbitmq-server.service", "memcached.service"),
    "balancer": ("keepalived.service", "haproxy.service"),
}
_LOOK = r"""
for unit; do if systemctl is-active --quiet -- "$unit"; then echo "$unit"; fi; done
:
"""


@dataclass(frozen=True)
class Standing:
    """Units that run and units that were stopped to come back, by group, each in the order of the stop.

    `db`: the node is a member of the database cluster, which has its own rules.
    """

    running: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    noted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    db: bool = False


def standing(task: Task) -> Result[Standing]:
    """Observe what of the site runs on the node, and what was noted when it was laid to rest."""
    node = Node(task)
    return node.done(look(node))


def look(node: Node) -> Standing:
    """The same, for other tasks; two round trips."""
    known = units(family(node).name)
    active = set(node.read(sh(_LOOK, *(unit for group in known.values() for unit in group), label="what runs")).lines)
    running = {group: tuple(unit for unit in those if unit in active) for group, those in known.items()}
    return Standing(running, parse(node.read_file(NOTE)), node.host.has_parent_group("db"))


def units(kind: Literal["debian", "redhat"]) -> dict[str, tuple[str, ...]]:
    """All units of a group, in the order in which they are stopped: of OpenStack that of the table backwards. Pure."""
    files = [file for row in TABLE for file in row.files]
    others = {unit for group in _UNITS.values() for unit in group}
    services = tuple(unit for unit in reversed(candidates(files, kind)) if unit not in others)
    return {"services": services, **_UNITS}


def parse(text: str | None) -> dict[str, tuple[str, ...]]:
    """The note. Raises Refused for one that cannot be read."""
    if not text:
        return {}
    try:
        return {group: tuple(those) for group, those in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        raise Refused(f"{NOTE} cannot be read: start by hand what ran before, and take the file away") from None


def noted(now: Standing, group: str) -> dict[str, list[str]]:
    """The note once a group is stopped: what was stopped by a run before that was cut stays in it. Pure."""
    before = now.noted.get(group, ())
    return {
        **{key: list(value) for key, value in now.noted.items()},
        group: list(dict.fromkeys((*before, *now.running[group]))),
    }


def to_json(note: Mapping[str, list[str]]) -> str:
    return json.dumps(note, indent=1, sort_keys=True) + "\n"
