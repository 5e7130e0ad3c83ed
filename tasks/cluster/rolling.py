"""Who is restarted, in which order, and when nobody may be: pure decisions of `galera.roll`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.judge import disagreement
from nornir_stack.tasks.cluster.views import words
from nornir_stack.tasks.loadbalancer.runtime import not_up

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from nornir_stack.tasks.cluster.member import Member
    from nornir_stack.tasks.cluster.upkeep import Place, Upkeep
    from nornir_stack.tasks.loadbalancer.runtime import Backends


@dataclass(frozen=True)
class Turn:
    """One member's turn: `restart` it or not (then it is only put back into service), and why."""

    name: str
    why: str
    restart: bool = True


def turns(seen: Seen[Place], *, members: Sequence[str] = (), only_changed: bool = True) -> tuple[Turn, ...]:
    """Who has a turn, in order: a member that was left drained, then the declared order, the writer last.

    `members`: these and no others, whether they need it or not. Raises Refused where the cluster is not well to begin with,
    where nobody else would serve, or for a member that does not exist.
    """
    places = {name: place.upkeep for name, place in seen.items() if place.upkeep}
    unknown = [name for name in members if name not in places and name not in seen.missing]
    if unknown:
        raise Refused(f"{words(unknown)}: no member of the cluster. The members are {words(places)}.")
    left = left_drained(seen)
    problems = not_safe(seen, left[0] if left else "")
    if problems:
        raise Refused(f"Nobody is restarted: {' '.join(problems)}")
    asked = {name: _why(name, places[name], members, only_changed=only_changed) for name in in_order(seen, places)}
    found = [Turn(name, asked[name]) if asked[name] else _finishing(name, places[name]) for name in left]
    found += [Turn(name, why) for name, why in asked.items() if why and name not in left]
    if len(places) == 1 and any(turn.restart for turn in found):
        raise Refused(f"Nobody is restarted: {words(places)} is alone, nobody else would be left to serve.")
    if held := sorted({package for turn in found if turn.restart for package in places[turn.name].held_back}):
        raise Refused(f"{words(held)} are held at their version: release them (apt-mark unhold, dnf versionlock delete) first.")
    return tuple(found)


def _finishing(name: str, upkeep: Upkeep) -> Turn:
    if upkeep.member.running:
        return Turn(name, f"{name} was left drained: it is put back into service", restart=False)
    return Turn(name, f"{name} was left drained and down: it is finished first")


def _why(name: str, upkeep: Upkeep, members: Sequence[str], *, only_changed: bool) -> str:
    if members and name not in members:
        return ""
    if members or not only_changed:
        return f"{name} was asked for" if members else f"{name}: all were asked for"
    if upkeep.pending:
        shown = ", ".join(upkeep.pending[:4]) + (f" and {len(upkeep.pending) - 4} more" if len(upkeep.pending) > 4 else "")  # noqa: PLR2004  lines to show
        return f"{name} has newer packages ({shown})"
    if upkeep.replaced:
        return f"{name}: its server's program was replaced since it started"
    if upkeep.configured > upkeep.started:
        return f"{name}: {upkeep.config} is newer than its server's start"
    return ""


def in_order(seen: Seen[Place], names: Sequence[str] | dict[str, Upkeep]) -> list[str]:
    """The declared order, but whoever takes the writes of a single-writer listener comes last."""
    last = writers(seen)
    return [name for name in names if name not in last] + [name for name in names if name in last]


def writers(seen: Seen[Place]) -> list[str]:
    """The members to whom single-writer listeners send everything now: HAProxy takes the first that is up, backups after."""
    found = []
    for place in seen.values.values():
        servers = place.backends.servers if place.backends else ()
        for listener in dict.fromkeys(server.listener for server in servers if server.backup):
            up = [server for server in servers if server.listener == listener and server.up]
            found += [server.name for server in sorted(up, key=lambda server: server.backup)[:1]]
    return list(dict.fromkeys(found))


def left_drained(seen: Seen[Place]) -> list[str]:
    """Members that are out of service by the flag on their node or by `drain` in a load balancer (`maint` is a person's)."""
    drained = {
        server.name
        for _, place in seen.items()
        if place.backends
        for server in place.backends.servers
        if server.state == "drain"
    }
    return [name for name, place in seen.items() if place.upkeep and (place.upkeep.drained or name in drained)]


def not_safe(seen: Seen[Place], name: str, *, waiting: Collection[str] = ()) -> list[str]:
    """Why `name` may not be stopped now: anybody else is not well, a backup runs, nobody would be left to serve.

    `name` itself may be down or out of service, and those who are known to be down until their turn comes (`waiting`). An
    empty name: why nobody may be.
    """
    out = {name, *waiting}
    members = members_of(seen)
    problems = [f"{host} was not seen ({why})." for host, why in seen.missing.items()]
    problems += [f"{host} is down." for host, member in members.items() if not member.running and host not in out]
    problems += disagreement(members)
    problems += [
        f"A backup runs on {host} ({words(place.upkeep.backups)})."
        for host, place in seen.items()
        if place.upkeep and place.upkeep.backups
    ]
    if not [host for host, member in members.items() if member.synced and host != name]:
        problems.append("Nobody else would be left to serve." if name else "Nobody is Synced.")
    for host, place in seen.items():
        if place.backends:
            problems += [f"{host}: {sentence}." for sentence in not_up(without(place.backends, *out))]
    return problems


def members_of(seen: Seen[Place]) -> Seen[Member]:
    """The members alone."""
    members = {name: place.upkeep.member for name, place in seen.items() if place.upkeep}
    return Seen(members, {}, tuple(members))


def without(backends: Backends, *names: str) -> Backends:
    """A load balancer, as if `names` did not stand behind it."""
    return replace(backends, wanted=tuple(pair for pair in backends.wanted if pair[1] not in names))


def not_back(seen: Seen[Backends], name: str) -> list[str]:
    """Why `name` has no traffic from a load balancer that should have it."""
    problems = [f"{host} was not seen ({why})." for host, why in seen.missing.items()]
    for host, now in seen.items():
        only = replace(now, wanted=tuple(pair for pair in now.wanted if pair[1] == name))
        problems += [f"{host}: {sentence}." for sentence in not_up(only)]
    return problems
