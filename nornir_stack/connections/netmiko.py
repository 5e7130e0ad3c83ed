"""A handle to a network device with a prompt (a router, a switch), by netmiko. It has no exit status: not for servers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from nornir.core.exceptions import PluginNotRegistered

from nornir_stack.connections import connection, parameters
from nornir_stack.errors import ConnectionFailed, ConnectionLost, HostKeyRefused, LoginRefused, TimedOut, UsageError
from nornir_stack.secret import Secret, mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.configuration import Config
    from nornir.core.inventory import Host

_ANSWER_SECONDS = 60.0
_QUIET_SECONDS = 0.5
_SETTLED: WeakSet[Any] = WeakSet()


class Device:
    """A device. `ask` looks, `configure` changes; what the device prints is all that is known of how it went."""

    def __init__(self, name: str, link: Any) -> None:
        self._name = name
        self._link = link

    def ask(self, command: str, *, seconds: float | None = None) -> str:
        """What a show command prints. `seconds` for it: at most, and by default, 60. Raises ConnectionLost, TimedOut."""
        wait = _at_most(seconds)
        return str(self._told(command, lambda: self._link.send_command(command, read_timeout=wait), wait))

    def configure(self, lines: Sequence[str], *, seconds: float | None = None) -> str:
        """Enter configuration mode, send the lines, leave it; what was printed meanwhile. Nothing is saved: see `save`."""
        what, wait = f"configure: {lines[0] if lines else 'nothing'}...", _at_most(seconds)
        return str(self._told(what, lambda: self._link.send_config_set(list(lines), read_timeout=wait), wait))

    def save(self, command: str) -> str:
        """Have it keep its configuration over a restart, by its own command (`write memory`)."""
        return str(self._told(command, lambda: self._link.save_config(cmd=command)))

    def _told(self, what: str, do: Any, wait: float = _ANSWER_SECONDS) -> Any:
        from netmiko.exceptions import NetmikoBaseException, ReadTimeout  # noqa: PLC0415  an extra

        try:
            return do()
        except ReadTimeout:
            raise TimedOut(f"{self._name}: no prompt came back within {wait:.3g} s after: {mask(what)}") from None
        except (NetmikoBaseException, OSError, EOFError) as error:
            with suppress(Exception):
                self._link.disconnect()
            raise ConnectionLost(f"{self._name}: lost while it was told: {mask(what)} ({_first_line(error)})") from None


def _at_most(seconds: float | None) -> float:
    return min(seconds or _ANSWER_SECONDS, _ANSWER_SECONDS)


def device(host: Host, config: Config) -> Device:
    """The host as a network device; `platform` is netmiko's device type or nornir-netmiko's name for it.

    The host key is always checked, against the user's known_hosts or the `alt_key_file` of the connection's extras.
    Raises UsageError where the extra is not installed, ConnectionFailed, LoginRefused.
    """
    try:
        from netmiko.exceptions import NetmikoAuthenticationException  # noqa: PLC0415  an extra
        from paramiko.ssh_exception import BadHostKeyException, SSHException  # type: ignore[import-untyped]  # noqa: PLC0415  comes with it, without types
    except ImportError:
        raise UsageError("network devices need the extra: pip install 'nornir-stack[netmiko]'") from None
    try:
        return Device(host.name, _settled(connection(host, "netmiko", config, **_strict(host))))
    except PluginNotRegistered:
        raise UsageError("network devices need the extra: pip install 'nornir-stack[netmiko]'") from None
    except NetmikoAuthenticationException as error:
        raise LoginRefused(f"{host.name}: the login was refused: {_first_line(error)}") from None
    except (SSHException, OSError, EOFError) as error:
        if isinstance(error, BadHostKeyException) or "known_hosts" in str(error):
            raise HostKeyRefused(f"{host.name}: the host key is not trusted: {_first_line(error)}") from None
        raise ConnectionFailed(f"{host.name}: {_first_line(error)}") from None


def _settled(link: Any) -> Any:
    """A new session when it has come to rest.

    netmiko types ahead while a shell such as vtysh still starts, and an echo that comes late would be taken for an answer.
    """
    if link not in _SETTLED:
        link.write_channel(link.RETURN)
        link.read_channel_timing(last_read=_QUIET_SECONDS)
        _SETTLED.add(link)
    return link


def _strict(host: Host) -> dict[str, Any]:
    """Extras for netmiko that have the host key checked, with secrets revealed: netmiko takes plain text."""
    given = parameters(host, "netmiko")
    extras = given["extras"] or {}
    plain = {"password": given["password"], **extras}
    revealed = {name: value.reveal() for name, value in plain.items() if isinstance(value, Secret)}
    return {**revealed, "ssh_strict": True, "system_host_keys": True, "alt_host_keys": bool(extras.get("alt_key_file"))}


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return mask(lines[0]) if lines else type(error).__name__
