"""What is restored, to which member, from where, and what is given up for it. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from shlex import quote
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.backup_choice import SPARE, Sight
from nornir_stack.tasks.cluster.backups import LOGS, Backup, chain_of, gib
from nornir_stack.tasks.cluster.binlogs import Sources, shown, sources
from nornir_stack.tasks.cluster.judge import state_of, unsettled
from nornir_stack.tasks.cluster.views import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.tasks.cluster.member import Member


@dataclass(frozen=True)
class Mark:
    """What a node knows of a restore: which, what the histories were before, where the old data lie.

    `uuid`: the history that the restored cluster began; empty until it is complete.
    """

    backup: str
    until: str = ""
    former: tuple[str, ...] = ()
    aside: str = ""
    uuid: str = ""

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def same(self, backup: str, until: str) -> bool:
        """Is it that restore?"""
        return (self.backup, self.until) == (backup, until)


def mark_of(text: str) -> Mark | None:
    """From its JSON; None for what is none."""
    try:
        said = json.loads(text)
        return Mark(said["backup"], said["until"], tuple(said["former"]), said["aside"], said["uuid"])
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Scene:
    """What a restore has to know of a host. `logs`: the binary logs in its data folder; `staged` and `placed`: how far an
    earlier run of a restore came there: all prepared beside the data, or in their place.
    """

    sight: Sight = field(default_factory=Sight)
    cluster: str = ""
    members: tuple[str, ...] = ()
    """All declared ones."""
    logs: tuple[str, ...] = ()
    mounted_here: bool = False
    """The data folder itself is where a disk is mounted: it cannot be renamed."""
    staged: Mark | None = None
    placed: Mark | None = None


@dataclass(frozen=True)
class Wish:
    """What the operator said."""

    backup: str = ""
    until: int | None = None
    over: str = ""
    keeper: str = ""
    member: str = ""
    lost: tuple[str, ...] = ()
    backup_first: bool = True

    @property
    def when(self) -> str:
        return "" if self.until is None else shown(self.until)


@dataclass(frozen=True)
class Restoration:
    """`line`: the backups in order, the full one first; `leader` gets them from `keeper`, and binary logs from `log_host`.

    `phase` says what an earlier run has done already: nothing (""), `staged`, `placed`, or `done`.
    """

    backup: Backup
    line: tuple[Backup, ...]
    keeper: str
    leader: str
    until: str
    sources: Sources
    log_host: str
    phase: str
    first: bool
    """A backup is taken first."""
    former: tuple[str, ...]
    reasons: tuple[str, ...]


def member_in(seen: Seen[Scene], host: str) -> Member | None:
    """The member of a host, if it is one."""
    upkeep = seen[host].sight.place.upkeep if host in seen else None
    return upkeep.member if upkeep else None


def members_in(seen: Seen[Scene]) -> Seen[Member]:
    """The members alone."""
    found = {host: member for host in seen if (member := member_in(seen, host))}
    return Seen(found, {}, tuple(found))


def holds(member: Member) -> bool:
    """It runs, or has data or a history: something that a restore would replace."""
    return member.running or bool(member.schemas) or not member.position.blank


def restoration(seen: Seen[Scene], wish: Wish) -> Restoration:
    """What is to be done. Raises Refused, with a sentence, where it may not be done."""
    now = members_in(seen)
    _all_known(seen, now, wish)
    keeper, backup = _chosen(seen, wish)
    line = chain_of(backup, _kept(seen, keeper))
    if line is None:
        raise Refused(f"{backup.label} cannot be restored: {backup.base}, or what that needs, is gone.")
    leader = _leader(seen, now, wish, keeper, backup)
    phase = _phase(seen, leader, backup, wish)
    if phase != "done":
        _word(now, wish, seen[leader].cluster)
    logs, log_host = Sources(), ""
    if not phase:  # else they were replayed already, and may be gone with the data that were there
        logs, log_host = _logs(seen, wish, keeper, backup)
        _room(seen, leader, line)
    first = wish.backup_first and phase != "placed" and any(holds(one) for _, one in now.items())
    if first and not any(one.synced for _, one in now.items()):
        if not phase:
            raise Refused(
                "No member is Synced, so no backup can be taken of what is there now. Bring one up (galera.recover), or say"
                f" backup_first=no: then only what lies on {leader} is kept aside."
            )
        first = False
    former = tuple(dict.fromkeys([backup.uuid, *(one.position.uuid for _, one in now.items() if not one.position.blank)]))
    reasons = _reasons(now, wish, (keeper, backup), leader, phase)
    return Restoration(backup, line, keeper, leader, wish.when, logs, log_host, phase, first, former, reasons)


def _all_known(seen: Seen[Scene], now: Seen[Member], wish: Wish) -> None:
    declared = next((one.members for _, one in seen.items()), ())
    unseen = [host for host in declared if host not in now and host not in wish.lost]
    problems = [f"{host} was not seen ({seen.missing.get(host, 'it did not answer')}): name it as lost." for host in unseen]
    problems += [f"{host} was named as lost, but it runs." for host, one in now.items() if host in wish.lost and one.running]
    problems += unsettled(now)
    problems += [f"{state_of(host, one)}: stop it." for host, one in now.items() if one.silent]
    problems += [f"The data disk of {host} is not mounted." for host, one in now.items() if not one.mounted]
    if problems:
        raise Refused(f"Nothing is restored: {' '.join(problems)}")


def _kept(seen: Seen[Scene], host: str) -> tuple[Backup, ...]:
    shelf = seen[host].sight.shelf if host in seen else None
    return shelf.backups if shelf else ()


def _chosen(seen: Seen[Scene], wish: Wish) -> tuple[str, Backup]:
    """The backup that was named, or for a point in time the newest before it; and the host that keeps it."""
    rows = [(host, one) for host in seen for one in _kept(seen, host)]
    there = words([one.label for _, one in rows]) if rows else "none"
    if wish.backup:
        rows = [row for row in rows if row[1].label == wish.backup]
    elif wish.until is None:
        raise Refused(f"Say which: backup=LABEL, or until=TIME for the newest before it. There are: {there}.")
    if wish.until is not None:
        rows = [row for row in rows if row[1].finished <= wish.until]
    if not rows:
        before = f" from before {wish.when}" if wish.until is not None else ""
        raise Refused(f"There is no backup{f' {wish.backup}' if wish.backup else ''}{before}. There are: {there}.")
    return max(rows, key=lambda row: row[1].label)


def _leader(seen: Seen[Scene], now: Seen[Member], wish: Wish, keeper: str, backup: Backup) -> str:
    able = [host for host in now if host not in wish.lost]
    if not able:
        raise Refused("No member was seen.")
    begun = [
        host for host in able if any(m and m.same(backup.label, wish.when) for m in (seen[host].placed, seen[host].staged))
    ]
    leader = wish.member or (
        begun[0] if begun else keeper if keeper in able else backup.member if backup.member in able else able[0]
    )
    if leader not in able:
        raise Refused(f"{leader} is no member that was seen: it cannot get the backup.")
    if seen[leader].mounted_here:
        raise Refused(f"The data folder of {leader} is where a disk is mounted: it cannot be kept aside. Take a folder in it.")
    return leader


def _phase(seen: Seen[Scene], leader: str, backup: Backup, wish: Wish) -> str:
    scene = seen[leader]
    member = member_in(seen, leader)
    if scene.placed and scene.placed.same(backup.label, wish.when) and member:
        if scene.placed.uuid and scene.placed.uuid == member.position.uuid:
            return "done"
        begun = not member.position.blank and member.position.uuid not in scene.placed.former
        if not scene.placed.uuid and (begun or member.suspect):
            return "placed"
    return "staged" if scene.staged and scene.staged.same(backup.label, wish.when) else ""


def _word(now: Seen[Member], wish: Wish, cluster: str) -> None:
    full = [f"{host} ({one.position})" for host, one in now.items() if holds(one)]
    if full and wish.over != cluster:
        raise Refused(
            f"There is data of a cluster on {words(full)}: it would be replaced. If that is meant, say over={quote(cluster)}."
        )


def _logs(seen: Seen[Scene], wish: Wish, keeper: str, backup: Backup) -> tuple[Sources, str]:
    """Where the binary logs come from, for a point in time."""
    if wish.until is None:
        return Sources(), ""
    member = member_in(seen, backup.member)
    mine = member is not None and member.position.uuid == backup.uuid
    live = seen[backup.member].logs if mine else ()
    found = sources(backup, _kept(seen, keeper), live, LOGS)
    if not found.kept and not found.live:
        raise Refused(f"{backup.label} stands at no binary log that is still there: no point in time after it can be reached.")
    used = {path.partition("/")[0] for path in found.kept}
    newest = max((one.finished for one in _kept(seen, keeper) if one.label in used), default=0)
    if not found.live and newest < wish.until:
        raise Refused(
            f"The binary logs of {backup.member} that came along with backups reach up to {shown(newest)} at most, not to"
            f" {wish.when}, and {backup.member} has no others that go on from them."
        )
    return found, backup.member if found.live else ""


def _room(seen: Seen[Scene], leader: str, line: Sequence[Backup]) -> None:
    member = member_in(seen, leader)
    needed = int(sum(one.size for one in line) * SPARE)
    if member and member.free_bytes is not None and member.free_bytes < needed:
        raise Refused(
            f"{leader} has {gib(member.free_bytes)} free beside its data, and {line[-1].label} needs {gib(needed)}: make room."
        )


def _reasons(now: Seen[Member], wish: Wish, source: tuple[str, Backup], leader: str, phase: str) -> tuple[str, ...]:
    keeper, backup = source
    if phase == "done":
        return (f"{leader} was restored from {backup.label} already, and what was written since is kept.",)
    what = f"{backup.label} of {keeper} ({backup.uuid}:{backup.seqno})"
    reasons = [f"{leader} gets {what}{f', and what was committed before {wish.when} UTC' if wish.until else ''}."]
    if phase:
        done = "is prepared beside the data already" if phase == "staged" else "is in its place already"
        reasons.append(f"It {done}: an earlier run goes on.")
    given = [f"{host} ({one.position})" for host, one in now.items() if holds(one)]
    if given and phase != "placed":
        reasons.append(f"Given up: what {words(given)} has beyond that. The old data of {leader} are kept beside the new ones.")
    return tuple(reasons)
