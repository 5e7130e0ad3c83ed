"""What a new release changes for a member, who has a turn and when nobody may: decided on plain values."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.backup import backup_first
from nornir_stack.tasks.cluster.fitness import settings, work
from nornir_stack.tasks.cluster.probe import File
from nornir_stack.tasks.cluster.recovery import recovery
from nornir_stack.tasks.cluster.release import (
    Fitness,
    Version,
    no_copy,
    obstacles,
    other_release,
    remarks,
    there,
    version,
)
from nornir_stack.tasks.cluster.rolling import Turn
from nornir_stack.tasks.cluster.room import Room, cannot_join
from nornir_stack.tasks.cluster.steps import Course, planned
from nornir_stack.tasks.cluster.upgrade import _prepared, upgraded
from nornir_stack.tasks.cluster.upgrading import Standing, before_sources, down, turns
from nornir_stack.tasks.cluster.upkeep import Place, Upkeep
from nornir_stack.tasks.loadbalancer.runtime import Backends, Server
from tests.unit.cluster.shorthand import cluster

if TYPE_CHECKING:
    from collections.abc import Mapping

OLD, NEW = Version(10, 11, 19), Version(11, 8, 9)
TO = (11, 8)
BEHIND = Fitness(running=OLD, on_disk=OLD, candidate=NEW, provider="4.23(rXXXX)", free_bytes=10**12, need_bytes=10**8)
DONE = replace(BEHIND, running=NEW, on_disk=NEW)
WELL = {"db1": "synced A 9", "db2": "synced A 9", "db3": "synced A 9"}


def seen(fits: Mapping[str, Fitness], rows: Mapping[str, str] = WELL, *, drained: str = "", writer: str = "") -> Seen[Standing]:
    """Members by their lines; `writer`: a load balancer sends it all writes."""
    members = cluster(rows)
    found = {
        name: Standing(Place(Upkeep(member, drained=name == drained)), fits.get(name, BEHIND), TO)
        for name, member in members.items()
    }
    if writer:
        servers = tuple(Server("w", name, "", "UP", "ready", 1, name != writer, "", 0, 0) for name in rows)
        wanted = tuple(("w", name) for name in rows)
        found["lb1"] = Standing(Place(backends=Backends(running=True, servers=servers, wanted=wanted)))
    return Seen(found, members.missing, tuple({**dict.fromkeys(members.hosts), **dict.fromkeys(found)}))


def said(fit: Fitness) -> str:
    return " ".join(obstacles({"db1": fit}, TO))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.11.19-MariaDB-0+deb12u1-log", OLD),
        ("1:11.8.9+ds-0+deb13u1", NEW),
        ("11.8", Version(11, 8)),
        ("", None),
        (None, None),
    ],
)
def test_versions(text: str | None, found: Version | None) -> None:
    """A server's, a Debian package's and a person's way to write a version."""
    assert version(text) == found


def test_members_in_turn_the_writer_last() -> None:
    """All that are behind have a turn, in declared order; whoever takes the writes comes last."""
    found = turns(seen({}, writer="db1"))
    assert [turn.name for turn in found] == ["db2", "db3", "db1"]
    assert found[0] == Turn("db2", "db2: 10.11.19 becomes 11.8.9")


def test_no_release_in_the_inventory() -> None:
    """Said, with what to write."""
    bare = Seen({name: replace(one, fitness=None, release=None) for name, one in seen({}).items()}, {}, tuple(WELL))
    with pytest.raises(Refused, match="names no release: set `galera: release"):
        turns(bare)


def test_a_cluster_half_upgraded_goes_on() -> None:
    """Members that are done are left alone; one that was left drained and down with the new packages comes first."""
    assert [turn.name for turn in turns(seen({"db1": DONE, "db2": DONE}))] == ["db3"]
    assert turns(seen(dict.fromkeys(WELL, DONE))) == ()
    cut = replace(BEHIND, running=None, on_disk=NEW)
    found = turns(seen({"db2": cut}, {**WELL, "db2": "down A 8"}, drained="db2"))
    assert [turn.name for turn in found] == ["db2", "db1", "db3"]
    assert "left down" in found[0].why
    assert "has the new packages" in found[0].why


