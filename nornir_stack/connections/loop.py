"""The one event loop of the process, in a daemon thread: notebooks run a loop of their own in the main one."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
_lock = threading.Lock()
_loops: dict[int, asyncio.AbstractEventLoop] = {}  # by process: a forked child has the object but not the thread


def loop() -> asyncio.AbstractEventLoop:
    """The loop, started when first asked for."""
    with _lock:
        if os.getpid() not in _loops:
            new = asyncio.new_event_loop()
            threading.Thread(target=new.run_forever, name="nornir-stack loop", daemon=True).start()
            _loops[os.getpid()] = new
        return _loops[os.getpid()]


def wait(work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
    """Run `work` in the loop and wait for what it returns. Raises TimeoutError after `seconds`; it is cancelled then."""
    future = asyncio.run_coroutine_threadsafe(work, loop())
    try:
        return future.result(seconds)
    except FutureTimeoutError:
        raise TimeoutError from None
    finally:
        future.cancel()
