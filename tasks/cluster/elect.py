"""Who leads: the decision of `galera.form`, and the election that it shares with `galera.recover`. Pure.

Members are taken in the declared order, which is that of `seen.hosts`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.tasks.cluster.classify import against, classify, diverged, histories, without_history
from nornir_stack.tasks.cluster.decision import Decision, Form, Mandate, Nothing, RecoverPositions, Refuse, Wait
from nornir_stack.tasks.cluster.judge import not_complete, state_of
from nornir_stack.tasks.cluster.member import DONOR
from nornir_stack.tasks.cluster.views import components, unknown, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member, Position


def forming(seen: Seen[Member], *, missing_ok: Sequence[str] = ()) -> Decision:
    """What brings the declared members to one complete cluster, from wherever an earlier attempt was cut.

    Never bootstraps beside a Primary component, with a member unseen, or where data would be lost.
    """
    groups = components(seen)
    if len(groups) > 1:
        return Refuse(classify(seen).problems[0])
    decided = blocked(seen, missing_ok)
    if decided:
        return decided
    hosts = present(seen, missing_ok)
    if groups:
        return grow(seen, groups[0], hosts)
    cut_off = [host for host in hosts if seen[host].outside and not seen[host].position.blank]
    if cut_off:
        return Refuse(f"{words(cut_off)} run with a cluster's history, but nobody is Primary. Use galera.recover.")
    return election(seen, hosts)


def present(seen: Seen[Member], lost: Sequence[str]) -> list[str]:
    """The members to decide about, in declared order."""
    return [host for host in seen.hosts if host in seen and host not in lost]


def blocked(seen: Seen[Member], lost: Sequence[str]) -> Refuse | Wait | None:
    """What forbids any decision now: something unknown, or somebody under way."""
    hidden = unknown(seen, lost)
    if hidden:
        return Refuse(" ".join(hidden))
    if not present(seen, lost):
        return Refuse("No member was seen: nothing can be decided.")
    busy = [host for host, member in seen.items() if member.starting or (member.wsrep and member.wsrep.state == DONOR)]
    if busy:
        return Wait(
            tuple(busy),
            f"{'; '.join(state_of(host, seen[host]) for host in busy)}: nobody else is touched until this has ended.",
        )
    return None


def grow(seen: Seen[Member], group: Sequence[str], hosts: Sequence[str], keep: str | None = None) -> Decision:
    """A Primary component lives: nobody is bootstrapped, the others join it. `keep`: a member of it, by the operator's word."""
    foreign = against(seen, group, [host for host in seen if host not in hosts])
    if foreign and keep not in group:
        return Refuse(f"{' '.join(foreign.values())} Save it, or say which side to keep (keep={group[0]}).")
    sick = [host for host in group if not seen[host].serves]
    if sick:
        return Refuse(f"{'; '.join(state_of(host, seen[host]) for host in sick)}: look at the log before anyone joins.")
    others = [host for host in hosts if host not in group]
    plan = Form(
        clear_residue=tuple(host for host in hosts if seen[host].residue),
        stop_first=tuple(host for host in others if seen[host].running),
        discard=tuple(foreign),
        set_aside=broken_views(seen, others),
        joiners=nearest_first(seen, others),
        restart_normally=tuple(host for host in hosts if seen[host].new_cluster and len(hosts) > 1),
        losses=tuple(foreign.values()),
    )
    if plan == Form():
        problems = not_complete(seen, missing_ok=[host for host in seen.hosts if host not in hosts])
        return Refuse(" ".join(problems)) if problems else Nothing(f"{words(hosts)} are one cluster, complete and Synced.")
    reasons = [f"{words(group)} {'is' if len(group) == 1 else 'are'} Primary: nobody is bootstrapped."]
    reasons += [f"{host} was started to bootstrap: it is restarted normally at the end." for host in plan.restart_normally]
    reasons += [f"{state_of(host, seen[host])}: it is stopped, then joins." for host in plan.stop_first]
    return replace(plan, reasons=tuple(reasons))


def election(seen: Seen[Member], hosts: Sequence[str], keep: str | None = None) -> Decision:
    """Nobody is Primary and nobody has settled with a history: who of `hosts` is to be bootstrapped?

    First the same history, then the highest seqno; then who has no prepared XA, then the flag, then the declared order.
    `keep`: the member whose history the operator chose.
    """
    groups = histories(seen, hosts)
    if len(groups) > 1 and keep is None:
        return Refuse(diverged(seen, groups))
    undecided = tuple(host for host in hosts if seen[host].needs_recover)
    if undecided:
        return RecoverPositions(undecided, *_not_yet(seen, hosts, undecided))
    if not groups:
        return fresh(seen, hosts)
    chosen = groups[seen[keep].position.uuid if keep else next(iter(groups))]
    lost_track = [host for host in chosen if not seen[host].position.known]
    if lost_track and any(seen[host].schemas for host in hosts):
        return Refuse(
            f"The position of {words(lost_track)} could not be found, so nobody is known to be the most advanced. "
            f"Look at the log of --wsrep-recover, or name it as lost (missing={lost_track[0]})."
        )
    leader = max(chosen, key=lambda host: _rank(seen[host]))
    foreign = against(seen, [leader], [host for host in seen if host not in hosts])
    foreign |= _ahead_but_suspect(seen, hosts, leader)
    if foreign and keep is None:
        return Refuse(f"{' '.join(foreign.values())} Save it, or say whose history to keep (keep={leader}).")
    plan = lead(seen, hosts, leader, seen[leader].position)
    why = f"{leader} leads: {seen[leader].position} is the most advanced of {words(hosts)}."
    return replace(plan, discard=tuple(foreign), reasons=(why, *plan.reasons), losses=(*foreign.values(), *plan.losses))


