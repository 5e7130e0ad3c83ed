"""Chains on hosts that answer from memory: order, barriers, failures, limits, interruptions."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nornir.core.task import Task  # noqa: TC002  task functions are inspected

from nornir_stack import locks
from nornir_stack.chain import Chain, Check, Plan, Stage, batches, do
from nornir_stack.connections.local import LocalWay
from nornir_stack.dispatch import Dispatcher, survey
from nornir_stack.effects import Gate, RunState
from nornir_stack.errors import (
    CommandFailed,
    ConnectionFailed,
    Interrupted,
    Locked,
    Refused,
    StackError,
    UsageError,
)
from nornir_stack.here import held_here
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.journal import load_report, runs
from nornir_stack.node import Node
from nornir_stack.results import Report, Result, Status
from nornir_stack.secret import Secret
from nornir_stack.select import everyone, hosts, role
from nornir_stack.shell import ShellConnection
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nornir.core import Nornir
    from nornir.core.inventory import Host

    from nornir_stack.events import Event
    from nornir_stack.seen import Seen

DB = role("db")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.fixture
def nr() -> Nornir:
    return fleet({"db": ["db1", "db2", "db3"], "loadbalancer": ["lb1"]})


class Log:
    """What tasks did, in the order in which they did it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def task(self, name: str, *, fails: str = "", error: Exception | None = None) -> Callable[..., Result[str]]:
        def body(task: Task) -> Result[str]:
            self.lines.append(f"{name} {task.host.name}")
            if task.host.name == fails:
                raise error or Refused(f"{name} is refused here")
            return Result(task.host, f"{name} on {task.host.name}")

        body.__qualname__ = body.__name__ = name
        return body


def look(task: Task) -> Result[str]:
    return Result(task.host, task.host.name)


def test_stages_in_order_hosts_at_their_own_pace(nr: Nornir) -> None:
    """A stage begins only when every host has ended the one before; each host's tasks keep their order."""
    log = Log()
    report = Chain("c", Stage("a", [log.task("one"), log.task("two")], DB), Stage("b", [log.task("three")], DB)).run(nr)
    assert report.ok
    assert {line.split()[0] for line in log.lines[:6]} == {"one", "two"}
    assert [line.split()[0] for line in log.lines[6:]] == ["three"] * 3
    for name in ("db1", "db2", "db3"):
        assert log.lines.index(f"one {name}") < log.lines.index(f"two {name}")


def test_every_selected_host_has_a_result_after_a_failure(nr: Nornir) -> None:
    """A failed host does not lose the others of its batch; later parts are reported as not reached, host by host."""
    log = Log()
    report = Chain("c", Stage("a", [log.task("one", fails="db2")], DB), Stage("b", [log.task("two")], everyone)).run(nr)
    assert [(h.host, h.status) for h in report.stage("a").hosts] == [
        ("db1", Status.OK),
        ("db2", Status.FAILED),
        ("db3", Status.OK),
    ]
    assert {h.status for h in report.stage("b").hosts} == {Status.NOT_REACHED}
    assert len(report.stage("b").hosts) == 4
    assert report.exit_code == 1
    assert "one is refused here" in report.stage("a").problems[0]


def test_max_failures_lets_named_losses_pass(nr: Nornir) -> None:
    """With max_failures=1 one lost host does not end the chain, and later stages do not touch it; the exit code is 1."""
    log = Log()
    error = ConnectionFailed("db2: no way")
    report = Chain(
        "c", Stage("a", [log.task("one", fails="db2", error=error)], DB, max_failures=1), Stage("b", [log.task("two")], DB)
    ).run(nr)
    assert report.stage("a").host("db2").status is Status.UNREACHABLE
    assert report.stage("b").host("db2").status is Status.NOT_REACHED
    assert {"two db1", "two db3"} <= set(log.lines)
    assert "two db2" not in log.lines
    assert not report.ok
    assert report.exit_code == 1


def test_the_barrier_is_asked_after_a_batch_that_failed_too(nr: Nornir) -> None:
    """A whole batch whose failure is tolerated may have left the others ill: the next may be the last good one."""
    log = Log()
    until = Check(look, lambda _: ["db2 is Donor"] if "one db1" in log.lines else [], DB)
    report = Chain("c", Stage("a", [log.task("one", fails="db1")], DB, serial=1, max_failures=2, until=until)).run(nr)
    assert log.lines == ["one db1"]
    assert report.stage("a").host("db2").reason == "db2 is Donor"


