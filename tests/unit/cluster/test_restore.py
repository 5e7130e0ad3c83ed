"""What may be restored, over what, by whose word, and how far binary logs reach: decided on plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nornir_stack.chain import Chain, Stage
from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.backup_choice import Sight
from nornir_stack.tasks.cluster.backup_line import new_line
from nornir_stack.tasks.cluster.binlogs import Log, Sources, gap, moment, number, numbered, parsed, reach, shown, sources, state
from nornir_stack.tasks.cluster.restore import restoring, still_running
from nornir_stack.tasks.cluster.restore_choice import Mark, Scene, Wish, mark_of, restoration
from nornir_stack.tasks.cluster.upkeep import Place, Upkeep
from tests.unit.cluster.shorthand import cluster, uuid
from tests.unit.cluster.test_backup import DAY, FULL, MIB, NOW, ONE, WELL, shelf

if TYPE_CHECKING:
    from collections.abc import Mapping


EMPTY = dict.fromkeys(WELL, "empty")
DOWN = dict.fromkeys(WELL, "down A 9")
KEPT = {"store": shelf(FULL, ONE)}
LATER = NOW + 3600


def seen(
    rows: Mapping[str, str] = WELL,
    *,
    kept: Mapping[str, object] = KEPT,
    free: int = 1000 * MIB,
    logs: Mapping[str, tuple[str, ...]] | None = None,
    **marks: Scene,
) -> Seen[Scene]:
    """Members by their lines; `marks` by host: what an earlier run left there."""
    members = cluster(rows)
    found: dict[str, Scene] = {}
    for name, member in members.items():
        known = replace(member, free_bytes=free)
        sight = Sight(Place(Upkeep(known)), kept.get(name), data=MIB, life="b:1")  # type: ignore[arg-type]
        found[name] = replace(
            marks.get(name, Scene()), sight=sight, cluster="t", members=tuple(rows), logs=(logs or {}).get(name, ())
        )
    found |= {name: Scene(Sight(shelf=one), members=tuple(rows)) for name, one in kept.items() if name not in rows}  # type: ignore[arg-type]
    return Seen(found, members.missing, (*rows, *(name for name in kept if name not in rows)))


def names(chain: Chain) -> list[str]:
    return [name for part in chain.parts for name in ([part.name, *names(part)] if isinstance(part, Chain) else [part.name])]


def steps_of(where: Seen[Scene], wish: Wish) -> list[str]:
    return names(restoring(where, wish=wish, folder="/b", line=new_line()))


def test_to_empty_members() -> None:
    """Nobody's word is needed, no backup can be taken; they are prepared, one gets the backup, the others join."""
    found = restoration(seen(EMPTY), Wish(backup=ONE.label))
    assert (found.leader, found.keeper, found.first, found.phase) == ("db3", "store", False, "")
    assert [one.label for one in found.line] == [FULL.label, ONE.label]
    assert steps_of(seen(EMPTY), Wish(backup=ONE.label)) == [
        "prepare members",
        "tools",
        "make room",
        "listen for backup",
        "give backup",
        "receive backup",
        "assemble",
        "replace",
        "put in place",
        "bootstrap db3",
        "join",
        "in service",
        "settle",
    ]


@pytest.mark.parametrize("rows", [WELL, DOWN, {**EMPTY, "db2": "down A 9"}, {**EMPTY, "db1": "unsafe schemas=app"}])
def test_over_a_cluster_by_its_name_only(rows: dict[str, str]) -> None:
    """Whoever holds data or a history is named, and the word that gives it up; another name is no word."""
    for wish in (Wish(backup=FULL.label, backup_first=False), Wish(backup=FULL.label, over="u", backup_first=False)):
        with pytest.raises(Refused, match=r"it would be replaced. If that is meant, say over=t"):
            restoration(seen(rows), wish)
    assert restoration(seen(rows), Wish(backup=FULL.label, over="t", backup_first=False)).leader == "db3"


