"""Members that come and go: `galera.replace`, `galera.grow`, `galera.shrink`."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster.arbitrator import ARBITRATOR, acquaint, let_declared_in
from nornir_stack.tasks.cluster.backup import backup_first as backed_up
from nornir_stack.tasks.cluster.backups import FOLDER
from nornir_stack.tasks.cluster.certificates import look_before
from nornir_stack.tasks.cluster.observe import look, member_of, observe_member
from nornir_stack.tasks.cluster.prepare import configure, enable, install, open_ports
from nornir_stack.tasks.cluster.product import DB, members
from nornir_stack.tasks.cluster.recovery import recovery
from nornir_stack.tasks.cluster.roll import gate
from nornir_stack.tasks.cluster.rolling import not_safe
from nornir_stack.tasks.cluster.room import cannot_join, not_left, room
from nornir_stack.tasks.cluster.steps import AGREE_SECONDS, Course, planned, proofs
from nornir_stack.tasks.cluster.unit import shut_down
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER, place
from nornir_stack.tasks.cluster.views import words
from nornir_stack.tasks.loadbalancer.health import drain_flag
from nornir_stack.tasks.loadbalancer.runtime import set_server
from nornir_stack.tasks.system.names import hosts_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member
    from nornir_stack.tasks.cluster.upkeep import Place

EXPEL_SECONDS = 30.0  # the others, until they no longer list a member that crashed just now (evs.inactive_timeout)
_KEEPING_ITS_TIME = """
written=$(stat -c %Y -- "$1") && cat >"$1.new" && chown --reference="$1" "$1.new" && chmod --reference="$1" "$1.new" &&
    touch -d "@$written" "$1.new" && mv -f -- "$1.new" "$1"
