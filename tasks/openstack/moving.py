"""Instances moved off a compute node, or built anew when it is dead; and its place in the cloud's books."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import ConnectionFailed, Refused, TimedOut
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.tasks.openstack.agents import OVS_AGENT
from nornir_stack.tasks.openstack.fleet import checked, fleet_of, got
from nornir_stack.tasks.openstack.fleet_rules import MIGRATING, not_drainable, not_removable, under_way, unexplained, unknown
from nornir_stack.tasks.openstack.plane import CONTROLLER, NETWORK, address_of
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.tasks.openstack.fleet import Compute, Fleet, Instance
    from nornir_stack.tasks.openstack.fleet_rules import Fenced

MARK = "nornir-stack: "  # begins the reason of what these tasks took out of service, which they may put back
UNITS = ("nova-compute.service", "openstack-nova-compute.service")  # Debian's, Red Hat's
_AGENT = f"{OVS_AGENT}.service"
_MOVE_SECONDS = 3600.0
_PAUSE = 0.5
_SSH = 22


@dataclass(frozen=True)
class Moved:
    """The instances that a node was rid of, by their names."""

    moved: tuple[str, ...]


def out_of_service(task: Task, *, node: str, reason: str = "drained") -> Result[None]:
    """Have Nova start nothing more on a compute node. Its instances stay. Raises Refused for one that the cloud lacks."""
    here = Node(task)
    _disable(Cloud(here), _of(fleet_of(here), node), reason)
    return here.done()


def moved_away(task: Task, *, node: str) -> Result[Moved]:
    """Move every instance off a compute node, one after the other, to where Nova's scheduler sends it; each is waited for.

    What runs is migrated as it runs, what is switched off cold. The value: their names. Raises Refused where one cannot be
    moved or the rest has not the room, before any is; and where one did not leave.
    """
    here = Node(task)
    cloud, fleet = Cloud(here), fleet_of(here)
    if problems := not_drainable(fleet, node):
        raise Refused("; ".join(problems))
    one = _of(fleet, node)
    for each in one.instances:
        if each.busy != MIGRATING:
            _move(cloud, node, each)
        if not here.dry_run:
            _settled(here, cloud, each, node)
    for each in (*one.unconfirmed, *(each for each in one.instances if each.status == "SHUTOFF")):
        _confirm(here, cloud, each, node)
    return here.done(Moved(tuple(each.name for each in one.instances)))


def evacuated(task: Task, *, mandate: Fenced) -> Result[Moved]:
    """Have a dead node's instances built anew on others, one after the other; each is waited for. The value: their names.

    The node is told to be down (it is not asked again before compute.add), and is out of service.
    """
    here = Node(task)
    cloud = Cloud(here)
    one = _of(fleet_of(here), mandate.node)
    if one.up:
        raise Refused(f"nova-compute on {one.host} is up again: nothing is evacuated")
    if not one.forced:
        _service(cloud, f"tell Nova that {one.host} is down for good", one, {"forced_down": True})
    _disable(cloud, one, "dead, its power cut")
    # what is under way already may be stuck: it is waited for when the others are safe
    done = sorted((each for each in one.instances if each.id in mandate.instances), key=under_way)
    for each in done:
        if not under_way(each):
            what = f"build {each.name} anew on another node than {one.host}"
            cloud.change(what, lambda c, i=each.id: _act(c, i, {"evacuate": {}}, "2.14"))  # type: ignore[misc]
        if not here.dry_run:
            _settled(here, cloud, each, one.host)
    return here.done(Moved(tuple(each.name for each in done)))


def heard_again(task: Task, *, node: str) -> Result[None]:
    """Have Nova listen to a node again that was told to be down. Its nova-compute must have begun anew: so it forgets what
    was evacuated from it, which is waited for (Nova refuses it before)."""
    here = Node(task)
    cloud, one = Cloud(here), _of(fleet_of(here), node)
    if one.forced:
        if not here.dry_run:
            _waited(here, f"nova-compute on {node}", lambda: not cloud.read("its evacuations", lambda c: _kept(c, node)), 120.0)
        _service(cloud, f"let Nova listen to {node} again", one, {"forced_down": False})
    return here.done()


def in_service(task: Task, *, node: str) -> Result[None]:
    """Have Nova start instances on a node again, if these tasks took it out of service. Raises Refused if somebody else did,
    or if it is down."""
    here = Node(task)
    one = _of(fleet_of(here), node)
    if not one.up:
        raise Refused(f"nova-compute on {node} is down in Nova's eyes: it has to run before it is put into service")
    if not one.enabled:
        if not one.why.startswith(MARK):
            raise Refused(
                f"{node} was taken out of service by somebody else ({one.why or 'no reason given'}):"
                f" openstack compute service set --enable {node} nova-compute, if that is over"
            )
        _service(Cloud(here), f"put {node} into service", one, {"status": "enabled"})
    return here.done()


def stopped(task: Task) -> Result[None]:
    """A compute node's services stopped, and not started at boot: else they enter themselves into the books again."""
    here = Node(task)
    network = task.host.has_parent_group("network") or task.host.has_parent_group("controller")
    for unit in (*UNITS, *(() if network else (_AGENT,))):
        service(task, unit=unit, state="stopped", enabled=False)
    return here.done()


