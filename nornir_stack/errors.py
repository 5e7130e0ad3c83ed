"""Everything that nornir_stack raises, named by who must act."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.command import Output
    from nornir_stack.results import Report


class StackError(Exception):
    """The root of all errors of nornir_stack. Its message has secrets masked: errors end up in logs and tracebacks too."""

    def __init__(self, message: str = "") -> None:
        from nornir_stack.secret import mask  # noqa: PLC0415  which raises errors of its own

        super().__init__(mask(message))


class UsageError(StackError):
    """The caller asked for something that does not exist or does not fit (exit code 2)."""


class InventoryError(UsageError):
    """The inventory does not hold together. `problems` are sentences that begin with `file:line: `."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class SecretError(UsageError):
    """A secret could not be resolved, or stood where it would be seen (argv)."""


class Refused(StackError):  # noqa: N818  it is an answer, not a fault
    """Looked, and will not act: the operator must decide. The message says what was seen and what to do."""


class Undecidable(StackError):  # noqa: N818
    """In a dry run: the answer depends on a change that was not made (`after` names it)."""

    def __init__(self, what: str, after: str) -> None:
        super().__init__(f"{what}: known only after: {after}")
        self.what = what
        self.after = after


class ConnectionFailed(StackError):  # noqa: N818
    """The environment: the way to a node is not there. The status of such a host is `unreachable`."""


class HostKeyRefused(ConnectionFailed):
    """The node's host key is not the one that known_hosts holds, or known_hosts does not know it."""


class LoginRefused(ConnectionFailed):
    """The node refused the key or the password, or refused to become root."""


class ConnectionLost(ConnectionFailed):
    """The connection ended while a command ran: whether it ended on the node is not known."""


class CommandFailed(StackError):  # noqa: N818
    """A command ended with a status that was not allowed. `output` holds what it said as it was: mask what you show of it."""

    def __init__(self, output: Output) -> None:
        super().__init__(output.explain())
        self.output = output


class DatabaseFailed(StackError):  # noqa: N818
    """The database server answered with an error, or did not answer though its node does. `code` is the server's number."""

    def __init__(self, where: str, code: int, message: str) -> None:
        super().__init__(f"{where}: {message} (error {code})")
        self.code = code
        self.message = message


class ApiFailed(StackError):  # noqa: N818
    """An API answered with an error. `status` is HTTP's, 0 where the answer had none."""

    def __init__(self, where: str, status: int, message: str) -> None:
        said = f"HTTP {status}" in message or not status
        super().__init__(f"{where}: {message}" + ("" if said else f" (HTTP {status})"))
        self.status = status
        self.message = message


class LibvirtFailed(StackError):  # noqa: N818
    """libvirt answered with an error. `code` is its number (VIR_ERR_*)."""

    def __init__(self, where: str, code: int, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.code = code
        self.message = message


class TimedOut(StackError):  # noqa: N818
    """A deadline passed. What ran on the node was ended, or may still run: look again before judging."""


class Undone(StackError):  # noqa: N818
    """A change to the network was not confirmed: the node has its former state again, and the message says why."""


class UndoFailed(StackError):  # noqa: N818
    """A change to the network was not confirmed, and the node could not take all of it back: the message says what is left."""


class Cancelled(StackError):  # noqa: N818
    """The run was interrupted before this was done."""


class Locked(StackError):  # noqa: N818
    """Another run holds the lock (`holder`: who, since when, for which run). `host`: the name by which it may be broken."""

    def __init__(self, where: str, holder: str, *, host: str = "") -> None:
        advice = f": `nornir-stack lock show {host}` looks again; only where that run is dead, `nornir-stack lock break {host}`"
        super().__init__(f"{where} is locked by {holder}{advice if host else ''}")
        self.where = where
        self.holder = holder


class Interrupted(KeyboardInterrupt):
    """A run was interrupted (exit code 130); `report` holds what came of it. A KeyboardInterrupt: no script walks on."""

    def __init__(self, report: Report) -> None:
        super().__init__("interrupted")
        self.report = report
