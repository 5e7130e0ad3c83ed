"""What HAProxy prints while it runs, and the judgements on it and on who answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nornir_stack.errors import UsageError
from nornir_stack.secret import Secret
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.settings import User
from nornir_stack.tasks.loadbalancer.runtime import Backends, Server, all_up, not_up, parse
from nornir_stack.tasks.loadbalancer.through import Turns, login_from, may_come, right_ones_answer, wrong

CASES = Path(__file__).parents[2] / "cases" / "loadbalancer"
UP = Server("reads", "db1", "10.0.0.1:3306", "UP", "ready", 1, backup=False, says="L7OK 200 Synced", sessions=0, total=0)
TURNS = Turns("reads", "balanced", ("db1", "db2"), ("db1", "db2", "db1"))
WRITES = Turns("writes", "single-writer", ("db1", "db2"), ("db1", "db1"))


@pytest.mark.parametrize(
    ("pattern", "comes"),
    [
        ("%", True),
        ("10.77.0.%", True),
        ("10.77.0._", True),
        ("10.77.%.5", True),
        ("10.77.0.0/255.255.255.0", True),
        ("10.77.0.5", True),
        ("10.77.0.6", False),
        ("10.77.1.%", False),
        ("10_77.0.50", False),
        ("10.77.1.0/255.255.255.0", False),
        ("10.77.0.0/no", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_which_accounts_let_an_address_in(pattern: str, *, comes: bool) -> None:
    """`%` is any text and `_` one character, a dot is a dot, and a netmask is one."""
    assert may_come(pattern, "10.77.0.5") == comes


def test_the_user_of_the_proof() -> None:
    """The one that was named, else one from anywhere, else one from here; else it is said what is missing."""
    word = Secret(literal="w")
    here, everywhere = "10.77.0.5", User(name="app", password=word)
    near, far = User(name="near", host="10.77.0.%", password=word), User(name="far", host="h", password=word)
    assert login_from(here, [far, near, everywhere]) is everywhere
    assert login_from(here, [far, near]) is near
    assert login_from(here, [far, near], "far") is far
    with pytest.raises(UsageError, match=r"no user that may log in from 10\.77\.0\.5"):
        login_from(here, [far])
    with pytest.raises(UsageError, match="no user 'gone'"):
        login_from(here, [near], "gone")


def test_show_stat_and_states_are_read() -> None:
    """As HAProxy 2.6 printed them: one down and drained, one not checked yet; other rows are no servers."""
    assert parse((CASES / "show.txt").read_text()) == (
        Server(
            "reads",
            "db1",
            "10.77.190.11:3306",
            "DOWN",
            "drain",
            3,
            backup=False,
            says="L4CON Connection refused",
            sessions=0,
            total=0,
        ),
        Server(
            "reads",
            "db2",
            "10.77.190.12:3306",
            "UP 1/2",
            "ready",
            3,
            backup=True,
            says="INI Initializing",
            sessions=0,
            total=0,
        ),
    )


def test_nothing_printed_is_no_server() -> None:
    """An empty answer is read as no server."""
    assert parse("") == ()


@pytest.mark.parametrize(
    ("now", "problem"),
    [
        (Backends(running=False, servers=(), wanted=()), "haproxy does not answer at its statistics socket"),
        (Backends(running=True, servers=(UP,), wanted=(("reads", "db1"),)), ""),
        (Backends(running=True, servers=(), wanted=(("reads", "db1"),)), "reads: db1 is not behind it"),
        (
            Backends(running=True, servers=(replace(UP, status="DOWN", says="L7STS 503 drained"),), wanted=(("reads", "db1"),)),
            "reads: db1 is DOWN: L7STS 503 drained",
        ),
        (
            Backends(running=True, servers=(replace(UP, status="UP 1/2", says="INI"),), wanted=(("reads", "db1"),)),
            "reads: db1 is UP 1/2: INI",
        ),
        (
            Backends(running=True, servers=(replace(UP, status="DRAIN", state="drain"),), wanted=(("reads", "db1"),)),
            "reads: db1 was set to drain",
        ),
    ],
)
def test_what_keeps_a_member_from_traffic_is_said(now: Backends, problem: str) -> None:
    """Each state but UP, ready and checked is a problem with its reason."""
    found = not_up(now)
    assert len(found) == bool(problem)
    assert all(problem in text for text in found)


def test_a_balancer_that_was_not_seen_is_a_problem() -> None:
    """Silence is not consent."""
    assert all_up(Seen({}, {"lb1": "unreachable"})) == ["lb1 was not seen: unreachable"]
    assert right_ones_answer(Seen({}, {"lb1": "unreachable"})) == ["lb1 was not seen: unreachable"]


@pytest.mark.parametrize(
    ("turns", "problem"),
    [
        (TURNS, ""),
        (WRITES, ""),
        (replace(TURNS, answered=("db1", "db1")), "db2 never answered in 2 connections"),
        (replace(TURNS, answered=("db1", "db2", "db9")), "db9 answered and is no member"),
        (replace(TURNS, failures=("refused",)), "1 of 4 connections failed: refused"),
        (replace(WRITES, answered=("db1", "db2")), "one member should take all, and db1, db2 answered"),
        (replace(WRITES, answered=("db2", "db2")), ""),
    ],
)
def test_the_right_members_answer(turns: Turns, problem: str) -> None:
    """Balanced: all members; single-writer: one, whichever; no failure, no stranger."""
    found = wrong(turns)
    assert len(found) == bool(problem)
    assert all(problem in text for text in found)
