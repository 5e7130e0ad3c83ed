"""Samples of an old Ceilometer in MongoDB: what they take, how fast that grows, and the old ones taken out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from nornir_stack.documents import Documents
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.maintenance.trouble import days as in_days
from nornir_stack.tasks.maintenance.trouble import size as in_bytes
from nornir_stack.tasks.telemetry.dates import cutoff
from nornir_stack.tasks.telemetry.settings import Telemetry

if TYPE_CHECKING:
    from nornir.core.inventory import Host
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.telemetry.settings import Mongo

# Collections of Ceilometer that hold what is older than something, all by the same field.
DATED = ("meter", "event", "alarm_history")
_WEEK = 7


@dataclass(frozen=True)
class Samples:
    """Bytes, and how many documents a collection has. `data`: documents unpacked, which is what a dump takes.

    `per_day`: bytes that a day's new samples take, by the last week. `disk_free`: None where the server does not say.
    """

    data: int
    storage: int
    indexes: int
    counts: dict[str, int]
    oldest: str = ""
    per_day: int = 0
    disk_free: int | None = None

    @property
    def full_in(self) -> float | None:
        """Days until the disk is full, at this pace."""
        return round(self.disk_free / self.per_day, 1) if self.per_day and self.disk_free is not None else None


def documents(node: Node) -> Documents:
    """The database of the inventory's `telemetry: mongodb`."""
    mine = mongo_of(node.host)
    extras = {"server": mine.server, "port": mine.port, "username": mine.username, "password": mine.password}
    return Documents(node, mine.database, **{key: value for key, value in extras.items() if value is not None})


def mongo_of(host: Host) -> Mongo:
    return settings_of(host, Telemetry).mongodb


def mongodb_size(task: Task) -> Result[Samples]:
    """Observe what the samples take, the oldest of them, how fast they grow, and for how many days the disk lasts."""
    node = Node(task)
    return node.done(look(documents(node), datetime.now(timezone.utc)))


def prune(task: Task, *, before: str) -> Result[dict[str, int]]:
    """Take samples, events and changes of alarms from before this moment out, a day at a time, the oldest first.

    before: a date in UTC, `2016-03-18T19:30:07Z`, or an age, `90d`. A month 18 is refused.
    The value: how many went, by collection. The disk is not emptier for it: see telemetry.mongodb_reclaim. What is cut goes
    on where it was.
    """
    now = datetime.now(timezone.utc)
    when = cutoff(before, now)
    node = Node(task)
    db = documents(node)
    there = set(_collections(db))
    gone = {name: _pruned(db, name, when, at_once=node.dry_run) for name in DATED if name in there}
    if not there:
        raise Refused(f"{node.name}: there is no database {db.database}, or nothing in it: is that its name?")
    return node.done(gone)


def look(db: Documents, now: datetime) -> Samples:
    """What is there. Raises Refused where the database is empty."""
    names = _collections(db)
    if not names:
        raise Refused(f"there is no database {db.database}, or nothing in it: is that its name?")
    stats = db.read({"dbStats": 1})
    counts = {name: count(db, name) for name in names}
    free = int(stats["fsTotalSize"] - stats["fsUsedSize"]) if "fsTotalSize" in stats else None
    oldest = _oldest(db, "meter") if "meter" in counts else None
    per_day = 0
    if counts.get("meter"):
        week = count(db, "meter", {"timestamp": {"$gte": now - timedelta(days=_WEEK)}})
        per_day = int(week / _WEEK * int(stats["storageSize"]) / max(sum(counts.values()), 1))
    return Samples(
        int(stats["dataSize"]),
        int(stats["storageSize"]),
        int(stats["indexSize"]),
        counts,
        f"{oldest:%Y-%m-%d}" if oldest else "",
        per_day,
        free,
    )


def words(one: Samples) -> str:
    """A sentence. Pure."""
    rest = f"; the disk is full in {in_days(one.full_in)}" if one.full_in is not None else ""
    grows = f", {in_bytes(one.per_day)} more a day" if one.per_day else ""
    return f"{in_bytes(one.storage + one.indexes)}, the oldest sample of {one.oldest or 'never'}{grows}{rest}."


def count(db: Documents, name: str, query: dict[str, Any] | None = None) -> int:
    """How many documents, exactly (a server's own estimate is wrong after a crash)."""
    pipeline = [{"$match": query or {}}, {"$group": {"_id": None, "n": {"$sum": 1}}}]
    batch = db.read({"aggregate": name, "pipeline": pipeline, "cursor": {}})["cursor"]["firstBatch"]
    return int(batch[0]["n"]) if batch else 0


def _collections(db: Documents) -> list[str]:
    batch = db.read({"listCollections": 1, "nameOnly": True, "cursor": {"batchSize": 1000}})["cursor"]["firstBatch"]
    return sorted(row["name"] for row in batch if not row["name"].startswith("system."))


def collections(db: Documents) -> dict[str, int]:
    """Each collection and how many documents it has."""
    return {name: count(db, name) for name in _collections(db)}


def _oldest(db: Documents, name: str) -> datetime | None:
    command = {"find": name, "sort": {"timestamp": 1}, "projection": {"timestamp": 1}, "limit": 1}
    batch = db.read(command, independent=True)["cursor"]["firstBatch"]
    found = batch[0].get("timestamp") if batch else None
    return found.replace(tzinfo=timezone.utc) if isinstance(found, datetime) else None


def _pruned(db: Documents, name: str, when: datetime, *, at_once: bool) -> int:
    """Days one by one: each command is short, so nobody waits for its lock long, and a cut loses nothing. A dry run tells all
    of them `at_once`."""
    old = db.read({"count": name, "query": {"timestamp": {"$lt": when}}}, independent=True)["n"]
    oldest = _oldest(db, name) if old else None
    if oldest is None:
        return 0
    gone, day = 0, oldest
    while day < when:
        day = when if at_once else min(day + timedelta(days=1), when)
        deletes = [{"q": {"timestamp": {"$lt": day}}, "limit": 0}]
        what = f"take out of {name} what is older than {day:%Y-%m-%dT%H:%M:%SZ}"
        shown = f"--- {db.database}.{name}\n+++ {db.database}.{name}\n-{old} documents from before {when:%Y-%m-%dT%H:%M:%SZ}\n"
        answer = db.change({"delete": name, "deletes": deletes}, what=what, diff=shown if not gone else "", repeatable=True)
        if answer is None:
            return int(old)  # a dry run
        gone += int(answer.get("n", 0))
    return gone
