"""A Nornir runner that loses no host: bounded threads, a deadline for each host, and a cut that ends what runs."""

from __future__ import annotations

import queue
import threading
import time
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
    task: Task
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
        for host in hosts:
            self._todo.put(host)
        self._threads = min(workers, len(hosts))

    def run(self) -> AggregatedResult:
        for _ in range(self._threads):
            self._start_worker()
        while len(self._results) < len(self._hosts):
            try:
                host, result = self._done.get(timeout=_POLL)
                self._results.setdefault(host.name, result)
                self._running.pop(host.name, None)
            except queue.Empty:
                pass
            self._enforce()
        found = AggregatedResult(self._task.name)
        for host in self._hosts:
            found[host.name] = self._results[host.name]
        return found

    def _start_worker(self) -> None:
        threading.Thread(target=self._work, name=f"nornir-stack {self._task.name}", daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                host = self._todo.get_nowait()
            except queue.Empty:
                return
            copy = self._task.copy()
            running = _Running(copy, self._door())
            set_door(copy, running.door)
            self._running[host.name] = running
            try:
                result = copy.start(host)
            except BaseException as error:  # noqa: BLE001  the host boundary: SystemExit of a task is that host's failure
                result = _failed(copy.name, host, error)
            self._done.put((host, result))
            if self._results.get(host.name) is not None:
                return  # given up meanwhile, and replaced

    def _enforce(self) -> None:
        now = time.monotonic()
        for host in [h for h in self._hosts if h.name in self._running]:
            running = self._running.get(host.name)
            if running is None or host.name in self._results:
                continue
            late = running.door.deadline is not None and now > running.door.deadline
            if running.ended_at is None and (late or self._cut.is_set()):
                running.ended_at = now
                interrupt(host)
            elif running.ended_at is not None and now > running.ended_at + _GRACE:
                running.door.shut()
                error: Exception = Cancelled("did not end when it was cut, and was given up")
                if late:
                    error = TimedOut("did not end by its deadline, and was given up")
                self._results[host.name] = _failed(self._task.name, host, error)
                self._running.pop(host.name, None)
                self._start_worker()


def _failed(name: str, host: Host, error: BaseException) -> MultiResult:
    results = MultiResult(name)
    results.append(NornirResult(host, result=str(error), failed=True, exception=error))
    return results
