"""`telemetry.mongodb_reclaim`: the steps of `reclaim`, done."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.tasks.config.services import candidates
from nornir_stack.tasks.maintenance.trouble import size
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.services import service
from nornir_stack.tasks.telemetry.reclaim import STEPS, Record, Sight, Step, from_json, next_step, to_json, verified
from nornir_stack.tasks.telemetry.samples import collections, documents, mongo_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.documents import Documents
    from nornir_stack.results import Result
    from nornir_stack.secret import Secret
    from nornir_stack.tasks.telemetry.settings import Mongo

CONFIG = "/etc/ceilometer/ceilometer.conf"
_HOURS = 12 * 3600.0
_LONGEST = 20  # steps: a run that takes more goes round in circles
# $1: the folder of the dump, $2: that of the data by the inventory, $3...: units. For a folder that is not there the one above
# it counts. A mongod that runs here keeps its lock open in the folder of its data, wherever that is. Subvolumes have devices of
# their own on one disk.
_LOOK = r"""
export LC_ALL=C
d=$1 data=$2 runs= known=; shift 2
while [ ! -d "$d" ]; do d=${d%/*}; d=${d:-/}; done
echo "room $(df -B1 --output=avail -- "$d" | tail -n 1)"
same() {
    [ -d "$1" ] || return 0
    known=yes
    if [ "$(stat -c %d -- "$d")" = "$(stat -c %d -- "$1")" ]; then echo same-disk; return; fi
    case $(df --output=source -- "$1" | tail -n 1) in /*) ;; *) return ;; esac
    [ "$(df --output=source -- "$d" | tail -n 1)" != "$(df --output=source -- "$1" | tail -n 1)" ] || echo same-disk
}
same "$data"
for p in /proc/[0-9]*; do
    { IFS= read -r c <"$p/comm"; } 2>/dev/null || continue
    [ "$c" = mongod ] || continue
    runs=yes
    for fd in "$p"/fd/*; do
        at=$(readlink "$fd") && case $at in */mongod.lock) same "${at%/*}" ;; esac
    done
done
[ -z "$runs" ] || [ -n "$known" ] || echo lost
for unit; do if systemctl is-active --quiet -- "$unit"; then echo "running $unit"; fi; done
:
"""
_SUMS = 'cd -- "$1" && find . -type f ! -name reclaim.json ! -name ".nornir-stack.*" -exec sha256sum -- {} + | sort -k 2'
# Every document of every file is read back; bsondump says at the end how many there were.
_READ_BACK = r"""
cd -- "$1/$2" || exit 1
for f in *.bson; do
    [ -e "$f" ] || continue
    said=$(bsondump --objcheck "$f" 2>&1 >/dev/null) || { printf '%s: %s\n' "$f" "$said" >&2; exit 1; }
    count=$(printf '%s\n' "$said" | grep -o '[0-9]* objects found' | tail -n 1)
    printf '%s %s\n' "${count%% *}" "$f"
