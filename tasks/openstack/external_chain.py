"""`openstack.external_networks`: from the NIC of a network node to the network in the cloud, and seen alive."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.tasks.openstack.agents import cloud_agents
from nornir_stack.tasks.openstack.control_plane import answer
from nornir_stack.tasks.openstack.external import allowed, bridges, external_network, mapped, of_inventory
from nornir_stack.tasks.openstack.one_cloud import CLOUD
from nornir_stack.tasks.openstack.plane import CONTROLLER, NETWORK
from nornir_stack.tasks.openstack.projects import project
from nornir_stack.tasks.openstack.sight import services_seen

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

_SECONDS = 120.0


@dataclass(frozen=True)
class Wanted:
    """What the inventory wants of the cloud: names of networks and projects, physical network to bridge, network nodes."""

    networks: tuple[str, ...]
    projects: tuple[str, ...]
    mappings: dict[str, str]
    nodes: tuple[str, ...]


def external_networks() -> Chain:
    """The inventory's external networks: bridges, mappings, what Neutron's server allows, networks and subnets.

    The server and the agents are restarted where their files changed, and seen alive with the new mapping before a network
    is made. With none to change nothing is.
    """
    return Chain("openstack.external_networks", Plan("inventory", wanted_of, _networks, CLOUD))


def projects() -> Chain:
    """The inventory's projects, each with its network, router, quotas, users and security group."""
    return Chain("openstack.projects", Plan("inventory", wanted_of, _projects, CLOUD))


def wanted_of(task: Task) -> Result[Wanted]:
    """Observe what the inventory wants of the cloud. Raises UsageError, InventoryError."""
    node = Node(task)
    inventory = task.nornir.inventory
    wanted = of_inventory(inventory)
    mappings = {one.physical_network: one.bridge for one in wanted.external.values()}
    return node.done(Wanted(tuple(wanted.external), tuple(wanted.projects), mappings, NETWORK.hosts(inventory)))


def _one(seen: Seen[Wanted]) -> Wanted:
    for host, why in seen.missing.items():
        raise Refused(f"{host}: {why}")
    if not len(seen):
        raise Refused("the inventory has no host of the role cloud (connection: openstack)")
    ((_, wanted),) = seen.items()
    return wanted


def _networks(seen: Seen[Wanted]) -> Chain:
    wanted = _one(seen)
    if not wanted.networks:
        raise Refused("the inventory has no external network: say cloud: external: ... of the host of the role cloud")
    alive = partial(mapped, wanted=wanted.mappings, nodes=wanted.nodes)
    serves = partial(answer, kinds=("network",))
    return Chain(
        "in order",
        Stage("server", [allowed], CONTROLLER, until=Check(services_seen, serves, CONTROLLER, within=_SECONDS)),
        Stage("bridges", [bridges], NETWORK, serial=1, until=Check(cloud_agents, alive, CLOUD, within=_SECONDS)),
        Stage("networks", [do(external_network, network=name) for name in wanted.networks], CLOUD),
    )


def _projects(seen: Seen[Wanted]) -> Chain:
    wanted = _one(seen)
    if not wanted.projects:
        raise Refused("the inventory has no project: say cloud: projects: ... of the host of the role cloud")
    return Chain("in order", Stage("projects", [do(project, project=name) for name in wanted.projects], CLOUD))
