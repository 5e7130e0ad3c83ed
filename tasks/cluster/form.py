"""`galera.form`: from prepared or empty nodes to one complete cluster, from wherever an earlier run was cut."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster import acts
from nornir_stack.tasks.cluster.database import databases, read_probe, write_probe
from nornir_stack.tasks.cluster.decision import Decision, Form, Nothing, RecoverPositions, Refuse, Stop, Wait
from nornir_stack.tasks.cluster.elect import forming
from nornir_stack.tasks.cluster.judge import not_complete, not_grown, not_running, unhealthy, unsettled
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.prepare import configure, enable, install, open_ports
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.system.names import hosts_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member

SETTLE_SECONDS = 3600.0  # a state transfer that is under way
AGREE_SECONDS = 120.0  # all members to list a new one, once its server said that it is ready


def form(*, missing: Sequence[str] = ()) -> Chain:
    """Form the Galera cluster of the role `db`: prepare all, elect one, bootstrap it, join the others one by one, verify.

    Never bootstraps beside a living member, never with a member unseen that is not named as lost, never over data.
    A cluster that runs already is adopted.

    missing: members that are lost; without them the cluster is formed.
    """
    lost = tuple(missing)
    present = DB - hosts(*lost) if lost else DB
    decide = partial(_forming, lost=lost)
    return Chain(
        "galera.form",
        Stage("prepare", [hosts_file, install, open_ports, configure], present),
        Plan("elect", observe_member, partial(planned, decide=decide, lost=lost), DB),
        Plan("databases", observe_member, _on_one_member, DB),
        Stage("verify", [enable, read_probe], present, until=_complete(lost, within=AGREE_SECONDS)),
    )


def _forming(seen: Seen[Member], *, lost: tuple[str, ...]) -> Decision:
    """The decision for members that `prepare` has gone through: one without a server is an empty one (in a dry run it is
    not installed yet).
    """
    prepared = {name: replace(member, installed=True) for name, member in seen.items()}
    return forming(replace(seen, values=prepared), missing_ok=lost)


def planned(
    seen: Seen[Member], *, decide: Callable[[Seen[Member]], Decision], lost: tuple[str, ...] = (), depth: int = 0
) -> Chain:
    """The chain that a decision means. Where more must be known first, it ends in another plan that decides again."""
    decision = decide(seen)
    again = Plan(
        f"look again{f' {depth + 1}' if depth else ''}",
        observe_member,
        partial(planned, decide=decide, lost=lost, depth=depth + 1),
        DB,
    )
    if isinstance(decision, Refuse):
        raise Refused(decision.reason)
    if depth > len(seen.hosts) + 1:
        raise Refused("the members were looked at again and again and did not settle: look at them with nornir-stack status")
    if isinstance(decision, Nothing):
        return Chain("nothing", reasons=[decision.reason])
    if isinstance(decision, Wait):
        settled = Check(observe_member, unsettled, DB, within=SETTLE_SECONDS)
        return Chain("wait", Stage("settle", [], hosts(*decision.members), until=settled), again, reasons=[decision.reason])
    if isinstance(decision, RecoverPositions):
        recover = Stage("recover positions", [acts.recover_position], hosts(*decision.members))
        return Chain("positions", recover, again, reasons=[*decision.reasons, *decision.branches])
    if isinstance(decision, Stop):
        return Chain("stop", Stage("stop", [acts.stop], hosts(*decision.members)), again, reasons=decision.reasons)
    if isinstance(decision, Form):
        return Chain("form", *steps(decision, seen, lost), reasons=[*decision.reasons, *decision.losses])
    raise Refused(f"this is for galera.recover to do: {'; '.join(decision.reasons)}")


def steps(decision: Form, seen: Seen[Member], lost: tuple[str, ...]) -> list[Stage]:
    """The stages of a decision, in the order of its fields, each behind its barrier."""
    found = [
        Stage(name, [task], hosts(*members))
        for name, task, members in (
            ("clear residue", acts.clear_residue, decision.clear_residue),
            ("stop", acts.stop, decision.stop_first),
            ("set aside", acts.set_aside, decision.set_aside),
            ("clear flags", acts.clear_flag, decision.clear_flags),
        )
        if members
    ]
    found += [Stage(f"give up {name}", [do(acts.discard, seen=seen[name].position)], hosts(name)) for name in decision.discard]
    if decision.mandate:
        leader = decision.mandate.host
        up = Check(observe_member, partial(not_running, name=leader), DB, within=AGREE_SECONDS)
        found.append(Stage(f"bootstrap {leader}", [do(acts.bootstrap, mandate=decision.mandate)], hosts(leader), until=up))
    for name in decision.joiners:
        grown = Check(observe_member, partial(not_grown, name=name), DB, within=AGREE_SECONDS)
        settled = Check(observe_member, unsettled, DB, within=SETTLE_SECONDS)
        task = do(acts.join, seen=seen[name].position)
        found.append(Stage(f"join {name}", [task], hosts(name), before=settled, until=grown))
    for name in decision.restart_normally:
        whole = Check(observe_member, partial(unhealthy, missing_ok=lost), DB)
        again = Check(observe_member, partial(not_grown, name=name), DB, within=AGREE_SECONDS)
        found.append(Stage(f"restart {name} normally", [acts.restart_normally], hosts(name), before=whole, until=again))
    return found


def _on_one_member(seen: Seen[Member]) -> Chain:
    """Schemas, users and the probe's row are written on the first member that is Synced: all others get them from it."""
    synced = [name for name, member in seen.items() if member.synced]
    if not synced:
        raise Refused("no member is Synced: nothing can be written")
    return Chain("databases", Stage("write", [databases, write_probe], hosts(synced[0])))


def _complete(lost: tuple[str, ...], within: float) -> Check[Member]:
    return Check(observe_member, partial(not_complete, missing_ok=lost), DB, within=within)