def test_one_that_is_down_and_behind_comes_first() -> None:
    """Its packages are changed before it joins: the copy of a new donor would be of no use to the old release."""
    found = turns(seen({"db1": DONE, "db3": replace(BEHIND, running=None)}, {**WELL, "db3": "empty"}))
    assert [turn.name for turn in found] == ["db3", "db2"]
    assert found[0].why == "db3 was left down: it is finished first; 10.11.19 becomes 11.8.9"


def test_several_that_are_down_and_older_than_all_who_serve() -> None:
    """No donor could give them a copy, so each is brought to the release before it joins, while the rest of them wait."""
    fits = {"db1": DONE, "db2": replace(BEHIND, running=None), "db3": replace(BEHIND, running=None)}
    here = seen(fits, {**WELL, "db2": "down A 8", "db3": "empty"})
    assert [turn.name for turn in turns(here)] == ["db2", "db3"]
    assert down(turns(here), here) == ("db2", "db3")
    assert [part.name for part in upgraded(here).parts] == ["db2", "db3", "probe", "verify"]
    cut = seen({**fits, "db3": replace(DONE, running=None)}, {**WELL, "db2": "down A 8", "db3": "down A 9"})
    assert [turn.name for turn in turns(cut)] == ["db2", "db3"]


@pytest.mark.parametrize(
    ("line", "said"),
    [("down B 8", "another history"), ("down A 11", "ahead of the living cluster"), ("never schemas=mine", "has databases")],
)
def test_one_that_is_down_with_something_of_its_own(line: str, said: str) -> None:
    """It is not brought to the release: it would join, and lose that."""
    with pytest.raises(Refused, match=said):
        turns(seen({"db1": DONE, "db2": DONE, "db3": replace(BEHIND, running=None)}, {**WELL, "db3": line}))


def test_one_that_is_done_and_drained_is_only_put_back() -> None:
    """It runs the release: nothing is restarted."""
    found = turns(seen(dict.fromkeys(WELL, DONE), drained="db2"))
    assert found == (Turn("db2", "db2 was left drained: it is put back into service", restart=False),)


def test_system_tables_of_the_old_release_need_a_turn() -> None:
    """A member that runs the release but whose mariadb-upgrade was cut is not done."""
    due = replace(DONE, due=True)
    assert not there(due, TO)
    assert "its system tables are not" in turns(seen({**dict.fromkeys(WELL, DONE), "db3": due}))[0].why


@pytest.mark.parametrize(
    ("fits", "rows", "part"),
    [
        ({"db2": replace(DONE, on_disk=Version(12, 1, 0))}, WELL, "so there is no way back"),
        ({"db2": replace(BEHIND, running=Version(10, 5, 1), on_disk=Version(10, 5, 1))}, WELL, "10.5.1: the way from there"),
        ({"db2": replace(BEHIND, running=None, on_disk=None)}, WELL, "of an unknown version"),
        ({}, {**WELL, "db2": "down A 9", "db3": "down A 9"}, "db3 is down"),
        ({}, {**WELL, "db3": "donor A 9"}, "db3 is a donor"),
        ({}, {**WELL, "db3": "gone"}, "db3 was not seen"),
        ({}, {"db1": "synced A 9"}, "nobody else would be left to serve"),
        ({"db3": replace(BEHIND, prepared=2)}, WELL, "2 prepared XA transactions wait"),
    ],
)
def test_nobody_is_touched(fits: Mapping[str, Fitness], rows: Mapping[str, str], part: str) -> None:
    """Whatever is wrong with one member stops the upgrade of all, before the first."""
    with pytest.raises(Refused, match=part.replace("(", "\\(")) as refused:
        turns(seen(fits, rows))
    assert str(refused.value).startswith("Nobody is upgraded") or "Nobody else" in str(refused.value)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ({"candidate": OLD}, "its sources have MariaDB 10.11.19, not 11.8"),
        ({"candidate": Version(12, 1, 2)}, "beyond 11.8"),
        ({"removed": ("mariadb-plugin-spider",)}, "mariadb-plugin-spider would be removed"),
        ({"held": ("mariadb-server",)}, "mariadb-server are held"),
        ({"free_bytes": 10**8}, "the packages need 114 MiB on the system's disk and it has 95 MiB"),
        ({"provider": "25.3.37(r0)"}, "only 26.4.x"),
        ({"options": {"tx_isolation": ("X", "/etc/my.cnf")}}, "/etc/my.cnf: tx_isolation: 11.8 does not start with it"),
        ({"options": {"old-alter-table": ("COPY", "/etc/my.cnf")}}, "alter_algorithm"),
        ({"options": {"lc_messages_dir": ("/usr/share/mysql", "/etc/my.cnf")}}, "has nothing there"),
        ({"groups": (("mariadb-10.11", "/etc/my.cnf"),)}, "[mariadb-10.11] is not read by 11.8"),
        ({"plugins": ("sha256_password", "ed25519")}, "users log in by sha256_password"),
    ],
)
def test_what_does_not_fit(words: dict[str, object], part: str) -> None:
    """Each thing that would stop a member after its packages were changed is told before."""
    assert part in said(replace(BEHIND, **words))  # type: ignore[arg-type]


