"""A task's database server: the two verbs over its node's `mysql` connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_stack.connections.mysql import Mysql, mysql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.node import Node


class Sql:
    """`read` and `change` for SQL, through the gate of the task's Node. Raises DatabaseFailed."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def _server(self) -> Mysql:
        return mysql(self._node.host, self._node.task.nornir.config)

    def read(self, sql: str, *args: object, independent: bool = False) -> list[dict[str, Any]]:
        """The rows of a statement that only reads, by column name."""
        return self._node.gate.look(sql, lambda: self._server.query(sql, args or None), independent=independent)

    def change(self, sql: str, *args: object, what: str = "", repeatable: bool = False) -> None:
        """A statement that changes something; in a dry run it is only written down, as `what` or itself."""
        shown = what or sql
        self._node.gate.effect(
            shown,
            lambda: self._server.execute(sql, args or None),
            ready=lambda: self._server,
            diff=f"+{shown}",
            repeatable=repeatable,
        )

    def pairs(self, sql: str, *args: Sequence[object]) -> dict[str, str]:
        """Name to value, for SHOW STATUS and SHOW VARIABLES."""
        return {str(row["Variable_name"]): str(row["Value"]) for row in self.read(sql, *args)}
