"""A task as a step of another: `Node.then`, on this machine's own shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nornir.core.task import Task  # noqa: TC002  task functions are inspected

from nornir_stack.chain import Chain, Stage
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.node import Node
from nornir_stack.results import Result, Status
from nornir_stack.select import everyone
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nornir.core import Nornir


@pytest.fixture
def nr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nornir]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    register_connections()
    nr = fleet({"db": ["one"]}, {"one": {"connection": "local"}})
    yield nr
    nr.close_connections()


def said(task: Task, *, word: str) -> Result[str]:
    node = Node(task)
    return node.done(node.read("printf", "%s", word).text)


def after_a_change(task: Task) -> Result[str | None]:
    node = Node(task)
    node.change("true")
    return node.done(node.then(said, word="x"))


def before_a_change(task: Task) -> Result[str | None]:
    node = Node(task)
    word = node.then(said, word="x")
    node.change("true")
    return node.done(word)


def test_a_step_gives_its_value(nr: Nornir) -> None:
    """For real, and in a dry run before the first change."""
    for task, dry_run in ((after_a_change, False), (before_a_change, False), (before_a_change, True)):
        report = Chain("c", Stage("s", [task], everyone)).run(nr, dry_run=dry_run)
        assert report.value(task, "one") == "x"


def test_a_step_that_cannot_look_is_written_down_whole(nr: Nornir) -> None:
    """In a dry run the task goes on to its end, and the plan names the step."""
    report = Chain("c", Stage("s", [after_a_change], everyone)).run(nr, dry_run=True)
    told = report.stage("s").host("one").tasks[0]
    assert told.status is Status.CHANGED
    assert told.effects == ("true", "said(word=x), if needed")
