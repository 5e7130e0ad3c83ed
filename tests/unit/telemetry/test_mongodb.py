# ruff: noqa: ARG002  the answers of the server all take the command
"""MongoDB by its real wire protocol: pymongo speaks to a server of mockupdb, which answers what a real one would."""

from __future__ import annotations

import shutil
import stat
import subprocess
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from mockupdb import MockupDB
from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.plugins.runners import SerialRunner

from nornir_stack import framing, locks, session
from nornir_stack.chain import Chain, Stage, do
from nornir_stack.connections.mongodb import Mongo
from nornir_stack.errors import ConnectionFailed, DatabaseFailed, Refused, TimedOut
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.select import everyone
from nornir_stack.tasks.telemetry.reclaim import from_json
from nornir_stack.tasks.telemetry.reclaimed import mongodb_reclaim
from nornir_stack.tasks.telemetry.samples import mongodb_size, prune

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nornir_stack.chain import Bound
    from nornir_stack.results import Report

HELLO = {"ok": 1, "maxWireVersion": 21, "minWireVersion": 0, "isWritablePrimary": True, "maxBsonObjectSize": 1 << 24}

EVER = (datetime(1, 1, 1, tzinfo=timezone.utc), datetime(9999, 1, 1, tzinfo=timezone.utc))


class Server:
    """Collections of documents with timestamps; commands as MongoDB's manual says, and every one that came is noted."""

    def __init__(self) -> None:
        self.data: dict[str, list[datetime]] = {}
        self.said: list[str] = []
        self.mockup = MockupDB(auto_ismaster=HELLO)
        self.mockup.autoresponds(self.answer)
        self.mockup.run()

    def answer(self, request: Any) -> bool:
        command = request.doc
        name = next(iter(command))
        reply = getattr(self, f"on_{name}", None)
        if name == "collMod":
            request.command_err(26, "ns does not exist")
            return True
        if reply is None:
            return False
        if name not in {"ping", "endSessions"}:
            self.said.append(name)
        request.ok(reply(command))
        return True

    def on_ping(self, command: Any) -> dict[str, Any]:
        return {}

    def on_endSessions(self, command: Any) -> dict[str, Any]:  # noqa: N802  the command's name
        return {}

    def on_listCollections(self, command: Any) -> dict[str, Any]:  # noqa: N802  the command's name
        batch = [{"name": name, "type": "collection"} for name in self.data]
        return {"cursor": {"id": 0, "ns": "ceilometer.$cmd.listCollections", "firstBatch": batch}}

    def on_dbStats(self, command: Any) -> dict[str, Any]:  # noqa: N802  the command's name
        count = sum(map(len, self.data.values()))
        sizes = {"dataSize": count * 1000.0, "storageSize": count * 400.0, "indexSize": count * 100.0}
        return {**sizes, "fsTotalSize": 10_000_000.0, "fsUsedSize": 9_000_000.0}

    def on_aggregate(self, command: Any) -> dict[str, Any]:
        found = self._matching(command["aggregate"], command["pipeline"][0]["$match"])
        batch = [{"_id": None, "n": len(found)}] if found else []
        return {"cursor": {"id": 0, "ns": f"ceilometer.{command['aggregate']}", "firstBatch": batch}}

    def on_count(self, command: Any) -> dict[str, Any]:
        return {"n": len(self._matching(command["count"], command["query"]))}

    def on_find(self, command: Any) -> dict[str, Any]:
        first = sorted(self.data[command["find"]])[:1]
        batch = [{"timestamp": when.replace(tzinfo=None)} for when in first]
        return {"cursor": {"id": 0, "ns": f"ceilometer.{command['find']}", "firstBatch": batch}}

    def on_delete(self, command: Any) -> dict[str, Any]:
        gone = self._matching(command["delete"], command["deletes"][0]["q"])
        self.data[command["delete"]] = [when for when in self.data[command["delete"]] if when not in gone]
        return {"n": len(gone)}

    def on_dropDatabase(self, command: Any) -> dict[str, Any]:  # noqa: N802  the command's name
        self.data = {}
        return {"dropped": "ceilometer"}

    def _matching(self, name: str, query: Any) -> list[datetime]:
        limits = query.get("timestamp", {})
        least = limits.get("$gte", EVER[0]).replace(tzinfo=timezone.utc)
        most = limits.get("$lt", EVER[1]).replace(tzinfo=timezone.utc)
        return [when for when in self.data[name] if least <= when < most]


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.mockup.stop()


@pytest.fixture
def mongo(server: Server) -> Iterator[Mongo]:
    one = Mongo("127.0.0.1", server.mockup.port)
    yield one
    one.close()


def fleet(server: Server, dump: Path) -> Nornir:
    """This machine, with the server on a port of it."""
    register_connections()
    mine = {"server": "127.0.0.1", "port": server.mockup.port, "dump": str(dump), "data": "/nowhere"}
    data = {"connection": "local", "telemetry": {"mongodb": mine}}
    hosts = Hosts({"here": Host("here", hostname="127.0.0.1", data=data, defaults=Defaults())})
    config = Config(logging=LoggingConfig(enabled=False))
    return Nornir(Inventory(hosts, Groups(), Defaults()), config, runner=SerialRunner())


