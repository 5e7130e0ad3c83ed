"""A rolling upgrade from Debian 12's MariaDB 10.11 to Debian 13's 11.8, behind a load balancer, while clients write."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.backups import FOLDER
from nornir_stack.tasks.cluster.recover import recover
from nornir_stack.tasks.cluster.roll import roll
from nornir_stack.tasks.cluster.upgrade import upgrade
from nornir_stack.tasks.loadbalancer.deploy import deploy
from nornir_stack.tasks.loadbalancer.health import DRAIN_FLAG
from tests.integration.cluster_lab import DB, changed_between, inside, until
from tests.integration.life import refusal, well
from tests.integration.next_release import Repository, repository
from tests.integration.test_roll import Balanced, under_load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab

BAD = "/etc/mysql/mariadb.conf.d/a-bad.cnf"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot(*DB, "lb1", tree="db")


@pytest.fixture(scope="module")
def newer(lab: Lab) -> Iterator[Repository]:
    with repository(lab) as found:
        yield found


@pytest.fixture(scope="module")
def life(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Balanced:
    cluster = Balanced(lab, tmp_path_factory.mktemp("upgrade") / "inventory")
    cluster.inventory()
    well(cluster.form())
    well(cluster.run(deploy()))
    cluster.whole()
    return cluster


def releases(cluster: Balanced) -> list[str]:
    return [version[:5].rstrip(".") for version in cluster.rows("SELECT VERSION()").values()]


def test_to_the_next_release(life: Balanced, newer: Repository) -> None:
    """What one member does not fit stops all, before the first. Then they go in turn, the writer last. A controller that is
    killed leaves a cluster of two releases, which lives, can be killed and recovered, and goes on at the next run. Nothing
    acknowledged is lost, system tables are of the new release on each member by itself, and there is no way back but the one
    backup of the old release, taken before the first.
    """
    started = life.started()
    assert "names no release" in refusal(life.run(upgrade()))
    life.inventory(newer.yaml("11.8"))
    before = life.tree("/etc")
    inside(life.lab, "db3", f"printf '[mysqld]\\nmax_tmp_tables=3\\n' >{BAD}")
    assert f"db3: {BAD}: max_tmp_tables: 11.8 does not start with it" in refusal(life.run(upgrade()))
    inside(life.lab, "db3", f"rm {BAD}")
    ran = life.cli("check", "galera.upgrade")
    assert ran.code == 3, ran.said
    assert "innodb_snapshot_isolation is ON by default" in ran.said
    assert life.started() == started
    assert changed_between(before, life.tree("/etc")) == {}

    process = life.start_cli("run", "galera.upgrade")
    until(lambda: inside(life.lab, "db3", f"ls {DRAIN_FLAG} 2>/dev/null; true") != "", 600, "db3's turn")
    until(lambda: life.says("db3", "unit") != "active", 120, "db3 goes down")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert life.out_of_service() == ["db3"]
    assert inside(life.lab, "db1", 'mariadb -N -e "SELECT VERSION()"').startswith("10.11.")
    assert inside(life.lab, "db2", 'mariadb -N -e "SELECT VERSION()"').startswith("11.8.")
    assert "would bring" in " ".join(problem for stage in life.run(roll(upgrade=True)).stages for problem in stage.problems)

    report = under_load(life, lambda: life.run(upgrade()), "release upgrade", members=DB)
    assert releases(life) == ["11.8"] * 3
    assert [reason.partition(" ")[0] for reason in report.stage("look").decided if "becomes" in reason or "left" in reason]
    life.uuid()
    assert life.out_of_service() == []
    assert well(life.run(upgrade())).changed == ()
    assert '"server": "10.11.' in inside(life.lab, "db3", f"cat {FOLDER}/t/*/manifest.json")
    due = "mariadb-upgrade --check-if-upgrade-is-needed --silent >/dev/null; echo $?"
    assert {inside(life.lab, name, due) for name in DB} == {"1\n"}

    life.inventory("      release: {version: '10.11'}\n")
    assert "there is no way back" in refusal(life.run(upgrade()))
    life.inventory(newer.yaml("11.8"))
    life.everywhere("systemctl disable --quiet mariadb")
    life.killed(*DB)
    well(life.run(recover()))
    life.uuid()