def test_what_fits() -> None:
    """The notebook's my.cnf, the upstream library's name of itself, a group for the new release."""
    notebook = ("innodb_log_files_in_group", "innodb_locks_unsafe_for_binlog", "innodb_file_per_table", "innodb_flush_method")
    options = dict.fromkeys(notebook, ("1", "/etc/my.cnf"))
    fit = replace(BEHIND, options=options, provider="26.4.16(r7dce5149)", groups=(("mariadb-11.8", "/etc/my.cnf"),))
    assert obstacles({"db1": fit, "db2": replace(DONE, prepared=3)}, TO) == []


def test_sources_that_are_not_read_yet_say_nothing() -> None:
    """Before the repository is on the nodes its packages are not missed; what else is wrong is told already."""
    first = before_sources(seen(dict.fromkeys(WELL, replace(BEHIND, candidate=OLD))))
    assert turns(first)[0].why == "db1: 10.11.19 becomes 11.8"
    with pytest.raises(Refused, match="max_tmp_tables"):
        turns(before_sources(seen({"db1": replace(BEHIND, candidate=OLD, options={"max_tmp_tables": ("3", "/etc/my.cnf")})})))


def test_what_changes_is_told() -> None:
    """Other defaults, settings that do nothing any more, tables without a primary key: remarks, said once for all members."""
    fit = replace(BEHIND, options={"wsrep_causal_reads": ("1", "f")}, keyless=("shop.log",), replicas=("10.0.0.9",))
    found = remarks({"db1": fit, "db2": fit, "db3": DONE}, TO)
    assert [line for line in found if not line.startswith("db1 and db2: ")] == []
    text = " ".join(found)
    for part in (
        "wsrep_causal_reads does nothing",
        "innodb_snapshot_isolation is ON",
        "shop.log has no primary key",
        "10.0.0.9",
    ):
        assert part in text
    kept = replace(BEHIND, options={"innodb-snapshot-isolation": ("OFF", "f"), "character_set_server": ("latin1", "f")})
    assert remarks({"db1": kept}, TO) == []


def test_the_chain_says_why() -> None:
    """Its reasons are the turns and the remarks; each member's unit says what an interruption leaves."""
    chain = upgraded(seen({"db1": DONE}))
    assert chain.reasons[:2] == ("db2: 10.11.19 becomes 11.8.9.", "db3: 10.11.19 becomes 11.8.9.")
    assert [part.name for part in chain.parts] == ["db2", "db3", "probe", "verify"]
    assert upgraded(seen(dict.fromkeys(WELL, DONE))).parts == ()


def test_a_backup_before_there_is_no_way_back() -> None:
    """Before the first member, by the tools of the release that is there: so before the packages' sources, too."""
    first = [backup_first()]
    names = [part.name for part in _prepared(seen({}), first=first).parts]
    assert names == ["backup first", "db1", "db2", "db3", "probe", "verify"]
    bare = dict.fromkeys(WELL, replace(BEHIND, candidate=OLD, source_there=False))
    assert [part.name for part in _prepared(seen(bare), first=first).parts] == ["backup first", "source", "look again"]
    assert _prepared(seen({"db2": DONE}), first=first).parts[0].name == "db1"
    assert _prepared(seen({}), first=()).parts[0].name == "db1"
    assert _prepared(seen(dict.fromkeys(WELL, DONE)), first=first).parts == ()


