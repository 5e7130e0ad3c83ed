"""The chain that puts the load balancer before the members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.select import hosts, role
from nornir_stack.tasks.loadbalancer.haproxy import haproxy
from nornir_stack.tasks.loadbalancer.health import health_endpoint, open_to_balancers
from nornir_stack.tasks.loadbalancer.runtime import Backends, all_up, backends
from nornir_stack.tasks.loadbalancer.through import members_through, right_ones_answer
from nornir_stack.tasks.system.names import hosts_file

if TYPE_CHECKING:
    from nornir_stack.seen import Seen

LOADBALANCER = role("loadbalancer")


def deploy(*, within: float = 60.0) -> Chain:
    """The members' health endpoints, HAProxy with its virtual address, all members up, and the right ones answering.

    `within`: seconds that the members are given to be up in HAProxy's eyes.
    """
    return Chain(
        "loadbalancer.deploy",
        Stage("health", [open_to_balancers, health_endpoint], role("db")),
        Stage(
            "haproxy", [hosts_file, haproxy], LOADBALANCER, serial=1, until=Check(backends, all_up, LOADBALANCER, within=within)
        ),
        Plan("verify", backends, proofs, LOADBALANCER),
    )


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
