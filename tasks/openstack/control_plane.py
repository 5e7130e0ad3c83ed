"""`openstack.control_plane`: a cloud's services put up from Debian's packages, for labs and small clouds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import hosts, role
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.openstack.agents import all_alive, cloud_agents, compute_node, network_node, wanted_agents
from nornir_stack.tasks.openstack.ask import Base, ask
from nornir_stack.tasks.openstack.block_storage import block_storage, volume_services, volumes_alive
from nornir_stack.tasks.openstack.correct import endpoints, listens
from nornir_stack.tasks.openstack.external import of_inventory
from nornir_stack.tasks.openstack.initiator import initiator_name, shared
from nornir_stack.tasks.openstack.misplaced import KINDS
from nornir_stack.tasks.openstack.one_cloud import CLOUD
from nornir_stack.tasks.openstack.plane import COMPUTE, CONTROLLER, NETWORK, plane_of
from nornir_stack.tasks.openstack.registered import registered
from nornir_stack.tasks.openstack.runs import dashboard, discovered, messages, program, telemetry
from nornir_stack.tasks.openstack.schemas import local_database, service_databases
from nornir_stack.tasks.openstack.sight import services_seen
from nornir_stack.tasks.openstack.swift_rings import Layout, Rings, layout, rings, to_make
from nornir_stack.tasks.openstack.swift_storage import object_storage, storage_ready

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member
    from nornir_stack.tasks.openstack.sight import View

DB = role("db")
_PAGE = "/horizon/auth/login/"
_OK = 200


@dataclass(frozen=True)
class Described:
    """What the inventory describes, as the chain goes by it: members of a cluster that hold the databases, agents.

    `services` are the controller's, as name and type; `layout` is what Swift has.
    """

    members: tuple[str, ...]
    agents: tuple[tuple[str, str], ...]
    services: tuple[tuple[str, str], ...]
    layout: Layout
    volumes: tuple[str, ...] = ()
    initiators: bool = False
    telemetry: bool = False


def control_plane(*, horizon: bool = True, within: float = 180.0) -> Chain:
    """Keystone, Glance, Placement, Nova, Neutron and Swift on the hosts of their roles, and Horizon; run twice it is as once.

    Where the inventory wants them also Cinder (hosts with `cinder: volume_group`), Gnocchi with Ceilometer (`openstack:
    telemetry`) and Octavia (`openstack: balancer_driver`).

    The databases are on the inventory's Galera cluster, through its load balancer, else on a MariaDB of the controller.
    Without hosts of the roles network and compute it is Keystone and Swift alone.
    horizon: the dashboard too.
    within: seconds for services to answer, and agents to be heard, after they were started.
    """
    decide = partial(_parts, horizon=horizon, within=within)
    return Chain("openstack.control_plane", Plan("inventory", described, decide, CONTROLLER))


def described(task: Task) -> Result[Described]:
    """Observe what the inventory describes. Raises UsageError where it is not one control plane with one API."""
    node = Node(task)
    inventory = task.nornir.inventory
    of_inventory(inventory)
    plane = plane_of(inventory)
    services = tuple((one.name, KINDS.get(one.type, one.type)) for one in plane.programs)
    agents = wanted_agents(inventory)
    return node.done(
        Described(plane.members, agents, services, layout(inventory), plane.volumes, plane.initiators, plane.telemetry)
    )


def page(task: Task) -> Result[int]:
    """Observe Horizon's login page as the controller sees it: HTTP's status, 0 for no answer."""
    node = Node(task)
    base = Base("http", plane_of(task.nornir.inventory).address, 80)
    return node.done(ask(node, base, _PAGE).status)


def _parts(seen: Seen[Described], *, horizon: bool, within: float) -> Chain:
    for host, why in seen.missing.items():
        raise Refused(f"{host} was not seen: {why}")
    if len(seen) != 1:
        raise Refused(f"this sets up one host of the role controller, and the inventory has {len(seen)}")
    ((_, wanted),) = seen.items()
    last = [Stage("dashboard", [dashboard], CONTROLLER, until=Check(page, shown, CONTROLLER, within=120))] if horizon else []
    return Chain(
        "in order",
        _databases(wanted.members),
        Stage("keystone", [do(program, service="keystone")], CONTROLLER, until=_check(("identity",), within)),
        Stage("registered", [registered], CLOUD),
        *_services(wanted.services, within),
        *_storage(wanted.layout, within),
        *_volumes(wanted.volumes, within),
        *_agents(wanted.agents, within, initiators=wanted.initiators),
        *([Stage("telemetry", [telemetry], CONTROLLER)] if wanted.telemetry else []),
        *last,
        endpoints(),
    )


def _services(wanted: tuple[tuple[str, str], ...], within: float) -> list[Stage]:
    """The controller's services beside Keystone, and the messages that they send each other."""
    rest = [do(program, service=name) for name, _ in wanted if name != "keystone"]
    until = _check(tuple(kind for _, kind in wanted), within)
    return [Stage("messages", [messages], CONTROLLER), Stage("services", rest, CONTROLLER, until=until)] if rest else []


