"""The decision of `galera.recover`: a cluster that is down, cut in two, or without a Primary component. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.tasks.cluster.classify import classify, diverged, histories
from nornir_stack.tasks.cluster.decision import Decision, Form, Mandate, Promote, RecoverPositions, Refuse, Stop
from nornir_stack.tasks.cluster.elect import blocked, broken_views, election, fresh, grow, lead, nearest_first, present
from nornir_stack.tasks.cluster.member import NOWHERE
from nornir_stack.tasks.cluster.views import components, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member

_NOT_DYNAMIC = (11, 2)
"""From this MariaDB on, pc.bootstrap cannot be set while the server runs (MDEV-32800)."""


def recovery(seen: Seen[Member], *, missing_ok: Sequence[str] = (), keep: str | None = None) -> Decision:
    """What brings the declared members back to one complete cluster, losing nothing without the operator's word.

    `missing_ok` (missing=): members that are lost. `keep`: the member whose history is kept where histories differ.
    """
    groups = components(seen)
    if keep is not None and (keep not in seen or keep in missing_ok):
        return Refuse(f"{keep} is to be kept, but it was not seen or is named as lost. Name a member that answers.")
    side = next((group for group in groups if keep in group), None)
    if len(groups) > 1 and side is None:
        return Refuse(classify(seen).problems[0])
    decided = blocked(seen, missing_ok)
    if decided:
        return decided
    hosts = present(seen, missing_ok)
    if keep is not None and groups and side is None:
        return Refuse(f"{words(groups[0])} live as Primary: {keep} cannot be kept against them. Stop them first, if it must lead.")
    if len(groups) > 1 and side:
        return _one_side(seen, side, hosts)
    if groups:
        return grow(seen, groups[0], hosts, keep)
    if any(seen[host].outside for host in hosts):
        return _without_primary(seen, hosts, keep)
    return _all_down(seen, hosts, keep)


def _one_side(seen: Seen[Member], side: Sequence[str], hosts: Sequence[str]) -> Decision:
    """A split brain, and the operator chose: the other sides are stopped, saved, and take a full copy."""
    losers = [host for host in hosts if seen[host].primary and host not in side]
    others = [host for host in hosts if host not in side]
    return Form(
        clear_residue=tuple(host for host in hosts if seen[host].residue),
        stop_first=tuple(host for host in others if seen[host].running),
        discard=tuple(losers),
        set_aside=broken_views(seen, others),
        joiners=nearest_first(seen, others),
        restart_normally=tuple(host for host in side if seen[host].new_cluster),
        reasons=(f"The operator keeps the side of {words(side)}.",),
        losses=tuple(f"What {host} committed since the split ({seen[host].position}) is lost: back it up first." for host in losers),
    )


def _without_primary(seen: Seen[Member], hosts: Sequence[str], keep: str | None) -> Decision:
    """Members run, but nobody is Primary: every member was seen, so nobody else can be."""
    outside = [host for host in hosts if seen[host].outside]
    alone = [host for host in hosts if seen[host].standalone]
    if alone:
        return Refuse(f"{words(alone)} runs without Galera beside members that are not Primary. Stop it, then look again.")
    groups = histories(seen, hosts)
    if len(groups) > 1:
        return Stop(tuple(outside), (f"{keep} is kept.",)) if keep else Refuse(diverged(seen, groups))
    undecided = tuple(host for host in hosts if seen[host].needs_recover)
    if undecided:
        reason = f"{words(undecided)} did not stop cleanly and may be ahead of those who run."
        best = max(outside, key=lambda host: seen[host].position.seqno)
        branch = f"If one recovers beyond {seen[best].position.seqno}, it leads after a stop of the others; else {best} is made Primary."
        return RecoverPositions(undecided, (reason,), (branch,))
    best = max(hosts, key=lambda host: (seen[host].position.seqno, seen[host].outside))
    member = seen[best]
    if not member.position.known:
        return Stop(tuple(outside), (f"{words(outside)} run without knowing their position: it is read after a stop.",))
    if not member.outside:
        return Stop(tuple(outside), (f"{best}, which is down, is the most advanced ({member.position}): the others are stopped.",))
    if not _dynamic(member.version):
        return Stop(tuple(outside), (f"{best} ({member.version}) cannot be made Primary while it runs (MDEV-32800).",))
    return Promote(
        Mandate(best, member.position), (f"{best} is the most advanced ({member.position}) and nobody is Primary.",), _left_out(seen, hosts)
    )


def _left_out(seen: Seen[Member], hosts: Sequence[str]) -> tuple[str, ...]:
    absent = [host for host in seen.hosts if host not in hosts]
    return (f"{words(absent)} is left out: if it lives, there will be two clusters.",) if absent else ()


def _dynamic(version: str | None) -> bool:
    numbers = re.match(r"(\d+)\.(\d+)", version or "")
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < _NOT_DYNAMIC


def _all_down(seen: Seen[Member], hosts: Sequence[str], keep: str | None) -> Decision:
    """Nobody runs with Galera."""
    if keep is None:
        return election(seen, hosts)
    member = seen[keep]
    if member.suspect and member.recovered is None:
        why = f"Galera marked the data of {keep} as unsafe; the operator keeps it, so its position is looked up."
        return RecoverPositions((keep,), (why,), (f"If {keep} has a position, it leads; else nothing is done.",))
    chosen = member.recovered if member.suspect and member.recovered else member.position
    if not member.suspect and (chosen != NOWHERE or member.needs_recover):
        return election(seen, hosts, keep)
    if not member.data or (chosen.blank and not member.schemas):
        return fresh(seen, hosts) if not histories(seen, hosts) else Refuse(f"{keep} has nothing to keep. Name another member.")
    undecided = tuple(host for host in hosts if seen[host].needs_recover)
    if undecided:
        return RecoverPositions(undecided, (f"{words(undecided)} did not stop cleanly.",), (f"{keep} leads in any case.",))
    plan = lead(seen, hosts, keep, chosen)
    given_up = [host for host in hosts if host != keep and (seen[host].data or not seen[host].position.blank)]
    losses = tuple(f"{host} ({seen[host].position}) takes a full copy of {keep}: what only it has is lost." for host in given_up)
    return replace(plan, discard=tuple(given_up), reasons=(f"The operator keeps {keep} ({chosen}).",), losses=losses + plan.losses)
