"""The `libvirt` connection: a hypervisor's libvirt, here or by qemu+ssh, looked at through a door that can only look."""

from __future__ import annotations

import atexit
import os
import shlex
import threading
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, urlencode

from nornir_stack.connections import connection, parameters
from nornir_stack.errors import ConnectionFailed, ConnectionLost, LibvirtFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from libvirt import virConnect
    from nornir.core.configuration import Config
    from nornir.core.inventory import Host

T = TypeVar("T")
_EXTRA = (
    "hypervisors need the extra: pip install 'nornir-stack[libvirt]', which is built on libvirt's own library "
    "(Debian: libvirt-dev pkg-config gcc python3-dev; Red Hat: libvirt-devel gcc python3-devel)"
)
_EXTRAS = frozenset({"uri", "socket"})


def hypervisor(host: Host, config: Config) -> Hypervisor:
    """The libvirt of this host: `qemu:///system` where its data say `connection: local`, else qemu+ssh, as its ssh
    connection logs in. Raises UsageError, ConnectionFailed.
    """
    given = parameters(host, "libvirt")["extras"] or {}
    login, local = parameters(host, "ssh"), host.get("connection") == "local"
    known = (login.get("extras") or {}).get("known_hosts")
    program = "" if local or not known else _program(str(Path(known).expanduser()))
    uri = given.get("uri") or uri_of(login, local=local, program=program)
    return cast("Hypervisor", connection(host, "libvirt", config, uri=uri))


def uri_of(login: Mapping[str, Any], *, local: bool, program: str = "") -> str:
    """libvirt's URI for a node (https://libvirt.org/uri.html). `login` are the parameters of the host's ssh connection.

    By qemu+ssh, which is the program ssh with its own known_hosts and ~/.ssh/config, or `program` in its place. It cannot be
    given a password. Not by qemu+libssh: libvirt 9.0 waits for ever for the rest of a long answer there.
    """
    if local:
        return "qemu:///system"
    extras = login.get("extras") or {}
    words = {"no_tty": "1", **({"command": program} if program else {})}
    if extras.get("client_keys"):
        words["keyfile"] = str(Path(extras["client_keys"][0]).expanduser())
    name = str(login["hostname"])
    where = (f"{quote(login['username'], safe='')}@" if login.get("username") else "") + (f"[{name}]" if ":" in name else name)
    where += f":{login['port']}" if login.get("port") else ""
    return f"qemu+ssh://{where}/system?{urlencode(words, quote_via=quote)}"  # libvirt takes no + for a blank


@cache
def _program(known_hosts: str) -> str:
    """A program that is ssh with this known_hosts file and no other: libvirt's URI has no word for that."""
    options = [f"UserKnownHostsFile={shlex.quote(known_hosts)}", "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes"]
    options.append("ServerAliveInterval=15")  # else nobody would see that the other end is gone
    words = " ".join(f"-o {shlex.quote(option)}" for option in options)
    handle, path = mkstemp(prefix="nornir-stack-", suffix=".sh")
    with os.fdopen(handle, "w") as file:
        file.write(f'#!/bin/sh\nexec ssh {words} "$@"\n')
        os.fchmod(file.fileno(), 0o700)
    atexit.register(partial(Path(path).unlink, missing_ok=True))
    return path


class LibvirtPlugin:
    """Nornir's connection plugin `libvirt`.

    Extras: `uri` (default: made of the host's ssh connection; `qemu:///system` here), `socket` (of a daemon that does not
    listen at libvirt's own place). The login needs the right to use libvirt there: root, or the group `libvirt`.
    """

    connection: Hypervisor

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
        del hostname, username, password, port, platform, configuration  # they are in the URI
        extras = extras or {}
        if unknown := sorted(set(extras) - _EXTRAS):
            raise UsageError(f"libvirt has no option {unknown[0]!r}; it has: {', '.join(sorted(_EXTRAS))}")
        uri = str(extras.get("uri") or "qemu:///system")
        if socket := extras.get("socket"):
            uri += ("&" if "?" in uri else "?") + urlencode({"socket": str(socket)}, quote_via=quote)
        self.connection = Hypervisor(uri)

    def close(self) -> None:
        self.connection.close()


class Hypervisor:
    """A libvirt. `look` has a read-only connection, on which the daemon itself refuses any change; `act` has another."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._lock = threading.Lock()
        self._links: dict[bool, virConnect] = {}
        self._link(acting=False)

    @property
    def alive(self) -> bool:
        """Whether all that was opened still stands."""
        with suppress(Exception):
            return all(link.isAlive() for link in self._links.values())
        return False

    def look(self, do: Callable[[virConnect], T]) -> T:
        """What `do` finds. Raises LibvirtFailed, for a call that would change something too; ConnectionFailed."""
        return self._told(do, self._link(acting=False))

    def act(self, do: Callable[[virConnect], T]) -> T:
        """Have `do` change something. Raises LibvirtFailed; ConnectionLost, where it may have been done."""
        return self._told(do, self._link(acting=True))

    def close(self) -> None:
        with self._lock:
            for link in self._links.values():
                with suppress(Exception):
                    link.close()
            self._links.clear()

    def _link(self, *, acting: bool) -> virConnect:
        with self._lock:
            if acting not in self._links:
                self._links[acting] = _opened(self.uri, acting=acting)
            return self._links[acting]

    def _told(self, do: Callable[[virConnect], T], link: virConnect) -> T:
        import libvirt  # noqa: PLC0415  an extra

        try:
            return do(link)
        except libvirt.libvirtError as error:
            if not self.alive:
                raise ConnectionLost(f"{self.uri}: {error}: whether it was done is not known") from None
            raise LibvirtFailed(self.uri, int(error.get_error_code() or 0), str(error)) from None


def _opened(uri: str, *, acting: bool) -> virConnect:
    try:
        import libvirt  # noqa: PLC0415  an extra
    except ImportError:
        raise UsageError(_EXTRA) from None

    libvirt.registerErrorHandler(lambda *_: None, None)  # what it would print comes as an exception too
    try:
        return libvirt.open(uri) if acting else libvirt.openReadOnly(uri)
    except libvirt.libvirtError as error:
        raise ConnectionFailed(f"{uri}: {error}: does libvirtd run there, and may this login use it?") from None
