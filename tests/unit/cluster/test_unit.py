"""How long a start may take, and that clients are sent elsewhere meanwhile: the script runs in real shells."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.tasks.cluster import unit
from nornir_stack.tasks.cluster.acts import _END
from nornir_stack.tasks.cluster.unit import _PATIENTLY, STUCK_SECONDS, settled
from tests.unit.cluster.shorthand import cluster

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = ("dash", "bash")


def words(shell: str, data: Path, work: str, *, flag: str = "", asked: str = "/", stuck: int = 60) -> list[str]:
    return [shell, "-c", _PATIENTLY, "sh", str(stuck), "0", str(data), flag, "0", asked, "sh", "-c", work]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("status", [0, 1])
def test_its_end_is_that_of_what_it_runs(shell: str, status: int, tmp_path: Path) -> None:
    """The status and the words of systemctl come through."""
    done = subprocess.run(words(shell, tmp_path, f"echo out; echo why >&2; exit {status}"), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, b"out\n", b"why\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_start_may_take_as_long_as_its_data_change(shell: str, tmp_path: Path) -> None:
    """Beyond the limit, but something grows: it is waited for."""
    work = f"for i in 1 2 3 4 5 6; do echo $i >>{tmp_path}/ibdata1; sleep 0.5; done"
    assert subprocess.run(words(shell, tmp_path, work, stuck=2), capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_one_that_does_not_get_on_is_given_up(shell: str, tmp_path: Path) -> None:
    """A log and the cache of write sets grow, which a server that waits for a donor does too: that is no progress."""
    work = f"echo $$ >{tmp_path}.pid; cd {tmp_path}; while sleep 0.1; do echo x | tee -a db1.err >>galera.cache; done"
    done = subprocess.run(words(shell, tmp_path, work, stuck=1), capture_output=True, check=False, timeout=20)
    assert done.returncode == 124
    assert b"has changed for" in done.stderr
    assert gone(int((tmp_path.parent / f"{tmp_path.name}.pid").read_text()))


@pytest.mark.parametrize("shell", SHELLS)
def test_the_flag_is_there_as_long_as_it_runs(shell: str, tmp_path: Path) -> None:
    """It is set before and gone after; one that somebody else has set stays."""
    flag = tmp_path / "drained"
    line = words(shell, tmp_path, f"ls {flag}", flag=str(flag))
    assert subprocess.run(line, capture_output=True, check=True).stdout
    assert not flag.exists()
    flag.touch()
    subprocess.run(line, capture_output=True, check=True)
    assert flag.exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_nobody_is_told_where_no_load_balancer_can_ask(shell: str, tmp_path: Path) -> None:
    """A cluster that is just being formed has no health endpoint: nobody is waited for."""
    flag = tmp_path / "drained"
    line = words(shell, tmp_path, f"ls {flag} || :", flag=str(flag), asked=f"{tmp_path}/galera-health")
    assert subprocess.run(line, capture_output=True, check=True).stdout == b""


@pytest.mark.parametrize("shell", SHELLS)
def test_the_flag_does_not_outlive_a_run_that_is_cut(shell: str, tmp_path: Path) -> None:
    """Ended from outside, the command takes the flag away: nobody is left out of service unseen."""
    flag = tmp_path / "drained"
    with subprocess.Popen(words(shell, tmp_path, "sleep 30", flag=str(flag)), start_new_session=True) as running:
        end = time.monotonic() + 5
        while not flag.exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert flag.exists()
        time.sleep(0.3)
        os.killpg(running.pid, signal.SIGTERM)
        assert running.wait(timeout=10) == 143
    assert not flag.exists()


STEP = STUCK_SECONDS * 0.4


@pytest.mark.parametrize(
    ("line", "marks", "looks"),
    [
        ("receiving 0", "abcdefgh", 9),
        ("receiving 0", "abbbbbbb", 5),
        ("joined A 1", "", 9),
        ("joining A 1", "", 9),
        ("joined A 1", "stuck", 2),
    ],
    ids=["its data grow", "its data stand still", "it applies", "joining", "it applies nothing"],
)
def test_a_member_under_way_is_waited_for(line: str, marks: str, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far beyond any fixed time, as long as its data or its position change; not when nothing has for half an hour."""
    (now,) = cluster({"db1": line}).values.values()
    (well,) = cluster({"db1": "synced A 9"}).values.values()
    seen: list[int] = []

    def look(_: object) -> Any:
        seen.append(1)
        if len(seen) == 9:
            return well
        position = replace(now.wsrep.position, seqno=1 if marks == "stuck" else len(seen)) if now.wsrep else None
        return replace(now, wsrep=replace(now.wsrep, position=position)) if now.wsrep and position else now

    def read(*words: object, **_: object) -> Any:
        return SimpleNamespace(text="" if words[0] == "sleep" else marks[len(seen) - 1])

    monkeypatch.setattr(unit, "look", look)
    monkeypatch.setattr(unit, "member_of", lambda _: (SimpleNamespace(datadir="/d"), None))
    monkeypatch.setattr(unit, "time", SimpleNamespace(monotonic=lambda: STEP * len(seen)))
    node: Any = SimpleNamespace(dry_run=False, read=read)
    assert settled(node).starting == (looks != 9)
    assert len(seen) == looks


@pytest.mark.parametrize("shell", SHELLS)
def test_only_what_the_database_user_runs_is_ended(shell: str) -> None:
    """A stranger on that port is told and left alone; a process that has gone meanwhile is none."""
    with subprocess.Popen(["sleep", "30"]) as other:
        done = subprocess.run([shell, "-c", _END, "sh", str(other.pid)], capture_output=True, text=True, check=False)
        alive = other.poll() is None
        other.kill()
    assert (done.returncode, alive) == (1, True)
    assert "end it by hand" in done.stderr
    assert subprocess.run([shell, "-c", _END, "sh", str(other.pid)], check=False).returncode == 0


def gone(pid: int) -> bool:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
