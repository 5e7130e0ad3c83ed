"""A cluster's life beside kolla-ansible's published sequences, done by hand on the same nodes, runs alternating.

    sudo .venv/bin/python -m benchmarks.life [ROUNDS]

Three members behind two load balancers. Rolling restart: the longest time in which some client that writes through the
virtual address got no commit acknowledged. Recovery: from three crashed members to a whole cluster. Seconds, and ratios of
medians; what clients were told was committed is there afterwards, or it ends with an error.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.lab import Lab, LabSpec, NodeSpec
from nornir_stack.tasks.cluster.recover import recover
from nornir_stack.tasks.cluster.roll import roll
from nornir_stack.tasks.loadbalancer.deploy import deploy
from tests.integration.balancers import LB, Twins
from tests.integration.cluster_lab import DB, until
from tests.integration.life import well

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
NETWORK = IPv4Network("10.77.252.0/24")
WARM = 10  # transfers of each client before and after


@dataclass
class Figures:
    """Seconds of each round, ours and by hand."""

    ours: list[float] = field(default_factory=list)
    hand: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ours) / statistics.median(self.hand)


def main(rounds: int) -> None:
    numbers = {**{name: 11 + i for i, name in enumerate(DB)}, **{name: 21 + i for i, name in enumerate(LB)}}
    nodes = tuple(NodeSpec(name, f"{NETWORK[number]}/24", tree="db") for name, number in numbers.items())
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        os.environ["XDG_STATE_HOME"] = scratch
        lab = Lab(LabSpec("life", NETWORK, nodes, Path(scratch) / "lab"), print)
        lab.up()
        try:
            measure(Twins(lab, Path(scratch) / "fleet"), Path(scratch), rounds)
        finally:
            lab.down()


def measure(twins: Twins, folder: Path, rounds: int) -> None:
    twins.inventory()
    well(twins.form())
    well(twins.run(deploy()))
    twins.whole()
    gap, roll_time, back = Figures(), Figures(), Figures()
    for number in range(rounds):
        for ours in (True, False) if number % 2 else (False, True):
            rolled(twins, folder, gap, roll_time, ours=ours)
            recovered(twins, folder, back, ours=ours)
        print(
            f"round {number + 1}: rolling restart, longest gap of a client: galera.roll {gap.ours[-1]:.2f} s, by hand"
            f" {gap.hand[-1]:.2f} s (whole restart {roll_time.ours[-1]:.1f} and {roll_time.hand[-1]:.1f} s);"
            f" three crashed members: galera.recover {back.ours[-1]:.1f} s, by hand {back.hand[-1]:.1f} s",
            flush=True,
        )
    print(f"longest gap, galera.roll / by hand: {gap.ratio:.2f}     whole restart: {roll_time.ratio:.2f}")
    print(f"recovery of three crashed members, galera.recover / by hand: {back.ratio:.2f}")


def rolled(twins: Twins, folder: Path, gap: Figures, took: Figures, *, ours: bool) -> None:
    """A rolling restart of all members while clients write through the virtual address."""

    ways = {
        True: lambda: well(twins.run(roll(only_changed=False))),
        False: lambda: by_hand(twins, folder, "kolla_rolling.sh"),
    }
    with twins.writing() as bank:
        until(lambda: all(len(client.acked) > WARM for client in bank.clients), 60, "clients write")
        seconds = timed(ways[ours])
        so_far = [len(client.acked) for client in bank.clients]
        until(
            lambda: all(len(client.acked) > n + WARM for client, n in zip(bank.clients, so_far, strict=True)),
            60,
            "clients write",
        )
    twins.audited(bank)
    (gap.ours if ours else gap.hand).append(bank.longest_gap)
    (took.ours if ours else took.hand).append(seconds)


def recovered(twins: Twins, folder: Path, took: Figures, *, ours: bool) -> None:
    """All servers end by SIGKILL at once, and are brought back."""
    twins.killed(*DB)
    ways = {True: lambda: well(twins.run(recover())), False: lambda: by_hand(twins, folder, "kolla_recovery.sh")}
    seconds = timed(ways[ours])
    twins.uuid()
    (took.ours if ours else took.hand).append(seconds)


def by_hand(twins: Twins, folder: Path, script: str) -> None:
    config = str(twins.lab.spec.state / "ssh_config")
    try:
        subprocess.run(["sh", str(HERE / script), config, str(folder), *DB], check=True, stdout=subprocess.DEVNULL, timeout=300)
    finally:
        for name in DB:
            end = ["ssh", "-O", "exit", "-o", f"ControlPath={folder}/%n", "-F", config, name]
            subprocess.run(end, check=False, capture_output=True)


def timed(change: Callable[[], object]) -> float:
    started = time.monotonic()
    change()
    return time.monotonic() - started


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
