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
    still_under_way,
    unhealthy,
    unsettled,
)
from nornir_stack.tasks.cluster.member import NOWHERE
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.position import recover_position, roll_back_prepared
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.release import newer_among, no_copy, version
from nornir_stack.tasks.cluster.room import cannot_keep, cannot_start, left_of_transfer, no_room, room
from nornir_stack.tasks.cluster.save import save_state
from nornir_stack.tasks.cluster.views import unknown, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.select import Selector
    from nornir_stack.tasks.cluster.member import Member, Position
    from nornir_stack.tasks.cluster.release import Version

SETTLE_SECONDS = 3600.0  # a donor, beyond its joiner's last sign (a backup, or a copy for nobody of ours)
EXPEL_SECONDS = 60.0  # the others to expel a member that crashed or hung just now (evs.inactive_timeout, pc.wait_prim)
AGREE_SECONDS = 120.0  # all members to list a new one, once its server said that it is ready
_LOOKS_MORE = 3  # looks beyond one for each member, before the members are said not to settle


@dataclass(frozen=True)
class Course:
    """How to go on: who decides, who is lost, and what was done so far.

    `save`: copy what each member knows of itself before the first change. `keep`: the data of who is given up are kept aside.
    `proofs`: what ends a course that changed anything.
    """

    decide: Callable[[Seen[Member]], Decision]
    lost: tuple[str, ...] = ()
    save: bool = False
    keep: bool = False
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
        settled = Check(observe_member, still_under_way, DB, within=SETTLE_SECONDS)
        stage = Stage("settle", [acts.settle], hosts(*decision.members), until=settled)
        return Chain("wait", stage, course.after(decision), reasons=[decision.reason])
    if decision == course.last:
        raise Refused("what was done just now would be done again: it changed nothing that decides")
    if isinstance(decision, Form):
        return _form(decision, seen, course)
    return Chain(*_preliminary(decision, seen, course), reasons=_said(decision))


def _said(decision: RecoverPositions | Stop | Promote) -> tuple[str, ...]:
    return (*decision.reasons, *getattr(decision, "branches", ()), *getattr(decision, "losses", ()))


def _preliminary(decision: RecoverPositions | Stop | Promote, seen: Seen[Member], course: Course) -> tuple[Any, ...]:
    """Name and parts of a chain after which more is known."""
    name: str
    parts: list[Stage | Plan[Member]]
    if isinstance(decision, RecoverPositions):
        name, parts = "positions", [Stage("recover positions", [recover_position], hosts(*decision.members))]
    elif isinstance(decision, Stop):
        name, parts = "stop", [Stage("stop", [acts.stop], hosts(*decision.members))]
    else:
        still = partial(_still_without, decision=decision, lost=course.lost)
        name, parts = "promote", [*_reunion(seen), Plan(f"promote {decision.mandate.host}", observe_member, still, DB)]
    return name, *course.saves(), *parts, course.after(decision)


def _reunion(seen: Seen[Member]) -> list[Stage]:
    """Where those who run outside do not all count each other, they may become Primary by themselves as soon as they do:
    whether they have the votes for it is not known here (arbitrators, pc.weight).
    """
    outside = {host: member.wsrep for host, member in seen.items() if member.outside and member.wsrep}
    apart = any(wsrep.size - wsrep.arbitrators < len(outside) for wsrep in outside.values())
    return [Stage("find each other", [acts.find_each_other], hosts(*outside))] if apart else []


def _still_without(seen: Seen[Member], *, decision: Promote, lost: tuple[str, ...]) -> Chain:
    """The promotion, unless the members have found each other meanwhile: after a partition they do so within seconds.

    This look at all members is the barrier before it.
    """
    if hidden := unknown(seen, lost):
        raise Refused(" ".join(hidden))
    primary = [name for name, member in seen.items() if member.primary]
    if primary:
        return Chain("found each other", reasons=[f"{words(primary)} became Primary by themselves: nobody is made so."])
    return Chain("promote", _promotion(decision, seen))


def _promotion(decision: Promote, seen: Seen[Member]) -> Stage:
    leader = decision.mandate.host
    wsrep = seen[leader].wsrep
    up = partial(not_promoted, name=leader, size=wsrep.size if wsrep else 1)
    until = Check(observe_member, up, DB, within=AGREE_SECONDS)
    return Stage("make Primary", [do(acts.promote, mandate=decision.mandate)], hosts(leader), until=until)


def _copies(decision: Form, seen: Seen[Member], lost: Sequence[str]) -> list[str]:
    """Who might take a full copy of a newer release, and what to do instead. Those who join earlier may be the donor, too."""
    versions = {host: version(member.version) for host, member in seen.items()}
    donors = [host for host, member in seen.items() if member.primary and host not in decision.discard]
    donors += [decision.mandate.host] if decision.mandate else []
    stuck: dict[str, dict[str, Version | None]] = {}
    for host in decision.joiners:
        newer = newer_among(versions[host], {one: versions[one] for one in donors})
        if newer and _may_copy(decision, host, seen):
            stuck[host] = {**newer}
        else:
            donors.append(host)
    first = _without(decision, stuck, lost) if decision.mandate else ""
    return [text for host, newer in stuck.items() for text in no_copy(host, versions[host], newer, first=first)]


