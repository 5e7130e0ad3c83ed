"""What came of it: a task's own result, and the frozen report of a run (run > stage > host > task)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from nornir.core.task import Result as NornirResult
from pydantic_core import to_jsonable_python

from nornir_stack.errors import UsageError
from nornir_stack.secret import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nornir.core.inventory import Host

T = TypeVar("T")
VERSION = 1


class Status(str, Enum):
    """How it ended, for one task on one host, for a host in a stage, or for a stage."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed out"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    NOT_REACHED = "not reached"
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value

    @property
    def bad(self) -> bool:
        """True where the wanted state was not reached and it is known."""
        return self in _BAD


_BAD = frozenset({Status.FAILED, Status.UNREACHABLE, Status.TIMED_OUT, Status.CANCELLED, Status.NOT_REACHED})
_WORST_FIRST = (
    Status.FAILED,
    Status.TIMED_OUT,
    Status.UNREACHABLE,
    Status.CANCELLED,
    Status.NOT_REACHED,
    Status.UNKNOWN,
    Status.CHANGED,
    Status.OK,
    Status.SKIPPED,
)


def worst(statuses: Iterator[Status] | list[Status] | tuple[Status, ...]) -> Status:
    """The status to show for several; nothing at all counts as skipped."""
    found = set(statuses)
    return next((status for status in _WORST_FIRST if status in found), Status.SKIPPED)


class Result(NornirResult, Generic[T]):
    """A task's answer on one host: Nornir's Result, typed. `value` is what the task returns."""

    def __init__(
        self, host: Host, value: T, *, changed: bool = False, diff: str = "", skipped: str = "", unknown: str = ""
    ) -> None:
        super().__init__(host=host, result=value, changed=changed, diff=diff)
        self.skipped = skipped
        self.unknown = unknown

    @property
    def value(self) -> T:
        return cast("T", self.result)

    def __str__(self) -> str:
        if self.exception:
            return mask(str(self.exception))
        if self.skipped:
            return f"skipped: {self.skipped}"
        return "" if self.result is None else mask(str(self.result))


@dataclass(frozen=True)
class Attempt:
    """One try of a task. `started` is seconds since the epoch, `duration` seconds."""

    status: Status
    error: str
    started: float
    duration: float


@dataclass(frozen=True)
class TaskReport:
    """One task on one host.

    `effects` are what was done, or in a dry run would be; `reason` says why it was skipped or unknown.
    """

    task: str
    status: Status
    changed: bool = False
    diff: str = ""
    value: Any = None
    error: str = ""
    reason: str = ""
    effects: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    started: float = 0.0
    duration: float = 0.0
    function: str = ""


@dataclass(frozen=True)
class HostReport:
    """One host in one stage. `reason` says why it was skipped or not reached."""

    host: str
    status: Status
    reason: str = ""
    tasks: tuple[TaskReport, ...] = ()

    @property
    def changed(self) -> bool:
        return any(task.changed for task in self.tasks)

    @property
    def error(self) -> str:
        return next((task.error for task in self.tasks if task.error), "")


@dataclass(frozen=True)
class StageReport:
    """One stage or plan: every host that it selected, always. `name` is its path in the chain, `elect/join db2`.

    `problems` is what a barrier or a decision found wrong; `assumed` is what a dry run could only assume;
    `decided` is what a plan made of what it saw, `due` what it found that somebody should see to.
    """

    name: str
    kind: str
    status: Status
    hosts: tuple[HostReport, ...] = ()
    problems: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    decided: tuple[str, ...] = ()
    started: float = 0.0
    duration: float = 0.0
    due: tuple[str, ...] = ()

    def host(self, name: str) -> HostReport:
        for report in self.hosts:
            if report.host == name:
                return report
        raise UsageError(f"stage {self.name!r} did not select host {name!r}")

    @property
    def changed(self) -> bool:
        return any(host.changed for host in self.hosts)


