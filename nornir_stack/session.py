"""One running `sh` on a node: how it is started, as root where wanted, and one exchange with it after the other."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from nornir_stack.errors import ConnectionFailed, LoginRefused
from nornir_stack.framing import PRELUDE, STDIN_END, Reply, nonce, shell_script
from nornir_stack.secret import Secret, mask, reveal

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

OPEN_SECONDS = 30.0  # for a shell on a connection that stands; sudo may ask a directory service, and a node be slow
_PIECE = 1 << 18


class Pipe(Protocol):
    """What a started program is to us. Both may be called from any thread."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class Way(Protocol):
    """How a node is reached: a connection on which programs can be started."""

    name: str

    @property
    def alive(self) -> bool: ...
    def start(self, line: str, received: Callable[[bytes, bool], None], ended: Callable[[], None]) -> Pipe:
        """Start a shell command line in a session of its own, as sshd does.

        `received(data, stderr)` and `ended()` are called from the loop's thread.
        """

    def open_socket(self, target: str | tuple[str, int]) -> socket.socket: ...
    def close(self) -> None: ...


class Sudo:
    """To become root by sudo, with a password where the node wants one."""

    def __init__(self, password: str | Secret | None = None) -> None:
        self.password = Secret(literal=password) if isinstance(password, str) else password


class Call:
    """One exchange with a shell: who waits for it is woken when it is complete, lost or interrupted."""

    def __init__(self, complete: Callable[[bytes, bool], bool], stdin: bytes = b"") -> None:
        self.complete = complete
        self.stdin = stdin
        self.streamed = bool(stdin)
        self.woken = threading.Event()
        self.done = False


class Session:
    """One `sh` and its two streams. Raises ConnectionFailed or LoginRefused where none can be started."""

    def __init__(self, way: Way, sudo: Sudo | None) -> None:
        self._way = way
        self.ended = False
        mark = nonce()
        self._hello = _Hello(mark)
        self._call = Call(self._hello.complete)
        prefix = "" if sudo is None else f"sudo -S -p {self._hello.prompt} -- " if sudo.password else "sudo -n -- "
        self._pipe = way.start(f"exec {prefix}sh -c 'echo {mark}; exec sh'", self._received, self._lost)
        try:
            self._await(self._call, sudo)
            if not self._hello.ready:
                self._answer(sudo)
            ready, reply = self.exchange(PRELUDE.encode() + shell_script('echo "$$ $(id -u)"', mark := nonce()), mark)
            self._await(ready, None)
        except BaseException:
            self.close()
            raise
        self.pid, self.uid = map(int, reply.out.split())

    def _await(self, call: Call, sudo: Sudo | None) -> None:
        if not call.woken.wait(OPEN_SECONDS) or not call.done:
            raise _refused(self._way.name, sudo, self._hello.said)

    def _answer(self, sudo: Sudo | None) -> None:
        """sudo asked: give the password, once."""
        self._call = Call(self._hello.complete)
        self._pipe.write(reveal(sudo.password if sudo else None) + b"\n")
        self._await(self._call, sudo)
        if not self._hello.ready:
            raise _refused(self._way.name, sudo, self._hello.said)

    def exchange(self, script: bytes, mark: str, stdin: bytes = b"") -> tuple[Call, Reply]:
        """Send a script; its reply is complete once the call is woken and done."""
        reply = Reply(mark, streamed=bool(stdin))
        call = Call(lambda data, stderr: self._feed(reply, data, stderr=stderr), stdin)
        self._call = call
        self._pipe.write(script)
        if self.ended:
            call.woken.set()
        return call, reply

    def _feed(self, reply: Reply, data: bytes, *, stderr: bool) -> bool:
        done = reply.feed(data, stderr=stderr)
        if reply.began and self._call.stdin:
            stdin, self._call.stdin = self._call.stdin, b""
            for at in range(0, len(stdin), _PIECE):
                self._pipe.write(stdin[at : at + _PIECE])
            self._pipe.write(STDIN_END)
        return done

    def _received(self, data: bytes, stderr: bool) -> None:
        call = self._call
        if not call.done and call.complete(data, stderr):
            call.done = True
            call.woken.set()

    def _lost(self) -> None:
        self.ended = True
        self._call.woken.set()

    def close(self) -> None:
        self.ended = True
        self._pipe.close()


class _Hello:
    """Waits for the first word of the shell, behind whatever a login prints, or for sudo's next prompt."""

    def __init__(self, mark: str) -> None:
        self.prompt = f"{mark}p"
        self._word = f"{mark}\n".encode()
        self._streams = (bytearray(), bytearray())
        self._asked = 0

    @property
    def ready(self) -> bool:
        return self._word in self._streams[0]

    @property
    def said(self) -> str:
        """What was printed instead of a shell's first word."""
        text = b" ".join(self._streams[::-1]).decode("utf-8", "replace").replace(self.prompt, "")
        return " ".join(mask(text).split())[-300:]

    def complete(self, data: bytes, stderr: bool) -> bool:
        self._streams[stderr].extend(data)
        before, self._asked = self._asked, self._streams[1].count(self.prompt.encode())
        return self.ready or self._asked > before


def _refused(where: str, sudo: Sudo | None, said: str) -> ConnectionFailed:
    if sudo is None:
        return ConnectionFailed(f"{where}: no POSIX shell could be started there{said and ': '}{said}")
    how = "sudo refused the password" if sudo.password else "sudo wants a password or is not allowed"
    what = "set sudo_password, or let this login use sudo without one"
    return LoginRefused(f"{where}: could not become root: {how} ({said or 'it said nothing'}): {what}")
