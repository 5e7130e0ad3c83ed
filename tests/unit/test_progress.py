"""Events of a run, shown."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import time
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from nornir_stack.events import Event
from nornir_stack.progress import Board, PlainProgress, render, watching
from nornir_stack.results import Status
from nornir_stack.words import elapsed
from tests.unit import made_up
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def plain(*events: Event) -> str:
    stream = io.StringIO()
    with PlainProgress(stream) as listener:
        for event in events:
            listener(event)
    return re.sub(r"(?m)^\d\d:\d\d:\d\d ", "", stream.getvalue())


def shown(board: Board, now: float, width: int = 80, rows: int = 10) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(render(board, now, width, rows))
    return captured.get()


def part(path: str = "prepare", hosts: tuple[str, ...] = ("db1", "db2"), kind: str = "stage") -> Event:
    return Event("part", path, data={"kind": kind, "hosts": hosts}, at=100.0)


def ended(host: str, status: Status, error: str = "") -> Event:
    return Event("task-end", "prepare", host, {"task": "t", "status": status, "error": error, "duration": 1.0}, 104.0)


def part_end(status: Status, problems: tuple[str, ...] = (), **hosts: Status) -> Event:
    return Event("part-end", "prepare", data={"status": status, "problems": problems, "hosts": hosts}, at=104.5)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (41.23, "41.2 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (185.2, "3 min 05 s"), (3725, "1 h 02 min")],
)
def test_wall_times_read_like_a_clock(seconds: float, text: str) -> None:
    """Never `60.0 s`."""
    assert elapsed(seconds) == text


def test_plain_lines_tell_a_stage_by_its_begin_and_end() -> None:
    """Two lines for a stage that went well, whatever number of tasks and hosts."""
    assert plain(
        part(),
        Event("task", "prepare", "db1", {"task": "t"}),
        Event("effect", "prepare", "db1", {"task": "t", "what": "write /etc/a"}),
        ended("db1", Status.CHANGED),
        ended("db2", Status.OK),
        part_end(Status.CHANGED, db1=Status.CHANGED, db2=Status.OK),
    ) == ("> prepare  on db1, db2\n+ prepare  1 ok, 1 changed  4.5 s\n")


def test_a_host_that_failed_is_told_with_its_error() -> None:
    """The line of a stage that failed names the host and what it said."""
    end = part_end(Status.FAILED, ("db1 failed: disk full",), db1=Status.FAILED)
    said = plain(part(), ended("db1", Status.FAILED, "disk full"), end)
    assert said.endswith("x prepare  1 failed  4.5 s\n    db1 failed: disk full\n")


def test_a_barrier_that_was_not_met_is_told() -> None:
    """Where no host failed, what the barrier found wrong is told."""
    said = plain(part(), ended("db1", Status.OK), part_end(Status.FAILED, ("db2 is Donor, not Synced",), db1=Status.OK))
    assert said.endswith("    db2 is Donor, not Synced\n")


def test_waits_decisions_and_interruptions_are_lines() -> None:
    """Whoever reads the log knows why nothing happened for a while, what was decided, and who stopped it."""
    said = plain(
        Event("run", data={"chain": "galera.form", "run": "r1", "dry_run": True, "hosts": ()}),
        Event("waiting", data={"problems": ["db1 is locked by root@here"]}),
        Event("decided", "elect", data={"reasons": ["db1 goes first"], "parts": ["join db1"], "unseen": []}),
        Event("decided", "again", data={"reasons": [], "parts": [], "unseen": []}),
        Event("decided", "blind", data={"reasons": [], "parts": [], "unseen": ["db2"]}),
        Event("interrupt", data={"cut": False}),
    )
    assert "galera.form begins, a dry run (run r1)\n" in said
    assert "the lock waits: db1 is locked by root@here\n" in said
    assert "elect decided: db1 goes first\n" in said
    assert "again decided: nothing is to be done here\n" in said
    assert "blind" not in said
    assert "stopping: nothing new begins" in said


def test_a_retry_that_went_well_is_no_failure() -> None:
    """The last attempt counts."""
    board = Board()
    for event in (part(), ended("db1", Status.FAILED, "refused"), ended("db1", Status.OK)):
        board.tell(event)
    assert board.parts["prepare"].statuses == {"db1": Status.OK}


def test_the_screen_shows_what_each_host_does_now_and_what_is_waited_for() -> None:
    """Task, last effect and seconds for those at work; a word for those that ended; the barrier's problem and its time."""
    board = Board()
    for event in (
        part(),
        Event("task", "prepare", "db1", {"task": "install"}, 101.0),
        Event("effect", "prepare", "db1", {"task": "install", "what": "apt-get install mariadb-server"}, 101.0),
        ended("db2", Status.CHANGED),
    ):
        board.tell(event)
    text = shown(board, 105.0)
    assert re.search(r"prepare +1/2 hosts  5.0 s", text)
    assert re.search(r"db1 install: apt-get install mariadb-server +4.0 s", text)
    assert "db2 changed" in text
    board.tell(Event("waiting", "prepare", data={"problems": ["db2 is Donor"]}, at=106.0))
    board.tell(Event("waiting", "prepare", data={"problems": ["db2 is Joined"]}, at=108.0))
    text = shown(board, 110.0)
    assert "waits 4.0 s for:\n      db2 is Joined" in text
    board.tell(Event("barrier", "prepare", data={"ok": True, "problems": []}))
    assert "waits" not in shown(board, 111.0)


