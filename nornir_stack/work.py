"""One host's way through a stage: its tasks one after the other, with attempts, into reports."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nornir.core.exceptions import NornirSubTaskError

from nornir_stack.effects import Effect, Ledger, RunState, door_of, ledger_of, set_door
from nornir_stack.errors import (
    Cancelled,
    ConnectionFailed,
    Refused,
    StackError,
    TimedOut,
    Undecidable,
    UsageError,
)
from nornir_stack.results import Attempt, HostReport, Result, Status, TaskReport, function_name, worst
from nornir_stack.secret import mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core.task import Result as NornirResult
    from nornir.core.task import Task

    from nornir_stack.chain import Bound
    from nornir_stack.events import Emitter

_LONGEST_PAUSE = 8.0


@dataclass
class HostLog:
    """What a host did so far in a stage; read when its thread was given up, too."""

    host: str
    tasks: list[TaskReport] = field(default_factory=list)
    current: Bound | None = None
    current_since: float = 0.0
    ledger: Ledger | None = None
    earlier: tuple[TaskReport, ...] = ()  # tries of the current task

    def report(self, given_up: BaseException | None) -> HostReport:
        current = self.current  # before the tasks: the thread may end one just now, which told twice is better than not
        tasks = list(self.tasks)
        if given_up is not None and current is not None:
            effects = tuple(self.ledger.effects) if self.ledger else ()
            report = task_report(current.name, None, given_up, effects)
            since, function = self.current_since, function_name(current.function)
            report = replace(report, started=since, duration=time.time() - since, function=function)
            tasks.append(_together(report, self.earlier))
        elif given_up is not None and not tasks:
            return HostReport(self.host, status_of(given_up, effects=()), explain(given_up))
        return HostReport(self.host, worst([task.status for task in tasks]), tasks=tuple(tasks))


@dataclass(frozen=True)
class Work:
    """The tasks of a stage, as one Nornir task (`work.body`) that writes into `logs`."""

    path: str
    tasks: tuple[Bound, ...]
    retries: int
    state: RunState
    emit: Emitter
    logs: dict[str, HostLog]
    stoppable: bool

    def body(self, task: Task) -> None:
        """Run through the tasks on this host; stops at the first that did not end well."""
        log = self.logs[task.host.name]
        for bound in self.tasks:
            if self.stoppable and self.state.stop.is_set():
                name = function_name(bound.function)
                log.tasks.append(TaskReport(bound.name, Status.CANCELLED, error="interrupted before it began", function=name))
                break
            log.current, log.current_since, log.ledger, log.earlier = bound, time.time(), None, ()
            report = self._attempts(task, bound)
            log.tasks.append(report)
            if report.status.bad:
                break
        log.current = None  # not before all is done: a host that is given up between two tasks is not at its end

    def _attempts(self, task: Task, bound: Bound) -> TaskReport:
        log = self.logs[task.host.name]
        for number in range(self.retries + 1):
            self.emit("task", self.path, task.host.name, task=bound.name)
            report, again = self._attempt(task, bound)
            self.emit(
                "task-end",
                self.path,
                task.host.name,
                task=bound.name,
                status=report.status,
                error=report.error,
                duration=report.duration,
            )
            ended = self.state.stop if self.stoppable else self.state.cut
            if not again or number == self.retries or ended.wait(min(2.0**number, _LONGEST_PAUSE)):
                break
            log.ledger, log.earlier = None, (*log.earlier, report)
        return _together(report, log.earlier)

    def _attempt(self, task: Task, bound: Bound) -> tuple[TaskReport, bool]:
        """The report of one try, and whether another may be made."""
        calls: list[Task] = []

        def call(sub: Task, **arguments: Any) -> object:
            calls.append(sub)
            self.logs[task.host.name].ledger = ledger_of(sub)
            set_door(sub, door_of(task).narrowed(bound.timeout, self._teller(task.host.name, bound)))
            return bound.function(sub, **arguments)

        started, clock = time.time(), time.perf_counter()
        result, error = _called(task, call, bound)
        effects = tuple(ledger_of(calls[0]).effects) if calls else ()
        report = task_report(bound.name, result, error, effects)
        function, duration = function_name(bound.function), time.perf_counter() - clock
        return replace(report, function=function, started=started, duration=duration), _may_repeat(error, effects)

    def _teller(self, host: str, bound: Bound) -> Callable[[Effect], None]:
        return lambda effect: self.emit("effect", self.path, host, task=bound.name, what=effect.what)


def _together(last: TaskReport, earlier: tuple[TaskReport, ...]) -> TaskReport:
    """The last try's report, with what earlier tries changed."""
    changed = last.changed or any(report.changed for report in earlier)
    return replace(
        last,
        status=Status.CHANGED if changed and last.status is Status.OK else last.status,
        changed=changed,
        diff="\n".join(filter(None, [*(report.diff for report in earlier), last.diff])),
        effects=tuple(effect for report in (*earlier, last) for effect in report.effects),
        attempts=tuple(Attempt(one.status, one.error, one.started, one.duration) for one in (*earlier, last)),
    )