def test_a_backup_is_taken_first() -> None:
    """Of a cluster that lives; of one that is down none can be taken, and that has to be said."""
    assert restoration(seen(), Wish(backup=FULL.label, over="t")).first
    steps = steps_of(seen(), Wish(backup=FULL.label, over="t", keeper="store"))
    assert steps.index("backup first") < steps.index("make room") < steps.index("stop db1") < steps.index("put in place")
    assert not restoration(seen(), Wish(backup=FULL.label, over="t", backup_first=False)).first
    with pytest.raises(Refused, match="say backup_first=no"):
        restoration(seen(DOWN), Wish(backup=FULL.label, over="t"))


def test_everybody_is_stopped_before_anything_is_put_in_place() -> None:
    """Each by a step of its own; the data are put in place behind a barrier, and a first interruption does not cut it."""
    chain = restoring(seen(), wish=Wish(backup=FULL.label, over="t", keeper="store"), folder="/b", line=new_line())
    (replaced,) = [part for part in chain.parts if part.name == "replace"]
    assert isinstance(replaced, Chain)
    assert names(replaced) == ["stop db1", "stop db2", "stop db3", "put in place"]
    assert replaced.unit
    last = replaced.parts[-1]
    assert isinstance(last, Stage)
    assert last.before
    assert len(still_running(cluster(WELL))) == 3
    assert still_running(cluster(DOWN)) == []


@pytest.mark.parametrize(
    ("rows", "wish", "said"),
    [
        ({**WELL, "db1": "gone"}, Wish(backup=FULL.label, over="t"), "db1 was not seen"),
        (WELL, Wish(backup=FULL.label, over="t", lost=("db1",)), "db1 was named as lost, but it runs"),
        ({**WELL, "db1": "joining A 9"}, Wish(backup=FULL.label, over="t"), "wait"),
        ({**WELL, "db1": "silent A"}, Wish(backup=FULL.label, over="t"), "stop it"),
        ({**WELL, "db1": "down A 9 unmounted"}, Wish(backup=FULL.label, over="t"), "not mounted"),
        (EMPTY, Wish(), "Say which"),
        (EMPTY, Wish(backup="x"), f"There is no backup x. There are: {FULL.label}"),
        (EMPTY, Wish(until=NOW - 1), "There is no backup from before"),
        (EMPTY, Wish(backup=FULL.label, member="db9"), "db9 is no member that was seen"),
        (dict.fromkeys(WELL, "gone"), Wish(backup=FULL.label, lost=tuple(WELL)), "No member was seen"),
    ],
)
def test_refusals(rows: dict[str, str], wish: Wish, said: str) -> None:
    """One sentence says what stands against it."""
    with pytest.raises(Refused, match=said):
        restoration(seen(rows), wish)


def test_what_is_needed_has_to_be_there() -> None:
    """An increment without its base; a disk without room; a data folder that cannot be kept aside."""
    with pytest.raises(Refused, match="cannot be restored"):
        restoration(seen(EMPTY, kept={"store": shelf(ONE)}), Wish(backup=ONE.label))
    with pytest.raises(Refused, match=r"db3 has 10.0 MiB free beside its data, and .* needs 22.0 MiB"):
        restoration(seen(EMPTY, free=10 * MIB), Wish(backup=FULL.label))
    with pytest.raises(Refused, match="kept aside"):
        restoration(seen(EMPTY, db3=Scene(mounted_here=True)), Wish(backup=FULL.label))


def test_who_gets_it() -> None:
    """The one that was named, else who keeps it, else from whom it is, else the first."""
    local = {"db2": shelf(FULL)}
    assert restoration(seen(EMPTY, kept=local), Wish(backup=FULL.label)).leader == "db2"
    assert "copy backup" in steps_of(seen(EMPTY, kept=local), Wish(backup=FULL.label))
    assert restoration(seen(EMPTY), Wish(backup=FULL.label, member="db1")).leader == "db1"
    rows = {**EMPTY, "db3": "gone"}
    assert restoration(seen(rows), Wish(backup=FULL.label, lost=("db3",))).leader == "db1"


MARK = Mark(FULL.label, "", (uuid("A"),), "/d.before", "")
OVER = Wish(backup=FULL.label, over="t")


