"""The controller's services as tasks: what Nova's databases say of new compute nodes, by a nova-manage that only pretends."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack import framing, locks, session
from nornir_stack.chain import Chain, Stage
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.select import everyone
from nornir_stack.tasks.openstack import runs
from nornir_stack.tasks.openstack.runs import Cell, discovered
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from pathlib import Path

    from nornir_stack.results import Report

ALIVE = {"n1": True, "n2": False}


class Nova:
    """Its databases: `looks` are what is there at each look, the last for ever; nova-manage maps who reported."""

    def __init__(self, called: Path, *looks: Cell) -> None:
        self.called, self.looks = called, list(looks)

    def rows(self, _node: object, _plane: object, _schema: str, sql: str) -> list[tuple[Any, ...]]:
        if sql is runs._SERVICES:
            return [(host, int(up)) for host, up in self.looks[0].services.items()]
        if sql is runs._REPORTED:
            return [(host,) for host in self.looks[0].reported]
        now = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return [(host,) for host in (*now.mapped, *(now.reported if self.called.exists() else ()))]


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What nova-manage was called with, if it was."""
    (tmp_path / "runuser").write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/called\n')
    (tmp_path / "runuser").chmod(0o755)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(locks, "NODE_LOCK", str(tmp_path / "lock"))
    prelude = framing.PRELUDE.replace("PATH=/usr/local/sbin", f"PATH={tmp_path}:/usr/local/sbin", 1)
    monkeypatch.setattr(session, "PRELUDE", prelude)
    monkeypatch.setattr(runs, "plane_of", lambda _inventory: None)
    monkeypatch.setattr(runs, "_PAUSE", 0.01)
    monkeypatch.setattr(runs, "_REPORT_SECONDS", 0.05)
    return tmp_path / "called"


def run(nova: Nova, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool = False) -> Report:
    register_connections()
    monkeypatch.setattr(runs, "rows", nova.rows)
    nr = fleet({"controller": ["c1"]}, {"c1": {"connection": "local"}})
    report = Chain("c", Stage("s", [discovered], everyone)).run(nr, dry_run=dry_run)
    nr.close_connections()
    return report


def test_a_node_that_has_not_reported_yet_is_waited_for(called: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its service is alive before its resources are known: nova-manage comes after those, and what it did is looked at."""
    silent = Cell(ALIVE, frozenset(), frozenset())
    nova = Nova(called, silent, silent, Cell(ALIVE, frozenset({"n1"}), frozenset()))
    report = run(nova, monkeypatch)
    assert report.ok, report
    assert report.changed == ("s c1: take n1 into Nova's cell",)
    assert called.read_text() == "-u nova -- nova-manage cell_v2 discover_hosts\n"
    assert run(nova, monkeypatch).changed == ()


def test_a_node_that_does_not_come_into_the_cell_is_told(called: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No instance would ever start on it; a node that is dead holds nobody up; a dry run does not wait."""
    silent = Cell(ALIVE, frozenset(), frozenset())
    plan = run(Nova(called, silent), monkeypatch, dry_run=True)
    assert plan.changed == ("s c1: take n1 into Nova's cell",)
    assert "n1 did not come into Nova's cell" in run(Nova(called, silent), monkeypatch).stage("s").host("c1").error
    assert not called.exists()
    dead = Cell({"n2": False}, frozenset({"n2"}), frozenset())
    assert run(Nova(called, dead), monkeypatch).changed == ()


@pytest.mark.parametrize(
    ("word", "given", "right"),
    [
        ("the-word", "/\\t.*\\t.*\\t.*", True),
        ("another", "/\\t.*\\t.*\\t.*", False),
        ("the-word", "", False),
        ("the-word", "/\\t^x\\t.*\\t.*", False),
    ],
)
def test_the_user_of_the_messages_may_do_what_it_needs(word: str, given: str, right: bool, tmp_path: Path) -> None:
    """A user that was made by a run that was cut there has its password and may nothing yet: that is not as wanted."""
    rabbitmqctl = f"""#!/bin/sh
case $2 in authenticate_user) read -r word; [ "$word" = the-word ];;
list_user_permissions) printf '{given}\\n';; esac
"""
    (tmp_path / "rabbitmqctl").write_text(rabbitmqctl)
    (tmp_path / "rabbitmqctl").chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["/bin/sh", "-c", runs._MESSAGES_LOOK], env=env, input=f"{word}\n", text=True, check=False)
    assert (done.returncode == 0) is right
