"""`galera.backup`: a full or incremental backup of one member, while the cluster serves, proved before it counts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster.backup_choice import Choice, Sight, choose, not_now, to_delete
from nornir_stack.tasks.cluster.backup_line import new_line
from nornir_stack.tasks.cluster.backup_prove import clear, delete, prove, tidy
from nornir_stack.tasks.cluster.backup_receive import receive
from nornir_stack.tasks.cluster.backup_sight import LOOK_SECONDS, sight
from nornir_stack.tasks.cluster.backup_take import take, tools
from nornir_stack.tasks.cluster.backups import FOLDER, FULL, INCREMENTAL, Backup, Shelf, chain_of
from nornir_stack.tasks.cluster.judge import not_running
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.product import DB, TOOLS
from nornir_stack.tasks.cluster.steps import AGREE_SECONDS
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.secret import Secret


def backup(*, incremental: bool = False, folder: str = FOLDER, keeper: str = "", keep: int = 0, days: int = 0) -> Chain:
    """Take a backup of the cluster from one Synced member (never the writer if another can), by mariadb-backup, or by Percona's
    xtrabackup.

    It is prepared, and gets checksums and a manifest; before that it is no backup, and a run that fails leaves nothing. While
    it is taken its member is out of flow control, so not Synced, and nobody is rolled, replaced or shrunk. Binary logs come
    along, from the last backup of the same member on.

    incremental: only what changed since the last backup; a full one where none can be continued (said why).
    folder: where it goes, below it a folder by the cluster's name.
    keeper: a host of the inventory that keeps it; by default it stays on the member.
    keep: full backups to keep, with their increments; older ones are deleted after this one was proved (0: all).
    days: keep what is younger than this many days (0: that does not count).
    """
    if keep < 0 or days < 0:
        raise UsageError("keep and days are numbers of backups and of days: 0 for no such rule")
    decide = partial(backing_up, folder=folder, keeper=keeper, incremental=incremental, keep=keep, days=days, line=new_line())
    on = DB | LOADBALANCER | hosts(keeper) if keeper else DB | LOADBALANCER
    return Chain("galera.backup", Plan("look", do(sight, folder=folder, keeper=keeper).within(LOOK_SECONDS), decide, on))


def backing_up(seen: Seen[Sight], *, folder: str, keeper: str, incremental: bool, keep: int, days: int, line: Secret) -> Chain:
    """The chain for what was seen."""
    choice = choose(seen, keeper=keeper, incremental=incremental)
    going = to_delete(shelves(seen, choice), keep=keep, days=days)
    by_host: dict[str, list[str]] = {}
    for host, one in going:
        by_host.setdefault(host, []).append(one.label)
    reasons = [*choice.reasons, *(f"{one.label} on {host} is deleted after that." for host, one in going)]
    parts = taking(seen, choice, folder=folder, line=line)
    deletes = [
        Stage(f"delete on {host}", [do(delete, folder=folder, labels=tuple(labels))], hosts(host))
        for host, labels in by_host.items()
    ]
    return Chain("backup", *parts, *deletes, reasons=reasons)


def taking(seen: Seen[Sight], choice: Choice, *, folder: str, line: Secret) -> list[Stage | Plan[Any]]:
    """The stages that take and prove one backup."""
    member, keeper = choice.member, choice.keeper
    remote = member != keeper
    kept = seen[keeper].shelf or Shelf()
    bases = tuple(one.label for one in (chain_of(choice.base, kept.backups) or ())) if choice.base else ()
    life = seen[member].life
    both = hosts(member, keeper)
    well = Check(place, partial(not_now, member=member), DB | LOADBALANCER)
    again = Check(observe_member, partial(not_running, name=member), DB, within=AGREE_SECONDS)
    take_ = do(take, choice=choice, folder=folder, life=life, line=line if remote else None)
    proof = do(prove, choice=choice, folder=folder, bases=bases, life=life, over_line=remote)
    stream = TOOLS[choice.product].stream
    receiving = [Stage("receive", [do(receive, folder=folder, label=choice.label, line=line, stream=stream)], hosts(keeper))]
    return [
        Stage("tools", [do(tools, listens_on=keeper if remote else "")], both),
        Stage("clear", [do(clear, folder=folder)], hosts(keeper)),
        *(receiving if remote else []),
        Stage("take", [take_], hosts(member), before=well),
        Stage("prove", [proof], hosts(keeper)),
        Stage("back in step", [], hosts(member), until=again, always=True),
        Stage("tidy", [do(tidy, folder=folder, label=choice.label)], hosts(keeper), always=True),
    ]


def before(seen: Seen[Sight], *, folder: str, keeper: str, line: Secret, avoid: Sequence[str] = ()) -> Chain:
    """A full backup as a part of a chain that will destroy data. Raises Refused where none can be taken."""
    try:
        choice = choose(seen, keeper=keeper, avoid=avoid)
    except Refused as error:
        raise Refused(f"{error} With backup_first=no this is done without a backup.") from None
    return Chain("backup first", *taking(seen, choice, folder=folder, line=line), reasons=choice.reasons)


def backup_first(*, folder: str = FOLDER, keeper: str = "", avoid: Sequence[str] = ()) -> Plan[Sight]:
    """A full backup as a step of another chain that will destroy data: it looks, decides, takes and proves it.

    avoid: members that it is not taken from, nor kept on, if another one is there.
    """
    decide = partial(before, folder=folder, keeper=keeper, line=new_line(), avoid=tuple(avoid))
    on = DB | LOADBALANCER | hosts(keeper) if keeper else DB | LOADBALANCER
    return Plan("backup first", do(sight, folder=folder, keeper=keeper).within(LOOK_SECONDS), decide, on)


def shelves(seen: Seen[Sight], choice: Choice) -> Seen[Shelf]:
    """The shelves, with the backup that comes."""
    coming = Backup(
        label=choice.label,
        cluster="",
        kind=INCREMENTAL if choice.base else FULL,
        base=choice.base.label if choice.base else "",
        member=choice.member,
        server="",
        uuid="",
        seqno=0,
        gtid="",
        binlog="",
        offset=0,
        from_lsn=0,
        to_lsn=0,
        life="",
        started=choice.started,
        finished=choice.started,
        size=0,
        logs=(),
        checksum="",
    )
    found = {host: one.shelf for host, one in seen.items() if one.shelf}
    kept = found[choice.keeper]
    return Seen({**found, choice.keeper: replace(kept, backups=(*kept.backups, coming))})
