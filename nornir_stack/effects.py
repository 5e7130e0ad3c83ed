"""The one gate that every change passes, and the run's state that it looks at.

A task reaches it through `Node` and the other handles. It decides whether the door is still open (cancel, deadline),
whether this is a dry run, and keeps the ledger from which `changed` and `diff` of the task's result come.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from nornir.core.state import GlobalState

from nornir_stack.errors import Cancelled, Refused, TimedOut, Undecidable
from nornir_stack.secret import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nornir.core.task import Task

    from nornir_stack.files import FileState

R = TypeVar("R")
H = TypeVar("H")
_SHORTEST = 0.01


@dataclass(frozen=True)
class Effect:
    """One thing done, or in a dry run not done. `repeatable`: doing it twice is the same as once.

    `path` is set where the effect is on one file only: in a dry run the overlay knows the outcome.
    """

    what: str
    diff: str = ""
    repeatable: bool = False
    path: str = ""


@dataclass
class Ledger:
    """The effects of one call of a task on one host, in order."""

    effects: list[Effect] = field(default_factory=list)


class Door:
    """Lets one host's thread through to its node until the deadline, a cancel, or `shut()`.

    A thread that was given up keeps its own door, so it finds it shut whatever runs on the host since.
    """

    def __init__(
        self,
        *,
        deadline: float | None = None,
        cut: Event | None = None,
        looking: bool = False,
        tell: Callable[[Effect], None] | None = None,
    ) -> None:
        self.deadline = deadline
        self.looking = looking
        self.tell = tell
        self._cut = cut or Event()
        self._shut = Event()

    def shut(self) -> None:
        self._shut.set()

    def narrowed(self, seconds: float | None, tell: Callable[[Effect], None] | None) -> Door:
        """The same door with a nearer deadline and another listener: shut when this one is."""
        narrow = Door(deadline=self.deadline, cut=self._cut, looking=self.looking, tell=tell)
        narrow._shut = self._shut
        if seconds is not None:
            narrow.deadline = min(time.monotonic() + seconds, self.deadline or math.inf)
        return narrow

    def check(self, what: str) -> None:
        """Raise Cancelled or TimedOut if `what` may not begin any more."""
        if self._shut.is_set() or (self.deadline is not None and time.monotonic() > self.deadline):
            raise TimedOut(f"the deadline had passed before: {what}")
        if self._cut.is_set():
            raise Cancelled(f"interrupted before: {what}")

    def ended(self, what: str) -> None:
        """Raise TimedOut if it was too late by the time `what` had ended: not everything can be ended from here."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimedOut(f"ended, but only after the deadline: {what}")

    def wait(self, seconds: float, what: str) -> None:
        """Let time pass. Raises Cancelled or TimedOut as soon as `what` may not go on."""
        self._cut.wait(seconds)
        self.check(what)

    def remaining(self, wanted: float | None) -> float | None:
        """Seconds that a step may take: what is wanted, but not beyond the deadline. Never 0, which to many means: for ever."""
        left = math.inf if self.deadline is None else self.deadline - time.monotonic()
        least = min(math.inf if wanted is None else wanted, left)
        return None if least == math.inf else max(least, _SHORTEST)


class RunState(GlobalState):
    """The state of one run, in `nr.data`: it survives `filter`, `with_runner` and `task.run`, and no other run shares it."""

    __slots__ = ("cut", "overlays", "run", "stop")

    def __init__(self, *, dry_run: bool = False, run: str = "") -> None:
        super().__init__(dry_run=dry_run)
        self.run = run
        self.stop = Event()
        self.cut = Event()
        self.overlays: dict[str, dict[str, FileState | None]] = {}


# Nornir makes one Task a host and call; what belongs to such a call is kept beside it, not in it.
_doors: WeakKeyDictionary[Task, Door] = WeakKeyDictionary()
_ledgers: WeakKeyDictionary[Task, Ledger] = WeakKeyDictionary()
_overlays: WeakKeyDictionary[Task, dict[str, FileState | None]] = WeakKeyDictionary()