def test_an_earlier_run_goes_on() -> None:
    """From where it was cut: prepared beside the data, in their place, bootstrapped; and a complete one is not done again."""
    staged = seen(DOWN, db1=Scene(staged=MARK))
    found = restoration(staged, OVER)
    assert (found.phase, found.leader, found.first) == ("staged", "db1", False)
    assert steps_of(staged, OVER)[:2] == ["replace", "stop db1"]
    placed = seen({**DOWN, "db1": "unsafe schemas=app"}, db1=Scene(placed=MARK))
    assert restoration(placed, OVER).phase == "placed"
    assert steps_of(placed, OVER) == ["bootstrap db1", "join", "in service", "settle"]
    begun = seen({**DOWN, "db1": "synced B 3 lists=db1"}, db1=Scene(placed=MARK))
    assert steps_of(begun, OVER) == ["join", "in service", "settle"]
    done = seen(dict.fromkeys(WELL, "synced B 5"), db1=Scene(placed=replace(MARK, uuid=uuid("B"))))
    assert restoration(done, Wish(backup=FULL.label)).phase == "done"
    assert "put in place" not in steps_of(done, Wish(backup=FULL.label))


def test_an_earlier_run_needs_its_binary_logs_no_more() -> None:
    """They were replayed beside the data; those of the member that was restored went aside with its old data."""
    until = NOW + 60
    mark = replace(MARK, until=shown(until))
    for scene in (Scene(staged=mark), Scene(placed=mark)):
        found = restoration(
            seen({**DOWN, "db3": "unsafe schemas=app"}, db3=scene), Wish(until=until, backup=FULL.label, over="t")
        )
        assert found.phase
        assert found.sources == Sources()


def test_another_restore_is_not_taken_for_it() -> None:
    """Of another backup, to another time, or of a history that has gone since: all begins anew, with its backup first."""
    for scene in (
        Scene(staged=replace(MARK, backup="x")),
        Scene(placed=replace(MARK, until="2026-11-24 18:00:00", uuid=uuid("A"))),
        Scene(placed=replace(MARK, uuid=uuid("B"))),
        Scene(placed=MARK),
    ):
        found = restoration(seen(db1=scene), OVER)
        assert (found.phase, found.first) == ("", True)


def test_marks() -> None:
    """They come back as they were written; what is none is none."""
    assert mark_of(MARK.as_json()) == MARK
    assert mark_of("") is None
    assert mark_of("{}") is None
    assert mark_of("[1]") is None


# points in time


def test_logs_come_from_the_shelf_and_then_from_the_member() -> None:
    """Files that came along with later backups, as far as they go on, then the member's own from the next one on."""
    later = replace(ONE, binlog="mysql-bin.000015", logs=("mysql-bin.000013", "mysql-bin.000014", "mysql-bin.000015"))
    live = ("mysql-bin.000015", "mysql-bin.000016")
    found = sources(FULL, (FULL, later), live, "binlogs")
    assert found == Sources(
        (
            f"{FULL.label}/binlogs/mysql-bin.000013",
            f"{later.label}/binlogs/mysql-bin.000014",
            f"{later.label}/binlogs/mysql-bin.000015",
        ),
        "mysql-bin.000016",
    )
    assert sources(FULL, (FULL,), (), "binlogs") == Sources((f"{FULL.label}/binlogs/mysql-bin.000013",), "")
    other = replace(later, uuid=uuid("B"))
    assert sources(FULL, (FULL, other), (), "binlogs").kept == (f"{FULL.label}/binlogs/mysql-bin.000013",)
    assert sources(replace(FULL, logs=()), (), live, "binlogs") == Sources()
    assert sources(replace(FULL, binlog=""), (FULL,), live, "binlogs") == Sources()


LIVE = {"db3": ("mysql-bin.000013", "mysql-bin.000014")}


