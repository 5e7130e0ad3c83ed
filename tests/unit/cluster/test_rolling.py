"""Turns of a roll at their edges: what was asked for, what is shown, and whom a load balancer sends to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.rolling import Turn, in_order, not_safe, turns, without, writers
from nornir_stack.tasks.cluster.upkeep import Place
from nornir_stack.tasks.loadbalancer.runtime import Backends
from tests.unit.cluster.test_roll import WELL, balancer, changed, names, seen, server


def why(**words: object) -> str:
    (turn,) = turns(seen(db2=changed(**words)))
    return turn.why


@pytest.mark.parametrize(
    ("count", "shown"),
    [(1, "p0"), (4, "p0, p1, p2, p3"), (5, "p0, p1, p2, p3 and 1 more"), (7, "p0, p1, p2, p3 and 3 more")],
)
def test_four_packages_are_shown(count: int, shown: str) -> None:
    """Of more, how many."""
    assert why(pending=tuple(f"p{number}" for number in range(count))) == f"db2 has newer packages ({shown})"


def test_a_configuration_of_the_second_of_the_start_is_read() -> None:
    """Only a file that is newer than the server's start needs a restart."""
    assert turns(seen(db2=changed(configured=100, started=100))) == ()
    assert "newer" in why(configured=101, started=100)


def test_each_turn_says_who_asked() -> None:
    """By name, or for all of them."""
    assert [turn.why for turn in turns(seen(), members=["db2"])] == ["db2 was asked for"]
    assert turns(seen(), only_changed=False)[1].why == "db2: all were asked for"


def test_a_member_that_was_not_seen_is_no_stranger() -> None:
    """It is named as not seen, and not as one that the cluster does not have."""
    with pytest.raises(Refused, match="db3 was not seen"):
        turns(seen({**WELL, "db3": "gone"}), members=["db3"])
    with pytest.raises(Refused, match="db9: no member"):
        turns(seen({**WELL, "db3": "gone"}), members=["db9"])


def test_one_alone() -> None:
    """It is not restarted, and may be put back into service where it was left out of it... of which nobody is left to tell."""
    with pytest.raises(Refused, match="db1 is alone"):
        turns(seen({"db1": "synced A 9"}), members=["db1"])
    assert turns(seen({"db1": "synced A 9"})) == ()


def test_packages_held_on_a_member_that_is_only_put_back() -> None:
    """They stand against a restart, and not against putting it back into service."""
    held = changed(held_back=("mariadb-server",))
    assert turns(seen(lb=balancer(db2="drain"), db2=held)) == (
        Turn("db2", "db2 was left drained: it is put back into service", restart=False),
    )
    with pytest.raises(Refused, match="mariadb-server are held"):
        turns(seen(db2=held), members=["db2"])
    with pytest.raises(Refused, match="mariadb-server are held"):
        turns(seen(lb=balancer(db2="drain"), db2=held), members=["db2", "db3"])


def test_the_order_keeps_everyone_once() -> None:
    """Writers last, and nobody twice."""
    assert in_order(seen(lb=balancer()), ["db1", "db2", "db3"]) == ["db2", "db3", "db1"]
    assert in_order(seen(), ["db1", "db2"]) == ["db1", "db2"]


def test_writers_are_those_of_single_writer_listeners() -> None:
    """A balanced listener has none; each listener's own servers are asked; one that is down gets nothing."""
    balanced = Backends(running=True, servers=(server("db1"), server("db2")), wanted=())
    assert writers(Seen({"lb1": Place(backends=balanced)})) == []
    other = tuple(replace(server(name, backup=place > 0), listener="more") for place, name in enumerate(("db3", "db1")))
    servers = (*(server(name, backup=place > 0) for place, name in enumerate(("db1", "db2"))), *other)
    assert writers(Seen({"lb1": Place(backends=Backends(running=True, servers=servers, wanted=()))})) == ["db1", "db3"]
    down = (server("db1", status="DOWN"), server("db2", backup=True))
    assert writers(Seen({"lb1": Place(backends=Backends(running=True, servers=down, wanted=()))})) == ["db2"]
    stand_ins = (server("db2", backup=True), server("db1"), server("db3", backup=True))
    assert writers(Seen({"lb1": Place(backends=Backends(running=True, servers=stand_ins, wanted=()))})) == ["db1"]


def test_somebody_else_has_to_be_synced() -> None:
    """A donor serves and is not enough; the member's own state is nobody else's."""
    donor = {"db1": "synced A 9", "db2": "donor A 9"}
    assert "Nobody else would be left to serve." in not_safe(seen(donor), "db1")
    assert "Nobody is Synced." in not_safe(seen({"db1": "donor A 9", "db2": "donor A 9"}), "")
    assert "Nobody is Synced." not in not_safe(seen(), "")
    assert "Nobody else would be left to serve." not in not_safe(seen(), "db1")


def test_a_load_balancer_without_one() -> None:
    """All other pairs stay."""
    pairs = (("writes", "db1"), ("reads", "db1"), ("reads", "db2"))
    assert without(Backends(running=True, servers=(), wanted=pairs), "db1").wanted == (("reads", "db2"),)


def test_both_halves_of_a_pair_of_balancers_count() -> None:
    """One of two balancers that does not answer stands against every turn."""
    place = seen(lb=balancer())
    dead = Place(backends=Backends(running=False, servers=(), wanted=()))
    two = Seen({**place.values, "lb2": dead}, {}, (*place.hosts, "lb2"))
    assert [sentence for sentence in not_safe(two, "db1") if "lb2" in sentence]
    assert names(turns(place, members=["db1"])) == ["db1"]
