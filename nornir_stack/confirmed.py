"""Changes to a node's network that undo themselves unless the node can still be reached: commit, confirmed."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack import files, undo
from nornir_stack.command import Command, command, sh
from nornir_stack.connections import connection
from nornir_stack.errors import ConnectionFailed, Locked, Refused, StackError, TimedOut, UndoFailed, Undone, UsageError
from nornir_stack.secret import Secret, mask, reveal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nornir_stack.command import Output
    from nornir_stack.node import Node
    from nornir_stack.shell import ShellConnection

    Judge = Callable[[Node], Sequence[str]]

SHORTEST = 3.0  # seconds; less than a login over a slow way takes
# What a login is given, again and again; twice as long where that was too short: over a line of 600 ms it takes 7 seconds.
_LOGIN_SECONDS, _LONGEST_LOGIN = 5.0, 20.0
_UNDO_SECONDS = 30.0  # what a node may take to restore itself, before it is called unreachable
_LONGEST_UNDO_SECONDS = 240.0  # beyond that, while it says that it is at it: its restoring commands have two minutes
_SEND_SECONDS = 20.0
_PAUSE = 0.2


@dataclass(frozen=True)
class File:
    """A step: `path` holds `content` then. It is saved and brought back without being named in `Network.files`."""

    path: str
    content: str | bytes | Secret
    mode: str = ""


@dataclass(frozen=True)
class Network:
    """What is brought back beside the node's links, addresses, routes, rules and packet filter, which always are.

    `files`: files and folders, absolute; one that was not there is taken away. `restore`: commands that run after the
    files are back, and after a reboot once the network is up (`command("networkctl", "reload")`).
    """

    files: Sequence[str] = ()
    restore: Sequence[Command] = ()


def confirmed(
    node: Node,
    steps: Sequence[Command | File],
    *,
    undo: Network = Network(),
    check: Judge | None = None,
    within: float = 60,
) -> None:
    """Change the node's network by `steps`; the node takes it back by itself unless this succeeds `within` seconds.

    The node saves its state and arms a timer, then does the steps apart from the connection, which they may cut. When they
    have ended, a new connection is opened and `check` asked for problems, until there are none; then the timer is
    disarmed. A step that fails ends it at once. A node that reboots meanwhile undoes it while it boots.
    In a dry run nothing is sent; the steps and the files' differences are written down.

    Raises Undone where the node has its former state again, UndoFailed where it could not bring back all of it,
    ConnectionFailed where neither could be seen, Refused where another change waits to be confirmed or the node has no
    systemd.
    """
    if within < SHORTEST:
        raise UsageError(f"within={within:g}: nobody can log in again in less than {SHORTEST:g} seconds")
    paths = [*undo.files, *(step.path for step in steps if isinstance(step, File))]
    if wrong := [path for path in paths if not path.startswith("/") or path.rstrip("/") == "" or "\n" in path]:
        raise UsageError(f"{wrong[0]!r} is no absolute path that could be saved")
    diff = _diff(node, steps)
    change = _change(node, steps, paths, undo.restore, within)
    what = f"confirmed within {within:g} s: " + "; ".join(step.line for step in change.steps)
    node.gate.effect(what, lambda: _Confirming(node, change, check).run(), ready=lambda: node.connection, diff=diff)


def _change(
    node: Node, steps: Sequence[Command | File], paths: Sequence[str], restore: Sequence[Command], within: float
) -> undo.Change:
    commands = [_written(step) if isinstance(step, File) else step for step in steps]
    about = f"a network change on {node.name} that waits up to {within:g} s to be confirmed, then undoes itself"
    return undo.Change(commands, list(dict.fromkeys(path.rstrip("/") for path in paths)), restore, within, about)


def _written(step: File) -> Command:
    return files.write(step.path, reveal(step.content), mode=step.mode, owner="", backup=False)


def _diff(node: Node, steps: Sequence[Command | File]) -> str:
    parts = []
    for step in steps:
        if isinstance(step, File):
            now = node.stat(step.path)
            parts.append(files.unified_diff(step.path, None if now is None else now.content, reveal(step.content)))
    lines = [f"+{step.line}\n" for step in steps if isinstance(step, Command)]
    if lines:
        parts += ["--- network\n+++ network\n", *lines]
    return "".join(parts)


@dataclass(frozen=True)
class _State:
    """What LOOK of undo printed: its `word`, the `status` with which the steps ended ('' before), what they `said`.

    `how` it was undone: `timer`, or `late`, after a reboot; `left`: what is not as before.
    """

    word: str
    status: str
    how: str
    left: str
    said: str


class _Confirming:
    """One change on its way. Times are those of the monotonic clock here; the node's timer starts after ours."""

    def __init__(self, node: Node, change: undo.Change, check: Judge | None) -> None:
        self._node, self._change, self._check = node, change, check
        self._what = f"confirm the network change on {node.name}, which undoes itself after {change.within:g} s"
        self._end = 0.0
        self._login = _LOGIN_SECONDS
        self._last = ""
        self._sent = False  # the confirmation; whether the node took it is known by its answer, or by looking

    def run(self) -> None:
        locks = self._arm()
        try:
            self._applied(locks)
            shell = self._again(locks)  # the login that counts: it began after the last step
            self._last = ""
            if not self._holds():
                self._ask(shell, undo.UNDO_NOW)
            else:
                self._sent = True
                if self._ask(shell, undo.CONFIRM).status == 0:
                    shell.run(command("true"))  # takes the lock that the timer kept for us
                    return
                self._last = "it was about to be confirmed when the time was up"
        except ConnectionFailed as error:
            self._last = self._last or str(error)
        self._explain(locks)

    def _arm(self) -> dict[str, str]:
        shell = self._node.gate.still(self._node.connection, self._what)
        locks = shell.locks
        script = undo.arm(self._change)
        self._end = time.monotonic() + self._change.within
        wanted = command("sh", stdin=script)
        try:
            output = shell.run(wanted, timeout=self._node.gate.remaining(max(_SEND_SECONDS, self._change.within)))
        except (ConnectionFailed, TimedOut) as error:  # it may have been armed: look
            self._last = str(error)
            return locks
        if output.status == undo.WAITING:
            raise Refused(f"another change waits to be confirmed, or to be undone, on {self._node.name}: {output.text}")
        if output.status == undo.NO_SYSTEMD:
            raise Refused(f"{self._node.name} does not run systemd, whose timer would undo the change: do it at its console")
        if not output.ok:
            raise Refused(
                f"the state of {self._node.name} could not be saved, and nothing was changed: {output.stderr.strip()}"
            )
        return locks

    def _applied(self, locks: dict[str, str]) -> None:
        """Wait until the steps have ended, by whatever connection tells. Raises ConnectionFailed at the end of the time."""
        shell = self._again(locks)
        while True:
            now = self._state(shell)
            if now.word not in {"waits", "arming"}:
                raise ConnectionFailed("the time was up")
            if now.status:
                return
            self._last = f"the steps did not end within {self._change.within:g} s"
            if time.monotonic() + _PAUSE > self._end:
                raise ConnectionFailed(self._last)
            self._pause()
            if not shell.alive:
                shell = self._again(locks)

    def _again(self, locks: dict[str, str]) -> ShellConnection:
        """A new connection with the locks of the old one. Raises ConnectionFailed at the end of the time."""
        host, config = self._node.host, self._node.task.nornir.config
        name = "local" if host.get("connection") == "local" else "ssh"
        with suppress(KeyError, StackError):
            host.connections[name].connection.close()
        while True:
            began = time.monotonic()
            wait = {"connect_timeout": max(min(self._login, self._end - began), 0.5)} if name == "ssh" else {}
            try:
                shell: ShellConnection = connection(host, name, config, **wait)
                for path, owner in locks.items():
                    shell.lock(path, owner)
            except ConnectionFailed as error:
                if time.monotonic() + _PAUSE > self._end:
                    raise
                self._last = f"nobody could log in again: {error}"
                if time.monotonic() - began >= self._login:
                    self._login = min(2 * self._login, _LONGEST_LOGIN)
                self._pause()
            else:
                return shell

    def _holds(self) -> bool:
        """Whether the check holds before the time is up."""
        while True:
            try:
                problems = list(self._check(self._node)) if self._check else []
            except StackError as error:
                problems = [str(error)]
            if not problems:
                return True
            self._last = "; ".join(problems)
            if time.monotonic() + _PAUSE > self._end:
                return False
            self._pause()

    def _pause(self) -> None:
        self._node.gate.wait(_PAUSE, self._what)

    def _ask(self, shell: ShellConnection, script: str) -> Output:
        try:
            return shell.run(sh(script, label="look at the network change"), timeout=_SEND_SECONDS)
        except TimedOut as error:  # the deadline of the task is looked at between two looks
            raise ConnectionFailed(str(error)) from None

    def _state(self, shell: ShellConnection) -> _State:
        first, _, said = self._ask(shell, undo.LOOK).stdout.partition("\n")
        word, status, how, left = [*first.split(None, 3), "", "", "", ""][:4]
        return _State(word, status.strip("-"), how, left.strip("; "), mask(said).strip()[-800:])

    def _explain(self, locks: dict[str, str]) -> None:
        """Wait until the node has restored itself, and raise Undone with why. Returns where it was confirmed after all."""
        self._end = max(self._end, time.monotonic()) + _UNDO_SECONDS
        last = self._end + _LONGEST_UNDO_SECONDS
        why, seen = self._last, ""
        while time.monotonic() < self._end:
            with suppress(ConnectionFailed):
                try:
                    shell = self._again(locks)
                except Locked as error:  # by another run: ours is over, however it ended
                    holder = f"{error.holder}; what became of the change of its network before is not known"
                    raise Locked(error.where, holder) from None
                now = self._state(shell)
                seen = now.word
                if seen == "undoing":
                    self._end = min(time.monotonic() + _UNDO_SECONDS, last)
                if self._sent and seen == "confirmed":
                    self._ask(shell, undo.CONFIRM)  # tidies up
                if self._sent and seen in {"confirmed", "none"}:
                    return
                if seen == "none":
                    raise Undone(f"{self._node.name} has its former network: the change was never begun: {mask(why)}")
                if seen == "undone":
                    self._tell(shell, now, why)
            self._pause()
        known = {"waits": "the change waits there, and nobody confirmed it", "undoing": "it was still at it"}.get(
            seen, "whether it did so is not known"
        )
        raise ConnectionFailed(
            f"{self._node.name} was not seen to undo the change of its network by itself within {_UNDO_SECONDS:g} s of the time"
            f" for it, and {known}: look at its console ({undo.STATE}). Before: {mask(why)}"
        )

    def _tell(self, shell: ShellConnection, now: _State, why: str) -> None:
        """Raise what came of an undo that has ended."""
        if now.status not in {"", "0"}:
            why = f"a step ended with status {now.status}: {now.said}"
        elif now.how == "late":
            why = "it was restarted before the change was confirmed"
        if now.left:
            raise UndoFailed(
                f"{self._node.name} could not take back all of the change of its network: {mask(now.left)}: see"
                f" {undo.RECORD}/log there. It was undone because: {mask(why)}"
            )
        self._ask(shell, undo.TIDY)
        raise Undone(f"{self._node.name} has its former network again: {mask(why)}")
