"""`galera.schema`: what Galera does not replicate, or replicates badly, in the schemas of the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Plan
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.observe import look
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.views import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

_OURS = "('mysql', 'sys', 'information_schema', 'performance_schema')"
_TABLES = f"""
SELECT t.TABLE_SCHEMA AS place, t.TABLE_NAME AS name, COALESCE(t.ENGINE, '') AS engine,
    EXISTS (SELECT 1 FROM information_schema.TABLE_CONSTRAINTS c WHERE c.TABLE_SCHEMA = t.TABLE_SCHEMA
            AND c.TABLE_NAME = t.TABLE_NAME AND c.CONSTRAINT_TYPE = 'PRIMARY KEY') AS keyed
FROM information_schema.TABLES t WHERE t.TABLE_TYPE = 'BASE TABLE' AND t.TABLE_SCHEMA NOT IN {_OURS}
"""  # noqa: S608  constants
_EVENTS = f"""
SELECT EVENT_SCHEMA AS place, EVENT_NAME AS name FROM information_schema.EVENTS
WHERE STATUS = 'ENABLED' AND EVENT_SCHEMA NOT IN {_OURS}
"""  # noqa: S608  constants
_VARIABLES = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('binlog_format', 'innodb_autoinc_lock_mode', 'event_scheduler',"
    " 'default_storage_engine', 'wsrep_osu_method', 'binlog_do_db', 'binlog_ignore_db')"
)


@dataclass(frozen=True)
class Schema:
    """A member's tables, as far as they are a danger; names are `schema.table`. `engines`: those not InnoDB, with the engine.

    `events`: that are enabled here. `settings`: name to value.
    """

    keyless: tuple[str, ...]
    engines: tuple[tuple[str, str], ...]
    events: tuple[str, ...]
    settings: dict[str, str]


def schema(*, ignore: Sequence[str] = ()) -> Chain:
    """Look at the schemas on every member, and fail (exit code 1) with a sentence for each thing that does not replicate well.

    ignore: tables, as schema.table, that are known and accepted.
    """
    return Chain("galera.schema", Plan("schemas", schema_of, partial(_judged, ignore=frozenset(ignore)), DB))


def schema_of(task: Task) -> Result[Schema]:
    """Observe the tables, events and settings of this member. Raises Refused where no server of a cluster runs."""
    node = Node(task)
    if not look(node).serves:
        raise Refused(f"{node.name} does not serve: its tables are not looked at")
    sql = Sql(node)
    tables = sql.read(_TABLES)
    return node.done(
        Schema(
            keyless=tuple(f"{row['place']}.{row['name']}" for row in tables if not row["keyed"]),
            engines=tuple((f"{row['place']}.{row['name']}", str(row["engine"])) for row in tables if row["engine"] != "InnoDB"),
            events=tuple(f"{row['place']}.{row['name']}" for row in sql.read(_EVENTS)),
            settings={name.lower(): value for name, value in sql.pairs(_VARIABLES).items()},
        )
    )


def _judged(seen: Seen[Schema], *, ignore: frozenset[str]) -> Chain:
    problems = dangers(seen, ignore)
    if problems:
        raise Refused("\n".join(problems))
    return Chain("well", reasons=["Every table is InnoDB and has a primary key."])


def dangers(seen: Seen[Schema], ignore: frozenset[str] = frozenset()) -> list[str]:
    """What replicates badly or not at all, a sentence each (MariaDB manual, "MariaDB Galera Cluster - Known Limitations")."""
    problems = [f"{host} was not seen ({why})." for host, why in seen.missing.items()]
    keyless = sorted({name for _, one in seen.items() for name in one.keyless} - ignore)
    engines = {name: engine for _, one in seen.items() for name, engine in one.engines if name not in ignore}
    problems += [
        f"{name} has no primary key: deletes may fail on other members, and rows may stand in another order there."
        for name in keyless
        if name not in engines
    ]
    problems += [f"{name} is {engine}: Galera replicates InnoDB only." for name, engine in sorted(engines.items())]
    for name in sorted({name for _, one in seen.items() for name in one.events}):
        running = [host for host, one in seen.items() if name in one.events and one.settings.get("event_scheduler") == "ON"]
        if len(running) > 1:
            problems.append(f"The event {name} runs on {words(running)}: each of them executes it.")
    for host, one in seen.items():
        problems += [f"{host}: {sentence}" for sentence in _settings(one.settings)]
    return problems


def _settings(values: dict[str, str]) -> list[str]:
    problems = []
    if values.get("binlog_format", "ROW") != "ROW":
        problems.append(f"binlog_format is {values['binlog_format']}: Galera needs ROW.")
    if values.get("innodb_autoinc_lock_mode", "2") != "2":
        problems.append(f"innodb_autoinc_lock_mode is {values['innodb_autoinc_lock_mode']}: Galera needs 2.")
    if values.get("default_storage_engine", "InnoDB") != "InnoDB":
        problems.append(f"default_storage_engine is {values['default_storage_engine']}: new tables would not replicate.")
    if values.get("wsrep_osu_method", "TOI") != "TOI":
        problems.append(f"wsrep_OSU_method is {values['wsrep_osu_method']}: changes of tables stay on one member.")
    problems += [
        f"{name} is {values[name]}: what it leaves out is missing from a restore to a point in time."
        for name in ("binlog_do_db", "binlog_ignore_db")
        if values.get(name)
    ]
    return problems