def test_libraries_that_only_got_another_name_may_go() -> None:
    """Debian's libssl3 goes for libssl3t64; anything else that would go is a loss."""
    todo, lost = work(["mariadb-server"], ["+libssl3t64 3.5", "+mariadb-server 1:11.8"], ["libssl3", "mariadb-plugin-x"])
    assert (todo.remove, lost) == (("libssl3",), ("mariadb-plugin-x",))


def test_groups_for_one_release() -> None:
    """An empty [mariadb-10.11], as Debian's own file has it, is none; one with an option is."""
    text = b"[server]\nuser=mysql\n[mariadb-10.11]\n# nothing\n\n[mysqld-10.11]\n# a comment\nmax_connections = 9\n"
    assert settings({"/etc/mysql/a.cnf": File(text, 0), "/x/grastate.dat": File(text, 0)}) == (
        ("mysqld-10.11", "/etc/mysql/a.cnf"),
    )


def test_an_upgrade_of_packages_that_is_one_of_the_release() -> None:
    """galera.roll upgrade=yes stays within a release; this tells it which other it would bring."""
    lines = ("-mariadb-server 1:10.11.19", "+mariadb-server 1:11.8.9+ds", "+socat 1.8")
    assert other_release("10.11.19-MariaDB", lines) == "11.8.9"
    assert other_release("11.8.3-MariaDB", lines) == ""
    assert other_release("10.11.19-MariaDB", ("+socat 1.8",)) == ""


def test_a_newer_donor_for_an_older_joiner() -> None:
    """A full copy of a newer release is of no use to it, and who gives it nobody knows before; versions may be unknown."""
    problems = no_copy("db3", OLD, {"db1": NEW, "db2": OLD})
    assert "db3 has MariaDB 10.11.19 and db1 11.8.9" in problems[0]
    assert no_copy("db3", NEW, {"db1": NEW, "db2": OLD}) == []
    assert no_copy("db3", OLD, {"db1": None, "db2": OLD}) == []
    assert no_copy("db3", None, {"db1": NEW}) == []


def recovering(rows: str, *, lost: tuple[str, ...] = (), keep: str | None = None) -> str:
    """Who would be bootstrapped and who join, by galera.recover; or why it refuses."""
    members = cluster(dict(line.split(": ") for line in rows.split("; ")))
    try:
        chain = planned(members, course=Course(partial(recovery, missing_ok=lost, keep=keep), lost))
    except Refused as refused:
        return str(refused)
    return ", ".join(part.name for part in chain.parts if part.name.split()[0] in {"bootstrap", "join"})


