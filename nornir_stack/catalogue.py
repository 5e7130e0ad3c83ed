"""Finds chains and tasks by name: entry points of this package and of others, or `module:function`."""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

# Entry point group to what its functions are.
GROUPS = {"nornir_stack.chains": "chain", "nornir_stack.operations": "task"}


@dataclass(frozen=True)
class Entry:
    """A chain or a task that can be run by name. `kind` is `chain` or `task`, `target` is `module:function`."""

    name: str
    kind: str
    target: str

    def load(self) -> Callable[..., Any]:
        """The function. Raises UsageError where the module or the function is not there."""
        return _imported(self.target)


def entries() -> list[Entry]:
    """Everything that is installed, sorted by name; nothing is imported."""
    found = [Entry(point.name, kind, point.value) for group, kind in GROUPS.items() for point in entry_points(group=group)]
    return sorted(set(found), key=lambda entry: (entry.name, entry.kind))


def find(name: str) -> Entry:
    """The chain or task of that name, or of that `module:function`. Raises UsageError with the nearest name."""
    if ":" in name:
        if "" not in sys.path:
            sys.path.insert(0, "")  # the user's own module stands in the folder that the user is in
        return Entry(name, _kind_of(_imported(name)), name)
    known = entries()
    for entry in known:
        if entry.name == name:
            return entry
    from nornir_stack.select import nearest  # noqa: PLC0415  only needed where the name is wrong

    hint = nearest(name, [entry.name for entry in known]) or ": `nornir-stack list` shows what there is"
    raise UsageError(f"there is no chain and no task {name!r}{hint}")


def summary(function: Callable[..., Any]) -> str:
    """The first line of the docstring."""
    return (inspect.getdoc(function) or "").partition("\n")[0]


def _imported(target: str) -> Callable[..., Any]:
    module_name, _, attribute = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, ValueError, AttributeError) as error:
        raise UsageError(f"cannot import {target!r}: {error}") from error
    except Exception as error:  # a module of anybody's may raise anything (SyntaxError), and hides no other in `list`
        raise UsageError(f"cannot import {target!r}: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise UsageError(f"{target!r} is no function but {type(found).__name__}")
    function: Callable[..., Any] = found
    return function


def _kind_of(function: Callable[..., Any]) -> str:
    parameters = list(inspect.signature(function).parameters.values())
    return "task" if parameters and parameters[0].name == "task" else "chain"
