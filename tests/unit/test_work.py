"""A host's log of a stage, when its thread did not come back."""

from __future__ import annotations

from nornir_stack.chain import Bound
from nornir_stack.effects import Effect, Ledger
from nornir_stack.errors import TimedOut
from nornir_stack.results import Status
from nornir_stack.work import HostLog


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
