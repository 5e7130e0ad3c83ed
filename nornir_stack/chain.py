"""The nouns of a chain: stages, plans, checks. Values only; `run` executes them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from nornir_stack.errors import UsageError
from nornir_stack.results import function_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nornir.core import Nornir

    from nornir_stack.events import Listener
    from nornir_stack.results import Report, Result
    from nornir_stack.seen import Seen
    from nornir_stack.select import Selector

T = TypeVar("T")
Serial: TypeAlias = "int | str | Sequence[int | str] | None"

_NORNIRS = frozenset({"name", "severity_level", "raise_on_error", "on_good", "on_failed"})


@dataclass(frozen=True)
class Bound:
    """A task function with its arguments, and at most `timeout` seconds on each host."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None

    @property
    def name(self) -> str:
        return self.function.__name__

    def within(self, seconds: float) -> Bound:
        """The same, ended on a host after `seconds`."""
        return replace(self, timeout=seconds)


def do(function: Callable[..., Result[T]], /, **arguments: Any) -> Bound:
    """A task with its arguments. Raises UsageError at once if they do not fit the function."""
    if taken := _NORNIRS.intersection(inspect.signature(function).parameters):
        raise UsageError(f"{function_name(function)}: a parameter cannot be called {min(taken)!r}: Nornir's run() takes that")
    try:
        inspect.signature(function).bind(None, **arguments)
    except TypeError as error:
        raise UsageError(f"{function_name(function)}: {error}") from None
    return Bound(function, arguments)


@dataclass(frozen=True)
class Check(Generic[T]):
    """Look at all of `on`, then judge: `judge` is pure and gives problems as sentences (none: it holds).

    Within `within` seconds it is looked at again until it holds; in a dry run once.
    """

    observe: Callable[..., Result[T]] | Bound
    judge: Callable[[Seen[T]], Sequence[str]]
    on: Selector
    within: float = 0.0


@dataclass(frozen=True)
class Stage:
    """Tasks that each host of `on` runs through at its own pace, in batches with a barrier at the end of each.

    `serial`: hosts a batch, a number, a percentage (`"25%"`) or a list of them whose last repeats; all at once if not given.
    `before` and `until` hold around every batch. More than `max_failures` failed hosts end the chain after the batch; with
    fewer it goes on, and the report is not ok all the same.
    `timeout`: seconds for one host's tasks. `retries`: more attempts of a task that failed before it changed anything
    that may not be repeated. `always`: runs even when an earlier part of its chain failed or was cancelled.
    """

    name: str
    tasks: Sequence[Callable[..., Result[Any]] | Bound]
    on: Selector
    serial: Serial = None
    before: Check[Any] | None = None
    until: Check[Any] | None = None
    max_failures: int = 0
    timeout: float | None = None
    retries: int = 0
    always: bool = False

    @property
    def bound(self) -> tuple[Bound, ...]:
        return tuple(task if isinstance(task, Bound) else Bound(task) for task in self.tasks)


@dataclass(frozen=True)
class Plan(Generic[T]):
    """Look at all of `on`, then decide: `decide` is pure and gives the chain to go on with.

    It raises Refused where it may not decide; an empty chain means that nothing is to be done.
    """

    name: str
    observe: Callable[..., Result[T]] | Bound
    decide: Callable[[Seen[T]], Chain]
    on: Selector


class Chain:
    """Named parts in order: stages, plans and chains. A `unit` is not cut in the middle by the first interruption.

    `reasons` are sentences for people: why these parts, as a plan decided; `left` says what a unit that was cut or failed
    leaves undone, and is told unless its `always` stages ended well;
    `due` is what a plan found that somebody should see to (the run has exit code 3 then, if all else is well).
    """

    def __init__(
        self,
        name: str,
        *parts: Stage | Plan[Any] | Chain,
        unit: bool = False,
        reasons: Sequence[str] = (),
        left: str = "",
        due: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.parts = parts
        self.unit = unit
        self.reasons = tuple(reasons)
        self.left = left
        self.due = tuple(due)
        names = [part.name for part in parts]
        for name_ in names:
            if names.count(name_) > 1:
                raise UsageError(f"chain {name!r} has two parts named {name_!r}: a report is read by name")

    def __repr__(self) -> str:
        return f"Chain({self.name!r}, {', '.join(repr(part.name) for part in self.parts)})"

    def run(  # the interface of DESIGN.md; `run` imports these nouns, so it is imported late
        self,
        nr: Nornir,
        *,
        dry_run: bool = False,
        limit: str | Selector | None = None,
        wait: float = 10.0,
        listeners: Sequence[Listener] = (),
    ) -> Report:
        """Execute on the whole declared inventory of `nr`; `limit` restricts acting, never looking.

        `wait`: seconds to wait for another run's lock. Returns the report, whatever failed on hosts. Raises UsageError
        before anything is touched, Locked, or Interrupted (which carries the report).
        """
        from nornir_stack.run import execute  # noqa: PLC0415

        return execute(self, nr, dry_run=dry_run, limit=limit, wait=wait, listeners=listeners)


def batches(hosts: Sequence[str], serial: Serial) -> list[tuple[str, ...]]:
    """Hosts in batches. Percentages are of all hosts, at least one host; the last size of a list repeats.

    >>> batches(["a", "b", "c", "d"], [1, "50%"])
    [('a',), ('b', 'c'), ('d',)]
    """
    if serial is None:
        serial = [max(1, len(hosts))]
    sizes = [serial] if isinstance(serial, (int, str)) else list(serial)
    if not sizes:
        raise UsageError("serial is an empty list: give at least one size")
    counts = [_count(size, len(hosts)) for size in sizes]
    found: list[tuple[str, ...]] = []
    rest = list(hosts)
    while rest:
        count = counts[min(len(found), len(counts) - 1)]
        found.append(tuple(rest[:count]))
        rest = rest[count:]
    return found


def _count(size: object, total: int) -> int:
    if isinstance(size, str) and size.endswith("%") and size[:-1].strip().isdigit():
        return max(1, total * int(size[:-1]) // 100)
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    raise UsageError(f"serial is a number above 0 or a percentage such as '25%', not {size!r}")
