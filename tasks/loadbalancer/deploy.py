"""The chain that puts the load balancer before the members."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.select import hosts, role
from nornir_stack.tasks.loadbalancer.haproxy import haproxy
from nornir_stack.tasks.loadbalancer.health import health_endpoint, notice_dead_balancers, open_to_balancers
from nornir_stack.tasks.loadbalancer.keepalived import holder, in_turn, keepalived, one_holds, others_serve
from nornir_stack.tasks.loadbalancer.runtime import Backends, all_up, backends
from nornir_stack.tasks.loadbalancer.through import members_through, right_ones_answer
from nornir_stack.tasks.system.names import hosts_file

if TYPE_CHECKING:
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.loadbalancer.keepalived import Held

LOADBALANCER = role("loadbalancer")
SETTLE_SECONDS = 20.0  # keepalived, from its start until it takes an address that nobody has: four of its seconds


def deploy(*, within: float = 60.0) -> Chain:
    """The members' health endpoints, HAProxy with its virtual address, all members up, and the right ones answering.

    Balancers that share an address are changed one at a time, who has it last, and none while another has stopped serving.

    within: seconds that the members are given to be up in HAProxy's eyes.
    """
    return Chain(
        "loadbalancer.deploy",
        Stage("health", [open_to_balancers, notice_dead_balancers, health_endpoint], role("db")),
        Plan("haproxy", holder, partial(turns, within=within), LOADBALANCER),
        Stage("address", [keepalived], LOADBALANCER, until=Check(holder, one_holds, LOADBALANCER, within=SETTLE_SECONDS)),
        Plan("verify", backends, proofs, LOADBALANCER),
    )


def turns(seen: Seen[Held], *, within: float) -> Chain:
    """A stage for each load balancer, in order."""
    stages = [
        Stage(
            host,
            [hosts_file, haproxy, do(keepalived, join=False)],
            hosts(host),
            before=Check(holder, partial(others_serve, host=host, before=seen), LOADBALANCER),
            until=Check(backends, all_up, hosts(host), within=within),
        )
        for host in in_turn(seen)
    ]
    return Chain("balancers", *stages)


def proofs(seen: Seen[Backends]) -> Chain:
    """A stage for each listener of each load balancer that runs, which connects through it and sees who answers."""
    stages = [
        Stage(
            f"{host} {listener}",
            [do(members_through, listener=listener)],
            hosts(host),
            until=Check(do(members_through, listener=listener), right_ones_answer, hosts(host), within=10),
        )
        for host, now in seen.items()
        for listener in dict.fromkeys(listener for listener, _ in now.wanted)
        if now.running
    ]
    return Chain("verify", *stages, reasons=[f"{host}: haproxy does not run" for host in seen if not seen[host].running])
