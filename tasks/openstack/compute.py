"""`compute.*`: nodes that run instances, added, emptied, evacuated when they are dead, removed and replaced."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused, UsageError
from nornir_stack.select import hosts
from nornir_stack.tasks.openstack.agents import OVS_AGENT, all_alive, cloud_agents, compute_node, network_node
from nornir_stack.tasks.openstack.fleet import computes
from nornir_stack.tasks.openstack.fleet_rules import (
    Fenced,
    anew,
    chosen_of,
    full,
    moves,
    not_drainable,
    not_evacuable,
    not_removable,
    only,
)
from nornir_stack.tasks.openstack.moving import (
    MARK,
    UNITS,
    evacuated,
    heard_again,
    ids,
    in_service,
    moved_away,
    out_of_service,
    silent,
    stopped,
    unregistered,
)
from nornir_stack.tasks.openstack.one_cloud import CLOUD
from nornir_stack.tasks.openstack.plane import CONTROLLER
from nornir_stack.tasks.openstack.runs import discovered
from nornir_stack.tasks.system.services import restart, unit_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.fleet import Fleet, Instance
    from nornir_stack.tasks.system.services import UnitState

_ALIVE_SECONDS = 180.0


def add(*, node: str) -> Chain:
    """A host of the role compute set up, seen alive, in Nova's cell and in service; one that was drained is put back.

    One that was evacuated begins anew first, so that it forgets the instances that run elsewhere now.
    """
    return Chain("compute.add", Plan("look", computes, partial(_adding, node=node), CLOUD))


def drain(*, node: str) -> Chain:
    """A compute node out of service, and its instances moved to the others; a dry run names them.

    Refused before anything is moved: a node that is down, an instance that Nova cannot move, others without room.
    """
    return Chain("compute.drain", Plan("look", computes, partial(_draining, node=node), CLOUD))


def evacuate(*, node: str, fenced: str = "", instances: Sequence[str] = ()) -> Chain:
    """The instances of a dead compute node built anew on others; a dry run names them.

    Refused while Nova sees it up or while it answers anybody, from here or from the controller: an instance that runs twice
    writes twice to the same disk.

    fenced: the node once more, to say that its power was cut and was seen to be off.
    instances: names or ids of those; all if not given.
    """
    if fenced and fenced != node:
        raise UsageError(f"fenced={fenced} is another node than node={node}")
    decide = partial(_evacuating, node=node, fenced=fenced, wanted=tuple(instances))
    return Chain("compute.evacuate", Plan("look", computes, decide, CLOUD))


def remove(*, node: str, fenced: str = "") -> Chain:
    """A compute node that was drained or evacuated taken out of the cloud's books: Nova, Placement, Neutron's agents.

    Its services are stopped first, and not started at boot. fenced: the node once more, if it is off for good.
    """
    if fenced and fenced != node:
        raise UsageError(f"fenced={fenced} is another node than node={node}")
    return Chain("compute.remove", Plan("look", computes, partial(_removing, node=node, fenced=bool(fenced)), CLOUD))


def replace(*, old: str, new: str, fenced: str = "") -> Chain:
    """A compute node set up, another emptied onto the rest and removed. fenced: the old one again, if it is dead and off."""
    if old == new:
        raise UsageError(f"{old} cannot replace itself: compute.drain, reinstall it, compute.add")
    leave = evacuate(node=old, fenced=fenced) if fenced else drain(node=old)
    return Chain("compute.replace", add(node=new), leave, remove(node=old, fenced=fenced))


# decisions


def _adding(seen: Seen[Fleet], *, node: str) -> Chain:
    fleet = only(seen)
    if node not in fleet.declared:
        raise Refused(f"{node} is no host of the role compute; those are {', '.join(fleet.declared) or 'none'}")
    one = fleet.of(node)
    if one and not one.enabled and not one.why.startswith(MARK):
        raise Refused(
            f"{node} was taken out of service by somebody else ({one.why or 'no reason given'}):"
            f" openstack compute service set --enable {node} nova-compute, if that is over"
        )
    anew = [
        Stage("begin anew", [do(restart, unit=UNITS[0])], hosts(node)),
        Stage("listen to it again", [do(heard_again, node=node)], CLOUD),
    ]
    alive = partial(all_alive, wanted=((node, OVS_AGENT), (node, "nova-compute")))
    return Chain(
        "in order",
        Stage("network", [network_node], hosts(node)),
        Stage("compute", [compute_node], hosts(node)),
        *(anew if one and one.forced else ()),
        Stage("agents", [cloud_agents], CLOUD, until=Check(cloud_agents, alive, CLOUD, within=_ALIVE_SECONDS)),
        Stage("cell", [discovered], CONTROLLER),
        Stage("in service", [do(in_service, node=node)], CLOUD),
    )


def _draining(seen: Seen[Fleet], *, node: str) -> Chain:
    fleet = only(seen)
    if problems := not_drainable(fleet, node):
        raise Refused(f"{node} is not drained: {'; '.join(problems)}.")
    one = fleet.of(node)
    if one is None or not (one.enabled or one.instances or one.unconfirmed):
        return Chain("empty", reasons=[f"{node} is out of service and has no instance."])
    return Chain("leave", *leave(node), reasons=moves(one) or [f"{node} has no instance."])


def leave(node: str) -> tuple[Stage, ...]:
    """The stages that empty a compute node; its rules are looked at again in them."""
    empty = Check(computes, partial(full, node=node), CLOUD, within=10.0)
    return (
        Stage("out of service", [do(out_of_service, node=node)], CLOUD),
        Stage("move", [do(moved_away, node=node)], CLOUD, until=empty),
    )


def _evacuating(seen: Seen[Fleet], *, node: str, fenced: str, wanted: tuple[str, ...]) -> Chain:
    fleet = only(seen)
    one = fleet.of(node)
    chosen = chosen_of(fleet, node, wanted) if one else ()
    if problems := not_evacuable(fleet, node, fenced=fenced, chosen=chosen):
        raise Refused(f"{node} is not evacuated: {'; '.join(problems)}.")
    if one and one.forced and not one.enabled and not chosen:
        return Chain("empty", reasons=[f"{node} is out of service and has no instance."])
    reasons = anew(one, chosen) if one else []
    decide = partial(_from_here, node=node, chosen=chosen)
    return Chain("dead", Plan("does it answer", do(unit_state, unit=UNITS[0]), decide, hosts(node)), reasons=reasons)


def _from_here(seen: Seen[UnitState], *, node: str, chosen: tuple[Instance, ...]) -> Chain:
    if node in seen:
        raise Refused(f"{node} is not evacuated: it answers, so its instances may run. Cut its power first.")
    decide = partial(_from_controller, node=node, chosen=chosen)
    return Chain("from the controller", Plan("does it answer there", do(silent, node=node), decide, CONTROLLER))


def _from_controller(seen: Seen[str], *, node: str, chosen: tuple[Instance, ...]) -> Chain:
    for host, why in seen.missing.items():
        raise Refused(f"{host} was not seen, so it cannot tell whether {node} answers: {why}")
    if not len(seen):
        raise Refused(f"{node} is not evacuated: the inventory has no host of the role controller that could see it answer")
    for host, said in seen.items():
        if said:
            raise Refused(f"{node} is not evacuated: seen from {host}, {said}. Cut its power first.")
    mandate = Fenced(node, ids(chosen))
    until = Check(computes, partial(full, node=node, instances=ids(chosen)), CLOUD) if chosen else None
    return Chain("mandate", Stage("evacuate", [do(evacuated, mandate=mandate)], CLOUD, until=until))


def _removing(seen: Seen[Fleet], *, node: str, fenced: bool) -> Chain:
    fleet = only(seen)
    if problems := not_removable(fleet, node, fenced=fenced):
        raise Refused(f"{node} is not removed: {'; '.join(problems)}.")
    stages = [] if fenced else [Stage("stop", [stopped], hosts(node))]
    return Chain("in order", *stages, Stage("records", [do(unregistered, node=node)], CLOUD))
