"""What fills a file system, and since when."""

from __future__ import annotations

import time
from collections.abc import Mapping  # noqa: TC003  read at run time, with the dataclass
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.tasks.maintenance.history import Growth, growth, log_points, recall
from nornir_stack.tasks.maintenance.trouble import few, size

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

FULL_PERCENT = 90

# A file that was deleted and is still open takes room that no `du` shows: a log that its writer was not told of.
_FILLS = r"""
echo "machine $(cat /etc/machine-id)"
df --output=size,avail,target -B1 -- "$1" | tail -n 1 | sed 's/^ */disk /; s/  */ /g'
find "$1" -xdev -type f -size +64k -printf 'file %s %p\n' 2>/dev/null | sort -k2,2nr | head -n "$2"
find /proc/[0-9]*/fd -maxdepth 1 -lname '/* (deleted)' -printf '%p %l\n' 2>/dev/null | while read -r f path; do
    case $path in /memfd:*|/dev/*|/run/*|/SYSV*|/anon_hugepage*) continue ;; esac
    stat -L -c 'gone %s %i' "$f" 2>/dev/null | sed "s|\$| $path|"
done | sort -u
:
"""


@dataclass(frozen=True)
class Fills:
    """What fills a file system, in bytes: the largest files, and those deleted that someone still holds open.

    `grows`: how fast the largest grow and since when, by what `maintenance.survey` recorded.
    """

    mount: str
    size: int
    free: int
    largest: tuple[tuple[str, int], ...] = ()
    deleted: tuple[tuple[str, int], ...] = ()
    grows: Mapping[str, Growth] = field(default_factory=dict)

    @property
    def percent(self) -> int:
        return 100 * (self.size - self.free) // self.size if self.size else 0


def fills(task: Task, *, path: str = "/var/log", top: int = 10) -> Result[Fills]:
    """Observe the file system of `path`, the `top` largest files below `path`, and deleted ones that are still open."""
    node = Node(task)
    text = node.read(sh(_FILLS, path, str(top), label=f"what fills {path}")).stdout
    now = parse_fills(text)
    history = recall(node.name, text.partition("\n")[0].removeprefix("machine "))
    known = {one: growth(log_points(history, one), now.free) for one, _ in now.largest}
    return node.done(replace(now, grows={one: grows for one, grows in known.items() if grows}))


def too_full(seen: Seen[Fills], *, percent: int = FULL_PERCENT) -> list[str]:
    """A problem for each host whose file system is used by `percent` or more, with what to look at. Pure."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, now in seen.items():
        if now.percent >= percent:
            problems.append(f"{host}: {now.mount} is {now.percent} % full; largest: {_worst(now)}")
    return problems


def _worst(now: Fills) -> str:
    shown = [f"{path} ({size(count)}{_since(now.grows.get(path))})" for path, count in (*now.deleted, *now.largest)]
    return few(shown, 3) if shown else "no file"


def _since(grows: Growth | None) -> str:
    if grows is None:
        return ""
    return f", {size(grows.per_day)} a day since {time.strftime('%Y-%m-%d', time.localtime(grows.since))}"


def parse_fills(text: str) -> Fills:
    """What the look printed. Pure."""
    now = Fills("", 0, 0)
    largest: list[tuple[str, int]] = []
    deleted: list[tuple[str, int]] = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "disk":
            whole, free, mount = rest.split(" ", 2)
            now = replace(now, mount=mount, size=int(whole), free=int(free))
        elif kind == "file":
            count, _, path = rest.partition(" ")
            largest.append((path, int(count)))
        elif kind == "gone":
            count, _, path = rest.split(" ", 2)
            deleted.append((path, int(count)))
    return replace(now, largest=tuple(largest), deleted=tuple(deleted))