def test_serial_one_with_barriers_around_every_batch(nr: Nornir) -> None:
    """`before` and `until` are looked at around every batch, not once around the stage."""
    log = Log()

    def judge(seen: Seen[str]) -> list[str]:
        log.lines.append("judged")
        return []

    gate = Check(look, judge, DB)
    Chain("c", Stage("a", [log.task("one")], DB, serial=1, before=gate, until=gate)).run(nr)
    assert log.lines == [line for n in (1, 2, 3) for line in ("judged", f"one db{n}", "judged")]


def test_barrier_not_met_stops_before_the_next_batch(nr: Nornir) -> None:
    """When `until` does not hold in its time, the next batch never begins and its hosts say why."""
    log = Log()
    report = Chain(
        "c", Stage("a", [log.task("one")], DB, serial=1, until=Check(look, lambda _: ["db1 is not Synced"], DB))
    ).run(nr)
    assert log.lines == ["one db1"]
    assert report.stage("a").status is not Status.OK
    assert report.stage("a").host("db3").reason == "db1 is not Synced"
    assert report.exit_code == 1


def test_barrier_waits_until_it_holds(nr: Nornir) -> None:
    """`within` polls: a condition that comes true in time is met."""
    asked = []

    def judge(seen: Seen[str]) -> list[str]:
        asked.append(1)
        return [] if len(asked) > 3 else ["not yet"]

    report = Chain("c", Stage("a", [look], DB, until=Check(look, judge, DB, within=30))).run(nr)
    assert report.ok
    assert len(asked) == 4


def test_plan_decides_from_everyone_and_its_chain_runs(nr: Nornir) -> None:
    """A plan sees every host, the missing with their reason, and what it returns runs under its name."""
    log = Log()

    def answer(task: Task) -> Result[str]:
        if task.host.name == "db3":
            raise ConnectionFailed("db3 does not answer")
        return Result(task.host, task.host.name)

    def decide(seen: Seen[str]) -> Chain:
        assert seen.missing == {"db3": "db3 does not answer"}
        return Chain("d", Stage("act", [log.task("lead")], hosts(next(iter(seen)))), reasons=["db1 leads"])

    report = Chain("c", Plan("elect", answer, decide, DB)).run(nr)
    assert log.lines == ["lead db1"]
    assert report.stage("elect").decided == ("db1 leads",)
    assert report.stage("elect/act").host("db1").status is Status.OK
    assert report.stage("elect").host("db3").status is Status.UNREACHABLE


def test_refusing_plan_ends_the_chain_with_its_sentence(nr: Nornir) -> None:
    """Refused by a decision: the sentence is the stage's problem, and nothing after it is touched."""
    log = Log()

    def decide(seen: Seen[str]) -> Chain:
        raise Refused("two histories: choose one")

    report = Chain("c", Plan("elect", look, decide, DB), Stage("b", [log.task("two")], DB)).run(nr)
    assert report.stage("elect").problems == ("two histories: choose one",)
    assert log.lines == []
    assert report.exit_code == 1


def test_limit_restricts_acting_never_looking(nr: Nornir) -> None:
    """With a limit the plan still sees all; hosts outside it are skipped, and shown so."""
    log = Log()
    saw: list[tuple[str, ...]] = []

    def decide(seen: Seen[str]) -> Chain:
        saw.append(tuple(seen))
        return Chain("d", Stage("act", [log.task("one")], DB))

    report = Chain("c", Plan("p", look, decide, DB)).run(nr, limit="db2")
    assert saw == [("db1", "db2", "db3")]
    assert log.lines == ["one db2"]
    assert report.stage("p/act").host("db1").status is Status.SKIPPED


def test_hosts_under_maintenance_are_never_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """`maintenance: reason` keeps a host from looks, locks and tasks, and is shown."""
    log = Log()
    locked: list[str] = []

    def lock(host: Host, *_: object) -> str:
        locked.append(host.name)
        return ""

    monkeypatch.setattr("nornir_stack.locks.lock_node", lock)
    nr = fleet({"db": ["db1", "db2"]}, {"db2": {"maintenance": "new disk"}})
    report = Chain("c", Stage("a", [log.task("one")], DB)).run(nr)
    assert (log.lines, locked) == (["one db1"], ["db1"])
    assert report.stage("a").host("db2").reason == "under maintenance: new disk"
    assert survey(nr, look, DB).missing == {"db2": "under maintenance: new disk"}


