"""Controllers that are killed: runs of a chain as processes, and what their journals say that they were at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

    from tests.integration.cluster_lab import Cluster

END_SECONDS = 400.0
PARTS = 3  # of a campaign


@dataclass(frozen=True)
class Share:
    """One part of a campaign's cases. Workers of pytest-xdist take the parts side by side, each on nodes of its own."""

    part: int
    parts: int

    def of(self, cases: Sequence[Any]) -> Sequence[Any]:
        """Its cases; together the parts have all."""
        return cases[self.part :: self.parts]

    def __str__(self) -> str:
        return f"part {self.part + 1} of {self.parts}"


def shares(*, campaign: bool) -> list[Share]:
    """The parts; a sample is one."""
    parts = PARTS if campaign else 1
    return [Share(part, parts) for part in range(parts)]


@dataclass
class Controllers:
    """Runs of a chain (a word of `killed_driver.CHAINS`) as processes, each with a journal folder of its own."""

    cluster: Cluster
    folder: Path
    chain: str
    count: int = field(default=0)

    def start(self, *, at: int = 0) -> subprocess.Popen[str]:
        self.count += 1
        env = {**os.environ, "XDG_STATE_HOME": str(self.folder / str(self.count))}
        argv = [sys.executable, "-m", "tests.integration.killed_driver", str(self.cluster.folder), self.chain, str(at)]
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


def chosen(events: Sequence[dict[str, Any]], number: int, draw: random.Random, share: Share, *, campaign: bool) -> list[int]:
    """Numbers of events to be killed at: a sample, or a share of all, shuffled, so that a campaign that is cut is a sample too.

    The sample is of as many parts of the chain as can be: a part with many events is not drawn more often.
    """
    if campaign:
        numbers = share.of(range(1, len(events) + 1))
        return draw.sample(numbers, len(numbers))
    parts: dict[str, list[int]] = {}
    for at, event in enumerate(events, 1):
        parts.setdefault(event["path"], []).append(at)
    names = draw.sample(sorted(parts), min(number, len(parts)))
    return sorted(draw.choice(parts[part]) for part in names)
