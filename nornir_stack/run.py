"""Executes a chain on an inventory: parts in order, batches, barriers, interruptions, and the report of it all."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nornir_stack import locks
from nornir_stack.chain import Chain, Check, Plan, Stage, batches
from nornir_stack.dispatch import Dispatcher
from nornir_stack.effects import Door, RunState
from nornir_stack.errors import Cancelled, Interrupted, Locked, Refused, StackError
from nornir_stack.events import Emitter
from nornir_stack.guests import guarded
from nornir_stack.here import held_here
from nornir_stack.interrupt import Interrupts
from nornir_stack.journal import new_run
from nornir_stack.results import HostReport, Report, StageReport, Status, undone, worst
from nornir_stack.secret import mask
from nornir_stack.select import Selector, parse, whole
from nornir_stack.work import HostLog, Work, explain, forgiven

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nornir.core import Nornir

    from nornir_stack.events import Listener

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_STOPPED = "the run was interrupted before"


def execute(
    chain: Chain,
    nr: Nornir,
    *,
    dry_run: bool = False,
    limit: str | Selector | None = None,
    wait: float = 10.0,
    listeners: Sequence[Listener] = (),
) -> Report:
    """What `Chain.run` says."""
    whole(nr.inventory)
    only = parse(limit, nr.inventory) if isinstance(limit, str) else limit
    wanted = selected(chain, nr)
    state = RunState(dry_run=dry_run)
    record = new_run(chain.name, dry_run=dry_run)
    state.run = record.run
    emit = Emitter((record.listener, *listeners))
    run = _Run(Dispatcher(nr, state), emit, only, locks.owner(record.run, chain.name), wait=wait)
    started, clock = time.time(), time.monotonic()
    acting = tuple(name for name in wanted if not run.left_out(name))
    emit("run", chain=chain.name, run=record.run, dry_run=dry_run, hosts=acting)
    error, locked = "", None
    with Interrupts(state, emit):
        try:
            with nullcontext() if dry_run else held_here(nr.inventory, run.who, wait, state.stop.is_set):
                if not dry_run:
                    run.lock(acting)
                run.chain(chain, "")
        except Exception as problem:
            if not isinstance(problem, StackError) and not run.stages:
                raise  # a fault of ours, before there was anything to tell
            error = explain(problem)
            locked = problem if isinstance(problem, Locked) and not run.stages else None
        finally:
            run.unlock()
        report = Report(
            chain.name,
            record.run,
            dry_run,
            tuple(run.stages),
            interrupted=state.stop.is_set(),
            error=error,
            left=(*run.left, *undone(run.stages)),
            warnings=tuple(emit.warnings),
            started=started,
            duration=time.monotonic() - clock,
        )
        emit("run-end", exit_code=report.exit_code, changed=len(report.changed))
        record.close(report)
        report = replace(report, warnings=(*emit.warnings, *record.problems))
    if report.interrupted:
        raise Interrupted(report)
    if locked:
        raise locked
    return report


def selected(chain: Chain, nr: Nornir) -> tuple[str, ...]:
    """Every host that the chain names before it runs, in declared order. Raises UsageError for what does not fit."""
    wanted: set[str] = set()
    for part in chain.parts:
        if isinstance(part, Chain):
            wanted.update(selected(part, nr))
        else:
            wanted.update(part.on.hosts(nr.inventory))
        if isinstance(part, Stage):
            batches((), part.serial)
            for check in filter(None, (part.before, part.until)):
                check.on.hosts(nr.inventory)
    return tuple(name for name in nr.inventory.hosts if name in wanted)


@dataclass
class _Run:
    floor: Dispatcher
    emit: Emitter
    limit: Selector | None
    who: str  # one line for the whole run: a node that two hosts are, or that is locked later on, knows its own by it
    stages: list[StageReport] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    units: int = 0
    pending: bool = False
    asked: dict[str, None] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    wait: float = 0.0

    def __post_init__(self) -> None:
        self.processors = guarded(self.nr.processors, self.emit.warnings.append)

    @property
    def nr(self) -> Nornir:
        return self.floor.nr

    @property
    def state(self) -> RunState:
        return self.floor.state

    # who may run

    def lock(self, hosts: Iterable[str]) -> None:
        """Lock every host that is not held yet; waits for another run, and says for whom. Raises Locked, Cancelled."""
        todo = [name for name in hosts if name not in self.held]
        end, told = time.monotonic() + self.wait, ""
        while todo:
            self.asked |= dict.fromkeys(todo)
            answers = self.floor.each(todo, lambda host: locks.lock_node(host, self.nr.config, self.who))
            self.held |= {name for name in todo if answers.get(name) == ""}
            todo = [name for name in todo if name not in self.held]
            if not todo:
                return
            holder = answers.get(todo[0], "nobody known: it gave no answer")
            if self._stopping:
                raise Cancelled(f"interrupted while {todo[0]} was locked by {holder}")
            if time.monotonic() > end:
                raise Locked(todo[0], holder, host=todo[0])
            if told != (told := f"{todo[0]} is locked by {holder}"):
                self.emit("waiting", problems=[told])
            (self.state.cut if self.units else self.state.stop).wait(_LONGEST_PAUSE / 2)

    def unlock(self) -> None:
        self.floor.each(self.asked, lambda host: locks.unlock_node(host, self.who))

    # chains and their parts

    def chain(self, chain: Chain, path: str) -> bool:
        """Run the parts in order; after one that failed only stages that run always. After a stop no chain begins."""
        why = _STOPPED if chain.parts and self._stopping else ""  # asked before a unit counts as begun
        begun = not why
        mended: list[bool] = []
        self.units += chain.unit
        try:
            for part in chain.parts:
                where = f"{path}/{part.name}" if path else part.name
                why = why or (_STOPPED if self._stopping else "")
                always = isinstance(part, Stage) and part.always
                if why and not (always and begun and not self.state.cut.is_set()):
                    self._not_reached(part, where, why)
                    well = False
                else:
                    well = self._part(part, where)
                    why = why or ("" if well else _STOPPED if self._stopping else f"{where} did not end well")
                if always:
                    mended.append(well)
        finally:
            self.units -= chain.unit
        if why and begun and chain.left and not self.state.dry_run and not (mended and all(mended)):
            self.left.append(chain.left)
        return not why

    @property
    def _stopping(self) -> bool:
        return self.state.cut.is_set() or (self.state.stop.is_set() and not self.units)

    def _part(self, part: Stage | Plan[Any] | Chain, path: str) -> bool:
        if isinstance(part, Chain):
            return self.chain(part, path)
        started, clock = time.time(), time.monotonic()
        try:
            return self._plan(part, path) if isinstance(part, Plan) else self._stage(part, path)
        except Exception as error:  # noqa: BLE001  a part that cannot be begun has failed; what came before it stays told
            status = Status.CANCELLED if isinstance(error, Cancelled) else Status.FAILED
            report, spent = self._without(part, path, explain(error)), time.monotonic() - clock
            return self._ended(replace(report, status=status, started=started, duration=spent))

    def _not_reached(self, part: Stage | Plan[Any] | Chain, path: str, why: str) -> None:
        if isinstance(part, Chain):
            for inner in part.parts:
                self._not_reached(inner, f"{path}/{inner.name}", why)
            return
        self._ended(self._without(part, path, why))

    def _without(self, part: Stage | Plan[Any], path: str, why: str) -> StageReport:
        """The report of a part that reached nobody."""
        try:
            names = part.on.hosts(self.nr.inventory)
        except Exception:  # noqa: BLE001  a selector that a plan made and that fits no host
            names = ()
        hosts = tuple(HostReport(name, Status.NOT_REACHED, why) for name in names)
        kind = "plan" if isinstance(part, Plan) else "stage"
        return StageReport(path, kind, Status.NOT_REACHED, hosts, (why,), started=time.time())

    def _ended(self, report: StageReport) -> bool:
        self.stages.append(report)
        hosts = {host.host: host.status for host in report.hosts}
        self.emit("part-end", report.name, status=report.status, problems=report.problems, hosts=hosts)
        return not report.status.bad

    # plans

    def _plan(self, plan: Plan[Any], path: str) -> bool:
        started, clock = time.time(), time.monotonic()
        names = plan.on.hosts(self.nr.inventory)
        self.emit("part", path, kind="plan", hosts=names)
        seen, hosts = self.floor.look(plan.observe, plan.on)
        problems: tuple[str, ...] = ()
        assumed: tuple[str, ...] = ()
        status = Status.OK
        chain = Chain(plan.name)
        try:
            chain = plan.decide(seen)
        except Exception as error:  # noqa: BLE001  a fault in a decision ends the chain, not the report
            status, problems = Status.FAILED, (explain(error),)
            if self.pending and isinstance(error, Refused):
                status, problems, assumed = Status.UNKNOWN, (), (f"its decision, which by now would be: {error}",)
        else:
            assumed = ("that what was seen before the pending changes still holds after them",) if self.pending else ()
            parts = [part.name for part in chain.parts]
            self.emit("decided", path, reasons=tuple(map(mask, chain.reasons)), parts=parts, unseen=tuple(seen.missing))
        report = StageReport(
            path,
            "plan",
            status,
            hosts,
            problems,
            assumed,
            tuple(map(mask, chain.reasons)),
            started,
            time.monotonic() - clock,
            tuple(map(mask, chain.due)),
        )
        return self._ended(report) and self.chain(chain, path)

    # stages

    def _stage(self, stage: Stage, path: str) -> bool:
        started, clock = time.time(), time.monotonic()
        names = stage.on.hosts(self.nr.inventory)
        self.emit("part", path, kind="stage", hosts=names)
        reports = {name: HostReport(name, Status.SKIPPED, why) for name in names if (why := self.left_out(name))}
        if not stage.always:
            reports |= {
                name: HostReport(name, Status.NOT_REACHED, self.failed[name])
                for name in names
                if name in self.failed and name not in reports
            }
        acting = [name for name in names if name not in reports]
        if not self.state.dry_run:
            self.lock(acting)  # a plan may reach for hosts that the chain did not name
        problems: tuple[str, ...] = ()
        assumed: list[str] = []
        bad = 0
        for batch in batches(acting, stage.serial):
            if problems or (self._stopping and not stage.always):
                why = problems[0] if problems else _STOPPED
                reports |= {name: HostReport(name, Status.NOT_REACHED, why) for name in batch}
                continue
            problems = self._holds(stage.before, path, assumed)
            if problems:
                reports |= {name: HostReport(name, Status.NOT_REACHED, problems[0]) for name in batch}
                continue
            done = self._batch(stage, path, batch)
            reports |= done
            lost = {name: report for name, report in done.items() if report.status.bad}
            bad += len(lost)
            self.failed |= {name: f"{path}: {report.error or report.reason}" for name, report in lost.items()}
            if bad > stage.max_failures:
                problems = tuple(f"{name} {report.status}: {report.error or report.reason}" for name, report in lost.items())
            else:
                problems = self._holds(stage.until, path, assumed)
        statuses = [report.status for report in reports.values() if not report.status.bad]
        status = worst(statuses)
        if problems or bad > stage.max_failures:
            status = worst([report.status for report in reports.values() if report.status.bad] or [Status.FAILED])
        elif self._stopping and any(report.status is Status.NOT_REACHED for report in reports.values()):
            status = Status.NOT_REACHED
        ordered = tuple(reports[name] for name in names)
        return self._ended(
            StageReport(path, "stage", status, ordered, problems, tuple(assumed), (), started, time.monotonic() - clock)
        )

    def left_out(self, name: str) -> str:
        """Why this run does not act on a host, or nothing."""
        if why := self.floor.maintenance(name):
            return f"under maintenance: {why}"
        if self.limit is not None and name not in self.limit.hosts(self.nr.inventory):
            return f"not among {self.limit}, to which this run is limited"
        return ""

    def _batch(self, stage: Stage, path: str, batch: tuple[str, ...]) -> dict[str, HostReport]:
        self.emit("batch", path, hosts=batch)
        logs = {name: HostLog(name) for name in batch}
        stoppable = not self.units and not stage.always
        work = Work(path, stage.bound, stage.retries, self.state, self.emit, logs, stoppable)

        def door() -> Door:
            deadline = None if stage.timeout is None else time.monotonic() + stage.timeout
            return Door(deadline=deadline, cut=self.state.cut)

        answers = self.floor.run(work.body, batch, door, self.processors)
        found = {}
        for name in batch:
            failure = answers[name][0].exception if name in answers and answers[name].failed else None
            found[name] = logs[name].report(failure)
            if self.state.dry_run:
                found[name] = forgiven(found[name], pending=self.pending)
        self.pending = self.pending or (self.state.dry_run and any(report.changed for report in found.values()))
        return found

    # barriers

    def _holds(self, check: Check[Any] | None, path: str, assumed: list[str]) -> tuple[str, ...]:
        """Nothing, once the check holds; its problems, if it does not within its time."""
        if check is None:
            return ()
        told: tuple[str, ...] = ()
        end, pause = time.monotonic() + check.within, _FIRST_PAUSE
        while True:
            problems = self._judged(check)
            if not problems or self.state.dry_run or time.monotonic() > end or self._stopping:
                break
            if problems != told:
                self.emit("waiting", path, problems=problems)
            told = problems
            self.state.cut.wait(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        if problems and self.pending:
            assumed += [f"that this would be over by then: {problem}" for problem in problems]
            problems = ()
        self.emit("barrier", path, ok=not problems, problems=problems)
        return problems

    def _judged(self, check: Check[Any]) -> tuple[str, ...]:
        try:
            seen, _ = self.floor.look(check.observe, check.on)
            return tuple(mask(problem) for problem in check.judge(seen))
        except Exception as error:  # noqa: BLE001  a fault in a judgement is a barrier that is not met
            return (explain(error),)
