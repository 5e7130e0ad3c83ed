"""Logs kept within bounds: what fills a disk, limits for the journal, rotations that are proven to happen."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.size import Size
from nornir_stack.tasks.system.packages import packages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

FULL_PERCENT = 90
JOURNAL = "/etc/systemd/journald.conf.d/90-nornir-stack.conf"
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]*")

# A file that was deleted and is still open takes room that no `du` shows: a log that its writer was not told of.
_FILLS = r"""
df --output=size,avail,target -B1 -- "$1" | tail -n 1 | sed 's/^ */disk /; s/  */ /g'
find "$1" -xdev -type f -size +64k -printf 'file %s %p\n' 2>/dev/null | sort -k2,2nr | head -n "$2"
for f in /proc/[0-9]*/fd/*; do
    case $(readlink "$f" 2>/dev/null) in
    /*' (deleted)') stat -L -c '%s %i' "$f" 2>/dev/null | sed "s|\$| $(readlink "$f")|; s/^/gone /" ;;
    esac
done | sort -u
:
"""
# $1: the rotation, $2...: its files, as the shell finds them. Nothing is printed for a pattern without files.
_FILES = r"""
if command -v logrotate >/dev/null; then echo installed; fi
for pattern; do for f in $pattern; do [ -f "$f" ] && stat -c 'log %i %s %n' -- "$f"; done; done
:
"""


@dataclass(frozen=True)
class LogFile:
    """A log: its inode and size in bytes."""

    path: str
    inode: int
    size: int


@dataclass(frozen=True)
class Fills:
    """What fills a file system, in bytes: the largest files, and those deleted that someone still holds open."""

    mount: str
    size: int
    free: int
    largest: tuple[tuple[str, int], ...] = ()
    deleted: tuple[tuple[str, int], ...] = ()

    @property
    def percent(self) -> int:
        return 100 * (self.size - self.free) // self.size if self.size else 0


def fills(task: Task, *, path: str = "/var/log", top: int = 10) -> Result[Fills]:
    """Observe the file system of `path`, the `top` largest files below `path`, and deleted ones that are still open."""
    node = Node(task)
    return node.done(parse_fills(node.read(sh(_FILLS, path, str(top), label=f"what fills {path}")).stdout))


def too_full(seen: Seen[Fills], *, percent: int = FULL_PERCENT) -> list[str]:
    """A problem for each host whose file system is used by `percent` or more, with what to look at. Pure."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, now in seen.items():
        if now.percent >= percent:
            worst = [f"{path} ({Size(size >> 20 << 20)})" for path, size in (*now.largest, *now.deleted)[:3]]
            problems.append(f"{host}: {now.mount} is {now.percent} % full; largest: {', '.join(worst) or 'no file'}")
    return problems


def journal_limits(task: Task, *, most: str, keep_free: str = "") -> Result[Size]:
    """Have the journal take at most `most` and leave `keep_free`, journald.conf(5); the value is what it takes now."""
    limits = (("SystemMaxUse", most), ("SystemKeepFree", keep_free))
    wanted = "".join(f"{key}={_size(value)}\n" for key, value in limits if value)
    node = Node(task)
    node.make_folder(JOURNAL.rpartition("/")[0])
    if node.write_file(JOURNAL, f"[Journal]\n{wanted}"):
        node.change("systemctl", "restart", "systemd-journald", repeatable=True)
        node.change("journalctl", "--rotate", f"--vacuum-size={_size(most)}", repeatable=True)
    return node.done(lambda: _journal_size(node))


def rotation(task: Task, *, label: str, paths: Sequence[str], keep: int = 7, largest: str = "100M") -> Result[str]:
    """Have logrotate rotate `paths` (patterns too) daily, or when larger than `largest`, and keep `keep` old ones.

    The file is `/etc/logrotate.d/nornir-stack-LABEL`; its value. Raises Refused where logrotate does not understand it.
    """
    path = config_path(label)
    node = Node(task)
    packages(task, present=["logrotate"])
    node.write_file(path, config(paths, keep, _size(largest)), independent=True)
    return node.done(lambda: _understood(node, path))


def rotated(task: Task, *, label: str, paths: Sequence[str], largest: str) -> Result[tuple[LogFile, ...]]:
    """Force the rotation `label` if one of `paths` is larger than `largest` now, and prove that it happened.

    The other logs of the rotation go along. Proven by inode and size: a log has a new inode, or lost its content
    (copytruncate). The value is the logs as they are.
    Raises Refused where logrotate ended well and a large log is what it was.
    """
    path, limit = config_path(label), _size(largest)
    node = Node(task)
    installed, before = parse_files(node.read(sh(_FILES, *paths)).stdout)
    if not installed or node.stat(path) is None:
        raise Refused(f"{path} is not there, or no logrotate: run maintenance.rotation first")
    large = [log for log in before if log.size > limit]
    if not large:
        return node.done(before)
    shown = "".join(f"-{log.path} {log.size} bytes\n+{log.path} 0 bytes\n" for log in large)
    node.change("logrotate", "--force", path, diff=f"--- {path}\n+++ {path}\n{shown}")
    return node.done(lambda: _proven(node, paths, large))


def judge(large: Sequence[LogFile], after: Sequence[LogFile]) -> list[str]:
    """Which logs were not rotated, a sentence each. A log that nobody has written again since may be absent. Pure."""
    now = {log.path: log for log in after}
    return [
        f"{log.path} is still inode {log.inode} with {now[log.path].size} bytes"
        for log in large
        if log.path in now and now[log.path].inode == log.inode and now[log.path].size >= log.size
    ]


def config_path(label: str) -> str:
    """Where a rotation of ours stands; logrotate passes over names with a dot."""
    if not _LABEL.fullmatch(label):
        raise UsageError(f"{label!r} is no label of a rotation: small letters, digits and -")
    return f"/etc/logrotate.d/nornir-stack-{label}"


def config(paths: Sequence[str], keep: int, largest: Size) -> str:
    """The file of a rotation, logrotate(8). Pure."""
    for path in paths:
        if not path.startswith("/") or re.search(r"[\s{}\"']", path):
            raise UsageError(f"a log is an absolute path without spaces, braces and quotes: {path!r}")
    if not paths or keep < 1:
        raise UsageError("a rotation needs paths, and keeps at least 1 old log")
    when = ["daily", f"maxsize {int(largest)}", f"rotate {keep}"]
    how = ["missingok", "notifempty", "compress", "delaycompress", "copytruncate"]
    return "\n".join([*paths, "{", *(f"    {line}" for line in (*when, *how)), "}", ""])


def parse_files(text: str) -> tuple[bool, tuple[LogFile, ...]]:
    """Whether logrotate is there, and the logs. Pure."""
    logs = [line.split(" ", 3)[1:] for line in text.splitlines() if line.startswith("log ")]
    return text.startswith("installed"), tuple(LogFile(path, int(inode), int(size)) for inode, size, path in logs)


def parse_fills(text: str) -> Fills:
    """What the look printed. Pure."""
    now = Fills("", 0, 0)
    largest: list[tuple[str, int]] = []
    deleted: list[tuple[str, int]] = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "disk":
            size, free, mount = rest.split(" ", 2)
            now = replace(now, mount=mount, size=int(size), free=int(free))
        elif kind == "file":
            size, _, path = rest.partition(" ")
            largest.append((path, int(size)))
        elif kind == "gone":
            size, _, path = rest.split(" ", 2)
            deleted.append((path, int(size)))
    return replace(now, largest=tuple(largest), deleted=tuple(deleted))


def _size(text: str) -> Size:
    try:
        return Size.parse(text)
    except ValueError as why:
        raise UsageError(str(why)) from why


def _journal_size(node: Node) -> Size:
    return Size(int(node.read(sh("du -sb /var/log/journal /run/log/journal 2>/dev/null | awk '{s+=$1} END {print s+0}'")).text))


def _understood(node: Node, path: str) -> str:
    said = node.read("logrotate", "--debug", path, ok=None)
    errors = [line for line in said.stderr.splitlines() if line.startswith("error:")]
    if errors or not said.ok:
        raise Refused(f"logrotate does not understand {path}: {'; '.join(errors) or said.explain()}")
    return path


def _proven(node: Node, paths: Sequence[str], large: Sequence[LogFile]) -> tuple[LogFile, ...]:
    after = parse_files(node.read(sh(_FILES, *paths)).stdout)[1]
    if problems := judge(large, after):
        raise Refused(f"logrotate ended well and did not rotate: {'; '.join(problems)}")
    return after
