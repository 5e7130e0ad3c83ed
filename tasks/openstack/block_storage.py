"""Volumes for instances: Cinder on the nodes that give a volume group away, and what it says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.config.apply import edit
from nornir_stack.tasks.openstack import files, programs
from nornir_stack.tasks.openstack.applied import applied
from nornir_stack.tasks.openstack.plane import address_of, plane_of
from nornir_stack.tasks.openstack.registered import seen_if_there
from nornir_stack.tasks.openstack.settings import Cinder
from nornir_stack.tasks.system.packages import packages

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

State = Literal["up", "down", "starting"]
Services = tuple[tuple[str, str, State], ...]  # host, what it is, and how Cinder sees it
SCHEDULER, VOLUME = "cinder-scheduler", "cinder-volume"
_TROUBLE: dict[State | None, str] = {
    None: "never reported to Cinder",
    "down": "is down in Cinder's eyes",
    "starting": "gives no room away yet",
}
# Of Debian's package, where it is there: beside another with the same words tgt would complain at each start.
TARGETS = "/etc/tgt/conf.d/cinder_tgt.conf"
# tgt forgets its targets when it ends; Cinder writes each down here (its manual, "Install and configure a storage node").
_INCLUDE = "include /var/lib/cinder/volumes/*\n"


def block_storage(task: Task) -> Result[None]:
    """Cinder's service on a node, for the volume group of its settings. Raises Refused where the node has no such group."""
    node = Node(task)
    own, plane = settings_of(task.host, Cinder), plane_of(task.nornir.inventory)
    if own.volume_group is None:
        return node.skipped("it gives no volume group away")
    packages(task, present=programs.VOLUMES)
    if own.backend == "lvm":
        _look_for(node, own.volume_group)
        node.write_file(TARGETS, _INCLUDE, independent=True)
        node.then(applied, unit="tgt.service", files=[TARGETS])
    wanted = files.cinder_volume(plane, address_of(task.host), own.volume_group, own.backend)
    for path, sections in wanted.items():
        edit(node, path, sections)
    node.then(applied, unit=f"{VOLUME}.service", files=list(wanted))
    return node.done()


def _look_for(node: Node, group: str) -> None:
    said = node.read("vgs", "--noheadings", "-o", "vg_name", independent=True).stdout.split()
    if group not in said:
        have = f": it has {', '.join(said)}" if said else ""
        raise Refused(f"{node.name} has no volume group {group}{have}: storage.volume_group makes one")


def volume_services(task: Task) -> Result[Services]:
    """Observe Cinder's services: their hosts, what they are, and whether Cinder hears them.

    A volume service is `starting` while the scheduler knows no pool of it: it enters itself first, which is a sign of life for
    a minute, then sets its driver up, and is silent until that is done.
    """
    node = Node(task)
    return node.done(seen_if_there(node, "Cinder's services", _look))


def _look(cloud: Connection) -> Services:
    storage = _any(cloud).block_storage
    ready = {str(pool.name).partition("#")[0] for pool in storage.backend_pools()}
    return tuple((str(each.host), str(each.binary), _state(each, ready)) for each in storage.services())


def _state(service: Any, ready: Collection[str]) -> State:
    if service.state != "up":
        return "down"
    return "up" if service.binary != VOLUME or service.host in ready else "starting"


def volumes_alive(seen: Seen[Services], *, nodes: Sequence[str]) -> list[str]:
    """Cinder hears its scheduler, and each of these nodes gives room away. Pure."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for found in seen.values.values():
        states = {(host, binary): state for host, binary, state in found}
        if not any(state == "up" for (_, binary), state in states.items() if binary == SCHEDULER):
            problems.append(f"Cinder hears no {SCHEDULER}")
        for node in nodes:
            state = states.get((f"{node}@{files.VOLUME_BACKEND}", VOLUME))
            if state != "up":
                problems.append(f"{VOLUME} on {node} {_TROUBLE[state]}: why stands in /var/log/cinder/cinder-volume.log there")
    return problems


def _any(cloud: Connection) -> Any:
    return cloud