"""


def replace(*, member: str, backup_first: bool = True, folder: str = FOLDER, keeper: str = "") -> Chain:
    """Bring back a member that crashed, was wiped or stands on a new machine, beside the others that live.

    What it missed comes by IST where a donor still has it, else by a full copy, for which it must have room (looked at first).
    All others have to be well. A history that the cluster has not is not erased: `galera.recover keep=...` does that. Where it
    has data, which a copy would replace, a full backup of the cluster is taken first.

    member: its host.
    backup_first: no: without a backup.
    folder: where that goes.
    keeper: the host that keeps it; by default the member that it is taken from.
    """
    first = [backed_up(folder=folder, keeper=keeper, avoid=[member])] if backup_first else []
    look_at = [Plan("data", observe_member, partial(_with_data, name=member, first=first), DB)] if first else []
    return Chain("galera.replace", *_joining(member, saved=look_at))


def grow(*, member: str) -> Chain:
    """Bring a new member into the cluster that lives. It stands in the inventory already.

    It is prepared, then all others and the arbitrators get its address (no restart: the address is read at a start only), then
    it joins. Load balancers get it by `loadbalancer.deploy` after that.

    member: its host.
    """
    tell = Stage("tell the others", [hosts_file, open_ports, do(readdress, without="")], DB - hosts(member))
    votes = [Stage("let arbitrators in", [let_declared_in], hosts(member)), Stage("tell arbitrators", [acquaint], ARBITRATOR)]
    return Chain("galera.grow", *_joining(member, tell, *votes))


def shrink(*, member: str, backup_first: bool = True, folder: str = FOLDER, keeper: str = "") -> Chain:
    """Take a member out of the cluster: drained, stopped cleanly and for good, its address taken out of all others' and of the
    arbitrators'.

    It still stands in the inventory: take it out after this, then run `loadbalancer.deploy`. Its data stay on its disk. A full
    backup of the cluster is taken first, from another member.

    member: its host.
    backup_first: no: without a backup.
    folder: where that goes.
    keeper: the host that keeps it; by default the member that it is taken from.
    """
    first = [backed_up(folder=folder, keeper=keeper, avoid=[member])] if backup_first else []
    return Chain("galera.shrink", Plan("look", place, partial(_shrinking, name=member, first=first), DB | LOADBALANCER))


def _with_data(seen: Seen[Member], *, name: str, first: Sequence[Plan[Any]]) -> Chain:
    """The backup, if a copy might replace something."""
    if name in seen and seen[name].data and not seen[name].synced:
        return Chain("backup", *first, reasons=[f"{name} has data, which a full copy would replace: a backup first."])
    return Chain("no backup", reasons=[f"{name} has nothing that a full copy would replace: no backup is taken."])


def _joining(name: str, *before: Stage, saved: Sequence[Plan[Any]] = ()) -> list[Stage | Plan[Any]]:
    course = Course(recovery, save=True, proofs=proofs())
    may_join = Check(room, partial(cannot_join, name=name), DB, within=EXPEL_SECONDS)
    return [
        look_before(),
        Stage("room", [], hosts(name), until=may_join),
        *saved,
        Stage("prepare", [hosts_file, install, open_ports, configure], hosts(name)),
        *before,
        Plan("join", observe_member, partial(planned, course=course), DB),
        Stage("in service", [enable, do(drain_flag, drained=False)], hosts(name)),
    ]


def _shrinking(seen: Seen[Place], *, name: str, first: Sequence[Plan[Any]] = ()) -> Chain:
    if name not in seen.hosts or (name in seen and seen[name].upkeep is None):
        raise Refused(f"{name} is no member of the cluster.")
    problems = not_safe(seen, name)
    if problems:
        raise Refused(f"{name} is not taken out: {' '.join(problems)}")
    left = [host for host, one in seen.items() if one.upkeep and host != name]
    reasons = [f"{words(left)} stay. Take {name} out of the inventory after this: as long as it stands there, it is wanted."]
    listed = [one.upkeep.member.wsrep.arbitrators for _, one in seen.items() if one.upkeep and one.upkeep.member.wsrep]
    counted = len(left) + max(listed, default=0)
    if counted % 2 == 0:
        reasons.append(f"{counted} votes: if they fall into halves, neither goes on.")
    gone = Check(observe_member, partial(not_left, name=name), DB, within=AGREE_SECONDS)
    known = [host for host, one in seen.items() if one.backends and name in {server.name for server in one.backends.servers}]
    leaving = Chain(
        name,
        Stage("drain", [do(set_server, server=name, state="drain")], hosts(*known), before=gate(name)),
        Stage("flag", [do(drain_flag, drained=True)], hosts(name)),
        Stage("leave", [leave], hosts(name), before=gate(name), until=gone),
        unit=True,
        left=f"{name} may be left drained: run galera.shrink again, or galera.roll to put it back",
    )
    tell = Stage("tell the others", [do(readdress, without=name)], DB - hosts(name))
    votes = Stage("tell arbitrators", [do(acquaint, without=name)], ARBITRATOR)
    runs = bool((mine := seen[name].upkeep) and mine.member.running)
    return Chain("shrink", *(first if runs else ()), leaving, tell, votes, reasons=reasons)


def leave(task: Task) -> Result[None]:
    """Stop this member cleanly, and keep it from starting at a boot."""
    node = Node(task)
    _, product = member_of(node)
    now = look(node)
    enabled = node.read("systemctl", "is-enabled", product.unit, ok=None).text == "enabled"
    if now.running or enabled:
        shut_down(node, product.unit, verb=("disable", "--now"), diff=f"-{node.name} serves")
    return node.done()


def readdress(task: Task, *, without: str) -> Result[str]:
    """The address of the cluster in this member's configuration: all declared members, but for one. The value: the address.

    The server reads it at a start only, so the file keeps its time: nothing asks for a restart. Raises Refused where there
    is no such file.
    """
    node = Node(task)
    galera, product = member_of(node)
    wanted = [address for name, address in members(task.nornir.inventory, galera.cluster_name).items() if name != without]
    address = f"gcomm://{','.join(wanted)}"
    text = node.read_file(product.config)
    if text is None:
        raise Refused(f"{node.name} has no {product.config}: run galera.form first")
    new = readdressed(text, address)
    if new != text:
        diff = f"--- {product.config}\n+++ {product.config}\n+wsrep_cluster_address = {address}\n"
        write = sh(_KEEPING_ITS_TIME, product.config, label=f"set wsrep_cluster_address in {product.config}")
        node.change(write, stdin=new, diff=diff, repeatable=True)
    return node.done(address)


def readdressed(text: str, address: str) -> str:
    """A configuration with another wsrep_cluster_address."""
    return re.sub(r"(?m)^(wsrep_cluster_address\s*=\s*).*$", rf"\g<1>{address}", text)