def _called(task: Task, call: Callable[..., object], bound: Bound) -> tuple[NornirResult | None, BaseException | None]:
    try:
        return task.run(call, name=bound.name, **bound.arguments)[0], None
    except NornirSubTaskError as failure:
        first: NornirResult = failure.result[0]
        return first, _innermost(first.exception)
    except BaseException as error:  # noqa: BLE001  the host boundary: whatever a task raises is that host's failure
        return None, error


def _innermost(error: BaseException | None) -> BaseException | None:
    while isinstance(error, NornirSubTaskError):
        error = error.result[0].exception
    return error


def task_report(name: str, result: NornirResult | None, error: BaseException | None, effects: tuple[Effect, ...]) -> TaskReport:
    """What a task's call amounts to; pure."""
    whats = tuple(effect.what for effect in effects)
    changed = bool(effects) or bool(result is not None and error is None and result.changed)
    diff = "\n".join(effect.diff.rstrip("\n") for effect in effects if effect.diff)
    if error is not None:
        status = status_of(error, effects)
        text = explain(error)
        known = isinstance(error, Undecidable)
        return TaskReport(name, status, changed, diff, error="" if known else text, reason=text if known else "", effects=whats)
    skipped, unknown = getattr(result, "skipped", ""), getattr(result, "unknown", "")
    status = Status.CHANGED if changed else Status.SKIPPED if skipped else Status.UNKNOWN if unknown else Status.OK
    if result is not None and result.failed:
        status = Status.FAILED
    value = result.value if isinstance(result, Result) else getattr(result, "result", None)
    own_diff = diff or mask(str(getattr(result, "diff", "") or ""))
    error_text = mask(str(value)) if status is Status.FAILED else ""
    return TaskReport(name, status, changed, own_diff, value, error_text, skipped or unknown, whats)


def status_of(error: BaseException, effects: tuple[Effect, ...]) -> Status:
    """The status that an exception means."""
    if isinstance(error, Undecidable):
        return Status.CHANGED if effects else Status.UNKNOWN
    for kind, status in (
        (ConnectionFailed, Status.UNREACHABLE),
        (TimedOut, Status.TIMED_OUT),
        (Cancelled, Status.CANCELLED),
    ):
        if isinstance(error, kind):
            return status
    return Status.FAILED


def explain(error: BaseException) -> str:
    """An error for people: our own speak for themselves; others get their type and where they came from."""
    if isinstance(error, StackError):
        return mask(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return mask(f"{type(error).__name__}: {error}{where}")


def _may_repeat(error: BaseException | None, effects: tuple[Effect, ...]) -> bool:
    if error is None or isinstance(error, (Refused, UsageError, Undecidable, Cancelled)):
        return False
    return all(effect.repeatable for effect in effects)


def forgiven(report: HostReport, *, pending: bool) -> HostReport:
    """In a dry run: a task that failed on a node as it is, after changes that were not made, is not known to fail."""
    tasks = []
    for task in report.tasks:
        if task.status is Status.FAILED and pending:
            task = replace(task, status=Status.UNKNOWN, error="", reason=f"on the node as it is now: {task.error}")  # noqa: PLW2901
        pending = pending or task.changed
        tasks.append(task)
    return replace(report, tasks=tuple(tasks), status=worst([task.status for task in tasks]) if tasks else report.status)
