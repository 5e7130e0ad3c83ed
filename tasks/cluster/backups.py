"""Backups as they lie on a host: what each says of itself, and `galera.backups`, which judges their age.

A backup is a folder with a `manifest.json`, which it gets in one step, when it was proved. What is unfinished has a name that
begins with a dot, and is never taken for one.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from nornir_stack.chain import Chain, Plan, do
from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.settings import Galera

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.select import Selector

FOLDER = "/var/backups/galera"
MANIFEST, DATA, LOGS = "manifest.json", "data", "binlogs"
UNFINISHED = ".unfinished-"
DOOMED = ".deleting-"
FULL: Literal["full"] = "full"
INCREMENTAL: Literal["incremental"] = "incremental"
_FORM = 1
_UNITS = {"m": 60, "h": 3600, "d": 86400}
_LOOK = r"""
export LC_ALL=C
d=$1 p=$1
while [ -n "$p" ] && [ ! -d "$p" ]; do p=${p%/*}; done
stat -f -c 'free %a %S' -- "${p:-/}"
date '+now %s'
for f in "$d"/*/manifest.json; do
    [ ! -f "$f" ] || { printf 'manifest '; tr -d '\n' <"$f"; echo; }
done
for f in "$d"/.unfinished-* "$d"/.deleting-*; do [ ! -d "$f" ] || echo "unfinished ${f##*/}"; done
"""


@dataclass(frozen=True)
class Backup:
    """One proved backup. Times are seconds since 1970; sizes bytes; `base` is the label of the one that it continues.

    `uuid`, `seqno`: where in the cluster's history it stands. `gtid`, `binlog`, `offset`: where in its member's binary log.
    `life` is the run of the member's server from which it was taken: an increment goes on within the same run only, since a
    full copy from a donor, which replaces all data, comes at a server's start.
    """

    label: str
    cluster: str
    kind: Literal["full", "incremental"]
    base: str
    member: str
    server: str
    uuid: str
    seqno: int
    gtid: str
    binlog: str
    offset: int
    from_lsn: int
    to_lsn: int
    life: str
    started: int
    finished: int
    size: int
    logs: tuple[str, ...]
    """The binary logs that came along, oldest first: from the last backup of its member to its own end."""
    checksum: str
    """Of the list of all its files' checksums (SHA-256)."""

    def as_json(self) -> str:
        """The text of its manifest."""
        return json.dumps({"form": _FORM, **asdict(self)}, indent=2) + "\n"


@dataclass(frozen=True)
class Shelf:
    """The backups in a folder of a host, oldest first; `free`: bytes on its file system; `now`: the host's clock."""

    backups: tuple[Backup, ...] = ()
    unfinished: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    """What has a manifest that cannot be read, and why."""
    free: int = 0
    now: int = 0


def shelf(task: Task, *, folder: str) -> Result[Shelf]:
    """Observe the backups in `folder` of this host."""
    node = Node(task)
    return node.done(look(node, folder))


def within(node: Node, folder: str) -> str:
    """Where in `folder` the cluster's own backups lie: several clusters may be kept on one host."""
    if not folder.startswith("/"):
        raise UsageError(f"folder={folder}: give an absolute path")
    inventory = node.task.nornir.inventory
    declared = DB.hosts(inventory)
    host = node.name if node.name in declared else declared[0]
    return f"{folder.rstrip('/')}/{settings_of(inventory.hosts[host], Galera).cluster_name}"


def look(node: Node, folder: str) -> Shelf:
    """The backups in `folder`, for tasks that decide by them."""
    folder = within(node, folder)
    return parsed(node.read(sh(_LOOK, folder, label=f"look at the backups in {folder}")).stdout)


def parsed(text: str) -> Shelf:
    """What the look printed."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        said.setdefault(word, []).append(value)
    found, strange = [], []
    for line in said.get("manifest", ()):
        try:
            found.append(backup_of(json.loads(line)))
        except ValueError as error:
            strange.append(str(error))
    free, block = map(int, said["free"][0].split())
    return Shelf(
        tuple(sorted(found, key=lambda one: one.label)),
        tuple(said.get("unfinished", ())),
        tuple(strange),
        free * block,
        int(said["now"][0]),
    )


def backup_of(said: Mapping[str, Any]) -> Backup:
    """From a manifest. Raises ValueError for one that this does not know."""
    names = {one.name for one in fields(Backup)}
    if said.get("form") != _FORM or not names <= set(said):
        raise ValueError(f"the manifest of {said.get('label', 'a backup')} has a form that is not known here")
    return Backup(**{name: said[name] for name in names} | {"logs": tuple(said["logs"])})


def chain_of(backup: Backup, all_: Sequence[Backup]) -> tuple[Backup, ...] | None:
    """What is needed to restore it: a full one and its increments in order, itself last. None where one of them is gone."""
    by_label = {one.label: one for one in all_}
    found = [backup]
    while found[0].kind == INCREMENTAL:
        base = by_label.get(found[0].base)
        if base is None or base in found:
            return None
        found.insert(0, base)
    return tuple(found)


# galera.backups


def backups(*, folder: str = FOLDER, keeper: str = "", max_age: str = "") -> Chain:
    """List the backups: where, what kind, age, size, whether everything that a restore of it needs is there.

    With max_age it is a check for cron: it fails (exit code 1) where the newest that can be restored is older. Takes no lock
    by `nornir-stack check galera.backups`.

    folder: where they lie.
    keeper: the host that keeps them, if that is none of the members.
    max_age: such as 26h or 2d.
    """
    oldest = seconds(max_age) if max_age else None
    return Chain("galera.backups", Plan("look", do(shelf, folder=folder), partial(_listed, oldest=oldest), keepers(keeper)))


def keepers(keeper: str) -> Selector:
    """Who may keep backups: the members, or one host."""
    return hosts(keeper) if keeper else DB


def seconds(text: str) -> int:
    """`90m`, `26h`, `2d`. Raises UsageError."""
    if not text[:-1].isdigit() or text[-1:] not in _UNITS:
        raise UsageError(f"{text!r} is no age: write a number with m, h or d, such as 26h")
    return int(text[:-1]) * _UNITS[text[-1]]


def _listed(seen: Seen[Shelf], *, oldest: int | None) -> Chain:
    lines = listing(seen)
    if oldest is not None and (problems := too_old(seen, oldest)):
        raise Refused("\n".join([*problems, *lines]))
    return Chain("listed", reasons=lines or [f"There are no backups on {', '.join(seen.hosts)}."])


def listing(seen: Seen[Shelf]) -> list[str]:
    """A sentence for each backup, newest first, then for what is none."""
    rows = sorted(((one, host) for host, kept in seen.items() for one in kept.backups), key=lambda row: row[0].label)
    said = [
        f"{host} {one.label}: {one.kind} of {one.cluster}, from {one.member}, {age(seen[host].now - one.finished)} old,"
        f" {gib(one.size)}, {one.uuid}:{one.seqno}, {_worth(one, seen[host])}."
        for one, host in reversed(rows)
    ]
    said += [f"{host}: {name} is unfinished: it is no backup." for host, kept in seen.items() for name in kept.unfinished]
    said += [f"{host}: {why}." for host, kept in seen.items() for why in kept.strange]
    return said + [f"{host} was not seen ({why})." for host, why in seen.missing.items()]


def _worth(one: Backup, kept: Shelf) -> str:
    if chain_of(one, kept.backups) is None:
        return f"cannot be restored: {one.base} or what that needs is gone"
    return "verified"


def newest(seen: Seen[Shelf]) -> tuple[str, Backup] | None:
    """The newest backup that can be restored, and its host."""
    able = [(host, one) for host, kept in seen.items() for one in kept.backups if chain_of(one, kept.backups)]
    return max(able, key=lambda row: row[1].label, default=None)


def too_old(seen: Seen[Shelf], oldest: int) -> list[str]:
    """Why the newest backup does not do; `oldest` in seconds."""
    found = newest(seen)
    if found is None:
        return ["There is no backup that can be restored."]
    host, one = found
    old = seen[host].now - one.finished
    return [f"The newest backup ({one.label} on {host}) is {age(old)} old: more than {age(oldest)}."] if old > oldest else []


def age(old: int) -> str:
    """Seconds, in the unit that people would take.

    >>> age(93600)
    '26.0 h'
    """
    for unit, size in (("d", 2 * 86400), ("h", 2 * 3600), ("min", 120)):
        if old >= size:
            return f"{old / (size / 2):.1f} {unit}"
    return f"{old} s"


def gib(size: float) -> str:
    """Bytes, as people read them."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"
