"""Forming and recovery cut after every single step: each look leads on to one complete cluster."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.decision import Decision, Form, Nothing, Promote, RecoverPositions, Refuse, Stop, Wait
from nornir_stack.tasks.cluster.elect import forming
from nornir_stack.tasks.cluster.recovery import recovery
from tests.unit.cluster.shorthand import cluster, short, told

if TYPE_CHECKING:
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member

TRUTH = {"db1": 5, "db2": 7, "db3": 6}
"""What --wsrep-recover finds on each of them."""

STARTS = (
    "empty",
    "empty flag",
    "never",
    "down A",
    "down A flag",
    "crashed A",
    "unsafe",
    "standalone",
    "gvbroken",
    "residue",
    "new",
    "cut",
)


class World:
    """Nodes that do what they are told, one step at a time, and note what must not happen."""

    def __init__(self, rows: dict[str, str]) -> None:
        self.rows = rows
        self.bootstraps = 0
        self.newest = max((TRUTH[host] for host, line in rows.items() if " A" in line), default=1)

    def look(self) -> Seen[Member]:
        return cluster(self.rows)

    def live(self) -> list[str]:
        return [host for host, line in self.rows.items() if line.startswith("synced")]

    def step(self, decision: Decision) -> None:
        """Only the first step of the decision, as if the run had been cut after it."""
        if isinstance(decision, Wait):
            for host in decision.members:
                new = " new" if " new" in self.rows[host] else ""
                self.rows[host] = f"synced A {self.newest}{new}"
        elif isinstance(decision, RecoverPositions):
            host = decision.members[0]
            self.rows[host] += f" recovered=A:{TRUTH[host]}"
        elif isinstance(decision, Stop):
            host = decision.members[0]
            self.rows[host] = f"down A {TRUTH[host]}"
        elif isinstance(decision, Promote):
            self.rows[decision.mandate.host] = self.rows[decision.mandate.host].replace("outside", "synced")
        elif isinstance(decision, Form):
            self.form(decision)

    def form(self, plan: Form) -> None:
        if plan.clear_residue:
            self.drop(plan.clear_residue[0], " residue")
        elif plan.stop_first:
            was = self.rows[plan.stop_first[0]]
            self.rows[plan.stop_first[0]] = was.replace("outside", "down") if was.startswith("outside") else "never"
        elif plan.set_aside:
            self.drop(plan.set_aside[0], " gvbroken")
        elif plan.clear_flags:
            self.drop(plan.clear_flags[0], " flag")
        elif plan.mandate:
            assert not self.live()
            self.bootstraps += 1
            self.rows[plan.mandate.host] = f"starting A new{' schemas=' if plan.mandate.fresh else ''}"
        elif plan.joiners:
            assert self.live()
            self.rows[plan.joiners[0]] = "receiving 0"
        else:
            host = plan.restart_normally[0]
            assert len(self.live()) > 1, "the last one that serves is restarted"
            self.rows[host] = f"down A {self.newest}"

    def drop(self, host: str, word: str) -> None:
        self.rows[host] = self.rows[host].replace(word, "")


def start(host: str, word: str) -> str:
    there = f"down A {TRUTH[host]}"
    return {
        "down A": there,
        "down A flag": f"{there} flag",
        "gvbroken": f"{there} gvbroken",
        "residue": f"{there} residue",
        "new": f"synced A {TRUTH[host]} new",
        "cut": f"outside A {TRUTH[host]}",
    }.get(word, word)


@pytest.mark.parametrize("decide", [forming, recovery])
@pytest.mark.parametrize("first", STARTS)
def test_cut_after_every_step_ends_in_one_cluster(decide: object, first: str) -> None:
    """From any start that is not refused at first sight, single steps end in a complete cluster, with at most one bootstrap."""
    assert callable(decide)
    for second, third in product(STARTS, repeat=2):
        world = World({host: start(host, word) for host, word in zip(TRUTH, (first, second, third), strict=True)})
        begin = dict(world.rows)
        decision = decide(world.look())
        if isinstance(decision, Refuse):
            continue
        for _ in range(60):
            if isinstance(decision, (Nothing, Refuse)):
                break
            world.step(decision)
            decision = decide(world.look())
        assert isinstance(decision, Nothing), f"{begin} ended as {world.rows}: {told(decision)}"
        assert world.bootstraps <= 1, begin
        assert all(line == f"synced A {world.newest}" for line in world.rows.values()), (begin, world.rows)


def test_mandate_names_what_was_seen() -> None:
    """The mandate holds the position that was seen on the leader, so that who acts can look again."""
    decision = forming(cluster({"db1": "down A 5", "db2": "down A 7", "db3": "empty"}))
    assert isinstance(decision, Form)
    assert decision.mandate is not None
    assert (decision.mandate.host, short(decision.mandate.position), decision.mandate.fresh) == ("db2", "A:7", False)
