"""Who is brought to a new release, in which order, and when nobody may be: pure decisions of `galera.upgrade`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.classify import against
from nornir_stack.tasks.cluster.release import Fitness, going_back, named, not_known, obstacles, refuse, there
from nornir_stack.tasks.cluster.rolling import Turn, in_order, left_drained, members_of, not_safe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir_stack.tasks.cluster.upkeep import Place


NO_RELEASE = "The inventory names no release: set `galera: release: {version: '11.8'}`."


@dataclass(frozen=True)
class Standing:
    """What a host is to an upgrade: its place in a rolling change, and as a member how it fits the new release."""

    place: Place
    fitness: Fitness | None = None
    release: tuple[int, int] | None = None
    """What the inventory names for this member."""


def fits(seen: Seen[Standing]) -> dict[str, Fitness]:
    """The members alone."""
    return {name: one.fitness for name, one in seen.items() if one.fitness}


def places(seen: Seen[Standing]) -> Seen[Place]:
    return Seen({name: one.place for name, one in seen.items()}, seen.missing, seen.hosts)


def before_sources(seen: Seen[Standing]) -> Seen[Standing]:
    """What was seen, before the packages' sources are as wanted: of those that lack the release nothing is known yet."""

    def known(one: Standing) -> Standing:
        fit = one.fitness
        if fit is None or (fit.candidate and fit.candidate.release == one.release):
            return one
        return replace(one, fitness=replace(fit, source_there=False))

    return Seen({name: known(one) for name, one in seen.items()}, seen.missing, seen.hosts)


def nobody_yet(seen: Seen[Standing]) -> bool:
    """Whether no member has anything of the new release: then a backup is of the old one, and is the way back."""
    return not any(
        fit and fit.newest and one.release and fit.newest.release >= one.release
        for one in seen.values.values()
        for fit in [one.fitness]
    )


def turns(seen: Seen[Standing]) -> tuple[Turn, ...]:
    """Who has a turn, in order: a member that was left drained, then the declared order, the writer last.

    Raises Refused before anybody is touched: for what cannot go back, for a way that is not known, for a member that does
    not fit, where the cluster is not well, and where nobody else would serve. A cluster half upgraded goes on.
    """
    members, where = fits(seen), places(seen)
    release = next((one.release for one in seen.values.values() if one.release), None)
    if release is None:
        said = [f"{name} was not seen ({why})." for name, why in seen.missing.items()]
        raise Refused(f"Nobody is upgraded: {' '.join(said) or NO_RELEASE}")
    refuse(going_back(members, release) or not_known(members, release))
    off = _down(where, members)
    left = list(dict.fromkeys([*left_drained(where), *off]))
    behind = {name: fit for name, fit in members.items() if not there(fit, release)}
    if not behind and not left:
        return ()
    problems = not_safe(where, left[0] if left else "", waiting=off)
    living = [name for name, member in members_of(where).items() if member.primary]
    problems += against(members_of(where), living).values() if living else ()
    if problems:
        raise Refused(f"Nobody is upgraded: {' '.join(problems)}")
    refuse(obstacles(members, release))
    found = [_turn(name, members, release, left=True) for name in left]
    found += [_turn(name, members, release, left=False) for name in in_order(where, list(behind)) if name not in left]
    if len(members) == 1 and behind:
        raise Refused(f"Nobody is upgraded: {next(iter(members))} is alone, nobody else would be left to serve.")
    return tuple(found)


def _down(seen: Seen[Place], members: Mapping[str, Fitness]) -> list[str]:
    """Who is down, and is brought to the release before it joins: the only one, or all of them, if one is older than those
    who serve: none of those can give it a copy, so galera.recover refuses it.
    """
    down = [name for name, place in seen.items() if place.upkeep and not place.upkeep.member.running and name in members]
    serving = max((fit.running for fit in members.values() if fit.running), default=None)
    older = [name for name in down if serving and (mine := members[name].newest) and mine.release < serving.release]
    return down if older or len(down) == 1 else []


def down(found: Sequence[Turn], seen: Seen[Standing]) -> tuple[str, ...]:
    """Of these turns, whose member is down until then."""
    where = members_of(places(seen))
    return tuple(turn.name for turn in found if not where[turn.name].running)


def _turn(name: str, members: Mapping[str, Fitness], release: tuple[int, int], *, left: bool) -> Turn:
    fit = members[name]
    if there(fit, release):
        return Turn(name, f"{name} was left drained: it is put back into service", restart=False)
    first = f"{name} was left {'drained' if fit.running else 'down'}: it is finished first" if left else name
    if fit.on_disk and fit.on_disk.release == release:
        state = (
            "has the new packages and is not yet on them" if not fit.running or fit.running.release != release else "runs it"
        )
        return Turn(name, f"{first}; {fit.on_disk}: it {state}{', its system tables are not' if fit.due else ''}")
    to = fit.candidate if fit.source_there and fit.candidate else named(release)
    return Turn(name, f"{first}{';' if left else ':'} {fit.running or fit.on_disk} becomes {to}")