def run(server: Server, dump: Path, task: Bound, *, dry_run: bool = False) -> Report:
    nr = fleet(server, dump)
    try:
        return Chain("trial", Stage("it", [task], everyone)).run(nr, dry_run=dry_run)
    finally:
        nr.close_connections()
        for host in nr.inventory.hosts.values():
            host.close_connections()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(locks, "NODE_LOCK", str(tmp_path / "lock"))  # other tests have this machine for a node too


NOW = datetime.now(timezone.utc).replace(microsecond=0)


def samples(days: int) -> list[datetime]:
    return [NOW - timedelta(days=day, minutes=5) for day in range(days)]


def test_what_looks_can_send_nothing_that_changes(server: Server, mongo: Mongo) -> None:
    """Not by name, and not by a stage of an aggregation: it is refused before it is sent."""
    for command in (
        {"dropDatabase": 1},
        {"delete": "meter", "deletes": []},
        {"aggregate": "meter", "pipeline": [{"$match": {}}, {"$out": "other"}], "cursor": {}},
        {"eval": "1"},
    ):
        with pytest.raises(Refused, match="only looks"):
            mongo.query("ceilometer", command)
    assert server.said == []


def test_errors_are_the_servers_own(server: Server, mongo: Mongo) -> None:
    """An error that it answers, and no answer at all."""
    with pytest.raises(DatabaseFailed, match="ns does not exist"):
        mongo.execute("ceilometer", {"collMod": "meter"})
    gone = Mongo("127.0.0.1", 1, seconds=0.1)
    with pytest.raises(ConnectionFailed, match="does not answer"):
        gone.query("admin", {"ping": 1})
    gone.close()


