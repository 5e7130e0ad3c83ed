"""A chain in a process of its own that kills itself: `python -m tests.integration.killed_driver INVENTORY CHAIN EVENT`.

At the EVENT-th event, right after the journal has it, the process gets SIGKILL; 0: it runs to its end.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import TYPE_CHECKING

from nornir_stack.inventory import open_inventory
from nornir_stack.tasks.cluster.form import form
from nornir_stack.tasks.cluster.recover import recover
from nornir_stack.tasks.cluster.roll import roll

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.chain import Chain
    from nornir_stack.events import Event

CHAINS: dict[str, Callable[[], Chain]] = {"form": form, "recover": recover, "roll": roll}
LOCK_SECONDS = 300.0  # a command that outlived the controller before holds the lock for as long as it runs


def main(folder: str, chain: str, at: int) -> int:
    numbers = itertools.count(1)

    def killer(_: Event) -> None:
        if next(numbers) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    nr = open_inventory(folder)
    report = CHAINS[chain]().run(nr, wait=LOCK_SECONDS, listeners=[killer])
    nr.close_connections()
    for stage in report.stages:
        print(f"{stage.duration:7.2f} s  {stage.name}  {stage.status}  {' '.join(stage.problems)}")  # noqa: T201  for the test
    print(report.error)  # noqa: T201  for the test
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