def _may_copy(decision: Form, host: str, seen: Seen[Member]) -> bool:
    """Whether a joiner may need a full copy. Who lives says how far back it has what others missed; how far back one has it
    that is bootstrapped (gcache.recover) is known only when it runs.
    """
    member = seen[host]
    if host in decision.discard or member.prepared or not member.position.known:
        return True
    if decision.mandate:
        return member.position != decision.mandate.position
    return not any(one.serves and one.wsrep and one.wsrep.keeps(member.position.seqno) for _, one in seen.items())


def _takes_copy(decision: Form, host: str, seen: Seen[Member]) -> bool:
    """Whether a joiner certainly takes a full copy: who is bootstrapped may still have what it missed, and one that crashed may
    stand near enough.
    """
    blank = host in decision.discard or bool(seen[host].prepared) or seen[host].position.blank
    if decision.mandate:
        return blank and not decision.mandate.fresh  # of a new cluster there is nothing to be copied
    return blank or (seen[host].position.known and _may_copy(decision, host, seen))


def _without(decision: Form, stuck: Iterable[str], lost: Sequence[str]) -> str:
    """The command that leaves them out."""
    mandate = decision.mandate
    chain = "galera.form" if mandate and mandate.fresh else "galera.recover"
    keep = f" keep={mandate.host}" if mandate and decision.discard else ""
    return f"Start the others without {words(stuck)}: {chain} missing={','.join([*lost, *stuck])}{keep}."


def _form(decision: Form, seen: Seen[Member], course: Course) -> Chain:
    problems = _copies(decision, seen, course.lost)
    problems += [said for name in decision.clear_residue for said in acts.not_cleared(name, seen[name])]
    problems += [said for name in decision.joiners for said in cannot_start(name, seen[name])]
    if decision.mandate:
        problems += cannot_start(decision.mandate.host, seen[decision.mandate.host], joins=False)
    if problems:
        raise Refused(" ".join(problems))
    left = [said for name in decision.joiners if (said := left_of_transfer(name, seen[name]))]
    reasons = [*decision.reasons, *decision.losses, *(f"{said}: left of one that was cut, it is ended." for said in left)]
    kept = [host for host in decision.discard if course.keep and (seen[host].data or seen[host].running)]
    if kept:
        reasons.append(f"What {words(kept)} had is kept there, as the data folder with .given-up-TIME at its end.")
    others = tuple(dict.fromkeys((*decision.stop_first, *decision.joiners)))
    living = decision.mandate is None and not decision.discard  # else each side of a split counts its own
    if living and others and (stale := stale_views(seen)):
        agreed = Check(observe_member, stale_views, DB, within=EXPEL_SECONDS)
        waiting = Stage("agree on members", [], hosts(*others), until=agreed)
        return Chain("wait", waiting, course.after(Wait(others, stale[0])), reasons=stale)
    if decision.mandate is None and decision.stop_first:  # what they know is in their files only after the stop
        stages = [*_beside(kept), *course.saves(), *_stops(decision, seen, keep=course.keep)]
        return Chain("stop", *stages, course.after(decision), reasons=reasons)
    stages = [*_beside(kept), *course.saves(), *steps(decision, seen, course.lost, keep=course.keep)]
    return Chain("form", *stages, *course.proofs, reasons=reasons)


def _beside(kept: Sequence[str]) -> list[Stage]:
    """Before anybody is touched: room for a copy beside data that are kept."""
    checks = {name: Check(room, partial(cannot_keep, name=name), DB) for name in kept}
    return [Stage(f"room to keep {name}", [], hosts(name), until=check) for name, check in checks.items()]


def _stops(decision: Form, seen: Seen[Member], *, keep: bool) -> list[Stage]:
    given_up = [name for name in decision.stop_first if name in decision.discard]
    plain = [name for name in decision.stop_first if name not in decision.discard]
    found = [Stage("stop", [acts.stop], hosts(*plain))] if plain else []
    return found + [
        Stage(f"stop and give up {name}", [do(acts.give_up, seen=seen[name].position, keep=keep)], hosts(name))
        for name in given_up
    ]


def steps(decision: Form, seen: Seen[Member], lost: tuple[str, ...], *, keep: bool = False) -> list[Stage]:
    """The stages of a decision, in the order of its fields, each behind its barrier. `keep`: data that are given up."""
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
    found += [
        Stage(f"give up {name}", [do(acts.discard, seen=seen[name].position, keep=keep)], hosts(name))
        for name in decision.discard
    ]
    if decision.mandate:
        leader = decision.mandate.host
        found.append(
            Stage(
                f"bootstrap {leader}",
                [do(acts.bootstrap, mandate=decision.mandate), roll_back_prepared, transfer_user],
                hosts(leader),
                before=Check(observe_member, partial(somebody_primary, missing_ok=lost), DB),
                until=Check(observe_member, partial(not_running, name=leader), DB, within=AGREE_SECONDS),
            )
        )
    for name in decision.joiners:
        position = NOWHERE if name in decision.discard else seen[name].position
        if _takes_copy(decision, name, seen):
            found.append(Stage(f"room on {name}", [], hosts(name), until=Check(room, partial(no_room, name=name), DB)))
        found.append(joining(name, position))
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
