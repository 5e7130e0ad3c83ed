"""`Node` on this machine's own shell: the two verbs, files, dry runs, results. What it does is what tasks build on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from nornir.core.task import Task  # noqa: TC002  task functions are inspected

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import command, sh
from nornir_stack.confirmed import Network, confirmed
from nornir_stack.effects import Door, door_of, set_door
from nornir_stack.errors import CommandFailed, SecretError, UsageError
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.journal import load_journal
from nornir_stack.node import Node
from nornir_stack.results import Result, Status
from nornir_stack.secret import MASK, Secret
from nornir_stack.select import everyone
from nornir_stack.session import Session
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nornir.core import Nornir

    from nornir_stack.connections.local import LocalWay
    from nornir_stack.results import TaskReport
    from nornir_stack.session import Sudo

    Run = Callable[..., TaskReport]


@pytest.fixture
def nr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nornir]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    register_connections()
    nr = fleet({"db": ["one"]}, {"one": {"connection": "local"}})
    yield nr
    nr.close_connections()


@pytest.fixture
def run(nr: Nornir) -> Run:
    def call(task: Callable[..., Any], *, dry_run: bool = False, **arguments: Any) -> TaskReport:
        report = Chain("c", Stage("s", [do(task, **arguments)], everyone)).run(nr, dry_run=dry_run)
        return report.stage("s").host("one").tasks[0]

    return call


def put(task: Task, *, path: str, text: str) -> Result[bool]:
    node = Node(task)
    return node.done(node.write_file(path, text, mode="0600"))


def test_read_runs_in_a_dry_run_and_change_does_not(run: Run, tmp_path: Path) -> None:
    """`read` looks in both; `change` is written down in a dry run and made in a real one."""
    made = tmp_path / "made"

    def touch(task: Task) -> Result[str]:
        node = Node(task)
        seen = node.read("ls", str(tmp_path)).stdout
        node.change("touch", str(made))
        return node.done(seen)

    dry = run(touch, dry_run=True)
    assert (dry.status, dry.effects, made.exists()) == (Status.CHANGED, (f"touch {made}",), False)
    assert run(touch).status is Status.CHANGED
    assert made.exists()


def test_what_a_change_prints_is_not_known_in_a_dry_run(run: Run) -> None:
    """Looking at the output of a change that was not made is undecidable, and says after what it would be known."""

    def greedy(task: Task) -> Result[str]:
        return Node(task).done(Node(task).change("echo", "hello").text)

    dry = run(greedy, dry_run=True)
    assert dry.status is Status.CHANGED
    assert dry.reason == "what it prints: known only after: echo hello"
    assert run(greedy).value == "hello"


def test_writing_a_file_twice_changes_it_once(run: Run, tmp_path: Path) -> None:
    """The second write of the same content changes nothing; diff and `changed` of the dry run are those of the real one."""
    path = tmp_path / "file"
    dry = run(put, dry_run=True, path=str(path), text="a\nb\n")
    assert not path.exists()
    real = run(put, path=str(path), text="a\nb\n")
    assert (dry.diff, dry.changed) == (real.diff, real.changed)
    assert real.diff.splitlines()[-2:] == ["+a", "+b"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert run(put, path=str(path), text="a\nb\n").status is Status.OK


def test_edits_of_one_file_compose_in_a_dry_run(run: Run, tmp_path: Path) -> None:
    """The second edit of a dry run sees the first, also from another task of the run."""
    path = tmp_path / "ini"
    path.write_text("[a]\nx = 1\n")

    def edit(task: Task) -> Result[str | None]:
        node = Node(task)
        node.edit_ini(str(path), "a", {"x": "2"})
        node.edit_ini(str(path), "a", {"y": "3"})
        return node.done(node.read_file(str(path)))

    dry = run(edit, dry_run=True)
    assert dry.value == "[a]\nx = 2\ny = 3\n"
    assert path.read_text() == "[a]\nx = 1\n"
    assert run(edit).value == dry.value
    assert run(edit).status is Status.OK


def test_a_mode_alone_is_a_change_of_its_own(run: Run, tmp_path: Path) -> None:
    """Same content, other mode: only the mode is set, and shown."""
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(0o644)
    report = run(put, path=str(path), text="x")
    assert "mode 0600" in report.diff
    assert path.stat().st_mode & 0o777 == 0o600


def test_removing_a_file_shows_what_goes(run: Run, tmp_path: Path) -> None:
    """The removed content stands in the diff; a second removal changes nothing."""
    path = tmp_path / "file"
    path.write_text("precious\n")

    def remove(task: Task) -> Result[bool]:
        node = Node(task)
        return node.done(node.remove_file(str(path)))

    assert "-precious" in run(remove, dry_run=True).diff
    assert path.exists()
    assert run(remove).changed
    assert not path.exists()
    assert run(remove).status is Status.OK


def test_a_failed_command_says_what_it_said(run: Run) -> None:
    """The error names the command, its status and the end of its stderr."""

    def fail(task: Task) -> Result[None]:
        node = Node(task)
        node.read(sh("echo no such luck >&2; exit 7", label="try one's luck"))
        return node.done()

    assert run(fail).error == "`try one's luck` ended with status 7: no such luck"


def test_allowed_statuses_are_no_failures(run: Run) -> None:
    """`ok` names the statuses that are answers."""

    def ask(task: Task) -> Result[int]:
        node = Node(task)
        return node.done(node.read("sh", "-c", "exit 3", ok=(0, 3)).status)

    assert run(ask).value == 3


def test_words_are_never_read_by_a_shell(run: Run) -> None:
    """What looks like shell in an argument arrives as it is."""
    odd = "$(id); `id` \"'\\ \n* ~"

    def echo(task: Task) -> Result[str]:
        node = Node(task)
        return node.done(node.read("printf", "%s", odd).stdout + node.read(sh('printf %s "$1"', odd)).stdout)

    assert run(echo).value == odd * 2


def test_secrets_go_by_stdin_and_files_and_are_masked(run: Run, tmp_path: Path) -> None:
    """A secret is refused in argv, allowed in stdin and files, and masked in effects, diffs, values and errors."""
    secret = Secret(literal="correct horse battery")
    with pytest.raises(SecretError):
        command("echo", secret)  # type: ignore[arg-type]

    def use(task: Task, *, secret: Secret) -> Result[str]:
        node = Node(task)
        node.write_file(str(tmp_path / "my.cnf"), f"password = {secret.reveal()}\n")
        node.change("sh", "-c", "cat >/dev/null", stdin=secret)
        return node.done(node.read("cat", str(tmp_path / "my.cnf")).stdout)

    report = run(use, secret=secret)
    assert f"+password = {MASK}" in report.diff
    assert "horse" not in "".join(report.effects) + report.diff
    assert "horse" in (tmp_path / "my.cnf").read_text()


def test_done_calls_for_its_value_only_where_it_can_be_known(run: Run) -> None:
    """A value that depends on a pending change is unknown in a dry run, and there in the real one."""

    def change(task: Task) -> Result[str]:
        node = Node(task)
        node.change("true")
        return node.done(lambda: node.read("echo", "after").text)

    dry = run(change, dry_run=True)
    assert (dry.status, dry.value) == (Status.CHANGED, None)
    assert run(change).value == "after"


def test_a_task_called_by_another_adds_to_its_result(run: Run, tmp_path: Path) -> None:
    """Task functions call each other directly; what the inner one did is part of the outer one's result, once."""

    def outer(task: Task) -> Result[bool]:
        node = Node(task)
        inner = put(task, path=str(tmp_path / "a"), text="x")
        again = put(task, path=str(tmp_path / "a"), text="x")
        return node.done(inner.changed and not again.changed)

    report = run(outer)
    assert report.value is True
    assert report.effects == (f"write {tmp_path / 'a'}",)