def test_dry_run_changes_nothing_and_shows_what_it_would(nr: Nornir) -> None:
    """In a dry run the gate itself keeps effects back, and the report is the same as if they had been made."""
    made: list[str] = []

    def change(task: Task) -> Result[None]:
        gate = Gate(task)
        gate.effect(f"paint {task.host.name}", lambda: made.append(task.host.name), diff="-grey\n+red")
        return Result(task.host, None, changed=bool(gate.effects), diff=gate.effects[0].diff)

    chain = Chain("c", Stage("a", [change], DB))
    dry = chain.run(nr, dry_run=True)
    assert made == []
    assert dry.exit_code == 3
    assert dry.stage("a").host("db1").tasks[0].effects == ("paint db1",)
    real = chain.run(nr)
    assert sorted(made) == ["db1", "db2", "db3"]
    assert real.exit_code == 0
    assert [t.diff for h in dry.stages[0].hosts for t in h.tasks] == [t.diff for h in real.stages[0].hosts for t in h.tasks]


def test_dry_run_reads_after_a_pending_change_are_undecidable(nr: Nornir) -> None:
    """A look that follows a change which was not made is not answered from the old world."""

    def change_then_look(task: Task) -> Result[str]:
        gate = Gate(task)
        gate.effect("install", lambda: None)
        return Result(task.host, gate.look("version", lambda: "old"))

    report = Chain("c", Stage("a", [change_then_look], hosts("db1"))).run(nr, dry_run=True)
    told = report.stage("a").host("db1").tasks[0]
    assert told.status is Status.CHANGED
    assert told.reason == "version: known only after: install"


def test_dry_run_assumes_a_barrier_only_after_pending_changes(nr: Nornir) -> None:
    """A barrier that would hold after a pending change is marked as assumed; one that fails without any is a problem."""

    def change(task: Task) -> Result[None]:
        Gate(task).effect("start", lambda: None)
        return Result(task.host, None, changed=True)

    never = Check(look, lambda _: ["db1 is down"], DB)
    assumed = Chain("c", Stage("a", [change], DB, until=never)).run(nr, dry_run=True)
    assert "db1 is down" in assumed.stage("a").assumed[0]
    assert assumed.exit_code == 3
    certain = Chain("c", Stage("a", [look], DB, until=never)).run(nr, dry_run=True)
    assert certain.stage("a").problems == ("db1 is down",)
    assert certain.exit_code == 1


def test_a_look_that_changes_is_refused(nr: Nornir) -> None:
    """Nothing observed may change anything, in a real run too."""
    made: list[str] = []

    def sneaky(task: Task) -> Result[None]:
        Gate(task).effect("paint", lambda: made.append("x"))
        return Result(task.host, None)

    seen = survey(nr, sneaky, DB)
    assert made == []
    assert "this only looks" in seen.missing["db1"]


def test_timeout_gives_a_result_and_shuts_the_door(nr: Nornir) -> None:
    """A host past its stage's timeout is `timed out`, the others keep their results, and its thread can do no more."""
    release = threading.Event()
    outcome: list[str] = []
    ended = threading.Event()

    def slow(task: Task) -> Result[None]:
        if task.host.name == "db2":
            gate = Gate(task)
            release.wait(30)
            try:
                gate.effect("too late", lambda: outcome.append("did it"))
            except StackError as error:
                outcome.append(type(error).__name__)
            ended.set()
        return Result(task.host, None)

    report = Chain("c", Stage("a", [slow], DB, timeout=0.2)).run(nr)
    assert report.stage("a").host("db2").status is Status.TIMED_OUT
    assert report.stage("a").host("db1").status is Status.OK
    release.set()
    assert ended.wait(10)
    assert outcome == ["TimedOut"]


def test_retries_repeat_only_what_may_be_repeated(nr: Nornir) -> None:
    """A failed task is tried again if nothing was sent or all was repeatable; every attempt is kept."""
    tries: dict[str, int] = {}

    def flaky(task: Task, *, repeatable: bool) -> Result[None]:
        tries[task.host.name] = tries.get(task.host.name, 0) + 1
        Gate(task).effect("send", lambda: None, repeatable=repeatable)
        if tries[task.host.name] == 1:
            raise ValueError("first time")
        return Result(task.host, None)

    good = Chain("c", Stage("a", [do(flaky, repeatable=True)], hosts("db1"), retries=2)).run(nr)
    assert [a.status for a in good.stage("a").host("db1").tasks[0].attempts] == [Status.FAILED, Status.CHANGED]
    bad = Chain("c", Stage("a", [do(flaky, repeatable=False)], hosts("db2"), retries=2)).run(nr)
    assert len(bad.stage("a").host("db2").tasks[0].attempts) == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyError("x"), CommandFailed, RecursionError()])