def _storage(wanted: Layout, within: float) -> list[Stage | Plan[Rings]]:
    """Swift on the storage nodes that have a device, by rings that all of them share."""
    if not wanted.devices:
        return []
    nodes = hosts(*wanted.nodes)
    up = Check(services_seen, partial(listens, port=8080), nodes, within=within)
    return [
        Stage("storage", [storage_ready], nodes),
        Plan("rings", rings, partial(to_make, wanted=wanted), nodes),
        Stage("object storage", [object_storage], nodes, until=up),
    ]


def _volumes(nodes: tuple[str, ...], within: float) -> list[Stage]:
    """Cinder on the nodes that give a volume group away, and alive in its own eyes."""
    if not nodes:
        return []
    alive = Check(volume_services, partial(volumes_alive, nodes=nodes), CLOUD, within=within)
    return [Stage("volumes", [block_storage], hosts(*nodes)), Stage("volume services", [], CLOUD, until=alive)]


def _agents(wanted: tuple[tuple[str, str], ...], within: float, *, initiators: bool) -> list[Stage]:
    """The nodes that run and connect instances, and what the cloud knows of them."""
    if not wanted:
        return []
    alive = partial(all_alive, wanted=wanted)
    apart = Check(initiator_name, shared, COMPUTE) if initiators else None
    return [
        Stage("network", [network_node], NETWORK | COMPUTE),
        Stage("compute", [compute_node], COMPUTE, until=apart),
        Stage("agents", [cloud_agents], CLOUD, until=Check(cloud_agents, alive, CLOUD, within=within)),
        Stage("cell", [discovered], CONTROLLER),
    ]


def _check(kinds: tuple[str, ...], within: float) -> Check[View]:
    return Check(services_seen, partial(answer, kinds=kinds), CONTROLLER, within=within)


def _databases(members: tuple[str, ...]) -> Chain | Stage:
    if not members:
        return Stage("databases", [local_database, service_databases], CONTROLLER)
    return Chain("databases", Plan("members", observe_member, _on_one, DB))


def _on_one(seen: Seen[Member]) -> Chain:
    """The schemas on one member that serves: the others get them by replication."""
    serving = [host for host, one in seen.items() if one.synced]
    if not serving:
        raise Refused(f"no member of the cluster is Synced ({', '.join(seen) or 'none was seen'}): form or recover it first")
    return Chain("on one", Stage("schemas", [service_databases], hosts(serving[0])))


def answer(seen: Seen[View], *, kinds: tuple[str, ...]) -> list[str]:
    """Every one of these services answers on each node that was asked."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, view in seen.items():
        heard = {one.kind for one in view.heard}
        problems += [f"{host}: {kind} does not answer yet" for kind in kinds if kind not in heard]
    return problems


def shown(seen: Seen[int]) -> list[str]:
    """The login page comes."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    return problems + [f"{host}: {_PAGE} answers HTTP {status}" for host, status in seen.items() if status != _OK]
