"""`galera.restore`: a backup back into a cluster, whole or up to a point in time."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.seen import Seen
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster import acts
from nornir_stack.tasks.cluster.backup import before
from nornir_stack.tasks.cluster.backup_line import new_line
from nornir_stack.tasks.cluster.backup_sight import LOOK_SECONDS
from nornir_stack.tasks.cluster.backup_take import tools
from nornir_stack.tasks.cluster.backups import FOLDER
from nornir_stack.tasks.cluster.binlogs import moment
from nornir_stack.tasks.cluster.certificates import look_before
from nornir_stack.tasks.cluster.decision import Form, Mandate
from nornir_stack.tasks.cluster.judge import state_of
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.prepare import configure, enable, install, open_ports, secrets
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.recovery import recovery
from nornir_stack.tasks.cluster.restore_acts import assemble, close_line, empty_stage, give, open_line, place, settle
from nornir_stack.tasks.cluster.restore_choice import Restoration, Scene, Wish, holds, members_in, restoration
from nornir_stack.tasks.cluster.restore_sight import scene
from nornir_stack.tasks.cluster.steps import Course, planned, present, proofs, steps
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER
from nornir_stack.tasks.system.names import hosts_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nornir_stack.chain import Bound
    from nornir_stack.secret import Secret
    from nornir_stack.tasks.cluster.member import Member

AGAIN = "run galera.restore with the same words again: it goes on"


def restore(
    *,
    backup: str = "",
    until: str = "",
    over: str = "",
    folder: str = FOLDER,
    keeper: str = "",
    member: str = "",
    missing: Sequence[str] = (),
    backup_first: bool = True,
) -> Chain:
    """Restore a backup to empty members, or over a cluster that is named; up to a point in time where binary logs allow.

    Everything is prepared and proved beside the data while the cluster still serves: checksums, the increments, a private
    server on it, the binary logs replayed. Then all members are stopped, one gets the data and begins a new history (another
    UUID), the others join it one by one by a full copy. Its old data stay beside the new ones. Run again after any
    interruption, it goes on from what it finds; run again after that, it changes nothing.

    backup: its label, as galera.backups lists it.
    until: everything that was committed before this second, such as "2026-11-24 18:00:00" (UTC, or with +01:00).
    over: the name of the cluster that is replaced, where there is one.
    folder: where backups lie.
    keeper: the host that keeps them, if that is none of the members.
    member: who gets the backup; by default the one that keeps it.
    missing: members that are lost. They must not come back with what they have.
    backup_first: no: what is there now is given up without a backup of it.
    """
    when = moment(until) if until else None
    wish = Wish(backup, when, over, keeper, member, tuple(missing), backup_first)
    decide = partial(restoring, wish=wish, folder=folder, line=new_line())
    on = DB | LOADBALANCER | hosts(keeper) if keeper else DB | LOADBALANCER
    look_at = do(scene, folder=folder, keeper=keeper).within(LOOK_SECONDS)
    return Chain("galera.restore", look_before(wish.lost), Plan("look", look_at, decide, on))


def restoring(seen: Seen[Scene], *, wish: Wish, folder: str, line: Secret) -> Chain:
    """The chain for what was seen."""
    plan = restoration(seen, wish)
    now = members_in(seen)
    if plan.phase == "done":
        return Chain("nothing", *proofs(wish.lost), reasons=plan.reasons)
    parts: list[Any] = []
    if plan.first:
        sights = Seen({host: one.sight for host, one in seen.items()}, seen.missing, seen.hosts)
        parts.append(before(sights, folder=folder, keeper=wish.keeper, line=line))
    if not plan.phase:
        parts += _prepared(plan, now, wish, folder=folder, line=line)
    if plan.phase != "placed":
        parts.append(_replaced(plan, now, wish))
    parts += _joined(plan, now, wish)
    return Chain("restore", *parts, reasons=plan.reasons)


def _prepared(plan: Restoration, now: Seen[Member], wish: Wish, *, folder: str, line: Secret) -> list[Stage]:
    """Beside the data of the leader: everything that can go wrong goes wrong before anybody is stopped."""
    leader = plan.leader
    idle = [host for host, one in now.items() if not one.running and host not in wish.lost]
    made = Stage("prepare members", [secrets, hosts_file, install, open_ports, configure], hosts(*idle))
    paths = [f"{one.label}/{name}" for one in plan.line for name in ("data", "files.sha256")] + list(plan.sources.kept)
    give_ = partial(do, give, leader=leader, folder=folder)
    found = [
        *([made] if idle else []),
        Stage("tools", [do(tools, listens_on=leader)], hosts(leader, plan.keeper, *filter(None, [plan.log_host]))),
        Stage("make room", [empty_stage], hosts(leader)),
        *_carried(plan.keeper, leader, "backup", partial(give_, paths=tuple(paths), live=""), line),
    ]
    if plan.log_host:
        found += _carried(plan.log_host, leader, "binary logs", partial(give_, paths=(), live=plan.sources.live), line)
    return [*found, Stage("assemble", [do(assemble, plan=plan)], hosts(leader))]


def _carried(source: str, leader: str, what: str, given: Callable[..., Bound], line: Secret) -> list[Stage]:
    """From one host to the leader, by a line if that is another."""
    if source == leader:
        return [Stage(f"copy {what}", [given(line=None)], hosts(leader))]
    return [
        Stage(f"listen for {what}", [do(open_line, line=line)], hosts(leader)),
        Stage(f"give {what}", [given(line=line)], hosts(source)),
        Stage(f"receive {what}", [close_line], hosts(leader)),
    ]


def _replaced(plan: Restoration, now: Seen[Member], wish: Wish) -> Chain:
    """All members are stopped, and the data of one replaced: not cut in the middle by a first interruption."""
    theirs = {host: one for host, one in now.items() if host not in wish.lost and holds(one)}
    stops = [Stage(f"stop {host}", [do(acts.give_up, seen=one.position)], hosts(host)) for host, one in theirs.items()]
    placed = Stage("put in place", [place], hosts(plan.leader), before=nobody_runs())
    return Chain("replace", *stops, placed, unit=True, left=AGAIN)


def nobody_runs() -> Check[Member]:
    """All members are down."""
    return Check(observe_member, still_running, DB)


def still_running(seen: Seen[Member]) -> list[str]:
    """Who runs."""
    return [f"{state_of(host, one)}: it is to be stopped before." for host, one in seen.items() if one.running]


def _joined(plan: Restoration, now: Seen[Member], wish: Wish) -> list[Stage | Plan[Any]]:
    """One begins a new history, the others take a full copy of it."""
    leader, lost = plan.leader, wish.lost
    begins = plan.phase != "placed" or now[leader].position.blank
    decision = Form(mandate=Mandate(leader), clear_residue=tuple(host for host, one in now.items() if one.residue))
    course = Course(partial(recovery, missing_ok=lost, keep=leader), lost, proofs=proofs(lost), acted=True)
    return [
        *(steps(decision, now, lost) if begins else []),
        Plan("join", observe_member, partial(planned, course=course), DB),
        Stage("in service", [enable], present(lost)),
        Stage("settle", [settle], hosts(leader)),
    ]
