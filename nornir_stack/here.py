"""The lock `here`: one run of a chain on an inventory at a time on the operator's machine, before any node is asked."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from nornir_stack.errors import Cancelled, Locked, StackError
from nornir_stack.journal import state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nornir.core.inventory import Inventory

_PAUSE = 0.2


@contextmanager
def held_here(inventory: Inventory, who: str, wait: float, stopping: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock of this inventory (its hosts and their addresses) for `who`, waiting up to `wait` seconds.

    It goes with this process, however that ends. Raises Locked, Cancelled (`stopping`).
    """
    hosts = sorted(f"{name} {host.hostname}" for name, host in inventory.hosts.items())
    path = state_folder() / "locks" / hashlib.sha256("\n".join(hosts).encode()).hexdigest()[:16]
    end = time.monotonic() + wait
    with _opened(path) as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stopping():
                    raise Cancelled("interrupted while another run of this inventory was waited for") from None
                if time.monotonic() > end:
                    lock.seek(0)
                    raise Locked("this inventory", lock.read().strip() or "another run") from None
                time.sleep(_PAUSE)
        with suppress(OSError):  # a full disk: it is held all the same, by nobody known
            lock.truncate(0)
            os.write(lock.fileno(), who.encode())  # not buffered: what cannot be written is not tried again by close()
        try:
            yield
        finally:
            with suppress(OSError):
                lock.truncate(0)


def _opened(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path.open("a+")
    except OSError as error:
        raise StackError(f"this machine cannot lock the inventory for a run: {path}: {error.strerror}") from None
