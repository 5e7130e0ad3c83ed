"""Space got back from MongoDB: from wherever it is cut, nothing is lost, and it comes to an end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_stack.errors import Refused
from nornir_stack.secret import Secret
from nornir_stack.tasks.telemetry.reclaim import Record, Sight, Step, from_json, next_step, to_json, verified
from nornir_stack.tasks.telemetry.reclaimed import dump_command, read_back, restore_command
from nornir_stack.tasks.telemetry.settings import Mongo

FULL = {"meter": 900, "resource": 30}
ROOM = 100 << 30


def sight(record: Record, counts: dict[str, int] | None = None, **more: object) -> Sight:
    plain = Sight(FULL if counts is None else counts, 1 << 30, (), ROOM, same_disk=False, record=record, intact=True)
    return replace(plain, **more)  # type: ignore[arg-type]


NEW = Record("ceilometer")
DONE = Record("ceilometer", "verified", ("collector",), FULL, {"./ceilometer/meter.bson": "ab"})


@pytest.mark.parametrize(
    ("now", "step"),
    [
        (sight(NEW, running=("collector",)), "stop"),
        (sight(NEW), "stop"),
        (sight(replace(NEW, phase="stopped"), running=("collector",)), "stop"),
        (sight(replace(NEW, phase="stopped")), "dump"),
        (sight(replace(NEW, phase="dumped")), "verify"),
        (sight(DONE), "drop"),
        (sight(DONE, {**FULL, "meter": 901}), "dump"),  # somebody wrote since
        (sight(DONE, {**FULL, "event": 1}), "dump"),  # a collection that the dump has not
        (sight(DONE, intact=False), "dump"),
        (sight(DONE, running=("collector",)), "stop"),
        (sight(replace(DONE, phase="dropping")), "drop"),
        (sight(replace(DONE, phase="dropping"), {"meter": 900}), "drop"),
        (sight(replace(DONE, phase="dropping"), {}), "restore"),
        (sight(replace(DONE, phase="restoring"), {"meter": 5}), "restore"),
        (sight(replace(DONE, phase="restoring")), "restore"),  # documents are there, indexes may not be
        (sight(replace(DONE, phase="restored")), "start"),
        (sight(replace(DONE, phase="restored"), running=("collector",)), "done"),
        (sight(replace(DONE, phase="restored"), {**FULL, "meter": 950}, running=("collector",)), "done"),
    ],
)
def test_the_next_step(now: Sight, step: Step) -> None:
    """By what is there, and what the record says where that cannot be seen."""
    assert next_step(now) == step


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (sight(NEW, {}), "empty or not there"),
        (sight(NEW, same_disk=True), "on the disk of the data"),
        (sight(NEW, room=2 << 30), "up to 2G, and 2G are free|no room for the dump"),
        (sight(replace(NEW, phase="stopped"), same_disk=True), "on the disk of the data"),
        (sight(replace(DONE, phase="dropping"), {**FULL, "event": 1}), "event hold more"),
        (sight(replace(DONE, phase="dropping"), {**FULL, "meter": 901}), "meter hold more"),
        (sight(replace(DONE, phase="restoring"), {}, intact=False), "not what was verified"),
        (sight(replace(DONE, phase="restored"), {"meter": 900}), "resource hold less"),
    ],
)
def test_refused_before_anything_is_done(now: Sight, words: str) -> None:
    """No room, the disk that is to be emptied, a dump that is another, documents that nobody has dumped."""
    with pytest.raises(Refused, match=words):
        next_step(now)


def test_a_dump_that_is_not_whole() -> None:
    """A collection that is missing or shorter is named; more files than collections are well (system.indexes)."""
    verified(NEW, {**FULL, "system.indexes": 4}, FULL)
    with pytest.raises(Refused, match=r"meter: 899 of 900, resource: none of 30"):
        verified(NEW, {"meter": 899}, FULL)


def test_what_bsondump_says() -> None:
    """A number for every file, or nothing is verified."""
    assert read_back("900 meter.bson\n30 resource.bson\n") == FULL
    with pytest.raises(Refused, match="did not say how many"):
        read_back(" meter.bson\n")


def test_the_record_is_read_back() -> None:
    """A new one where there is no file; another database's is refused."""
    assert from_json(to_json(DONE), "ceilometer") == DONE
    assert from_json(None, "x") == Record("x")
    with pytest.raises(Refused, match="one of ceilometer"):
        from_json(to_json(DONE), "other")
    with pytest.raises(Refused, match="cannot be read"):
        from_json("{", "x")


