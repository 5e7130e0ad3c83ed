"""The `local` connection: the same shell protocol over a child process, for the operator's own machine."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, cast

from nornir_stack.connections.loop import loop, wait
from nornir_stack.errors import ConnectionFailed
from nornir_stack.session import Sudo
from nornir_stack.shell import ShellConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core.configuration import Config

_CONNECT_SECONDS = 10.0


class LocalPlugin:
    """Nornir's connection plugin `local`. Extras: `sudo` (default: no) and `sudo_password`, as for `ssh`."""

    connection: ShellConnection

    def open(  # noqa: PLR0917  the signature is Nornir's
        self,
        hostname: str | None,
        username: str | None,
        password: str | None,
        port: int | None,
        platform: str | None,
        extras: dict[str, Any] | None = None,
        configuration: Config | None = None,
    ) -> None:
        del hostname, username, password, port, platform, configuration  # this machine, as who we are
        extras = extras or {}
        sudo = Sudo(extras.get("sudo_password")) if extras.get("sudo") else None
        self.connection = ShellConnection(LocalWay(), sudo)

    def close(self) -> None:
        self.connection.close()


class LocalWay:
    """Starts programs here."""

    name = "this machine"
    alive = True

    def start(self, line: str, received: Callable[[bytes, bool], None], ended: Callable[[], None]) -> LocalPipe:
        async def start() -> asyncio.SubprocessTransport:
            # a session of its own: Ctrl-C in the terminal is for us, not for the shell
            transport, _ = await loop().subprocess_shell(lambda: _Protocol(received, ended), line, start_new_session=True)
            return transport

        return LocalPipe(wait(start()))

    def open_socket(self, target: str | tuple[str, int]) -> socket.socket:
        if not isinstance(target, str):
            try:
                return socket.create_connection(target, _CONNECT_SECONDS)
            except OSError as error:
                raise ConnectionFailed(f"nothing answers at {target[0]}:{target[1]}: {error.strerror or error}") from None
        plug = socket.socket(socket.AF_UNIX)
        try:
            plug.settimeout(_CONNECT_SECONDS)
            plug.connect(target)
        except OSError as error:
            plug.close()
            raise ConnectionFailed(f"nothing answers at {target}: {error.strerror or error}") from None
        return plug

    def close(self) -> None:
        """There is no connection to end; the shell ends with its pipe."""


class _Protocol(asyncio.SubprocessProtocol):
    def __init__(self, received: Callable[[bytes, bool], None], ended: Callable[[], None]) -> None:
        self._received, self._ended = received, ended

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._received(data, fd == 2)  # noqa: PLR2004  stderr's number

    def process_exited(self) -> None:
        self._ended()  # not when the pipes end: a background process may hold them


class LocalPipe:
    """A child process; it ends with its stdin."""

    def __init__(self, transport: asyncio.SubprocessTransport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        stdin = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        loop().call_soon_threadsafe(stdin.write, data)

    def close(self) -> None:
        loop().call_soon_threadsafe(self._transport.close)
