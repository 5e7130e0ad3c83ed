"""What one look at a member means, property by property."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nornir_stack.tasks.cluster.member import (
    DONOR,
    INITIALIZED,
    JOINED,
    JOINING,
    NOWHERE,
    SYNCED,
    ZERO_UUID,
    Grastate,
    Gvwstate,
    Member,
    Position,
    Wsrep,
    recovered,
)

UUID = "d3124bc8-1605-11e4-aa3d-ab44303c044a"
HERE = Position(UUID, 118)
LIVE = Wsrep(primary=True, state=SYNCED, ready=True, connected=True, position=HERE)
RUNS = Member(unit="active", main_pid=7, pids=(7,), data=True, wsrep=LIVE)
DOWN = Member(data=True, grastate=Grastate(HERE, safe_to_bootstrap=False))
UP = ("active", "activating", "reloading", "deactivating")


def test_nothing_seen_is_nothing_known() -> None:
    """A member of whom a look saw nothing does not run, has nothing, and can do nothing."""
    nobody = Member()
    assert (nobody.main_pid, nobody.masked, nobody.prepared, nobody.new_cluster, nobody.own_options) == (0, *[False] * 4)
    assert (nobody.data, nobody.sst_marker, nobody.installed, nobody.mounted) == (False, False, True, True)
    assert not any((nobody.running, nobody.starting, nobody.silent, nobody.standalone, nobody.primary, nobody.outside))
    assert not any((nobody.serves, nobody.synced, nobody.suspect, nobody.needs_recover, nobody.flagged, nobody.residues))
    assert nobody.position == NOWHERE == Position(ZERO_UUID, -1)


def test_a_server_that_says_nothing_is_in_no_cluster() -> None:
    """Each value that a server does not tell stands for the worst that it may mean; Galera is on unless it says otherwise."""
    wsrep = Wsrep()
    assert (wsrep.on, wsrep.primary, wsrep.ready, wsrep.connected) == (True, False, False, False)
    assert (wsrep.size, wsrep.state, wsrep.conf_id, wsrep.local_index) == (0, INITIALIZED, -1, -1)
    assert (wsrep.receive_queue, wsrep.send_queue, wsrep.certification_failures) == (0, 0, 0)
    assert wsrep.position == NOWHERE
    assert (INITIALIZED, JOINING, DONOR, JOINED, SYNCED) == (0, 1, 2, 3, 4)


def test_an_empty_state_file_is_safe_to_bootstrap_for_galera() -> None:
    """`galera/src/saved_state.cpp`: the flag defaults to true."""
    assert (Grastate().safe_to_bootstrap, Grastate().empty, Grastate().position) == (True, False, NOWHERE)


@pytest.mark.parametrize(
    ("where", "blank", "known"),
    [
        (Position(UUID, 0), False, True),
        (Position(UUID, -1), False, False),
        (Position(ZERO_UUID, 5), True, False),
        (Position("", 5), True, False),
    ],
)
def test_a_position_is_known_with_a_history_and_a_number(where: Position, *, blank: bool, known: bool) -> None:
    """The zero UUID is no history, whatever stands behind it; write set 0 is a number."""
    assert (where.blank, where.known) == (blank, known)
    assert str(where) == ("no history" if blank else f"{UUID}:{where.seqno}")


@pytest.mark.parametrize(
    ("view", "broken"),
    [
        (Gvwstate(9, UUID, "", (UUID,)), False),
        (Gvwstate(9, UUID, "", ()), True),
        (Gvwstate(9, "", "", (UUID,)), True),
        (Gvwstate(9, ZERO_UUID, "", (UUID,)), True),
    ],
)
def test_a_view_that_the_server_will_not_start_with(view: Gvwstate, *, broken: bool) -> None:
    """Galera #354: it lacks its own UUID, or the members."""
    assert view.broken == broken


@pytest.mark.parametrize(
    ("incoming", "index", "own"),
    [
        (("a:3306", "b:3306"), 0, "a:3306"),
        (("a:3306", "b:3306"), 1, "b:3306"),
        (("a:3306", "b:3306"), 2, ""),
        (("a:3306", "b:3306"), -1, ""),
        (("AUTO", "b:3306"), 0, ""),
        (("AUTO:3306", "b:3306"), 0, ""),
    ],
)
def test_a_members_own_entry(incoming: tuple[str, ...], index: int, own: str) -> None:
    """Told by `wsrep_local_index`; where that or the entry tells nothing there is none."""
    assert Wsrep(incoming=incoming, local_index=index).own == own


@pytest.mark.parametrize(
    ("incoming", "listed", "arbitrators"),
    [
        (("a:3306", "", "b:3306"), {"a:3306", "b:3306"}, 1),
        (("a:3306", "", ""), {"a:3306"}, 2),
        (("AUTO", "a:3306"), {"a:3306"}, 0),
        (("",), set(), 0),
        ((), set(), 0),
        (("", "a:3306"), {"a:3306"}, 1),
    ],
)
def test_who_is_listed(incoming: tuple[str, ...], listed: set[str], arbitrators: int) -> None:
    """An empty entry is an arbitrator, but for a list of only that one; AUTO tells nobody."""
    wsrep = Wsrep(incoming=incoming)
    assert wsrep.listed == listed
    assert wsrep.arbitrators == arbitrators


