"""SELinux, where it exists: its mode, and the contexts of files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.system.facts import SelinuxMode

_MODE = """
if command -v getenforce >/dev/null; then getenforce; elif [ -e /sys/fs/selinux/enforce ]; then cat /sys/fs/selinux/enforce
elif [ -e /etc/selinux/config ]; then echo Disabled; else echo absent; fi
"""
_MODES: dict[str, SelinuxMode] = {
    "Enforcing": "enforcing",
    "1": "enforcing",
    "Permissive": "permissive",
    "0": "permissive",
    "Disabled": "disabled",
    "absent": "absent",
}
_CONTEXTS = (
    'command -v semanage >/dev/null || { echo "no semanage"; exit 0; }; semanage fcontext --list --locallist --noheading'
)
# Where the controller dies, nobody else puts it back. Without systemd there is no timer, and no permissive mode then.
_PERMISSIVE = """
set -e
systemd-run --quiet --unit=nornir-stack-enforcing --on-active="$1" --timer-property=AccuracySec=1s setenforce 1
setenforce 0
"""
_ENFORCING = "setenforce 1 && systemctl stop nornir-stack-enforcing.timer"


def selinux_mode(task: Task) -> Result[SelinuxMode]:
    """Observe: enforcing, permissive, disabled (installed and off) or absent."""
    node = Node(task)
    return node.done(mode_of(node))


def file_context(task: Task, *, path: str, type: str) -> Result[str] | Result[None]:  # noqa: A002  SELinux' own word
    """Give a folder and all below it the SELinux type `type` (`mysqld_db_t`), in the policy and on the files.

    Skipped where SELinux is not in force. Raises Refused where semanage is missing.
    """
    node = Node(task)
    mode = mode_of(node)
    if mode in {"disabled", "absent"}:
        return node.skipped(f"SELinux is {mode} here")
    listed = node.read(sh(_CONTEXTS)).stdout
    if listed.strip() == "no semanage":
        raise Refused(f"{node.name}: SELinux is {mode} and there is no semanage: install policycoreutils-python-utils first")
    pattern, folder = f"{path.rstrip('/')}(/.*)?", path.rstrip("/")
    now = type_of(listed, pattern)
    if now != type:
        verb = "--modify" if now else "--add"
        lines = [f"-{pattern} {now}"] if now else []
        diff = "\n".join(["--- file contexts", "+++ file contexts", *lines, f"+{pattern} {type}", ""])
        node.change("semanage", "fcontext", verb, "--type", type, pattern, diff=diff, repeatable=True)
    # -n only says what it would relabel
    wrong = node.read("restorecon", "-R", "-n", "-v", folder, ok=None, independent=True).lines
    if now != type or wrong:
        node.change("restorecon", "-R", folder, repeatable=True)
    return node.done(type)


@contextmanager
def permissive_while(node: Node, *, within: int = 900) -> Iterator[None]:
    """Permissive in the body only where it was enforcing, and enforcing again after it, whatever happened in it.

    A timer on the node puts it back after `within` seconds should nobody else: a controller that was killed, a cancel.
    In a dry run the body is gone through and nothing is set. Prefer `semanage permissive -a DOMAIN` where one is enough.
    """
    if mode_of(node) != "enforcing":
        yield
        return
    if node.dry_run:
        yield
        node.change("setenforce", "0", what="permissive while that is done, then enforcing again", repeatable=True)
        return
    node.change(sh(_PERMISSIVE, f"{within}s"), what="setenforce 0", repeatable=True)
    try:
        yield
    finally:
        node.change(sh(_ENFORCING), what="setenforce 1", repeatable=True)


def mode_of(node: Node) -> SelinuxMode:
    """The mode now."""
    return _MODES[node.read(sh(_MODE)).text]


def type_of(listed: str, pattern: str) -> str:
    """The type that the local policy gives to `pattern`, from `semanage fcontext --list --locallist`; else nothing."""
    for line in listed.splitlines():
        words = line.split()
        if words and words[0] == pattern:
            return words[-1].split(":")[2]
    return ""
