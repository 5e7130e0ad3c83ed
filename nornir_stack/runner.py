"""A Nornir runner that loses no host: bounded threads, a deadline for each host, and a cut that ends what runs."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir.core.task import AggregatedResult, MultiResult
from nornir.core.task import Result as NornirResult

from nornir_stack.connections import interrupt
from nornir_stack.effects import Door, set_door
from nornir_stack.errors import Cancelled, TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nornir.core.inventory import Host
    from nornir.core.task import Task

_POLL = 0.2  # how late a deadline or a cut is noticed; results wake the waiting thread at once
_GRACE = 5.0  # what a host gets to end by itself after its commands were ended


@dataclass
class _Running:
    door: Door
    ended_at: float | None = None


class StackRunner:
    """Runs a task on hosts in at most `workers` threads. Every host has a result, whatever its thread does.

    `door` makes each host's door when its turn comes. Past its deadline, or after a cut, the host's running command is
    ended; a thread that does not come back is given up behind a shut door.
    """

    def __init__(self, workers: int, door: Callable[[], Door], cut: threading.Event, only: Collection[str]) -> None:
        self._workers = workers
        self._door = door
        self._cut = cut
        self._only = only

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """Nornir's interface of a runner. Hosts that are not in `only` are left out: so a task still sees the whole
        inventory, which a filtered copy would hide from it.
        """
        return _Dispatch(self._workers, self._door, self._cut, task, [h for h in hosts if h.name in self._only]).run()


class _Dispatch:
    def __init__(self, workers: int, door: Callable[[], Door], cut: threading.Event, task: Task, hosts: list[Host]) -> None:
        self._door, self._cut, self._task, self._hosts = door, cut, task, hosts
        self._todo: queue.SimpleQueue[Host] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Host, MultiResult]] = queue.SimpleQueue()
        self._running: dict[str, _Running] = {}
        self._results: dict[str, MultiResult] = {}
        self._given_up: set[str] = set()
        self._threads: list[threading.Thread] = []
        for host in hosts:
            self._todo.put(host)
        self._wanted = min(workers, len(hosts))

    def run(self) -> AggregatedResult:
        for _ in range(self._wanted):
            self._start_worker()
        while len(self._results) < len(self._hosts):
            working = any(thread.is_alive() for thread in self._threads)
            self._collect(_POLL if working else 0.0)
            if not working:
                self._lose("no thread could be had for it, or its own came to an end: see the limits of this machine")
            self._enforce()
        found = AggregatedResult(self._task.name)
        for host in self._hosts:
            found[host.name] = self._results[host.name]
        return found

    def _start_worker(self) -> bool:
        thread = threading.Thread(target=self._work, name=f"nornir-stack {self._task.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no more of them: fewer do, one after the other
            return False
        self._threads.append(thread)
        return True

    def _work(self) -> None:
        while True:
            try:
                host = self._todo.get_nowait()
            except queue.Empty:
                return
            try:
                result = self._one(host)
            except BaseException as error:  # noqa: BLE001  the host boundary: SystemExit of a task is that host's failure
                result = _failed(self._task.name, host, error)
            self._done.put((host, result))
            if host.name in self._given_up:
                return  # and replaced

    def _one(self, host: Host) -> MultiResult:
        copy = self._task.copy()
        running = _Running(self._door())
        set_door(copy, running.door)
        self._running[host.name] = running
        return copy.start(host)

    def _collect(self, wait: float) -> None:
        """Every result that is there; waits for the first."""
        try:
            while True:
                host, result = self._done.get(timeout=wait) if wait else self._done.get_nowait()
                self._results.setdefault(host.name, result)
                self._running.pop(host.name, None)
                wait = 0.0
        except queue.Empty:
            pass

    def _lose(self, why: str) -> None:
        for host in self._hosts:
            self._results.setdefault(host.name, _failed(self._task.name, host, RuntimeError(why)))

    def _enforce(self) -> None:
        now = time.monotonic()
        for host in [h for h in self._hosts if h.name in self._running]:
            running = self._running.get(host.name)
            if running is None or host.name in self._results:
                continue
            late = running.door.deadline is not None and now > running.door.deadline
            if running.ended_at is None and (late or self._cut.is_set()):
                running.ended_at = now
                with suppress(Exception):  # what cannot be ended is given up
                    interrupt(host)
            elif running.ended_at is not None and now > running.ended_at + _GRACE:
                running.door.shut()
                error: Exception = Cancelled("did not end when it was cut, and was given up")
                if late:
                    error = TimedOut("did not end by its deadline, and was given up")
                if self._todo.empty() or self._start_worker():
                    self._given_up.add(host.name)
                    self._results[host.name] = _failed(self._task.name, host, error)
                    self._running.pop(host.name, None)


def _failed(name: str, host: Host, error: BaseException) -> MultiResult:
    results = MultiResult(name)
    results.append(NornirResult(host, result=str(error), failed=True, exception=error))
    return results
