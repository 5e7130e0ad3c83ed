"""galera.form whose controller is killed, anywhere: started again, it ends with one cluster of three."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.cluster_lab import DATADIR, DB, NO_CLUSTER, Cluster, inside, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nornir_stack.lab import Lab

EVENTS, MOMENTS = 4, 3  # cases of the sample
ALL_MOMENTS = 60  # of the campaign
END_SECONDS = 400.0
_HISTORY = f"sed -n 's/^uuid: *//p' {DATADIR}/grastate.dat 2>/dev/null; true"


@dataclass
class Controllers:
    """Runs of galera.form as processes, each with a journal folder of its own."""

    cluster: Cluster
    folder: Path
    count: int = field(default=0)

    def start(self, *, at: int = 0) -> subprocess.Popen[str]:
        self.count += 1
        env = {**os.environ, "XDG_STATE_HOME": str(self.folder / str(self.count))}
        argv = [sys.executable, "-m", "tests.integration.form_driver", str(self.cluster.folder), str(at)]
        return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def journal(self) -> list[dict[str, Any]]:
        """What the last run wrote down; a line that was cut short is left out."""
        files = list((self.folder / str(self.count)).glob("nornir-stack/runs/*/journal.jsonl"))
        lines = files[0].read_text().splitlines() if files else []
        return [json.loads(line) for line in lines if line.endswith("}")]

    def killed_at(self, number: int) -> str:
        """A run that dies at its `number`-th event, and what that event was."""
        process = self.start(at=number)
        said, _ = process.communicate(timeout=END_SECONDS)
        assert process.returncode in {-9, 0}, said  # 0: this run had fewer events
        return self._last(f"event {number}")

    def killed_after(self, seconds: float) -> str:
        """A run that is killed from outside so many seconds after its first event, and what it did then."""
        process = self.start()
        tick = threading.Event()
        while not self.journal() and process.poll() is None:
            tick.wait(0.02)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate(timeout=END_SECONDS)
        return self._last(f"after {seconds:.2f} s")

    def _last(self, when: str) -> str:
        events = self.journal()
        ended = {(event["path"], event["host"]) for event in events if event["kind"] == "task-end"}
        open_ = [event for event in events if event["kind"] == "effect" and (event["path"], event["host"]) not in ended]
        last = events[-1] if events else {"kind": "nothing", "path": "", "host": ""}
        inside_ = ", ".join(f"{event['host']}: {event['data']['what']}" for event in open_)
        return f"{when}: {last['kind']} {last['path']} {last['host']}" + (f" (inside {inside_})" if inside_ else "")

    def to_the_end(self) -> str:
        """A run that nobody kills; what it printed. It waits for commands that outlived the one before."""
        process = self.start()
        said, _ = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 0, said
        return said


@pytest.fixture(scope="module")
def cluster(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(boot(*DB, tree="db"), tmp_path_factory.mktemp("killed") / "inventory")


@pytest.fixture(scope="module")
def whole(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], float]:
    """The journal of a run that nobody killed, and its seconds: what there is to be killed at."""
    cluster.lab.reset(*DB)
    controllers = Controllers(cluster, tmp_path_factory.mktemp("whole"))
    controllers.to_the_end()
    cluster.uuid()
    events = controllers.journal()
    return events, events[-1]["at"] - events[0]["at"]


def sampled(events: Sequence[dict[str, Any]], number: int, draw: random.Random) -> list[int]:
    """Numbers of events, from as many parts of the chain as can be: a part with many events is not drawn more often."""
    parts: dict[str, list[int]] = {}
    for at, event in enumerate(events, 1):
        parts.setdefault(event["path"], []).append(at)
    chosen = draw.sample(sorted(parts), min(number, len(parts)))
    return sorted(draw.choice(parts[part]) for part in chosen)


def survived(cluster: Cluster, folder: Path, kill: Callable[[Controllers], str]) -> str:
    """'' if after these kills one more run makes one cluster of three that kept its history, else what went wrong."""
    cluster.lab.reset(*DB)
    controllers = Controllers(cluster, folder)
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
            return f"killed {killed}\n{problem}\n{said}"
    now = time.monotonic()
    tell(f"{begun_again - begun:6.1f} s + {now - begun_again:6.1f} s, {watch.looks} looks; killed {killed}")
    return ""


@pytest.mark.campaign
def test_killed_at_an_event(
    cluster: Cluster,
    whole: tuple[list[dict[str, Any]], float],
    tmp_path: Path,
    seed: int,
    campaign: bool,
) -> None:
    """SIGKILL of the controller at any journal event, then one more run: one cluster of three, by what the members say."""
    events, seconds = whole
    numbers = list(range(1, len(events) + 1)) if campaign else sampled(events, EVENTS, random.Random(seed))  # noqa: S311  a sample
    tell(f"\n{len(events)} events in {seconds:.1f} s; killed at {numbers} (NORNIR_STACK_SEED={seed})")
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
    campaign: bool,
) -> None:
    """SIGKILL at a random moment, mostly inside a remote command, also twice in a row: one more run ends with one cluster."""
    _, seconds = whole
    draw = random.Random(seed)  # noqa: S311  a sample
    moments = [[draw.uniform(0, seconds) for _ in range(1 + case % 2)] for case in range(ALL_MOMENTS if campaign else MOMENTS)]
    tell(f"\nkilled after {moments} s of {seconds:.1f} (NORNIR_STACK_SEED={seed})")

    failures = []
    for case, delays in enumerate(moments):

        def kill(controllers: Controllers, delays: list[float] = delays) -> str:
            return ", then ".join(controllers.killed_after(delay) for delay in delays)

        failure = survived(cluster, tmp_path / str(case), kill)
        failures += [failure] if failure else []
    assert not failures, "\n\n".join(failures)
