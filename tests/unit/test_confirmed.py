"""What becomes of a change whose answer was lost, or that the node could not take back: told as it is on the node."""

from __future__ import annotations

import shutil
import subprocess
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from nornir_stack import confirmed as confirmed_module
from nornir_stack import undo
from nornir_stack.command import Command, Output, command
from nornir_stack.confirmed import _Confirming
from nornir_stack.errors import ConnectionFailed, ConnectionLost, Locked, UndoFailed, Undone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_stack.node import Node

LOST = "lost"


class FakeShell:
    """A node's shell that answers LOOK with `looks`, the last one again and again, and CONFIRM as told."""

    alive = True

    def __init__(self, looks: list[str], confirm: int | str = 0, *, owned: bool = False) -> None:
        self.looks, self.confirm, self.sent = looks, confirm, list[str]()
        self.locks = {"/lock": "us"} if owned else {}

    def lock(self, path: str, owner: str) -> None:
        if "confirm" in self.sent:
            raise Locked(f"n1:{path}", f"not {owner} but run 7")

    def run(self, wanted: Command, *, timeout: float | None = None) -> Output:
        del timeout
        script = wanted.argv[2] if len(wanted.argv) > 2 else ""
        names = {undo.LOOK: "look", undo.CONFIRM: "confirm", undo.TIDY: "tidy", undo.UNDO_NOW: "undo"}
        name = names.get(script, "other")
        self.sent.append(name)
        if name == "confirm" and self.confirm == LOST and self.sent.count("confirm") == 1:
            raise ConnectionLost("n1: the connection was lost")
        said = (self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]) if name == "look" else ""
        status = self.confirm if name == "confirm" and isinstance(self.confirm, int) else 0
        return Output(wanted, status, said.encode(), b"", 0.0)


@pytest.fixture
def confirm(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeShell]:
    """Confirm a change by a fake shell; no wait is longer than a moment."""
    monkeypatch.setattr(confirmed_module, "_PAUSE", 0.001)
    monkeypatch.setattr(confirmed_module, "_UNDO_SECONDS", 0.05)
    monkeypatch.setattr(confirmed_module, "_LONGEST_UNDO_SECONDS", 0.2)

    def run(looks: list[str], answer: int | str = 0, check: Any = None, *, owned: bool = False) -> FakeShell:
        shell = FakeShell(looks, answer, owned=owned)
        monkeypatch.setattr(confirmed_module, "connection", lambda *_, **__: shell)
        gate = SimpleNamespace(
            remaining=lambda seconds: seconds, wait=lambda *_: time.sleep(0.001), still=lambda handle, _: handle
        )
        host = SimpleNamespace(get=lambda _: None, connections={})
        task = SimpleNamespace(nornir=SimpleNamespace(config=None))
        node = cast("Node", SimpleNamespace(name="n1", connection=shell, gate=gate, host=host, task=task))
        change = undo.Change([command("true")], [], [], 0.1, "a test")
        _Confirming(node, change, check).run()
        return shell

    return run


def test_a_login_over_a_slow_line_is_given_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that took all of its five seconds is given twice as long; one that was refused at once is not."""
    now, given = [0.0], list[float]()
    shell = FakeShell(["waits 0"])

    def passes(seconds: float) -> None:
        now[0] += seconds

    def login(*_: Any, connect_timeout: float) -> FakeShell:
        given.append(connect_timeout)
        refused = len(given) == 1
        passes(0.01 if refused else min(connect_timeout, 7.0))
        if refused or connect_timeout < 7:
            raise ConnectionFailed("n1: too slow, or refused")
        return shell

    monkeypatch.setattr(confirmed_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(confirmed_module, "connection", login)
    gate = SimpleNamespace(remaining=lambda seconds: seconds, wait=lambda seconds, _: passes(seconds), still=lambda one, _: one)
    host = SimpleNamespace(get=lambda _: None, connections={})
    task = SimpleNamespace(nornir=SimpleNamespace(config=None))
    node = cast("Node", SimpleNamespace(name="n1", connection=shell, gate=gate, host=host, task=task))
    _Confirming(node, undo.Change([command("true")], [], [], 60, "a test"), None).run()
    assert given == [5, 5, 10, 10]
    assert "confirm" in shell.sent


def test_a_lost_answer_to_the_confirmation_is_looked_up(confirm: Callable[..., FakeShell]) -> None:
    """The node took it and no record says that it was undone: the change stands, and no error is raised."""
    confirm(["waits 0", "none"], LOST)
    shell = confirm(["waits 0", "confirmed"], LOST)  # cut off while it tidied up: it is told to once more
    assert shell.sent[-2:] == ["look", "confirm"]


def test_a_lost_confirmation_that_did_not_arrive(confirm: Callable[..., FakeShell]) -> None:
    """The node undid it, and has a record: Undone, not a success."""
    with pytest.raises(Undone, match="former network again"):
        confirm(["waits 0", "waits 0", "undone 0 timer"], LOST)
    with pytest.raises(Undone, match="when the time was up"):
        confirm(["waits 0", "undoing", "undone 0 timer"], undo.TOO_LATE)


def test_a_node_that_another_run_holds_by_now(confirm: Callable[..., FakeShell]) -> None:
    """The answer is lost and the lock is another's: who has it, and that the outcome is not known."""
    with pytest.raises(Locked, match="locked by not us but run 7; what became of the change"):
        confirm(["waits 0", "none"], LOST, owned=True)


