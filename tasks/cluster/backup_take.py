"""What is done for a backup on the member that it is taken from, and what receives it on the host that keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.tasks.cluster.backup_line import PORT, address_of, sender
from nornir_stack.tasks.cluster.backup_sight import life_of
from nornir_stack.tasks.cluster.backup_unit import LINE, run_unit
from nornir_stack.tasks.cluster.backups import DATA, UNFINISHED, gib, within
from nornir_stack.tasks.cluster.observe import look, member_of
from nornir_stack.tasks.cluster.product import DB, PRODUCTS, TOOLS, product_of
from nornir_stack.tasks.system.facts import facts
from nornir_stack.tasks.system.firewall import firewall
from nornir_stack.tasks.system.packages import packages

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.secret import Secret
    from nornir_stack.tasks.cluster.backup_choice import Choice

TAKE_UNIT = "nornir-stack-backup"
# Pipes of sh have the status of their end: what went wrong before it is written down. Binary logs come after the data, up to
# the end of the backup, in the same stream; as links, since mbstream names files as it was told.
_TAKE = r"""
run=$1 lsn=$2 first=$3 desync=$4; shift 4
export LC_ALL=C TZ=UTC0
umask 077
sql() { "$client" --user=root -N -B -e "$1" 2>>"$run/sql.log"; }
logs() {
    [ -n "$1" ] || return 0
    sql 'FLUSH LOCAL BINARY LOGS' || return
    all=$(sql 'SHOW BINARY LOGS' | cut -f 1) && base=$(sql 'SELECT @@log_bin_basename') || return
    last=${all##*
}
    mkdir -p "$run/links/binlogs.d" && cd "$run/links" || return
    seen=
    for name in $all; do
        [ "$name" != "${first:-$1}" ] || seen=yes
        [ -z "$seen" ] || [ "$name" = "$last" ] || ln -s -- "${base%/*}/$name" "binlogs.d/$name" || return
    done
    "$stream" -c binlogs.d/* 2>>"$run/logs.log"
}
produce() {
    start=$(sql 'SHOW MASTER STATUS') || return
    "$tool" --backup --user=root --stream="$stream" --galera-info --target-dir="$run/tmp" \
        ${lsn:+"--incremental-lsn=$lsn"} 2>"$run/backup.log" || return
    logs "$(printf '%s' "$start" | cut -f 1)"
}
if [ -n "$desync" ]; then sql 'SET GLOBAL wsrep_desync = ON' || exit; fi
{ produce || : >"$run/failed"; } | "$@" 2>"$run/way.log" || : >"$run/failed"
[ ! -e "$run/failed" ]
"""
_AFTER_TAKE = r"""
rm -rf -- "$1/tmp" "$1/links" "${1%/*}/line.pem"
desync=$("$client" --user=root -N -B -e 'SELECT @@wsrep_desync')
[ "$desync" = 0 ] || "$client" --user=root -e 'SET GLOBAL wsrep_desync = OFF'
"""


def tools(task: Task, *, listens_on: str = "") -> Result[None]:
    """The product's tool, and socat for a backup that goes from node to node: on `listens_on` its port is open for members."""
    node = Node(task)
    inventory = task.nornir.inventory
    ours = node.name in DB.hosts(inventory)
    product = member_of(node)[1] if ours else PRODUCTS[product_of(inventory), facts(task).value.family]
    packages(task, present=(product.backup, "socat"), no_start=True)
    if node.name == listens_on:
        sources = [address_of(inventory, name) for name in DB.hosts(inventory)]
        firewall(task, purpose="backup", ports=[f"{PORT}/tcp"], sources=sources)
    return node.done()


def take(task: Task, *, choice: Choice, folder: str, life: str, line: Secret | None) -> Result[None]:
    """Run the product's tool on this member, into the unfinished folder here or by the line to its keeper.

    Meanwhile it is out of flow control (wsrep_desync), where another member is Synced; the unit puts that back however it
    ends. Raises Refused where the member is not as it was seen.
    """
    node = Node(task)
    if not look(node).synced or life_of(node) != life:
        raise Refused(f"{node.name} is not as it was seen (Synced, and the same run of its server): run this again.")
    tool = TOOLS[choice.product]
    lsn = str(choice.base.to_lsn) if choice.base else ""
    if line is None:
        unfinished = f"{within(node, folder)}/{UNFINISHED}{choice.label}"
        node.change(sh('umask 077; mkdir -p -- "$1/data"', unfinished, label=f"make {unfinished}"), repeatable=True)
        way: tuple[str, ...] = (tool.stream, "-x", "-C", f"{unfinished}/{DATA}")
    else:
        way = sender(address_of(task.nornir.inventory, choice.keeper), LINE)
    kind = f"increment on {choice.base.label}" if choice.base else "full backup"
    run_unit(
        node,
        TAKE_UNIT,
        tool.words + _TAKE,
        lsn,
        choice.logs,
        "yes" if choice.desync else "",
        *way,
        after=tool.words + _AFTER_TAKE,
        line=line,
        what=f"{tool.name} on {node.name}: {kind}",
        diff=f"+{choice.label} on {choice.keeper}, up to {gib(choice.needed)}",
    )
    return node.done()
