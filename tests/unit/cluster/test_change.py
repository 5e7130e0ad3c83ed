"""Members that come and go: room, who may join, who has left, and the address of the cluster."""

from __future__ import annotations

import dataclasses

import pytest

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.backup import backup_first
from nornir_stack.tasks.cluster.change import _shrinking, _with_data, grow, readdressed, replace
from nornir_stack.tasks.cluster.decision import Form
from nornir_stack.tasks.cluster.elect import forming
from nornir_stack.tasks.cluster.room import Room, cannot_join, no_room, not_left
from nornir_stack.tasks.cluster.steps import steps
from tests.unit.cluster.shorthand import cluster
from tests.unit.cluster.test_roll import WELL, balancer, seen

GIB = 1 << 30


def rooms(rows: dict[str, str], free: int | None = 100 * GIB, sizes: dict[str, int] | None = None) -> Seen[Room]:
    found = cluster(rows)
    return Seen(
        {
            name: Room(dataclasses.replace(member, free_bytes=free), (sizes or {}).get(name, GIB))
            for name, member in found.items()
        },
        found.missing,
        found.hosts,
    )


TWO = {"db1": "synced A 9 lists=db1,db2", "db2": "synced A 9 lists=db1,db2", "db3": "empty"}


def test_who_may_join() -> None:
    """The others well, room for a copy; one that has joined has nothing against it."""
    assert cannot_join(rooms(TWO), "db3") == []
    assert cannot_join(rooms(WELL), "db3") == []
    assert "is down" in " ".join(cannot_join(rooms({**TWO, "db2": "down A 9"}), "db3"))
    assert cannot_join(rooms({**TWO, "db3": "gone"}), "db3") == ["it was not seen (unreachable)."]
    assert cannot_join(rooms(TWO), "db9") == ["it was not seen (it is no member)."]


@pytest.mark.parametrize(
    ("free", "own", "enough"), [(12 * GIB, 0, True), (10 * GIB, 0, False), (2 * GIB, 10 * GIB, True), (None, 0, True)]
)
def test_room_for_a_full_copy(free: int | None, own: int, *, enough: bool) -> None:
    """The largest data of the others and a tenth; the joiner's own data are deleted before, so they count as free."""
    found = cannot_join(rooms(TWO, free, {"db1": 10 * GIB, "db2": GIB, "db3": own}), "db3")
    assert (found == []) is enough
    assert enough or "11.0 GiB" in found[0]


@pytest.mark.parametrize(
    ("host", "free", "said"),
    [
        ("db3", 10 * GIB, ["db3: a full copy needs 11.0 GiB and it has room for 10.0 GiB."]),
        ("db3", 11 * GIB, []),
        ("db3", None, []),
        ("db9", 0, []),
    ],
)
def test_no_room(host: str, free: int | None, said: list[str]) -> None:
    """Nothing is said of a member that was not seen, or whose disk was not."""
    assert no_room(rooms(TWO, free, {"db1": 10 * GIB, "db2": GIB, "db3": 0}), host) == said


@pytest.mark.parametrize(
    ("rows", "copied"),
    [
        ({"db1": "synced A 9", "db2": "unsafe", "db3": "down A 8"}, ["room on db2"]),
        ({"db1": "down A 9", "db2": "empty", "db3": "down A 8"}, ["room on db2"]),
        ({"db1": "empty", "db2": "empty"}, []),
    ],
)
def test_room_is_looked_at_before_a_full_copy(rows: dict[str, str], copied: list[str]) -> None:
    """Of members that join without a history, where there is something to be copied."""
    found = cluster(rows)
    decision = forming(found)
    assert isinstance(decision, Form)
    assert [stage.name for stage in steps(decision, found, ()) if stage.name.startswith("room")] == copied


def test_who_has_left() -> None:
    """It is down, and the others list exactly each other."""
    assert not_left(cluster({**TWO, "db3": "down A 9"}), "db3") == []
    assert not_left(cluster(WELL), "db3")
    assert not_left(cluster({"db1": "synced A 9 lists=db1,db2,db3", "db2": "synced A 9", "db3": "down A 9"}), "db3")


def test_shrinking() -> None:
    """Refused while anybody is not well; a load balancer that does not know the member is not asked to drain it."""
    chain = _shrinking(seen(lb=balancer()), name="db3")
    assert [part.name for part in chain.parts] == ["db3", "tell the others", "tell arbitrators"]
    assert "2 votes: if they fall into halves" in " ".join(chain.reasons)
    voted = _shrinking(seen(dict.fromkeys(WELL, "synced A 9 garbd")), name="db3")
    assert "votes" not in " ".join(voted.reasons)
    drain = chain.parts[0].parts[0]  # type: ignore[union-attr]
    assert str(getattr(drain, "on", "")) == "lb1"
    nowhere = _shrinking(seen(), name="db3").parts[0].parts[0]  # type: ignore[union-attr]
    assert str(getattr(nowhere, "on", "")) == "nobody"
    with pytest.raises(Refused, match="db2"):
        _shrinking(seen({**WELL, "db2": "down A 9"}), name="db3")
    for nobody in ("db9", "lb1"):
        with pytest.raises(Refused, match="no member"):
            _shrinking(seen(lb=balancer()), name=nobody)


def test_the_address_in_a_configuration() -> None:
    """That line and no other; a second time nothing."""
    text = "[mysqld]\nwsrep_cluster_address          = gcomm://a,b\nwsrep_cluster_name = t\n"
    once = readdressed(text, "gcomm://a,b,c")
    assert once == text.replace("a,b", "a,b,c")
    assert readdressed(once, "gcomm://a,b,c") == once


def test_growing_tells_the_others_first() -> None:
    """A new member's address stands on all others before it joins; a member that is replaced is known to them already."""
    assert [part.name for part in grow(member="db4").parts] == [
        "certificates",
        "room",
        "prepare",
        "tell the others",
        "let arbitrators in",
        "tell arbitrators",
        "join",
        "in service",
    ]
    back = ["certificates", "room", "data", "prepare", "join", "in service"]
    assert [part.name for part in replace(member="db3").parts] == back
    back.remove("data")
    assert [part.name for part in replace(member="db3", backup_first=False).parts] == back


def test_a_backup_before_a_member_goes() -> None:
    """Of a member that runs, unless the operator says no; run again, nothing is backed up."""
    first = [backup_first()]
    assert [part.name for part in _shrinking(seen(), name="db3", first=first).parts] == [
        "backup first",
        "db3",
        "tell the others",
        "tell arbitrators",
    ]
    left = seen({"db1": "synced A 9", "db2": "synced A 9", "db3": "down A 9"})
    assert [part.name for part in _shrinking(left, name="db3", first=first).parts] == [
        "db3",
        "tell the others",
        "tell arbitrators",
    ]


@pytest.mark.parametrize(
    ("line", "parts"),
    [("down A 8", ["backup first"]), ("crashed A", ["backup first"]), ("empty", []), ("synced A 9", []), ("gone", [])],
)
def test_a_backup_before_a_member_is_replaced(line: str, parts: list[str]) -> None:
    """Where a full copy might replace data."""
    members = cluster({"db1": "synced A 9", "db2": "synced A 9", "db3": line})
    assert [part.name for part in _with_data(members, name="db3", first=[backup_first()]).parts] == parts