def test_whatever_a_task_raises_is_that_hosts_failure(nr: Nornir, error: Any) -> None:
    """SystemExit and friends in one host's task lose no other host's result."""

    def bad(task: Task) -> Result[str]:
        if task.host.name == "db1":
            raise error
        return Result(task.host, "fine")

    report = Chain("c", Stage("a", [bad], DB)).run(nr)
    assert [h.status for h in report.stage("a").hosts] == [Status.FAILED, Status.OK, Status.OK]


def test_a_broken_processor_loses_nobodys_result(nr: Nornir) -> None:
    """A processor that raises is dropped with a warning; all hosts keep their results."""

    class Broken:
        def task_started(self, *_: Any) -> None:
            raise RuntimeError("processor")

        task_completed = task_instance_started = task_instance_completed = task_started
        subtask_instance_started = subtask_instance_completed = task_started

    report = Chain("c", Stage("a", [look], DB)).run(nr.with_processors([Broken()]))
    assert [h.status for h in report.stage("a").hosts] == [Status.OK] * 3
    assert "processor" in " ".join(report.warnings)


def test_a_broken_listener_loses_nothing(nr: Nornir) -> None:
    """A listener that raises is told no more, and the report says so."""

    def broken(event: Event) -> None:
        raise RuntimeError("deaf")

    report = Chain("c", Stage("a", [look], DB)).run(nr, listeners=[broken])
    assert report.ok
    assert "deaf" in report.warnings[0]


def _interrupting(log: Log, times: int = 1) -> Callable[..., Result[None]]:
    def interrupt(task: Task) -> Result[None]:
        log.lines.append(f"interrupt {task.host.name}")
        for n in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            events = (task.nornir.data.stop, task.nornir.data.cut)  # type: ignore[attr-defined]
            wait_for(events[n].is_set)
        return Result(task.host, None)

    return interrupt


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        threading.Event().wait(0.01)


def test_first_interrupt_begins_nothing_new_and_carries_the_report(nr: Nornir) -> None:
    """After Ctrl-C the running tasks end, later parts are not reached, and the exception holds the report."""
    log = Log()
    chain = Chain("c", Stage("a", [_interrupting(log)], hosts("db1")), Stage("b", [log.task("two")], DB))
    with pytest.raises(Interrupted) as caught:
        chain.run(nr)
    report = caught.value.report
    assert report.exit_code == 130
    assert log.lines == ["interrupt db1"]
    assert report.stage("a").host("db1").status is Status.OK
    assert report.stage("b").host("db2").status is Status.NOT_REACHED
    assert report.left == ("db1, db2, db3 not reached in b: the run was interrupted before",)


def test_a_unit_finishes_after_the_first_interrupt(nr: Nornir) -> None:
    """A unit chain (drain, restart, undrain) is not cut in the middle; what comes after it does not begin."""
    log = Log()
    unit = Chain(
        "u", Stage("drain", [_interrupting(log)], hosts("db1")), Stage("undrain", [log.task("two")], hosts("db1")), unit=True
    )
    with pytest.raises(Interrupted):
        Chain("c", unit, Stage("b", [log.task("three")], DB)).run(nr)
    assert log.lines == ["interrupt db1", "two db1"]


def test_a_unit_tries_again_after_the_first_interrupt(nr: Nornir) -> None:
    """What has begun is finished, with all the attempts that it may make; outside a unit there is one no more."""
    log = Log()

    def flaky(task: Task) -> Result[None]:
        log.lines.append("try")
        if len(log.lines) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            wait_for(task.nornir.data.stop.is_set)  # type: ignore[attr-defined]
            raise ValueError("not yet")
        return Result(task.host, None)

    for unit, tries in ((True, 2), (False, 1)):
        log.lines.clear()
        with pytest.raises(Interrupted) as caught:
            Chain("c", Chain("u", Stage("restart", [flaky], hosts("db1"), retries=1), unit=unit)).run(nr)
        assert len(log.lines) == tries
        assert caught.value.report.stage("u/restart").status.bad is not unit


