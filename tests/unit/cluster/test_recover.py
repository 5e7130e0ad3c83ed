"""From decisions to chains: what galera.recover would do, in which order, and where it stops. Nothing is run here."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Plan, Stage
from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.judge import not_promoted, somebody_primary
from nornir_stack.tasks.cluster.recover import recover, recovering
from nornir_stack.tasks.cluster.room import Room, cannot_keep
from nornir_stack.tasks.cluster.steps import Course, planned, proofs
from tests.unit.cluster.shorthand import cluster

if TYPE_CHECKING:
    from collections.abc import Sequence


def course(*, keep: str | None = None, lost: Sequence[str] = ()) -> Course:
    return Course(partial(recovering, lost=tuple(lost), keep=keep), tuple(lost), save=True, keep=True, proofs=proofs(lost))


def parts(chain: Chain) -> list[str]:
    """The names of a chain's parts, each with whom it is on."""
    return [f"{part.name} @ {part.on}" if isinstance(part, (Stage, Plan)) else part.name for part in chain.parts]


@pytest.mark.parametrize(
    ("rows", "words", "expected"),
    [
        ({"db1": "synced A 9", "db2": "synced A 9", "db3": "synced A 9"}, {}, []),
        (
            {"db1": "down A 9", "db2": "down A 10", "db3": "down A 8"},
            {},
            [
                "save states @ db",
                "bootstrap db2 @ db2",
                "join db1 @ db1",
                "join db3 @ db3",
                "restart db2 normally @ db2",
                "probe @ db",
                "verify @ db",
            ],
        ),
        (
            {"db1": "crashed A", "db2": "down A 10", "db3": "crashed A"},
            {},
            ["save states @ db", "recover positions @ db1,db3", "look again @ db"],
        ),
        (
            {"db1": "outside A 9", "db2": "outside A 10", "db3": "down A 8"},
            {},
            ["save states @ db", "find each other @ db1,db2", "promote db2 @ db", "look again @ db"],
        ),
        (
            {"db1": "outside A 9 lists=db1,db2", "db2": "outside A 10 lists=db1,db2", "db3": "down A 8"},
            {},
            ["save states @ db", "promote db2 @ db", "look again @ db"],
        ),
        (
            {"db1": "outside A 9", "db2": "down A 9", "db3": "down A 8"},
            {},
            ["save states @ db", "promote db1 @ db", "look again @ db"],
        ),
        (
            {"db1": "outside A 9 v=11.4.2", "db2": "outside A 10 v=11.4.2", "db3": "down A 8"},
            {},
            ["save states @ db", "stop @ db1,db2", "look again @ db"],
        ),
        (
            {"db1": "outside A 9 lists=db1 garbd", "db2": "outside A 9 lists=db2 garbd", "db3": "down A 8", "db4": "down A 8"},
            {},
            ["save states @ db", "find each other @ db1,db2", "promote db1 @ db", "look again @ db"],
        ),
        ({"db1": "synced A 9", "db2": "receiving 0", "db3": "synced A 9"}, {}, ["settle @ db2", "look again @ db"]),
        (
            {"db1": "synced A 9 lists=db1", "db2": "synced A 9 lists=db2,db3", "db3": "synced A 9 lists=db2,db3"},
            {"keep": "db2"},
            ["room to keep db1 @ db1", "save states @ db", "stop and give up db1 @ db1", "look again @ db"],
        ),
        (
            {"db1": "synced A 9", "db2": "outside A 9", "db3": "synced A 9"},
            {},
            ["save states @ db", "stop @ db2", "look again @ db"],
        ),
    ],
    ids=[
        "healthy",
        "down",
        "crashed",
        "cut apart",
        "non-Primary",
        "a survivor",
        "non-Primary 11.4",
        "half of the members, with arbitrators",
        "joining",
        "split, one side kept",
        "one outside",
    ],
)
def test_what_a_decision_means(rows: dict[str, str], words: dict[str, str], expected: list[str]) -> None:
    """States are saved before the first change and never before a wait; what needs more knowledge ends in another look."""
    chain = planned(cluster(rows), course=course(**words))
    assert parts(chain) == expected


def test_states_are_saved_once() -> None:
    """A course that has acted saves nothing again, and is proved at its end even where nothing is left to do."""
    rows = {"db1": "crashed A", "db2": "down A 10", "db3": "down A 9"}
    first = planned(cluster(rows), course=course())
    again = first.parts[-1]
    assert isinstance(again, Plan)
    second = again.decide(cluster({"db1": "crashed A recovered=A:7", "db2": "down A 10", "db3": "down A 9"}))
    assert parts(second)[0] == "bootstrap db2 @ db2"
    whole = again.decide(cluster(dict.fromkeys(rows, "synced A 10")))
    assert parts(whole) == ["probe @ db", "verify @ db"]