@pytest.mark.parametrize(
    ("rows", "done"),
    [
        # of equals the older one leads, and joins before any newer one
        ("db1: down A 9 v=11.8.9; db2: down A 9 v=10.11.19; db3: down A 9 v=11.8.9", "bootstrap db2, join db1, join db3"),
        ("db1: down A 9 v=11.8.9; db2: down A 9 v=10.11.19; db3: down A 8 v=10.11.19", "bootstrap db2, join db3, join db1"),
        ("db1: down A 9 v=10.11.19; db2: empty v=11.8.9; db3: down A 9 v=10.11.19", "bootstrap db1, join db3, join db2"),
        ("db1: down A 9 v=10.11.19; db2: empty v=10.11.19; db3: down A 9 v=11.8.9", "bootstrap db1, join db2, join db3"),
        # patches of one release are no two releases
        ("db1: down A 9 v=10.11.19; db2: down A 8 v=10.11.6", "bootstrap db1, join db2"),
        # a newer one is ahead
        (
            "db1: down A 10 v=11.8.9; db2: down A 9 v=10.11.19; db3: down A 9 v=11.8.9",
            "without db2: galera.recover missing=db2.",
        ),
        ("db1: down A 10 v=11.8.9; db2: empty v=10.11.19", "without db2: galera.recover missing=db2."),
        (
            "db1: down A 10 v=11.8.9; db2: down A 9 v=10.11.19; db3: down A 8 v=10.11.19",
            "without db2 and db3: galera.recover missing=db2,db3.",
        ),
        # of equals the newer one leads, because the older one has to give up what nobody else has
        ("db1: down A 9 v=11.8.9; db2: down A 9 v=10.11.19 xa=1", "without db2: galera.recover missing=db2."),
        # the older one leads; another older one is far behind, and newer ones may be donors only after it
        ("db1: down A 9 v=10.11.19; db2: down A 9 v=11.8.9; db3: down A 2 v=10.11.19", "bootstrap db1, join db3, join db2"),
        # no history anywhere
        ("db1: empty v=11.8.9; db2: empty v=10.11.19", "bootstrap db2, join db1"),
        ("db1: crashed A recovered=0:-1 v=11.8.9 schemas=; db2: empty v=10.11.19", "without db2: galera.form missing=db2."),
        # others live: they have what it missed, and the copy of an older one is taken before a newer one can give it
        ("db1: synced A 10 v=11.8.9; db2: down A 9 v=10.11.19", "join db2"),
        ("db1: synced A 10 v=11.8.9 cached=10; db2: down A 9 v=10.11.19", "join db2"),
        ("db1: synced A 10 v=11.8.9 cached=10; db2: down A 8 v=10.11.19", "denied access. Run galera.upgrade"),
        ("db1: synced A 10 v=11.8.9 cached=10; db2: synced A 10 v=11.8.9 cached=2; db3: down A 8 v=10.11.19", "join db3"),
        ("db1: synced A 10 v=11.8.9; db2: empty v=10.11.19", "denied access. Run galera.upgrade, which brings it to 11.8"),
        ("db1: synced A 10 v=11.8.9; db2: down A 9 v=10.11.19 xa=1", "denied access. Run galera.upgrade"),
        ("db1: synced A 10; db2: down A 9 v=11.8.9; db3: empty v=10.11.19", "join db3, join db2"),
    ],
)
def test_a_recovery_of_two_releases(rows: str, done: str) -> None:
    """A member of the older release joins only where it surely takes no full copy of a newer one; else the sentence says what
    to do instead.
    """
    said = recovering(rows)
    assert said == done if done.startswith(("bootstrap", "join")) else done in said


def test_a_recovery_of_two_releases_in_the_operators_words() -> None:
    """Who is left out already, and whose history is kept, stay so in the command that is named."""
    rows = "db1: down A 10 v=11.8.9; db2: down A 9 v=10.11.19; db3: down A 12 v=11.8.9"
    assert "galera.recover missing=db3,db2." in recovering(rows, lost=("db3",))
    rows = "db1: down A 10 v=11.8.9; db2: down B 9 v=10.11.19"
    assert "galera.recover missing=db2 keep=db1. Then run galera.upgrade" in recovering(rows, keep="db1")


def test_a_wiped_member_of_the_older_release_is_not_joined() -> None:
    """It would take a full copy that it cannot read; one that only missed writes takes those, if somebody has them still."""
    rows = cluster({"db1": "synced A 9", "db2": "synced A 9", "db3": "empty"})
    versions = {"db1": NEW, "db2": NEW, "db3": OLD}
    wiped = Seen({name: Room(member, 0, versions[name]) for name, member in rows.items()}, {}, rows.hosts)
    assert "does not understand the users in a full copy" in " ".join(cannot_join(wiped, "db3"))
    rows = cluster({"db1": "synced A 9", "db2": "synced A 9", "db3": "down A 8"})
    behind = Seen({name: Room(member, 0, versions[name]) for name, member in rows.items()}, {}, rows.hosts)
    assert cannot_join(behind, "db3") == []
    rows = cluster({"db1": "synced A 9 cached=9", "db2": "synced A 9 cached=-1", "db3": "down A 7"})
    gone = Seen({name: Room(member, 0, versions[name]) for name, member in rows.items()}, {}, rows.hosts)
    assert "does not understand the users" in " ".join(cannot_join(gone, "db3"))
