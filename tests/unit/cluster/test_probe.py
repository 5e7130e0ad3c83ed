"""The script runs in real shells against crafted data directories; the parser takes any content."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nornir_stack.tasks.cluster.member import NOWHERE, Grastate, Gvwstate, Member, Position, Wsrep, recovered
from nornir_stack.tasks.cluster.probe import (
    SCRIPT,
    Facts,
    File,
    arguments,
    configured,
    grastate,
    gvwstate,
    leftovers,
    member,
    parse,
    wsrep,
)

if TYPE_CHECKING:
    from pathlib import Path

UUID = "d3124bc8-1605-11e4-aa3d-ab44303c044a"
OTHER = "47bbe2e2-1606-11e4-8593-2a6d8335bc79"
SAVED = f"# GALERA saved state\nversion: 2.1\nuuid:    {UUID}\nseqno:   118\nsafe_to_bootstrap: 0\n"
VIEW = f"my_uuid: {UUID}\n#vwbeg\nview_id: 3 {OTHER} 12\nbootstrap: 0\nmember: {UUID} 0\nmember: {OTHER} 1\n#vwend\n"


def look(datadir: Path, shell: str = "sh", *, mount: str = "", config: tuple[str, ...] = (), pid: int = 0) -> Facts:
    """What the script sees, but for processes and units of this machine's own: of those only `pid`."""
    words = arguments(str(datadir), "mariadb", bootstrap_unit="mysql@bootstrap", mount=mount, config=config)
    done = subprocess.run([shell, "-c", SCRIPT, "sh", *words], capture_output=True, check=True)
    assert done.stderr == b""
    facts = parse(done.stdout)
    return replace(facts, units={}, argv=(), processes=tuple(one for one in facts.processes if one[0] == pid))


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_member_that_was_stopped_cleanly(tmp_path: Path, shell: str) -> None:
    """State files, data, people's databases, space and configuration are seen, in dash and bash alike."""
    datadir, etc = tmp_path / "data dir", tmp_path / "etc"
    for folder in ("mysql", "sys", "performance_schema", "shop", "@0020odd", "#innodb_redo", "lost+found", "test"):
        (datadir / folder).mkdir(parents=True)
    (datadir / "test" / "db.opt").touch()
    (datadir / "ibdata1").touch()
    (datadir / "grastate.dat").write_text(SAVED)
    (datadir / "gvwstate.dat").write_text(VIEW)
    (etc / "conf.d").mkdir(parents=True)
    (etc / "my.cnf").write_text("[mysqld]\nwsrep_cluster_address=gcomm://\nwsrep-node-name = 'db1' # mine\n")
    (etc / "conf.d" / "z.cnf").write_text(
        "[galera]\nwsrep_cluster_address = gcomm://db1,db2\ninnodb_flush_log_at_trx_commit=0\n"
    )
    seen = member(look(datadir, shell, config=(str(etc / "my.cnf"), str(etc))), None, unit="mariadb")
    assert (seen.data, seen.schemas, seen.running, seen.mounted) == (True, ("@0020odd", "shop"), False, True)
    assert seen.grastate is not None
    assert (seen.grastate.position, seen.grastate.safe_to_bootstrap) == (Position(UUID, 118), False)
    assert seen.gvwstate == Gvwstate(len(VIEW), UUID, f"3 {OTHER} 12", (UUID, OTHER))
    assert (seen.node_name, seen.cluster_address, seen.flush_log_at_commit) == ("db1", "gcomm://db1,db2", 0)
    assert seen.residue == ()
    assert seen.free_bytes is not None
    assert seen.free_bytes > 0


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_nothing_there(tmp_path: Path, shell: str) -> None:
    """Without a data directory there is no data, the space is that of the nearest folder, and a missing mount is told."""
    facts = look(tmp_path / "no" / "such", shell, mount=str(tmp_path), config=("/nonexistent",))
    assert (facts.data, facts.schemas, dict(facts.files), facts.mounted) == (False, (), {}, False)
    assert facts.free_bytes


