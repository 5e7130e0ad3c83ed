"""When a compute node may be emptied, evacuated or removed, and what that moves. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.tasks.openstack.fleet import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.fleet import Compute, Fleet, Instance

# How an instance leaves a node that lives, by its status (Nova's API guide, "Server concepts").
WAYS = {"ACTIVE": "as it runs", "PAUSED": "as it is, paused", "SHUTOFF": "switched off"}
# What Nova evacuates (its API's action evacuate: vm_state active, stopped or error).
EVACUATED = frozenset({"ACTIVE", "SHUTOFF", "ERROR"})
MIGRATING = "migrating"
_UNCONFIRMED = "its owner says which holds, openstack server resize confirm {0} or openstack server resize revert {0}"


@dataclass(frozen=True)
class Fenced:
    """The mandate to build a dead node's instances anew elsewhere: which node, and which instances, by id.

    Only a decision makes it: Nova saw the node down, it answered nobody, and the operator says that it is off.
    """

    node: str
    instances: tuple[str, ...]


def only(seen: Seen[Fleet]) -> Fleet:
    """What the one cloud of the inventory said. Raises Refused where it said nothing."""
    for host, why in seen.missing.items():
        raise Refused(f"{host} was not seen: {why}")
    if len(seen) != 1:
        raise Refused(f"the inventory has {len(seen)} hosts of the role cloud (connection: openstack): this is for one")
    ((_, fleet),) = seen.items()
    return fleet


def unknown(fleet: Fleet, node: str) -> list[str]:
    """That the cloud has no such compute node."""
    if fleet.of(node):
        return []
    known = ", ".join(one.host for one in fleet.computes) or "none"
    return [f"the cloud has no nova-compute on {node}; it has {known}"]


def not_drainable(fleet: Fleet, node: str) -> list[str]:
    """Why a node cannot be emptied: it is down, an instance cannot be moved, the rest has no room."""
    one = fleet.of(node)
    if one is None:
        return unknown(fleet, node)
    if one.instances and not one.up:
        return [f"nova-compute on {node} is down: nothing moves off it; see to it, or compute.evacuate once it is off"]
    problems = [f"{each.name} was resized and left {node}: {_UNCONFIRMED.format(each.id)}" for each in one.resized]
    for each in one.instances:
        if each.busy and each.busy != MIGRATING:
            problems.append(f"{each.name} is busy ({each.busy}): wait for that")
        elif each.status == "VERIFY_RESIZE":
            problems.append(f"{each.name} was resized or moved, and that is not confirmed: {_UNCONFIRMED.format(each.id)}")
        elif each.status not in {*WAYS, "MIGRATING"}:
            problems.append(f"{each.name} is {each.status}: Nova moves none that is so; mend, stop or remove it")
    return problems + no_room(fleet, node, [each for each in one.instances if each.busy != MIGRATING])


def no_room(fleet: Fleet, node: str, instances: Iterable[Instance]) -> list[str]:
    """The instances for which the other nodes in service have no room: the largest first, each where most is left.

    It is stricter than Nova's scheduler may need to be, and knows nothing of its filters (zones, groups, traits).
    """
    todo = sorted(instances, key=_size, reverse=True)
    rest = {one.host: dict(one.room) for one in fleet.computes if one.host != node and one.enabled and one.up}
    if todo and not rest:
        return [f"no other compute node is in service: {names(todo)} cannot go anywhere"]
    problems = []
    for each in todo:
        fitting = [host for host, room in rest.items() if all(room.get(kind, 0) >= n for kind, n in each.needs.items())]
        if not fitting:
            have = "; ".join(f"{host} has {amounts(room, each.needs)}" for host, room in rest.items())
            problems.append(f"no other compute node has room for {each.name} ({amounts(each.needs)}): {have}")
            continue
        best = rest[max(fitting, key=lambda host: rest[host].get("MEMORY_MB", 0))]
        for kind, n in each.needs.items():
            best[kind] -= n
    return problems


def _size(one: Instance) -> tuple[int, ...]:
    return tuple(one.needs.get(kind, 0) for kind in ("MEMORY_MB", "VCPU", "DISK_GB"))


def amounts(of: Mapping[str, int], like: Iterable[str] = ()) -> str:
    """Amounts for people, of the classes of `like` or of all."""
    return ", ".join(f"{of.get(kind, 0)} {kind}" for kind in (like or of)) or "nothing"


def moves(one: Compute) -> list[str]:
    """A sentence for each instance that would leave the node."""
    lines = [
        f"{each.name} is on its way off {one.host}."
        if each.busy == MIGRATING
        else f"{each.name} moves off {one.host} {WAYS[each.status]}."
        for each in one.instances
    ]
    return lines + [f"{each.name} left {one.host} by a cold move, which is confirmed." for each in one.unconfirmed]


def full(seen: Seen[Fleet], *, node: str, instances: Sequence[str] = ()) -> list[str]:
    """That a node still has instances: any, or those of these ids."""
    one = only(seen).of(node)
    left = [each for each in (one.instances if one else ()) if not instances or each.id in instances]
    return [f"{each.name} is still on {node} ({each.status})" for each in left]


# a dead node


def not_evacuable(fleet: Fleet, node: str, *, fenced: str, chosen: Sequence[Instance]) -> list[str]:
    """Why a node's instances may not be built anew elsewhere: two of one would write to the same disks and answer to the
    same address."""
    one = fleet.of(node)
    if one is None:
        return unknown(fleet, node)
    if one.up:
        seen = "its instances run, or did within the last minute"
        return [f"nova-compute on {node} is up in Nova's eyes: {seen}; compute.drain moves them, else cut its power and wait"]
    if fenced != node:
        may = "its instances may run all the same"
        return [f"nobody hears of {node}, and {may}: cut its power, see that it is off, and say fenced={node}"]
    todo = [each for each in chosen if not under_way(each)]
    problems = [
        f"{each.name} is {each.status}: Nova evacuates none that is so; name the others by instances=,"
        " or set its state (openstack server set --state error)"
        for each in todo
        if each.status not in EVACUATED
    ]
    return problems + no_room(fleet, node, todo)


def under_way(one: Instance) -> bool:
    """Whether Nova builds it anew by now (its task states rebuilding, rebuild_block_device_mapping, rebuild_spawning)."""
    return one.busy.startswith("rebuild")


def chosen_of(fleet: Fleet, node: str, wanted: Sequence[str]) -> tuple[Instance, ...]:
    """A node's instances of these names or ids, or all. Those that run elsewhere by now are left out.

    Raises Refused for one that no node has.
    """
    known = {name for one in fleet.computes for each in one.instances for name in (each.id, each.name)}
    one = fleet.of(node)
    there = one.instances if one else ()
    if absent := [name for name in wanted if name not in known]:
        raise Refused(f"the cloud has no instance {', '.join(absent)}; on {node} are {names(there) or 'none'}")
    return tuple(each for each in there if not wanted or each.id in wanted or each.name in wanted)


def anew(one: Compute, chosen: Iterable[Instance]) -> list[str]:
    """A sentence for each instance that would be built anew."""
    disk = " Its own disk begins again from its image, unless the nodes share their instances' folder."
    return [
        f"{each.name} is being built anew already, which is waited for."
        if under_way(each)
        else f"{each.name} ({each.status}) is built anew on another node than {one.host}.{disk if each.local else ''}"
        for each in chosen
    ]


# records


def not_removable(fleet: Fleet, node: str, *, fenced: bool = False) -> list[str]:
    """Why the records of a node must stay: it has instances, may get one at any moment, or would enter itself again."""
    one = fleet.of(node)
    if one is None:
        near = [each.host for each in fleet.computes if each.host.startswith(f"{node}.")]
        return [f"the cloud has {host}, not {node}: the inventory has to call it as Nova does" for host in near]
    if one.instances:
        return [f"{node} has instances: {names(one.instances)}; compute.drain it first, or compute.evacuate if it is dead"]
    if left := (*one.unconfirmed, *one.resized):
        why = f"{node} still has the disks of {names(left)}, whose move or resize is not confirmed"
        how = "compute.drain confirms moves, a resize its owner (openstack server resize confirm)"
        dead = "of a node that is dead nobody can: openstack server set --state active, once it was seen to be well"
        return [f"{why}: {how}; {dead}"]
    if one.enabled:
        return [f"{node} is in service, so Nova may start an instance on it at any moment: compute.drain it first"]
    if fenced and one.up:
        return [f"nova-compute on {node} is up in Nova's eyes, so it is not off: leave out fenced="]
    return [unexplained(node, one.strangers)] if one.strangers else []


def unexplained(node: str, consumers: Iterable[str]) -> str:
    """That a node's provider has allocations which nobody may take away by guess: it would free a place that somebody has."""
    return (
        f"Placement has allocations on {node} that no instance there explains: {', '.join(consumers)}; see what each is"
        " (openstack server show ID), delete those of nobody (openstack resource provider allocation delete ID), run again"
    )
