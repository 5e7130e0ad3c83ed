"""From whom a backup is taken, whether one may begin, and which are to be deleted. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.backups import FULL, INCREMENTAL, Backup, Shelf, chain_of, gib
from nornir_stack.tasks.cluster.judge import disagreement, state_of
from nornir_stack.tasks.cluster.product import TOOLS
from nornir_stack.tasks.cluster.rolling import members_of, writers
from nornir_stack.tasks.cluster.upkeep import Place
from nornir_stack.tasks.cluster.views import components, words

if TYPE_CHECKING:
    from collections.abc import Sequence

SPARE = 1.1  # what is written while the copy is taken
DAY = 86400


@dataclass(frozen=True)
class Sight:
    """What a backup has to know of a host. `data`: bytes that a copy of it takes; `life`: which run of its server this is.

    `logs`: its binary logs, oldest first, with their bytes; none where they are off. `login`: root logs in by the socket.
    `product`: a member's.
    """

    place: Place = field(default_factory=Place)
    shelf: Shelf | None = None
    data: int = 0
    life: str = ""
    logs: tuple[tuple[str, int], ...] = ()
    login: bool = True
    product: str = "mariadb"


@dataclass(frozen=True)
class Choice:
    """From which member, where to, on which base (None: a full one), and why. `logs`: the binary logs from this one on."""

    member: str
    keeper: str
    base: Backup | None
    label: str
    started: int
    desync: bool
    logs: str
    needed: int
    reasons: tuple[str, ...]
    product: str = "mariadb"


def places(seen: Seen[Sight]) -> Seen[Place]:
    """The members and load balancers alone."""
    values = {host: one.place for host, one in seen.items() if one.place.upkeep or one.place.backends}
    return Seen(values, {}, tuple(values))


def not_now(seen: Seen[Place], member: str) -> list[str]:
    """Why no backup may be taken from `member` now: it is not Synced, somebody is in a transfer, another backup runs."""
    now = members_of(seen)
    problems = [] if member in now and now[member].synced else [f"{member} is not Synced."]
    problems += [f"{state_of(host, one)}: wait." for host, one in now.items() if one.starting]
    problems += [f"{state_of(host, one)}: wait." for host, one in now.items() if one.serves and not one.synced]
    if len(components(now)) > 1:
        problems += disagreement(now)
    return problems + [
        f"A backup runs on {host} ({words(one.upkeep.backups)})."
        for host, one in seen.items()
        if one.upkeep and one.upkeep.backups
    ]


def choose(seen: Seen[Sight], *, keeper: str = "", incremental: bool = False, avoid: Sequence[str] = ()) -> Choice:
    """Who is asked. Never a writer if another member can; the member of the last backup if it is to be continued; else the
    last declared. Those to `avoid` only where nobody else can. Raises Refused where nobody can be asked, or there is no room.
    """
    now = members_of(places(seen))
    synced = [host for host, one in now.items() if one.synced]
    able = [host for host in synced if seen[host].login]
    if not able:
        why = f"root cannot log in by the socket on {words(synced)}" if synced else _nobody(seen)
        raise Refused(f"No backup is taken: {why}.")
    able = [host for host in able if host not in avoid] or able
    taken = writers(places(seen))
    free = [host for host in able if host not in taken] or able
    based, why = _base(seen, free, keeper) if incremental else (None, "")
    member = based.member if based else free[-1]
    if problems := not_now(places(seen), member):
        raise Refused(f"No backup is taken: {' '.join(problems)}")
    keeper = keeper or member
    if keeper not in seen or (kept := seen[keeper].shelf) is None:
        raise Refused(f"{keeper}, which is to keep the backup, was not seen ({seen.missing.get(keeper, 'it did not answer')}).")
    logs = _logs_since(seen, member)
    needed = _needed(seen[member], logs, based)
    if kept.free < needed:
        what = "an increment, and a copy of its base to prove it on," if based else "a full backup"
        raise Refused(f"{keeper} has {gib(kept.free)} free, and {what} of {member} needs up to {gib(needed)}: make room.")
    reasons = [f"A {'backup that continues ' + based.label if based else 'full backup'} is taken from {member} to {keeper}."]
    if why:
        reasons.append(f"Not an increment: {why}")
    if member in taken:
        reasons.append(f"{member} takes the writes, but no other member is Synced.")
    label = f"{stamp(kept.now)}-{INCREMENTAL if based else FULL}"
    product = seen[member].product
    return Choice(member, keeper, based, label, kept.now, len(synced) > 1, logs, needed, tuple(reasons), product)


def _nobody(seen: Seen[Sight]) -> str:
    unseen = "; ".join(f"{host}: {why}" for host, why in seen.missing.items())
    return f"no member is Synced{f' ({unseen})' if unseen else ''}"


def stamp(now: int) -> str:
    """Seconds since 1970 as the beginning of a label, which sorts by time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def _base(seen: Seen[Sight], able: Sequence[str], keeper: str) -> tuple[Backup | None, str]:
    """The last backup of somebody who can be asked, if an increment can go on from it; else why not."""
    tool = TOOLS[seen[able[0]].product]
    if not tool.increments:
        return None, f"{tool.name} continues only what was not prepared, and so not proved."
    found = [
        one
        for host, sight in seen.items()
        for one in (sight.shelf.backups if sight.shelf else ())
        if chain_of(one, sight.shelf.backups if sight.shelf else ()) and (host == keeper if keeper else host == one.member)
    ]
    if not found:
        return None, "there is no backup to continue."
    last = max(found, key=lambda one: one.label)
    if last.member not in able:
        return None, f"{last.label} is from {last.member}, which cannot be asked now."
    if last.life != seen[last.member].life:
        return None, f"{last.member} was started again since {last.label}: its data may have been replaced by a full copy."
    return last, ""


