"""The chain that puts the load balancer before the members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.node import Node
from nornir_stack.select import hosts, role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer.haproxy import haproxy
from nornir_stack.tasks.loadbalancer.health import health_endpoint
from nornir_stack.tasks.loadbalancer.runtime import all_up, backends
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.loadbalancer.through import members_through, right_ones_answer
from nornir_stack.tasks.system.names import hosts_file

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

LOADBALANCER = role("loadbalancer")


def deploy(*, within: float = 60.0) -> Chain:
    """The members' health endpoints, HAProxy with its virtual address, all members up, and the right ones answering.

    `within`: seconds that the members are given to be up in HAProxy's eyes.
    """
    return Chain(
        "loadbalancer.deploy",
        Stage("health", [health_endpoint], role("db")),
        Stage(
            "haproxy", [hosts_file, haproxy], LOADBALANCER, serial=1, until=Check(backends, all_up, LOADBALANCER, within=within)
        ),
        Plan("verify", listeners, proofs, LOADBALANCER),
    )


def listeners(task: Task) -> Result[tuple[str, ...]]:
    """Observe which listeners a load balancer has, in declared order (from the inventory: nothing is asked of the node)."""
    return Node(task).done(tuple(settings_of(task.host, LoadBalancer).listeners))


def proofs(seen: Seen[tuple[str, ...]]) -> Chain:
    """A stage for each listener of each load balancer, that connects through it and sees who answers."""
    return Chain(
        "verify",
        *(
            Stage(
                f"{host} {listener}",
                [do(members_through, listener=listener)],
                hosts(host),
                until=Check(do(members_through, listener=listener), right_ones_answer, hosts(host), within=10),
            )
            for host, names in seen.items()
            for listener in names
        ),
    )
