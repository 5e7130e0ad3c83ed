"""The Nornir inventory plugin `StackInventory`, for InitNornir."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.inventory.load import load

if TYPE_CHECKING:
    from pathlib import Path

    from nornir.core.inventory import Inventory

    from nornir_stack.inventory.roles import Given


class StackInventory:
    """`inventory={"plugin": "StackInventory", "options": {"path": "inventory"}}`."""

    def __init__(self, path: str | Path = "inventory", roles: Given | None = None) -> None:
        self.path = path
        self.roles = roles

    def load(self) -> Inventory:
        """Raises InventoryError with every problem of the files."""
        return load(self.path, roles=self.roles).require().inventory
