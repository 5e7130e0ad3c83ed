"""SELinux by stub programs in a PATH of our own, through the real shell: no node of the tests has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nornir.core.task import Task  # noqa: TC002  task functions are inspected

from nornir_stack import framing, session
from nornir_stack.chain import Chain, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.node import Node
from nornir_stack.results import Report, Result, Status
from nornir_stack.select import everyone
from nornir_stack.tasks.system.selinux import file_context, permissive_while, selinux_mode
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nornir.core import Nornir

# Each keeps its state in files beside it and writes down how it was called.
STUBS = {
    "getenforce": 'cat "$here/mode"',
    "setenforce": 'if [ "$1" = 1 ]; then echo Enforcing; else echo Permissive; fi >"$here/mode"',
    "systemd-run": "",
    "systemctl": "",
    "semanage": 'case "$*" in *--list*) cat "$here/contexts" ;;'
    ' *) printf "%s all files u:r:%s:s0\\n" "$5" "$4" >"$here/contexts" ;; esac',
    "restorecon": 'case "$*" in *-n*) cat "$here/wrong" ;; *) : >"$here/wrong" ;; esac',
}


class Stubs:
    """The folder of the stubs: what SELinux is, and what was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, body in STUBS.items():
            program = folder / name
            log = f'case "$0 $*" in *getenforce*|*--list*|*-n*) ;; *) echo "{name} $*" >>"$here/log" ;; esac'
            program.write_text(f"#!/bin/sh\nhere={folder}\n{log}\n{body}\n")
            program.chmod(0o755)
        for name in ("contexts", "wrong", "log"):
            (folder / name).touch()
        self.mode = "Enforcing"

    @property
    def mode(self) -> str:
        return (self.folder / "mode").read_text().strip()

    @mode.setter
    def mode(self, mode: str) -> None:
        (self.folder / "mode").write_text(f"{mode}\n")

    @property
    def calls(self) -> list[str]:
        return (self.folder / "log").read_text().splitlines()


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stubs:
    folder = tmp_path / "bin"
    folder.mkdir()
    # the shell of a connection sets its own PATH
    monkeypatch.setattr(session, "PRELUDE", framing.PRELUDE.replace("PATH=/usr/local/sbin", f"PATH={folder}", 1))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Stubs(folder)


@pytest.fixture
def nr(stubs: Stubs) -> Iterator[Nornir]:
    del stubs  # they must be there before the shell starts
    register_connections()
    nr = fleet({"db": ["db1"]}, {"db1": {"connection": "local"}})
    yield nr
    nr.close_connections()


def run(nr: Nornir, function: Callable[..., Any], *, dry_run: bool = False, **arguments: Any) -> Report:
    return Chain("test", Stage("it", [do(function, **arguments)], everyone)).run(nr, dry_run=dry_run)


def in_permissive(task: Task, *, fails: bool = False) -> Result[str]:
    """What a task that needs it looks like; the value is the mode in the body."""
    node = Node(task)
    with permissive_while(node, within=60):
        mode = node.read("getenforce").text
        if fails:
            raise Refused("no")
    return node.done(mode)


def test_permissive_only_while_it_must_be(nr: Nornir, stubs: Stubs) -> None:
    """Permissive in the body, enforcing after it; a timer on the node stands by before, and goes after."""
    assert run(nr, in_permissive).value(in_permissive, "db1") == "Permissive"
    assert stubs.mode == "Enforcing"
    timer = "systemd-run --quiet --unit=nornir-stack-enforcing --on-active=60s --timer-property=AccuracySec=1s setenforce 1"
    assert stubs.calls == [timer, "setenforce 0", "setenforce 1", "systemctl stop nornir-stack-enforcing.timer"]


def test_enforcing_again_after_a_failure(nr: Nornir, stubs: Stubs) -> None:
    """A body that fails leaves the node enforcing too."""
    assert run(nr, in_permissive, fails=True).hosts["db1"] is Status.FAILED
    assert stubs.mode == "Enforcing"


def test_permissive_mode_is_left_alone(nr: Nornir, stubs: Stubs) -> None:
    """Where it was permissive it stays so, and nothing is called."""
    stubs.mode = "Permissive"
    assert run(nr, in_permissive).hosts["db1"] is Status.OK
    assert (stubs.mode, stubs.calls) == ("Permissive", [])


def test_a_dry_run_stays_enforcing(nr: Nornir, stubs: Stubs) -> None:
    """It says what it would do, and does not."""
    report = run(nr, in_permissive, dry_run=True)
    assert report.changed == ("it db1: permissive while that is done, then enforcing again",)
    assert stubs.calls == []


def test_file_contexts(nr: Nornir, stubs: Stubs) -> None:
    """The policy and the files get the type once; a file that lost its label is labelled again; elsewhere it is skipped."""
    wanted: dict[str, Any] = {"path": "/data/mysql", "type": "mysqld_db_t"}
    assert run(nr, file_context, dry_run=True, **wanted).exit_code == 3
    assert stubs.calls == []
    assert run(nr, file_context, **wanted).hosts["db1"] is Status.CHANGED
    assert stubs.calls == ["semanage fcontext --add --type mysqld_db_t /data/mysql(/.*)?", "restorecon -R /data/mysql"]
    assert run(nr, file_context, **wanted).hosts["db1"] is Status.OK
    (stubs.folder / "wrong").write_text("Would relabel /data/mysql/x\n")
    assert run(nr, file_context, **wanted).changed == ("it db1: restorecon -R /data/mysql",)
    stubs.mode = "Disabled"
    assert run(nr, selinux_mode).value(selinux_mode, "db1") == "disabled"
    assert run(nr, file_context, **wanted).hosts["db1"] is Status.SKIPPED
