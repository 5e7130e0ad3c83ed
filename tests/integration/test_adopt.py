"""A cluster that somebody formed by hand comes under the inventory; nobody is restarted until they are rolled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.adopt import adopt
from nornir_stack.tasks.cluster.roll import roll
from tests.integration.cluster_lab import CONFIG, DB, changed_between, inside, until
from tests.integration.life import Life, refusal, well

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

# As people do it: the file that Debian offers for it, names instead of addresses, the package's own data folder, a password
# for root beside the socket, defaults for everything else.
BY_HAND = """
cat >/etc/mysql/mariadb.conf.d/60-galera.cnf <<END
[galera]
wsrep_on = ON
wsrep_provider = /usr/lib/galera/libgalera_smm.so
wsrep_cluster_name = "MariaDB Galera Cluster"
wsrep_cluster_address = gcomm://db1,db2,db3
wsrep_sst_method = rsync
binlog_format = row
default_storage_engine = InnoDB
innodb_autoinc_lock_mode = 2
bind-address = 0.0.0.0
END
printf '%s\\n' HOSTS >>/etc/hosts
systemctl unmask --quiet mariadb
"""
ROOT = (
    "SET PASSWORD FOR root@localhost = PASSWORD('made by hand'); CREATE DATABASE shop; CREATE TABLE shop.a (i INT PRIMARY KEY)"
)
SETTINGS = "      datadir: /var/lib/mysql\n"
LATER = "/etc/mysql/mariadb.conf.d/zzzz-mine.cnf"


class ByHand(Life):
    """The name of such a cluster is none that the inventory takes: people have to look what theirs is."""

    def formed_by_hand(self, name: str) -> None:
        hosts = " ".join(f"'{self.address(each)} {each}'" for each in DB)
        self.everywhere(BY_HAND.replace("HOSTS", hosts).replace("MariaDB Galera Cluster", name))
        inside(self.lab, "db1", "galera_new_cluster")
        inside(self.lab, "db1", f'mariadb -e "{ROOT}"')
        for each in ("db2", "db3"):
            inside(self.lab, each, "systemctl start mariadb")
            until(lambda each=each: self.says(each, "wsrep_local_state_comment") == "Synced", 60, f"{each} Synced")  # type: ignore[misc]
        inside(self.lab, "db1", "systemctl restart mariadb")


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> ByHand:
    cluster = ByHand(boot(*DB, tree="db"), tmp_path_factory.mktemp("adopt") / "inventory")
    cluster.formed_by_hand("t")
    return cluster


@pytest.fixture
def cluster(life: ByHand) -> Iterator[ByHand]:
    life.write(galera=SETTINGS)
    yield life
    life.everywhere(f"rm -f {LATER} {CONFIG}")


def errors(report: Report) -> str:
    """What tasks said that failed."""
    return " ".join(done.error for stage in report.stages for host in stage.hosts for done in host.tasks)


def test_an_inventory_of_another_cluster(cluster: ByHand) -> None:
    """Another data folder, name or address is refused, by adopt and by whatever else looks at the member: nothing changes."""
    before = cluster.tree("/etc")
    cluster.write()
    assert "galera.datadir is /var/lib/mysql/mysql_data in the inventory, its server runs with /var/lib/mysql" in refusal(
        cluster.run(adopt())
    )
    report = cluster.form()
    assert not report.changed
    assert "set galera.datadir to that" in errors(report)
    cluster.write(galera=f"{SETTINGS}      tls: {{ca: /a, cert: /b, private_key: /c}}\n")
    assert "its server encrypts nothing" in refusal(cluster.run(adopt()))
    assert changed_between(before, cluster.tree("/etc")) == {}


def test_a_file_that_is_read_later(cluster: ByHand) -> None:
    """What would win over ours at the next start is found out, and ours is put back as it was."""
    cluster.everywhere(f"printf '[mysqld]\\nwsrep_cluster_name = other\\n' >{LATER}")
    before = cluster.started()
    report = cluster.run(adopt())
    said = errors(report)
    assert "wsrep_cluster_name = other" in said
    assert "It was put back as it was" in said
    assert inside(cluster.lab, "db1", f"ls {CONFIG} 2>/dev/null; true") == ""
    assert cluster.started() == before


def test_adopted_and_rolled(cluster: ByHand) -> None:
    """A dry run shows what differs and changes nothing; then files, users and units are as wanted, and no server was
    restarted; what needs a restart is listed, galera.roll does it, and then nothing differs any more.
    """
    before, trees = cluster.started(), cluster.tree("/etc")
    ran = cluster.cli("check", "galera.adopt")
    assert ran.code == 3, ran.said
    assert "db1, db2 and db3: galera.max_connections: 151 runs, 100 is wanted" in ran.said
    assert "60-galera.cnf also sets" in ran.said
    assert changed_between(trees, cluster.tree("/etc")) == {}
    report = well(cluster.run(adopt()))
    assert cluster.started() == before
    assert "galera.binlog_expire_days: 10 runs, 7 is wanted" in " ".join(report.stage("look").decided)
    assert set(cluster.rows("SELECT COUNT(*) FROM mysql.user WHERE User = 'app'").values()) == {"1\n"}
    well(cluster.run(adopt()))
    assert cluster.started() == before
    well(cluster.run(roll()))
    cluster.uuid()
    assert set(cluster.rows("SELECT @@max_connections").values()) == {"100\n"}
    again = well(cluster.run(adopt()))
    assert again.changed == ()
    assert "max_connections" not in " ".join(again.stage("look").decided)
    assert well(cluster.form()).changed == ()