def unregistered(task: Task, *, node: str) -> Result[None]:
    """Take a compute node out of the cloud's books: Nova's service, its provider in Placement, Neutron's agents.

    Agents of a node that also routes stay. Raises Refused while it has instances or is in service, or where Placement has
    allocations on it that nothing known holds.
    """
    here = Node(task)
    cloud, fleet = Cloud(here), fleet_of(here)
    if problems := not_removable(fleet, node):
        raise Refused("; ".join(problems))
    one = fleet.of(node)
    known, others = one.provider if one else "", {each.provider for each in fleet.computes if each.host != node}
    for provider in cloud.read(f"what Placement has of {node}", lambda c: _providers(c, node, known, others)):
        given = cloud.read("what is left in Placement", lambda c, p=provider: _left(c, p))  # type: ignore[misc]
        if here_alone := [consumer for consumer, rest in given.items() if not rest["allocations"]]:
            raise Refused(unexplained(node, here_alone))
        for consumer, rest in given.items():
            what = f"take {node} out of the allocation of {consumer}, which left it"
            cloud.change(what, lambda c, i=consumer, r=rest: _put(c, i, r), repeatable=True)  # type: ignore[misc]
    if one:
        what = f"remove nova-compute on {node} from Nova"
        cloud.change(what, lambda c: checked(_any(c).compute.delete(f"/os-services/{one.service}", microversion="2.53")))
    inventory = task.nornir.inventory
    stay = {*NETWORK.hosts(inventory), *CONTROLLER.hosts(inventory)}
    for number, host, binary in fleet.agents if node not in stay else ():
        if host == node:
            what = f"remove {binary} on {node} from Neutron"
            cloud.change(what, lambda c, n=number: _any(c).network.delete_agent(n), repeatable=True)  # type: ignore[misc]
    # Nova removes it with the service, and says nothing where it could not
    for provider in cloud.read(f"what Placement has of {node}", lambda c: _providers(c, node, known, others)):
        what = f"remove the provider of {node} from Placement"
        cloud.change(what, lambda c, p=provider: _forget(c, p), repeatable=True)  # type: ignore[misc]
    return here.done()


def silent(task: Task, *, node: str) -> Result[str]:
    """Observe whether a node answers this one at all, at ssh's port. The value: what it said, '' for nothing."""
    here = Node(task)
    where = (address_of(task.nornir.inventory.hosts[node]), _SSH)
    return here.done(here.gate.look(f"ask {node} for any answer", lambda: _knock(here, where)))


def _knock(here: Node, where: tuple[str, int]) -> str:
    try:
        here.connection.open_socket(where).close()
    except ConnectionFailed as error:
        if not here.connection.alive:
            raise
        return knocked(str(error), here.name)
    return "it takes connections to ssh"


def knocked(said: str, host: str) -> str:
    """What a failed connection tells of a node: nothing ('') only where the kernel got no answer at all (strerror(3)). Pure."""
    words = said.lower()
    if "refused" in words:
        return "it refuses connections to ssh"
    if any(silence in words for silence in ("no route to host", "timed out", "unreachable")):
        return ""
    raise Refused(f"{host} cannot tell whether it answers: {said}")


def _of(fleet: Fleet, node: str) -> Compute:
    one = fleet.of(node)
    if one is None:
        raise Refused("; ".join(unknown(fleet, node)))
    return one


def _disable(cloud: Cloud, one: Compute, reason: str) -> None:
    if one.enabled:
        words = {"status": "disabled", "disabled_reason": f"{MARK}{reason}"}
        _service(cloud, f"take {one.host} out of service", one, words)


def _service(cloud: Cloud, what: str, one: Compute, words: dict[str, Any]) -> None:
    """Nova's API, "Update Compute Service"."""
    at = f"/os-services/{one.service}"
    cloud.change(what, lambda c: checked(_any(c).compute.put(at, json=words, microversion="2.53")), repeatable=True)