done
"""


@dataclass(frozen=True)
class Reclaimed:
    """Bytes that the database takes on the disk, before (0: it was begun by an earlier run) and after."""

    before: int
    after: int
    counts: Mapping[str, int]
    dump: str


def mongodb_reclaim(task: Task, *, drop: bool = False) -> Result[Reclaimed]:
    """Get the disk space of deleted samples back: stop what writes, dump, read the dump back, drop, restore, start.

    drop: without it the dump is made and verified, and nothing is dropped: look at it, then run it again with drop=yes.
    The dump goes into the folder of the inventory (`telemetry: mongodb: dump:`), which has to lie on another disk and have
    room; it is kept. What was cut goes on where it was. Raises Refused wherever going on could lose something.
    """
    node = Node(task)
    mine, db = mongo_of(task.host), documents(node)
    first = _storage(db)
    for _ in range(_LONGEST):
        now = _sight(node, mine, db)
        step = next_step(now)
        if step == "drop" and not drop:
            _leave(node, now)
            break
        if step == "done":
            break
        if node.dry_run:
            _foretell(node, mine, step, drop=drop)
            break
        _ACTS[step](node, mine, db, now)
    return node.done(lambda: Reclaimed(first, _storage(db), collections(db), mine.dump))


def _leave(node: Node, now: Sight) -> None:
    """The dump is verified and that is all for this time: what was stopped for it runs again."""
    if now.record.phase != "verified":
        raise Refused("an earlier run has begun to drop: only drop=yes goes on from here")
    for unit in now.record.services:
        node.then(service, unit=unit, state="started")


def _sight(node: Node, mine: Mongo, db: Documents) -> Sight:
    record = from_json(node.read_file(f"{mine.dump}/reclaim.json"), mine.database)
    units = candidates([CONFIG], family(node).name)
    lines = node.read(sh(_LOOK, mine.dump, mine.data, *units, label="look at the dump's disk")).lines
    at = [line.partition(" ")[::2] for line in lines]
    if record.phase in {"", "stopped"} and any(word == "lost" for word, _ in at):
        raise Refused(
            f"MongoDB runs on {node.name}, and its data are not in {mine.data}: say where they are (telemetry: mongodb: data:),"
            " so that the dump is not put on their disk"
        )
    intact = None
    if record.phase in {"verified", "dropping", "restoring"}:
        intact = _sums(node, mine) == dict(record.files)
    stats = db.read({"dbStats": 1})
    return Sight(
        collections(db),
        int(stats["dataSize"]),
        tuple(value for word, value in at if word == "running"),
        int(next(value for word, value in at if word == "room")),
        any(word == "same-disk" for word, _ in at),
        record,
        intact,
    )


def _storage(db: Documents) -> int:
    stats = db.read({"dbStats": 1})
    return int(stats["storageSize"]) + int(stats["indexSize"])


def _sums(node: Node, mine: Mongo) -> dict[str, str]:
    """SHA-256 of every file of the dump."""
    text = node.read(sh(_SUMS, mine.dump, label="sums of the dump"), ok=None, timeout=_HOURS)
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in text.lines)}


def _note(node: Node, mine: Mongo, record: Record) -> None:
    node.write_file(f"{mine.dump}/reclaim.json", to_json(record), mode="0600")


def _stop(node: Node, mine: Mongo, db: Documents, now: Sight) -> None:
    del db
    node.make_folder(mine.dump, mode="0700")
    services = tuple(dict.fromkeys((*now.record.services, *now.running)))
    phase = now.record.phase or "stopped"
    _note(node, mine, replace(now.record, services=services, phase=phase))
    for unit in now.running:
        service(node.task, unit=unit, state="stopped")


def _dump(node: Node, mine: Mongo, db: Documents, now: Sight) -> None:
    del db
    _note(node, mine, replace(now.record, phase="stopped", counts={}, files={}))
    node.change("rm", "-rf", "--", f"{mine.dump}/{mine.database}", what="remove an earlier dump that was not verified")
    node.change(*dump_command(mine), stdin=_password(mine), timeout=_HOURS, what=f"dump {mine.database} to {mine.dump}")
    node.change("sync", "-f", mine.dump, repeatable=True)
    _note(node, mine, replace(now.record, phase="dumped", counts={}, files={}))


def _verify(node: Node, mine: Mongo, db: Documents, now: Sight) -> None:
    said = node.read(sh(_READ_BACK, mine.dump, mine.database, label="read the dump back"), timeout=_HOURS)
    counts, there = read_back(said.stdout), collections(db)
    try:
        verified(now.record, counts, there)
    except Refused:
        _note(node, mine, replace(now.record, phase="stopped"))
        raise
    _note(node, mine, replace(now.record, phase="verified", counts=there, files=_sums(node, mine)))


def _drop(node: Node, mine: Mongo, db: Documents, now: Sight) -> None:
    _note(node, mine, replace(now.record, phase="dropping"))
    shown = "".join(f"-{name}: {count} documents\n" for name, count in now.counts.items())
    db.change({"dropDatabase": 1}, what=f"drop {mine.database}, which is in {mine.dump}", diff=f"--- {mine.database}\n{shown}")


def _restore(node: Node, mine: Mongo, db: Documents, now: Sight) -> None:
    _note(node, mine, replace(now.record, phase="restoring"))
    node.change(*restore_command(mine), stdin=_password(mine), timeout=_HOURS, what=f"restore {mine.database} from {mine.dump}")
    found = collections(db)
    if found != dict(now.record.counts):
        raise Refused(f"mongorestore ended well, and {found} is not {dict(now.record.counts)}: the dump is kept in {mine.dump}")
    _note(node, mine, replace(now.record, phase="restored"))


def _start(node: Node, mine: Mongo, db: Documents, now: Sight) -> None:
    del mine, db
    for unit in now.record.services:
        service(node.task, unit=unit, state="started")


_ACTS = {"stop": _stop, "dump": _dump, "verify": _verify, "drop": _drop, "restore": _restore, "start": _start}


def _foretell(node: Node, mine: Mongo, step: Step, *, drop: bool) -> None:
    """A dry run: all steps from here on, in words."""
    last = STEPS.index("start" if drop else "verify")
    for one in STEPS[STEPS.index(step) : last + 1]:
        node.change("true", what=f"{one} ({mine.database}, dump in {mine.dump})")


def dump_command(mine: Mongo) -> tuple[str, ...]:
    """mongodump(1); a password is read from stdin, where it is asked for. Pure."""
    return ("mongodump", *_where(mine), "--db", mine.database, "--out", mine.dump)


def restore_command(mine: Mongo) -> tuple[str, ...]:
    """mongorestore(1). `--drop`: what a cut restore left behind goes, collection by collection as it is restored. Pure."""
    return ("mongorestore", *_where(mine), "--drop", "--db", mine.database, f"{mine.dump}/{mine.database}")


def _where(mine: Mongo) -> tuple[str, ...]:
    login = ("--username", mine.username, "--authenticationDatabase", "admin") if mine.username else ()
    return ("--host", mine.server or "localhost", "--port", str(mine.port), *login)


def _password(mine: Mongo) -> Secret | None:
    return mine.password if mine.username else None


def read_back(text: str) -> dict[str, int]:
    """Documents by collection, from lines of `count file.bson`. Raises Refused where bsondump did not say how many. Pure."""
    found = {}
    for line in text.splitlines():
        count, _, file = line.partition(" ")
        if not re.fullmatch(r"\d+", count):
            raise Refused(f"bsondump did not say how many documents {file} holds: the dump is not verified")
        found[file.removesuffix(".bson")] = int(count)
    return found


def words(done: Reclaimed) -> str:
    """A sentence. Pure."""
    return f"{size(done.before)} before, {size(done.after)} now."
