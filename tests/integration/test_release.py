"""Members of Debian 13's MariaDB 11.8: formed, all killed, cut from each other; each time brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.change import replace
from nornir_stack.tasks.cluster.recover import recover
from nornir_stack.tasks.cluster.upgrade import upgrade
from tests.integration.cluster_lab import DATADIR, DB, inside, until
from tests.integration.life import Life, refusal, well
from tests.integration.next_release import repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab


# Where a member stands after DDL and a new view is in InnoDB's log, and on disk up to a second later.
ON_DISK = "mariadb -e 'FLUSH LOCAL ENGINE LOGS'"


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Life:
    cluster = Life(boot(*DB, tree="db", suite="trixie"), tmp_path_factory.mktemp("release") / "inventory")
    well(cluster.form())
    return cluster


@pytest.fixture
def cluster(life: Life) -> Iterator[Life]:
    life.whole()
    yield life
    life.lab.heal()


def test_formed(cluster: Life) -> None:
    """The members run 11.8, and forming them again changes nothing. Of a configuration that is new (members came or went) the
    first run writes the row that proves it.
    """
    assert {version[:5] for version in cluster.rows("SELECT VERSION()").values()} == {"11.8."}
    cluster.uuid()
    cluster.everywhere("systemctl enable --quiet mariadb")
    well(cluster.form())
    assert well(cluster.form()).changed == ()


def test_all_killed(cluster: Life) -> None:
    """The most advanced leads, the others join; no acknowledged transfer is lost."""
    with cluster.bank() as bank:
        until(lambda: all(len(client.acked) > 5 for client in bank.clients), 60, "5 transfers of each client")
        cluster.killed(*DB)
    before = {name: said["unit"] for name, said in cluster.seen().items()}
    assert "active" not in before.values()
    well(cluster.run(recover()))
    cluster.uuid()
    cluster.audited(bank)


def test_a_survivor_is_made_primary(cluster: Life) -> None:
    """Two of three killed: the survivor is made Primary while it runs, by the provider option as a variable, and keeps its
    writes for the others. Twice; and it does not stick: a member cut off later is not Primary by itself.
    """
    uuid, started = cluster.uuid(), cluster.started()["db1"]
    for _ in range(2):
        cluster.killed("db2", "db3")
        cluster.until_primary("db1", "non-Primary")
        report = well(cluster.run(recover()))
        assert any(stage.name.endswith("/make Primary") for stage in report.stages), [stage.name for stage in report.stages]
        assert cluster.uuid() == uuid
        assert cluster.started()["db1"] == started
    cluster.lab.partition(["db1"], ["db2", "db3"])
    cluster.until_primary("db1", "non-Primary")
    assert cluster.says("db2", "wsrep_cluster_status") == "Primary"
    cluster.lab.heal()
    cluster.until_primary("db1", "Primary")


def test_all_cut_from_each_other(cluster: Life) -> None:
    """Healed, they find each other, or the most advanced is made Primary."""
    cluster.lab.partition(["db1"], ["db2"], ["db3"])
    for name in DB:
        cluster.until_primary(name, "non-Primary")
    cluster.lab.heal()
    well(cluster.run(recover()))
    cluster.uuid()


def test_an_option_that_would_bootstrap(cluster: Life) -> None:
    """wsrep_provider_pc_bootstrap in a file is seen: the next start would make a second cluster."""
    inside(cluster.lab, "db3", "printf '[mysqld]\\nwsrep_provider_pc_bootstrap=ON\\n' >/etc/mysql/mariadb.conf.d/a.cnf")
    said = cluster.cli("check", "galera.status")
    inside(cluster.lab, "db3", "rm /etc/mysql/mariadb.conf.d/a.cnf")
    assert "wsrep_provider_pc_bootstrap is set" in said.said


def test_members_of_two_releases(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> None:
    """One of 10.11 leads, two of 11.8 join by its copy. All killed where they are equal, they are one cluster again. With the
    older one behind nothing is touched, for it might take a copy that it does not understand; the newer ones go on without it
    by the operator's word, no acknowledged transfer is lost, and it is back when galera.upgrade has brought it to 11.8.
    """
    lab = boot(*DB, tree="db", suite={"db2": "trixie", "db3": "trixie"})
    cluster = Life(lab, tmp_path_factory.mktemp("mixed") / "inventory")
    well(cluster.form())
    assert releases(cluster) == ["10", "11", "11"]
    cluster.whole()
    uuid = cluster.uuid()
    cluster.everywhere(ON_DISK)
    cluster.everywhere("pkill -STOP mariadbd")  # who sees another go is ahead of it by that, a new view
    cluster.killed(*DB)
    report = well(cluster.run(recover()))
    assert [stage.name.rpartition("/")[2] for stage in report.stages if "bootstrap" in stage.name] == ["bootstrap db1"]
    assert cluster.uuid() == uuid

    with cluster.bank() as bank:
        until(lambda: all(len(client.acked) > 5 for client in bank.clients), 60, "5 transfers of each client")
        cluster.killed("db1")
        until(lambda: cluster.says("db2", "wsrep_cluster_size") == "2", 60, "db1 expelled")
        so_far = len(bank.acked)
        until(lambda: len(bank.acked) > so_far + 20, 60, "20 more transfers")
        cluster.killed("db2", "db3")
    saved = [inside(lab, name, f"cat {DATADIR}/grastate.dat") for name in DB]
    report = cluster.run(recover())
    said = " ".join(problem for stage in report.stages for problem in stage.problems)
    assert "Start the others without db1: galera.recover missing=db1. Then run galera.upgrade" in said
    assert [inside(lab, name, f"cat {DATADIR}/grastate.dat") for name in DB] == saved
    assert "active" not in [said["unit"] for said in cluster.seen().values()]

    well(cluster.run(recover(missing=["db1"])))
    assert cluster.one_of("db2", "db3") == uuid
    cluster.audited(bank, ["db2", "db3"])
    assert "does not understand the users in a full copy of theirs" in refusal(cluster.run(replace(member="db1")))
    with repository(lab) as newer:
        cluster.write(galera=newer.yaml("11.8"))
        well(cluster.run(upgrade()))
    assert releases(cluster) == ["11", "11", "11"]
    assert cluster.uuid() == uuid
    cluster.audited(bank)


def releases(cluster: Life) -> list[str]:
    return [version.partition(".")[0] for version in cluster.rows("SELECT VERSION()").values()]
