"""The disk space of a MongoDB database got back: dumped, verified, dropped, restored. The decisions, and nothing else. Pure.

MongoDB keeps the space of documents that are gone. `repairDatabase` needs as much room again, which a full disk has not. So
the notebook dumps, drops and restores; here with what it lacks. Nothing is dropped unless a dump of exactly what is there now
has been read back whole; and from wherever it was cut, it goes on with what it finds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003  read at run time, with the dataclass
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from nornir_stack.errors import Refused
from nornir_stack.tasks.maintenance.trouble import size

Step: TypeAlias = Literal["stop", "dump", "verify", "drop", "restore", "start", "done"]
Phase: TypeAlias = Literal["", "stopped", "dumped", "verified", "dropping", "restoring", "restored"]
STEPS: tuple[Step, ...] = ("stop", "dump", "verify", "drop", "restore", "start")

_MARGIN = 1 << 30
_MORE = 1.05  # BSON of a dump beside the server's own count of it


@dataclass(frozen=True)
class Record:
    """What was done, as a file beside the dump says it. It is written before a step that cannot be seen afterwards.

    `services`: units that ran before. `counts`: documents by collection, as read back from the verified dump.
    `files`: SHA-256 of the dump's files.
    """

    database: str
    phase: Phase = ""
    services: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sight:
    """What is there now. `counts`: documents by collection in the database; `running`: units that write into it.

    `intact`: the dump's files are those of the record (None: not looked at). `room`: free bytes where the dump goes;
    `same_disk`: the dump would lie on the disk of the data.
    """

    counts: Mapping[str, int]
    data: int
    running: tuple[str, ...]
    room: int
    same_disk: bool
    record: Record
    intact: bool | None = None


def next_step(now: Sight) -> Step:
    """The one thing to do next. Raises Refused where going on could lose something."""
    record = now.record
    if record.phase in {"dropping", "restoring", "restored"}:
        return _after_the_drop_began(now)
    if not now.counts:
        raise Refused(f"the database {record.database} is empty or not there, and no dump of it was made here: nothing is done")
    if record.phase == "":
        room_for_a_dump(now)
    if now.running or record.phase == "":
        return "stop"
    if record.phase == "stopped":
        room_for_a_dump(now)
        return "dump"
    if record.phase == "dumped":
        return "verify"
    # verified: only what is in the dump may go
    if now.intact is False or dict(now.counts) != dict(record.counts):
        return "dump"
    return "drop"


def _after_the_drop_began(now: Sight) -> Step:
    record = now.record
    whole = dict(now.counts) == dict(record.counts)
    if record.phase == "restored" and whole:
        return "start" if set(record.services) - set(now.running) else "done"
    if record.phase == "restored":
        # services have run since: they write, and only more than was there is well
        _refuse_less(now)
        return "start" if set(record.services) - set(now.running) else "done"
    if now.running:
        return "stop"
    if now.intact is False:
        raise Refused(
            f"the dump is not what was verified, and the database {record.database} may have been dropped: "
            "nothing is done; keep both as they are, and compare the files with reclaim.json"
        )
    _refuse_more(now)
    if record.phase == "dropping":
        # whole: the drop was not done, or its answer did not come. What is there is in the dump, so it is sent again
        return "drop" if now.counts else "restore"
    return "restore"


def _refuse_more(now: Sight) -> None:
    more = sorted(name for name, count in now.counts.items() if count > now.record.counts.get(name, -1))
    if more:
        raise Refused(f"{', '.join(more)} hold more than the verified dump does: somebody wrote meanwhile; nothing is dropped")


def _refuse_less(now: Sight) -> None:
    less = sorted(name for name, count in now.record.counts.items() if now.counts.get(name, 0) < count)
    if less:
        raise Refused(f"{', '.join(less)} hold less than the verified dump does: restore it by hand from the dump, it is kept")


def room_for_a_dump(now: Sight) -> None:
    """Raises Refused where the dump would not fit, or would lie on the disk that is to be emptied."""
    needed = int(now.data * _MORE) + _MARGIN
    if now.same_disk:
        raise Refused("the dump would lie on the disk of the data: name a folder on another one (telemetry: mongodb: dump:)")
    if now.room < needed:
        raise Refused(f"no room for the dump: it takes up to {size(needed)}, and {size(now.room)} are free there")


def verified(record: Record, counts: Mapping[str, int], now: Mapping[str, int]) -> None:
    """That the dump, as read back, holds all that the database does. Raises Refused, and names what is missing."""
    lacking = sorted(name for name, count in now.items() if counts.get(name) != count)
    if lacking:
        told = ", ".join(f"{name}: {counts.get(name, 'none')} of {now[name]}" for name in lacking)
        raise Refused(
            f"the dump of {record.database} is not whole ({told}): nothing is dropped; it is made again by the next run"
        )


def to_json(record: Record) -> str:
    """The file."""
    return json.dumps(asdict(record), indent=1, sort_keys=True) + "\n"


def from_json(text: str | None, database: str) -> Record:
    """The record, or a new one where there is none. Raises Refused for another database's, or one that cannot be read."""
    if not text:
        return Record(database)
    try:
        at = json.loads(text)
        record = Record(**{**at, "services": tuple(at["services"])})
    except (ValueError, TypeError, KeyError):
        raise Refused(
            "reclaim.json beside the dump cannot be read: look at it, and take it away if the dump is of no use"
        ) from None
    if record.database != database:
        raise Refused(f"the folder of the dump holds one of {record.database}: name another folder")
    return record