def test_plain_nornir_runs_every_task(nr: Nornir, tmp_path: Path) -> None:
    """Without a chain: `nr.run(task=...)` gives Nornir's own result, with `changed` and `diff`; dry runs hold there too."""
    nr.data.dry_run = True
    dry = nr.run(task=put, path=str(tmp_path / "a"), text="x")
    assert dry["one"].changed
    assert not (tmp_path / "a").exists()
    nr.data.dry_run = False
    assert nr.run(task=put, path=str(tmp_path / "a"), text="x")["one"].changed
    assert not nr.run(task=put, path=str(tmp_path / "a"), text="x")["one"].changed


def test_folders_are_no_files(run: Run, tmp_path: Path) -> None:
    """Writing over a folder is refused with a sentence."""
    assert "is no regular file but a directory" in run(put, path=str(tmp_path), text="x").error


@pytest.mark.parametrize("name", ["name", "severity_level", "raise_on_error", "on_good", "on_failed"])
def test_parameters_that_nornir_takes_are_refused(name: str) -> None:
    """A task parameter of a name that Nornir's own `run` takes would never arrive: told when the chain is made."""
    namespace: dict[str, Any] = {}
    exec(f"def mine(t, *, {name}): ...", namespace)  # noqa: S102  the parameter's name is the case
    with pytest.raises(UsageError, match=name):
        do(namespace["mine"], **{name: "x"})