def _logs_since(seen: Seen[Sight], member: str) -> str:
    """The binary log at which the last backup of this member stands, if it is still there: from there on they are copied."""
    there = {name for name, _ in seen[member].logs}
    mine = [
        one
        for _, sight in seen.items()
        for one in (sight.shelf.backups if sight.shelf else ())
        if one.member == member and one.binlog in there
    ]
    return max(mine, key=lambda one: one.label).binlog if mine else ""


def _needed(sight: Sight, first: str, base: Backup | None) -> int:
    """Bytes: the copy, binary logs, and for an increment (at most as large as the data) a copy of its base to prove it on."""
    names = [name for name, _ in sight.logs]
    start = names.index(first) if first in names else max(len(names) - 1, 0)
    logs = sum(size for _, size in sight.logs[start:])
    return int((sight.data * (2 if base else 1) + logs) * SPARE)


# retention


def to_delete(seen: Seen[Shelf], *, keep: int = 0, days: int = 0) -> list[tuple[str, Backup]]:
    """Which backups go, each increment before what it needs: hosts and backups.

    A full backup stays, with its increments, while it is among the newest `keep`, or it or one of them is younger than `days`
    (0: that does not count; both 0: nothing goes). The newest that can be restored always stays, with all that it needs.
    """
    if not keep and not days:
        return []
    rows = [(host, one) for host, kept in seen.items() for one in kept.backups]
    sets: list[tuple[str, list[Backup]]] = []
    for host, one in rows:
        if one.kind == FULL:
            kept = seen[host].backups
            sets.append((host, [other for other in kept if (line := chain_of(other, kept)) and line[0] == one]))
    sets.sort(key=lambda each: each[1][0].label, reverse=True)
    going = [
        (host, group)
        for place, (host, group) in enumerate(sets)
        if place > 0 and not (keep and place < keep) and not (days and _younger(seen[host], group, days))
    ]
    newest = max((one.label for _, group in sets for one in group), default="")
    whole = [(host, one) for host, group in going if newest not in {one.label for one in group} for one in reversed(group)]
    orphans = [(host, one) for host, one in rows if one.kind == INCREMENTAL and chain_of(one, seen[host].backups) is None]
    return [*orphans, *whole]


def _younger(kept: Shelf, group: Sequence[Backup], days: int) -> bool:
    return any(kept.now - one.finished < days * DAY for one in group)