def _move(cloud: Cloud, node: str, one: Instance) -> None:
    if one.status == "SHUTOFF":
        cloud.change(f"move {one.name} off {node}, switched off", lambda c: _act(c, one.id, {"migrate": None}, "2.1"))
        return
    live = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    cloud.change(f"move {one.name} off {node} as it is", lambda c: _act(c, one.id, live, "2.30"))


def _confirm(here: Node, cloud: Cloud, one: Instance, node: str) -> None:
    what = f"confirm that {one.name} left {node}, whose copy goes"
    cloud.change(what, lambda c: _act(c, one.id, {"confirmResize": None}, "2.1"), repeatable=True)
    if not here.dry_run:
        _waited(here, one.name, lambda: _state(cloud, one)[1] != "VERIFY_RESIZE")


def _settled(here: Node, cloud: Cloud, one: Instance, node: str) -> None:
    """Wait until Nova is done with an instance. Raises Refused if it is still on the node then, or broken."""
    _waited(here, one.name, lambda: not _state(cloud, one)[2])
    host, status, _ = _state(cloud, one)
    if host == node or (status == "ERROR" and one.status != "ERROR"):
        raise Refused(f"{one.name} is {status} on {host}: why it did not leave {node} stands in nova-compute's log there")


def _state(cloud: Cloud, one: Instance) -> tuple[str, str, str]:
    """Host, status, and what Nova is doing with it."""
    server = cloud.read(one.name, lambda c: got(_any(c).compute, f"/servers/{one.id}", "2.1"))["server"]
    return server["OS-EXT-SRV-ATTR:host"] or "", server["status"], server["OS-EXT-STS:task_state"] or ""


def _kept(cloud: Connection, node: str) -> list[Any]:
    """Evacuations that the node has not heard of."""
    words = f"migration_type=evacuation&status=done&source_compute={node}"
    found: list[Any] = got(_any(cloud).compute, f"/os-migrations?{words}", "2.23")["migrations"]
    return found


def _waited(here: Node, name: str, holds: Callable[[], bool], seconds: float = _MOVE_SECONDS) -> None:
    waited = 0.0
    while not holds():
        if waited > seconds:
            raise TimedOut(f"{name} did not settle within {seconds / 60:.0f} minutes: look what Nova does with it")
        here.gate.wait(_PAUSE, f"{name} to settle")
        waited += _PAUSE


def _act(cloud: Connection, server: str, body: dict[str, Any], microversion: str) -> None:
    checked(_any(cloud).compute.post(f"/servers/{server}/action", json=body, microversion=microversion))


def _left(cloud: Connection, provider: str) -> dict[str, dict[str, Any]]:
    """Allocations that a provider still has though their instance runs elsewhere: an evacuated node cannot give them up
    by itself, and Nova would leave it in Placement for ever. Consumer to its allocation without the provider, which is empty
    where it has nothing elsewhere."""
    placement = _any(cloud).placement
    if not provider:
        return {}
    given = got(placement, f"/resource_providers/{provider}/allocations", missing={"allocations": {}})["allocations"]
    found = {}
    for consumer in given:
        whole = got(placement, f"/allocations/{consumer}", "1.28")
        rest = {rp: {"resources": one["resources"]} for rp, one in whole["allocations"].items() if rp != provider}
        kept = {key: whole[key] for key in ("consumer_generation", "project_id", "user_id") if key in whole}
        found[consumer] = {"allocations": rest, **kept}
    return found


def _providers(cloud: Connection, node: str, known: str, others: set[str]) -> list[str]:
    """The provider that Placement has of a node: the `known` one, and by its name one whose service is gone."""
    placement = _any(cloud).placement
    rows = got(placement, "/resource_providers", "1.14")["resource_providers"]
    roots = [row for row in rows if not row["parent_provider_uuid"] and row["uuid"] not in others]
    named = [row["uuid"] for row in roots if f"{row['name']}.".startswith(f"{node}.") and row["uuid"] != known]
    # what shares a disk, say, may have such a name too
    of_nova = [one for one in named if "MEMORY_MB" in got(placement, f"/resource_providers/{one}/inventories")["inventories"]]
    return [row["uuid"] for row in roots if row["uuid"] == known] + of_nova


def _forget(cloud: Connection, provider: str) -> None:
    checked(_any(cloud).placement.delete(f"/resource_providers/{provider}", microversion="1.14"))


def _put(cloud: Connection, consumer: str, allocation: dict[str, Any]) -> None:
    checked(_any(cloud).placement.put(f"/allocations/{consumer}", json=allocation, microversion="1.28"))


def _any(cloud: Connection) -> Any:
    return cloud


def ids(instances: Sequence[Instance]) -> tuple[str, ...]:
    return tuple(one.id for one in instances)