def test_a_change_that_was_never_begun(confirm: Callable[..., FakeShell]) -> None:
    """Neither state nor record, and nobody asked for a confirmation: told so."""
    with pytest.raises(Undone, match="never begun"):
        confirm(["none"])


def test_an_undo_that_failed_is_told(confirm: Callable[..., FakeShell]) -> None:
    """What is not as before stands in the error; the record stays on the node."""
    with pytest.raises(UndoFailed, match="not as before, routes-4: default via") as failed:
        confirm(["waits 0", "undone 0 timer not as before, routes-4: default via 10.0.0.1;"], check=lambda _: ["no way out"])
    assert "no way out" in str(failed.value)


@pytest.mark.parametrize(
    ("state", "told"), [("waits -", "nobody confirmed it"), ("arming", "is not known"), ("undoing", "still at it")]
)
def test_a_node_that_never_ends(confirm: Callable[..., FakeShell], state: str, told: str) -> None:
    """Steps without an end, and a timer that does not come: the change's own time bounds it, and what is unknown is said."""
    with pytest.raises(ConnectionFailed, match=told):
        confirm([state])


def test_a_node_that_takes_its_time_to_undo(confirm: Callable[..., FakeShell], monkeypatch: pytest.MonkeyPatch) -> None:
    """While it says that it is at it, it is waited for beyond the usual time."""
    monkeypatch.setattr(confirmed_module, "_LONGEST_UNDO_SECONDS", 60.0)
    with pytest.raises(Undone, match="former network again"):
        confirm(["waits 0", *["undoing"] * 60, "undone 0 timer"], check=lambda _: ["no way out"])


# The scripts themselves, in a folder of the test and without systemd.


def on_node(home: Path, script: str) -> subprocess.CompletedProcess[str]:
    here = script.replace(undo.HOME, str(home)).replace("/etc/systemd/system", str(home / "units"))
    here = here.replace(undo.LOCK, str(home / "lock"))
    return subprocess.run(
        ["sh"], input=f"systemctl() {{ :; }}\n{here}", capture_output=True, text=True, check=False, timeout=30
    )


def waiting(home: Path) -> Path:
    """A change that waits for its confirmation, with one saved file."""
    state = home / "undo"
    (state / "files").mkdir(parents=True)
    (state / "files/1.path").write_text(str(home / "saved.conf"))
    (state / "applied").write_text("0\n")
    (home / "saved.conf").write_text("new")
    (home / "units/sysinit.target.wants").mkdir(parents=True)
    (home / "units" / f"{undo.UNIT}-boot.service").write_text("")
    return state


def test_confirming_twice_is_as_once(tmp_path: Path) -> None:
    """A confirmation leaves neither state nor record nor unit; cut off after its verdict, it is seen and ended by the next."""
    state = waiting(tmp_path)
    assert on_node(tmp_path, undo.LOOK).stdout.strip() == "waits 0"
    assert on_node(tmp_path, undo.CONFIRM).returncode == 0
    assert on_node(tmp_path, undo.LOOK).stdout.strip() == "none"
    shutil.rmtree(tmp_path / "units")

    state = waiting(tmp_path)
    (state / "verdict").symlink_to("confirmed")
    assert on_node(tmp_path, undo.LOOK).stdout.strip() == "confirmed"
    assert on_node(tmp_path, undo.CONFIRM).returncode == 0
    assert not list((tmp_path / "units").glob("*.service"))
    assert not state.exists()


