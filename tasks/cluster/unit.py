"""Starting a member's unit, and why it did not start."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import CommandFailed
from nornir_stack.secret import mask

if TYPE_CHECKING:
    from nornir_stack.node import Node

START_SECONDS = 3600.0  # a state transfer of a large database takes its time; progress is judged by the barrier
# The server's own words for what went wrong, from its journal since this try.
_WHY = r"""
journalctl -u "$1" -n 400 --no-pager -o cat 2>/dev/null | grep -E '\[ERROR\]|FATAL|WSREP_SST: \[ERROR\]' | tail -n 6
"""
# Debian's start script goes on in the background: after a full copy, and after a new release, it upgrades the system tables,
# and a GRANT that comes from another member meanwhile may wait for it, and it for the GRANT. Those of containers are not its.
_UPGRADED = r"""
busy() {
    for p in /proc/[0-9]*; do
        IFS= read -r c 2>/dev/null <"$p/comm" || continue
        case $c in debian-start|mariadb-upgrade|mysql_upgrade) ;; *) continue;; esac
        n=
        while read -r k v w; do
            case $k in NSpid:) n=$w;; State:) [ "$v" != Z ] || n=zombie;; esac
        done 2>/dev/null <"$p/status"
        [ -n "$n" ] || return 0
    done
    return 1
}
while busy; do sleep 0.2; done
"""


def upgraded(node: Node) -> None:
    """Wait until the upgrade of the system tables, which a start may have begun, has ended."""
    if not node.dry_run:
        node.read(sh(_UPGRADED, label="wait until its system tables are upgraded"), timeout=START_SECONDS)


def start(node: Node, unit: str, *, verb: str = "start", diff: str = "") -> None:
    """Start, or `restart`, a unit. Raises CommandFailed with what the server said of its end.

    Then it is stopped: systemd would try every few seconds (Restart=on-abnormal), and each try joins and leaves the cluster,
    and may ask a donor for a copy.
    """
    done = node.change("systemctl", verb, unit, ok=None, timeout=START_SECONDS, diff=diff)
    if node.dry_run or done.ok:
        upgraded(node)
        return
    why = node.read(sh(_WHY, unit, label=f"journal of {unit}"), ok=None).stdout.strip()
    node.change("systemctl", "stop", unit, ok=None, diff=f"-{node.name} does not try again")
    text = mask(f"{done.stderr.strip().splitlines()[0] if done.stderr.strip() else ''}\n{why}")
    raise CommandFailed(replace(done, err=text.encode("utf-8", "surrogateescape")))
