"""`maintenance.logs`: no node dies of its logs. Limits for the journal and for log files, proven by a rotation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Stage
from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.size import Size
from nornir_stack.tasks.maintenance.fills import FULL_PERCENT, fills, too_full
from nornir_stack.tasks.maintenance.rotation import parsed_size, rotated, rotations
from nornir_stack.tasks.maintenance.settings import Care
from nornir_stack.tasks.maintenance.survey import NODES

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.maintenance.rotation import LogFile

JOURNAL = "/etc/systemd/journald.conf.d/90-nornir-stack.conf"


def logs(*, percent: int = FULL_PERCENT) -> Chain:
    """Keep logs within bounds on all nodes: journald's limits, rotations by size every hour, what is too large rotated now.

    What is bounded, and how, stands in the inventory (`care: logs:`, docs/care.md). At the end no file system of logs may be
    used by more than this; else the largest files are named, and since when they grow.

    percent: how full the file system of /var/log may be.
    """
    until = Check(fills, partial(too_full, percent=percent), NODES)
    return Chain(
        "maintenance.logs",
        Stage("limits", [journal, rotating], NODES),
        Stage("rotate", [shortened], NODES, until=until),
    )


def journal(task: Task) -> Result[Size]:
    """The journal's limits of the inventory, set."""
    care = settings_of(task.host, Care).logs
    return journal_limits(task, most=str(care.journal), keep_free=str(care.keep_free))


def rotating(task: Task) -> Result[tuple[str, ...]]:
    """The rotations of the inventory, set."""
    return rotations(task, wanted=settings_of(task.host, Care).logs.rotations)


def shortened(task: Task) -> Result[tuple[LogFile, ...]]:
    """What is too large rotated now; the value is the logs as they are."""
    node, care = Node(task), settings_of(task.host, Care).logs
    found: list[LogFile] = []
    for label, one in care.rotations.items():
        logs_now: tuple[LogFile, ...] | None = node.then(rotated, label=label, paths=list(one.paths), largest=str(one.largest))
        found += logs_now or ()
    return node.done(tuple(found))


def journal_limits(task: Task, *, most: str, keep_free: str = "") -> Result[Size]:
    """Have the journal take at most `most` and leave `keep_free`, journald.conf(5); the value is what it takes now."""
    limits = (("SystemMaxUse", most), ("SystemKeepFree", keep_free))
    wanted = "".join(f"{key}={parsed_size(value)}\n" for key, value in limits if value)
    node = Node(task)
    if node.stat(JOURNAL.rpartition("/")[0]) is None:
        node.make_folder(JOURNAL.rpartition("/")[0])
    if node.write_file(JOURNAL, f"[Journal]\n{wanted}"):
        node.change("systemctl", "restart", "systemd-journald", repeatable=True)
        node.change("journalctl", "--rotate", f"--vacuum-size={parsed_size(most)}", repeatable=True)
    return node.done(lambda: _journal_size(node))


def _journal_size(node: Node) -> Size:
    folders = node.read(sh("du -sb /var/log/journal /run/log/journal 2>/dev/null; :", label="the journal's size"))
    return Size(sum(int(line.split()[0]) for line in folders.lines))
