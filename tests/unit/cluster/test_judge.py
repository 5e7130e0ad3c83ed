"""What barriers ask, with literals."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nornir_stack.tasks.cluster.judge import (
    not_complete,
    not_grown,
    not_promoted,
    not_running,
    state_of,
    still_under_way,
    unhealthy,
    unsettled,
)
from nornir_stack.tasks.cluster.member import Member, Wsrep
from tests.unit.cluster.shorthand import cluster

ALL = {"db1": "synced A 9", "db2": "synced A 9", "db3": "synced A 9"}


def test_a_complete_cluster_has_no_problem() -> None:
    """All judgements hold on a complete cluster, and on one with a member that was named as lost."""
    seen = cluster(ALL)
    assert (not_complete(seen), unhealthy(seen), unsettled(seen), not_running(seen, "db2"), not_grown(seen, "db3")) == (
        [],
        [],
        [],
        [],
        [],
    )
    assert not_complete(cluster(ALL | {"db3": "gone"}), missing_ok=["db3"]) == []
    assert not_complete(cluster(ALL | {"db3": "down A 9"}), missing_ok=["db3"]) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("down A 9", "db3 is down."),
        ("gone", "db3 was not seen (unreachable): it may be the living cluster. Bring it back, or name it as lost."),
        ("donor A 9", "db3 is a donor (wsrep_local_state 2): not Synced."),
        ("synced A 9 upgrading", "db3 upgrades its system tables (mariadb-upgrade): wait."),
        ("donor A 9 upgrading", "db3 upgrades its system tables (mariadb-upgrade): not Synced."),
        ("outside A 9 upgrading", "db3 runs but is in no Primary component (wsrep_cluster_status): not Synced."),
        ("joined A 9", "db3 is Primary but not ready (wsrep_ready): not Synced."),
        ("outside A 9", "db3 runs but is in no Primary component (wsrep_cluster_status): not Synced."),
        ("starting A", "db3 is starting: not Synced."),
        ("receiving A", "db3 is starting and receives a state transfer: not Synced."),
        ("silent A", "db3 runs but answers no SQL: not Synced."),
        ("crashing A", "db3 fails and is started again and again: not Synced."),
        ("standalone", "db3 runs without Galera: not Synced."),
        ("synced A 9 conf=4", "The members are in different configurations (wsrep_cluster_conf_id 3 and 4)."),
        ("synced A 9 size=4", "db3 counts 4 members where 3 live."),
        ("synced A 9 lists=db1,db3,dbX", "db3 does not list db2."),
        ("synced A 9 residue", "db3 is left in bootstrap mode: the file /run/mysqld/wsrep-new-cluster is left over."),
    ],
)
def test_what_makes_it_incomplete(line: str, problem: str) -> None:
    """Each flaw of one member is named in a sentence of its own."""
    assert problem in not_complete(cluster(ALL | {"db3": line}))


def test_residue_does_not_make_it_unhealthy() -> None:
    """A member in bootstrap mode may be restarted: that is how it leaves it."""
    seen = cluster(ALL | {"db1": "synced A 9 new"})
    assert unhealthy(seen) == []
    assert len(not_complete(seen)) == 1


def test_grown_without_the_third() -> None:
    """While the third is still down, the second has joined when both list both; one that lists another has not."""
    assert not_grown(cluster(ALL | {"db3": "empty"}), "db2") == []
    assert not_grown(cluster(ALL | {"db3": "empty"}), "db3") == ["db3 is down: not Synced."]
    early = cluster({"db1": "synced A 9 lists=db1", "db2": "synced A 9 lists=db1,db2"})
    assert not_grown(early, "db2") == ["db1 counts 1 members where 2 live."]


def test_nobody_runs() -> None:
    """Empty nodes are no healthy cluster, even when all are named as lost."""
    assert unhealthy(cluster({"db1": "empty"}), missing_ok=["db1"]) == ["Nobody runs."]
    assert not_running(cluster({"db1": "gone"}), "db1") == ["db1 was not seen (unreachable)."]


def test_who_is_under_way() -> None:
    """Starting members and joiners are waited for, and who upgrades its system tables; donors and outsiders are settled."""
    seen = cluster({"db1": "donor A 9", "db2": "receiving 0", "db3": "outside A 9"})
    assert unsettled(seen) == ["db2 is starting and receives a state transfer: wait."]
    upgrading = "db1 upgrades its system tables (mariadb-upgrade)"
    assert unsettled(cluster({"db1": "synced A 9 upgrading"})) == [f"{upgrading}: wait."]
    assert not_running(cluster({"db1": "synced A 9 upgrading"}), "db1") == [f"{upgrading}: wait."]


def test_a_donor_is_waited_for_too() -> None:
    """Where a course waits until all have settled; nobody else is named."""
    seen = cluster({"db1": "donor A 9", "db2": "receiving 0", "db3": "synced A 9"})
    assert still_under_way(seen) == [
        "db1 is a donor (wsrep_local_state 2): wait.",
        "db2 is starting and receives a state transfer: wait.",
    ]


def test_a_promotion_is_over_when_those_beside_it_are_there() -> None:
    """One that is still joining is waited for; as long as the promoted one is not there itself, it alone is named."""
    joining = not_promoted(cluster({"db1": "synced A 9", "db2": "joined A 9"}), "db1", 2)
    assert joining == ["db2 is Primary but not ready (wsrep_ready): not Synced."]
    assert len(not_promoted(cluster({"db1": "outside A 9", "db2": "outside A 9"}), "db1", 2)) == 1


def test_sides_of_a_split() -> None:
    """Two Primary components are told by name, whatever their UUIDs."""
    seen = cluster({"db1": "synced A 9 lists=db1", "db2": "synced A 9 lists=db2"})
    assert "db1 against db2: each side is Primary without the other (split brain)." in unhealthy(seen)
    apart = unhealthy(cluster({"db1": "synced A 9 lists=db1", "db2": "synced B 9 lists=db2"}))
    assert any("different cluster UUIDs" in sentence for sentence in apart)


def test_the_state_of_a_member_in_words() -> None:
    """Not connected, joining and a cut transfer are told apart."""
    wsrep = Wsrep(primary=True, state=3, ready=True, connected=True, comment="Joined")
    said = [
        state_of("db1", Member(unit="active", wsrep=one))
        for one in (wsrep, replace(wsrep, comment=""), replace(wsrep, connected=False))
    ]
    assert said == [
        "db1 is Joined (wsrep_local_state 3)",
        "db1 is in state (wsrep_local_state 3)",
        "db1 is Primary but not connected (wsrep_connected)",
    ]
    starting = Member(unit="activating", sst_marker=True)
    assert state_of("db1", starting) == "db1 is starting and receives a state transfer"
