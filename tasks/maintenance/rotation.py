"""Logs rotated by their size, every hour, beside what the packages do once a day; and the proof that it happens.

A log that runs wild fills a disk within hours, and logrotate's own timer looks once a day. So these rotations have a
configuration, a state and an hourly timer of their own: no log is `duplicate`, as it would be in /etc/logrotate.d.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.size import Size
from nornir_stack.tasks.maintenance.settings import Rotation
from nornir_stack.tasks.maintenance.trouble import few, size
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result

FOLDER = "/etc/nornir-stack/logrotate.d"
CONFIG = "/etc/nornir-stack/logrotate.conf"
STATE = "/var/lib/nornir-stack/logrotate.status"
UNIT = "nornir-stack-logrotate"
_PROBE = "/var/lib/nornir-stack/probe.log"
_LABEL = re.compile(r"[a-z0-9][a-z0-9-]*")
# Rotated as root whoever owns the folder: Ubuntu's /var/log belongs to a group that is not root's, and logrotate passes
# over such folders else. The probe is rotated at each run, and shows that the whole way works.
_MAIN = f"""\
su root root
{_PROBE} {{
    size 1
    rotate 1
    missingok
    copytruncate
}}
include {FOLDER}
"""
_SERVICE = f"""\
[Unit]
Description=Rotate logs that are too large (nornir-stack)

[Service]
Type=oneshot
ExecStart=/usr/sbin/logrotate --state {STATE} {CONFIG}
Nice=19
IOSchedulingClass=best-effort
IOSchedulingPriority=7
"""
_TIMER = """\
[Unit]
Description=Rotate logs that are too large, every hour (nornir-stack)

[Timer]
OnCalendar=hourly
RandomizedDelaySec=5min
Persistent=true

[Install]
WantedBy=timers.target
"""
# $1...: patterns, as the shell finds them. Nothing is printed for a pattern without files. With the room beside each.
_FILES = r"""
if command -v logrotate >/dev/null; then echo installed; fi
for pattern; do for f in $pattern; do
    [ -f "$f" ] && stat -c 'log %i %s %n' -- "$f" && echo "room $(df -B1 --output=avail -- "$f" | tail -n 1)"
