"""galera.backup and galera.restore on real members: under load, killed, without room, from nothing, to a point in time."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.backup import backup
from nornir_stack.tasks.cluster.backups import FOLDER, backups
from nornir_stack.tasks.cluster.change import shrink
from nornir_stack.tasks.cluster.restore import restore
from nornir_stack.tasks.cluster.roll import roll
from nornir_stack.tasks.loadbalancer.health import DRAIN_FLAG
from tests.integration.cluster_lab import DATADIR, DB, changed_between, inside, tell, until
from tests.integration.life import Life, refusal, well

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

HOME = f"{FOLDER}/t"
STORE = "store"
# Whoever backs up waits for this to be released (BACKUP STAGE, MariaDB manual).
HOLD = "systemd-run --quiet --unit=hold mariadb -e 'BACKUP STAGE START; DO SLEEP(600)'"
RELEASE = "systemctl stop hold 2>/dev/null; systemctl reset-failed hold 2>/dev/null; true"
ROWS = "SELECT v FROM my_test_db.kept ORDER BY v"
FORGET = f"rm -rf {FOLDER} {DATADIR}.* /var/lib/nornir-stack/galera-restored.json"
CLOCK = "date -u '+%F %T'"
WIPE = f"systemctl stop mariadb; rm -rf {DATADIR} {DATADIR}.*"


@dataclass
class Kept(Life):
    """A cluster, and a host that is none of its members and keeps its backups."""

    def write(self, *, galera: str = "", known_hosts: str = "") -> None:
        super().write(galera=galera, known_hosts=known_hosts)
        with (self.folder / "hosts.yaml").open("a") as file:
            file.write(f"{STORE}:\n  hostname: {self.address(STORE)}\n")

    def labels(self, host: str = STORE) -> list[str]:
        """What looks like a backup on a host."""
        return inside(self.lab, host, f"cd {HOME} 2>/dev/null && ls -d */ | tr -d / || true").split()

    def everything(self, host: str = STORE) -> list[str]:
        """And what does not."""
        return inside(self.lab, host, f"ls -A {HOME} 2>/dev/null || true").split()

    def manifest(self, label: str) -> dict[str, object]:
        return dict(json.loads(inside(self.lab, STORE, f"cat {HOME}/{label}/manifest.json")))

    def insert(self, *values: str) -> None:
        rows = ", ".join(f"('{value}')" for value in values)
        inside(self.lab, "db1", f'mariadb -e "INSERT INTO my_test_db.kept VALUES {rows}"')  # noqa: S608  constants

    def next_second(self) -> str:
        """The first that has not begun yet, once it has."""
        now = inside(self.lab, "db1", CLOCK)
        until(lambda: inside(self.lab, "db1", CLOCK) != now, 10, "the next second")
        return inside(self.lab, "db1", CLOCK).strip()

    def desynced(self) -> set[str]:
        return {name for name, said in self.rows("SELECT @@wsrep_desync").items() if said.strip() != "0"}


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Kept:
    cluster = Kept(boot(*DB, STORE, tree="db"), tmp_path_factory.mktemp("kept") / "inventory")
    well(cluster.form())
    return cluster


@pytest.fixture
def cluster(life: Kept) -> Iterator[Kept]:
    """Three members, complete, with a table, and no backup anywhere."""
    life.whole()
    for name in (*DB, STORE):
        inside(life.lab, name, FORGET)
    table = "CREATE TABLE IF NOT EXISTS my_test_db.kept (v VARCHAR(20) PRIMARY KEY); DELETE FROM my_test_db.kept"
    inside(life.lab, "db1", f'mariadb -e "{table}"')
    yield life
    inside(life.lab, "db3", RELEASE)


def held(cluster: Kept, start: Callable[[], object]) -> None:
    """Something is started that takes a backup, which then stands still on db3 in the middle."""
    inside(cluster.lab, "db3", HOLD)
    until(lambda: "SLEEP" in cluster.rows("SHOW PROCESSLIST")["db3"], 30, "the lock")
    start()
    until(lambda: inside(cluster.lab, "db3", "pidof mariadb-backup || true") != "", 60, "mariadb-backup")
    until(lambda: cluster.desynced() == {"db3"}, 30, "wsrep_desync")


def test_full_and_incremental_under_load(cluster: Kept) -> None:
    """A dry run writes nothing. A backup is taken while clients write, from a member that serves again after it; an increment
    goes on from it, and retention deletes what it said, never what is needed.
    """
    cluster.insert("one")
    before = cluster.tree("/var/backups", "/etc")
    dry = cluster.run(backup(keeper=STORE), dry_run=True)
    assert dry.exit_code == 3
    assert "from db3 to store" in " ".join(dry.stage("look").decided)
    assert changed_between(before, cluster.tree("/var/backups", "/etc")) == {}
    assert cluster.labels() == []
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "transfers")
        report = well(cluster.run(backup(keeper=STORE)))
        second = well(cluster.run(backup(keeper=STORE, incremental=True)))
        third = well(cluster.run(backup(keeper=STORE, incremental=True)))
    tell(f"full {report.duration:.1f} s, then {second.duration:.1f} s, {third.duration:.1f} s; gap {bank.longest_gap:.1f} s")
    assert cluster.desynced() == set()
    cluster.uuid()
    cluster.audited(bank)
    full, one, two = cluster.labels()
    assert (full.rpartition("-")[2], one.rpartition("-")[2]) == ("full", "incremental")
    assert [cluster.manifest(label)["base"] for label in (full, one, two)] == ["", full, one]
    assert cluster.manifest(two)["seqno"] > cluster.manifest(full)["seqno"]  # type: ignore[operator]
    assert cluster.everything() == [full, one, two]

    listed = well(cluster.run(backups(keeper=STORE, max_age="1h")))
    said = " ".join(listed.stage("look").decided)
    assert all(label in said for label in (full, one, two))
    assert "cannot be restored" not in said
    inside(cluster.lab, STORE, f"mv {HOME}/{one} {HOME}/.moved")
    assert "cannot be restored" in " ".join(well(cluster.run(backups(keeper=STORE))).stage("look").decided)
    inside(cluster.lab, STORE, f"mv {HOME}/.moved {HOME}/{one}")

    inside(cluster.lab, "db3", "systemctl restart mariadb")  # it may have got a full copy: increments go on no more
    kept = cluster.run(backup(keeper=STORE, incremental=True, keep=1), dry_run=True)
    said = " ".join(kept.stage("look").decided)
    assert "db3 was started again" in said
    assert all(f"{label} on store is deleted" in said for label in (full, one, two))
    assert cluster.labels() == [full, one, two]
    well(cluster.run(backup(keeper=STORE, incremental=True, keep=1)))
    (last,) = cluster.everything()
    assert last > two
    well(cluster.run(backup(keeper=STORE, incremental=True, keep=1)))
    assert len(cluster.labels()) == 2, "the base of the newest stays"


def test_killed_in_the_middle(cluster: Kept) -> None:
    """Where mariadb-backup is killed, the controller, or the run by Ctrl-C twice, nothing looks like a backup, the member is
    Synced again, and the next run goes well. Meanwhile nobody is rolled, and no second backup begins.
    """
    cluster.insert("one")
    reports: list[Report] = []
    run = threading.Thread(target=lambda: reports.append(cluster.run(backup(keeper=STORE))))
    held(cluster, run.start)
    assert "A backup runs on db3" in refusal(cluster.run(roll(members=["db1"]), dry_run=True))
    assert "A backup runs on db3" in refusal(cluster.run(backup(keeper=STORE), dry_run=True))
    inside(cluster.lab, "db3", "pkill -KILL mariadb-backup")
    run.join(120)
    (report,) = reports
    assert report.exit_code == 1
    assert cluster.everything() == []
    assert cluster.desynced() == set()
    inside(cluster.lab, "db3", RELEASE)

    inside(cluster.lab, "db3", HOLD)
    started = [cluster.start_cli("run", "galera.backup", f"keeper={STORE}")]
    until(lambda: inside(cluster.lab, "db3", "pidof mariadb-backup || true") != "", 60, "mariadb-backup")
    started[0].kill()
    started[0].communicate()
    inside(cluster.lab, "db3", "systemctl kill --signal=KILL nornir-stack-backup")
    until(lambda: cluster.desynced() == set(), 60, "wsrep_desync is put back")
    assert cluster.labels() == []
    inside(cluster.lab, "db3", RELEASE)

    cut: list[subprocess.Popen[str]] = []
    held(cluster, lambda: cut.append(cluster.start_cli("run", "galera.backup", f"keeper={STORE}")))
    cut[0].send_signal(signal.SIGINT)  # what runs is to end by itself
    with pytest.raises(subprocess.TimeoutExpired):
        cut[0].wait(3)
    assert cluster.desynced() == {"db3"}
    cut[0].send_signal(signal.SIGINT)
    cut[0].communicate(timeout=60)
    assert cut[0].returncode == 130
    until(lambda: cluster.desynced() == set(), 60, "wsrep_desync is put back")
    inside(cluster.lab, "db3", RELEASE)

    well(cluster.run(backup(keeper=STORE)))
    (label,) = cluster.everything()
    cluster.uuid()

    well(cluster.run(backup()))  # on the member itself
    assert len(cluster.everything("db3")) == 1
    assert cluster.labels() == [label]


def test_before_a_member_is_taken_out(cluster: Kept) -> None:
    """galera.shrink takes a full backup first, from another member, and does nothing where there is no room for it. Run again,
    it changes nothing, and takes none.
    """
    cluster.insert("one")
    inside(cluster.lab, STORE, "mkdir -p /mnt/small && mount -t tmpfs -o size=4m small /mnt/small")
    try:
        said = refusal(cluster.run(shrink(member="db3", keeper=STORE, folder="/mnt/small")))
    finally:
        inside(cluster.lab, STORE, "umount /mnt/small")
    assert "store has 4.0 MiB free" in said
    assert "With backup_first=no this is done without a backup" in said
    cluster.uuid()
    well(cluster.run(shrink(member="db3", keeper=STORE)))
    (label,) = cluster.everything()
    assert cluster.manifest(label)["member"] == "db2"
    cluster.one_of("db1", "db2")
    assert well(cluster.run(shrink(member="db3", keeper=STORE))).changed == ()
    assert cluster.everything() == [label]
    inside(cluster.lab, "db3", f"rm {DRAIN_FLAG}")


def test_no_room(cluster: Kept) -> None:
    """On a disk that is too small nothing is begun: one sentence with the figures."""
    inside(cluster.lab, STORE, "mkdir -p /mnt/small && mount -t tmpfs -o size=4m small /mnt/small")
    try:
        said = refusal(cluster.run(backup(keeper=STORE, folder="/mnt/small")))
        assert "store has 4.0 MiB free, and a full backup of db3 needs up to" in said
        assert inside(cluster.lab, STORE, "ls -A /mnt/small") == ""
    finally:
        inside(cluster.lab, STORE, "umount /mnt/small")
    assert "There is no backup" in refusal(cluster.run(backups(keeper=STORE, max_age="26h")))


def test_restore_to_emptied_members(cluster: Kept) -> None:
    """All data are gone on all members: from a full backup and its increment, which one of them kept, every row is back on
    each; the cluster has a history of its own, and a second run changes nothing.
    """
    cluster.insert("one")
    well(cluster.run(backup()))
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "transfers")
    cluster.insert("two")
    well(cluster.run(backup(incremental=True)))
    label = cluster.labels("db3")[-1]
    old = cluster.uuid()
    cluster.everywhere(WIPE)
    report = well(cluster.run(restore(backup=label)))
    tell(f"restored to three empty members: {report.duration:.1f} s")
    assert set(cluster.rows(ROWS).values()) == {"one\ntwo\n"}
    cluster.audited(bank)
    assert cluster.uuid() != old
    assert well(cluster.run(restore(backup=label))).changed == ()


def test_point_in_time(cluster: Kept) -> None:
    """A cluster that lives is brought back to between two transactions, by the operator's word only, with a backup taken
    first; a controller that is killed half way leaves nothing that a second run does not finish.
    """
    cluster.insert("before")
    well(cluster.run(backup(keeper=STORE)))
    label = cluster.labels()[-1]
    cluster.insert("wanted")
    when = cluster.next_second()
    cluster.next_second()
    cluster.insert("unwanted")
    old = cluster.uuid()
    assert "over=t" in refusal(cluster.run(restore(until=when, keeper=STORE)))
    assert "before" in refusal(cluster.run(restore(until="2020-01-01 00:00:00", keeper=STORE, over="t", member="db1")))
    later = cluster.run(restore(until="2099-01-01 00:00:00", keeper=STORE, over="t", member="db1", backup_first=False))
    assert "reach up to" in " ".join(problem for stage in later.stages for problem in stage.problems)
    assert cluster.uuid() == old, "nobody was stopped for it"

    started = cluster.start_cli("run", "galera.restore", f"until={when}", f"keeper={STORE}", "over=t", "member=db1")
    until(lambda: not cluster.lab.enter("db2", "systemctl", "is-active", "mariadb").stdout.startswith("active"), 200, "a stop")
    started.kill()
    started.communicate()
    assert len(cluster.labels()) == 2, "a backup was taken first"
    report = well(cluster.run(restore(until=when, keeper=STORE, over="t", member="db1")))
    tell(f"second half of a restore: {report.duration:.1f} s")
    assert label in " ".join(report.stage("look").decided)
    assert set(cluster.rows(ROWS).values()) == {"before\nwanted\n"}
    assert cluster.uuid() != old
    assert "unwanted" not in "".join(cluster.rows(ROWS).values())
    assert inside(cluster.lab, "db1", f"ls -d {DATADIR}.before-*") != ""
    assert well(cluster.run(restore(until=when, keeper=STORE, over="t", member="db1"))).changed == ()
