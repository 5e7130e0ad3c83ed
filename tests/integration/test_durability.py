"""What is lost when all members end at once, by innodb_flush_log_at_trx_commit: servers killed, and the power cut."""

from __future__ import annotations

import os
import random
import shutil
from contextlib import closing
from typing import TYPE_CHECKING

import pymysql
import pytest

from nornir_stack.tasks.cluster.recover import recover
from tests.integration.bank import ACCOUNTS, START, audit
from tests.integration.cluster_lab import DB, PASSWORD, tell, until
from tests.integration.life import Life, well
from tests.integration.power_cut import Box

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab

COMMITS = 60  # acknowledged before the end, at least
CUTS = int(os.environ.get("NORNIR_STACK_CUTS", "3"))  # for each setting
pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif("not config.getoption('--campaign', default=False)", reason="figures: only with --campaign"),
]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    return Box(tmp_path_factory.mktemp("power"), tell)


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Life:
    cluster = Life(boot(*DB, tree="db"), tmp_path_factory.mktemp("durability") / "inventory")
    well(cluster.form())
    return cluster


@pytest.mark.parametrize("flush", [0, 1, 2])
def test_all_servers_are_killed(life: Life, flush: int) -> None:
    """With 1 and 2 nothing acknowledged is lost, the kernel has it; with 0 the loss is told. The sum always holds."""
    life.whole()
    life.everywhere(f"mariadb -e 'SET GLOBAL innodb_flush_log_at_trx_commit = {flush}'")
    with life.bank() as bank:
        until(lambda: len(bank.acked) > COMMITS, 60, "transfers")
        life.killed(*DB)
    well(life.run(recover()))
    where = {"host": life.address("db1"), "user": "app", "password": PASSWORD, "database": "my_test_db"}
    with closing(pymysql.connect(**where)) as link:  # type: ignore[call-overload]
        transfers, total = audit(link)
    lost = bank.acked - transfers
    tell(f"flush {flush}, all servers killed: {len(bank.acked)} acknowledged, {len(lost)} lost")
    assert total == ACCOUNTS * START
    assert flush == 0 or lost == set()


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86 is not installed")
@pytest.mark.parametrize("flush", [1, 0, 2])
def test_a_power_cut_of_all_members(box: Box, flush: int, seed: int) -> None:
    """With 1 the member that acknowledged has it all; with 0 and 2 the loss is told. Nobody has a hole: the end is lost."""
    draw = random.Random(seed)  # noqa: S311  a sample
    for _ in range(CUTS):
        loss = box.cut(flush, COMMITS, draw.uniform(0, 1.5))
        tell(
            f"flush {flush}: {loss.acknowledged} acknowledged ({loss.per_second:.0f}/s), lost {loss.lost},"
            f" by each member {loss.lost_by_each}, at {', '.join(loss.positions)}"
        )
        assert len(loss.rows) == 3
        assert loss.gaps == 0
        if flush == 1:
            assert loss.lost_by_each[0] == 0, "the others may still have had it in their queues"
