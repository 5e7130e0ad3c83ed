"""Sends one task to exactly these hosts; looks at all hosts of a selector."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from nornir.core import Nornir

from nornir_stack.chain import Bound
from nornir_stack.effects import Door, RunState
from nornir_stack.events import Emitter
from nornir_stack.results import HostReport, Result, Status
from nornir_stack.runner import StackRunner
from nornir_stack.seen import Seen
from nornir_stack.work import HostLog, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nornir.core.inventory import Host
    from nornir.core.processor import Processors
    from nornir.core.task import AggregatedResult, Task

    from nornir_stack.select import Selector

T = TypeVar("T")
WORKERS = 50
LOOK_SECONDS = 60.0
_LAST_SECONDS = 30.0


@dataclass(frozen=True)
class Dispatcher:
    """A Nornir object together with the state of one run."""

    nr: Nornir
    state: RunState

    def run(
        self, body: Callable[..., Any], hosts: Iterable[str], door: Callable[[], Door], processors: Processors | None = None
    ) -> AggregatedResult:
        """Run a Nornir task on these hosts, whatever failed before: a result for every one."""
        wanted = set(hosts)
        self.state.reset_failed_hosts()
        runner = StackRunner(WORKERS, door, self.state.cut, wanted)
        return Nornir(self.nr.inventory, self.nr.config, self.state, processors, runner).run(task=body, raise_on_error=False)

    def each(self, hosts: Iterable[str], do: Callable[[Host], T]) -> dict[str, T]:
        """`do` for every host at once; those where it raised are left out.

        After a cut too, for a while: locks are given back then.
        """
        answers: dict[str, T] = {}

        def one(task: Task) -> None:
            answers[task.host.name] = do(task.host)

        wanted = list(hosts)
        if wanted and self.state.cut.is_set():
            Dispatcher(self.nr, RunState()).run(one, wanted, lambda: Door(deadline=time.monotonic() + _LAST_SECONDS))
        elif wanted:
            self.run(one, wanted, Door)
        return {name: answers[name] for name in wanted if name in answers}

    def look(self, observe: Callable[..., Result[T]] | Bound, on: Selector) -> tuple[Seen[T], tuple[HostReport, ...]]:
        """Ask every host of `on`, those under maintenance excepted; nothing is changed, in a dry run or not."""
        bound = observe if isinstance(observe, Bound) else Bound(observe)
        names = on.hosts(self.nr.inventory)
        resting = {name: why for name in names if (why := self.maintenance(name))}
        asked = [name for name in names if name not in resting]
        reports = self._asked(bound, asked)
        reports |= {name: HostReport(name, Status.SKIPPED, f"under maintenance: {why}") for name, why in resting.items()}
        good = {name: reports[name].tasks[-1].value for name in asked if reports[name].tasks and not reports[name].status.bad}
        missing = {
            name: reports[name].error or reports[name].reason or "it gave no answer" for name in names if name not in good
        }
        return Seen(good, missing, names), tuple(reports[name] for name in names)

    def _asked(self, bound: Bound, names: list[str]) -> dict[str, HostReport]:
        # A look sees the node as it is, in a dry run too: so it has a state of its own, without overlays.
        state = RunState(run=self.state.run)
        state.stop, state.cut = self.state.stop, self.state.cut
        logs = {name: HostLog(name) for name in names}
        work = Work("look", (bound,), 0, state, Emitter(()), logs, stoppable=False)
        seconds = bound.timeout or LOOK_SECONDS
        if not names:
            return {}
        answers = Dispatcher(self.nr, state).run(
            work.body, names, lambda: Door(deadline=time.monotonic() + seconds, cut=state.cut, looking=True)
        )
        return {name: logs[name].report(answers[name][0].exception) for name in names}

    def maintenance(self, name: str) -> str:
        """Why a host is under maintenance, or nothing."""
        return str(self.nr.inventory.hosts[name].get("maintenance") or "")


def survey(nr: Nornir, observe: Callable[..., Result[T]] | Bound, on: Selector) -> Seen[T]:
    """What all hosts of `on` answer to one look: for notebooks and scripts. Takes no lock and writes no journal."""
    return Dispatcher(nr, RunState()).look(observe, on)[0]
