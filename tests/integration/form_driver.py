"""galera.form in a process of its own that kills itself: `python -m tests.integration.form_driver INVENTORY [EVENT]`.

At the EVENT-th event, right after the journal has it, the process gets SIGKILL; without a number it runs to its end.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import TYPE_CHECKING

from nornir_stack.inventory import open_inventory
from nornir_stack.tasks.cluster.form import form

if TYPE_CHECKING:
    from nornir_stack.events import Event

LOCK_SECONDS = 300.0  # a command that outlived the controller before holds the lock for as long as it runs


def main(folder: str, at: int = 0) -> int:
    numbers = itertools.count(1)

    def killer(_: Event) -> None:
        if next(numbers) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    nr = open_inventory(folder)
    report = form().run(nr, wait=LOCK_SECONDS, listeners=[killer])
    nr.close_connections()
    for stage in report.stages:
        print(f"{stage.duration:7.2f} s  {stage.name}  {stage.status}  {' '.join(stage.problems)}")  # noqa: T201  for the test
    print(report.error)  # noqa: T201  for the test
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
