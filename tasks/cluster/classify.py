"""From what was seen of all members to the state of the cluster, with sentences that say what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from nornir_stack.tasks.cluster.judge import not_complete, state_of, unsettled
from nornir_stack.tasks.cluster.views import components, unknown, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member


class Kind(Enum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    JOINING = "joining"
    NON_PRIMARY = "non-Primary"
    DOWN_CLEAN = "down cleanly"
    DOWN_CRASHED = "down crashed"
    SPLIT = "split"
    FRESH = "fresh"
    INCONSISTENT = "inconsistent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Class:
    """The state of a cluster, and why: what was seen and what to do."""

    kind: Kind
    problems: tuple[str, ...] = ()


def classify(seen: Seen[Member], *, missing_ok: Sequence[str] = ()) -> Class:
    """The state of the cluster whose declared members are `seen.hosts`. `missing_ok`: named as lost by the operator."""
    groups = components(seen)
    if len(groups) > 1:
        sides = " against ".join(f"{words(group)} ({seen[group[0]].position})" for group in groups)
        return Class(Kind.SPLIT, (f"Split brain: {sides}, each Primary without the other. Choose: galera.recover keep=HOST.",))
    hidden = unknown(seen, missing_ok) or ([] if len(seen) else ["No member was seen."])
    if hidden:
        return Class(Kind.UNKNOWN, tuple(hidden))
    starting = [f"{sentence} Leave everything alone." for sentence in unsettled(seen)]
    if groups:
        return _living(seen, groups[0], starting, missing_ok)
    return Class(Kind.JOINING, tuple(starting)) if starting else _without_primary(seen, missing_ok)


def _without_primary(seen: Seen[Member], missing_ok: Sequence[str]) -> Class:
    outside = [host for host, member in seen.items() if member.outside]
    if outside:
        return Class(
            Kind.NON_PRIMARY,
            (f"{words(outside)} run, but nobody is Primary: they serve nobody. `galera.recover` chooses the most advanced.",),
        )
    return _down(seen, missing_ok)


def _living(seen: Seen[Member], group: Sequence[str], starting: Sequence[str], missing_ok: Sequence[str]) -> Class:
    foreign = against(seen, group, missing_ok)
    if foreign:
        return Class(Kind.INCONSISTENT, tuple(foreign.values()))
    if starting:
        return Class(Kind.JOINING, tuple(starting))
    problems = not_complete(seen, missing_ok=missing_ok)
    return Class(Kind.DEGRADED if problems else Kind.HEALTHY, tuple(problems))


def against(seen: Seen[Member], group: Sequence[str], lost: Sequence[str] = ()) -> dict[str, str]:
    """Who would lose what by joining `group` (host to sentence): foreign histories, transactions ahead, own databases."""
    leader = max(group, key=lambda host: seen[host].position.seqno)
    living = seen[leader].position
    schemas = {name for host in group for name in seen[host].schemas}
    said: dict[str, str] = {}
    for host, member in seen.items():
        if host in group or host in lost:
            continue
        here = member.position
        if not here.blank and here.uuid != living.uuid:
            said[host] = f"{host} has another history ({here}) than the living cluster ({living}): joining would erase it."
        elif here.known and here.seqno > living.seqno:
            said[host] = f"{host} ({here}) is ahead of the living cluster ({living}): joining would erase what only {host} has."
        elif here.blank and (own := [name for name in member.schemas if name not in schemas]):
            said[host] = f"{host} has databases that the living cluster has not ({words(own)}): joining would erase them."
    return said


def histories(seen: Seen[Member], hosts: Sequence[str]) -> dict[str, list[str]]:
    """Cluster UUID to the members that have it, most advanced first; members without a history are in none."""
    groups: dict[str, list[str]] = {}
    for host in hosts:
        if not seen[host].position.blank:
            groups.setdefault(seen[host].position.uuid, []).append(host)
    return {uuid: sorted(names, key=lambda host: -seen[host].position.seqno) for uuid, names in groups.items()}


def diverged(seen: Seen[Member], groups: dict[str, list[str]]) -> str:
    """One sentence that shows the groups with their positions."""
    sides = "; ".join(f"{words(names)}: {uuid} up to {seen[names[0]].position.seqno}" for uuid, names in groups.items())
    return f"The members have different histories ({sides}). Nothing is done: choose (galera.recover keep=HOST)."


def _down(seen: Seen[Member], missing_ok: Sequence[str]) -> Class:
    """Nobody runs with Galera."""
    hosts = [host for host in seen if host not in missing_ok]
    groups = histories(seen, hosts)
    if len(groups) > 1:
        return Class(Kind.INCONSISTENT, (diverged(seen, groups),))
    if not groups:
        return _without_history(seen, hosts)
    problems = tuple(f"{state_of(host, seen[host])} ({seen[host].position})." for host in hosts)
    problems += tuple(
        f"{host}: gvwstate.dat is empty or broken, the server will not start with it. Move it aside."
        for host in hosts
        if (view := seen[host].gvwstate) and view.broken
    )
    crashed = any(seen[host].needs_recover for host in hosts)
    return Class(Kind.DOWN_CRASHED if crashed else Kind.DOWN_CLEAN, problems)


def _without_history(seen: Seen[Member], hosts: Sequence[str]) -> Class:
    owners = [host for host in hosts if seen[host].schemas]
    if owners:
        return Class(Kind.INCONSISTENT, (without_history(seen, owners),))
    return Class(Kind.FRESH, ("No member has any history or database: a new cluster can be formed.",))


def without_history(seen: Seen[Member], owners: Sequence[str]) -> str:
    """One sentence: there are databases, but no member knows where in a cluster's history it stands."""
    names = words(sorted({name for host in owners for name in seen[host].schemas}))
    reach = [f"{host} to {found}" for host in owners if (found := seen[host].recovered) and found.known]
    known = f"Their data reach: {', '.join(reach)}. " if reach else ""
    return (
        f"No member has a cluster history (zero UUID), but databases are on {words(owners)} ({names}). {known}"
        "Nothing is done: restore a backup, or choose the member to keep (galera.recover keep=HOST)."
    )