def test_status_outside_ok_raises_in_a_real_run(run: Run) -> None:
    """A change that fails is a failure of the task, and still counts as made: it may have happened."""

    def fail(task: Task) -> Result[None]:
        node = Node(task)
        with pytest.raises(CommandFailed):
            node.change("false")
        return node.done()

    report = run(fail)
    assert report.changed


def remove(task: Task, *, path: str) -> Result[bool]:
    node = Node(task)
    return node.done(node.remove_file(path))


@pytest.mark.parametrize("leads", ["nowhere", "file", "folder"])
def test_removing_a_link_removes_the_link(run: Run, tmp_path: Path, leads: str) -> None:
    """Wherever it leads, nowhere too; what it leads to stays, and is not shown as what goes."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("precious\n")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / leads)
    dry = run(remove, dry_run=True, path=str(link))
    assert (dry.effects, link.is_symlink(), "precious" in dry.diff) == ((f"remove {link}",), True, False)
    assert run(remove, path=str(link)).diff == dry.diff
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "state") == ["file", "folder"]
    assert run(remove, path=str(link)).status is Status.OK


def test_a_folder_is_not_removed_as_a_file(run: Run, tmp_path: Path) -> None:
    """Told before anything is sent, in a dry run too."""
    for dry_run in (True, False):
        report = run(remove, dry_run=dry_run, path=str(tmp_path))
        assert (report.changed, "is no file but a directory" in report.error) == (False, True)


def test_what_not_everybody_may_read_is_not_shown_when_it_goes(run: Run, tmp_path: Path) -> None:
    """Nothing tells which of its words were secrets."""
    path = tmp_path / "keepalived.conf"
    path.write_text("auth_pass OLD\n")
    path.chmod(0o640)
    assert run(remove, dry_run=True, path=str(path)).diff.splitlines()[-1] == "-14 bytes that not everybody may read"


def test_a_rotated_secret_is_in_no_diff(run: Run, tmp_path: Path) -> None:
    """Neither the new one, which is known, nor the old one, which is not."""
    path = tmp_path / "keepalived.conf"
    path.write_text("auth_pass OLD\n")
    text = f"auth_pass {Secret(literal='s3cret of today').reveal()}\n"
    assert run(put, path=str(path), text=text).diff.splitlines()[-2:] == [f"-auth_pass {MASK}", f"+auth_pass {MASK}"]


def test_modes_owners_and_folders_of_a_dry_run(run: Run, tmp_path: Path) -> None:
    """What was made or set is seen so by what comes later, and not made again."""

    def build(task: Task) -> Result[tuple[str, ...]]:
        node = Node(task)
        folder, path = f"{tmp_path}/a/b", f"{tmp_path}/a/b/file"
        node.make_folder(folder, mode="0750")
        node.make_folder(folder, mode="0750")
        node.make_folder(f"{tmp_path}/a")
        node.write_file(path, "x", mode="0600", independent=True)
        node.write_file(path, "x", mode="0600")
        node.write_file(path, "x", mode="0640")
        states = [node.stat(one) for one in (f"{tmp_path}/a", folder, path)]
        return node.done(tuple(f"{one.kind} {one.mode}" for one in states if one))

    dry = run(build, dry_run=True)
    assert dry.value == ("directory 755", "directory 750", "regular file 640")
    real = run(build)
    assert (real.value, real.effects, real.diff) == (dry.value, dry.effects, dry.diff)
    assert run(build).effects == tuple(f"set {tmp_path}/a/b/file: mode {mode}" for mode in ("0600", "0640"))


def test_a_link_and_its_target_are_one_file_in_a_dry_run(run: Run, tmp_path: Path) -> None:
    """What was written by one name is read by the other."""
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "file")

    def write(task: Task) -> Result[list[str | None]]:
        node = Node(task)
        node.write_file(f"{tmp_path}/link", "new")
        first = node.read_file(f"{tmp_path}/file")
        node.write_file(f"{tmp_path}/file", "newer")
        return node.done([first, node.read_file(f"{tmp_path}/link")])

    assert run(write, dry_run=True).value == ["new", "newer"]
    assert run(write).value == ["new", "newer"]


def test_a_command_does_not_read_what_a_dry_run_did_not_write(run: Run, tmp_path: Path) -> None:
    """One that names the file would see the old content: it is undecidable. One that names another is not."""
    path = tmp_path / "app.conf"
    path.write_text("old")

    def check(task: Task, *, named: str) -> Result[str]:
        node = Node(task)
        node.write_file(str(path), "new")
        return node.done(node.read(sh('cat -- "$1" 2>/dev/null || :', named)).text)

    dry = run(check, dry_run=True, named=str(path))
    assert (dry.value, f"write {path}" in dry.reason) == (None, True)
    assert run(check, dry_run=True, named=f"{path}.bak").value == ""
    assert run(check, named=str(path)).value == "new"


def test_a_change_whose_connection_does_not_open_was_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent: it stands neither in the report nor in the journal, and may be tried again."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    register_connections()
    nr = fleet({"db": ["one"]})
    nr.inventory.hosts["one"].hostname, nr.inventory.hosts["one"].port = "127.0.0.1", 1

    def act(task: Task) -> Result[None]:
        node = Node(task)
        node.change("systemctl", "restart", "mariadb")
        return node.done()

    report = Chain("c", Stage("s", [do(act)], everyone, retries=1)).run(nr)
    task = report.stage("s").host("one").tasks[0]
    assert (task.status, task.changed, task.effects, len(task.attempts)) == (Status.UNREACHABLE, False, (), 2)
    assert not [event for event in load_journal(report.run) if event["kind"] == "effect"]


@pytest.mark.parametrize("verb", ["change", "confirmed"])
@pytest.mark.parametrize("status", [Status.TIMED_OUT, Status.CANCELLED])
def test_nothing_is_sent_when_its_time_passed_while_the_connection_opened(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, status: Status
) -> None:
    """The gate is asked again right before the send: opening can take long, and Ctrl-C may come meanwhile."""
    made = tmp_path / "made"
    monkeypatch.setattr("nornir_stack.undo.arm", lambda _: f"touch {made}")

    def late(task: Task) -> Result[None]:
        node = Node(task)
        node.connection.close()
        door = door_of(task).narrowed(None, None)
        set_door(task, door)

        def slow(way: LocalWay, sudo: Sudo | None) -> Session:
            if status is Status.CANCELLED:
                task.nornir.data.cut.set()  # type: ignore[attr-defined]
            else:
                door.deadline = time.monotonic() - 1
            return Session(way, sudo)

        monkeypatch.setattr("nornir_stack.shell.Session", slow)
        node = Node(task)
        if verb == "change":
            node.change("touch", str(made))
        else:
            confirmed(node, [command("true")], undo=Network())
        return node.done()

    told = run(late)
    assert (told.status, made.exists()) == (status, False)
    assert f"before: {f'touch {made}' if verb == 'change' else 'confirmed within 60 s: true'}" in told.error


def test_what_ends_after_its_deadline_is_told_so(run: Run) -> None:
    """An API's call cannot be ended from here; what it did stands in the report all the same."""
    for verb, changed in (("look", False), ("effect", True)):

        def slow(task: Task, verb: str = verb) -> Result[None]:
            door = door_of(task).narrowed(0.05, None)
            set_door(task, door)
            node = Node(task)
            getattr(node.gate, verb)("ask the cloud", lambda: time.sleep(0.1))
            return node.done()

        told = run(slow)
        assert (told.status, told.changed) == (Status.TIMED_OUT, changed)
        assert told.error == "ended, but only after the deadline: ask the cloud"


@pytest.mark.parametrize(("wanted", "deadline"), [(60.0, -1.0), (0.0, 10.0), (-1.0, None), (0.0, None), (None, -1.0)])
def test_no_step_is_given_no_time_at_all(wanted: float | None, deadline: float | None) -> None:
    """0 seconds means for ever to many a library; no deadline and no wish still is none."""
    door = Door(deadline=None if deadline is None else time.monotonic() + deadline)
    assert door.remaining(wanted) == 0.01
    assert Door().remaining(None) is None
    assert Door().remaining(5) == 5