def _rank(member: Member) -> tuple[int, bool, bool]:
    """Of equals, max() takes the first, and members come in the declared order."""
    return member.position.seqno, not member.prepared, member.flagged


def _ahead_but_suspect(seen: Seen[Member], hosts: Sequence[str], leader: str) -> dict[str, str]:
    """Members whose saved state was zeroed, and whose data nevertheless goes beyond the leader's."""
    here = seen[leader].position
    return {
        host: f"Galera marked the data of {host} as unsafe, but it reaches {beyond}, which {leader} ({here}) has not."
        for host in hosts
        if seen[host].suspect and (beyond := seen[host].recovered) and beyond.known and _goes_beyond(beyond, here)
    }


def _goes_beyond(one: Position, other: Position) -> bool:
    return one.uuid != other.uuid or one.seqno > other.seqno


def _not_yet(seen: Seen[Member], hosts: Sequence[str], undecided: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Reasons and branches of a decision that waits for `--wsrep-recover`."""
    reasons = tuple(f"{host} did not stop cleanly: only --wsrep-recover knows its position." for host in undecided)
    known = [host for host in hosts if seen[host].position.known]
    best = max(known, key=lambda host: _rank(seen[host]), default=None)
    if best is None:
        return reasons, (
            f"Who of {words(undecided)} recovers the highest seqno leads; if their UUIDs differ, nothing is done.",
        )
    here = seen[best].position
    branches = [f"If {host} recovers beyond {here.seqno} of {here.uuid}, the highest leads." for host in undecided]
    return reasons, (
        *branches,
        f"If none does, {best} leads.",
        f"If one recovers another UUID than {here.uuid}, nothing is done.",
    )


def fresh(seen: Seen[Member], hosts: Sequence[str]) -> Decision:
    """No history anywhere: a new cluster, if there is nothing to lose. Led by who has led before, else the first declared."""
    owners = [host for host in hosts if seen[host].schemas]
    if owners:
        return Refuse(without_history(seen, owners))
    begun = [host for host in hosts if (saved := seen[host].grastate) and not saved.position.blank]
    leader = (begun or list(hosts))[0]
    plan = replace(lead(seen, hosts, leader, seen[leader].position), mandate=Mandate(leader, seen[leader].position, fresh=True))
    return replace(
        plan, reasons=(f"{words(hosts)} hold neither history nor databases: a new cluster, led by {leader}.", *plan.reasons)
    )


def lead(seen: Seen[Member], hosts: Sequence[str], leader: str, position: Position) -> Form:
    """The steps for a leader that was found: nobody else can bootstrap, then all join, then it is restarted normally."""
    others = [host for host in hosts if host != leader]
    absent = [host for host in seen.hosts if host not in hosts]
    member = seen[leader]
    losses: list[str] = []
    if absent:
        losses.append(f"Left out: {words(absent)}. What only they have is lost, and they must not come back by themselves.")
    if member.prepared:
        losses.append(f"{leader} has {member.prepared} prepared XA transactions: they are rolled back.")
    if member.recovered and member.flush_log_at_commit not in {None, 1}:
        setting = f"innodb_flush_log_at_trx_commit is {member.flush_log_at_commit}"
        losses.append(f"{setting}: after a power cut the last second of commits may be gone.")
    return Form(
        clear_residue=tuple(host for host in hosts if seen[host].residue),
        stop_first=tuple(host for host in hosts if seen[host].running),
        set_aside=((leader,) if member.gvwstate else ()) + broken_views(seen, others),
        clear_flags=tuple(host for host in others if (saved := seen[host].grastate) and saved.safe_to_bootstrap),
        mandate=Mandate(leader, position),
        joiners=nearest_first(seen, others),
        restart_normally=(leader,) if others else (),
        reasons=tuple(f"{state_of(host, seen[host])}: it is stopped first." for host in hosts if seen[host].running),
        losses=tuple(losses),
    )


def nearest_first(seen: Seen[Member], hosts: Sequence[str]) -> tuple[str, ...]:
    """Those with the smallest gap first: they need the least from the donor."""
    return tuple(sorted(hosts, key=lambda host: -seen[host].position.seqno))


def broken_views(seen: Seen[Member], hosts: Sequence[str]) -> tuple[str, ...]:
    """Members that would not start with their gvwstate.dat."""
    return tuple(host for host in hosts if (view := seen[host].gvwstate) and view.broken and not seen[host].running)