def test_the_same_step_twice_is_refused() -> None:
    """Positions that are still not known after they were asked for end the run, they are not asked for again and again."""
    rows = {"db1": "crashed A", "db2": "down A 10", "db3": "down A 9"}
    again = planned(cluster(rows), course=course()).parts[-1]
    assert isinstance(again, Plan)
    with pytest.raises(Refused, match="changed nothing that decides"):
        again.decide(cluster(rows))


def test_a_split_brain_is_explained() -> None:
    """Both sides with their positions, and the word that chooses."""
    rows = {"db1": "synced A 9 lists=db1", "db2": "synced A 12 lists=db2,db3", "db3": "synced A 12 lists=db2,db3"}
    with pytest.raises(Refused, match=r"Split brain: db2 and db3 .*:12\) against db1 .*:9\).*keep="):
        planned(cluster(rows), course=course())


def test_a_cluster_that_never_was_is_not_recovered() -> None:
    """Members without history or databases are for galera.form."""
    with pytest.raises(Refused, match=r"galera\.form"):
        planned(cluster(dict.fromkeys(("db1", "db2", "db3"), "empty")), course=course())


def test_data_that_are_given_up_are_kept() -> None:
    """On the member, with room looked at before anything is touched; not where there are none, nor where that is not wanted."""
    rows = {"db1": "down A 9", "db2": "down B 12", "db3": "empty"}
    chain = planned(cluster(rows), course=course(keep="db1"))
    assert parts(chain)[:3] == ["room to keep db2 @ db2", "save states @ db", "give up db2 @ db2"]
    assert "What db2 had is kept there" in chain.reasons[-1]
    plain = planned(cluster(rows), course=replace(course(keep="db1"), keep=False))
    assert parts(plain)[:2] == ["save states @ db", "give up db2 @ db2"]
    assert "kept there" not in plain.reasons[-1]


def test_room_beside_data_that_are_kept() -> None:
    """A full copy of the largest of the others has to fit beside them, and the folder must be one that can be renamed."""
    rows = cluster({"db1": "synced A 9", "db2": "down B 9"})
    big = Room(rows["db1"], 10 << 30)
    for free, said in ((12 << 30, ""), (None, ""), (10 << 30, "a full copy needs 11.0 GiB and has 10.0 GiB: make room")):
        here = Seen({"db1": big, "db2": Room(replace(rows["db2"], free_bytes=free), 90 << 30)}, {}, rows.hosts)
        assert cannot_keep(here, "db2") == [] if not said else said in cannot_keep(here, "db2")[0]
    mounted = Seen({"db1": big, "db2": Room(rows["db2"], 0, mounted=True)}, {}, rows.hosts)
    assert "a disk is mounted at its data folder" in cannot_keep(mounted, "db2")[0]
    assert "backup_first=no" in cannot_keep(mounted, "db2")[0]
    assert cannot_keep(mounted, "db9") == []


def test_a_member_given_up_takes_a_full_copy() -> None:
    """After its side was stopped and given up it joins as one without a history, whatever it stood at before."""
    rows = {"db1": "never schemas=app", "db2": "synced A 12", "db3": "synced A 12"}
    chain = planned(cluster(rows), course=course(keep="db2"))
    assert "join db1 @ db1" in parts(chain)


HELD: dict[str, Any] = {"ports": frozenset({4444}), "holders": ((71, "socat"),)}


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("db3", {"ports": frozenset({4444}), "holders": ((71, "nginx"),)}, "nginx (process 71) listens on port 4444"),
        ("db3", {"ports": frozenset({4444})}, "something listens on port 4444"),
        ("db3", {"free_bytes": 15 << 20}, "db3 has 15 MiB free"),
        ("db2", {"free_bytes": 0}, "db2 has 0 MiB free"),
        ("db3", {"residue": ("/etc/my.cnf: wsrep_new_cluster is set",)}, "db3: /etc/my.cnf: wsrep_new_cluster is set"),
    ],
)
def test_who_could_not_start_is_told_before_anybody_is_touched(name: str, words: dict[str, Any], said: str) -> None:
    """A full disk, of the leader too; a stranger on the port where a joiner would receive its copy; a bootstrap by somebody
    else's file.
    """
    seen = cluster({"db1": "down A 9", "db2": "down A 10", "db3": "empty"})
    with pytest.raises(Refused) as refused:
        planned(replace(seen, values={**seen.values, name: replace(seen[name], **words)}), course=course())
    assert said in str(refused.value)


