"""Ctrl-C, SIGTERM and SIGHUP during a run: the first stops what would begin, a second cuts what runs."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from nornir_stack.effects import RunState
    from nornir_stack.events import Emitter


def watched() -> tuple[signal.Signals, ...]:
    """The signals that interrupt. SIGHUP (the terminal is gone) is left alone where it is ignored, as by nohup."""
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM) if nohup else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While it is entered (in the main thread; elsewhere it does nothing) signals set the run's events instead of raising.

    Raising would be worse: Nornir would go on with all queued hosts in the background.
    """

    def __init__(self, state: RunState, emit: Emitter) -> None:
        self._state = state
        self._emit = emit
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in watched():
                self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # a terminal that is gone is told by SIGHUP more than once, by the shell and by the kernel: nobody asked for a cut
        if self._state.stop.is_set() and number != signal.SIGHUP:
            self._state.cut.set()
        self._state.stop.set()
        self._emit("interrupt", cut=self._state.cut.is_set())
