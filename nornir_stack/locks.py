"""Who may run: one controller on a node at a time, and one run of an inventory `here`."""

from __future__ import annotations

import getpass
import os
import socket
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from nornir_stack.connections import has_shell, shell_of
from nornir_stack.errors import ConnectionFailed, Locked

if TYPE_CHECKING:
    from nornir.core.configuration import Config
    from nornir.core.inventory import Host

# On tmpfs: it is gone after a reboot, as is everything that held it.
NODE_LOCK = "/run/lock/nornir-stack"


def owner(run: str, chain: str) -> str:
    """One line that names a run to whoever waits for it."""
    since = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{getpass.getuser()}@{socket.gethostname()} pid {os.getpid()} since {since} for run {run} ({chain})"


def lock_node(host: Host, config: Config, who: str) -> str:
    """Lock a node for `who`; '' if it is held now, else who holds it. What is unreachable, or an API, is nobody's: ''."""
    if not has_shell(host):
        return ""
    try:
        shell_of(host, config).lock(NODE_LOCK, who)
    except Locked as locked:
        return locked.holder
    except ConnectionFailed:
        return ""  # the stage that wants the node reports it
    return ""


def unlock_node(host: Host, config: Config) -> None:
    """Give the node back; a dead connection has done so already."""
    try:
        shell = shell_of(host, config, opened_only=True)
        if shell is not None:
            shell.unlock(NODE_LOCK)
    except ConnectionFailed:
        pass