@pytest.mark.parametrize(
    "signs", [{"wsrep": Wsrep(on=False)}, {"pids": (7,)}, {"main_pid": 7}, *({"unit": unit} for unit in UP)], ids=str
)
def test_any_sign_of_life_is_life(signs: dict[str, object]) -> None:
    """An answer, a process, systemd's word: one is enough, none is none."""
    assert replace(Member(), **signs).running  # type: ignore[arg-type]
    assert not Member(unit="failed").running


@pytest.mark.parametrize(
    ("member", "starting"),
    [
        (RUNS, False),
        (replace(RUNS, unit="reloading"), False),
        (replace(RUNS, upgrading=True), True),
        (replace(RUNS, upgrading=True, wsrep=None), False),
        (replace(DOWN, upgrading=True), False),
        (replace(RUNS, sst=("wsrep_sst_rsync",)), False),
        (replace(RUNS, wsrep=replace(LIVE, state=JOINED)), True),
        (replace(RUNS, wsrep=replace(LIVE, state=JOINING)), True),
        (replace(RUNS, wsrep=replace(LIVE, state=DONOR, ready=False)), False),
        (replace(RUNS, wsrep=replace(LIVE, state=JOINING, on=False)), False),
        (replace(RUNS, wsrep=None, unit="activating"), True),
        (replace(RUNS, wsrep=None, unit="reloading"), True),
        (replace(RUNS, wsrep=None, unit="deactivating"), True),
        (replace(RUNS, wsrep=None, sst=("wsrep_sst_rsync",)), True),
        (replace(RUNS, wsrep=None), False),
        (replace(DOWN, sst=("wsrep_sst_rsync",)), False),
        (DOWN, False),
    ],
)
def test_who_is_under_way(member: Member, *, starting: bool) -> None:
    """By systemd, by a transfer, or by its own word; not one that serves, unless it upgrades, and not one that is down."""
    assert member.starting == starting


def test_silence() -> None:
    """It runs, answers nothing, and is not under way."""
    assert replace(RUNS, wsrep=None).silent
    assert not replace(RUNS, wsrep=None, unit="activating").silent
    assert not RUNS.silent
    assert not DOWN.silent


@pytest.mark.parametrize(
    ("wsrep", "primary", "outside", "standalone"),
    [
        (LIVE, True, False, False),
        (replace(LIVE, primary=False), False, True, False),
        (replace(LIVE, primary=False, state=INITIALIZED), False, True, False),
        (replace(LIVE, primary=False, state=JOINING), False, False, False),
        (replace(LIVE, on=False), False, False, True),
        (replace(LIVE, on=False, primary=False, state=INITIALIZED), False, False, True),
        (None, False, False, False),
    ],
)
def test_where_a_server_stands(wsrep: Wsrep | None, *, primary: bool, outside: bool, standalone: bool) -> None:
    """Primary, outside of a Primary component, or without Galera: each by the server's own word."""
    member = replace(RUNS, wsrep=wsrep)
    assert (member.primary, member.outside, member.standalone) == (primary, outside, standalone)


@pytest.mark.parametrize(
    ("wsrep", "serves", "synced"),
    [
        (LIVE, True, True),
        (replace(LIVE, state=DONOR), True, False),
        (replace(LIVE, state=JOINED), False, False),
        (replace(LIVE, primary=False), False, False),
        (replace(LIVE, ready=False), False, False),
        (replace(LIVE, connected=False), False, False),
        (replace(LIVE, on=False), False, False),
        (None, False, False),
    ],
)
def test_who_serves(wsrep: Wsrep | None, *, serves: bool, synced: bool) -> None:
    """Primary, ready, connected, and Synced or a donor; a donor counts and is not Synced."""
    member = replace(RUNS, wsrep=wsrep)
    assert (member.serves, member.synced) == (serves, synced)


@pytest.mark.parametrize(
    ("member", "suspect"),
    [
        (replace(DOWN, grastate=Grastate()), True),
        (replace(DOWN, grastate=Grastate(empty=True)), False),
        (replace(DOWN, grastate=None), False),
        (replace(DOWN, grastate=Grastate(), data=False), False),
        (replace(DOWN, grastate=Grastate(), main_pid=7), False),
        (DOWN, False),
    ],
)
def test_a_zero_state_beside_data_is_suspect(member: Member, *, suspect: bool) -> None:
    """While it is down, and where a file says so."""
    assert member.suspect == suspect


