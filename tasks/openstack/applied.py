"""A service that runs with its configuration as it is now: restarted if it began before a file of it changed."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.effects import overlay_of
from nornir_stack.node import Node
from nornir_stack.tasks.system.services import restart, service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.system.services import UnitState

# The first line is when the unit last began to start, the others are when each file was written.
_LOOK = r"""
export LC_ALL=C
unit=$1; shift
systemctl show --timestamp=us+utc -p InactiveExitTimestamp --value -- "$unit"
for f; do if [ -e "$f" ]; then stat -L -c %.6Y -- "$f"; fi; done
"""


def applied(task: Task, *, unit: str, files: Sequence[str]) -> Result[UnitState]:
    """Have a unit run with `files` as they are: enabled, started, and restarted if it began before one of them was written.

    So a run that was cut between a file and the restart is made good by the next. Raises as `system.service` does.
    """
    node = Node(task)
    # in a dry run the files are as they were: which would be written is known beside that
    known = not node.gate.pending
    said = node.read(sh(_LOOK, unit, *files, label=f"look at {unit} and its files"), independent=known).stdout
    stale = older(said) or (node.dry_run and any(path in overlay_of(task) for path in files))
    before = len(node.gate.effects)
    now = service(task, unit=unit, state="started", enabled=True).value
    began = any("systemctl start" in effect.what for effect in node.gate.effects[before:])
    if stale and not began:
        now = node.then(restart, unit=unit) or now
    return node.done(now)


def older(said: str) -> bool:
    """Whether the unit of the first line began before one of the files of the others was written. Pure."""
    first, *files = said.splitlines() or [""]
    begun = _seconds(first)
    return begun is not None and any(float(written) > begun for written in files)


def _seconds(text: str) -> float | None:
    """`Tue 2026-11-24 18:20:36.123456 UTC` in seconds since the epoch; None for `n/a` or nothing."""
    words = text.split()
    if len(words) != 4:  # noqa: PLR2004  day, date, time, zone
        return None
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in words[2] else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(f"{words[1]} {words[2]}", form).replace(tzinfo=timezone.utc).timestamp()
