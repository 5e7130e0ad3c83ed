"""From a decision to the stages that carry it out: shared by `galera.form`, `galera.recover` and those that change members."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Bound, Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster import acts
from nornir_stack.tasks.cluster.database import read_probe, transfer_user, write_probe
from nornir_stack.tasks.cluster.decision import Decision, Form, Nothing, Promote, RecoverPositions, Refuse, Stop, Wait
from nornir_stack.tasks.cluster.judge import (
    not_complete,
    not_grown,
    not_promoted,
    not_running,
    somebody_primary,
    stale_views,
    unhealthy,
    unsettled,
)
from nornir_stack.tasks.cluster.member import NOWHERE
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.save import save_state
from nornir_stack.tasks.cluster.views import words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.select import Selector
    from nornir_stack.tasks.cluster.member import Member, Position

SETTLE_SECONDS = 3600.0  # a state transfer that is under way
EXPEL_SECONDS = 60.0  # the others to expel a member that crashed or hung just now (evs.inactive_timeout, pc.wait_prim)
AGREE_SECONDS = 120.0  # all members to list a new one, once its server said that it is ready
_LOOKS_MORE = 3  # looks beyond one for each member, before the members are said not to settle


@dataclass(frozen=True)
class Course:
    """How to go on: who decides, who is lost, and what was done so far.

    `save`: copy what each member knows of itself before the first change. `proofs`: what ends a course that changed anything.
    """

    decide: Callable[[Seen[Member]], Decision]
    lost: tuple[str, ...] = ()
    save: bool = False
    proofs: tuple[Stage | Plan[Any], ...] = ()
    last: Decision | None = None
    depth: int = 0
    acted: bool = False

    def after(self, decision: Decision) -> Plan[Member]:
        """Look again, and decide again."""
        name = f"look again{f' {self.depth + 1}' if self.depth else ''}"
        acted = self.acted or not isinstance(decision, Wait)
        onwards = replace(self, last=decision, depth=self.depth + 1, acted=acted)
        return Plan(name, observe_member, partial(planned, course=onwards), DB)

    def saves(self) -> list[Stage]:
        """Before the first change, all members are saved."""
        return [Stage("save states", [save_state], present(self.lost))] if self.save and not self.acted else []


def present(lost: Sequence[str]) -> Selector:
    """The members that are not lost."""
    return DB - hosts(*lost) if lost else DB


def complete(lost: Sequence[str] = (), *, within: float = AGREE_SECONDS) -> Check[Member]:
    """The cluster is as declared, but for the lost."""
    return Check(observe_member, partial(not_complete, missing_ok=tuple(lost)), DB, within=within)


def proofs(lost: Sequence[str] = ()) -> tuple[Stage | Plan[Any], ...]:
    """The whole-cluster check, and a row that is written on one member and read on all."""
    probe = Plan("probe", observe_member, partial(on_one_member, tasks=(write_probe,), name="probe"), DB)
    return probe, Stage("verify", [read_probe], present(lost), until=complete(lost))


def on_one_member(seen: Seen[Member], *, tasks: Sequence[Callable[..., Result[Any]] | Bound], name: str) -> Chain:
    """What is written on the first member that is Synced: all others get it from it."""
    synced = [host for host, member in seen.items() if member.synced]
    if not synced:
        raise Refused("no member is Synced: nothing can be written")
    return Chain(name, Stage("write", tasks, hosts(synced[0])))


def planned(seen: Seen[Member], *, course: Course) -> Chain:
    """The chain that a decision means. Where more must be known first, it ends in another plan that decides again."""
    decision = course.decide(seen)
    if isinstance(decision, Refuse):
        raise Refused(decision.reason)
    if isinstance(decision, Nothing):
        return Chain("nothing", *(course.proofs if course.acted else ()), reasons=[decision.reason])
    if course.depth > len(seen.hosts) + _LOOKS_MORE:
        raise Refused("the members were looked at again and again and did not settle: look at them with galera.observe")
    if isinstance(decision, Wait):
        settled = Check(observe_member, unsettled, DB, within=SETTLE_SECONDS)
        stage = Stage("settle", [], hosts(*decision.members), until=settled)
        return Chain("wait", stage, course.after(decision), reasons=[decision.reason])
    if decision == course.last:
        raise Refused("what was done just now would be done again: it changed nothing that decides")
    if isinstance(decision, Form):
        return _form(decision, seen, course)
    return Chain(*_preliminary(decision, course), reasons=_said(decision))


def _said(decision: RecoverPositions | Stop | Promote) -> tuple[str, ...]:
    return (*decision.reasons, *getattr(decision, "branches", ()), *getattr(decision, "losses", ()))


def _preliminary(decision: RecoverPositions | Stop | Promote, course: Course) -> tuple[Any, ...]:
    """Name and parts of a chain after which more is known."""
    name: str
    part: Stage | Plan[Member]
    if isinstance(decision, RecoverPositions):
        name, part = "positions", Stage("recover positions", [acts.recover_position], hosts(*decision.members))
    elif isinstance(decision, Stop):
        name, part = "stop", Stage("stop", [acts.stop], hosts(*decision.members))
    else:
        still = partial(_still_without, decision=decision, lost=course.lost)
        name, part = "promote", Plan(f"promote {decision.mandate.host}", observe_member, still, DB)
    return name, *course.saves(), part, course.after(decision)


def _still_without(seen: Seen[Member], *, decision: Promote, lost: tuple[str, ...]) -> Chain:
    """The promotion, unless the members have found each other meanwhile: after a partition they do so within seconds."""
    primary = [name for name, member in seen.items() if member.primary]
    if primary:
        return Chain("found each other", reasons=[f"{words(primary)} became Primary by themselves: nobody is made so."])
    return Chain("promote", _promotion(decision, seen, lost))


def _promotion(decision: Promote, seen: Seen[Member], lost: tuple[str, ...]) -> Stage:
    leader = decision.mandate.host
    wsrep = seen[leader].wsrep
    up = partial(not_promoted, name=leader, size=wsrep.size if wsrep else 1)
    return Stage(
        "make Primary",
        [do(acts.promote, mandate=decision.mandate)],
        hosts(leader),
        before=Check(observe_member, partial(somebody_primary, missing_ok=lost), DB),
        until=Check(observe_member, up, DB, within=AGREE_SECONDS),
    )


def _form(decision: Form, seen: Seen[Member], course: Course) -> Chain:
    reasons = [*decision.reasons, *decision.losses]
    others = tuple(dict.fromkeys((*decision.stop_first, *decision.joiners)))
    living = decision.mandate is None and not decision.discard  # else each side of a split counts its own
    if living and others and (stale := stale_views(seen)):
        agreed = Check(observe_member, stale_views, DB, within=EXPEL_SECONDS)
        waiting = Stage("agree on members", [], hosts(*others), until=agreed)
        return Chain("wait", waiting, course.after(Wait(others, stale[0])), reasons=stale)
    if decision.mandate is None and decision.stop_first:  # what they know is in their files only after the stop
        stages = _stops(decision, seen)
        return Chain("stop", *course.saves(), *stages, course.after(decision), reasons=reasons)
    return Chain("form", *course.saves(), *steps(decision, seen, course.lost), *course.proofs, reasons=reasons)


def _stops(decision: Form, seen: Seen[Member]) -> list[Stage]:
    given_up = [name for name in decision.stop_first if name in decision.discard]
    plain = [name for name in decision.stop_first if name not in decision.discard]
    found = [Stage("stop", [acts.stop], hosts(*plain))] if plain else []
    return found + [
        Stage(f"stop and give up {name}", [do(acts.give_up, seen=seen[name].position)], hosts(name)) for name in given_up
    ]


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
        found.append(
            Stage(
                f"bootstrap {leader}",
                [do(acts.bootstrap, mandate=decision.mandate), transfer_user],
                hosts(leader),
                before=Check(observe_member, partial(somebody_primary, missing_ok=lost), DB),
                until=Check(observe_member, partial(not_running, name=leader), DB, within=AGREE_SECONDS),
            )
        )
    found += [joining(name, NOWHERE if name in decision.discard else seen[name].position) for name in decision.joiners]
    for name in decision.restart_normally:
        whole = Check(observe_member, partial(unhealthy, missing_ok=lost), DB)
        again = Check(observe_member, partial(not_grown, name=name), DB, within=AGREE_SECONDS)
        task = do(acts.restart_normally, bootstrapped=bool(decision.mandate and decision.mandate.host == name))
        found.append(Stage(f"restart {name} normally", [task], hosts(name), before=whole, until=again))
    return found


def joining(name: str, position: Position) -> Stage:
    """One member joins, while nobody else is under way; all list it when it is over."""
    grown = Check(observe_member, partial(not_grown, name=name), DB, within=AGREE_SECONDS)
    settled = Check(observe_member, unsettled, DB, within=SETTLE_SECONDS)
    return Stage(f"join {name}", [do(acts.join, seen=position)], hosts(name), before=settled, until=grown)