def test_second_interrupt_cuts_and_says_what_is_left(nr: Nornir) -> None:
    """A second Ctrl-C cuts a unit, and the report says what it leaves undone."""
    log = Log()
    unit = Chain(
        "u",
        Stage("drain", [_interrupting(log, times=2)], hosts("db1")),
        Stage("undrain", [log.task("two")], hosts("db1")),
        unit=True,
        left="db1 is still drained",
    )
    with pytest.raises(Interrupted) as caught:
        Chain("c", unit).run(nr)
    assert "two db1" not in log.lines
    assert caught.value.report.left == (
        "db1 is still drained",
        "db1 not reached in u/undrain: the run was interrupted before",
    )


def test_a_cut_in_the_last_part_of_a_unit_says_what_is_left(nr: Nornir) -> None:
    """No part comes after it which would find the run cut."""
    drain = Stage("drain", [_interrupting(Log(), times=2), _looking], hosts("db1"))
    unit = Chain("u", drain, unit=True, left="db1 is drained")
    with pytest.raises(Interrupted) as caught:
        Chain("c", unit).run(nr)
    assert caught.value.report.left == ("db1 is drained",)


def _looking(task: Task) -> Result[None]:
    Gate(task).look("the cut", lambda: None)
    return Result(task.host, None)


@pytest.mark.parametrize(
    ("fails", "always", "dry_run", "left"),
    [
        ("restart", None, False, ("db1 may be drained", "db1 not reached in u/undrain: u/restart did not end well")),
        ("undrain", None, False, ("db1 may be drained",)),
        ("undrain", True, False, ("db1 may be drained",)),
        ("restart", True, False, ()),  # what is always done has been done
        ("restart", None, True, ("db1 not reached in u/undrain: u/restart did not end well",)),  # nothing was drained
        ("", None, False, ()),
    ],
)
def test_a_unit_that_failed_says_what_is_left(
    nr: Nornir, fails: str, always: bool | None, dry_run: bool, left: tuple[str, ...]
) -> None:
    """What a unit leaves undone is told when it failed too, and hosts that its stages did not reach with why."""
    log, db1 = Log(), hosts("db1")
    drain, restart, undrain = (log.task(name, fails="db1" if name == fails else "") for name in ("drain", "restart", "undrain"))
    parts = [Stage("drain", [drain], db1), Stage("restart", [restart], db1)]
    parts.append(Stage("undrain", [undrain], db1, always=bool(always)))
    report = Chain("c", Chain("u", *parts, unit=True, left="db1 may be drained")).run(nr, dry_run=dry_run)
    assert report.left == left


def test_an_interruption_in_a_plans_look_begins_no_unit(nr: Nornir) -> None:
    """What a plan decided to do is not begun after Ctrl-C, nor are its stages that always run: no unit is left undone."""
    log = Log()
    always = Stage("undrain", [log.task("two")], hosts("db1"), always=True)
    unit = Chain("u", Stage("drain", [log.task("one")], hosts("db1")), always, unit=True, left="db1 is drained")
    with pytest.raises(Interrupted) as caught:
        Chain("c", Plan("p", _interrupting(log), lambda _: unit, hosts("db1")), Stage("b", [look], DB)).run(nr)
    report = caught.value.report
    assert log.lines == ["interrupt db1"]
    assert {report.stage(name).status for name in ("p/drain", "p/undrain", "b")} == {Status.NOT_REACHED}
    assert report.left == tuple(
        f"{names} not reached in {stage}: the run was interrupted before"
        for stage, names in (("p/drain", "db1"), ("p/undrain", "db1"), ("b", "db1, db2, db3"))
    )


def test_a_terminal_that_is_gone_stops_and_never_cuts(nr: Nornir) -> None:
    """SIGHUP comes from the shell and from the kernel: both are the first Ctrl-C. What has begun is finished and reported."""
    log = Log()

    def hang_up(task: Task) -> Result[None]:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
            wait_for(task.nornir.data.stop.is_set)  # type: ignore[attr-defined]
        threading.Event().wait(0.2)
        assert not task.nornir.data.cut.is_set()  # type: ignore[attr-defined]
        return Result(task.host, None)

    before = signal.signal(signal.SIGHUP, signal.default_int_handler)  # not ignored, wherever the tests run
    try:
        with pytest.raises(Interrupted) as caught:
            Chain("c", Stage("a", [hang_up], hosts("db1")), Stage("b", [log.task("two")], DB)).run(nr)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert caught.value.report.stage("a").status is Status.OK
    assert log.lines == []


