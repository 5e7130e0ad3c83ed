"""How a member does now, with the numbers that a watch needs, taken over a short while; and a pure judge of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import DatabaseFailed
from nornir_stack.node import Node
from nornir_stack.seen import Seen
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.judge import not_complete, state_of
from nornir_stack.tasks.cluster.member import DONOR
from nornir_stack.tasks.cluster.observe import look, member_of
from nornir_stack.tasks.cluster.room import left_of_transfer
from nornir_stack.tasks.loadbalancer.health import DRAIN_FLAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.member import Member

_NANOSECONDS = 1e9
# Third, in seconds: how long the unit has been starting, and the oldest program of a state transfer has run. (Those of
# containers are not its.)
_NODE = r"""
export LC_ALL=C
d=$1
while [ -n "$d" ] && [ ! -d "$d" ]; do d=${d%/*}; done
stat -f -c '%b %a %S' -- "${d:-/}"
date +%s.%N
read -r up rest </proc/uptime
begun=$(systemctl show -p InactiveExitTimestampMonotonic --value -- "$2" 2>/dev/null)
oldest=0
for p in /proc/[0-9]*; do
    IFS= read -r c 2>/dev/null <"$p/comm" || continue
    case $c in wsrep_sst_*) ;; *) continue;; esac
    n=
    while read -r k v w; do
        case $k in NSpid:) n=$w;; State:) case $v in Z) n=zombie;; esac;; esac
    done 2>/dev/null <"$p/status"
    [ -z "$n" ] || continue
    age=$(ps -o etimes= -p "${p#/proc/}" 2>/dev/null)
    [ "${age:-0}" -le "$oldest" ] || oldest=$age
done
echo "$(( ${up%.*} - ${begun:-0} / 1000000 )) $((oldest))"
if [ -e "$3" ]; then echo drained; else echo served; fi
"""
_COUNTERS = (
    "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_flow_control_paused_ns', 'wsrep_local_cert_failures',"
    " 'wsrep_replicated', 'wsrep_local_recv_queue', 'wsrep_local_send_queue', 'Uptime')"
)


@dataclass(frozen=True)
class Rates:
    """What the server counted in `window` seconds. `flow_control`: the share of it in which replication was paused, 0 to 1.

    `certification_failures` and `replicated`: write sets. Queues: write sets now. `uptime`: seconds.
    """

    window: float
    flow_control: float = 0.0
    certification_failures: int = 0
    replicated: int = 0
    receive_queue: int = 0
    send_queue: int = 0
    uptime: int = 0


@dataclass(frozen=True)
class Vitals:
    """A member as a watch sees it. Sizes in bytes, on the file system of the data; `clock_offset` in seconds: how much its
    clock is ahead of this machine's (as exact as half a round trip). `rates` is None where no server answers.
    """

    member: Member
    disk_size: int
    disk_free: int
    clock_offset: float
    rates: Rates | None = None
    under_way: int = 0
    """Seconds for which it has been starting, joining, or a donor, as far as its node tells; 0: it is not, or nobody knows."""
    drained: bool = False
    """Its drain flag is set: it answers no load balancer, however well it is."""


@dataclass(frozen=True)
class Limits:
    """Beyond these a member is not well: see `galera.status`."""

    flow_control: float
    receive_queue: int
    certification_failures: int
    disk_free: float
    clock: float
    join: float = 1800.0


def vitals(task: Task, *, window: float = 2.0) -> Result[Vitals]:
    """Observe a member and, over `window` seconds, what it counts: the server's own numbers reach back to its start."""
    node = Node(task)
    galera, product = member_of(node)
    member = look(node)
    before = time.time()
    look_at = sh(_NODE, galera.datadir, product.unit, DRAIN_FLAG, label="look at disk and clock")
    blocks, now, ages, flag = node.read(look_at).lines
    offset = float(now) - (before + time.time()) / 2
    size, free, block = map(int, blocks.split())
    rates = _counted(node, window) if member.wsrep else None
    since = under_way(member, *map(int, ages.split()))
    return node.done(Vitals(member, size * block, free * block, round(offset, 3), rates, since, flag == "drained"))


def under_way(member: Member, unit: int, transfer: int) -> int:
    """For how many seconds a member has been starting, joining or a donor: its `unit` and its state `transfer` tell.

    A server that runs and joins again, or catches up, may have been well since its start: then only a transfer tells.
    """
    wsrep = member.wsrep
    if member.starting and member.unit == "activating":
        return max(unit, transfer)
    return transfer if member.starting or (wsrep is not None and wsrep.state == DONOR) else 0


def _counted(node: Node, window: float) -> Rates | None:
    sql = Sql(node)
    try:
        first, begun = sql.pairs(_COUNTERS), time.monotonic()
        sql.read("SELECT SLEEP(%s)", window)
        return rates(first, sql.pairs(_COUNTERS), time.monotonic() - begun)
    except DatabaseFailed:
        return None  # it went away in between: the member itself is looked at again by the next watch


def rates(first: Mapping[str, str], last: Mapping[str, str], window: float) -> Rates:
    """What was counted between two looks that lie `window` seconds apart."""

    def counted(name: str) -> int:
        return max(int(last.get(name, 0)) - int(first.get(name, 0)), 0)

    return Rates(
        window=round(window, 2),
        flow_control=round(min(counted("wsrep_flow_control_paused_ns") / _NANOSECONDS / window, 1.0), 3),
        certification_failures=counted("wsrep_local_cert_failures"),
        replicated=counted("wsrep_replicated"),
        receive_queue=int(last.get("wsrep_local_recv_queue", 0)),
        send_queue=int(last.get("wsrep_local_send_queue", 0)),
        uptime=int(last.get("Uptime", 0)),
    )


def unwell(seen: Seen[Vitals], *, limits: Limits, missing_ok: Sequence[str] = ()) -> list[str]:
    """What an operator should be woken for, a sentence each."""
    members = Seen({name: one.member for name, one in seen.items()}, seen.missing, seen.hosts)
    problems = not_complete(members, missing_ok=missing_ok)
    for name, one in seen.items():
        problems += _strained(name, one, limits)
    offsets = {name: one.clock_offset for name, one in seen.items()}
    if offsets and max(offsets.values()) - min(offsets.values()) > limits.clock:
        ahead, behind = max(offsets, key=offsets.__getitem__), min(offsets, key=offsets.__getitem__)
        problems.append(f"The clock of {ahead} is {offsets[ahead] - offsets[behind]:.1f} s ahead of {behind}'s.")
    return problems


def _strained(name: str, one: Vitals, limits: Limits) -> list[str]:
    problems = []
    if one.under_way > limits.join:
        minutes = f"for {one.under_way / 60:.0f} minutes"
        problems.append(f"{state_of(name, one.member)} {minutes}: look whether its data, or its joiner's, still grow.")
    if one.drained:
        problems.append(f"{name} is drained ({DRAIN_FLAG}): load balancers send nobody to it. galera.roll puts it back.")
    if said := left_of_transfer(name, one.member):
        problems.append(f"{said}: it is left of one that was cut (galera.recover ends it).")
    if one.disk_size and one.disk_free / one.disk_size < limits.disk_free:
        problems.append(f"{name} has {one.disk_free / one.disk_size:.0%} of the disk of its data left.")
    if one.rates is None:
        return problems
    donates = one.member.wsrep is not None and one.member.wsrep.state == DONOR
    if one.rates.flow_control > limits.flow_control:
        problems.append(f"{name}: replication was paused for {one.rates.flow_control:.0%} of the time (flow control).")
    if one.rates.receive_queue > limits.receive_queue and not donates:
        problems.append(f"{name} has {one.rates.receive_queue} write sets waiting to be applied (wsrep_local_recv_queue).")
    if one.rates.certification_failures > limits.certification_failures:
        problems.append(
            f"{name}: {one.rates.certification_failures} transactions failed certification in {one.rates.window:g} s"
            " (wsrep_local_cert_failures): the same rows are written on several members."
        )
    return problems
