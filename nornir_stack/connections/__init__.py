"""A host's connections: one of each kind however many threads ask, and a new one when the old is dead."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast, overload
from weakref import WeakValueDictionary

from nornir.core.exceptions import ConnectionNotOpen

from nornir_stack.errors import ConnectionFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.configuration import Config
    from nornir.core.inventory import Defaults, Host

    from nornir_stack.shell import ShellConnection

# One lock a host and kind, alive as long as someone holds it or waits: a Host has no room for it, and a name is not enough
# (two inventories). By the dictionary of connections, which all `filter()` copies share.
_opening: WeakValueDictionary[tuple[int, str], threading.Lock] = WeakValueDictionary()
_guard = threading.Lock()
# A host that took long to be found unreachable is not waited for again at once: a look, a lock and a stage would each wait.
_SLOW, _REMEMBERED = 2.0, 5.0


@dataclass(frozen=True)
class _Failed:
    """An attempt to open a connection that failed: when it ended (monotonic), how, and the locks that are to be taken again."""

    at: float
    slow: bool
    error: ConnectionFailed
    locks: Mapping[str, str]


_failed: dict[tuple[int, str], _Failed] = {}


def connection(host: Host, name: str, config: Config, **extras: Any) -> Any:
    """The handle of the host's connection `name` (`ssh`, `local`, `mysql`, `netmiko`, or any other Nornir plugin's).

    Opened when first asked for. A dead one (its `alive` is False) is closed and opened again, and the locks that it held
    on the node are taken again. `extras` are added to those of the inventory. Raises ConnectionFailed, Locked.
    """
    handle = _opened(host, name)
    if handle is not None and _alive(handle):
        return handle
    key = (id(host.connections), name)
    with _guard:
        lock = _opening.setdefault(key, threading.Lock())
    with lock:
        handle = _opened(host, name)
        if handle is not None and _alive(handle):
            return handle
        before = _failed.pop(key, None)
        if before and before.slow and time.monotonic() - before.at < _REMEMBERED:
            _failed[key] = before
            raise before.error
        locks = dict(getattr(handle, "locks", None) or (before.locks if before else {}))
        if handle is not None:
            host.close_connection(name)
        given = parameters(host, name)
        given["extras"] = {**(given["extras"] or {}), **extras}
        started = time.monotonic()
        try:
            fresh = host.open_connection(name, config, **given, default_to_host_attributes=False).connection
        except ConnectionFailed as error:
            now = time.monotonic()
            _failed[key] = _Failed(now, now - started > _SLOW, error, locks)
            raise
        for path, owner in locks.items():
            fresh.lock(path, owner)
        return fresh


@overload
def shell_of(host: Host, config: Config) -> ShellConnection: ...
@overload
def shell_of(host: Host, config: Config, *, opened_only: Literal[True]) -> ShellConnection | None: ...
def shell_of(host: Host, config: Config, *, opened_only: bool = False) -> ShellConnection | None:
    """The host's shell: by `local` where its data says `connection: local`, else by `ssh`. UsageError where it has none.

    With `opened_only` none is opened: None, where there is none or it is dead.
    """
    if not has_shell(host):
        if opened_only:
            return None
        raise UsageError(f"{host.name} is reached by {host.get('connection')}, where no command can be run")
    name = _shell_name(host)
    if not opened_only:
        return cast("ShellConnection", connection(host, name, config))
    handle = cast("ShellConnection | None", _opened(host, name))
    return handle if handle is not None and handle.alive else None


def has_shell(host: Host) -> bool:
    """Whether commands can be run on it; else its data say by what it is reached, `connection: openstack`."""
    return host.get("connection") in {None, "ssh", "local"}


def interrupt(host: Host) -> None:
    """End what runs on the host now, if anything does. Returns at once."""
    handle = _opened(host, _shell_name(host)) if has_shell(host) else None
    if handle is not None:
        handle.interrupt()


def parameters(host: Host, name: str) -> dict[str, Any]:
    """What to open it with: the host's own options, its groups', the defaults', then its attributes.

    Nornir's own lookup writes what was inherited into the host, so that a changed password would not be seen.
    """
    owners: list[Host | Defaults] = [host, *host.extended_groups(), host.defaults]
    options = [owner.connection_options.get(name) for owner in owners]
    found: dict[str, Any] = {}
    for key in ("hostname", "port", "username", "password", "platform", "extras"):
        values = [getattr(option, key) for option in options if option is not None]
        found[key] = next((value for value in values if value is not None), getattr(host, key, None))
    return found


def _shell_name(host: Host) -> str:
    return "local" if host.get("connection") == "local" else "ssh"


def _opened(host: Host, name: str) -> Any:
    with suppress(KeyError, ConnectionNotOpen):
        return host.connections[name].connection
    return None


def _alive(handle: Any) -> bool:
    if hasattr(handle, "is_alive"):  # netmiko's own
        return bool(handle.is_alive())
    return bool(getattr(handle, "alive", True))
