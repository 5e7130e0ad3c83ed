"""One persistent shell: whatever commands do, the next one answers right."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nornir_stack import nodelock
from nornir_stack.command import Command, command, sh
from nornir_stack.connections.local import LocalWay
from nornir_stack.errors import Cancelled, ConnectionFailed, ConnectionLost, Locked, LoginRefused, TimedOut
from nornir_stack.framing import INLINE_STDIN
from nornir_stack.secret import Secret
from nornir_stack.session import Session, Sudo
from nornir_stack.shell import ShellConnection
from tests.unit.shells import KINDS, runs, shell_by, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=KINDS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShellConnection]:
    with shell_by(request.param, tmp_path_factory.mktemp("ssh")) as opened:
        yield opened


def answers(shell: ShellConnection) -> bool:
    """The probe: the shell tells both streams, the status and its folder as it should."""
    probe = shell.run(sh("printf out; printf err >&2; test $PWD = / && exit 3"), timeout=10)
    return (probe.out, probe.err, probe.status) == (b"out", b"err", 3)


NASTY = {
    "exits": ("exit 7", 7),
    "replaces itself": ("exec true", 0),
    "leaves its folder": ("cd /tmp; unset PATH; set -e; umask 777; trap '' TERM", 0),
    "reads stdin to its end": ("cat; read x; head -c 10; true", 0),
    "kills itself": ("kill -KILL $$", 137),
    "kills its group": ("kill -TERM 0; sleep 10", 143),
    "outlives what it sends to its group": ("trap '' TERM; kill -TERM 0; kill -TERM 0; sleep 0.1; exit 5", 5),
    "does something else when its group is signalled": ("trap 'exit 8' USR1; kill -USR1 0; sleep 10", 8),
    "closes its streams": ("exec >&- 2>&- <&-; exit 4", 4),
    "leaves a quiet background process": ("sleep 3 >/dev/null 2>&1 &", 0),
    "leaves a loud background process": ("(sleep 0.05; echo late; echo late >&2; sleep 0.2; echo later) & exit 6", 6),
    "leaves a loud daemon in a session of its own": ("setsid sh -c 'sleep 0.05; echo late; sleep 0.2; echo later' & exit 6", 6),
    "leaves a process that floods": ("yes & exit 2", 2),
    "ignores all signals": ("trap '' HUP INT TERM PIPE; exit 9", 9),
    "looks for open files": ("echo exit >&0; echo exit >&3; true", 0),
}


@pytest.mark.parametrize("name", NASTY)
def test_command_cannot_end_or_poison_the_shell(shell: ShellConnection, name: str) -> None:
    """Whatever a command does to itself, its status is told and the next ones answer right."""
    script, status = NASTY[name]
    assert shell.run(sh(script), timeout=10).status == status
    for _ in range(3):
        assert answers(shell)


@pytest.mark.parametrize("stdin", [None, "few", "x" * (INLINE_STDIN + 1)], ids=["none", "inline", "streamed"])
@pytest.mark.parametrize("signal", ["TERM", "KILL", "SEGV"])
def test_what_the_shell_says_of_a_command_that_was_killed_is_no_output_of_it(
    shell: ShellConnection, signal: str, stdin: str | None
) -> None:
    """Its stderr has its own words and not the shell's `Killed`."""
    output = shell.run(sh('echo mine >&2; kill "-$1" $$', signal, stdin=stdin), timeout=10)
    assert (output.out, output.err, output.status > 128) == (b"", b"mine\n", True)


def test_output_of_a_command_that_leaves_a_process_is_what_came_until_it_ended(shell: ShellConnection) -> None:
    """Late output is nobody's: neither this command's nor the next one's."""
    output = shell.run(sh("(sleep 0.05; echo late) & echo now"), timeout=10)
    assert (output.out, output.status) == (b"now\n", 0)


def test_background_process_is_not_killed(shell: ShellConnection) -> None:
    """A daemon that a command started lives on when the next commands run."""
    pid = int(shell.run(sh("sleep 30 >/dev/null 2>&1 & echo $!"), timeout=10).text)
    assert answers(shell)
    assert runs(pid)
    shell.run(command("kill", str(pid)), timeout=10)


