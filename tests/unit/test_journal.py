"""The record of a run on disk, and runs whose record cannot be kept."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from nornir.core.task import Task  # noqa: TC002  task functions are inspected

from nornir_stack import journal
from nornir_stack.chain import Chain, Stage
from nornir_stack.events import Event
from nornir_stack.journal import KEPT, load_journal, load_report, new_run, runs
from nornir_stack.results import Report, Result, Status
from nornir_stack.select import hosts
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "nornir-stack" / "runs"


def answering(value: Any) -> Chain:
    def answer(task: Task) -> Result[Any]:
        return Result(task.host, value)

    return Chain("c", Stage("a", [answer], hosts("db1")))


def run(value: Any = None) -> Report:
    return answering(value).run(fleet({"db": ["db1"]}), dry_run=True)


def test_lines_of_many_threads_stay_whole() -> None:
    """Each event is a line of its own, however long, whoever else writes."""
    record = new_run("c")

    def tell(number: int) -> None:
        for _ in range(20):
            record.listener(Event("task", data={"number": number, "long": str(number) * 50_000}))

    threads = [threading.Thread(target=tell, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(event["data"]["number"] for event in load_journal(record.run)) == sorted([*range(5)] * 20)


def test_a_signal_may_come_while_a_line_is_written() -> None:
    """The handler tells of the interruption in the thread that writes: it does not wait for itself."""
    record = new_run("c")
    with record._turn:
        record.listener(Event("interrupt", data={"cut": False}))
    assert [event["kind"] for event in load_journal(record.run)] == ["interrupt"]


def test_the_newest_runs_are_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cron fills no disk; what people put beside the runs is left alone."""
    monkeypatch.setattr(journal, "KEPT", 3)
    names = [new_run(f"c{number}").run for number in range(5)]
    looks = [new_run("check", dry_run=True).run for _ in range(5)]
    assert runs() == sorted([*sorted(names)[-3:], *sorted(looks)[-3:]])
    assert KEPT == 500


@pytest.mark.parametrize("lost", ["runs", "run", "report.json.part"])
def test_what_cannot_be_recorded_loses_no_result(place: Path, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    """A disk that is full or read-only: the run goes on, its report comes back, and says what could not be kept, once."""
    if lost == "runs":
        place.parent.mkdir()
        place.write_text("no folder")
    elif lost == "run":
        monkeypatch.setattr("pathlib.Path.mkdir", lambda *_, **__: None)
    else:
        monkeypatch.setattr("pathlib.Path.write_text", _full)
    report = run("seen")
    assert report.ok
    assert report.stage("a").host("db1").tasks[0].value == "seen"
    assert len(report.warnings) == len(set(report.warnings)) > 0
    assert all("of this run could not be kept in" in line or "the record" in line for line in report.warnings)


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_report_is_written_whole_or_not_at_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up leaves no half of one, which nobody could read."""
    monkeypatch.setattr("pathlib.Path.replace", _full)
    report = run()
    assert "No space left on device" in " ".join(report.warnings)
    assert not list(place.rglob("report.json"))


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"caf\xe9", "b'caf\\xe9'"),
        ("caf\udce9", "caf\udce9"),
        ({"caf\udce9": 1}, "{'caf\\udce9': 1}"),
        (_circle(), "[[...]]"),
    ],
)
def test_any_value_is_recorded(value: Any, kept: str) -> None:
    """What a task returns may be no JSON, such as a node's latin-1: it is kept as Python shows it, and all else as always."""
    report = run(value)
    assert (report.warnings, report.ok) == ((), True)
    (told,) = load_report(report.run).stage("a").host("db1").tasks
    assert (told.value, told.status) == (kept, Status.OK)
    assert json.loads(report.to_json())["stages"][0]["hosts"][0]["tasks"][0]["value"] == kept
