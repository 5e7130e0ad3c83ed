"""The inventory that a command works on, opened and closed."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir.core import Nornir


@contextmanager
def opened(folder: str) -> Iterator[Nornir]:
    """The Nornir object of an inventory; its connections are closed at the end. Raises InventoryError, UsageError."""
    if not Path(folder).is_dir():
        raise UsageError(f"there is no inventory folder {folder!r}: name one with -i DIR, or by $NORNIR_STACK_INVENTORY")
    from nornir_stack.inventory import open_inventory  # noqa: PLC0415  slow

    nr = open_inventory(folder)
    try:
        yield nr
    finally:
        nr.close_connections()
