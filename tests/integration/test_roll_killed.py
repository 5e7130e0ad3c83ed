"""galera.roll whose controller is killed at any event, under load: started again, it ends with everybody back in service."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.tasks.cluster.roll import roll
from nornir_stack.tasks.loadbalancer.deploy import deploy
from tests.integration.cluster_lab import CONFIG, DB, tell, until
from tests.integration.killed import Controllers, chosen
from tests.integration.life import well
from tests.integration.test_roll import Balanced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_stack.lab import Lab
    from tests.integration.killed import Share

CASES = 1  # of the sample


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Balanced:
    cluster = Balanced(boot(*DB, "lb1", tree="db"), tmp_path_factory.mktemp("roll-killed") / "inventory")
    cluster.inventory()
    well(cluster.form())
    well(cluster.run(deploy()))
    cluster.whole()
    return cluster


@pytest.fixture(scope="module")
def whole(life: Balanced, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The journal of a rolling restart of all that nobody killed: what there is to be killed at."""
    life.everywhere(f"touch {CONFIG}")
    controllers = Controllers(life, tmp_path_factory.mktemp("whole"), "roll")
    controllers.to_the_end()
    life.uuid()
    return controllers.journal()


def survived(life: Balanced, folder: Path, number: int) -> str:
    """'' if after this kill one more run restarts all that need it, and all serve; else what went wrong."""
    life.everywhere(f"touch {CONFIG}")
    before = life.started()
    controllers = Controllers(life, folder, "roll")
    begun, killed = time.monotonic(), "before it began"
    try:
        with life.watched() as watch, life.writing() as bank:
            until(lambda: len(bank.acked) > 10, 60, "10 transfers")
            killed = controllers.killed_at(number)
            serving(bank.acked, lambda: bank.acked)
            controllers.to_the_end()
            serving(bank.acked, lambda: bank.acked)
        life.uuid()
        after = life.started()
        assert not [name for name in DB if before[name] == after[name]], "somebody was not restarted"
        assert life.out_of_service() == []
        assert not watch.splits, f"two Primary components: {watch.splits[0]}"
        assert well(life.run(roll())).changed == (), "a third run changed something"
        life.audited(bank)
    except AssertionError as problem:
        return f"killed {killed}\n{problem}"
    gap = f"{len(bank.acked)} transfers, longest gap {bank.longest_gap:.1f} s"
    tell(f"{time.monotonic() - begun:6.1f} s, {watch.looks} looks, {gap}; killed {killed}")
    return ""


def serving(before: set[int], now: Callable[[], set[int]]) -> None:
    """Clients are served, whoever was killed where."""
    until(lambda: len(now()) > len(before) + 10, 60, "10 more transfers")


@pytest.mark.campaign
def test_killed_at_an_event(
    life: Balanced, whole: list[dict[str, Any]], tmp_path: Path, seed: int, share: Share, *, campaign: bool
) -> None:
    """SIGKILL of the controller at any journal event, then one more run: clients are served in between, all are restarted."""
    draw = random.Random(seed)  # noqa: S311  a sample
    numbers = chosen(whole, CASES, draw, share, campaign=campaign)
    tell(f"\n{share}: {len(whole)} events; killed at {numbers} (NORNIR_STACK_SEED={seed})")
    failures = []
    for number in numbers:
        failure = survived(life, tmp_path / str(number), number)
        if failure:
            failures.append(failure)
            life.whole()
            well(life.run(roll()))
    assert not failures, "\n\n".join(failures)