def test_an_answer_is_waited_for_no_longer_than_wanted(server: Server, mongo: Mongo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task's time limit is the client's too; the next command has its own time."""
    assert mongo.query("admin", {"ping": 1})["ok"] == 1

    def sleep(_: Any) -> dict[str, Any]:
        time.sleep(2)
        return {}

    with monkeypatch.context() as slow:
        slow.setattr(server, "on_ping", sleep)
        for ask in (mongo.query, mongo.execute):
            with pytest.raises(TimedOut, match=r"no answer within 0\.3 s"):
                ask("admin", {"ping": 1}, seconds=0.3)
    assert mongo.query("admin", {"ping": 1}, seconds=10)["ok"] == 1


def test_size_and_growth(server: Server, tmp_path: Path) -> None:
    """Bytes, the oldest sample, what a day brings, and for how long the disk lasts."""
    server.data = {"meter": samples(70), "resource": samples(30)}
    seen = run(server, tmp_path, do(mongodb_size)).value(mongodb_size, "here")
    assert (seen.data, seen.storage, seen.counts) == (100_000, 40_000, {"meter": 70, "resource": 30})
    assert seen.oldest == f"{NOW - timedelta(days=69, minutes=5):%Y-%m-%d}"
    assert seen.per_day == 400
    assert seen.full_in == 2500.0
    server.data = {}
    assert "no database ceilometer" in run(server, tmp_path, do(mongodb_size)).stage("it").host("here").error


def test_prune_by_date(server: Server, tmp_path: Path) -> None:
    """Dry run tells how many; for real they go day by day; again nothing goes; a month 18 is refused before all else."""
    server.data = {"meter": samples(10), "event": samples(3), "resource": samples(30)}
    task = do(prune, before="4d")
    plan = run(server, tmp_path, task, dry_run=True)
    assert plan.exit_code == 3
    (told,) = plan.stage("it").host("here").tasks
    end = told.effects[0].rpartition(" ")[2]
    assert told.effects == (f"take out of meter what is older than {end}",)
    assert f"-6 documents from before {end}" in told.diff
    assert "delete" not in server.said

    assert run(server, tmp_path, task).value(prune, "here") == {"meter": 6, "event": 0}
    assert (len(server.data["meter"]), len(server.data["resource"])) == (4, 30)
    assert server.said.count("delete") == 6
    assert run(server, tmp_path, task).changed == ()

    before = list(server.said)
    report = run(server, tmp_path, do(prune, before="2016-18-03T19:30:07.805Z"))
    assert "did you mean 2016-03-18?" in report.stage("it").host("here").error
    assert server.said == before


@pytest.fixture
def tools(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """mongodump, mongorestore and bsondump of this server: programs in PATH, which leave their command lines in `calls`."""
    folder, world = tmp_path / "bin", tmp_path / "world"
    folder.mkdir()
    world.mkdir()
    scripts = {
        "mongodump": "out= db=; while [ $# -gt 0 ]; do case $1 in --out) out=$2;; --db) db=$2;; esac; shift; done\n"
        'mkdir -p "$out/$db"; cp "$W"/* "$out/$db/"',
        "mongorestore": 'for last; do :; done; [ -e "$W.broken" ] && exit 1; cp "$last"/* "$W/"; touch "$W.restored"',
        "bsondump": 'for last; do :; done; echo "2016-03-18T19:30:07.000+0000 $(wc -l <"$last") objects found" >&2',
    }
    for name, body in scripts.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nW={world}\necho "{name} $*" >>{tmp_path}/calls\n{body}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    # the shell of a connection sets its own PATH
    monkeypatch.setattr(
        session, "PRELUDE", framing.PRELUDE.replace("PATH=/usr/local/sbin", f"PATH={folder}:/usr/local/sbin", 1)
    )
    return world


def follow(server: Server, world: Path) -> None:
    """The stand-ins' files are the server's collections: written when they are asked for, read back when they were restored."""
    plain = server.on_listCollections

    def listed(command: Any) -> dict[str, Any]:
        restored = world.with_name("world.restored")
        if restored.exists():
            restored.unlink()
            server.data = {path.stem: samples(len(path.read_text().splitlines())) for path in world.glob("*.bson")}
        for path in world.glob("*"):
            path.unlink()
        for name, found in server.data.items():
            (world / f"{name}.bson").write_text("x\n" * len(found))
        return plain(command)

    server.on_listCollections = listed  # type: ignore[method-assign]


def test_space_is_got_back(server: Server, tools: Path, tmp_path: Path) -> None:
    """Without drop=yes the dump is made and read back, and that is all; with it the database comes back whole; again: done."""
    follow(server, tools)
    server.data = {"meter": samples(9), "resource": samples(2)}
    dump = tmp_path / "dump"
    plan = run(server, dump, do(mongodb_reclaim, drop=True), dry_run=True)
    assert plan.exit_code == 3
    assert [effect.partition(": ")[2].split()[0] for effect in plan.changed] == [
        "stop",
        "dump",
        "verify",
        "drop",
        "restore",
        "start",
    ]
    assert not dump.exists()

    first = run(server, dump, do(mongodb_reclaim))
    assert first.ok, first
    assert "dropDatabase" not in server.said
    assert from_json((dump / "reclaim.json").read_text(), "ceilometer").phase == "verified"

    server.data["meter"] += samples(1)  # somebody wrote since: the dump is made again
    done = run(server, dump, do(mongodb_reclaim, drop=True))
    assert done.ok, done
    assert server.said.count("dropDatabase") == 1
    assert done.value(mongodb_reclaim, "here").counts == {"meter": 10, "resource": 2}
    assert from_json((dump / "reclaim.json").read_text(), "ceilometer").phase == "restored"
    calls = (tmp_path / "calls").read_text().splitlines()
    where = f"--host 127.0.0.1 --port {server.mockup.port}"
    assert [call for call in calls if call.startswith("mongodump")] == [f"mongodump {where} --db ceilometer --out {dump}"] * 2
    assert f"mongorestore {where} --drop --db ceilometer {dump}/ceilometer" in calls

    again = run(server, dump, do(mongodb_reclaim, drop=True))
    assert again.ok, again
    assert again.changed == ()
    assert server.said.count("dropDatabase") == 1


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Path]:
    """A process of that name, with its lock open in the folder of its data."""
    data = tmp_path / "moved"
    data.mkdir()
    program = tmp_path / "mongod"
    shutil.copy(shutil.which("sleep") or "", program)
    with (data / "mongod.lock").open("w") as lock, subprocess.Popen([program, "600"], pass_fds=[lock.fileno()]) as process:
        yield data
        process.kill()


def test_a_dump_on_the_disk_of_the_data_is_noticed(server: Server, mongod: Path, tmp_path: Path) -> None:
    """By the lock of the server that runs, whatever the inventory says; without any folder of its data nobody can tell."""
    server.data = {"meter": samples(9)}
    task = do(mongodb_reclaim)
    assert "would lie on the disk of the data" in run(server, tmp_path / "dump", task).stage("it").host("here").error
    shutil.rmtree(mongod)
    assert "its data are not in /nowhere: say where" in run(server, tmp_path / "dump", task).stage("it").host("here").error
    assert not (tmp_path / "dump").exists()


def test_a_restore_that_failed_is_gone_on_with(server: Server, tools: Path, tmp_path: Path) -> None:
    """The database is dropped and the restore breaks: the next run restores from the verified dump, and from no other."""
    follow(server, tools)
    server.data = {"meter": samples(9)}
    dump = tmp_path / "dump"
    broken = tools.with_name("world.broken")
    broken.touch()
    task = do(mongodb_reclaim, drop=True)
    assert run(server, dump, task).exit_code == 1
    assert server.data == {}

    kept = (dump / "ceilometer" / "meter.bson").read_text()
    (dump / "ceilometer" / "meter.bson").write_text("x\n")
    assert "not what was verified" in run(server, dump, task).stage("it").host("here").error
    (dump / "ceilometer" / "meter.bson").write_text(kept)

    broken.unlink()
    done = run(server, dump, task)
    assert done.ok, done
    assert len(server.data["meter"]) == 9
    assert server.said.count("dropDatabase") == 1
