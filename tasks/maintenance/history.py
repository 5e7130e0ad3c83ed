"""What was measured before: a file of JSON lines a node, kept here and bounded; growth and forecasts of it."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping  # noqa: TC003  read at run time, with the dataclass
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from nornir_stack.journal import state_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nornir_stack.tasks.maintenance.condition import Condition

DAY = 86400.0
_CLOSE, _RECENT, _LONGEST = DAY / 48, 2 * DAY, 400 * DAY
_WINDOWS = (3 * DAY, 14 * DAY)
_LEAST_POINTS, _LEAST_SPAN = 3, DAY / 4
_DROP = 0.05  # a file system that loses more was tidied up: what was before says nothing of what comes
_SAFE = re.compile(r"[^A-Za-z0-9.-]")

Point = tuple[float, float]


@dataclass(frozen=True)
class Sample:
    """What is kept of one look. Used bytes by mount, sizes of large logs by path, bytes below /var/log."""

    when: float
    boot: str = ""
    disks: Mapping[str, int] = field(default_factory=dict)
    logs: Mapping[str, int] = field(default_factory=dict)
    logs_size: int = 0
    oom_kills: int = 0


@dataclass(frozen=True)
class Growth:
    """Bytes a day, and since when (seconds since 1970); `full_in` days, where there is an end to it."""

    per_day: float
    since: float
    full_in: float | None = None


def sample_of(seen: Condition) -> Sample:
    """What is kept of a node's condition."""
    return Sample(
        seen.now,
        seen.boot,
        {disk.mount: disk.used for disk in seen.disks},
        {log.path: log.size for log in seen.logs},
        seen.logs_size,
        seen.memory.oom_kills,
    )


def folder() -> Path:
    """Where the histories lie."""
    return state_folder() / "history"


def remember(host: str, machine: str, sample: Sample) -> tuple[Sample, ...]:
    """Add a sample to the node's history; all of it, the oldest first. A node that was installed anew begins a new one.

    Two looks at once both come in. A line that a crash cut short is passed over.
    """
    folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder() / f"{_SAFE.sub('_', host)}-{_SAFE.sub('_', machine)[:12] or 'unknown'}.jsonl"
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        before = parsed(file.read())
        kept = thinned([*before, sample])
        if len(kept) == len(before) + 1:
            file.write(("" if not before else "\n") + _line(sample))
        else:
            # in place, under the lock: whoever waits for it has this file open
            file.truncate(0)
            file.write("\n".join(map(_line, kept)))
        file.flush()
        os.fsync(file.fileno())
    return kept


def recall(host: str, machine: str) -> tuple[Sample, ...]:
    """The node's history, the oldest first."""
    path = folder() / f"{_SAFE.sub('_', host)}-{_SAFE.sub('_', machine)[:12] or 'unknown'}.jsonl"
    return parsed(path.read_text()) if path.exists() else ()


def _line(sample: Sample) -> str:
    return json.dumps(asdict(sample))


def parsed(text: str) -> tuple[Sample, ...]:
    """The samples of a file, by time. Pure."""
    found = []
    for line in text.splitlines():
        try:
            found.append(Sample(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return tuple(sorted(found, key=lambda sample: sample.when))


def thinned(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """At most one in half an hour of the last two days, one a day of the last 400, and always the newest. Pure."""
    newest = samples[-1]
    kept: list[Sample] = []
    for sample in samples[:-1]:
        age = newest.when - sample.when
        apart = _CLOSE if age <= _RECENT else DAY * 0.9
        if 0 <= age <= _LONGEST and (not kept or sample.when - kept[-1].when >= apart):
            kept.append(sample)
    return (*kept, newest)


def growth(points: Sequence[Point], free: float) -> Growth | None:
    """How something grows that has `free` bytes left, by (time, bytes). None: it does not, or too little is known.

    The median of the slopes of all pairs (Theil-Sen), so that one odd look counts little; of the last three days or the last
    fourteen, whichever is steeper, since it is better to be told too early. What was before a clean-up does not count. Pure.
    """
    after = _since_drop(points)
    slopes = [slope for window in _WINDOWS if (slope := _slope(after, window)) is not None]
    fastest = max(slopes, default=0.0)
    if fastest <= 0:
        return None
    return Growth(fastest * DAY, _began(after), round(free / fastest / DAY, 1))


def _since_drop(points: Sequence[Point]) -> Sequence[Point]:
    start = 0
    for i in range(1, len(points)):
        if points[i][1] < points[i - 1][1] * (1 - _DROP):
            start = i
    return points[start:]


def _slope(points: Sequence[Point], window: float) -> float | None:
    near = [point for point in points if points[-1][0] - point[0] <= window]
    if len(near) < _LEAST_POINTS or near[-1][0] - near[0][0] < _LEAST_SPAN:
        return None
    return median((b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(near) for b in near[i + 1 :] if b[0] > a[0])


def _began(points: Sequence[Point]) -> float:
    """When it last did not grow: the growth began after that look."""
    for i in range(len(points) - 1, 0, -1):
        if points[i][1] <= points[i - 1][1]:
            return points[i][0]
    return points[0][0]


def disk_points(history: Sequence[Sample], mount: str) -> list[Point]:
    """Used bytes of a mount, as `growth` takes it. Pure."""
    return [(sample.when, sample.disks[mount]) for sample in history if mount in sample.disks]


def log_points(history: Sequence[Sample], path: str) -> list[Point]:
    """Sizes of a log; before it was first large it counts as nothing. Pure."""
    return [(sample.when, sample.logs.get(path, 0)) for sample in history]


def new_oom_kills(history: Sequence[Sample]) -> int:
    """Processes that were killed for want of memory since the look before, or since the boot. Pure."""
    if not history:
        return 0
    now = history[-1]
    before = next((sample for sample in reversed(history[:-1]) if sample.boot == now.boot), None)
    return now.oom_kills - (before.oom_kills if before else 0)
