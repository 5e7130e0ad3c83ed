"""Votes without data: how many the members have to count, and who is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.chain import Stage
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.arbitrator import not_counted, one_by_one
from tests.unit.cluster.shorthand import cluster

if TYPE_CHECKING:
    from nornir_stack.tasks.cluster.member import Member

PAIR = ("db1", "db2")


def members(votes: int) -> Seen[Member]:
    incoming = ",".join(["db1.net:3306", "db2.net:3306", *[""] * votes])
    return cluster(dict.fromkeys(PAIR, f"synced A 9 incoming={incoming} size={2 + votes}"))


@pytest.mark.parametrize("votes", [0, 1, 2])
def test_every_arbitrator_is_counted(votes: int) -> None:
    """One that did not join is missed, however many others did."""
    assert not_counted(members(votes), votes) == []
    assert len(not_counted(members(votes), votes + 1)) == len(PAIR)


@pytest.mark.parametrize(
    ("runs", "enough"),
    [
        ({"arb1": False, "arb2": False}, [1, 2]),
        ({"arb1": True, "arb2": True}, [2, 2]),
        ({"arb1": False, "arb2": True}, [2, 2]),
    ],
    ids=["none yet", "both run", "the second runs"],
)
def test_one_arbitrator_after_the_other(runs: dict[str, bool], enough: list[int]) -> None:
    """After each the members count it beside those that ran before: two that were restarted are not taken for one."""
    stages = [part for part in one_by_one(Seen(runs)).parts if isinstance(part, Stage)]
    assert [stage.name for stage in stages] == ["arb1", "arb2"]
    for stage, votes in zip(stages, enough, strict=True):
        assert stage.until
        assert stage.until.judge(members(votes)) == []
        assert stage.until.judge(members(votes - 1))
