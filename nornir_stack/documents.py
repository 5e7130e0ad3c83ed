"""A task's MongoDB: the two verbs over its host's `mongodb` connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_stack.connections.mongodb import Mongo, mongodb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir_stack.node import Node


class Documents:
    """`read` and `change` for one database, through the gate of the task's Node. Raises DatabaseFailed, ConnectionFailed.

    `extras` (server, port, username, password) are added to those of the inventory's connection options.
    """

    def __init__(self, node: Node, database: str, **extras: Any) -> None:
        self._node = node
        self.database = database
        self._extras = extras

    def _server(self, what: str) -> Mongo:
        return self._node.gate.still(mongodb(self._node.host, self._node.task.nornir.config, **self._extras), what)

    def read(self, command: Mapping[str, Any], *, independent: bool = False) -> dict[str, Any]:
        """The answer to a command that only looks."""
        what = f"{next(iter(command))} in {self.database}"
        gate = self._node.gate

        def look() -> dict[str, Any]:
            return self._server(what).query(self.database, command, seconds=gate.remaining(None))

        return gate.look(what, look, independent=independent)

    def change(
        self, command: Mapping[str, Any], *, what: str, diff: str = "", repeatable: bool = False
    ) -> dict[str, Any] | None:
        """Send a command that changes something; in a dry run it is only written down, and None comes back."""
        gate = self._node.gate
        return gate.effect(
            what,
            lambda: self._server(what).execute(self.database, command, seconds=gate.remaining(None)),
            ready=lambda: self._server(what),
            diff=diff or f"+{what}\n",
            repeatable=repeatable,
        )
