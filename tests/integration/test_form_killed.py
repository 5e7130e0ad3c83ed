"""galera.form whose controller is killed, anywhere: started again, it ends with one cluster of three."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.cluster_lab import DATADIR, DB, NO_CLUSTER, Cluster, inside, tell
from tests.integration.killed import Controllers, chosen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_stack.lab import Lab
    from tests.integration.killed import Share

EVENTS, MOMENTS = 4, 3  # cases of the sample
ALL_MOMENTS = 60  # of the campaign
_HISTORY = f"sed -n 's/^uuid: *//p' {DATADIR}/grastate.dat 2>/dev/null; true"
_LOOK = "mariadb -e 'SHOW FULL PROCESSLIST; SHOW STATUS LIKE \"wsrep_l%\"'; journalctl -u mariadb -n 40 --no-pager"


@pytest.fixture(scope="module")
def cluster(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(boot(*DB, tree="db"), tmp_path_factory.mktemp("killed") / "inventory")


@pytest.fixture(scope="module")
def whole(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], float]:
    """The journal of a run that nobody killed, and its seconds: what there is to be killed at."""
    cluster.lab.reset(*DB)
    controllers = Controllers(cluster, tmp_path_factory.mktemp("whole"), "form")
    controllers.to_the_end()
    cluster.uuid()
    events = controllers.journal()
    return events, events[-1]["at"] - events[0]["at"]


def survived(cluster: Cluster, folder: Path, kill: Callable[[Controllers], str]) -> str:
    """'' if after these kills one more run makes one cluster of three that kept its history, else what went wrong."""
    cluster.lab.reset(*DB)
    controllers = Controllers(cluster, folder, "form")
    begun, killed, said = time.monotonic(), "before it began", ""
    with cluster.watched() as watch:
        try:
            killed = kill(controllers)
            begun_again = time.monotonic()
            histories = {inside(cluster.lab, name, _HISTORY).strip() for name in DB}
            said = controllers.to_the_end()
            uuid = cluster.uuid()
            assert histories - {*NO_CLUSTER} <= {uuid}, f"a history was given up: {histories}, now {uuid}"
            assert not watch.splits, f"two Primary components: {watch.splits[0]}"
            assert len(set(cluster.rows("SELECT mark FROM nornir_stack.probe").values())) == 1
        except AssertionError as problem:
            looks = "\n".join(f"{name}: {cluster.lab.enter(name, 'sh', '-c', _LOOK).stdout}" for name in DB)
            return f"killed {killed}\n{problem}\n{said}\n{looks}"
    now = time.monotonic()
    tell(f"{begun_again - begun:6.1f} s + {now - begun_again:6.1f} s, {watch.looks} looks; killed {killed}")
    return ""


@pytest.mark.campaign
def test_killed_at_an_event(
    cluster: Cluster,
    whole: tuple[list[dict[str, Any]], float],
    tmp_path: Path,
    seed: int,
    share: Share,
    *,
    campaign: bool,
) -> None:
    """SIGKILL of the controller at any journal event, then one more run: one cluster of three, by what the members say."""
    events, seconds = whole
    draw = random.Random(seed)  # noqa: S311  a sample
    numbers = chosen(events, EVENTS, draw, share, campaign=campaign)
    tell(f"\n{share}: {len(events)} events in {seconds:.1f} s; killed at {numbers} (NORNIR_STACK_SEED={seed})")
    failures = []
    for number in numbers:

        def kill(controllers: Controllers, number: int = number) -> str:
            return controllers.killed_at(number)

        failure = survived(cluster, tmp_path / str(number), kill)
        failures += [failure] if failure else []
    assert not failures, "\n\n".join(failures)


@pytest.mark.campaign
def test_killed_at_a_moment(
    cluster: Cluster,
    whole: tuple[list[dict[str, Any]], float],
    tmp_path: Path,
    seed: int,
    share: Share,
    *,
    campaign: bool,
) -> None:
    """SIGKILL at a random moment, mostly inside a remote command, also twice in a row: one more run ends with one cluster."""
    _, seconds = whole
    draw = random.Random(seed)  # noqa: S311  a sample
    moments = [[draw.uniform(0, seconds) for _ in range(1 + case % 2)] for case in range(ALL_MOMENTS if campaign else MOMENTS)]
    tell(f"\n{share}: killed after {moments} s of {seconds:.1f} (NORNIR_STACK_SEED={seed})")

    failures = []
    for case, delays in share.of(list(enumerate(moments))):

        def kill(controllers: Controllers, delays: list[float] = delays) -> str:
            return ", then ".join(controllers.killed_after(delay) for delay in delays)

        failure = survived(cluster, tmp_path / str(case), kill)
        failures += [failure] if failure else []
    assert not failures, "\n\n".join(failures)
