"""`openstack.packstack`: a cloud put up by packstack, on nodes of Red Hat's family, from the inventory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.seen import Seen
from nornir_stack.select import hosts
from nornir_stack.tasks.openstack.plane import COMPUTE, CONTROLLER, NETWORK, STORAGE
from nornir_stack.tasks.packstack.answers import answers, shown
from nornir_stack.tasks.packstack.ready import Ready, Wanted, ready, unready, wanted_of
from nornir_stack.tasks.packstack.running import begun, finished, progress, still_runs, written_answers

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

NODES = CONTROLLER | NETWORK | COMPUTE | STORAGE
_HOURS = 3600.0


@dataclass(frozen=True)
class Sight:
    """A node as packstack will find it, and what the inventory wants of all of them."""

    now: Ready
    wanted: Wanted


def packstack(*, hours: float = 3.0) -> Chain:
    """Write packstack's answer file from the inventory, check what it needs of the nodes, run it, and say how it ended.

    It runs as a unit of systemd on the controller, so a lost connection does not end it: this chain, run again, goes on
    following it. With the answers that it ended well with it is not run again.

    hours: how long it is followed.
    """
    if hours <= 0:
        raise UsageError("hours is how long packstack is followed: more than 0")
    return Chain("openstack.packstack", Plan("nodes", sight, partial(going, seconds=hours * _HOURS), NODES))


def sight(task: Task) -> Result[Sight]:
    """Observe a node as packstack will find it. Raises UsageError where the inventory is not what it can put up."""
    answers(task.nornir.inventory)
    return Node(task).done(Sight(ready(task).value, wanted_of(task.nornir.inventory)))


def answers_shown(task: Task) -> Result[tuple[str, ...]]:
    """Observe the answers that the inventory makes, without its secrets: a line each."""
    return Node(task).done(shown(answers(task.nornir.inventory)))


def going(seen: Seen[Sight], *, seconds: float) -> Chain:
    """The chain for what was seen. Raises Refused where packstack would fail, with all that is to be mended. Pure."""
    wanted = next((one.wanted for _, one in seen.items()), None)
    lost = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    if wanted is None:
        raise Refused("\n".join(["no node was seen", *lost]))
    if problems := unready(Seen({host: one.now for host, one in seen.items()}, seen.missing), wanted):
        raise Refused("\n".join(["packstack would fail on these nodes:", *problems]))
    on = hosts(wanted.controller)
    until = Check(progress, still_runs, on, within=seconds)
    return Chain(
        "packstack",
        Stage("answers", [written_answers], on),
        Stage("run", [begun], on, until=until),
        Stage("end", [finished], on),
    )
