"""Who leads: the decision of `galera.form`, and the election that it shares with `galera.recover`. Pure.

Members are taken in the declared order, which is that of `seen.hosts`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.tasks.cluster.classify import against, classify, diverged, histories, without_history
from nornir_stack.tasks.cluster.decision import Decision, Form, Mandate, Nothing, RecoverPositions, Refuse, Wait
from nornir_stack.tasks.cluster.judge import not_complete, state_of, under_way
from nornir_stack.tasks.cluster.release import version
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
    marked = [host for host in hosts if seen[host].unasked]
    if marked and not histories(seen, hosts) and not any(seen[host].needs_recover for host in hosts):
        return Refuse(without_history(seen, [host for host in hosts if seen[host].schemas]))  # before anybody is prepared
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
    busy = [host for host, member in seen.items() if under_way(member)]
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
        return Refuse(f"{' '.join(foreign.values())} Save it, or say which side to keep (galera.recover keep={group[0]}).")
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

    One history, then the highest seqno, then who has no prepared XA, the older release, the flag, who is declared first.
    `keep`: the member whose history the operator chose.
    """
    groups = histories(seen, hosts)
    if len(groups) > 1 and keep is None:
        return Refuse(diverged(seen, groups))
    undecided = not_read(seen, hosts)
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
    foreign |= ahead_but_suspect(seen, hosts, leader)
    if foreign and keep is None:
        return Refuse(f"{' '.join(foreign.values())} Save it, or say whose history to keep (galera.recover keep={leader}).")
    plan = lead(seen, hosts, leader, seen[leader].position)
    why = f"{leader} leads: {seen[leader].position} is the most advanced of {words(hosts)}."
    return replace(plan, discard=tuple(foreign), reasons=(why, *plan.reasons), losses=(*foreign.values(), *plan.losses))


def _rank(member: Member) -> tuple[int, bool, tuple[int, ...], bool]:
    """Of equals, max() takes the first, and members come in the declared order.

    The older release before the newer: it cannot take a full copy of a newer one, and may need one.
    """
    older = tuple(-number for number in _release(member))
    return member.position.seqno, not member.prepared, older, member.flagged


def not_read(seen: Seen[Member], hosts: Sequence[str]) -> tuple[str, ...]:
    """Whose data only `--wsrep-recover` can read: those that crashed, and those that Galera marked as unsafe."""
    return tuple(host for host in hosts if seen[host].needs_recover or seen[host].unasked)


def ahead_but_suspect(seen: Seen[Member], hosts: Sequence[str], leader: str) -> dict[str, str]:
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
    reasons = tuple(_why_ask(host, seen[host]) for host in undecided)
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


def _why_ask(host: str, member: Member) -> str:
    if member.suspect:
        return f"Galera marked the data of {host} as unsafe (zero UUID): only --wsrep-recover knows how far they reach."
    return f"{host} did not stop cleanly: only --wsrep-recover knows its position."


def fresh(seen: Seen[Member], hosts: Sequence[str]) -> Decision:
    """No history anywhere: a new cluster, if there is nothing to lose.

    Led by who has led before, else the first declared of the oldest release: its copy is of use to all.
    """
    owners = [host for host in hosts if seen[host].schemas]
    if owners:
        return Refuse(without_history(seen, owners))
    begun = [host for host in hosts if (saved := seen[host].grastate) and not saved.position.blank]
    releases = _releases(seen, hosts)
    leader = begun[0] if begun else min(hosts, key=lambda host: releases[host])
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
    losses += [_undone(host, count) for host in hosts if (count := seen[host].prepared)]
    losses += [
        _unreadable(host) for host in others if (one := seen[host]).suspect and one.recovered and not one.recovered.known
    ]
    if member.recovered and member.flush_log_at_commit not in {None, 1}:
        setting = f"innodb_flush_log_at_trx_commit is {member.flush_log_at_commit}"
        cut = "a power cut" if member.flush_log_at_commit else "a power cut, or where all servers crashed,"
        losses.append(f"{setting}: after {cut} the last second of commits may be gone.")
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


def _unreadable(host: str) -> str:
    return f"Galera marked the data of {host} as unsafe, and their position could not be read: what only it has is lost."


def _undone(host: str, count: int) -> str:
    return f"{host} has {count} prepared XA transactions: they are rolled back (a member that joins takes a full copy)."


def nearest_first(seen: Seen[Member], hosts: Sequence[str]) -> tuple[str, ...]:
    """The older release first, as long as none of a newer one is there to give it a copy; then those with the smallest gap:
    they need the least from the donor.
    """
    releases = _releases(seen, hosts)
    return tuple(sorted(hosts, key=lambda host: (releases[host], -seen[host].position.seqno)))


def _releases(seen: Seen[Member], hosts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Each member's release; one that is not known counts as the newest."""
    known = {host: _release(seen[host]) for host in hosts}
    newest = max(known.values(), default=())
    return {host: release or newest for host, release in known.items()}


def _release(member: Member) -> tuple[int, ...]:
    numbers = version(member.version)
    return numbers.release if numbers else ()


def broken_views(seen: Seen[Member], hosts: Sequence[str]) -> tuple[str, ...]:
    """Members that would not start with their gvwstate.dat."""
    return tuple(host for host in hosts if (view := seen[host].gvwstate) and view.broken and not seen[host].running)
