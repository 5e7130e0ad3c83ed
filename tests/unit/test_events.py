"""What a run tells, and to whom."""

from __future__ import annotations

import threading

from nornir_stack.events import Emitter, Event


def test_every_listener_is_told_in_order() -> None:
    """Kind, path, host and data arrive as they were emitted."""
    told: list[Event] = []
    Emitter((told.append, told.append))("task", "prepare", "db1", task="install")
    assert [(event.kind, event.path, event.host, event.data) for event in told] == [
        ("task", "prepare", "db1", {"task": "install"})
    ] * 2


def test_a_listener_that_fails_is_dropped_with_a_warning() -> None:
    """It is told once; the others hear everything; the warning names it and the event."""
    told: list[str] = []
    calls: list[str] = []

    def guest(event: Event) -> None:
        calls.append(event.kind)
        raise RuntimeError("no screen")

    emit = Emitter((guest, lambda event: told.append(event.kind)))
    emit("run")
    emit("run-end")
    assert (calls, told) == (["run"], ["run", "run-end"])
    assert len(emit.warnings) == 1
    assert "failed at 'run'" in emit.warnings[0]
    assert "no screen" in emit.warnings[0]


def test_a_listener_that_fails_in_two_threads_is_dropped_once() -> None:
    """A task that tells of an effect is not ended by a listener that another thread has dropped meanwhile."""
    both = threading.Barrier(2)

    def guest(_: Event) -> None:
        both.wait(10)
        raise RuntimeError("no screen")

    emit = Emitter((guest,))
    raised: list[Exception] = []

    def tell() -> None:
        try:
            emit("effect")
        except Exception as error:  # noqa: BLE001  what is looked for
            raised.append(error)

    threads = [threading.Thread(target=tell) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert len(emit.warnings) == 1
