"""A host's log of a stage, when its thread did not come back."""

from __future__ import annotations

import threading

from nornir.core.task import Task  # noqa: TC002  task functions are inspected

from nornir_stack.chain import Bound
from nornir_stack.effects import Effect, Ledger, RunState
from nornir_stack.errors import TimedOut
from nornir_stack.events import Emitter
from nornir_stack.results import HostReport, Result, Status, TaskReport
from nornir_stack.work import HostLog, Work
from tests.unit.fleets import fleet


def slow() -> None:
    """A task that was given up; never called."""


def test_a_host_that_was_given_up_keeps_what_it_changed() -> None:
    """An API call cannot be ended from outside: what was sent before the deadline is in the report all the same."""
    ledger = Ledger([Effect("correct the endpoint", "+http://x")])
    log = HostLog("cloud1", current=Bound(slow), ledger=ledger)
    (told,) = log.report(TimedOut("the deadline passed")).tasks
    assert (told.status, told.changed, told.diff) == (Status.TIMED_OUT, True, "+http://x")
    assert told.effects == ("correct the endpoint",)
    assert told.error == "the deadline passed"


def test_a_host_that_was_given_up_keeps_what_earlier_attempts_changed() -> None:
    """The first try wrote and failed, the second never came back: what was written is in the report."""
    first = TaskReport("slow", Status.FAILED, True, "+http://x", error="busy", effects=("correct the endpoint",))
    log = HostLog("cloud1", current=Bound(slow), ledger=Ledger(), earlier=(first,))
    (told,) = log.report(TimedOut("the deadline passed")).tasks
    assert (told.status, told.changed, told.diff) == (Status.TIMED_OUT, True, "+http://x")
    assert told.effects == ("correct the endpoint",)
    assert [attempt.error for attempt in told.attempts] == ["busy", "the deadline passed"]


def test_a_host_that_was_given_up_between_two_tasks_is_not_well() -> None:
    """The first task ended well and the second never began: that is no host that ended well."""
    told: list[HostReport] = []

    class Watched(list[TaskReport]):
        """A host's tasks, at whose every end the host is given up."""

        def append(self, report: TaskReport) -> None:
            super().append(report)
            told.append(log.report(TimedOut("the deadline passed")))

    log = HostLog("db1", Watched())

    def first(task: Task) -> Result[None]:
        return Result(task.host, None)

    def second(task: Task) -> Result[None]:
        return Result(task.host, None)

    work = Work("a", (Bound(first), Bound(second)), 0, RunState(), Emitter(()), {"db1": log}, stoppable=True)
    fleet({"db": ["db1"]}).run(task=work.body)
    assert [report.status for report in told] == [Status.TIMED_OUT] * 2
    assert log.report(TimedOut("the deadline passed")).status is Status.OK  # it had ended all the same


def test_no_attempt_begins_after_an_interruption_between_two() -> None:
    """Ctrl-C while the next try is waited for: nothing new begins, and nobody waits any longer."""
    tries: list[str] = []
    state = RunState()

    def flaky(task: Task) -> Result[None]:
        tries.append(task.host.name)
        threading.Timer(0.2, state.stop.set).start()
        raise ValueError("not yet")

    log = HostLog("db1")
    work = Work("a", (Bound(flaky),), 3, state, Emitter(()), {"db1": log}, stoppable=True)
    fleet({"db": ["db1"]}).run(task=work.body)
    assert tries == ["db1"]
    assert log.report(None).status is Status.FAILED
