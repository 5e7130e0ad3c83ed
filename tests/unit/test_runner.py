"""The runner: a result for every host, whatever happens to its threads."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.dispatch import Dispatcher
from nornir_stack.effects import Door, RunState
from nornir_stack.errors import TimedOut
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core.task import AggregatedResult, Task

HOSTS = ["db1", "db2", "db3"]


def run(body: Callable[[Task], None], door: Callable[[], Door] = Door) -> AggregatedResult:
    """What came of it on HOSTS. Raises AssertionError instead of waiting for ever."""
    found: list[AggregatedResult] = []
    floor = Dispatcher(fleet({"db": HOSTS}), RunState())
    thread = threading.Thread(target=lambda: found.append(floor.run(body, HOSTS, door)), daemon=True)
    thread.start()
    thread.join(20)
    assert found, "it does not end"
    return found[0]


def nothing(task: Task) -> None:
    """A task that has nothing to do."""


def test_a_fault_before_the_task_begins_is_that_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread does not die of it: each later host has its turn."""
    monkeypatch.setattr("nornir_stack.dispatch.WORKERS", 1)
    faults = iter([False, True, False])

    def door() -> Door:
        if next(faults):
            raise OSError("no door")
        return Door()

    found = run(nothing, door)
    assert [found[name].failed for name in HOSTS] == [False, True, False]
    assert isinstance(found["db2"][0].exception, OSError)


class Slow(queue.SimpleQueue[Any]):
    """Whoever waits for what is put has it before the one who put it goes on."""

    def put(self, item: Any, *_: Any) -> None:
        super().put(item)
        time.sleep(0.05 if isinstance(item, tuple) else 0)


def test_a_thread_whose_result_was_taken_at_once_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one that was given up ends, for it was replaced."""
    monkeypatch.setattr("nornir_stack.dispatch.WORKERS", 1)
    monkeypatch.setattr("nornir_stack.runner.queue.SimpleQueue", Slow)
    assert not run(nothing).failed


@pytest.mark.parametrize("threads", [0, 1])
def test_a_machine_without_threads_loses_no_host(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """One is enough for all; without any every host is told so."""
    start, left = threading.Thread.start, [threads]

    def scarce(self: threading.Thread) -> None:
        if self.name.startswith("nornir-stack"):
            if not left[0]:
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        start(self)

    monkeypatch.setattr("threading.Thread.start", scarce)
    found = run(nothing)
    assert [found[name].failed for name in HOSTS] == [not threads] * 3
    assert threads or "no thread could be had" in str(found["db3"][0].exception)


def test_what_cannot_be_ended_is_given_up_like_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in ending one host's command is not the others' loss."""

    def fault(_: object) -> None:
        raise OSError("the loop is gone")

    monkeypatch.setattr("nornir_stack.runner.interrupt", fault)
    monkeypatch.setattr("nornir_stack.runner._GRACE", 0.1)
    release = threading.Event()

    def hang(task: Task) -> None:
        if task.host.name == "db2":
            release.wait(30)

    found = run(hang, lambda: Door(deadline=time.monotonic() + 0.1))
    release.set()
    assert [found[name].failed for name in HOSTS] == [False, True, False]
    assert isinstance(found["db2"][0].exception, TimedOut)