done; done
:
"""
# The end of the log is kept beside it where there is room for that; the file is emptied in place, so its writer goes on.
_CUT = r"""
set -e
[ -f "$1" ] && [ ! -L "$1" ]
tail -c "$2" -- "$1" >"$1.end" || { rm -f -- "$1.end"; exit 1; }
chown --reference="$1" -- "$1.end"; chmod --reference="$1" -- "$1.end"
truncate -s 0 -- "$1"
"""


@dataclass(frozen=True)
class LogFile:
    """A log: its inode, its size and the room beside it in bytes."""

    path: str
    inode: int
    size: int
    room: int = 0


def rotation(task: Task, *, label: str, paths: Sequence[str], keep: int = 5, largest: str = "100M") -> Result[tuple[str, ...]]:
    """Have `paths` (patterns too) rotated within the hour when they are larger than `largest`; `keep` old ones stay, packed.

    As `rotations` does for several.
    """
    return rotations(task, wanted={label: Rotation(paths=tuple(paths), keep=keep, largest=parsed_size(largest))})


def rotations(task: Task, *, wanted: Mapping[str, Rotation]) -> Result[tuple[str, ...]]:
    """Have these rotations, label to what; the value is their files. Others that are there stay.

    Where anything of it is new, a rotation is made at once and proven on a probe. Raises Refused where logrotate does not
    understand it, or a log is in two rotations.
    """
    node = Node(task)
    texts = {config_path(label): config(one.paths, one.keep, one.largest) for label, one in wanted.items()}
    for folder in (FOLDER, STATE.rpartition("/")[0]):
        if node.stat(folder) is None:
            node.make_folder(folder)
    node.write_file(CONFIG, _MAIN)
    for path, text in texts.items():
        node.write_file(path, text)
    units = {f"/etc/systemd/system/{UNIT}.service": _SERVICE, f"/etc/systemd/system/{UNIT}.timer": _TIMER}
    fresh = [node.write_file(path, text) for path, text in units.items()]
    packages(task, present=["logrotate"])
    changed = bool(node.gate.effects)
    if changed and not node.dry_run:
        _understood(node)
    if any(fresh):
        node.change("systemctl", "daemon-reload", repeatable=True)
    node.then(service, unit=f"{UNIT}.timer", state="started", enabled=True)
    if changed:
        node.change(
            sh('echo "rotate me" >>"$1" && systemctl start "$2"', _PROBE, f"{UNIT}.service", label="rotate the probe"),
            what=f"rotate a probe by {UNIT}.service",
        )
    return node.done(lambda: _probed(node, tuple(texts)) if changed else tuple(texts))


def rotated(task: Task, *, label: str, paths: Sequence[str], largest: str) -> Result[tuple[LogFile, ...]]:
    """Rotate now what of `paths` is larger than `largest`, and prove that it happened, by inode and size.

    The value is the logs as they are. Raises Refused where there is no room for the copy of a log, or where logrotate ended
    well and a log is what it was.
    """
    path, limit = config_path(label), parsed_size(largest)
    node = Node(task)
    installed, before = parse_files(node.read(sh(_FILES, *paths, label="look at the logs")).stdout)
    if not installed or node.stat(path) is None:
        raise Refused(f"{path} is not there, or no logrotate: run maintenance.rotation first")
    large = [log for log in before if log.size > limit]
    if not large:
        return node.done(before)
    if tight := [f"{log.path} ({size(log.size)}, {size(log.room)} left)" for log in large if log.size >= log.room]:
        raise Refused(f"no room for a copy of {few(tight)}: make room, or give it up by maintenance.cut_log path=...")
    shown = "".join(f"-{log.path} {log.size} bytes\n+{log.path} 0 bytes\n" for log in large)
    node.change("systemctl", "start", f"{UNIT}.service", what=f"rotate {len(large)} logs", diff=f"--- logs\n+++ logs\n{shown}")
    return node.done(lambda: _proven(node, paths, large))


def cut_log(task: Task, *, path: str, keep: str = "16M") -> Result[LogFile]:
    """Give up a log that is too large for the room beside it, but for its end, which is kept in `PATH.end`.

    For a disk that is full; what was in the log is lost. One that is not larger than `keep` is left alone. Its writer goes
    on writing. Raises Refused where there is no such log, or no room for its end.
    """
    node = Node(task)
    most = parsed_size(keep)
    if not path.startswith("/var/log/") or ".." in path.split("/"):
        raise Refused(f"{path} does not lie below /var/log: this is for logs only")
    found = _one(node, path)
    if found.size <= most:
        return node.done(found)
    if found.room < most:
        raise Refused(f"there is no room for the last {most} of {path}: {size(found.room)} are left; take a smaller keep=")
    node.change(
        sh(_CUT, path, str(int(most)), label=f"cut {path}"),
        what=f"empty {path} but for its last {most}",
        diff=f"--- {path}\n+++ {path}\n-{found.size} bytes\n+0 bytes, {path}.end {int(most)} bytes\n",
    )
    return node.done(lambda: _one(node, path))


def _one(node: Node, path: str) -> LogFile:
    _, found = parse_files(node.read(sh(_FILES, path, label=f"look at {path}")).stdout)
    if [log.path for log in found] != [path]:
        raise Refused(f"{node.name} has no log {path}")
    return found[0]


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
    return f"{FOLDER}/{label}"


def config(paths: Sequence[str], keep: int, largest: Size) -> str:
    """The file of a rotation, logrotate(8). Pure.

    `copytruncate`: no program has to be told, whatever it is; lines written in the moment between the two are lost.
    """
    for path in paths:
        if not path.startswith("/") or re.search(r"[\s{}\"']", path):
            raise UsageError(f"a log is an absolute path without spaces, braces and quotes: {path!r}")
    if not paths or keep < 1:
        raise UsageError("a rotation needs paths, and keeps at least 1 old log")
    how = [f"size {int(largest)}", f"rotate {keep}", "missingok", "notifempty", "compress", "delaycompress", "copytruncate"]
    return "\n".join([*paths, "{", *(f"    {line}" for line in how), "}", ""])


def parse_files(text: str) -> tuple[bool, tuple[LogFile, ...]]:
    """Whether logrotate is there, and the logs. Pure."""
    found: list[LogFile] = []
    for line in text.splitlines():
        if line.startswith("log "):
            _, inode, count, path = line.split(" ", 3)
            found.append(LogFile(path, int(inode), int(count)))
        elif line.startswith("room ") and found:
            found[-1] = LogFile(found[-1].path, found[-1].inode, found[-1].size, int(line.split()[1]))
    return text.startswith("installed"), tuple(found)


def parsed_size(text: str) -> Size:
    """A size as a person typed it. Raises UsageError."""
    try:
        return Size.parse(text)
    except ValueError as why:
        raise UsageError(str(why)) from why


def _understood(node: Node) -> None:
    said = node.read("logrotate", "--debug", CONFIG, ok=None)
    errors = [line for line in said.stderr.splitlines() if line.startswith("error:")]
    if errors or not said.ok:
        raise Refused(f"logrotate does not understand {CONFIG}: {'; '.join(errors) or said.explain()}")


def _probed(node: Node, paths: tuple[str, ...]) -> tuple[str, ...]:
    """That the probe was rotated: emptied, with what was in it beside it."""
    text = node.read(sh('stat -c %s -- "$1" "$1.1"', _PROBE, label="look at the probe"), ok=None).lines
    if len(text) != 2 or text[0] != "0" or text[1] == "0":  # noqa: PLR2004  the two files
        raise Refused(f"{UNIT}.service ended well and did not rotate {_PROBE}: `logrotate --debug {CONFIG}` says why")
    return paths


def _proven(node: Node, paths: Sequence[str], large: Sequence[LogFile]) -> tuple[LogFile, ...]:
    after = parse_files(node.read(sh(_FILES, *paths, label="look at the logs")).stdout)[1]
    if problems := judge(large, after):
        raise Refused(f"logrotate ended well and did not rotate: {'; '.join(problems)}")
    return after