@pytest.mark.parametrize("width", [40, 80])
def test_no_line_is_wider_than_the_screen(width: int) -> None:
    """On narrow screens effects are cut short and the hosts that ended wrap."""
    board = Board()
    names = tuple(f"hypervisor{number}" for number in range(30))
    board.tell(part(hosts=names))
    for name in names[:15]:
        board.tell(Event("task", "prepare", name, {"task": "install"}, 101.0))
        board.tell(Event("effect", "prepare", name, {"task": "install", "what": "apt-get install " + "x" * 200}, 101.0))
    for name in names[15:]:
        board.tell(ended(name, Status.OK))
    text = shown(board, 105.0, width, rows=5)
    assert max(map(len, text.splitlines())) <= width
    assert "and 10 more" in text


def test_what_a_log_cannot_write_is_escaped() -> None:
    """A node's latin-1 in a log of ASCII, and in one of UTF-8."""
    for encoding, shown in (("ascii", "caf\\udce9 \\xef"), ("utf-8", "caf\\udce9 \u00ef")):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding)
        with PlainProgress(stream) as listener:
            listener(Event("waiting", data={"problems": ["caf\udce9 \u00ef"]}))
        assert shown in raw.getvalue().decode(encoding)


def test_a_stage_that_never_began_is_left_to_the_report() -> None:
    """No line for each of the stages after the one that failed."""
    assert plain(part_end(Status.NOT_REACHED, ("prepare did not end well",), db1=Status.NOT_REACHED)) == ""


def test_without_a_terminal_a_run_is_plain_lines() -> None:
    """A real run on a stream that is no terminal: no escape codes."""
    stream = io.StringIO()
    with watching(stream) as listener:
        made_up.form().run(fleet({"member": ["db1", "db2"]}), dry_run=True, listeners=[listener])
    text = stream.getvalue()
    assert "\x1b" not in text
    assert "+ prepare  2 would change" in text
    assert "+ elect/join db2  1 would change" in text


class Terminal:
    """A pseudo terminal that a test writes to and reads what arrived."""

    def __init__(self) -> None:
        self.controller, self.worker = pty.openpty()
        self.stream = os.fdopen(self.worker, "w")
        self.text = ""

    def read_until(self, wanted: str) -> None:
        end = time.monotonic() + 10
        while wanted not in self.text and time.monotonic() < end:
            if select.select([self.controller], [], [], 0.1)[0]:
                self.text += os.read(self.controller, 65536).decode()
        assert wanted in self.text


def test_on_a_terminal_the_display_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs is drawn while it runs; finished stages stay as lines; the cursor is given back."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    with watching(terminal.stream) as listener:
        listener(part())
        listener(Event("task", "prepare", "db1", {"task": "install"}))
        terminal.read_until("db1 install")
        listener(ended("db1", Status.CHANGED))
        listener(part_end(Status.CHANGED, db1=Status.CHANGED, db2=Status.OK))
        terminal.read_until("1 ok, 1 changed")
        listener(Event("interrupt", data={"cut": False}))
        terminal.read_until("stopping")
    terminal.read_until("\x1b[?25h")
    assert "\x1b[?25l" in terminal.text
    terminal.stream.close()
    os.close(terminal.controller)


def test_no_color_is_honoured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With NO_COLOR no colour is sent; the display still lives."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    with watching(terminal.stream) as listener:
        listener(part())
        listener(part_end(Status.FAILED, ("no",), db1=Status.FAILED))
        terminal.read_until("1 failed")
    terminal.stream.close()
    os.close(terminal.controller)
    assert not re.search(r"\x1b\[[\d;]*3[0-9]m", terminal.text)


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM=dumb (an editor's shell) cannot move its cursor."""
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    with watching(terminal.stream) as listener:
        listener(part())
    terminal.read_until("> prepare  on db1, db2")
    terminal.stream.close()
    os.close(terminal.controller)
    assert "\x1b" not in terminal.text
