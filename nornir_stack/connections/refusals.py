"""Why an SSH connection did not come about, in a sentence that says what to do."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from nornir_stack.errors import ConnectionFailed, HostKeyRefused, LoginRefused
from nornir_stack.secret import mask


@dataclass(frozen=True)
class Attempt:
    """A login that was tried. `known_hosts` is None for the user's own file."""

    host: str
    port: int
    user: str | None
    known_hosts: str | None
    seconds: float


def explained(error: Exception, tried: Attempt) -> ConnectionFailed:
    """The error to raise for what asyncssh or the system raised."""
    where = f"{tried.host}:{tried.port}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return HostKeyRefused(f"{where}: {_host_key(error, tried)}")
    if isinstance(error, asyncssh.PermissionDenied):
        who = f"the login of {tried.user!r}" if tried.user else "the login"
        return LoginRefused(f"{where}: {who} was refused ({mask(error.reason)}): check the user, key or password")
    if isinstance(error, asyncssh.KeyImportError):
        return LoginRefused(f"{where}: a private key cannot be read: {error}")
    return ConnectionFailed(f"{where}: {_unreachable(error, tried.seconds)}")


def _unreachable(error: Exception, seconds: float) -> str:
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        return f"no answer within {seconds:g} s: is the host up, and is the address right?"
    if isinstance(error, socket.gaierror):
        return f"the name is not known ({error.strerror}): set `hostname` in the inventory"
    if isinstance(error, ConnectionRefusedError):
        return "the port is closed: is sshd running, and is the port right?"
    return mask(str(error)) or type(error).__name__


def _host_key(error: asyncssh.HostKeyNotVerifiable, tried: Attempt) -> str:
    asked = error.reason.rpartition("for host ")[2]
    if " " not in asked and asked != tried.host:
        return (
            f"the host key of the jump host {asked} is not trusted: add it to the file that ssh_config's "
            f"UserKnownHostsFile names (~/.ssh/known_hosts) after comparing its fingerprint there"
        )
    path, host, port = Path(tried.known_hosts or "~/.ssh/known_hosts").expanduser(), tried.host, tried.port
    names = host if port == 22 else f"[{host}]:{port}"  # noqa: PLR2004  the port that known_hosts leaves out
    lines = _lines_for(path, host, port)
    if lines:
        return (
            f"the host key is not the one in {path} line {lines[0]}; "
            f"if the node was reinstalled, remove the old key with: ssh-keygen -R '{names}' -f {path}"
        )
    how = f"add it after comparing its fingerprint on the node: ssh-keyscan -p {port} {host} >> {path}"
    return f"the host key is not trusted: {path} does not know this host ({error.reason}); {how}"


def _lines_for(path: Path, host: str, port: int) -> list[int]:
    """The lines of a known_hosts file, from 1, that hold a key of this host; hashed names are understood."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            keys, *_ = asyncssh.match_known_hosts(asyncssh.import_known_hosts(line), host, "", port)
        except (ValueError, asyncssh.Error):
            continue
        if keys:
            found.append(number)
    return found