def test_an_ignored_hangup_stays_ignored(nr: Nornir) -> None:
    """Under nohup, and where cron ignores it, the run goes on."""

    def hang_up(task: Task) -> Result[None]:
        os.kill(os.getpid(), signal.SIGHUP)
        return Result(task.host, None)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert Chain("c", Stage("a", [hang_up], hosts("db1"))).run(nr).ok
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_always_stages_run_after_a_failure(nr: Nornir) -> None:
    """An `always` stage of a chain that failed runs, and the chain still counts as failed."""
    log = Log()
    report = Chain(
        "c", Stage("a", [log.task("one", fails="db1")], DB), Stage("b", [log.task("two")], hosts("lb1"), always=True)
    ).run(nr)
    assert "two lb1" in log.lines
    assert report.exit_code == 1


def test_values_are_read_by_task_and_host(nr: Nornir) -> None:
    """`report.value(task, host)` is what that task answered last there; an unknown one is a clear error."""
    report = Chain("c", Stage("a", [look], DB)).run(nr)
    assert report.value(look, "db2") == "db2"
    with pytest.raises(UsageError, match="lb1"):
        report.value(look, "lb1")


def test_report_survives_json(nr: Nornir) -> None:
    """The JSON form is versioned and gives the same report again."""
    log = Log()
    report = Chain("c", Stage("a", [log.task("one", fails="db2")], DB), Stage("b", [look], DB)).run(nr)
    assert Report.from_json(report.to_json()) == report


def test_secrets_never_reach_the_report_or_the_journal(nr: Nornir, tmp_path: Path) -> None:
    """A revealed secret is masked in values, errors, effects and diffs, on disk too."""
    secret = Secret(literal='hun"ter2\N{SNOWMAN}-long')

    def leaky(task: Task, *, password: Secret) -> Result[str]:
        word = password.reveal()
        Gate(task).effect(f"set {word}", lambda: None, diff=f"+{word}")
        if task.host.name == "db2":
            raise ValueError(word)
        return Result(task.host, word)

    report = Chain("c", Stage("a", [do(leaky, password=secret)], DB)).run(nr)
    disk = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    for text in (report.to_json(), disk):
        assert "ter2" not in text


def test_filtered_copies_are_refused_where_all_must_be_seen(nr: Nornir) -> None:
    """A Nornir object that forgot hosts is refused before anything runs."""
    nr.inventory.groups.declared = tuple(nr.inventory.hosts)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="db1"):
        Chain("c", Stage("a", [look], DB)).run(nr.filter(name="db2"))


def test_unknown_hosts_and_arguments_are_usage_errors_before_anything_runs(nr: Nornir) -> None:
    """A misspelt host or argument is told at once, with the nearest known name."""
    log = Log()
    with pytest.raises(UsageError, match="did you mean 'db1'"):
        Chain("c", Stage("a", [log.task("one")], DB), Stage("b", [log.task("one")], hosts("db11"))).run(nr)
    with pytest.raises(UsageError, match="serial"):
        Chain("c", Stage("a", [log.task("one")], DB), Stage("b", [log.task("one")], DB, serial=0)).run(nr)
    with pytest.raises(UsageError, match="there is no host 'db9'"):
        Chain("c", Stage("a", [log.task("one")], DB), Stage("b", [log.task("one")], DB, until=NOWHERE)).run(nr)
    assert log.lines == []
    with pytest.raises(UsageError, match="colour"):
        do(look, colour="red")


@given(
    st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=12),
    st.lists(st.one_of(st.integers(1, 5), st.sampled_from(["1%", "25%", "100%"])), min_size=1, max_size=4),
)
def test_batches_hold_every_host_once_in_order(names: list[str], serial: list[int | str]) -> None:
    """Whatever the sizes, batches partition the hosts in declared order and none is empty."""
    found = batches(names, serial)
    assert [name for batch in found for name in batch] == names
    assert all(found) if names else found == []


@pytest.mark.parametrize("serial", [0, -1, "x%", "5", True, []])
def test_bad_serials_are_usage_errors(serial: Any) -> None:
    """A size that is no number above 0 and no percentage is refused."""
    with pytest.raises(UsageError):
        batches(["a"], serial)


