"""What a run tells while it goes on: to the journal, to the terminal, to anyone who listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nornir_stack.secret import mask


@dataclass(frozen=True)
class Event:
    """One thing that happened. `at` is seconds since the epoch; `path` the stage's path in the chain.

    | kind | when | data |
    | --- | --- | --- |
    | `run` | a run begins | chain, run, dry_run, hosts (all it may act on) |
    | `part` | a stage or plan begins | kind (`stage`, `plan`), hosts |
    | `batch` | a batch begins | hosts |
    | `task` | a task begins on `host` | task |
    | `effect` | a change is about to be sent (in a dry run: would be) | task, what |
    | `task-end` | it ended | task, status, error, duration |
    | `waiting` | a barrier or a lock does not hold yet; told when what is wrong changes | problems |
    | `barrier` | it holds, or did not | ok, problems |
    | `decided` | a plan decided | reasons, parts |
    | `part-end` | a stage or plan ended | status, problems, hosts (host to status) |
    | `interrupt` | stopping (first) or cutting (second) | cut |
    | `run-end` | the run ended | exit_code, changed |
    """

    kind: str
    path: str = ""
    host: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    at: float = field(default_factory=time.time)


Listener = Callable[[Event], None]


class Emitter:
    """Tells every listener; one that fails is told of no more, and loses nobody else's result."""

    def __init__(self, listeners: tuple[Listener, ...]) -> None:
        self._listeners = list(listeners)
        self.warnings: list[str] = []

    def __call__(self, kind: str, path: str = "", host: str = "", /, **data: Any) -> None:
        event = Event(kind, path, host, data)
        for listener in self._listeners.copy():
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001  a listener is a guest: its fault is reported, not raised
                with suppress(ValueError):  # it failed in another thread too, which took it out
                    self._listeners.remove(listener)
                    self.warnings.append(mask(f"{listener!r} failed at {kind!r} and was told no more: {error!r}"))
