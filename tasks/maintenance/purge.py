"""`maintenance.purge`: rows that services only marked as deleted, counted, and taken away by their own commands."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  read at run time, with the dataclass
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Plan, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.select import hosts, nearest, role
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.database import quoted
from nornir_stack.tasks.maintenance.purge_table import TABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.maintenance.purge_table import Left

CONTROLLER, DB = role("controller"), role("db")
_PROGRAMS = 'for program; do command -v "$program" >/dev/null && echo "$program"; done; :'
_COLUMNS = (
    "SELECT TABLE_SCHEMA AS a, TABLE_NAME AS b FROM information_schema.COLUMNS"
    " WHERE COLUMN_NAME = 'deleted_at' AND TABLE_SCHEMA REGEXP %s ORDER BY 1, 2"
)
_DAY = "SELECT DATE_FORMAT(UTC_TIMESTAMP() - INTERVAL %s DAY, '%%Y-%%m-%%d') AS day"
_SWEEP_SECONDS = 3600.0


@dataclass(frozen=True)
class Deleted:
    """Rows that were marked as deleted before `day` (UTC), by service and table; and which services' commands are here.

    `counted` is whether there is a database server here at all. Names are `schema.table`; of Nova, rows that it archived too.
    """

    day: str = ""
    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    counted: bool = False

    def total(self, service: str) -> int:
        return sum(self.rows.get(service, {}).values())


def purge(*, days: int = 90, services: Sequence[str] = (), rows: int = 1000, batches: int = 100) -> Chain:
    """Take away for good what Nova, Cinder, Glance and Heat only marked as deleted. `check` tells how much that is, by table.

    By the services' own commands, Nova in batches; at most `rows` times `batches` at once, and what is left is told.

    days: rows that were deleted longer ago than this.
    services: of which of them (all that are there).
    rows: how many rows a batch of Nova's and Glance's moves or takes.
    batches: how often that is repeated.
    """
    if min(days, rows, batches) < 1:
        raise UsageError("days, rows and batches are numbers above 0: what was deleted today may still be asked about")
    for name in services:
        if name not in TABLE:
            raise UsageError(f"{name!r} leaves no deleted rows that are known here{nearest(name, TABLE)}")
    decide = partial(purging, services=tuple(services), days=days, rows=rows, batches=batches)
    look = do(deleted_rows, days=days)
    return Chain(
        "maintenance.purge",
        Plan("count", look, decide, DB | CONTROLLER),
        Plan("left", look, partial(left, services=tuple(services)), DB | CONTROLLER),
    )


def deleted_rows(task: Task, *, days: int) -> Result[Deleted]:
    """Observe the rows that were marked as deleted longer than `days` ago, where this node has the databases."""
    node = Node(task)
    inventory = task.nornir.inventory
    programs = tuple(node.read(sh(_PROGRAMS, *(one.program for one in TABLE.values()), label="whose commands are here")).lines)
    if node.name not in (DB.hosts(inventory) or CONTROLLER.hosts(inventory)):
        return node.done(Deleted(programs=programs))
    sql = Sql(node)
    day = str(sql.read(_DAY, days)[0]["day"])
    found = {one.service: _counted(sql, one, day) for one in TABLE.values()}
    return node.done(Deleted(day, {name: those for name, those in found.items() if those}, programs, counted=True))


def _counted(sql: Sql, one: Left, day: str) -> dict[str, int]:
    tables = [(str(row["a"]), str(row["b"])) for row in sql.read(_COLUMNS, one.schemas)]
    wanted = swept(tables, one)
    if not wanted:
        return {}
    counts = {int(row["i"]): int(row["n"]) for row in sql.read(counting(wanted), *([day] * len(wanted)))}
    return {f"{schema}.{table}": counts[i] for i, (schema, table) in enumerate(wanted) if counts[i]}


def swept(tables: Iterable[tuple[str, str]], one: Left) -> list[tuple[str, str]]:
    """The tables, schema and name, that a service's commands take rows from: of Nova's those with a shadow, and these. Pure."""
    known = {each for each in tables if each[1] not in one.kept}
    if one.shadow:
        known = {each for each in known if each[1].startswith(one.shadow) or (each[0], f"{one.shadow}{each[1]}") in known}
    return sorted(known)


def counting(tables: Sequence[tuple[str, str]]) -> str:
    """One statement that counts in all of them, each by its place; the day is its argument once a table. Pure."""
    return " UNION ALL ".join(
        f"SELECT {i} AS i, COUNT(*) AS n FROM {quoted(schema)}.{quoted(table)} WHERE deleted_at < %s"  # noqa: S608  quoted
        for i, (schema, table) in enumerate(tables)
    )


def purging(seen: Seen[Deleted], *, services: tuple[str, ...], days: int, rows: int, batches: int) -> Chain:
    """What is taken away, on whose node. Raises Refused where nobody could count, or nobody has the command. Pure."""
    now = _of(seen)
    stages, reasons = [], []
    for name in services or TABLE:
        if not now.total(name):
            continue
        able = [host for host, one in seen.items() if TABLE[name].program in one.programs]
        if not able:
            raise Refused(f"{name} left {now.total(name)} rows, and no controller that was seen has {TABLE[name].program}")
        reasons.append(told(name, now))
        task = do(sweep, service=name, day=now.day, days=days, rows=rows, batches=batches, why=reasons[-1])
        stages.append(Stage(name, [task], hosts(able[0])))
    return Chain("purge", *stages, reasons=reasons or [f"nothing was deleted before {now.day} and is still there"])


def left(seen: Seen[Deleted], *, services: tuple[str, ...]) -> Chain:
    """What is left, which somebody should see to: run it again. Pure."""
    now = _of(seen)
    return Chain("left", due=[f"still there: {told(name, now)}" for name in services or TABLE if now.total(name)])


def _of(seen: Seen[Deleted]) -> Deleted:
    for one in seen.values.values():
        if one.counted:
            return one
    why = "; ".join(f"{host}: {text}" for host, text in seen.missing.items())
    raise Refused(f"no database server could be asked: {why or 'the inventory has none'}")


def told(name: str, now: Deleted) -> str:
    """`nova: 1200 rows deleted before 2026-08-30: nova.instances 800, ...`. Pure."""
    tables = sorted(now.rows[name].items(), key=lambda item: -item[1])
    return f"{name}: {now.total(name)} rows deleted before {now.day}: " + ", ".join(f"{table} {n}" for table, n in tables)


def sweep(task: Task, *, service: str, day: str, days: int, rows: int, batches: int, why: str = "") -> Result[int]:
    """Run a service's own commands that take away what was deleted before `day`, `days` ago. The value: how often.

    `why`: what is known of it, for people. Raises UsageError for a service that is not known.
    """
    if service not in TABLE:
        raise UsageError(f"{service!r} leaves no deleted rows that are known here{nearest(service, TABLE)}")
    node = Node(task)
    runs = 0
    for each in TABLE[service].sweeps:
        words = [word.format(day=day, days=days, rows=rows) for word in each.argv]
        for number in range(batches if each.more else 1):
            done: Any = node.change(
                *("runuser", "-u", service, "--", *words),
                ok=(*each.done, *each.more),
                timeout=_SWEEP_SECONDS,
                diff="" if number or runs else f"-{why or service}\n",
                repeatable=True,
            )
            runs += 1
            if node.dry_run or done.status not in each.more:
                break
    return node.done(runs)
