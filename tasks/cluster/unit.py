"""Starting a member's unit, and why it did not start."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import CommandFailed
from nornir_stack.secret import mask
from nornir_stack.tasks.cluster.observe import look, member_of
from nornir_stack.tasks.loadbalancer.health import DRAIN_FLAG, NOTICE_SECONDS, SCRIPT

if TYPE_CHECKING:
    from nornir_stack.command import Output
    from nornir_stack.node import Node
    from nornir_stack.tasks.cluster.member import Member

# A full copy of a large database takes its time. It may, as long as the data folder changes: that is what is received,
# prepared and moved, and what a crashed server's log is replayed into. systemd waits too (the server extends
# TimeoutStartSec while it transfers and recovers: EXTEND_TIMEOUT_USEC, MariaDB 10.3 and later).
STUCK_SECONDS = 1800.0
STILL_SECONDS = 600.0  # of what it missed nothing is applied: one write set may be an ALTER TABLE
_EVERY_SECONDS = 30.0
_LONGEST_SECONDS = 7 * 86400.0
_UPGRADE_SECONDS = 3600.0
_MARK = r"""
mark() {
    find "$1" -xdev -type f ! -name galera.cache ! -name '*.err' ! -name '*.log' -printf '%s %T@ %p\n' 2>/dev/null | cksum
}
"""
# flag: clients are sent elsewhere first, unless somebody has drained the member already, or no load balancer can ask yet (no
# health script); gone however this ends.
_PATIENTLY = (
    _MARK
    + r"""
stuck=$1 every=$2 data=$3 flag=$4 notice=$5 asked=$6; shift 6
job= ours=
trap '[ -z "$job" ] || kill "$job" 2>/dev/null; [ -z "$ours" ] || rm -f -- "$flag"' EXIT
trap 'exit 143' HUP INT TERM
if [ -n "$flag" ] && [ -e "$asked" ] && [ ! -e "$flag" ]; then
    ours=yes
    : >"$flag" && sleep "$notice"
fi
"$@" & job=$!
read -r now rest </proc/uptime
since=${now%.*} next=${now%.*} last=
while kill -0 "$job" 2>/dev/null; do
    sleep 0.2
    read -r now rest </proc/uptime
    now=${now%.*}
    [ "$now" -ge "$next" ] || continue
    next=$((now + every)) seen=$(mark "$data")
    [ "$seen" = "$last" ] || { last=$seen since=$now; }
    if [ $((now - since)) -ge "$stuck" ]; then
        echo "nothing in $data has changed for $((now - since)) seconds" >&2
        exit 124
    fi
done
wait "$job"
status=$?
job=
exit "$status"
"""
)
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
        node.read(sh(_UPGRADED, label="wait until its system tables are upgraded"), timeout=_UPGRADE_SECONDS)


def patiently(node: Node, *words: str, diff: str, drained: bool = False) -> Output:
    """Run what starts this member's server, for as long as its data folder changes; status 124 when it does not any more.

    drained: with the member's drain flag set until that has ended, so that load balancers send nobody to it.
    """
    data = member_of(node)[0].datadir
    flag, notice = (DRAIN_FLAG, f"{NOTICE_SECONDS:g}") if drained else ("", "0")
    times = (f"{STUCK_SECONDS:.0f}", f"{_EVERY_SECONDS:.0f}")
    work = sh(_PATIENTLY, *times, data, flag, notice, SCRIPT, *words, label=" ".join(words))
    return node.change(work, ok=None, timeout=_LONGEST_SECONDS, diff=diff)


def shut_down(node: Node, *units: str, verb: tuple[str, ...] = ("stop",), diff: str = "") -> None:
    """Stop these units, for as long as the data folder changes: a shutdown writes all pages, and before a new release it merges
    and purges everything. Raises CommandFailed.
    """
    done = patiently(node, "systemctl", *verb, *units, diff=diff)
    if not node.dry_run:
        done.require()


def settled(node: Node) -> Member:
    """The member, once it is not under way any more (a start, a state transfer, what it missed), or does not get on."""
    told, since = "", time.monotonic()
    while (now := look(node)).starting and not node.dry_run:
        if now.wsrep:
            mark = f"{now.wsrep.state} {now.wsrep.position.seqno} {now.wsrep.receive_queue}"
        else:
            mark = node.read(sh(f'{_MARK}mark "$1"', member_of(node)[0].datadir, label="whether its data change")).text
        if mark != told:
            told, since = mark, time.monotonic()
        if time.monotonic() - since > (STILL_SECONDS if now.wsrep else STUCK_SECONDS):
            break
        node.read("sleep", "1")
    return now


def start(node: Node, unit: str, *, verb: str = "start", diff: str = "", drained: bool = False) -> None:
    """Start, or `restart`, a unit; returns when the member has what it missed. Raises CommandFailed with what the server said
    of its end.

    Then it is stopped: systemd would try every few seconds (Restart=on-abnormal), and each try joins and leaves the cluster,
    and may ask a donor for a copy. drained: see `patiently`.
    """
    done = patiently(node, "systemctl", verb, unit, diff=diff, drained=drained)
    if node.dry_run:
        return
    if done.ok:
        upgraded(node)
        settled(node)
        return
    why = node.read(sh(_WHY, unit, label=f"journal of {unit}"), ok=None).stdout.strip()
    node.change("systemctl", "stop", unit, ok=None, diff=f"-{node.name} does not try again")
    text = mask(f"{done.stderr.strip().splitlines()[0] if done.stderr.strip() else ''}\n{why}")
    raise CommandFailed(replace(done, err=text.encode("utf-8", "surrogateescape")))
