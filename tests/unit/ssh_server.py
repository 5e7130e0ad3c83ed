"""An SSH server in the test process: real `sh` behind its shell and exec requests, real sockets behind its forwardings."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

USER, PASSWORD = "root", "right horse"


@dataclass
class SshServer:
    """A server that listens on a port of 127.0.0.1; `known_hosts` and `client_key` are what a client needs."""

    folder: Path
    port: int = 0
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @property
    def known_hosts(self) -> str:
        return str(self.folder / "known_hosts")

    @property
    def client_key(self) -> str:
        return str(self.folder / "client_key")

    def extras(self, **more: Any) -> dict[str, Any]:
        """The options of the `ssh` connection that fit this server."""
        return {"known_hosts": self.known_hosts, "client_keys": [self.client_key], "config": [], **more}

    def cut(self) -> None:
        """Break every connection, without a word to the other side."""
        done = threading.Event()

        def abort() -> None:
            for connection in self.connections:
                connection.abort()
            self.connections.clear()
            done.set()

        self.loop.call_soon_threadsafe(abort)
        done.wait()


class _Guard(asyncssh.SSHServer):
    """Lets the client's key and the password in, and forwards whatever is asked."""

    def __init__(self, server: SshServer) -> None:
        self._server = server

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._server.connections.append(conn)

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)

    def connection_requested(self, *_where: object) -> bool:
        return True

    def unix_connection_requested(self, *_where: object) -> bool:
        return True


async def run_shell(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """What sshd does: the command line by a shell, its three streams to the channel's, its stdin closed with the channel."""
    line = process.command or "exec sh"
    transport, child = await asyncio.get_running_loop().subprocess_shell(lambda: _Child(process), line, start_new_session=True)
    stdin = asyncio.ensure_future(_copy(process.stdin, transport.get_pipe_transport(0)))
    await child.exited.wait()
    with contextlib.suppress(asyncio.TimeoutError):  # a background process may hold the pipes for ever
        await asyncio.wait_for(child.closed.wait(), 0.05)
    stdin.cancel()
    transport.close()  # as sshd: its ends of the pipes go with the channel
    process.exit(transport.get_returncode() or 0)


class _Child(asyncio.SubprocessProtocol):
    def __init__(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self._sinks = {1: process.stdout, 2: process.stderr}
        self._open = {1, 2}
        self.exited, self.closed = asyncio.Event(), asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._sinks[fd].write(data)

    def pipe_connection_lost(self, fd: int, _why: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open:
            self.closed.set()

    def process_exited(self) -> None:
        self.exited.set()


async def _copy(source: asyncssh.SSHReader[bytes], sink: Any) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while piece := await source.read(1 << 16):
            sink.write(piece)
    sink.close()


@contextlib.contextmanager
def serving(
    folder: Path, program: Callable[[asyncssh.SSHServerProcess[bytes]], Awaitable[None]] = run_shell
) -> Iterator[SshServer]:
    """A running server with keys of its own in `folder`."""
    server = SshServer(folder)
    host_key, client_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    client_key.write_private_key(server.client_key)
    authorized = asyncssh.import_authorized_keys(client_key.export_public_key().decode())
    thread = threading.Thread(target=server.loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: _Guard(server),
            server_host_keys=[host_key],
            authorized_client_keys=authorized,
            process_factory=program,
            encoding=None,
        )

    listening = asyncio.run_coroutine_threadsafe(listen(), server.loop).result()
    server.port = listening.get_port()
    public = host_key.export_public_key().decode()
    Path(server.known_hosts).write_text(f"[127.0.0.1]:{server.port} {public}", "utf-8")
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(listening.close)
        server.cut()
        asyncio.run_coroutine_threadsafe(_settled(), server.loop).result()
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join()
        server.loop.close()


async def _settled() -> None:
    """Every other task of the loop has ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait(others, timeout=5) if others else None
