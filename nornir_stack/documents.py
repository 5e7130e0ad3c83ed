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

    @property
    def _server(self) -> Mongo:
        return mongodb(self._node.host, self._node.task.nornir.config, **self._extras)

    def read(self, command: Mapping[str, Any], *, independent: bool = False) -> dict[str, Any]:
        """The answer to a command that only looks."""
        what = f"{next(iter(command))} in {self.database}"
        return self._node.gate.look(what, lambda: self._server.query(self.database, command), independent=independent)

    def change(
        self, command: Mapping[str, Any], *, what: str, diff: str = "", repeatable: bool = False
    ) -> dict[str, Any] | None:
        """Send a command that changes something; in a dry run it is only written down, and None comes back."""
        return self._node.gate.effect(
            what,
            lambda: self._server.execute(self.database, command),
            ready=lambda: self._server,
            diff=diff or f"+{what}\n",
            repeatable=repeatable,
        )
