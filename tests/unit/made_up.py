"""Chains and tasks that touch no node, for tests of what is around them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from nornir.core.task import Task  # noqa: TC002  task functions are inspected

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.effects import Gate
from nornir_stack.errors import Refused
from nornir_stack.results import Result
from nornir_stack.secret import Secret  # noqa: TC001  parameters are inspected
from nornir_stack.select import everyone, hosts, role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.seen import Seen

MEMBERS = role("member")
DIFF = "--- /etc/a.conf\n+++ /etc/a.conf\n@@ -1 +1 @@\n-a = 1\n+a = 2\n"


def touch(task: Task, *, bad: str = "", until: str = "", size: int = 1) -> Result[dict[str, object]]:
    """Write /etc/a.conf.

    `bad` refuses. With `until` it waits for that file; one by its name and the host's says that it began.
    """
    gate = Gate(task)
    gate.effect("write /etc/a.conf", lambda: _wait_for(until, task.host.name), diff=DIFF)
    if task.host.name == bad:
        raise Refused(f"{bad} holds the data of another cluster: name it as lost")
    return Result(task.host, {"size": size, "state": "Synced"}, changed=True)


def look(task: Task) -> Result[str]:
    """Look."""
    return Result(task.host, "Synced")


def babble(task: Task) -> Result[str]:
    """Says what is no ASCII, and no text."""
    return Result(task.host, "na\u00efve caf\udce9")


def login(task: Task, *, password: Secret) -> Result[str]:
    """Log in."""
    return Result(task.host, f"as {password.reveal()}")


def faulty(task: Task) -> Result[str]:
    """Has a fault."""
    raise ZeroDivisionError(task.host.name)


def form(*, bad: str = "", until: str = "", missing: Sequence[str] = (), changes: bool = True) -> Chain:
    """Form it.

    The most advanced member goes first.
    """

    def decide(seen: Seen[str]) -> Chain:
        joins = [Stage(f"join {host}", [do(touch, until=until)], hosts(host)) for host in seen if host not in missing]
        return Chain("elect", *joins[: None if changes else 0], reasons=["db1 is the most advanced"])

    return Chain(
        "made.form",
        Stage("prepare", [look, do(touch, bad=bad, until=until)] if changes else [look], MEMBERS),
        Plan("elect", look, decide, MEMBERS),
        Stage("verify", [look], everyone, until=Check(look, lambda _: [], everyone)),
    )


def broken() -> Chain:
    """Has a fault of its own."""
    return Chain(str(1 / 0))


def no_chain() -> str:
    """Gives something else."""
    return "no chain"


def _wait_for(path: str, host: str) -> None:
    if path:
        Path(f"{path}.{host}").touch()
    end = time.monotonic() + 20
    while path and not Path(path).exists() and time.monotonic() < end:
        time.sleep(0.01)
