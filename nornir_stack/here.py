"""The lock `here`: one run of a chain on an inventory at a time on the operator's machine, before any node is asked."""

from __future__ import annotations

import fcntl
import hashlib
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nornir_stack.errors import Cancelled, Locked
from nornir_stack.journal import state_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir.core.inventory import Inventory

_PAUSE = 0.2


@contextmanager
def held_here(inventory: Inventory, who: str, wait: float, stopping: Callable[[], bool]) -> Iterator[None]:
    """Hold the lock of this inventory (its hosts and their addresses) for `who`, waiting up to `wait` seconds.

    It goes with this process, however that ends. Raises Locked, Cancelled (`stopping`).
    """
    hosts = sorted(f"{name} {host.hostname}" for name, host in inventory.hosts.items())
    folder = state_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / hashlib.sha256("\n".join(hosts).encode()).hexdigest()[:16]
    end = time.monotonic() + wait
    with path.open("a+") as lock:
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
        lock.truncate(0)
        lock.write(who)
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)
