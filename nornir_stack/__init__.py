"""Run your own cloud on few machines, safely. The engine: inventory, connections, chains, reports.

The names below are the library's public interface; each is imported when it is first used, so that a program which
needs few of them starts fast.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from nornir.core import Nornir

    from nornir_stack.chain import Bound, Chain, Check, Plan, Stage, do
    from nornir_stack.command import Command, Output, sh
    from nornir_stack.dispatch import survey
    from nornir_stack.errors import (
        Cancelled,
        CommandFailed,
        ConnectionFailed,
        ConnectionLost,
        HostKeyRefused,
        Interrupted,
        InventoryError,
        Locked,
        LoginRefused,
        Refused,
        SecretError,
        StackError,
        TimedOut,
        Undecidable,
        UsageError,
    )
    from nornir_stack.inventory import open_inventory
    from nornir_stack.node import Node
    from nornir_stack.progress import watching
    from nornir_stack.results import Report, Result, Status
    from nornir_stack.secret import Secret
    from nornir_stack.seen import Seen
    from nornir_stack.select import Selector, everyone, hosts, role
    from nornir_stack.settings import settings_of
    from nornir_stack.show import print_report

__all__ = [
    "Bound",
    "Cancelled",
    "Chain",
    "Check",
    "Command",
    "CommandFailed",
    "ConnectionFailed",
    "ConnectionLost",
    "HostKeyRefused",
    "Interrupted",
    "InventoryError",
    "Locked",
    "LoginRefused",
    "Node",
    "Output",
    "Plan",
    "Refused",
    "Report",
    "Result",
    "Secret",
    "SecretError",
    "Seen",
    "Selector",
    "StackError",
    "Stage",
    "Status",
    "TimedOut",
    "Undecidable",
    "UsageError",
    "do",
    "everyone",
    "hosts",
    "open_inventory",
    "print_report",
    "role",
    "settings_of",
    "sh",
    "survey",
    "watching",
]

_MODULES = {
    "chain": ("Bound", "Chain", "Check", "Plan", "Stage", "do"),
    "command": ("Command", "Output", "sh"),
    "dispatch": ("survey",),
    "errors": (
        *("Cancelled", "CommandFailed", "ConnectionFailed", "ConnectionLost", "HostKeyRefused", "Interrupted"),
        *("InventoryError", "Locked", "LoginRefused", "Refused", "SecretError", "StackError", "TimedOut", "Undecidable"),
        "UsageError",
    ),
    "inventory": ("open_inventory",),
    "node": ("Node",),
    "progress": ("watching",),
    "results": ("Report", "Result", "Status"),
    "secret": ("Secret",),
    "seen": ("Seen",),
    "select": ("Selector", "everyone", "hosts", "role"),
    "settings": ("settings_of",),
    "show": ("print_report",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

# Nornir logs every failed task with its traceback; without a handler Python would print that. Reports have the errors.
logging.getLogger("nornir").addHandler(logging.NullHandler())


def _masked(record: logging.LogRecord) -> bool:
    from nornir_stack.secret import mask  # noqa: PLC0415  as late as all names of this module

    record.msg, record.args = mask(record.getMessage()), None
    return True


# With a handler (Nornir's own writes nornir.log) the traceback goes there, of whatever a task raised.
logging.getLogger("nornir.core.task").addFilter(_masked)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def open(path: str | Path = "inventory") -> Nornir:  # noqa: A001  `nr = nornir_stack.open("inventory")`; not in __all__
    """A Nornir on an inventory folder. Raises InventoryError with every problem of its files."""
    from nornir_stack.inventory import open_inventory  # noqa: PLC0415  slow

    return open_inventory(path)