def set_door(task: Task, door: Door) -> None:
    """Everything that this call of a task does, in subtasks too, goes through `door`."""
    _doors[task] = door


def door_of(task: Task) -> Door:
    """The nearest door above `task`; where nobody set one (plain Nornir) an open one."""
    above: Task | None = task
    while above is not None:
        if above in _doors:
            return _doors[above]
        above = above.parent_task
    return _doors.setdefault(task, Door())


def ledger_of(task: Task) -> Ledger:
    """The ledger of this call of a task; a task function called directly by another writes into the caller's."""
    return _ledgers.setdefault(task, Ledger())


def overlay_of(task: Task) -> dict[str, FileState | None]:
    """In a dry run, what files and folders of the host would be by now: path to state (None: absent)."""
    if isinstance(task.nornir.data, RunState):
        return task.nornir.data.overlays.setdefault(task.host.name, {})
    return _overlays.setdefault(task, {})


def _names(word: str, path: str) -> bool:
    """Whether a path stands in a word as a whole: `/etc/a` is not named by `/etc/a.bak` and `/srv/etc/a`."""
    return path in word and re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w./-])", word) is not None


class Gate:
    """The gate for one handle of one task call. Handles of all protocols have their two verbs by it."""

    def __init__(self, task: Task) -> None:
        self._door = door_of(task)
        self._ledger = ledger_of(task)
        self._first = len(self._ledger.effects)
        self.dry_run: bool = task.is_dry_run()

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What was done since this handle was made."""
        return tuple(self._ledger.effects[self._first :])

    @property
    def pending(self) -> Effect | None:
        """In a dry run, the last effect of this task call that was not made and whose outcome nobody knows."""
        unknown = [effect for effect in self._ledger.effects if not effect.path]
        return unknown[-1] if self.dry_run and unknown else None

    def stale(self, words: Sequence[str]) -> Effect | None:
        """In a dry run, the last change of a file by this task call that was not made, and which these words name."""
        files = [effect for effect in self._ledger.effects if effect.path and any(_names(word, effect.path) for word in words)]
        return files[-1] if self.dry_run and files else None

    def remaining(self, wanted: float | None) -> float | None:
        return self._door.remaining(wanted)

    def check(self, what: str) -> None:
        """Raise Cancelled or TimedOut if `what` may not begin any more: for what comes between the verb and the send."""
        self._door.check(what)

    def still(self, handle: H, what: str) -> H:
        """The handle, if `what` may still begin: it may have taken long to open. Raises Cancelled, TimedOut."""
        self._door.check(what)
        return handle

    def wait(self, seconds: float, what: str) -> None:
        """Let time pass between two looks. Raises Cancelled or TimedOut as soon as `what` may not go on."""
        self._door.wait(seconds, what)

    def look(self, what: str, do: Callable[[], R], *, independent: bool = False) -> R:
        """Observe. In a dry run, a look after a pending change raises Undecidable, unless it is `independent` of it."""
        self._door.check(what)
        if self.pending and not independent:
            raise Undecidable(mask(what), self.pending.what)
        found = do()
        self._door.ended(what)
        return found

    def effect(
        self,
        what: str,
        do: Callable[[], R],
        *,
        ready: Callable[[], object] = lambda: None,
        diff: str = "",
        repeatable: bool = False,
        path: str = "",
    ) -> R | None:
        """Change something, once: in a dry run it is only written down, and None comes back.

        The entry stands in the ledger before `do` is called: a change that failed half way has happened. `ready` is called
        before that and opens the way: where that fails nothing was sent, and nothing is written down.
        """
        if self._door.looking:
            raise Refused(f"this only looks, and was about to change something: {mask(what)}")
        self._door.check(what)
        if not self.dry_run:
            ready()
            self._door.check(what)
        effect = Effect(mask(what), mask(diff), repeatable, path)
        self._ledger.effects.append(effect)
        if self._door.tell:
            self._door.tell(effect)
        if self.dry_run:
            return None
        done = do()
        self._door.ended(what)
        return done
