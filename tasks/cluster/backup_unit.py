"""A long piece of work on a node as a unit of systemd: what has to be put back is put back, however it ends.

The unit lives longer than a controller that is killed; what started it holds the node's lock as long. Whoever holds the lock
and finds the unit running finds one whose run was cut, and stops it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import CommandFailed

if TYPE_CHECKING:
    from nornir_stack.node import Node
    from nornir_stack.secret import Secret

RUN = "/run/nornir-stack-backup"
LINE = f"{RUN}/line.pem"
DAY_SECONDS = 86400.0
# Stopped, it is killed: mariadb-backup that waits for a lock does not heed SIGTERM, and nothing of it is kept anyway.
# `work` and `after` are scripts; `after` runs also when `work` was killed (ExecStopPost).
_START = r"""
run=$1 unit=$2 wait=$3 work=$4 after=$5; shift 5
export LC_ALL=C
umask 077
systemctl stop -- "$unit" 2>/dev/null
systemctl reset-failed -- "$unit" 2>/dev/null
mkdir -p -- "$run" && rm -rf -- "$run/$unit" && mkdir -- "$run/$unit" || exit
cat >"$run/line.pem" || exit
printf '%s\n' "$work" >"$run/$unit/work" && printf '%s\n' "$after" >"$run/$unit/after" || exit
trap 'systemctl stop --no-block -- "$unit"; exit 143' HUP INT TERM
systemd-run --quiet --collect ${wait:+--wait} --unit="$unit" --nice=10 --property=LimitNOFILE=65536 \
    --property=TimeoutStopSec=300 --property=KillSignal=SIGKILL --property="ExecStopPost=/bin/sh $run/$unit/after $run/$unit" \
    /bin/sh "$run/$unit/work" "$run/$unit" "$@"
status=$?
[ "$status" = 0 ] || tail -q -n 8 -- "$run/$unit"/*.log >&2 2>/dev/null
exit "$status"
"""


def run_unit(
    node: Node,
    unit: str,
    work: str,
    *values: str,
    what: str,
    after: str = "",
    line: Secret | None = None,
    wait: bool = True,
    diff: str = "",
) -> None:
    """Run the script `work` as `unit`, with a folder of its own as `$1` and `values` after it; `after` when it has ended.

    Both find what they were given there; files `*.log` of it are told when it fails. `line`: a transfer's key, in `LINE`.
    Raises CommandFailed.
    """
    start = sh(_START, RUN, unit, "yes" if wait else "", work, after or ":", *values, label=what)
    done = node.change(start, stdin=line or "", timeout=DAY_SECONDS, diff=diff, ok=None)
    if not node.dry_run and not done.ok:
        said = done.stderr.strip() or f"{unit} was ended from outside"
        raise CommandFailed(replace(done, err=said.encode("utf-8", "surrogateescape")))
