"""What only a server's own data can tell: its position, and transactions that nobody ended (XA)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.secret import mask
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.judge import state_of
from nornir_stack.tasks.cluster.member import NOWHERE, ZERO_UUID, recovered
from nornir_stack.tasks.cluster.observe import look, remember_recovered

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.member import Member, Position

UNREADABLE = f"WSREP: Recovered position: {ZERO_UUID}:-1"
_RECOVER = """
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
server=$(command -v mariadbd || command -v mysqld) || exit 1
runuser -u mysql -- "$server" --wsrep-recover --log-error="$log.err" --pid-file="$log.pid" 2>"$log" >/dev/null
status=$?
cat "$log" "$log.err" 2>/dev/null
rm -f "$log.err" "$log.pid"
exit $status
"""


def recover_position(task: Task) -> Result[Position]:
    """Ask the server's own data for its position (`--wsrep-recover`); it replays InnoDB's log, so it is a change.

    Later looks in the same run know it (`Member.recovered`).
    """
    node = Node(task)
    now = look(node)
    if now.running:
        raise Refused(f"{state_of(node.name, now)}: only a server that is down can be asked.")
    if now.suspect and now.recovered is None:
        return node.done(_recover_marked(node, now).recovered or NOWHERE)
    if not now.needs_recover:
        return node.done(now.position)
    return node.done(recover_here(node, now).position)


def _recover_marked(node: Node, now: Member) -> Member:
    """As `recover_here`, of data that Galera marked as unsafe: where no position is found, that is what is known."""
    try:
        return recover_here(node, now)
    except Refused:
        remember_recovered(node, now, UNREADABLE)
        return recovered(now, UNREADABLE)


def recover_here(node: Node, now: Member) -> Member:
    """The member with what `--wsrep-recover` printed. Raises Refused, with its words, where it found no position."""
    printed = node.change(sh(_RECOVER, label="mariadbd --wsrep-recover"), ok=None, repeatable=True)
    try:
        known = recovered(now, printed.stdout)
    except ValueError:
        said = mask(printed.stdout).strip()[-600:]
        raise Refused(f"{node.name}: --wsrep-recover found no position; it said: {said}") from None
    remember_recovered(node, now, printed.stdout)
    return known


def roll_back_prepared(task: Task) -> Result[int]:
    """Roll back the XA transactions that the running server has prepared. The value: how many.

    They were made while it ran without Galera, which refuses XA START (ERROR 1235), and are in nobody's history. They survive
    restarts with their row locks, for which an applier waits for ever; tc-heuristic-recover is for the server's own (measured).
    """
    node = Node(task)
    sql = Sql(node)
    found = [str(row["data"]) for row in sql.read("XA RECOVER FORMAT='SQL'")]
    for xid in found:
        sql.change(f"XA ROLLBACK {xid}", repeatable=True)
    return node.done(len(found))
