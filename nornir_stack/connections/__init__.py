"""A host's connections: one of each kind however many threads ask, and a new one when the old is dead."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

from nornir.core.exceptions import ConnectionNotOpen
from nornir.core.plugins.connections import ConnectionPlugin, ConnectionPluginRegister

from nornir_stack.errors import ConnectionFailed, Locked, StackError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    """Why a host has no connection: since when (monotonic), and the locks that the next one takes before anybody has it.

    `connections` are the host's: kept, so that their id is nobody else's.
    """

    connections: dict[str, ConnectionPlugin]
    at: float
    slow: bool
    error: BaseException
    locks: Mapping[str, str]


_failed: dict[tuple[int, str], _Failed] = {}


def connection(host: Host, name: str, config: Config, **extras: Any) -> Any:
    """The handle of the host's connection `name` (`ssh`, `local`, `mysql`, `netmiko`, or any other Nornir plugin's).

    Opened when first asked for. A dead one (its `alive` is False) is closed and opened again, and the locks that it held
    on the node are taken again: there is no connection without them, each use asks for them anew. `extras` are added to
    those of the inventory. Raises ConnectionFailed, Locked.
    """
    handle = _opened(host, name)
    if handle is not None and _alive(handle):
        return handle
    with _turn(host, name) as key:
        handle = _opened(host, name)
        if handle is not None and _alive(handle):
            return handle
        before = _failed.get(key)
        if before and before.slow and time.monotonic() - before.at < _REMEMBERED:
            raise before.error
        locks = dict(getattr(handle, "locks", None) or (before.locks if before else {}))
        started = time.monotonic()
        try:
            if handle is not None:
                host.close_connection(name)
            fresh = _open(host, name, config, extras, locks)
        except BaseException as error:
            now = time.monotonic()
            slow = isinstance(error, ConnectionFailed) and now - started > _SLOW
            _failed.pop(key, None)
            if slow or locks:
                _failed[key] = _Failed(host.connections, now, slow, error, locks)
            raise
        _failed.pop(key, None)
        return fresh


def _open(host: Host, name: str, config: Config, extras: Mapping[str, Any], locks: Mapping[str, str]) -> Any:
    """As `Host.open_connection`, but nobody else sees the connection before it has the locks."""
    plugin = ConnectionPluginRegister.get_plugin(name)()
    given = parameters(host, name)
    plugin.open(**{**given, "extras": {**(given["extras"] or {}), **extras}}, configuration=config)
    try:
        for path, owner in locks.items():
            plugin.connection.lock(path, owner)
    except BaseException as error:
        plugin.close()
        if isinstance(error, Locked):
            raise Locked(error.where, error.holder, host=host.name) from None
        raise
    host.connections[name] = plugin
    return plugin.connection


def lock(host: Host, config: Config, path: str, owner: str) -> None:
    """Hold a lock file on the node by the host's shell, for the run that `owner` names. Raises Locked.

    Where it cannot be had for another reason (the node is down), there is no shell before it is: each use asks for it first.
    """
    try:
        shell_of(host, config).lock(path, owner)
    except Locked:
        raise
    except Exception as error:  # noqa: BLE001  whoever wants the node is told it
        name = _shell_name(host)
        with _turn(host, name) as key:
            before = _failed.get(key) or _Failed(host.connections, time.monotonic(), slow=False, error=error, locks={})
            held = {**before.locks, **getattr(_opened(host, name), "locks", {}), path: owner}
            with suppress(ConnectionNotOpen):
                host.close_connection(name)
            _failed[key] = replace(before, locks=held)


def unlock(host: Host, path: str, owner: str) -> None:
    """Give the lock back, if it is held for `owner`. One that cannot is ended; a lost one asks no more."""
    name = _shell_name(host)
    with _turn(host, name) as key:
        handle = _opened(host, name)
        if handle is not None and handle.locks.get(path) == owner:
            try:
                handle.unlock(path)
            except BaseException as error:
                handle.close()
                if not isinstance(error, StackError):
                    raise
        if (before := _failed.get(key)) and before.locks.get(path) == owner:
            _failed[key] = replace(before, locks={of: whose for of, whose in before.locks.items() if of != path})


def shell_of(host: Host, config: Config) -> ShellConnection:
    """The host's shell: by `local` where its data says `connection: local`, else by `ssh`. UsageError where it has none."""
    if not has_shell(host):
        raise UsageError(f"{host.name} is reached by {host.get('connection')}, where no command can be run")
    return cast("ShellConnection", connection(host, _shell_name(host), config))


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


@contextmanager
def _turn(host: Host, name: str) -> Iterator[tuple[int, str]]:
    """One at a time opens a host's connection or ends it; gives the key of `_failed`."""
    key = (id(host.connections), name)
    with _guard:
        turn = _opening.setdefault(key, threading.Lock())
    with turn:
        yield key


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
