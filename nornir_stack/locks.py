"""Who may run: one controller on a node at a time, and one run of an inventory `here`."""

from __future__ import annotations

import getpass
import os
import socket
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from nornir_stack.connections import has_shell, lock, unlock
from nornir_stack.errors import Locked

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
    """Lock a node for `who`; '' if nobody else has it, else who holds it. An API is nobody's: ''.

    A node that is unreachable is locked before anything else, when somebody reaches it.
    """
    if has_shell(host):
        try:
            lock(host, config, NODE_LOCK, who)
        except Locked as locked:
            return locked.holder
    return ""


def unlock_node(host: Host, who: str) -> None:
    """Give the node back if `who` has it; nor does a lost connection ask for it again."""
    if has_shell(host):
        unlock(host, NODE_LOCK, who)
