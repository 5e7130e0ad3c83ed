"""The small table that the page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.connections.mysql import mysql
from nornir_stack.errors import DatabaseFailed, Undecidable
from nornir_stack.node import Node
from nornir_stack.select import role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.web.settings import Web

if TYPE_CHECKING:
    from nornir.core.inventory import Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result

_NO_TABLE = (1146, 1049)  # ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR
_ROW = "It works"


def table(task: Task) -> Result[tuple[str, ...]] | Result[None]:
    """Have the tables that the pages show, each with at least one row, through the first declared member; their names.

    The others get it by replication. Schemas and users are made with the cluster. Raises DatabaseFailed.
    """
    node = Node(task)
    first = role("db").hosts(task.nornir.inventory)[0]
    if node.name != first:
        return node.skipped(f"{first} does it, and the cluster replicates it")
    wanted = tables(task.nornir.inventory)
    for name in wanted:
        if not _has_row(node, name):
            _make(node, name)
    return node.done(wanted)


def tables(inventory: Inventory) -> tuple[str, ...]:
    """The tables that the pages of all web servers show, quoted for SQL, each once."""
    pages = [settings_of(inventory.hosts[name], Web) for name in role("web").hosts(inventory)]
    return tuple(dict.fromkeys(f"`{one.database}`.`{one.table}`" for one in pages))


def _has_row(node: Node, name: str) -> bool:
    server = mysql(node.host, node.task.nornir.config)
    try:
        # the name is made of identifiers that the schema of the settings let through
        return bool(node.gate.look(f"read {name}", lambda: server.query(f"SELECT 1 FROM {name} LIMIT 1")))  # noqa: S608
    except DatabaseFailed as error:
        if error.code in _NO_TABLE:
            return False
        if node.dry_run:
            raise Undecidable(f"whether {name} is there", "the cluster runs") from error
        raise


def _make(node: Node, name: str) -> None:
    server = mysql(node.host, node.task.nornir.config)

    def make() -> None:
        server.execute(
            f"CREATE TABLE IF NOT EXISTS {name}"
            " (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, test_name VARCHAR(200) NOT NULL) ENGINE=InnoDB"
        )
        # again by name: another controller, or an interrupted run, may have been here since
        server.execute(
            f"INSERT INTO {name} (test_name) SELECT %s FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM {name})", (_ROW,)  # noqa: S608
        )

    node.gate.effect(f"make {name} with a row", make, diff=f"--- {name}\n+++ {name}\n+{_ROW}\n", repeatable=True)
