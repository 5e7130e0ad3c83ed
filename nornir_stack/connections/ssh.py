"""The `ssh` connection: one SSH connection and one persistent shell a node."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh

from nornir_stack.connections.loop import loop, wait
from nornir_stack.connections.refusals import Attempt, explained
from nornir_stack.errors import ConnectionFailed, ConnectionLost, UsageError
from nornir_stack.secret import Secret
from nornir_stack.session import Sudo
from nornir_stack.shell import ShellConnection

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core.configuration import Config

CONNECT_SECONDS = 10.0
_CHANNEL_SECONDS = 30.0  # PAM may start a user's systemd first; a connection that hangs is noticed by its keepalives
_KEEPALIVE_SECONDS, _KEEPALIVE_COUNT = 5, 3
_USER_CONFIG = Path("~/.ssh/config")
_EXTRAS = frozenset({"known_hosts", "client_keys", "config", "sudo", "sudo_password", "connect_timeout"})


class SshPlugin:
    """Nornir's connection plugin `ssh`.

    Host keys are always checked. Agents, certificates, ProxyJump and the rest of ~/.ssh/config work. Extras:

    | name | meaning | default |
    | --- | --- | --- |
    | `known_hosts` | path of the file with the node's host key (of a jump host: ssh_config's) | the user's, and the system's |
    | `client_keys` | list of paths of private keys | the user's, and the agent's |
    | `config` | list of paths of ssh_config files | ~/.ssh/config |
    | `sudo` | become root by sudo | yes, unless the login is root |
    | `sudo_password` | str or Secret that sudo wants | none |
    | `connect_timeout` | seconds until the login must be done, and a further channel opened | 10; 30 |
    """

    connection: ShellConnection

    def open(  # noqa: PLR0917  the signature is Nornir's
        self,
        hostname: str | None,
        username: str | None,
        password: str | Secret | None,
        port: int | None,
        platform: str | None,
        extras: dict[str, Any] | None = None,
        configuration: Config | None = None,
    ) -> None:
        del platform, configuration
        extras = extras or {}
        unknown = sorted(set(extras) - _EXTRAS)
        if unknown:
            raise UsageError(f"ssh has no option {unknown[0]!r}; it has: {', '.join(sorted(_EXTRAS))}")
        if not hostname:
            raise UsageError("ssh needs a hostname")
        seconds = float(extras.get("connect_timeout", _CHANNEL_SECONDS))
        way = SshWay(_connected(hostname, username, password, port, extras), seconds)
        sudo = extras.get("sudo")
        become = way.user != "root" if sudo is None else bool(sudo)
        self.connection = ShellConnection(way, Sudo(extras.get("sudo_password")) if become else None)

    def close(self) -> None:
        self.connection.close()


def _connected(
    hostname: str, username: str | None, password: str | Secret | None, port: int | None, extras: dict[str, Any]
) -> asyncssh.SSHClientConnection:
    seconds = float(extras.get("connect_timeout", CONNECT_SECONDS))
    try:
        options = _options(hostname, username, password, port, extras)
        files = extras.get("config", ())  # a jump host is looked up in them too
        return wait(asyncio.wait_for(asyncssh.connect(hostname, options.port, options=options, config=files), seconds))
    except (OSError, asyncssh.Error, asyncio.TimeoutError, TimeoutError, ValueError) as error:
        raise explained(error, Attempt(hostname, port or 22, username, extras.get("known_hosts"), seconds)) from None


def _options(
    hostname: str, username: str | None, password: str | Secret | None, port: int | None, extras: dict[str, Any]
) -> asyncssh.SSHClientConnectionOptions:
    config = extras.get("config")
    if config is None:
        config = [str(_USER_CONFIG.expanduser())] if _USER_CONFIG.expanduser().is_file() else None
    known_hosts = extras.get("known_hosts")
    if known_hosts is not None and not Path(known_hosts).expanduser().exists():
        known_hosts = b""  # knows no host; asyncssh would stop at the file that is not there
    given: dict[str, Any] = {
        "username": username,
        "port": port,
        "password": password.reveal() if isinstance(password, Secret) else password,
        "known_hosts": known_hosts,
        "client_keys": extras.get("client_keys"),
    }
    options = asyncssh.SSHClientConnectionOptions(
        host=hostname,
        config=config,
        keepalive_interval=_KEEPALIVE_SECONDS,
        keepalive_count_max=_KEEPALIVE_COUNT,
        **{name: value for name, value in given.items() if value is not None},
    )
    if options.known_hosts is None:  # `UserKnownHostsFile none` would switch the check off
        raise UsageError(f"{hostname}: ssh_config says that its host key is not to be checked; name a known_hosts file")
    return options


class SshWay:
    """An SSH connection that stands."""

    def __init__(self, connection: asyncssh.SSHClientConnection, seconds: float = _CHANNEL_SECONDS) -> None:
        self._connection, self._seconds = connection, seconds
        self.user = str(connection.get_extra_info("username"))
        self.name = "{}:{}".format(*connection.get_extra_info("peername")[:2])

    @property
    def alive(self) -> bool:
        return not self._connection.is_closed()

    def start(self, line: str, received: Callable[[bytes, bool], None], ended: Callable[[], None]) -> SshPipe:
        async def start() -> asyncssh.SSHClientChannel[bytes]:
            channel, _ = await self._connection.create_session(
                lambda: _Session(received, ended), line, encoding=None, request_pty=False
            )
            return channel

        try:
            return SshPipe(wait(start(), self._seconds))
        except (asyncssh.Error, OSError, TimeoutError) as error:
            kind = ConnectionFailed if self.alive else ConnectionLost
            raise kind(f"{self.name}: no further channel could be opened: {str(error) or 'it did not answer'}") from None

    def open_socket(self, target: str | tuple[str, int]) -> socket.socket:
        try:
            return wait(self._open_socket(target), CONNECT_SECONDS)
        except (asyncssh.Error, OSError, TimeoutError) as error:
            where = target if isinstance(target, str) else "{}:{}".format(*target)
            raise ConnectionFailed(f"{self.name}: nothing answers at {where} there: {str(error) or 'timed out'}") from None

    async def _open_socket(self, target: str | tuple[str, int]) -> socket.socket:
        if isinstance(target, str):
            far = await self._connection.open_unix_connection(target)
        else:
            far = await self._connection.open_connection(*target)
        ours, theirs = socket.socketpair()
        near = await asyncio.open_connection(sock=theirs)
        tasks = (_pump(far[0], near[1]), _pump(near[0], far[1]))
        for task in map(asyncio.ensure_future, tasks):
            _pumps.add(task)
            task.add_done_callback(_pumps.discard)
        return ours

    def close(self) -> None:
        loop().call_soon_threadsafe(self._connection.close)


_pumps: set[asyncio.Future[None]] = set()  # the loop itself keeps only weak references


async def _pump(source: Any, sink: Any) -> None:
    """Copy one direction until it ends, then end it on the other side."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while piece := await source.read(1 << 16):
            sink.write(piece)
            await sink.drain()
    sink.close()


class _Session(asyncssh.SSHClientSession[bytes]):
    def __init__(self, received: Callable[[bytes, bool], None], ended: Callable[[], None]) -> None:
        self._received, self._ended = received, ended

    def data_received(self, data: bytes, datatype: int | None) -> None:
        self._received(data, datatype is not None)

    def exit_status_received(self, status: int) -> None:
        del status
        self._ended()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        del signal, core_dumped, msg, lang
        self._ended()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._ended()


class SshPipe:
    """A program on the node."""

    def __init__(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = channel

    def write(self, data: bytes) -> None:
        loop().call_soon_threadsafe(self._write, data)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # it ended meanwhile: the session was told
            self._channel.write(data)

    def close(self) -> None:
        loop().call_soon_threadsafe(self._channel.close)
