"""The compute nodes as the cloud sees them: in service or not, what runs on each, and what room it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.tasks.openstack.plane import COMPUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result

_GONE = 404


@dataclass(frozen=True)
class Instance:
    """An instance. `status` is the API's, `busy` what Nova is doing with it ('' for nothing).

    `needs` is its allocation in Placement, by resource class; `local`: its disk lies on its node, made from an image.
    """

    id: str
    name: str
    status: str
    busy: str = ""
    needs: Mapping[str, int] = field(default_factory=dict)
    local: bool = False


@dataclass(frozen=True)
class Compute:
    """A nova-compute. `why` is the reason of who disabled it; `forced`: somebody told Nova that it is down.

    `room` is what Placement would still give, by resource class; `unconfirmed` are instances that were moved off it cold,
    whose disks it still has, `resized` those that got another flavor and left it so, which may still be reverted to it.
    `provider` is its id in Placement, '' where it never reported; `strangers` are those who have something of it there and are
    no instance of the cloud.
    """

    host: str
    service: str
    enabled: bool = True
    up: bool = True
    forced: bool = False
    why: str = ""
    provider: str = ""
    room: Mapping[str, int] = field(default_factory=dict)
    instances: tuple[Instance, ...] = ()
    unconfirmed: tuple[Instance, ...] = ()
    resized: tuple[Instance, ...] = ()
    strangers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fleet:
    """All of them. `agents` are Neutron's, as (id, host, binary); `declared` the inventory's hosts of the role compute."""

    computes: tuple[Compute, ...] = ()
    agents: tuple[tuple[str, str, str], ...] = ()
    declared: tuple[str, ...] = ()

    def of(self, host: str) -> Compute | None:
        return next((one for one in self.computes if one.host == host), None)


def computes(task: Task) -> Result[Fleet]:
    """Observe the cloud's compute nodes: in service or not, their instances, and the room that they have."""
    node = Node(task)
    return node.done(fleet_of(node))


def nodes(task: Task) -> Result[dict[str, str]]:
    """Observe the same in words, a line for each compute node: in service or not and why, what room it has, what runs on it."""
    node = Node(task)
    return node.done({one.host: told(one) for one in fleet_of(node).computes})


def told(one: Compute) -> str:
    """A compute node in words. Pure."""
    service = "in service" if one.enabled else f"out of service ({one.why or 'no reason given'})"
    room = ", ".join(f"{name} {left}" for name, left in one.room.items())
    runs = ", ".join(each.name if each.status == "ACTIVE" else f"{each.name} ({each.status})" for each in one.instances)
    parts = [
        f"{service}, {'up' if one.up else 'down'}",
        f"room: {room or 'unknown'}",
        f"instances: {runs or 'none'}",
        f"not confirmed: {names((*one.unconfirmed, *one.resized))}" if one.unconfirmed or one.resized else "",
        f"unknown in Placement: {', '.join(one.strangers)}" if one.strangers else "",
    ]
    return "; ".join(filter(None, parts))


def fleet_of(node: Node) -> Fleet:
    """The same for a task that goes on from there."""
    declared = COMPUTE.hosts(node.task.nornir.inventory)
    return Cloud(node).read("the compute nodes", lambda c: _look(c, declared))


def _look(cloud: Connection, declared: tuple[str, ...]) -> Fleet:
    compute, network = _any(cloud).compute, _any(cloud).network
    services = got(compute, "/os-services?binary=nova-compute", "2.53")["services"]
    hypervisors = got(compute, "/os-hypervisors/detail", "2.53")["hypervisors"]
    finished = got(compute, "/os-migrations?status=finished", "2.23")["migrations"]
    left = {one["instance_uuid"]: (one["source_compute"], one["migration_type"]) for one in finished}
    servers = list(compute.servers(details=True, all_projects=True))
    found = []
    for service in services:
        host = service["host"]
        provider = next((str(each["id"]) for each in hypervisors if each["service"]["host"] == host), "")
        room, needs = _resources(cloud, provider)
        waiting = {
            kind: tuple(_instance(one, {}) for one in servers if _waits(one) and left.get(one.id) == (host, kind))
            for kind in ("migration", "resize")
        }
        found.append(
            Compute(
                host,
                service["id"],
                service["status"] == "enabled",
                service["state"] == "up",
                bool(service["forced_down"]),
                service["disabled_reason"] or "",
                provider,
                room,
                tuple(_instance(one, needs) for one in servers if one.compute_host == host),
                waiting["migration"],
                waiting["resize"],
                tuple(sorted(set(needs) - {one.id for one in servers})),
            )
        )
    agents = tuple((each.id, each.host, each.binary) for each in network.agents())
    return Fleet(tuple(sorted(found, key=lambda one: one.host)), agents, declared)


def _waits(server: Any) -> bool:
    """Whether its move is to be confirmed or reverted."""
    return bool(server.status == "VERIFY_RESIZE")


def _instance(server: Any, needs: Mapping[str, Mapping[str, int]]) -> Instance:
    image = bool(server.image and server.image.id)
    return Instance(server.id, server.name, server.status, server.task_state or "", needs.get(server.id, {}), image)


def _resources(cloud: Connection, provider: str) -> tuple[dict[str, int], dict[str, Mapping[str, int]]]:
    """What a provider of Placement still has, and what each consumer has of it."""
    if not provider:
        return {}, {}
    at = f"/resource_providers/{provider}"
    placement = _any(cloud).placement
    stock = got(placement, f"{at}/inventories", missing={"inventories": {}})["inventories"]
    used = got(placement, f"{at}/usages", missing={"usages": {}})["usages"]
    given = got(placement, f"{at}/allocations", missing={"allocations": {}})["allocations"]
    return free(stock, used), {consumer: each["resources"] for consumer, each in given.items()}


def free(stock: Mapping[str, Mapping[str, Any]], used: Mapping[str, int]) -> dict[str, int]:
    """What Placement would still give of each class. Pure.

    Its rule: used + asked <= (total - reserved) * allocation_ratio.
    """
    return {
        name: int((one["total"] - one["reserved"]) * one["allocation_ratio"]) - used.get(name, 0) for name, one in stock.items()
    }


def got(service: Any, path: str, microversion: str | None = None, missing: Any = None) -> Any:
    """The JSON at a path of a service's API; `missing` where it has nothing there."""
    answer = service.get(path, microversion=microversion)
    if missing is not None and answer.status_code == _GONE:
        return missing
    return checked(answer).json()


def checked(answer: Any) -> Any:
    """The answer, if it is none of an error. Raises openstacksdk's HttpException."""
    from openstack.exceptions import raise_from_response  # noqa: PLC0415  an extra

    raise_from_response(answer)
    return answer


def names(instances: Iterable[Instance]) -> str:
    return ", ".join(one.name for one in instances)


def _any(cloud: Connection) -> Any:
    return cloud
