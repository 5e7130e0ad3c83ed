"""`maintenance.backup`: what is small and hard to make again, of every node, one archive a night, on a host that keeps it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster.backup_line import new_line
from nornir_stack.tasks.maintenance.archive_acts import confirm, delete, expect, pack, quiet, reached, send, store, ways
from nornir_stack.tasks.maintenance.archives import CONFIRM_SECONDS, archives, going, name_of, newest
from nornir_stack.tasks.maintenance.survey import NODES, on_purpose

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nornir_stack.secret import Secret
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.maintenance.archives import Sight
    from nornir_stack.tasks.maintenance.settings import Archive

_MODE = "600"


def backup() -> Chain:
    """Archive each node's configuration, keys, rings and machines' definitions, where the inventory says so (`care.archive`).

    One archive a node, only if something changed since its newest one; else that is confirmed, once a night. Too old ones go.
    Archives are proved before they count, and hold secrets: root alone reads them.
    """
    return Chain("maintenance.backup", Plan("nodes", do(archives, packing=False), preparing, NODES))


def preparing(seen: Seen[Sight]) -> Chain:
    """The ways between nodes, before anything is packed: what they need changes /etc. Raises Refused where none wants it."""
    wanting = [host for host, one in seen.items() if one.wanted is not None]
    due = [f"{host} was not seen: {why}" for host, why in seen.missing.items() if not on_purpose(why)]
    if not wanting and not due:
        raise Refused("no node has care.archive in the inventory: say there who keeps what (docs/care.md)")
    look = Plan("look", archives, partial(archiving, line=new_line()), NODES)
    return Chain("archives", *_ways(seen, [host for host in wanting if seen[host].keeper != host]), look, due=due)


def archiving(seen: Seen[Sight], *, line: Secret) -> Chain:
    """What is archived, confirmed and deleted. Pure."""
    wanting = {host: (one.keeper, one.wanted) for host, one in seen.items() if one.wanted is not None}
    work = {host: (keeper, one) for host, (keeper, one) in wanting.items() if keeper in seen}
    due = [f"{host} has no archive: its keeper {wanting[host][0]} was not seen" for host in wanting if host not in work]
    fresh = {host: name_of(host, seen[host]) for host in work if not _same(seen, host)}
    parts: list[Chain | Stage | Plan[Sight]] = [_one(host, name, *work[host], line) for host, name in fresh.items()]
    parts += [*_confirmed(seen, [host for host in work if host not in fresh]), *_deleted(seen, work, fresh)]
    if fresh:
        wanted = {host: (work[host][0], name) for host, name in fresh.items()}
        parts.append(Plan("proof", do(archives, packing=False), partial(proved, wanted=wanted), NODES))
    reasons = [f"{len(fresh)} of {len(work)} nodes have something new: {', '.join(fresh) or 'none'}."]
    return Chain("archived", *parts, reasons=reasons, due=due)


def proved(seen: Seen[Sight], *, wanted: Mapping[str, tuple[str, str]]) -> Chain:
    """Every archive that was to be made lies with its keeper, for root alone. Raises Refused with those that do not. Pure."""
    lost = []
    for host, (keeper, name) in wanted.items():
        there = {one.path.rpartition("/")[2]: one.mode for one in seen[keeper].kept} if keeper in seen else {}
        if name not in there:
            lost.append(f"{host} has no archive of tonight on {keeper}")
        elif there[name] != _MODE:
            lost.append(f"{name} on {keeper} has mode {there[name]}, and is for root alone")
    if lost:
        raise Refused("; ".join(lost))
    return Chain("proved")


def _same(seen: Seen[Sight], host: str) -> bool:
    last = newest(seen[seen[host].keeper].kept, host)
    return last is not None and last.digest == seen[host].digest


def _ways(seen: Seen[Sight], sending: list[str]) -> list[Stage]:
    """What a way between nodes needs, where an archive goes one."""
    keepers: dict[str, list[str]] = {}
    for host in sending:
        keepers.setdefault(seen[host].keeper, []).append(host)
    parts = [Stage("tools", [ways], hosts(*sending), max_failures=len(sending))] if sending else []
    for keeper, senders in keepers.items():
        parts.append(Stage(f"keeper {keeper}", [ways, do(reached, senders=tuple(senders))], hosts(keeper), max_failures=1))
    return parts


def _one(host: str, archive: str, keeper: str, wanted: Archive, line: Secret) -> Chain:
    """A node's archive. One that fails does not end the others: the proof at the end tells of it."""
    stored = do(store, archive=archive, folder=wanted.folder, node_name=host, sent=keeper != host)
    packing = Stage("pack", [do(pack, archive=archive, wanted=wanted)], hosts(host), max_failures=1)
    if keeper == host:
        return Chain(host, packing, Stage("store", [stored], hosts(host), max_failures=1))
    return Chain(
        host,
        packing,
        Stage("listen", [do(expect, folder=wanted.folder, line=line)], hosts(keeper), max_failures=1),
        Stage("send", [do(send, archive=archive, keeper=keeper, line=line)], hosts(host), max_failures=1),
        Stage("store", [stored], hosts(keeper), max_failures=1),
        Stage("tidy", [do(quiet, folder=wanted.folder)], hosts(keeper), always=True),
    )


def _confirmed(seen: Seen[Sight], same: list[str]) -> list[Stage]:
    by_keeper: dict[str, list[str]] = {}
    for host in same:
        keeper = seen[host].keeper
        last = newest(seen[keeper].kept, host)
        if last is not None and seen[keeper].now - last.confirmed > CONFIRM_SECONDS:
            by_keeper.setdefault(keeper, []).append(last.path)
    return [
        Stage(f"confirm on {keeper}", [do(confirm, paths=tuple(paths))], hosts(keeper), max_failures=1)
        for keeper, paths in by_keeper.items()
    ]


def _deleted(seen: Seen[Sight], work: Mapping[str, tuple[str, Archive]], fresh: Iterable[str]) -> list[Stage]:
    parts = []
    for keeper in dict.fromkeys(keeper for keeper, _ in work.values()):
        keep = {host: wanted.keep for host, (own, wanted) in work.items() if own == keeper}
        if paths := going(seen[keeper].kept, keep, fresh):
            parts.append(Stage(f"delete on {keeper}", [do(delete, paths=tuple(paths))], hosts(keeper), max_failures=1))
    return parts