def test_residue_in_the_data_directory(tmp_path: Path) -> None:
    """A test database with tables counts, and so do the marker of a transfer and a left-over wsrep-new-cluster file."""
    (tmp_path / "test").mkdir()
    for name in ("test/t.frm", "sst_in_progress", "wsrep-new-cluster", "gvwstate.dat"):
        (tmp_path / name).touch()
    seen = member(look(tmp_path), None, unit="mariadb")
    assert (seen.schemas, seen.sst_marker, seen.residue) == (
        ("test",),
        True,
        (f"the file {tmp_path}/wsrep-new-cluster is left over",),
    )
    assert seen.gvwstate is not None
    assert seen.gvwstate.broken


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.binary(max_size=300), second=st.binary(max_size=300))
def test_any_content_arrives_as_it_is(tmp_path: Path, first: bytes, second: bytes) -> None:
    """Whatever bytes the files hold, headers and ends of the script's own output among them, they arrive exactly."""
    trap = f"\n\n==> {tmp_path}/gvwstate.dat <==\n\nend of look\nfiles\ncontents\n".encode()
    (tmp_path / "grastate.dat").write_bytes(first + trap)
    (tmp_path / "gvwstate.dat").write_bytes(trap + second)
    facts = look(tmp_path)
    assert [file.content for file in facts.files.values()] == [first + trap, trap + second]


def test_a_file_that_grew_while_it_was_read() -> None:
    """A size that no longer fits does not move the other files."""
    head = b"\nfree 1 1\nfiles\n3 7 /d/grastate.dat\n2 8 /d/gvwstate.dat\ncontents\n"
    facts = parse(head + b"==> /d/grastate.dat <==\nlonger\n==> /d/gvwstate.dat <==\nok\nend of look\n")
    assert [file.content for file in facts.files.values()] == [b"longer", b"ok"]


@pytest.mark.parametrize("name", ["debian-start", "mariadb-upgrade", "mysql_upgrade"])
def test_an_upgrade_of_system_tables_is_seen(tmp_path: Path, name: str) -> None:
    """Debian's start script and mariadb-upgrade, by their processes; neither makes a server."""
    (program := tmp_path / name).write_text("#!/bin/sh\nread -r line\n")
    program.chmod(0o755)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as running:
        seen = member(look(tmp_path, pid=running.pid), None, unit="mariadb")
        running.communicate(b"\n")
    assert seen.upgrading
    assert not seen.running


def test_a_cut_look_is_an_error() -> None:
    """Output without its end is not taken for an empty node."""
    with pytest.raises(ValueError, match="cut short"):
        parse(b"\nfree 1 1\nfiles\n")


def test_units_processes_and_ports() -> None:
    """systemd's blocks, processes and ports become the member's unit, pid, transfer and the way it was started."""
    facts = parse(
        b"MainPID=0\nId=mariadb.service\nLoadState=loaded\nActiveState=activating\nSubState=start\n\n"
        b"MainPID=71\nId=mysql@bootstrap.service\nLoadState=loaded\nActiveState=active\nSubState=running\n\n"
        b"environment _WSREP_NEW_CLUSTER=--wsrep-new-cluster\nprocess 71 mariadbd\n"
        b"argv /usr/sbin/mariadbd\t--wsrep-new-cluster\t\n"
        b"process 80 wsrep_sst_rsync\nport 0CEA\nbinary /usr/sbin/mariadbd\nfree 10 4096\nfiles\n\nend of look\n"
    )
    seen = member(facts, None, unit="mariadb")
    assert (seen.unit, seen.sub_state, seen.ports) == ("activating", "start", frozenset({3306}))
    assert (seen.pids, seen.sst) == ((71,), ("wsrep_sst_rsync",))
    assert (seen.installed, seen.new_cluster, seen.starting, seen.free_bytes) == (True, True, True, 40960)
    assert seen.residue == ("systemd's environment holds _WSREP_NEW_CLUSTER=--wsrep-new-cluster",)
    percona = member(facts, None, unit="mariadb", bootstrap_unit="mysql@bootstrap")
    assert (percona.unit, percona.main_pid, percona.new_cluster) == ("active", 71, True)


def test_every_residue_is_a_sentence() -> None:
    """Configuration that would bootstrap at the next start is found, whoever wrote it; its opposite is not."""
    bad = "[mysqld]\nwsrep_cluster_address='gcomm://'\nwsrep-provider-options=\"gcache.size=1G; pc.bootstrap=YES\"\n"
    bad += "wsrep_new_cluster\n"
    persisted = '{"mysql_server": {"wsrep_new_cluster": {"Value": "ON"}}}'
    facts = Facts(files={"/etc/a.cnf": File(bad.encode(), 0), "/d/mysqld-auto.cnf": File(persisted.encode(), 0)})
    assert leftovers(facts, configured(facts)) == (
        "/etc/a.cnf: wsrep_cluster_address names nobody",
        "/etc/a.cnf: wsrep_provider_options holds pc.bootstrap",
        "/etc/a.cnf: wsrep_new_cluster is set",
        "mysqld-auto.cnf: wsrep_new_cluster is persisted",
    )
    good = "# wsrep_new_cluster\n[mysqld]\nwsrep_cluster_address=gcomm://db1?pc.wait_prim=no\nwsrep_provider_options=pc.bootstrap=0\n"
    fine = Facts(files={"/etc/a.cnf": File(good.encode(), 0)}, environment=("_WSREP_NEW_CLUSTER=",))
    assert leftovers(fine, configured(fine)) == ()


