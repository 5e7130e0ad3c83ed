"""A cluster behind two load balancers that share a virtual address, and looks at who has it that trust no report."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tests.integration.bank import TABLES
from tests.integration.cluster_lab import inside, until
from tests.integration.life import Life

if TYPE_CHECKING:
    from types import TracebackType

    from tests.integration.bank import Bank

LB = ("lb1", "lb2")
SECRET = "vr-rp.01"
WRITES = 3307


@dataclass
class Twins(Life):
    """`preempt`, `router` and `weights` are what tests change in the inventory."""

    preempt: bool = False
    router: int = 51
    listener: str = "reads: {port: 3306}"

    def inventory(self, galera: str = "") -> None:
        self.write(galera=galera)
        (self.folder / "vrrp").write_text(SECRET)
        with (self.folder / "hosts.yaml").open("a") as hosts:
            hosts.writelines(f"{name}:\n  hostname: {self.address(name)}\n  groups: [loadbalancer]\n" for name in LB)
        vrrp = f"{{virtual_router_id: {self.router}, secret: !secret 'file:{self.folder}/vrrp', preempt: {self.preempt}}}"
        with (self.folder / "groups.yaml").open("a") as groups:
            groups.write(
                f"loadbalancer:\n  data:\n    loadbalancer:\n      virtual_address: {self.virtual}\n      keepalived: {vrrp}\n"
                f"      listeners:\n        {self.listener}\n        writes: {{port: {WRITES}, mode: single-writer}}\n"
            )

    @property
    def virtual(self) -> str:
        return str(self.lab.spec.network[20])

    def writing(self) -> Bank:
        """Clients that write through the virtual address, from an empty ledger: each bank counts its transfers anew."""
        self.everywhere("mariadb -e 'KILL USER app' || true")  # what an earlier test cut off may hold locks still
        inside(self.lab, self.names[0], f'mariadb -e "{TABLES}"')
        return self.bank((self.virtual, WRITES))

    def holders(self) -> tuple[str, ...]:
        """Who has the virtual address, as the nodes' kernels say; a node that is off has nothing."""
        show = f"ip -o -4 address show to {self.virtual}"
        return tuple(name for name in LB if self.lab.container(name).init and self.lab.enter(name, "sh", "-c", show).stdout)

    def until_held(self, *names: str, seconds: float = 20) -> None:
        until(lambda: self.holders() == names, seconds, f"the virtual address on {' and '.join(names)} alone")

    def drained(self, name: str) -> dict[str, bool]:
        """Whether each balancer keeps new connections from a member."""
        ask = "echo 'show servers state' | socat - /run/haproxy/admin.sock"
        rows = {
            lb: [line.split() for line in inside(self.lab, lb, ask).splitlines() if line.split()[3:4] == [name]] for lb in LB
        }
        return {lb: any(row[6] != "0" for row in found) for lb, found in rows.items()}


@dataclass
class Stretch:
    """A time in which a node had the address, in seconds since 1970; `end` is open while it has it."""

    name: str
    start: float
    end: float = float("inf")


class Holding:
    """While it is entered, the nodes' kernels tell when the virtual address comes and goes; their clock is one.

    A node that dies takes its address with it. `both`: for how many seconds two nodes had it at most.
    """

    def __init__(self, twins: Twins) -> None:
        self.stretches: list[Stretch] = []
        self._twins = twins
        self._end = threading.Event()
        self._monitors: dict[str, subprocess.Popen[str]] = {}
        self._threads = [threading.Thread(target=self._follow, args=(name,), daemon=True) for name in LB]

    def __enter__(self) -> Holding:  # noqa: PYI034  Self is not in Python 3.10
        for thread in self._threads:
            thread.start()
        alive = [name for name in LB if self._twins.lab.container(name).init]
        until(lambda: all(name in self._monitors for name in alive), 30, "the kernels' word")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end.set()
        for monitor in self._monitors.values():
            with suppress(ProcessLookupError):
                os.killpg(monitor.pid, signal.SIGKILL)  # nsenter's child is in it too
        for thread in self._threads:
            thread.join()
        for stretch in self.stretches:
            stretch.end = min(stretch.end, time.time())

    @property
    def both(self) -> float:
        return max(
            (
                min(a.end, b.end) - max(a.start, b.start)
                for a, b in itertools.combinations(self.stretches, 2)
                if a.name != b.name
            ),
            default=0.0,
        )

    def _follow(self, name: str) -> None:
        while not self._end.wait(0.1):
            init = self._twins.lab.container(name).init
            if not init:
                continue
            ip = ["nsenter", "-t", str(init), "-a", "env", "TZ=UTC", "ip", "-4", "-o", "-ts", "monitor", "address"]
            with subprocess.Popen(
                ip, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
            ) as monitor:
                self._heard(name, monitor)
            if not self._end.is_set():
                self._lost(name, time.time())

    def _heard(self, name: str, monitor: subprocess.Popen[str]) -> None:
        if name in self._twins.holders():
            self._has(name, time.time())
        self._monitors[name] = monitor
        for line in monitor.stdout or ():
            if f" {self._twins.virtual}/" in line:
                at = datetime.fromisoformat(f"{line[1:].partition(']')[0]}+00:00").timestamp()
                self._lost(name, at) if "Deleted" in line else self._has(name, at)

    def _has(self, name: str, at: float) -> None:
        if not any(stretch.name == name and stretch.end > at for stretch in self.stretches):
            self.stretches.append(Stretch(name, at))

    def _lost(self, name: str, at: float) -> None:
        for stretch in self.stretches:
            if stretch.name == name:
                stretch.end = min(stretch.end, at)
