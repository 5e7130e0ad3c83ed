"""A task's database server: the two verbs over its node's `mysql` connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_stack.connections.mysql import Mysql, mysql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.node import Node


class Sql:
    """`read` and `change` for SQL, through the gate of the task's Node. Raises DatabaseFailed, TimedOut."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def _server(self, what: str) -> Mysql:
        return self._node.gate.still(mysql(self._node.host, self._node.task.nornir.config), what)

    def read(self, sql: str, *args: object, independent: bool = False) -> list[dict[str, Any]]:
        """The rows of a statement that only reads, by column name."""
        gate = self._node.gate

        def look() -> list[dict[str, Any]]:
            return self._server(sql).query(sql, args or None, seconds=gate.remaining(None))

        return gate.look(sql, look, independent=independent)

    def change(self, sql: str, *args: object, what: str = "", repeatable: bool = False) -> None:
        """A statement that changes something; in a dry run it is only written down, as `what` or itself."""
        shown, gate = what or sql, self._node.gate
        gate.effect(
            shown,
            lambda: self._server(shown).execute(sql, args or None, seconds=gate.remaining(None)),
            ready=lambda: self._server(shown),
            diff=f"+{shown}",
            repeatable=repeatable,
        )

    def pairs(self, sql: str, *args: Sequence[object]) -> dict[str, str]:
        """Name to value, for SHOW STATUS and SHOW VARIABLES."""
        return {str(row["Variable_name"]): str(row["Value"]) for row in self.read(sql, *args)}