@pytest.mark.parametrize(
    ("member", "where"),
    [
        (RUNS, HERE),
        (replace(RUNS, wsrep=replace(LIVE, on=False), grastate=Grastate(Position(UUID, 9))), Position(UUID, 9)),
        (DOWN, HERE),
        (replace(DOWN, recovered=Position(UUID, 7)), Position(UUID, 7)),
        (replace(DOWN, recovered=Position(UUID, 7), data=False), NOWHERE),
        (replace(DOWN, grastate=Grastate(), recovered=Position(UUID, 7)), NOWHERE),
        (replace(DOWN, grastate=None), NOWHERE),
        (replace(DOWN, data=False), NOWHERE),
    ],
)
def test_the_best_known_position(member: Member, where: Position) -> None:
    """The living server, then what was recovered, then the file; nothing of a file without data or beside suspect data."""
    assert member.position == where


@pytest.mark.parametrize(
    ("member", "needed"),
    [
        (DOWN, False),
        (replace(DOWN, grastate=Grastate(Position(UUID))), True),
        (replace(DOWN, grastate=Grastate(Position(UUID)), data=False), False),
        (replace(DOWN, grastate=Grastate(Position(UUID)), main_pid=7), False),
        (replace(DOWN, grastate=Grastate(Position(UUID)), recovered=NOWHERE), False),
        (replace(DOWN, grastate=Grastate()), False),
        (replace(DOWN, grastate=None), False),
        (replace(DOWN, grastate=None, schemas=("app",)), True),
        (replace(DOWN, grastate=Grastate(empty=True)), False),
        (replace(DOWN, grastate=Grastate(empty=True), schemas=("app",)), True),
    ],
)
def test_whose_position_only_recovery_can_tell(member: Member, *, needed: bool) -> None:
    """Down, with data, and nothing said yet; without a state file only where people made databases."""
    assert member.needs_recover == needed


@pytest.mark.parametrize(
    ("saved", "flagged"),
    [
        (Grastate(HERE), True),
        (Grastate(HERE, safe_to_bootstrap=False), False),
        (Grastate(Position(UUID, -1)), False),
        (Grastate(), False),
        (None, False),
    ],
)
def test_a_flag_that_means_something(saved: Grastate | None, *, flagged: bool) -> None:
    """`safe_to_bootstrap: 1` beside a history with a number."""
    assert replace(DOWN, grastate=saved).flagged == flagged


def test_all_that_is_left_of_a_bootstrap() -> None:
    """How the server was started, then what lies about."""
    assert Member(residue=("a file",)).residues == ("a file",)
    both = Member(new_cluster=True, residue=("a file",)).residues
    assert len(both) == 2
    assert both[1] == "a file"


def test_the_last_position_that_was_printed_counts() -> None:
    """With the number of prepared transactions, none where none is told."""
    log = f"WSREP: Recovered position: {ZERO_UUID}:-1\nFound 2 prepared XA transactions\nFound 3 prepared transactions\n"
    found = recovered(DOWN, log + f"WSREP: Recovered position: {UUID.upper()}:9\n")
    assert (found.recovered, found.prepared) == (Position(UUID, 9), 3)
    assert recovered(replace(DOWN, prepared=4), f"WSREP: Recovered position {UUID}:-1").prepared == 0
    with pytest.raises(ValueError, match="no position"):
        recovered(DOWN, "nothing of it")


@pytest.mark.parametrize(
    ("cached", "last", "seqno", "keeps"),
    [
        (0, 1380, 1, True),  # not told
        (-1, 9, 9, True),
        (-1, 9, 8, False),
        (9, 9, 9, True),
        (9, 9, 8, True),
        (9, 9, 7, False),
        (100, 1380, 109, True),
        (100, 1380, 108, False),
    ],
)
def test_write_sets_for_others(cached: int, last: int, seqno: int, *, keeps: bool) -> None:
    """What comes after a position is there, but for the oldest 1/128 of it."""
    assert Wsrep(position=Position("u", last), cached_from=cached).keeps(seqno) is keeps


@pytest.mark.parametrize(
    ("unit", "sub_state", "crashing"),
    [
        ("activating", "auto-restart", True),
        ("activating", "start", False),
        ("active", "auto-restart", False),
        ("inactive", "dead", False),
    ],
)
def test_a_unit_that_waits_to_be_started_again(unit: str, sub_state: str, *, crashing: bool) -> None:
    """systemd's auto-restart is no start that anybody could wait for, and it runs all the same."""
    member = Member(unit=unit, sub_state=sub_state)
    assert member.crashing == crashing
    assert member.starting == (unit == "activating" and not crashing)
    assert member.running == (unit != "inactive")


@pytest.mark.parametrize(
    ("words", "unasked"),
    [
        ({}, True),
        ({"sst_marker": True}, False),
        ({"schemas": ()}, False),
        ({"recovered": NOWHERE}, False),
        ({"data": False}, False),
    ],
    ids=["a crash during DDL", "a cut transfer", "nobody's databases", "asked", "no data"],
)
def test_who_has_to_be_asked_although_it_is_marked(words: dict[str, Any], *, unasked: bool) -> None:
    """Data of people under a zero UUID; what a cut transfer left is nobody's own."""
    marked = Member(data=True, schemas=("app",), grastate=Grastate(safe_to_bootstrap=False))
    assert replace(marked, **words).unasked == unasked