def test_a_second_run_of_the_inventory_is_locked_out_and_told_by_whom(nr: Nornir) -> None:
    """While one run of an inventory goes on, another ends with Locked, which names the first; a dry run needs no lock."""
    begun, release = threading.Event(), threading.Event()

    def slow(task: Task) -> Result[None]:
        begun.set()
        release.wait(30)
        return Result(task.host, None)

    first = threading.Thread(target=Chain("first", Stage("a", [slow], hosts("db1"))).run, args=(nr,))
    first.start()
    try:
        assert begun.wait(10)
        other = Chain("second", Stage("a", [look], hosts("db2")))
        with pytest.raises(Locked, match=r"\(first\)"):
            other.run(nr, wait=0)
        assert other.run(nr, dry_run=True).ok
    finally:
        release.set()
        first.join()
    assert other.run(nr, wait=0).ok


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nornir]:
    """Two hosts, both of which are this machine, with a lock file of its own."""
    register_connections()
    monkeypatch.setattr("nornir_stack.locks.NODE_LOCK", str(tmp_path / "lock"))
    nr = fleet({"db": ["db1", "db2"]}, {name: {"connection": "local"} for name in ("db1", "db2")})
    yield nr
    nr.close_connections()


def test_a_run_that_comes_to_a_node_a_second_time_knows_its_own_lock(here: Nornir) -> None:
    """Two hosts of the inventory are one machine, and a plan reaches for the second later on."""

    def who(task: Task) -> Result[str]:
        node = Node(task)
        return node.done(node.read("cat", locks.NODE_LOCK).text)

    plan = Plan("then", look, lambda _: Chain("later", Stage("b", [who], hosts("db2"))), hosts("db1"))
    report = Chain("c", Stage("a", [who], hosts("db1")), plan).run(here, wait=0)
    assert report.ok
    lines = {report.stage(stage).host(host).tasks[0].value for stage, host in (("a", "db1"), ("then/b", "db2"))}
    assert len(lines) == 1
    assert Chain("next", Stage("a", [who], DB)).run(here, wait=0).ok