def test_the_newest_backup_before_a_point_in_time() -> None:
    """Not one that was ended after it; the member's own logs carry it on, if its history is still the same."""
    kept = {"store": shelf(FULL, replace(ONE, finished=LATER))}
    found = restoration(seen(kept=kept, logs=LIVE), Wish(until=NOW + 60, over="t"))
    assert (found.backup.label, found.log_host, found.sources.live) == (FULL.label, "db3", "mysql-bin.000014")
    steps = steps_of(seen(kept=kept, logs=LIVE), Wish(until=NOW + 60, over="t", member="db1", keeper="store"))
    assert "give binary logs" in steps
    assert "copy binary logs" in steps_of(seen(kept=kept, logs=LIVE), Wish(until=NOW + 60, over="t", keeper="store"))


@pytest.mark.parametrize(
    ("rows", "kept", "said"),
    [
        (EMPTY, KEPT, "reach up to"),
        (dict.fromkeys(WELL, "synced B 9"), KEPT, "reach up to"),
        (WELL, {"store": shelf(replace(FULL, binlog=""))}, "stands at no binary log"),
    ],
)
def test_a_point_in_time_that_logs_do_not_reach(rows: dict[str, str], kept: Mapping[str, object], said: str) -> None:
    """No logs of the member, another history, none at the backup: refused before anything is gathered."""
    with pytest.raises(Refused, match=said):
        restoration(seen(rows, kept=kept, logs=LIVE), Wish(until=NOW + DAY, over="t", backup_first=False))


PRINTED = """log a/mysql-bin.000013
#261124 18:31:20 server id 1  end_log_pos 299 CRC32 0x27f46037 \tGtid list [0-1-12,# 0-2-18]
before\x20
after #261124 18:31:20 server id 1  end_log_pos 427 \tGTID 0-1-19 trans #261124 \tGTID 0-1-20 trans\x20
#261124 18:31:29 server id 1  end_log_pos 432 CRC32 0xd8fc2411 \tRotate to mysql-bin.000014  pos: 4
log mysql-bin.000014
#261124 18:31:29 server id 1  end_log_pos 299 CRC32 0x27f46037 \tGtid list [0-1-20]
after\x20
#261124 18:40:00 server id 1  end_log_pos 432 CRC32 0xd8fc2411 \tStop
"""


def test_what_binary_logs_say() -> None:
    """The state of the whole log before each file and after it, and when its last event was (UTC)."""
    first, second = parsed(PRINTED)
    assert (first.name, first.begins, first.cut, first.ends) == ("a/mysql-bin.000013", {0: 18}, {0: 18}, {0: 20})
    assert (second.begins, second.ends) == ({0: 20}, {0: 20})
    assert shown(second.last) == "2026-11-24 18:40:00"
    assert reach((first, second)) == second.last
    assert parsed("log x\n\nbefore \nafter \n")[0] == Log("x", {}, {}, {}, 0)
    assert reach(()) == 0


GOOD = (Log("mysql-bin.000013", {0: 18}, {0: 20}, {0: 18}, 5), Log("mysql-bin.000014", {0: 20}, {0: 25}, {0: 20}, 9))


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        (GOOD, ""),
        (GOOD[:1], ""),
        ((), "is not there"),
        (GOOD[1:], "is not there"),
        ((replace(GOOD[0], cut={0: 17}), GOOD[1]), "another log"),
        ((GOOD[0], replace(GOOD[1], begins={0: 21})), "does not go on"),
        ((GOOD[0], replace(GOOD[1], name="mysql-bin.000015")), "does not go on"),
    ],
)
def test_whether_logs_go_on_from_a_backup(logs: tuple[Log, ...], said: str) -> None:
    """From the very file and GTID at which it stands, each file from the one before it, none left out."""
    found = gap(FULL, logs)
    assert said in found if said else not found


def test_times() -> None:
    """UTC unless an offset is given; what is no time is refused."""
    assert moment("1970-01-01 01:00:00") == moment("1970-01-01 02:00:00+01:00") == moment("1970-01-01T01:00:00Z") == 3600
    assert shown(moment("2026-11-24 18:00:00")) == "2026-11-24 18:00:00"
    with pytest.raises(UsageError, match="is no time"):
        moment("yesterday")
    assert (number("mysql-bin.000013"), numbered("mysql-bin.000013", 14)) == (13, "mysql-bin.000014")
    assert state("0-1-18,\n1-2-3,0-2-9") == {0: 18, 1: 3}
