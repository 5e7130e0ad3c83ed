"""From whom a backup is taken, where there is room, what is deleted, what a manifest says: decided on plain values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.backup import backing_up, backup, before
from nornir_stack.tasks.cluster.backup_choice import Choice, Sight, choose, not_now, places, to_delete
from nornir_stack.tasks.cluster.backup_line import NAME, new_line, receiver, sender
from nornir_stack.tasks.cluster.backup_prove import described
from nornir_stack.tasks.cluster.backup_sight import sizes
from nornir_stack.tasks.cluster.backups import (
    FOLDER,
    Backup,
    Shelf,
    age,
    backup_of,
    chain_of,
    listing,
    newest,
    parsed,
    seconds,
    too_old,
)
from nornir_stack.tasks.cluster.upkeep import Place, Upkeep
from nornir_stack.tasks.loadbalancer.runtime import Backends, Server
from tests.unit.cluster.shorthand import cluster, uuid

if TYPE_CHECKING:
    from collections.abc import Mapping

WELL = {"db1": "synced A 9", "db2": "synced A 9", "db3": "synced A 9"}
MIB = 1 << 20
DAY = 86400
NOW = 1795000000
FULL = Backup(
    label="20261101T000000Z-full",
    cluster="t",
    kind="full",
    base="",
    member="db3",
    server="10.11.19-MariaDB",
    uuid=uuid("A"),
    seqno=9,
    gtid="0-1-18",
    binlog="mysql-bin.000013",
    offset=385,
    from_lsn=0,
    to_lsn=100,
    life="boot:7",
    started=NOW - 60,
    finished=NOW,
    size=20 * MIB,
    logs=("mysql-bin.000012", "mysql-bin.000013"),
    checksum="c0ffee",
)


def increment(label: str, base: str, **more: object) -> Backup:
    return replace(FULL, label=label, kind="incremental", base=base, from_lsn=100, to_lsn=200, **more)  # type: ignore[arg-type]


ONE = increment("20261102T000000Z-incremental", FULL.label)
TWO = increment("20261103T000000Z-incremental", ONE.label)


def shelf(*backups: Backup, free: int = 1000 * MIB, now: int = NOW) -> Shelf:
    return Shelf(backups, free=free, now=now)


def seen(
    rows: Mapping[str, str] = WELL,
    *,
    writer: str = "",
    shelves: Mapping[str, Shelf] | None = None,
    backups: Mapping[str, tuple[str, ...]] | None = None,
    **more: Sight,
) -> Seen[Sight]:
    """Members of 100 MiB with binary logs; `shelves` by host, empty ones on all members if not given."""
    members = cluster(rows)
    kept = dict.fromkeys(members.hosts, shelf()) if shelves is None else shelves
    sights = {
        name: replace(
            more.get(name, Sight(data=100 * MIB, life="boot:7", logs=(("mysql-bin.000013", MIB), ("mysql-bin.000014", MIB)))),
            place=Place(Upkeep(member, backups=(backups or {}).get(name, ()))),
            shelf=kept.get(name),
        )
        for name, member in members.items()
    }
    sights |= {name: Sight(shelf=one) for name, one in kept.items() if name not in rows}
    if writer:
        order = [writer, *(name for name in rows if name != writer)]
        servers = tuple(Server("w", name, "", "UP", "ready", 1, place > 0, "", 0, 0) for place, name in enumerate(order))
        sights["lb1"] = Sight(Place(backends=Backends(running=True, servers=servers, wanted=())))
    return Seen(sights, members.missing, (*rows, *(name for name in sights if name not in rows)))


def test_never_the_writer_if_another_can() -> None:
    """The last declared, but not the one who takes the writes; it if nobody else is Synced, and then it stays in service."""
    assert choose(seen()).member == "db3"
    assert choose(seen(writer="db3")).member == "db2"
    alone = choose(seen({"db1": "down A 8", "db2": "down A 8", "db3": "synced A 9 lists=db3"}, writer="db3"))
    assert (alone.member, alone.desync) == ("db3", False)
    assert "takes the writes" in " ".join(alone.reasons)
    assert choose(seen()).desync


def test_not_from_one_that_is_to_go() -> None:
    """Neither taken from it nor kept there, if another member can; where none can, it is said how to go without a backup."""
    assert choose(seen(), avoid=["db3"]).member == "db2"
    assert choose(seen({"db1": "synced A 9"}), avoid=["db1"]).member == "db1"
    assert choose(seen(writer="db1"), avoid=["db2", "db3"]).member == "db1"
    first = before(seen(), folder=FOLDER, keeper="", line=new_line(), avoid=["db3"])
    assert first.reasons == ("A full backup is taken from db2 to db2.",)
    with pytest.raises(Refused, match=r"No backup is taken: no member is Synced.*With backup_first=no"):
        before(seen({"db1": "down A 9"}), folder=FOLDER, keeper="", line=new_line())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({**WELL, "db1": "joining A 9"}, "wait"),
        ({**WELL, "db1": "receiving A 9"}, "wait"),
        ({**WELL, "db1": "donor A 9"}, "db1 is a donor"),
        (dict.fromkeys(WELL, "outside A 9"), "no member is Synced"),
        (dict.fromkeys(WELL, "down A 9"), "no member is Synced"),
        (dict.fromkeys(WELL, "gone"), "no member is Synced"),
        ({"db1": "synced A 9 lists=db1", "db2": "synced B 9 lists=db2", "db3": "synced B 9 lists=db2,db3"}, "split brain"),
    ],
)
def test_not_while_anybody_is_under_way(rows: dict[str, str], said: str) -> None:
    """Nobody is burdened while a member is in a transfer, nor where nobody serves or two sides do."""
    with pytest.raises(Refused, match=said):
        choose(seen(rows))


def test_not_beside_another_backup() -> None:
    """A backup that runs anywhere, also one of another tool, forbids the next; the gate before the backup asks the same."""
    busy = seen(backups={"db1": ("mydumper",)})
    with pytest.raises(Refused, match=r"A backup runs on db1 \(mydumper\)"):
        choose(busy)
    assert not_now(places(busy), "db3")
    assert not_now(places(seen()), "db3") == []
    assert not_now(places(seen({**WELL, "db3": "outside A 9"})), "db3") == ["db3 is not Synced."]


def test_a_degraded_cluster_is_backed_up() -> None:
    """With a member down a backup is worth the more."""
    rows = {"db1": "synced A 9 lists=db1,db2", "db2": "synced A 9 lists=db1,db2", "db3": "down A 8"}
    assert choose(seen(rows)).member == "db2"


def test_root_has_to_log_in_by_the_socket() -> None:
    """No password is in a command line: where the socket does not let root in, another member is asked, or nobody."""
    locked = Sight(data=MIB, login=False)
    assert choose(seen(db3=locked)).member == "db2"
    with pytest.raises(Refused, match="root cannot log in by the socket on db1, db2 and db3"):
        choose(seen(db1=locked, db2=locked, db3=locked))


def test_room() -> None:
    """The copy and its binary logs have to fit; for an increment a copy of its base too: refused with the figures."""
    with pytest.raises(Refused, match=r"store has 50.0 MiB free, and a full backup of db3 needs up to 111.1 MiB: make room"):
        choose(seen(shelves={"store": shelf(free=50 * MIB)}), keeper="store")
    assert choose(seen(shelves={"store": shelf(free=112 * MIB)}), keeper="store").keeper == "store"
    with pytest.raises(Refused, match="an increment, and a copy of its base"):
        choose(seen(shelves={"store": shelf(FULL, free=200 * MIB)}), keeper="store", incremental=True)
    with pytest.raises(Refused, match="store, which is to keep"):
        choose(Seen({**seen(shelves={}).values}, {"store": "unreachable"}), keeper="store")


def test_an_increment_goes_on_from_the_last_backup() -> None:
    """Of the same member, in the same run of its server: a full copy that replaced its data comes at a start only."""
    kept = {"store": shelf(FULL, ONE)}
    choice = choose(seen(shelves=kept), keeper="store", incremental=True)
    assert choice.base == ONE
    assert choice.logs == "mysql-bin.000013"
    assert choice.label.endswith("-incremental")
    elsewhere = seen(shelves={"db1": shelf(replace(FULL, member="db1")), "db2": shelf(), "db3": shelf()})
    assert choose(elsewhere, incremental=True).member == "db1", "a member's own increments stay with their base"


@pytest.mark.parametrize(
    ("kept", "why"),
    [
        (shelf(), "there is no backup to continue"),
        (shelf(replace(FULL, life="boot:6")), "db3 was started again"),
        (shelf(replace(FULL, member="db1")), "cannot be asked now"),
        (shelf(TWO), "there is no backup to continue"),
    ],
)
def test_a_full_one_where_none_can_be_continued(kept: Shelf, why: str) -> None:
    """Said why: nothing to continue, another run of the server, its member is the writer, what it needs is gone."""
    choice = choose(seen(shelves={"store": kept}, writer="db1"), keeper="store", incremental=True)
    assert choice.base is None
    assert why in " ".join(choice.reasons)


def rows_of(*backups: Backup, now: int = NOW) -> Seen[Shelf]:
    return Seen({"store": shelf(*backups, now=now)})


SECOND = replace(FULL, label="20261110T000000Z-full", finished=NOW + 9 * DAY)
THIRD = replace(FULL, label="20261120T000000Z-full", finished=NOW + 19 * DAY)


def gone(found: list[tuple[str, Backup]]) -> list[str]:
    return [one.label for _, one in found]


def test_retention() -> None:
    """By number, by age, by both; increments go with their base and before it; nothing without a rule."""
    all_ = rows_of(FULL, ONE, TWO, SECOND, THIRD, now=THIRD.finished)
    assert to_delete(all_) == []
    assert gone(to_delete(all_, keep=2)) == [TWO.label, ONE.label, FULL.label]
    assert gone(to_delete(all_, keep=1)) == [SECOND.label, TWO.label, ONE.label, FULL.label]
    assert gone(to_delete(all_, days=15)) == [TWO.label, ONE.label, FULL.label]
    assert gone(to_delete(all_, keep=1, days=15)) == [TWO.label, ONE.label, FULL.label]
    young = replace(TWO, finished=THIRD.finished - DAY)
    assert to_delete(rows_of(FULL, ONE, young, THIRD, now=THIRD.finished), days=15) == []


def test_retention_never_deletes_the_last_one() -> None:
    """However old it is; nor the base of the newest increment, though a newer full backup stands beside it."""
    assert to_delete(rows_of(FULL, now=NOW + 1000 * DAY), keep=1, days=1) == []
    late = increment("20261121T000000Z-incremental", FULL.label)
    assert to_delete(rows_of(FULL, SECOND, late), keep=1) == []


def test_rules_that_would_delete_everything_are_none() -> None:
    """A negative number of backups or days."""
    for words in ({"keep": -1}, {"days": -1}):
        with pytest.raises(UsageError):
            backup(**words)  # type: ignore[arg-type]


def test_increments_without_their_base_go() -> None:
    """Nobody can restore them."""
    assert gone(to_delete(rows_of(FULL, TWO), keep=3)) == [TWO.label]


def test_the_dry_run_says_what_is_deleted() -> None:
    """With the backup that comes counted in: it is the newest, and an increment that comes keeps its base."""
    line = new_line()
    kept = {"store": shelf(FULL, now=NOW + DAY)}
    words = {"folder": "/b", "keeper": "store", "line": line, "days": 0}
    chain = backing_up(seen(shelves=kept), incremental=False, keep=1, **words)  # type: ignore[arg-type]
    assert f"{FULL.label} on store is deleted after that." in chain.reasons
    assert [part.name for part in chain.parts][-5:] == ["take", "prove", "back in step", "tidy", "delete on store"]
    chain = backing_up(seen(shelves=kept), incremental=True, keep=1, **words)  # type: ignore[arg-type]
    assert not [reason for reason in chain.reasons if "deleted" in reason]
    local = backing_up(seen(), incremental=False, keep=0, **{**words, "keeper": ""})  # type: ignore[arg-type]
    assert "receive" not in [part.name for part in local.parts]


def test_a_manifest_comes_back_as_it_was() -> None:
    """Also from a look's line; another form is told, not taken."""
    assert backup_of(json.loads(FULL.as_json())) == FULL
    text = f"free 10 4096\nnow 77\nmanifest {json.dumps(json.loads(FULL.as_json()))}\nunfinished .unfinished-x\nmanifest {{}}\n"
    found = parsed(text)
    assert found == Shelf((FULL,), (".unfinished-x",), found.strange, 40960, 77)
    assert "not known here" in found.strange[0]


