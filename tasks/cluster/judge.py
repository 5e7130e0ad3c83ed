"""What barriers ask: pure judgements over all members. Problems are sentences; none means that it holds.

They hold on a second start too: they compare who lives with who is listed, never with a number of the moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.tasks.cluster.member import DONOR
from nornir_stack.tasks.cluster.views import components, unknown, view_differs, words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member, Wsrep


def state_of(host: str, member: Member) -> str:
    """One clause: what the member does now."""
    wsrep = member.wsrep
    if wsrep is None:
        transfer = " and receives a state transfer" if member.sst or member.sst_marker else ""
        running = f"is starting{transfer}" if member.starting else "runs but answers no SQL"
        running = "fails and is started again and again" if member.crashing else running
        return f"{host} {running if member.running else 'is down'}"
    if not wsrep.on:
        return f"{host} runs without Galera"
    if member.upgrading and member.serves:
        return f"{host} upgrades its system tables (mariadb-upgrade)"
    if not wsrep.primary:
        return f"{host} runs but is in no Primary component (wsrep_cluster_status)"
    if wsrep.state == DONOR:
        return f"{host} is a donor (wsrep_local_state 2)"
    lacks = [word for word, there in (("ready", wsrep.ready), ("connected", wsrep.connected)) if not there]
    return f"{host} is Primary but not {lacks[0]} (wsrep_{lacks[0]})" if lacks else _stage_of(host, wsrep)


def _stage_of(host: str, wsrep: Wsrep) -> str:
    return f"{host} is {wsrep.comment or 'in state'} (wsrep_local_state {wsrep.state})"


def not_running(seen: Seen[Member], name: str) -> list[str]:
    """Why `name` may not serve: not seen, not Primary, not Synced, not ready, not connected, upgrading its system tables."""
    if name not in seen:
        return [f"{name} was not seen ({seen.missing.get(name, 'it did not answer')})."]
    return _not_synced(name, seen[name])


def _not_synced(host: str, member: Member) -> list[str]:
    if member.synced and not member.upgrading:
        return []
    return [f"{state_of(host, member)}: {'wait' if member.synced else 'not Synced'}."]


def unsettled(seen: Seen[Member]) -> list[str]:
    """Who is still under way (starting, state transfer, joining): nobody is touched before it has ended (LP 2161773)."""
    return [f"{state_of(host, member)}: wait." for host, member in seen.items() if member.starting]


def under_way(member: Member) -> bool:
    """Whether nobody else is touched until it has ended: as `starting`, or it is a donor."""
    return member.starting or (member.wsrep is not None and member.wsrep.state == DONOR)


def still_under_way(seen: Seen[Member]) -> list[str]:
    """Who is still under way, donors among them."""
    return [f"{state_of(host, member)}: wait." for host, member in seen.items() if under_way(member)]


def not_grown(seen: Seen[Member], name: str) -> list[str]:
    """Why `name` has not joined: it is not Synced, or one of those who run does not list exactly those who run."""
    return not_running(seen, name) + disagreement(seen)


def not_promoted(seen: Seen[Member], name: str, size: int) -> list[str]:
    """Why a promotion is not over: `name` does not serve yet, or of the `size` members of its component not all do."""
    problems = not_running(seen, name)
    serving = [host for host, member in seen.items() if member.synced]
    following = [host for host, member in seen.items() if member.outside or member.starting]
    if not problems and len(serving) < size:
        problems += [f"{state_of(host, seen[host])}: not Synced." for host in following]
    return problems


def somebody_primary(seen: Seen[Member], *, missing_ok: Sequence[str] = ()) -> list[str]:
    """Why nobody may be made Primary: someone is, or someone who is not named as lost was not seen."""
    problems = unknown(seen, missing_ok)
    return problems + [f"{host} is Primary: nobody else is made so." for host, member in seen.items() if member.primary]


def stale_views(seen: Seen[Member]) -> list[str]:
    """Which Primary members count others than those who are Primary: one that crashed just now and is not expelled yet.

    Or they are what is stale: a server that hung and goes on says Primary until it has noticed that it was alone. Whoever is
    stopped then may be the one whose vote it needs.
    """
    primary = [host for host, member in seen.items() if member.primary]
    return [sentence for host in primary for sentence in view_differs(seen, host, primary)]


def disagreement(seen: Seen[Member]) -> list[str]:
    """Where the members that run differ: one component, one UUID, one configuration, one membership, all Synced."""
    running = [host for host, member in seen.items() if member.running]
    problems = [sentence for host in running for sentence in _not_synced(host, seen[host])]
    alive = [host for host, member in seen.items() if member.primary]
    groups = components(seen)
    if len(groups) > 1:
        sides = " against ".join(words(group) for group in groups)
        problems.append(f"{sides}: each side is Primary without the other (split brain).")
    uuids = sorted({seen[host].position.uuid for host in alive})
    if len(uuids) > 1:
        problems.append(f"The members have different cluster UUIDs: {words(uuids)}.")
    conf_ids = sorted({wsrep.conf_id for host in alive if (wsrep := seen[host].wsrep)})
    if len(conf_ids) > 1:
        problems.append(f"The members are in different configurations (wsrep_cluster_conf_id {words(map(str, conf_ids))}).")
    return problems + [sentence for host in alive for sentence in view_differs(seen, host, running)]


def unhealthy(seen: Seen[Member], *, missing_ok: Sequence[str] = ()) -> list[str]:
    """Why nothing may be stopped or restarted now: someone is not seen, down, not Synced, or they disagree."""
    problems = unknown(seen, missing_ok)
    problems += [f"{host} is down." for host, member in seen.items() if not member.running and host not in missing_ok]
    if not any(member.running for _, member in seen.items()):
        problems.append("Nobody runs.")
    return problems + disagreement(seen)


def not_complete(seen: Seen[Member], *, missing_ok: Sequence[str] = ()) -> list[str]:
    """Why the cluster is not as declared: as `unhealthy`, and nothing may be left of a bootstrap.

    One member alone has to stay as it was bootstrapped: nobody could take it back.
    """
    problems = unhealthy(seen, missing_ok=missing_ok)
    alone = len(seen.hosts) - len(missing_ok) == 1
    for host, member in seen.items():
        left = member.residue if alone else member.residues
        problems += [f"{host} is left in bootstrap mode: {sentence}." for sentence in left]
    return problems