def test_command_lines() -> None:
    """As the manuals of mongodump(1) and mongorestore(1) have them; a password is in none of them."""
    mine = Mongo(server="172.0.0.10", username="ceilometer", password=Secret(literal="hunter22"))
    login = ("--username", "ceilometer", "--authenticationDatabase", "admin")
    where = ("--host", "172.0.0.10", "--port", "27017", *login)
    assert dump_command(mine) == ("mongodump", *where, "--db", "ceilometer", "--out", "/srv/mongodump")
    assert restore_command(mine) == (
        "mongorestore",
        *where,
        "--drop",
        "--db",
        "ceilometer",
        "/srv/mongodump/ceilometer",
    )
    assert dump_command(Mongo())[:5] == ("mongodump", "--host", "localhost", "--port", "27017")


class Cut(Exception):  # noqa: N818
    """The controller died here."""


@dataclass
class World:
    """A server, a dump, a record, services; each act can be cut at any of its moments, and half of some is done then."""

    counts: dict[str, int] = field(default_factory=lambda: dict(FULL))
    dump: dict[str, int] | None = None
    verified: dict[str, int] | None = None
    record: Record = NEW
    running: set[str] = field(default_factory=lambda: {"collector", "api"})
    fuse: int = 10**6

    def moment(self) -> None:
        self.fuse -= 1
        if self.fuse < 0:
            raise Cut

    def sight(self) -> Sight:
        intact = self.dump == self.verified
        return Sight(
            dict(self.counts), 1 << 30, tuple(sorted(self.running)), ROOM, same_disk=False, record=self.record, intact=intact
        )

    def note(self, record: Record) -> None:
        self.moment()
        self.record = record
        self.moment()

    def act(self, step: Step) -> None:  # noqa: C901  one branch a step
        record = self.record
        if step == "stop":
            services = tuple(dict.fromkeys((*record.services, *sorted(self.running))))
            self.note(replace(record, services=services, phase=record.phase or "stopped"))
            for unit in sorted(self.running):
                self.moment()
                self.running.remove(unit)
        elif step == "dump":
            self.note(replace(record, phase="stopped", counts={}, files={}))
            self.dump = {}
            for name, count in self.counts.items():
                self.dump[name] = count // 2
                self.moment()
                self.dump[name] = count
            self.note(replace(record, phase="dumped", counts={}, files={}))
        elif step == "verify":
            verified(record, self.dump or {}, self.counts)
            self.verified = dict(self.dump or {})
            self.note(replace(record, phase="verified", counts=dict(self.counts)))
        elif step == "drop":
            assert self.dump == self.verified
            assert all(count <= (self.dump or {}).get(name, -1) for name, count in self.counts.items())
            self.note(replace(record, phase="dropping"))
            for name in list(self.counts):
                self.moment()
                del self.counts[name]
            self.moment()
        elif step == "restore":
            self.note(replace(record, phase="restoring"))
            for name, count in (self.dump or {}).items():
                self.counts[name] = count // 2
                self.moment()
                self.counts[name] = count
            self.note(replace(record, phase="restored"))
        else:
            for unit in record.services:
                self.moment()
                self.running.add(unit)

    def run(self) -> None:
        for _ in range(30):
            step = next_step(self.sight())
            if step == "done":
                return
            self.act(step)
        raise AssertionError("it goes round in circles")


@given(fuses=st.lists(st.integers(0, 25), max_size=6), more=st.lists(st.integers(0, 3), max_size=6))
def test_cut_anywhere_it_ends_with_everything(fuses: list[int], more: list[int]) -> None:
    """Whatever is cut, and where: all documents are in the database or in the verified dump at every moment, and at the end
    in the database, with the services that ran before. Services that still run may write until they are stopped."""
    world = World()
    for i, fuse in enumerate(fuses):
        world.fuse = fuse
        with suppress(Cut):
            world.run()
        if world.running and world.record.phase in {"", "stopped", "dumped", "verified"} and i < len(more):
            world.counts["meter"] = world.counts.get("meter", 0) + more[i]
        safe = world.verified if world.record.phase in {"dropping", "restoring"} else world.counts
        assert safe is not None
        assert all(safe.get(name, 0) >= count for name, count in FULL.items())
    world.fuse = 10**6
    world.run()
    assert all(world.counts[name] >= count for name, count in FULL.items())
    assert world.running == {"collector", "api"}
    assert world.dump is not None
