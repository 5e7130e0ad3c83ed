"""The decision of `galera.recover`: a cluster that is down, cut in two, or without a Primary component. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.tasks.cluster.classify import against, classify, diverged, histories
from nornir_stack.tasks.cluster.decision import Decision, Form, Mandate, Promote, RecoverPositions, Refuse, Stop
from nornir_stack.tasks.cluster.elect import (
    ahead_but_suspect,
    blocked,
    broken_views,
    election,
    grow,
    lead,
    nearest_first,
    not_read,
    present,
)
from nornir_stack.tasks.cluster.views import components, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member, Position

_NOT_DYNAMIC = (11, 2)
"""From this MariaDB on, pc.bootstrap may not be set as a provider option while the server runs (MDEV-32800): where the
wsrep-provider plugin is loaded, as Debian's 11.8 has it, it is a variable of its own, which can (measured)."""


def recovery(seen: Seen[Member], *, missing_ok: Sequence[str] = (), keep: str | None = None) -> Decision:
    """What brings the declared members back to one complete cluster, losing nothing without the operator's word.

    `missing_ok` (missing=): members that are lost. `keep`: the member whose history is kept where histories differ.
    """
    groups = components(seen)
    decided = _misfit(seen, groups, missing_ok, keep) or blocked(seen, missing_ok)
    if decided:
        return decided
    hosts = present(seen, missing_ok)
    if len(groups) > 1 and keep:
        return _one_side(seen, next(group for group in groups if keep in group), hosts)
    if groups:
        return grow(seen, groups[0], hosts, keep)
    if any(seen[host].outside for host in hosts):
        return _without_primary(seen, hosts, keep)
    return _all_down(seen, hosts, keep)


def _misfit(seen: Seen[Member], groups: Sequence[Sequence[str]], lost: Sequence[str], keep: str | None) -> Refuse | None:
    """Why the operator's words do not fit what was seen, or do not suffice."""
    if keep is not None and (keep not in seen or keep in lost):
        return Refuse(f"{keep} is to be kept, but it was not seen or is named as lost. Name a member that answers.")
    if not groups or any(keep in group for group in groups):
        return None
    if len(groups) > 1:
        return Refuse(classify(seen).problems[0])
    if keep is not None:
        return Refuse(
            f"{words(groups[0])} live as Primary: {keep} cannot be kept against them. Stop them first, if it must lead."
        )
    return None


def _one_side(seen: Seen[Member], side: Sequence[str], hosts: Sequence[str]) -> Decision:
    """A split brain, and the operator chose: the other sides are stopped, saved, and take a full copy."""
    others = [host for host in hosts if host not in side]
    foreign = against(seen, side, [host for host in seen if host not in hosts])
    losses = {
        host: f"What {host} committed since the split ({seen[host].position}) is given up."
        for host in others
        if seen[host].primary
    }
    return Form(
        clear_residue=tuple(host for host in hosts if seen[host].residue),
        stop_first=tuple(host for host in others if seen[host].running),
        discard=tuple(host for host in others if host in foreign or host in losses),
        set_aside=broken_views(seen, others),
        joiners=nearest_first(seen, others),
        restart_normally=tuple(host for host in side if seen[host].new_cluster),
        reasons=(f"The operator keeps the side of {words(side)}.",),
        losses=tuple((foreign | losses).values()),
    )


def _without_primary(seen: Seen[Member], hosts: Sequence[str], keep: str | None) -> Decision:
    """Members run, but nobody is Primary: every member was seen, so nobody else can be."""
    outside = tuple(host for host in hosts if seen[host].outside)
    groups = histories(seen, hosts)
    if len(groups) > 1:
        return (
            Stop(outside, (f"The operator keeps {keep}: those who run are stopped first.",))
            if keep
            else Refuse(diverged(seen, groups))
        )
    undecided = not_read(seen, hosts)
    best = max(outside, key=lambda host: seen[host].position.seqno)
    if undecided:
        reason = f"{words(undecided)} did not stop cleanly and may be ahead of those who run."
        beyond = f"beyond {seen[best].position.seqno}"
        branch = f"If one recovers {beyond}, those who run are stopped and it leads; else {best} leads."
        return RecoverPositions(undecided, (reason,), (branch,))
    best = max(hosts, key=lambda host: (seen[host].position.seqno, seen[host].outside))
    ahead = ahead_but_suspect(seen, hosts, best)
    if ahead and keep is None:
        return Refuse(f"{' '.join(ahead.values())} Save it, or say whose history to keep (galera.recover keep={best}).")
    why = _why_stop(best, seen[best])
    if why:
        return Stop(outside, (f"{why} {words(outside)} serve nobody and are stopped.",))
    reason = f"{best} is the most advanced ({seen[best].position}) and nobody is Primary."
    return Promote(Mandate(best, seen[best].position), (reason,), _left_out(seen, hosts))


def _why_stop(best: str, member: Member) -> str | None:
    """Why the most advanced member cannot be made Primary as it is; None if it can."""
    if not member.position.known:
        return "Nobody knows its position: it can be read after a stop."
    if not member.outside:
        return f"{best}, which is down, is the most advanced ({member.position})."
    if not (member.own_options or _dynamic(member.version)):
        return f"{best} ({member.version or 'version not known'}) cannot be made Primary while it runs (MDEV-32800)."
    return None


def _left_out(seen: Seen[Member], hosts: Sequence[str]) -> tuple[str, ...]:
    absent = [host for host in seen.hosts if host not in hosts]
    return (f"Left out: {words(absent)}. If they live, there will be two clusters.",) if absent else ()


def _dynamic(version: str | None) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version or "")
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < _NOT_DYNAMIC


def _all_down(seen: Seen[Member], hosts: Sequence[str], keep: str | None) -> Decision:
    """Nobody runs with Galera."""
    if keep is None:
        return election(seen, hosts)
    member = seen[keep]
    if member.needs_recover or not member.position.blank:
        return election(seen, hosts, keep)
    return _keep_unmarked(seen, hosts, keep)


def _keep_unmarked(seen: Seen[Member], hosts: Sequence[str], keep: str) -> Decision:
    """The operator keeps a member without a saved history: one that Galera marked as unsafe, or one that never had any."""
    member = seen[keep]
    undecided = not_read(seen, hosts)
    if member.suspect and member.recovered is None and keep not in undecided:
        undecided = (keep, *undecided)
    if undecided:
        reasons = (f"The position of {words(undecided)} has to be known first.",)
        return RecoverPositions(
            undecided, reasons, (f"If {keep} has a history, or nobody has one, {keep} leads; else nothing is done.",)
        )
    chosen = _reach(member)
    if chosen.blank and (histories(seen, hosts) or not member.schemas):
        return Refuse(f"{keep} has no history to keep. Name another member, or none.")
    plan = lead(seen, hosts, keep, chosen)
    given_up = tuple(host for host in hosts if host != keep and seen[host].data)
    losses = tuple(f"{host} ({_reach(seen[host])}) takes a full copy of {keep}: what only it has is lost." for host in given_up)
    return replace(plan, discard=given_up, reasons=(f"The operator keeps {keep} ({chosen}).",), losses=losses + plan.losses)


def _reach(member: Member) -> Position:
    """How far its data go, those that Galera marked as unsafe too."""
    return member.recovered if member.suspect and member.recovered else member.position