def test_chains() -> None:
    """A backup and all that it needs; none where one is gone or they bite their tail."""
    assert chain_of(TWO, (FULL, ONE, TWO)) == (FULL, ONE, TWO)
    assert chain_of(TWO, (FULL, TWO)) is None
    assert chain_of(ONE, (replace(ONE, base=ONE.label),)) is None


def test_the_check_of_age() -> None:
    """The newest that can be restored counts, on whatever host; none is a problem."""
    assert newest(rows_of(FULL, TWO)) == ("store", FULL)
    assert too_old(rows_of(FULL, now=NOW + 3600), 7200) == []
    assert "3.0 h old: more than 2.0 h" in too_old(rows_of(FULL, now=NOW + 3 * 3600), 7200)[0]
    assert too_old(rows_of(TWO), 7200) == ["There is no backup that can be restored."]
    said = " ".join(listing(Seen({"db1": shelf(FULL, TWO)}, {"db2": "unreachable"})))
    assert "verified" in said
    assert "cannot be restored" in said
    assert "db2 was not seen (unreachable)" in said
    assert (seconds("26h"), seconds("90m"), seconds("2d")) == (93600, 5400, 172800)
    assert [age(one) for one in (30, 180, 7200, 3 * DAY)] == ["30 s", "3.0 min", "2.0 h", "3.0 d"]
    for wrong in ("26", "h", "", "1w"):
        with pytest.raises(UsageError):
            seconds(wrong)