def test_what_a_cut_transfer_left_is_ended() -> None:
    """socat still waits for the copy that was cut: the plan says that it is ended; one on the leader is in nobody's way."""
    seen = cluster({"db1": "down A 9", "db2": "down A 10", "db3": "empty"})
    chain = planned(replace(seen, values={**seen.values, "db3": replace(seen["db3"], **HELD)}), course=course())
    assert "db3: socat (process 71) listens on port 4444" in chain.reasons[-1]
    chain = planned(replace(seen, values={**seen.values, "db2": replace(seen["db2"], **HELD)}), course=course())
    assert "4444" not in " ".join(chain.reasons)


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        ({"db1": "synced A 90 cached=40", "db2": "synced A 90 cached=40", "db3": "down A 9"}, ["room on db3"]),
        ({"db1": "synced A 90 cached=4", "db2": "synced A 90 cached=4", "db3": "down A 9"}, []),
        ({"db1": "synced A 90 cached=4", "db2": "synced A 90 cached=4", "db3": "crashed A"}, []),
        ({"db1": "down A 90", "db2": "down A 90", "db3": "crashed A recovered=A:90 xa=1"}, ["room on db3"]),
        ({"db1": "down A 90", "db2": "down A 80", "db3": "empty"}, ["room on db3"]),
    ],
    ids=["nobody has what it missed", "an IST", "crashed", "prepared transactions", "empty"],
)
def test_room_is_looked_at_for_whoever_takes_a_full_copy(rows: dict[str, str], names: list[str]) -> None:
    """A member with a history too, where nobody keeps the write sets that it lacks, or where it gives up its own."""
    found = [part.name for part in planned(cluster(rows), course=course()).parts]
    assert [name for name in found if name.startswith("room on")] == names


def test_nobody_is_stopped_on_a_stale_view() -> None:
    """One that hung still says Primary and counts the others: it is waited for, and not taken for the living cluster."""
    rows = {"db1": "synced A 9 lists=db1,db2,db3", "db2": "outside A 9", "db3": "down A 9"}
    chain = planned(cluster(rows), course=course())
    assert parts(chain) == ["agree on members @ db2,db3", "look again @ db"]
    assert chain.reasons == ("db1 counts 3 members where 1 live.",)


def test_nobody_is_made_primary_beside_one() -> None:
    """The barrier before a bootstrap or promotion names who is Primary, and who was not seen and is not named as lost."""
    rows = {"db1": "synced A 9", "db2": "down A 9", "db3": "gone"}
    assert len(somebody_primary(cluster(rows))) == 2
    assert somebody_primary(cluster({"db1": "down A 9", "db2": "gone"}), missing_ok=("db2",)) == []


def test_a_promotion_waits_for_the_whole_component() -> None:
    """All that ran in the promoted component are Synced before anybody looks again; one that left does not hold it up."""
    assert not_promoted(cluster({"db1": "synced A 9", "db2": "outside A 9"}), "db1", 2)
    assert not_promoted(cluster({"db1": "synced A 9", "db2": "outside A 9"}), "db1", 1) == []
    assert not_promoted(cluster({"db1": "synced A 9", "db2": "down A 9"}), "db1", 2) == []
    assert not_promoted(cluster({"db1": "outside A 9"}), "db1", 1)


def test_the_lost_are_left_alone() -> None:
    """`missing=` takes a member out of every stage."""
    rows = {"db1": "down A 9", "db2": "down A 10", "db3": "gone"}
    chain = planned(cluster(rows), course=course(lost=["db3"]))
    assert not any("db3 @" in name for name in parts(chain))
    chain = recover(missing=["db3"])
    assert parts(chain) == ["certificates @ db - db3", "recover @ db"]


def test_members_that_found_each_other_are_not_promoted() -> None:
    """Between the decision and its turn a healed partition may have become one: then nobody is made Primary, and it goes on."""
    chain = planned(cluster({"db1": "outside A 9", "db2": "outside A 9"}), course=course())
    promotion = next(part for part in chain.parts if isinstance(part, Plan) and part.name.startswith("promote"))
    healed = promotion.decide(cluster({"db1": "synced A 9", "db2": "synced A 9"}))
    assert healed.parts == ()
    assert "by themselves" in healed.reasons[0]
    still = promotion.decide(cluster({"db1": "outside A 9", "db2": "outside A 9"}))
    assert [part.name for part in still.parts] == ["make Primary"]
    with pytest.raises(Refused, match="db2 was not seen"):
        promotion.decide(cluster({"db1": "outside A 9", "db2": "gone"}))
