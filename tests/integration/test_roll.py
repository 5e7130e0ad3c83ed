"""Rolling changes, and members that come and go, behind a load balancer, while clients write; and the watch."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pymysql
import pytest

from nornir_stack.tasks.cluster.change import grow, replace, shrink
from nornir_stack.tasks.cluster.roll import roll
from nornir_stack.tasks.cluster.rotate import new_password, rotate
from nornir_stack.tasks.cluster.schema import schema
from nornir_stack.tasks.cluster.status import METRICS, status
from nornir_stack.tasks.loadbalancer.deploy import deploy
from nornir_stack.tasks.loadbalancer.health import DRAIN_FLAG
from tests.integration.cluster_lab import CONFIG, DATADIR, DB, PASSWORD, inside, tell, until
from tests.integration.life import Life, refusal, well

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report
    from tests.integration.bank import Bank

NEWER = """
mkdir -p /srv/newer/pkg/DEBIAN && cd /srv/newer || exit
cat >pkg/DEBIAN/control <<END
Package: socat
Version: 99-1
Architecture: all
Maintainer: nobody <nobody@localhost>
Description: newer
END
dpkg-deb -b pkg socat.deb >/dev/null || exit
{ cat pkg/DEBIAN/control; echo "Filename: ./socat.deb"; echo "Size: $(stat -c %s socat.deb)"
echo "SHA256: $(sha256sum socat.deb | cut -d' ' -f1)"; } >Packages
echo 'deb [trusted=yes] file:/srv/newer ./' >/etc/apt/sources.list.d/newer.list
"""
BACKUP = "cp /bin/sleep /tmp/mariadb-backup; setsid /tmp/mariadb-backup 600 >/dev/null 2>&1 &"


@dataclass
class Balanced(Life):
    """A cluster with a load balancer before it, in the inventory too."""

    def inventory(self, galera: str = "") -> None:
        self.write(galera=galera)
        with (self.folder / "hosts.yaml").open("a") as hosts:
            hosts.write(f"lb1:\n  hostname: {self.address('lb1')}\n  groups: [loadbalancer]\n")
        listeners = "reads: {port: 3306}\n        writes: {port: 3307, mode: single-writer}"
        group = f"virtual_address: {self.virtual}\n      listeners:\n        {listeners}\n"
        with (self.folder / "groups.yaml").open("a") as groups:
            groups.write(f"loadbalancer:\n  data:\n    loadbalancer:\n      {group}")

    @property
    def virtual(self) -> str:
        return str(self.lab.spec.network[20])

    def writing(self) -> Bank:
        """Clients that write through the single-writer listener."""
        return self.bank((self.virtual, 3307))

    def out_of_service(self) -> list[str]:
        """Members that are drained, by HAProxy or by their flag."""
        ask = "echo 'show servers state' | socat - /run/haproxy/admin.sock | grep -v '^[#1]$'"
        rows = [line.split() for line in inside(self.lab, "lb1", ask).splitlines() if len(line.split()) > 6 and line[0] != "#"]
        drained = {row[3] for row in rows if row[6] != "0"}
        return [name for name in self.names if name in drained or inside(self.lab, name, f"ls {DRAIN_FLAG} 2>/dev/null; true")]


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Balanced:
    cluster = Balanced(boot(*DB, "db4", "lb1", tree="db"), tmp_path_factory.mktemp("life") / "inventory")
    cluster.inventory()
    well(cluster.form())
    well(cluster.run(deploy()))
    return cluster


@pytest.fixture
def cluster(life: Balanced) -> Iterator[Balanced]:
    """Three members, complete and in service, with a bank that nobody writes to yet."""
    life.names = DB
    life.inventory()
    life.whole()
    well(life.run(roll()))
    assert life.out_of_service() == []
    yield life
    life.everywhere("rm -f /etc/mysql/mariadb.conf.d/zzz-bad.cnf")


def under_load(cluster: Balanced, change: Callable[[], Report], what: str, *, members: Sequence[str] = ()) -> Report:
    """The change while clients write through the load balancer; nothing acknowledged is lost."""
    with cluster.writing() as bank:
        until(lambda: all(len(client.acked) > 10 for client in bank.clients), 60, "10 transfers of each client")
        report = well(change())
        so_far = [len(client.acked) for client in bank.clients]
        until(
            lambda: all(len(client.acked) > count + 10 for client, count in zip(bank.clients, so_far, strict=True)),
            60,
            "10 more transfers of each client",
        )
    cluster.audited(bank, members)
    tell(f"{what}: {report.duration:.1f} s, {len(bank.acked)} transfers, longest gap of a client {bank.longest_gap:.2f} s")
    return report


def restarted(report: Report) -> list[str]:
    """Who was restarted, in order."""
    return [stage.name.split("/")[1] for stage in report.stages if stage.name.endswith("/restart")]


def test_new_configuration_under_load(cluster: Balanced) -> None:
    """Each member is drained, restarted and put back, the writer last; no acknowledged commit is lost; again: nothing."""
    cluster.inventory("      slave_threads: 3\n")
    well(cluster.form())
    before = cluster.started()
    report = under_load(cluster, lambda: cluster.run(roll()), "rolling restart")
    assert restarted(report) == ["db2", "db3", "db1"]
    assert set(cluster.rows("SELECT @@wsrep_slave_threads").values()) == {"3\n"}
    after = cluster.started()
    assert all(before[name] != after[name] for name in DB)
    assert cluster.out_of_service() == []
    cluster.uuid()
    assert well(cluster.run(roll())).changed == ()
    assert cluster.started() == after


def test_the_first_surprise_ends_it(cluster: Balanced) -> None:
    """A member that does not come up stays drained, the others are not touched; mended, it is finished first."""
    inside(cluster.lab, "db2", "printf '[mysqld]\\nno_such_option=1\\n' >/etc/mysql/mariadb.conf.d/zzz-bad.cnf")
    inside(cluster.lab, "db3", "touch /etc/mysql/mariadb.conf.d/*.cnf")
    before = cluster.started()
    report = cluster.run(roll())
    assert report.exit_code == 1
    after = cluster.started()
    assert (after["db1"], after["db3"]) == (before["db1"], before["db3"])
    assert cluster.out_of_service() == ["db2"]
    assert "no_such_option" in " ".join(problems(report))
    until(lambda: cluster.says("db1", "wsrep_cluster_size") == "2", 20, "two members")
    assert cluster.says("db2", "unit") in {"inactive", "failed"}
    assert refusal(cluster.run(roll(members=["db9"])))
    inside(cluster.lab, "db2", "rm /etc/mysql/mariadb.conf.d/zzz-bad.cnf")
    report = well(cluster.run(roll()))
    assert restarted(report) == ["db2", "db3"]
    assert cluster.out_of_service() == []
    cluster.uuid()


def test_nobody_is_stopped_while_anybody_is_not_well(cluster: Balanced) -> None:
    """Refused, and nothing changed: while a backup runs, while one is a donor, while one is down."""
    inside(cluster.lab, "db3", BACKUP)
    assert "A backup runs on db3" in refusal(cluster.run(roll(members=["db1"])))
    inside(cluster.lab, "db3", "pkill -x mariadb-backup")
    inside(cluster.lab, "db3", "mariadb -e 'SET GLOBAL wsrep_desync = ON'")
    until(lambda: cluster.says("db3", "wsrep_local_state") == "2", 20, "db3 desynced")
    assert "db3" in refusal(cluster.run(roll(members=["db1"])))
    inside(cluster.lab, "db3", "mariadb -e 'SET GLOBAL wsrep_desync = OFF'; systemctl stop mariadb")
    assert "db3 is down" in refusal(cluster.run(roll(members=["db1"])))
    assert cluster.out_of_service() == []


def test_a_killed_controller(cluster: Balanced) -> None:
    """SIGKILL to the controller while a member is down: the next run finishes that member, and nobody else is restarted."""
    before = cluster.started()
    process = cluster.start_cli("run", "galera.roll", "members=db3")
    until(lambda: cluster.says("db3", "unit") != "active", 60, "db3 goes down")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert cluster.out_of_service() == ["db3"]
    well(cluster.run(roll()))
    assert cluster.out_of_service() == []
    cluster.uuid()
    after = cluster.started()
    assert (after["db1"], after["db2"]) == (before["db1"], before["db2"])
    assert well(cluster.run(roll())).changed == ()


def test_newer_packages(cluster: Balanced) -> None:
    """A package that the sources have newer is installed member by member while clients write, each down as short as it can."""
    cluster.everywhere(NEWER)
    report = under_load(cluster, lambda: cluster.run(roll(upgrade=True)), "package upgrade")
    assert "socat" in " ".join(report.stage("look").decided)
    assert {inside(cluster.lab, name, "dpkg-query -W -f '${Version}' socat") for name in DB} == {"99-1"}
    cluster.uuid()
    assert well(cluster.run(roll(upgrade=True))).changed == ()


def test_replace_grow_and_shrink_under_load(cluster: Balanced) -> None:
    """A wiped member comes back, a fourth comes and goes; each time nothing is lost, nobody else restarts, again: nothing."""
    cluster.killed("db3")
    inside(cluster.lab, "db3", f"find {DATADIR} -mindepth 1 -delete")
    before = cluster.started()
    under_load(cluster, lambda: cluster.run(replace(member="db3")), "replace")
    cluster.uuid()
    assert well(cluster.run(replace(member="db3"))).changed == ()
    cluster.names = (*DB, "db4")
    cluster.inventory()
    under_load(cluster, lambda: cluster.run(grow(member="db4")), "grow")
    cluster.uuid()
    assert well(cluster.run(grow(member="db4"))).changed == ()
    well(cluster.run(deploy()))
    under_load(cluster, lambda: cluster.run(shrink(member="db4", backup_first=False)), "shrink", members=DB)
    assert well(cluster.run(shrink(member="db4"))).changed == ()
    cluster.names = DB
    cluster.uuid()
    cluster.inventory()
    well(cluster.run(deploy()))
    assert well(cluster.run(roll())).changed == ()
    after = cluster.started()
    assert (after["db1"], after["db2"]) == (before["db1"], before["db2"])
    assert cluster.address("db4") not in inside(cluster.lab, "db1", f"cat {CONFIG}")


def test_the_watch(cluster: Balanced) -> None:
    """Exit code 0 and 1, with sentences; numbers for Prometheus; tables that Galera does not replicate."""
    assert cluster.cli("check", "galera.status").code == 0
    cluster.everywhere("mkdir -p /srv/metrics")
    well(cluster.run(status(window=0.2, textfile="/srv/metrics")))
    assert 'galera_cluster_size{cluster="t",member="db1"} 3' in inside(cluster.lab, "db1", f"cat /srv/metrics/{METRICS}")
    well(cluster.run(schema()))
    tables = "CREATE TABLE my_test_db.m (i INT) ENGINE=MyISAM; CREATE TABLE my_test_db.k (i INT)"
    inside(cluster.lab, "db1", f"mariadb -e '{tables}'")
    said = refusal(cluster.run(schema()))
    inside(cluster.lab, "db1", "mariadb -e 'DROP TABLE my_test_db.m, my_test_db.k'")
    assert "my_test_db.m is MyISAM" in said
    assert "my_test_db.k has no primary key" in said
    inside(cluster.lab, "db3", "systemctl stop mariadb")
    ran = cluster.cli("check", "galera.status")
    assert ran.code == 1
    assert "db3 is down" in ran.said


def test_a_password_without_an_outage(cluster: Balanced) -> None:
    """Old and new password both let the user in on every member, until it is finished: then the new one alone."""
    file = cluster.folder / "password"

    def lets_in(password: str) -> list[bool]:
        return [accepted(cluster.address(name), password) for name in DB]

    for old, new in ((PASSWORD, "another"), ("another", PASSWORD)):
        file.write_text(new)
        assert "without finish first" in " ".join(problems(cluster.run(rotate(user="app", finish=True))))
        report = well(cluster.run(rotate(user="app")))
        assert report.value(new_password, "db1")["app@%"].endswith("finish=yes once its clients have the new one")
        assert (lets_in(old), lets_in(new)) == ([True] * 3, [True] * 3)
        assert well(cluster.run(rotate(user="app"))).changed == ()
        well(cluster.run(rotate(user="app", finish=True)))
        assert (lets_in(old), lets_in(new)) == ([False] * 3, [True] * 3)
        assert well(cluster.run(rotate(user="app", finish=True))).changed == ()


def accepted(address: str, password: str) -> bool:
    """Whether app may log in there."""
    try:
        pymysql.connect(host=address, user="app", password=password, connect_timeout=10).close()
    except pymysql.err.OperationalError:
        return False
    return True


def problems(report: Report) -> list[str]:
    return [problem for stage in report.stages for problem in stage.problems]
