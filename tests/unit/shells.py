"""Shells to test with: a child process by dash and by bash, and one over SSH."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.connections.local import LocalWay
from nornir_stack.connections.ssh import SshPlugin
from nornir_stack.shell import ShellConnection
from tests.unit.ssh_server import USER, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.connections.local import LocalPipe
    from tests.unit.ssh_server import SshServer

KINDS = ("dash", "bash", "ssh")


class BashWay(LocalWay):
    """As on Red Hat's, where sh is bash."""

    def start(self, line: str, received: Callable[[bytes, bool], None], ended: Callable[[], None]) -> LocalPipe:
        return super().start(line.replace("exec sh'", "exec bash --posix'"), received, ended)


def over_ssh(server: SshServer) -> ShellConnection:
    plugin = SshPlugin()
    plugin.open("127.0.0.1", USER, None, server.port, None, server.extras())
    return plugin.connection


@contextlib.contextmanager
def shell_by(kind: str, folder: Path) -> Iterator[ShellConnection]:
    """An open shell of one of KINDS."""
    with contextlib.ExitStack() as stack:
        if kind == "ssh":
            shell = over_ssh(stack.enter_context(serving(folder)))
        else:
            shell = ShellConnection(BashWay() if kind == "bash" else LocalWay())
        try:
            yield shell
        finally:
            shell.close()


def until(holds: Callable[[], object], within: float = 5.0) -> None:
    """Wait for a condition. Raises AssertionError if it does not come about within seconds."""
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, "it did not come about"
        threading.Event().wait(0.005)


def runs(pid: int) -> bool:
    """Whether a process lives; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
