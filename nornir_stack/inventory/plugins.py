"""Nornir's connection plugins, each imported when a host first uses it.

Nornir's own `auto_register` imports all at once: netmiko alone takes half a second, and one broken plugin breaks every
program.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from nornir.core.plugins.connections import CONNECTIONS_PLUGIN_PATH, ConnectionPlugin, ConnectionPluginRegister

from nornir_stack.errors import UsageError


class _Later:
    """Stands in the register for a plugin's class, and is equal to it: InitNornir may register that again."""

    def __init__(self, entry: EntryPoint) -> None:
        self.entry = entry

    def load(self) -> Any:
        try:
            return self.entry.load()
        except Exception as error:
            raise UsageError(f"the connection plugin {self.entry.name!r} cannot be imported: {error}") from error

    def __call__(self) -> ConnectionPlugin:
        return cast("ConnectionPlugin", self.load()())

    def __eq__(self, other: object) -> bool:
        return other.entry == self.entry if isinstance(other, _Later) else bool(other == self.load())

    def __hash__(self) -> int:
        return hash(self.entry)


def register_connections() -> None:
    """Make every installed connection plugin known to Nornir, and import none."""
    for entry in entry_points(group=CONNECTIONS_PLUGIN_PATH):
        if entry.name not in ConnectionPluginRegister.available:
            ConnectionPluginRegister.register(entry.name, cast("type[ConnectionPlugin]", _Later(entry)))
