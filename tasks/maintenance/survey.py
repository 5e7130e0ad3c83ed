"""`maintenance.survey`: one look over all nodes, the worst first. For people, cron and Prometheus."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Plan, Stage, do
from nornir_stack.connections import has_shell
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import Selector, hosts
from nornir_stack.settings import settings_of
from nornir_stack.tasks.maintenance.archives import expected
from nornir_stack.tasks.maintenance.history import remember, sample_of
from nornir_stack.tasks.maintenance.judging import troubles
from nornir_stack.tasks.maintenance.look import look
from nornir_stack.tasks.maintenance.metrics import exposition
from nornir_stack.tasks.maintenance.reading import condition as read
from nornir_stack.tasks.maintenance.settings import Care

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.maintenance.condition import Condition
    from nornir_stack.tasks.maintenance.trouble import Trouble

NODES = Selector("nodes", has_shell)
METRICS = "maintenance.prom"
_SECONDS = 240.0


@dataclass(frozen=True)
class Surveyed:
    """A node's condition, and what of it an operator should know, the worst first."""

    condition: Condition
    troubles: tuple[Trouble, ...]


def survey(*, missing: Sequence[str] = (), textfile: str = "") -> Chain:
    """Look at all nodes, one round trip each, and say what an operator should know, the worst first. Changes nothing.

    Exit code 1: something is severe, or a node was not seen; 3: something is worth a look; 0: all is well.
    Limits stand in the inventory (`care:`, docs/care.md). What is measured is kept here, for the forecasts.

    missing: nodes that are known to be lost.
    textfile: a folder on the nodes where node_exporter's textfile collector reads: each gets its numbers in maintenance.prom.
    """
    parts: list[Stage | Plan[Surveyed]] = [Plan("nodes", condition, partial(judged, missing_ok=tuple(missing)), NODES)]
    if textfile:
        parts.append(Stage("metrics", [do(metrics, folder=textfile)], NODES - hosts(*missing), always=True))
    return Chain("maintenance.survey", *parts)


def condition(task: Task) -> Result[Surveyed]:
    """Observe a node's condition, in one round trip, and judge it by the limits of the inventory.

    A sample of it is added to the node's history on this machine.
    """
    node = Node(task)
    care = settings_of(task.host, Care)
    care = replace(care, backups={**care.backups, **expected(task.nornir.inventory, node.name)})
    sent = time.time()
    said = node.read(look(care), timeout=_SECONDS)
    seen = read(said.stdout, said.stderr, sent, time.time())
    history = remember(node.name, seen.machine, sample_of(seen))
    return node.done(Surveyed(seen, troubles(seen, care, history)))


def judged(seen: Seen[Surveyed], *, missing_ok: Sequence[str] = ()) -> Chain:
    """What all nodes' troubles come to. Raises Refused (exit code 1) with the table where something is severe. Pure."""
    unseen = {host: why for host, why in seen.missing.items() if host not in missing_ok and not on_purpose(why)}
    lost = [("severe", host, "node", f"It was not seen: {why}") for host, why in unseen.items()]
    known = [(one.severity, host, one.subject, one.text) for host, node in seen.items() for one in node.troubles]
    rows = sorted([*lost, *known], key=lambda row: row[0] != "severe")
    lines = table(rows)
    severe = sum(row[0] == "severe" for row in rows)
    if severe:
        raise Refused("\n".join([f"{severe} severe, {len(rows) - severe} worth a look", *lines]))
    return Chain("well", due=lines, reasons=[] if lines else [f"{len(seen)} nodes, nothing to be seen to."])


def on_purpose(why: str) -> bool:
    """Whether a node was not asked because the inventory says that it is under maintenance. Pure."""
    return why.startswith("under maintenance")


def table(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Lines with columns below each other: how bad, host, what, and the sentence. Pure."""
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    return ["  ".join([*(f"{row[i]:{widths[i]}}" for i in range(3)), row[3]]) for row in rows]


def metrics(task: Task, *, folder: str) -> Result[str]:
    """The node's numbers in the text form of Prometheus, for the collector on the node itself: as fresh as the file is.

    The value: the text. Raises Refused where the folder is not there.
    """
    node = Node(task)
    if node.stat(folder) is None:
        raise Refused(f"{node.name}: there is no folder {folder}: is that where node_exporter's textfile collector reads?")
    seen = condition(task).value
    text = exposition(seen.condition, seen.troubles, name=node.name)
    node.write_file(f"{folder}/{METRICS}", text)
    return node.done(text)