def test_state_files_that_are_damaged() -> None:
    """Empty or NUL-filled files are no history, and a missing flag counts as 1 as it does for Galera."""
    assert grastate(File(b"", 5)) == Grastate(NOWHERE, safe_to_bootstrap=True, empty=True, written=5)
    assert grastate(File(b"\0" * 100, 5)).empty
    assert grastate(File(f"uuid: {UUID}\nseqno: -1\n".encode(), 5)) == Grastate(Position(UUID, -1), written=5)
    assert gvwstate(File(b"", 5)) == Gvwstate(0)
    assert Gvwstate(9, "00000000-0000-0000-0000-000000000000", "", (UUID,)).broken


def test_status_of_a_server() -> None:
    """wsrep prints -1 as 18446744073709551615, and a server that answers nothing about wsrep runs without Galera."""
    minus = "18446744073709551615"
    status = {
        "wsrep_cluster_status": "non-Primary", "wsrep_cluster_conf_id": minus, "wsrep_last_committed": minus,
        "wsrep_local_state": "0", "wsrep_cluster_size": "2", "wsrep_flow_control_paused": "0.25",
        "wsrep_cluster_state_uuid": UUID, "wsrep_ready": "OFF", "wsrep_connected": "ON",
        "wsrep_incoming_addresses": "10.0.0.1:3306,,10.0.0.2:3306", "wsrep_local_index": "2",
    }  # fmt: skip
    seen = wsrep(status, {})
    assert (seen.primary, seen.conf_id, seen.position, seen.size, seen.ready, seen.connected) == (
        False,
        -1,
        Position(UUID),
        2,
        False,
        True,
    )
    assert (seen.own, seen.arbitrators) == ("10.0.0.2:3306", 1)
    assert seen.listed == frozenset({"10.0.0.1:3306", "10.0.0.2:3306"})
    assert seen.flow_control_paused == 0.25
    assert wsrep({}, {}) == Wsrep(on=False)
    assert not wsrep(status, {"wsrep_on": "OFF"}).on
    assert not wsrep(status, {"wsrep_provider": "none"}).on


def test_what_wsrep_recover_printed() -> None:
    """The last position of this run counts, GTID or not; without one nothing is known."""
    log = f"x WSREP: Recovered position: {OTHER}:7\ny WSREP: Recovered position: {UUID}:119,0-1-5\n"
    log += "Found 2 prepared transactions!\n"
    made = recovered(Member(), log)
    assert (made.recovered, made.prepared) == (Position(UUID, 119), 2)
    with pytest.raises(ValueError, match="no position"):
        recovered(Member(), "WSREP: skipping position recovery")


def test_who_holds_the_port_of_state_transfers(tmp_path: Path) -> None:
    """Something listens on 4444 with no server here: the process is named, by the real script."""
    address = f"127.{1 + os.getpid() % 254}.{os.getpid() // 254 % 256}.1"  # other runs of this test have one of their own
    program = f"import socket,sys; s=socket.create_server(('{address}',4444)); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stdout.readline()
        seen = member(look(tmp_path), None, unit="mariadb")
        assert running.stdin
        running.stdin.close()
        running.wait()
    assert running.pid in [pid for pid, _ in seen.stale]


@pytest.mark.parametrize(
    ("words", "stale"),
    [
        ({"ports": frozenset({4444}), "holders": ((7, "socat"),)}, ((7, "socat"),)),
        ({"ports": frozenset({4444})}, ((0, ""),)),
        ({"ports": frozenset({4567})}, ()),
        ({"ports": frozenset({4444}), "holders": ((7, "socat"),), "pids": (9,)}, ()),
    ],
    ids=["socat", "who is not told", "another port", "a server runs"],
)
def test_what_a_cut_transfer_left(words: dict[str, Any], stale: tuple[tuple[int, str], ...]) -> None:
    """While a server runs, its own transfer may listen there."""
    assert Member(**words).stale == stale
