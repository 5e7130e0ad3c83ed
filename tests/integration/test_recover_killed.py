"""galera.recover whose controller is killed at any event: started again, it ends with one cluster that lost nothing."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.cluster_lab import DB, primaries, tell, until
from tests.integration.killed import Controllers, chosen
from tests.integration.life import Life, well

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_stack.lab import Lab
    from tests.integration.killed import Share

CASES = 1  # of the sample
BANK_EVERY = 3  # of the campaign's cases, this many have clients that write all along; of the sample the first


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Life:
    cluster = Life(boot(*DB, tree="db"), tmp_path_factory.mktemp("recover-killed") / "inventory")
    well(cluster.form())
    cluster.whole()
    return cluster


@pytest.fixture(scope="module")
def whole(life: Life, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The journal of a recovery of three crashed members that nobody killed: what there is to be killed at."""
    life.killed(*DB)
    controllers = Controllers(life, tmp_path_factory.mktemp("whole"), "recover")
    controllers.to_the_end()
    life.uuid()
    return controllers.journal()


def survived(life: Life, folder: Path, number: int, *, bank: bool) -> str:
    """'' if after this kill one more run makes the same cluster of three that lost nothing, else what went wrong."""
    uuid = life.uuid()
    controllers = Controllers(life, folder, "recover")
    clients = life.bank()
    begun, killed = time.monotonic(), "before it began"
    with ExitStack() as stack:
        watch = stack.enter_context(life.watched())
        if bank:
            stack.enter_context(clients)
            until(lambda: len(clients.acked) > 10, 60, "10 transfers")
        life.killed(*DB)
        try:
            killed = controllers.killed_at(number)
            leaders = primaries(life.seen())
            said = controllers.to_the_end()
            assert life.uuid() == uuid, "another history"
            assert not watch.splits, f"two Primary components: {watch.splits[0]}"
            assert not (leaders and "bootstrap " in said), f"{leaders} were Primary, and somebody was bootstrapped\n{said}"
        except AssertionError as problem:
            return f"killed {killed}\n{problem}"
        if bank:
            so_far = len(clients.acked)
            until(lambda: len(clients.acked) > so_far + 10, 60, "10 more transfers")
    life.audited(clients)
    gap = f", {len(clients.acked)} transfers, longest gap {clients.longest_gap:.1f} s" if bank else ""
    tell(f"{time.monotonic() - begun:6.1f} s, {watch.looks} looks{gap}; killed {killed}")
    return ""


@pytest.mark.campaign
def test_killed_at_an_event(
    life: Life, whole: list[dict[str, Any]], tmp_path: Path, seed: int, share: Share, *, campaign: bool
) -> None:
    """SIGKILL of the controller at any event, then one more run: one cluster, nobody bootstrapped twice, nothing lost."""
    draw = random.Random(seed)  # noqa: S311  a sample
    numbers = chosen(whole, CASES, draw, share, campaign=campaign)
    tell(f"\n{share}: {len(whole)} events; killed at {numbers} (NORNIR_STACK_SEED={seed})")
    failures = []
    for case, number in enumerate(numbers):
        failure = survived(life, tmp_path / str(number), number, bank=case % BANK_EVERY == 0)
        if failure:
            failures.append(failure)
            life.whole()
    assert not failures, "\n\n".join(failures)