@dataclass(frozen=True)
class Report:
    """One run. Readable by name: `report.stage("prepare").host("db1")`, `report.value(observe_member, "db1")`.

    `left` names what an interruption or a failure left undone: units (a member still drained), then hosts that stages did
    not reach; `warnings` are about the run itself.
    """

    chain: str
    run: str
    dry_run: bool = False
    stages: tuple[StageReport, ...] = ()
    interrupted: bool = False
    error: str = ""
    left: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    started: float = 0.0
    duration: float = 0.0
    version: int = field(default=VERSION)

    def stage(self, name: str) -> StageReport:
        for report in self.stages:
            if report.name == name:
                return report
        raise UsageError(f"no stage {name!r} in this report; it has: {', '.join(s.name for s in self.stages)}")

    def value(self, task: Callable[..., Result[T]], host: str) -> T:
        """What `task` answered last on `host`. Raises UsageError where it never ran there."""
        wanted = function_name(task)
        for stage in reversed(self.stages):
            for report in stage.hosts:
                for done in reversed(report.tasks):
                    if report.host == host and done.function == wanted and not done.status.bad:
                        return cast("T", done.value)
        raise UsageError(f"{wanted} has no value for {host!r} in this report")

    @property
    def hosts(self) -> Mapping[str, Status]:
        """Every host that any stage selected, with its worst status."""
        seen: dict[str, list[Status]] = {}
        for stage in self.stages:
            for host in stage.hosts:
                seen.setdefault(host.host, []).append(host.status)
        return {host: worst(statuses) for host, statuses in seen.items()}

    @property
    def changed(self) -> tuple[str, ...]:
        """What was changed, or in a dry run would be: `stage host: effect`, in order."""
        return tuple(
            f"{stage.name} {host.host}: {effect}"
            for stage in self.stages
            for host in stage.hosts
            for task in host.tasks
            if task.changed
            for effect in task.effects or (task.task,)
        )

    @property
    def ok(self) -> bool:
        """Nothing failed, not even a host that a stage went on without. Whom a plan could not see is the plan's matter."""
        acted = (host.status for stage in self.stages if stage.kind == "stage" for host in stage.hosts)
        bad = any(status.bad for status in (*(stage.status for stage in self.stages), *acted))
        return not self.error and not self.interrupted and not bad

    @property
    def exit_code(self) -> int:
        """0 as wanted, 1 something failed, 3 changes pending (dry run) or something to be seen to, 130 interrupted."""
        if self.interrupted:
            return 130
        if not self.ok:
            return 1
        pending = self.dry_run and (self.changed or any(s.status is Status.UNKNOWN for s in self.stages))
        return 3 if pending or any(stage.due for stage in self.stages) else 0

    def _repr_html_(self) -> str:
        """What a notebook shows. The page's maker reads reports, so it is imported late."""
        from nornir_stack.show_html import fragment  # noqa: PLC0415

        return fragment(self)

    def to_json(self) -> str:
        """The versioned JSON form; secrets masked; values as plain data."""
        return json.dumps(masked(plain(self, otherwise=lambda: plain(_readable(self)))), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report again; values stay plain data. Raises UsageError for another version or something else."""
        try:
            data = json.loads(text)
            if data.pop("version") != VERSION:
                raise UsageError(f"a report of another version than {VERSION}")
            return cls(**{**data, "stages": tuple(map(_stage, data["stages"])), **_tuples(data, "left", "warnings")})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"this is not a report of a run: {error!r}") from None


def plain(value: Any, otherwise: Callable[[], Any] | None = None) -> Any:
    """Any value as data of JSON's types; one that cannot be (bytes that are no text, a circle) as its `repr`."""
    try:
        return to_jsonable_python(value, fallback=repr, inf_nan_mode="constants")
    except Exception:  # noqa: BLE001  a task may return anything; nobody's result is lost for it
        return otherwise() if otherwise else _described(value)


def _described(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  as above
        return object.__repr__(value)


def _readable(report: Report) -> Report:
    """The same report, its values plain data already."""
    stages = [
        replace(
            stage,
            hosts=tuple(
                replace(host, tasks=tuple(replace(task, value=plain(task.value)) for task in host.tasks))
                for host in stage.hosts
            ),
        )
        for stage in report.stages
    ]
    return replace(report, stages=tuple(stages))


def masked(data: Any) -> Any:
    """Plain data (of JSON's types) with secrets blotted out of every string."""
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, dict):
        return {mask(str(key)): masked(value) for key, value in data.items()}
    return [masked(value) for value in data] if isinstance(data, list) else data


def undone(stages: Sequence[StageReport]) -> tuple[str, ...]:
    """Which hosts were not reached in which stages, and why: a sentence for those that have the reason in common."""
    told = []
    for stage in stages:
        reasons: dict[str, list[str]] = {}
        for host in stage.hosts:
            if host.status is Status.NOT_REACHED:
                reasons.setdefault(host.reason, []).append(host.host)
        told += [f"{', '.join(hosts)} not reached in {stage.name}: {reason}" for reason, hosts in reasons.items()]
    return tuple(told)


def function_name(task: Callable[..., Any]) -> str:
    """How a report names a task function: module and name."""
    return f"{getattr(task, '__module__', '')}.{getattr(task, '__qualname__', repr(task))}"


def _tuples(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: tuple(data[key]) for key in keys}


def _stage(data: dict[str, Any]) -> StageReport:
    more = {**_tuples(data, "problems", "assumed", "decided"), "due": tuple(data.get("due", ()))}
    return StageReport(**{**data, **more, "status": Status(data["status"]), "hosts": tuple(map(_host, data["hosts"]))})


def _host(data: dict[str, Any]) -> HostReport:
    return HostReport(**{**data, "status": Status(data["status"]), "tasks": tuple(map(_task, data["tasks"]))})


def _task(data: dict[str, Any]) -> TaskReport:
    attempts = tuple(Attempt(**{**a, "status": Status(a["status"])}) for a in data["attempts"])
    return TaskReport(**{**data, **_tuples(data, "effects"), "status": Status(data["status"]), "attempts": attempts})