def test_a_host_is_not_taken_for_locked_without_an_answer(here: Nornir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happened to the thread that asked: the run does not begin."""

    def vanish(*_: object) -> str:
        raise SystemExit

    monkeypatch.setattr("nornir_stack.locks.lock_node", vanish)
    log = Log()
    with pytest.raises(Locked, match="db1 is locked by nobody known: it gave no answer"):
        Chain("c", Stage("a", [log.task("one")], DB)).run(here, wait=0)
    assert log.lines == []


@pytest.mark.parametrize("lock", ["node", "inventory"])
def test_ctrl_c_while_a_lock_is_waited_for_interrupts(here: Nornir, lock: str) -> None:
    """It ends as every interrupted run does, not as one that was locked out."""
    log = Log()
    holder = ShellConnection(LocalWay())
    with ExitStack() as stack:
        stack.callback(holder.close)
        if lock == "node":
            holder.lock(locks.NODE_LOCK, "bob")
        else:
            stack.enter_context(held_here(here.inventory, "bob", 0, lambda: False))
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(Interrupted) as caught:
            Chain("c", Stage("a", [log.task("one")], DB)).run(here, wait=60)
        timer.join()
    assert (caught.value.report.exit_code, log.lines) == (130, [])
    assert "interrupted while" in caught.value.report.error


def test_a_unit_that_was_interrupted_still_waits_for_a_lock(nr: Nornir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plan reaches for a host that another run gives back a moment later: it finishes all the same."""
    answers = iter(["bob", "bob"])
    monkeypatch.setattr("nornir_stack.locks.lock_node", lambda host, *_: next(answers, "") if host.name == "db2" else "")
    log = Log()
    plan = Plan("then", look, lambda _: Chain("later", Stage("undrain", [log.task("two")], hosts("db2"))), hosts("db1"))
    unit = Chain("u", Stage("drain", [_interrupting(log)], hosts("db1")), plan, unit=True)
    with pytest.raises(Interrupted):
        Chain("c", unit).run(nr)
    assert log.lines == ["interrupt db1", "two db2"]


def _decided(*parts: Any) -> Callable[[Seen[str]], Chain]:
    return lambda _: Chain("d", *parts)


NOWHERE = Check(look, lambda _: [], hosts("db9"))


@pytest.mark.parametrize(
    ("part", "stage", "said"),
    [
        (Plan("p", look, _decided(Stage("x", [look], hosts("db9"))), DB), "p/x", "there is no host 'db9'"),
        (Plan("p", look, _decided(Stage("x", [look], DB, serial=0)), DB), "p/x", "serial is a number above 0"),
        (Plan("p", look, lambda _: None, DB), "p", "has no attribute"),  # type: ignore[arg-type,return-value]
        (Plan("p", look, _decided(Stage("x", [look], hosts("lb1"))), DB), "p/x", "lb1 is locked by ops@desk"),
        (Plan("p", look, _decided(Stage("x", [look], DB, until=NOWHERE)), DB), "p/x", "there is no host 'db9'"),
    ],
)
def test_a_part_that_cannot_be_begun_is_a_failed_stage(
    nr: Nornir, monkeypatch: pytest.MonkeyPatch, part: Any, stage: str, said: str
) -> None:
    """A lock or a selector that a plan runs into: it has failed, what was before it is told, and what always runs runs."""
    monkeypatch.setattr("nornir_stack.locks.lock_node", lambda host, *_: "ops@desk" if host.name == "lb1" else "")
    log = Log()
    parts = (Stage("a", [log.task("one")], DB), part, Stage("b", [look], DB), Stage("z", [log.task("two")], DB, always=True))
    report = Chain("c", *parts).run(nr, wait=0)
    assert report.exit_code == 1
    assert report.stage("a").status is Status.OK
    assert report.stage(stage).status is Status.FAILED
    assert said in report.stage(stage).problems[0]
    assert report.stage("b").status is Status.NOT_REACHED
    assert "two db1" in log.lines


def test_an_interruption_while_a_lock_is_waited_for_is_one(nr: Nornir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops a run that waits is told that it was interrupted, by a report and 130, not that a host is locked."""

    def locked(*_: object) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "ops@desk"

    monkeypatch.setattr("nornir_stack.locks.lock_node", locked)
    with pytest.raises(Interrupted) as caught:
        Chain("c", Stage("a", [look], hosts("db1"))).run(nr, wait=30)
    assert caught.value.report.exit_code == 130


def test_locks_are_given_back_after_a_cut(nr: Nornir, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook the connection lives on: what gives the locks back is not what the cut ends."""
    ended: list[str] = []
    state = RunState()
    state.cut.set()
    monkeypatch.setattr("nornir_stack.runner.interrupt", lambda host: ended.append(host.name))
    given = Dispatcher(nr, state).each(["db1", "db2"], lambda host: threading.Event().wait(0.5) or host.name)
    assert (given, ended) == ({"db1": "db1", "db2": "db2"}, [])


def test_a_machine_that_cannot_lock_says_so(nr: Nornir, tmp_path: Path) -> None:
    """A fault of the operator's own disk is a sentence with the path, and nothing was touched."""
    (tmp_path / "nornir-stack").mkdir()
    (tmp_path / "nornir-stack" / "locks").write_text("no folder")
    log = Log()
    report = Chain("c", Stage("a", [log.task("one")], DB)).run(nr)
    assert "this machine cannot lock the inventory" in report.error
    assert str(tmp_path) in report.error
    assert "Error" not in report.error
    assert (log.lines, report.exit_code) == ([], 1)


def test_a_full_disk_does_not_keep_a_run_from_its_lock(nr: Nornir, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held all the same, and another run is told that somebody has it; in an emergency the disk may be what is full."""
    seen: list[str] = []

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    def other(task: Task) -> Result[None]:
        with pytest.raises(Locked, match="another run"):
            Chain("second", Stage("a", [look], DB)).run(nr, wait=0)
        seen.append(task.host.name)
        return Result(task.host, None)

    monkeypatch.setattr("nornir_stack.here.os.write", full)
    assert Chain("c", Stage("a", [other], hosts("db1"))).run(nr).ok
    assert seen == ["db1"]


def test_a_run_that_found_a_lock_is_on_record(nr: Nornir, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended: nobody is told later that it goes on, or was killed."""
    monkeypatch.setattr("nornir_stack.locks.lock_node", lambda *_: "ops@desk")
    with pytest.raises(Locked):
        Chain("c", Stage("a", [look], DB)).run(nr, wait=0)
    assert "is locked by ops@desk" in load_report(runs()[-1]).error
