"""A handle to a shell on a node: one persistent `sh` that runs one command at a time, whatever the commands do."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from nornir_stack import nodelock
from nornir_stack.command import Command, Output
from nornir_stack.errors import Cancelled, ConnectionFailed, ConnectionLost, Locked, StackError, TimedOut
from nornir_stack.framing import INLINE_STDIN, Reply, command_script, end_script, nonce, shell_script
from nornir_stack.secret import reveal
from nornir_stack.session import OPEN_SECONDS, Session

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from nornir_stack.session import Call, Sudo, Way

_END_SECONDS = 20.0  # for the second shell that ends a command: up to three to find it, and two by design until it kills
_FRAME_SECONDS = 5.0  # for the frame of a command that was just ended


class ShellConnection:
    """A node's shell. `run` returns every exit status; judging is the caller's.

    `facts` is a cache that dies with the connection; `root` tells whether commands run as root, `by_sudo` how.
    """

    def __init__(self, way: Way, sudo: Sudo | None = None) -> None:
        self._way, self._sudo = way, sudo
        self._turn = threading.RLock()
        self._locks = nodelock.Held()
        self._running: Call | None = None
        self._interrupted = False
        self._closed = False
        self.facts: dict[str, object] = {}
        try:
            self._session: Session | None = Session(way, sudo)
        except BaseException:
            way.close()
            raise
        self.root = self._session.uid == 0
        self.by_sudo = sudo is not None

    @property
    def alive(self) -> bool:
        """False once the connection is lost or closed: then open another."""
        return not self._closed and self._way.alive

    def run(self, command: Command, *, timeout: float | None = None, before: Callable[[], None] | None = None) -> Output:
        """Run one command; others that ask meanwhile wait for their turn. `timeout` in seconds, the wait included.

        `before` is called last of all before it is sent; what it raises keeps it from being sent.
        Raises TimedOut (the message says whether the command was ended; the connection lives), Cancelled (by `interrupt`),
        ConnectionLost.
        """
        started = time.monotonic()
        with self._my_turn(command.line, timeout):
            stdin = reveal(command.stdin)
            mark = nonce()
            script = command_script(command.argv, stdin, mark)
            self._interrupted = False
            left = None if timeout is None else max(timeout - (time.monotonic() - started), 0.0)
            reply = self._exchange(script, mark, stdin if len(stdin) > INLINE_STDIN else b"", left, command.line, before)
            if reply.left:
                self._replace()
            return Output(command, reply.status, reply.out, reply.err, time.monotonic() - started)

    def interrupt(self) -> None:
        """End what runs now; its `run` raises Cancelled. Returns at once; nothing runs: nothing happens."""
        call = self._running
        if call is not None:
            self._interrupted = True
            call.woken.set()

    def open_socket(self, target: str | tuple[str, int]) -> socket.socket:
        """A connected stream socket to a unix socket (a path) or a TCP port (host, port) as the node sees it.

        Raises ConnectionFailed where nothing listens.
        """
        return self._way.open_socket(target)

    def close(self) -> None:
        """End the connection. What runs is not ended; background processes live on."""
        self._closed = True
        if self._session is not None:
            self._session.close()
        self._way.close()

    # locks: see nodelock

    def lock(self, path: str, owner: str) -> None:
        """Hold the lock file `path` on the node in the name of `owner` (one line). Commands run from here inherit it.

        Raises Locked, which names the holder. Held by this connection for the same owner already: nothing to do.
        """
        with self._my_turn(f"lock {path}", None):
            held = self._locks.owners.get(path)
            if held is not None and held != owner:
                raise Locked(f"{self._way.name}:{path}", held)
            if held is None:
                try:
                    self._take(path, owner)
                except StackError:
                    self._locks.forget(path)
                    raise

    def unlock(self, path: str) -> None:
        """Give the lock back, also where a process that a command left behind still has it open."""
        with self._my_turn(f"unlock {path}", None):
            if owner := self._locks.owners.get(path):
                self._script(nodelock.give(path, owner, self._locks.forget(path)))

    def break_lock(self, path: str) -> str:
        """Take away a stale lock of somebody else: the file is replaced, nothing is killed. Returns who held it."""
        with self._my_turn(f"break lock {path}", None):
            return self._script(nodelock.remove(path)).out.decode("utf-8", "replace").strip()

    @property
    def locks(self) -> dict[str, str]:
        """What this connection holds: path to owner."""
        return dict(self._locks.owners)

    def _take(self, path: str, owner: str) -> None:
        reply = self._script(nodelock.take(path, owner, self._locks.descriptor(path)))
        holder = reply.out.decode("utf-8", "replace").strip()
        if reply.status == nodelock.HELD and holder == owner:
            self._locks.keep(path, owner, firm=False)  # a process that a command of ours left behind still has it
        elif reply.status == nodelock.HELD:
            raise Locked(f"{self._way.name}:{path}", holder or "somebody who did not write down a name")
        elif reply.status:
            said = reply.err.decode("utf-8", "replace").strip()
            raise ConnectionFailed(f"{self._way.name}: the lock file {path} cannot be made: {said}")
        else:
            self._locks.keep(path, owner, firm=True)

    # the session

    @contextmanager
    def _my_turn(self, what: str, timeout: float | None) -> Iterator[None]:
        if not self._turn.acquire(timeout=-1 if timeout is None else timeout):
            raise TimedOut(f"`{what}` was not begun within {timeout:g} s: the connection was busy with other commands")
        try:
            yield
        finally:
            self._turn.release()

    def _script(self, script: str) -> Reply:
        mark = nonce()
        return self._exchange(shell_script(script, mark), mark, b"", OPEN_SECONDS, "lock")

    def _exchange(  # noqa: PLR0917  private
        self, script: bytes, mark: str, stdin: bytes, timeout: float | None, line: str, before: Callable[[], None] | None = None
    ) -> Reply:
        session = self._ready()
        if before is not None:
            before()
        call, reply = session.exchange(script, mark, stdin)
        self._running = call
        try:
            call.woken.wait(timeout)
        except BaseException:  # Ctrl-C in the thread that waits
            self._end(session, call, reply)
            raise
        finally:
            self._running = None
        if call.done:
            return reply
        if session.ended:
            self._drop()
            raise ConnectionLost(self._lost(line))
        ended = "and was ended" if self._end(session, call, reply) else "and may still run there: it could not be ended"
        if self._interrupted:
            raise Cancelled(f"`{line}` was interrupted on {self._way.name} {ended}")
        raise TimedOut(f"`{line}` did not end within {timeout:.3g} s on {self._way.name} {ended}")

    def _lost(self, line: str) -> str:
        what = "the shell there was ended" if self._way.alive else "the connection was lost"
        return f"{self._way.name}: {what} while `{line}` ran: it may still run on the node"

    def _ready(self) -> Session:
        """The shell, a new one if it is gone; with the locks that the old one held."""
        if not self.alive:
            raise ConnectionLost(f"{self._way.name}: the connection is closed")
        if self._session is None or self._session.ended:
            self._drop()
            self._session = Session(self._way, self._sudo)
            self._locks.loosen()
        for path, owner in self._locks.loose():
            self._locks.keep(path, owner, firm=True)  # asks for it once, and not again from within
            try:
                self._take(path, owner)
            except StackError:
                self._locks.keep(path, owner, firm=False)  # until it is ours again or given back, nothing runs
                raise
        return self._session

    def _replace(self) -> None:
        """Leave a shell into whose streams something may still write."""
        self._drop()
        if self._locks.owners:
            with suppress(ConnectionFailed, Locked):
                self._ready()  # now, so that nobody takes the lock meanwhile; what fails is raised by the next command

    def _drop(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _end(self, session: Session, call: Call, reply: Reply) -> bool:
        """End the command on the node through a second shell; where the first does not recover, replace it.

        True if it is known to have ended: the first shell told it.
        """
        if self.alive and not session.ended:
            with suppress(ConnectionFailed):
                aside = Session(self._way, self._sudo)
                script = end_script(session.pid, streamed=call.streamed)
                ending, _ = aside.exchange(shell_script(script, mark := nonce()), mark)
                ending.woken.wait(_END_SECONDS)
                aside.close()
        call.woken.clear()
        if not call.done and not session.ended:
            call.woken.wait(_FRAME_SECONDS)
        ended = call.done
        if not ended or reply.left:
            self._replace()
        return ended
