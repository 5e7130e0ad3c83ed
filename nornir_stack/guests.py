"""A user's Nornir processors during a run: told as always, and dropped with a warning when one raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir.core.processor import Processors

from nornir_stack.secret import mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core.inventory import Host
    from nornir.core.processor import Processor
    from nornir.core.task import AggregatedResult, MultiResult, Task


class _Guest:
    """One processor. In plain Nornir an exception of it escapes `nr.run`, and every host's result is lost."""

    def __init__(self, processor: Processor, warn: Callable[[str], None]) -> None:
        self._processor: Processor | None = processor
        self._warn = warn

    def _tell(self, what: str, *arguments: Any) -> None:
        if self._processor is None:
            return
        try:
            getattr(self._processor, what)(*arguments)
        except Exception as error:  # noqa: BLE001  a guest's fault is reported, not raised
            name = type(self._processor).__name__
            self._warn(mask(f"processor {name} failed at {what} and was told no more: {error!r}"))
            self._processor = None

    def task_started(self, task: Task) -> None:
        self._tell("task_started", task)

    def task_completed(self, task: Task, result: AggregatedResult) -> None:
        self._tell("task_completed", task, result)

    def task_instance_started(self, task: Task, host: Host) -> None:
        self._tell("task_instance_started", task, host)

    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        self._tell("task_instance_completed", task, host, result)

    def subtask_instance_started(self, task: Task, host: Host) -> None:
        self._tell("subtask_instance_started", task, host)

    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        self._tell("subtask_instance_completed", task, host, result)


def guarded(processors: Processors, warn: Callable[[str], None]) -> Processors:
    """The same processors, none of which can lose a result."""
    return Processors([_Guest(processor, warn) for processor in processors])