def test_a_confirmation_that_comes_too_late(tmp_path: Path) -> None:
    """The node decided before, or has undone it already: refused, and nothing is touched."""
    assert on_node(tmp_path, undo.CONFIRM).returncode == undo.TOO_LATE
    state = waiting(tmp_path)
    (state / "verdict").symlink_to("undone")
    assert on_node(tmp_path, undo.CONFIRM).returncode == undo.TOO_LATE
    assert state.exists()
    assert on_node(tmp_path, undo.LOOK).stdout.strip() == "undoing"


def test_a_confirmation_is_on_the_disk_before_it_counts(tmp_path: Path) -> None:
    """The changed file is synced before the verdict, the verdict before the folder goes, its going before that of the units."""
    waiting(tmp_path)
    told = f">>{tmp_path}/order; command"
    watched = "".join(f'{one}() {{ echo {one} "$@" {told} {one} "$@"; }}\n' for one in ("sync", "ln", "mv"))
    find = f'find() {{ echo sync "$1" >>{tmp_path}/order; command find "$@"; }}\n'
    assert on_node(tmp_path, watched + find + undo.CONFIRM).returncode == 0
    lines = (tmp_path / "order").read_text().splitlines()
    order = [
        lines.index(f"sync {tmp_path}/saved.conf"),
        next(i for i, line in enumerate(lines) if line.startswith("ln -s confirmed")),
        lines.index(f"sync -- {tmp_path}/undo"),
        next(i for i, line in enumerate(lines) if line.startswith("mv ")),
        lines.index(f"sync -- {tmp_path}"),
    ]
    assert order == sorted(order)


def test_an_undo_leaves_its_record_and_nothing_else(tmp_path: Path) -> None:
    """Why, how, and what is not as before; no saved file, no step with its secrets, no unit."""
    state = waiting(tmp_path)
    (state / "steps.sh").write_text("a secret")
    (state / "restore.sh").write_text("")
    (state / "live").mkdir()
    (state / "about").write_text("a test")
    live = 'restore_devices() { :; }\nlive_restore() { echo "not as before, links: br1" >"$1.left"; }\n'
    script = f"set -- timer\n{undo._HEAD}R={undo.RECORD}\n{live}{undo._LEAVE}{undo._UNDO}"
    assert on_node(tmp_path, script).returncode == 0
    assert {path.name for path in (tmp_path / "undone").iterdir()} == {"about", "applied", "how", "left", "log"}
    assert on_node(tmp_path, undo.LOOK).stdout.strip() == "undone 0 timer not as before, links: br1;"
    assert not (tmp_path / "saved.conf").exists()
    assert not list((tmp_path / "units").glob("*.service"))
    assert {path.name for path in tmp_path.iterdir()} == {"undone", "units"}


def test_what_an_undo_leaves_is_in_its_record(tmp_path: Path) -> None:
    """A restoring command that failed: LOOK tells it with the record, a control word of what was seen last."""
    record = tmp_path / "undone"
    record.mkdir()
    for name, text in {"applied": "0", "how": "timer", "left": "one\ntwo\n", "out": "said\n"}.items():
        (record / name).write_text(text)
    assert on_node(tmp_path, undo.LOOK).stdout == "undone 0 timer one;two;\nsaid\n"


def test_a_restoring_command_that_fails_is_written_down(tmp_path: Path) -> None:
    """With its words and status, with stdin or without; the next one still runs."""
    (tmp_path / "undo").mkdir()
    failing = [command("sh", "-c", "exit 3"), command("sh", "-c", "cat >/dev/null; exit 4", stdin="x"), command("true")]
    assert on_node(tmp_path, undo.script(failing, left=True)).returncode == 0
    left = (tmp_path / "undo/left").read_text().splitlines()
    assert left == ["`exit 3` ended with status 3", "`cat >/dev/null; exit 4` ended with status 4"]