TOLD = f"""== checkpoints
backup_type = incremental
from_lsn = 100
to_lsn = 200
last_lsn = 210

== galera_info
{uuid("A")}:24 0
== binlog_info
mysql-bin.000013\t385\t0-1-18

== info
server_version = 10.11.19-MariaDB-log
== here
c0ffee  -
20480
{NOW}
mysql-bin.000012
mysql-bin.000013
"""


def test_what_a_backup_says_of_itself() -> None:
    """Position, LSNs and binary logs from mariadb-backup's own files; without a position it is none."""
    choice = Choice("db3", "store", FULL, ONE.label, NOW - 60, desync=True, logs="", needed=1, reasons=())
    made = described(TOLD, choice, cluster="t", life="boot:7")
    assert made == replace(ONE, seqno=24, server="10.11.19-MariaDB-log")
    without = TOLD.replace("== binlog_info\nmysql-bin.000013\t385\t0-1-18\n", "")
    assert described(without, choice, cluster="t", life="").binlog == ""
    with pytest.raises(ValueError, match="where in the history"):
        described(TOLD.replace("galera_info", "other"), choice, cluster="t", life="")


def test_sizes() -> None:
    """What the look at a member's data prints."""
    assert sizes("data 100\nlogin\nlog 385 mysql-bin.000001\n") == (102400, True, (("mysql-bin.000001", 385),))
    assert sizes("data 0\n") == (0, False, ())


def test_a_line_trusts_its_own_key_only() -> None:
    """Both ends show and demand the certificate that was made for this transfer; its key is masked; TLS is never off."""
    line = new_line()
    assert "PRIVATE KEY" in line.reveal()
    assert "PRIVATE" not in str(line)
    assert new_line() != line
    for words in (sender("10.0.0.1", "/run/l.pem"), receiver("10.0.0.1", "/run/l.pem"), sender("fd00::1", "/run/l.pem")):
        text = " ".join(words)
        assert "verify=1" in text
        assert "cafile=/run/l.pem" in text
        assert "OPENSSL" in text
    assert "OPENSSL:[fd00::1]:" in " ".join(sender("fd00::1", "/l"))
    assert NAME in " ".join(sender("10.0.0.1", "/l"))