@pytest.mark.parametrize("stdin", [None, "few"], ids=["none", "inline"])
def test_a_command_that_signals_its_group_ends_no_shell(shell: ShellConnection, stdin: str | None) -> None:
    """What can be caught hits the command alone, whose status tells it; the shell is the same one as before.

    Not HUP: whoever runs the tests by nohup has them ignore it, and nothing that ignores a signal from its start can take it.
    """
    same = shell.run(sh("echo $PPID"), timeout=10).text
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGTERM):
        assert shell.run(sh('kill "-$1" 0; sleep 10', str(int(number)), stdin=stdin), timeout=10).status == 128 + number
        assert shell.run(sh("echo $PPID"), timeout=10).text == same


def test_what_an_earlier_command_left_outlives_the_end_of_a_later_one(shell: ShellConnection, tmp_path: Path) -> None:
    """A daemon in the shell's session is older than the command that is ended, and what it starts is no doing of that one."""
    script = """
        cd "$1"
        { >up; until [ -e flag ]; do sleep 0.05; done; >began; sleep 30; :; } >/dev/null 2>&1 &
        until [ -e up ]; do sleep 0.05; done
        echo $! $PPID
    """
    pid, same = map(int, shell.run(sh(script, str(tmp_path)), timeout=10).text.split())
    assert int(shell.run(sh("echo $PPID"), timeout=10).text) == same
    with pytest.raises(TimedOut, match="and was ended"):
        shell.run(sh('cd "$1"; >flag; until [ -e began ]; do sleep 0.05; done; sleep 60 & sleep 61', str(tmp_path)), timeout=1)
    assert (tmp_path / "began").exists()
    with pytest.raises(TimedOut, match="and was ended"):
        shell.run(sh("sleep 60", stdin="x" * (INLINE_STDIN + 1)), timeout=0.2)
    assert runs(pid)
    shell.run(command("kill", str(pid)), timeout=10)


def test_words_arrive_as_they_are(shell: ShellConnection) -> None:
    """No shell reads argv: quotes, newlines, globs, empty words and bytes that are no UTF-8 pass untouched."""
    words = ("", " ", "'", '"', "$HOME", "*", "a\nb", "\\n", "-n", "\udcff\udc80", "ä", "!x", "`id`")
    output = shell.run(command("printf", "%s\\0", *words), timeout=10)
    assert output.out.split(b"\0")[:-1] == [word.encode("utf-8", "surrogateescape") for word in words]


def test_unknown_command_ends_with_127(shell: ShellConnection) -> None:
    """As in any shell."""
    assert shell.run(command("no-such-command"), timeout=10).status == 127


@pytest.mark.parametrize("size", [1, INLINE_STDIN, INLINE_STDIN + 1, 20_000_000])
def test_stdin_arrives_byte_for_byte(shell: ShellConnection, size: int) -> None:
    """Every byte value, in any amount."""
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    output = shell.run(Command(("cat",), data), timeout=60)
    assert output.out == data
    assert answers(shell)


@pytest.mark.parametrize("size", [100, INLINE_STDIN + 1, 5_000_000])
def test_stdin_that_nobody_reads_does_no_harm(shell: ShellConnection, size: int) -> None:
    """What is left of it never reaches the shell as commands."""
    assert shell.run(Command(("true",), b"touch /tmp/poisoned; exit\n" * (size // 26 + 1)), timeout=60).status == 0
    assert shell.run(sh("head -c 3; exit 5", stdin=b"abcdef" * size), timeout=60).out == b"abc"
    assert answers(shell)
    assert not Path("/tmp/poisoned").exists()  # noqa: S108  it must not be


def test_secret_in_stdin_is_in_no_process_list(shell: ShellConnection) -> None:
    """A secret reaches the command by stdin and stands in no argv and no environment."""
    secret = Secret(literal="tr0ub4dor" + "x")
    script = """
        read -r s
        all=$(cat /proc/[0-9]*/cmdline /proc/self/environ /proc/$PPID/environ 2>/dev/null | tr '\\0' ' ')
        case $all in *"$s"*) echo seen ;; *) echo "hidden $s" ;; esac
    """
    assert shell.run(sh(script, stdin=secret), timeout=20).text == "hidden tr0ub4dorx"


def test_command_does_not_see_the_mark(shell: ShellConnection) -> None:
    """What frames the output stands neither in argv nor in the environment of the command or of the shell."""
    output = shell.run(sh("cat /proc/$$/cmdline /proc/$$/environ /proc/$PPID/environ | tr '\\0' '\\n'"), timeout=10)
    assert not [line for line in output.lines if len(line) >= 32 and set(line) <= set("0123456789abcdef")]


def test_fifty_megabytes_with_both_streams(shell: ShellConnection) -> None:
    """A long output is whole, and both streams at once do not block each other."""
    output = shell.run(sh("head -c 50000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait"), timeout=60)
    assert (len(output.out), len(output.err)) == (50_000_000, 3_000_000)
    assert answers(shell)


def test_environment_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A known locale (C, with UTF-8 for characters) whatever the login sets, sbin in PATH, no frontend set, the root folder."""
    for name in ("LC_ALL", "LC_MESSAGES", "LC_NUMERIC", "LANG", "LANGUAGE"):
        monkeypatch.setenv(name, "de_DE.UTF-8")
    shell = ShellConnection(LocalWay())
    output = shell.run(sh('echo "$PWD ${DEBIAN_FRONTEND-unset}"; echo "$PATH"; env | grep -E "^(LANG|LC_)" | sort'), timeout=10)
    shell.close()
    assert output.lines[0] == "/ unset"
    assert "/usr/sbin" in output.lines[1].split(":")
    assert output.lines[2:] in (["LANG=C", "LC_CTYPE=C.UTF-8"], ["LANG=C", "LC_CTYPE=C"])


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60",
        "sleep 60 & sleep 61",
        "kill -STOP $$; sleep 60",
        "kill -STOP 0; sleep 60",
        "trap '' TERM; sleep 60 & wait; wait; sleep 60",
    ],
)
def test_timeout_ends_the_command_and_not_the_connection(shell: ShellConnection, tmp_path: Path, script: str) -> None:
    """TimedOut names the command; every process of it is gone; the connection answers."""
    pids = tmp_path / "pids"
    with pytest.raises(TimedOut, match="sleep 60"):
        shell.run(sh(f"echo $$ >{pids}; {script}"), timeout=0.3)
    assert not runs(int(pids.read_text("utf-8")))
    assert answers(shell)
    assert shell.alive


def test_timeout_ends_processes_in_groups_of_their_own(shell: ShellConnection, tmp_path: Path) -> None:
    """A process that left the group but not the session is ended too."""
    pid = tmp_path / "pid"
    with pytest.raises(TimedOut):
        shell.run(sh(f"set -m; sleep 60 & echo $! >{pid}; wait"), timeout=0.3)
    assert not runs(int(pid.read_text("utf-8")))
    assert answers(shell)


def test_timeout_while_stdin_is_not_read(shell: ShellConnection) -> None:
    """A command that hangs before it read its stdin is ended like any other."""
    with pytest.raises(TimedOut):
        shell.run(Command(("sleep", "60"), b"x" * 1_000_000), timeout=0.3)
    assert answers(shell)


def test_timeout_does_not_show_stdin(shell: ShellConnection) -> None:
    """The error names the command line and never its stdin."""
    with pytest.raises(TimedOut) as caught:
        shell.run(Command(("sleep", "60"), b"hunter22"), timeout=0.2)
    assert "hunter22" not in str(caught.value)


def test_interrupt_ends_the_command(shell: ShellConnection, tmp_path: Path) -> None:
    """`run` raises Cancelled, the process is gone, the next command runs; idle, an interrupt does nothing."""
    pid = tmp_path / "pid"
    shell.interrupt()

    def interrupt() -> None:
        until(lambda: pid.exists() and pid.read_text("utf-8"))
        shell.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Cancelled):
        shell.run(sh(f"echo $$ >{pid}; exec sleep 60"), timeout=30)
    thread.join()
    assert not runs(int(pid.read_text("utf-8")))
    assert answers(shell)


def test_a_killed_shell_is_replaced(shell: ShellConnection) -> None:
    """The command in flight raises ConnectionLost, which says that it may still run; the next one has a new shell."""
    with pytest.raises(ConnectionLost, match="may still run"):
        shell.run(sh("kill -KILL $PPID; sleep 0.1"), timeout=10)
    assert answers(shell)


def test_threads_take_turns(shell: ShellConnection) -> None:
    """Every thread gets its own command's output."""
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        found[number] = shell.run(command("echo", str(number)), timeout=30).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: str(number) for number in range(20)}


def test_waiting_for_a_turn_is_part_of_the_timeout(shell: ShellConnection, tmp_path: Path) -> None:
    """A busy connection does not hold a caller beyond its timeout."""
    begun, go = tmp_path / "begun", tmp_path / "go"
    busy = sh(f"echo x >{begun}; until [ -e {go} ]; do sleep 0.05; done")
    thread = threading.Thread(target=lambda: shell.run(busy, timeout=60))
    thread.start()
    until(begun.exists)
    with pytest.raises(TimedOut, match="was not begun"):
        shell.run(command("true"), timeout=0.1)
    assert thread.is_alive()
    go.touch()
    thread.join()


# to become root

SUDO = """#!/bin/sh
# asks as sudo -S does, for: sudo -S -p PROMPT -- COMMAND...
[ "$1" = -n ] && { echo "sudo: a password is required" >&2; exit 1; }
for try in 1 2 3; do
    printf %s "$3" >&2
    read -r given
    [ "$given" = swordfish ] && { shift 4; exec "$@"; }
    echo "Sorry, try again." >&2
done
exit 1
"""


@pytest.fixture
def sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sudo"
    program.write_text(SUDO, "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("sudo")
def test_sudo_gets_its_password_when_it_asks() -> None:
    """The password goes to sudo's prompt; then the shell answers as any other."""
    shell = ShellConnection(LocalWay(), Sudo("swordfish"))
    assert answers(shell)
    shell.close()


@pytest.mark.usefixtures("sudo")
@pytest.mark.parametrize(("password", "why"), [("trout5", "refused the password"), (None, "wants a password")])
def test_sudo_that_refuses_is_a_refused_login(password: str | None, why: str) -> None:
    """A wrong password is given once; a missing one is asked for by no prompt. The message does not hold it."""
    with pytest.raises(LoginRefused, match=why) as caught:
        ShellConnection(LocalWay(), Sudo(password))
    assert "trout5" not in str(caught.value)


def test_sudo_that_does_not_ask_never_passes_the_password_to_the_shell(sudo: None, tmp_path: Path) -> None:
    """Where sudo needs no password, none is written: the shell would take it for a command."""
    (tmp_path / "sudo").write_text('#!/bin/sh\nshift 4; exec "$@"\n', "utf-8")
    shell = ShellConnection(LocalWay(), Sudo("echo poisoned >&2"))
    assert answers(shell)
    shell.close()


@pytest.mark.parametrize("kind", ["timeout", "interrupt"])
def test_a_command_that_could_not_be_ended_may_still_run(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Where the second shell that ends it cannot be had, and the first tells nothing, nobody knows."""
    shell = ShellConnection(LocalWay())

    def none(*_: object) -> Session:
        raise ConnectionFailed("no second shell")

    monkeypatch.setattr("nornir_stack.shell.Session", none)
    monkeypatch.setattr("nornir_stack.shell._FRAME_SECONDS", 0.1)
    if kind == "interrupt":
        threading.Timer(0.2, shell.interrupt).start()
    kinds = {"timeout": TimedOut, "interrupt": Cancelled}
    with pytest.raises(kinds[kind], match="and may still run there: it could not be ended"):
        shell.run(command("sleep", "2"), timeout=0.1 if kind == "timeout" else 10)
    shell.close()


# locks


@pytest.fixture
def other() -> Iterator[ShellConnection]:
    opened = ShellConnection(LocalWay())
    yield opened
    opened.close()


def test_lock_is_held_against_others_until_it_is_given_back(
    shell: ShellConnection, other: ShellConnection, tmp_path: Path
) -> None:
    """The loser is told who holds it; after `unlock` it wins."""
    path = str(tmp_path / "lock")
    shell.lock(path, "ann for run 1")
    shell.lock(path, "ann for run 1")
    with pytest.raises(Locked, match="ann for run 1"):
        other.lock(path, "bob for run 2")
    with pytest.raises(Locked, match="ann for run 1"):
        shell.lock(path, "ann for run 3")
    shell.unlock(path)
    other.lock(path, "bob for run 2")
    assert Path(path).read_text("utf-8") == "bob for run 2\n"
    other.unlock(path)


def test_lock_outlives_its_connection_while_a_command_runs(shell: ShellConnection, tmp_path: Path) -> None:
    """A command that outlives its controller still holds the lock; when it ends, the lock is free."""
    path = str(tmp_path / "lock")
    killed = ShellConnection(LocalWay())
    killed.lock(path, "ann")
    pid = int(killed.run(sh("sleep 60 >/dev/null 2>&1 & echo $!"), timeout=10).text)
    killed.close()
    with pytest.raises(Locked, match="ann"):
        shell.lock(path, "bob")
    shell.run(command("kill", str(pid)), timeout=10)
    until(lambda: not runs(pid))
    shell.lock(path, "bob")
    shell.unlock(path)


def test_unlock_frees_it_from_processes_left_behind(shell: ShellConnection, other: ShellConnection, tmp_path: Path) -> None:
    """A daemon that a command started does not hold the lock for ever."""
    path = str(tmp_path / "lock")
    shell.lock(path, "ann")
    pid = shell.run(sh("sleep 60 >/dev/null 2>&1 & echo $!"), timeout=10).text
    shell.unlock(path)
    other.lock(path, "bob")
    other.unlock(path)
    shell.run(command("kill", pid), timeout=10)


def test_a_replaced_shell_takes_its_locks_again(shell: ShellConnection, other: ShellConnection, tmp_path: Path) -> None:
    """Also where a leftover of ours still holds it: the lock stays ours, and becomes the new shell's when that ends."""
    path = str(tmp_path / "lock")
    shell.lock(path, "ann")
    pid = int(shell.run(sh("sleep 60 & echo $!"), timeout=10).text)
    with pytest.raises(Locked, match="ann"):
        other.lock(path, "bob")
    shell.run(command("kill", str(pid)), timeout=10)
    until(lambda: not runs(pid))
    assert answers(shell)
    with pytest.raises(Locked, match="ann"):
        other.lock(path, "bob")
    shell.unlock(path)


def test_a_lock_that_was_lost_stops_everything(shell: ShellConnection, other: ShellConnection, tmp_path: Path) -> None:
    """Where another took the lock while our shell was gone, no further command of ours runs."""
    path = str(tmp_path / "lock")
    shell.lock(path, "ann")
    with pytest.raises(ConnectionLost):
        shell.run(sh("kill -KILL $PPID; exec 9>&- 8>&-"), timeout=10)
    until(lambda: _locked(other, path))
    for _ in range(2):
        with pytest.raises(Locked, match="bob"):
            shell.run(command("true"), timeout=10)
    other.unlock(path)
    assert answers(shell)
    shell.unlock(path)


def _locked(shell: ShellConnection, path: str) -> bool:
    try:
        shell.lock(path, "bob")
    except Locked:
        return False
    return True


def test_a_lock_is_broken_by_name(shell: ShellConnection, other: ShellConnection, tmp_path: Path) -> None:
    """It tells who held it; the next one wins; the broken holder's `unlock` does not touch the new lock."""
    path = str(tmp_path / "lock")
    other.lock(path, "bob")
    assert shell.break_lock(path) == "bob"
    shell.lock(path, "ann")
    other.unlock(path)
    assert Path(path).read_text("utf-8") == "ann\n"
    shell.unlock(path)


def test_a_name_that_a_dead_run_left_is_not_the_holders(
    shell: ShellConnection, other: ShellConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The winner writes its name a moment after it won: a loser who is quicker reads the one before."""
    path = tmp_path / "lock"
    other.lock(str(path), "bob")
    path.write_text("dead\n", "utf-8")
    monkeypatch.setattr(nodelock, "_TAKE", nodelock._TAKE.replace("sleep 0.05", "echo bob >{path}"))
    with pytest.raises(Locked, match="is locked by bob"):
        shell.lock(str(path), "ann")
    other.unlock(str(path))


def test_unlock_leaves_a_lock_that_is_anothers_by_now(shell: ShellConnection, other: ShellConnection, tmp_path: Path) -> None:
    """Where only a leftover of ours held it, it was broken and taken by another: that one's file stays, and stays held."""
    path = str(tmp_path / "lock")
    shell.lock(path, "ann")
    pid = shell.run(sh("sleep 60 & echo $!"), timeout=10).text  # loud: it has this shell replaced
    other.break_lock(path)
    other.lock(path, "bob")
    shell.unlock(path)
    assert Path(path).read_text("utf-8") == "bob\n"
    with pytest.raises(Locked, match="bob"):
        shell.lock(path, "ann")
    other.unlock(path)
    shell.run(command("kill", pid), timeout=10)


def test_unlock_frees_it_from_a_leftover_that_has_it_alone(
    shell: ShellConnection, other: ShellConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Except while the node itself holds it for a network change that waits to be confirmed."""
    waiting = tmp_path / "undo"
    monkeypatch.setattr("nornir_stack.nodelock.STATE", str(waiting))
    path = str(tmp_path / "lock")
    for held in (True, False):
        waiting.mkdir() if held else waiting.rmdir()
        shell.lock(path, "ann")
        pid = shell.run(sh("sleep 60 & echo $!"), timeout=10).text
        shell.unlock(path)
        assert _locked(other, path) is not held
        other.unlock(path)
        shell.run(command("kill", pid), timeout=10)
        until(lambda: not runs(int(pid)))  # noqa: B023  it is called at once
