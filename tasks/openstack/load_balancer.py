"""`openstack.load_balancers`: load balancers of the cloud's own (Octavia), from a few lines of inventory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Plan, Stage, do
from nornir_stack.errors import Refused, TimedOut, UsageError
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.select import nearest
from nornir_stack.tasks.openstack.balancer_settings import Balancers
from nornir_stack.tasks.openstack.balancing import Balanced, broken, todo
from nornir_stack.tasks.openstack.one_cloud import CLOUD, of_the_cloud, project_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.inventory import Inventory
    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.balancer_settings import Balancer
    from nornir_stack.tasks.openstack.balancing import Todo

_SETTLE_SECONDS = 600.0
_PAUSE = 0.5


def load_balancers() -> Chain:
    """The inventory's load balancers: address, TCP listener, pool, members with weights, health monitor, floating address."""
    return Chain("openstack.load_balancers", Plan("inventory", declared, _parts, CLOUD))


def declared(task: Task) -> Result[tuple[str, ...]]:
    """Observe which load balancers the inventory has."""
    return Node(task).done(tuple(_of(task.nornir.inventory)))


def load_balancer(task: Task, *, balancer: str) -> Result[Balanced]:
    """Have one load balancer of the inventory in Octavia; each step waits until it is ACTIVE again. What is there keeps its id.

    Members that the inventory does not have go, after the new ones came. Raises UsageError for one that the inventory lacks,
    Refused for one in ERROR, and for what could only be had by removing what is there.
    """
    node = Node(task)
    known = _of(task.nornir.inventory)
    if balancer not in known:
        raise UsageError(f"balancers has no {balancer!r}{nearest(balancer, known)}")
    wanted, cloud = known[balancer], Cloud(node)
    now = _settled(node, cloud, balancer, wanted)
    steps = todo(balancer, now, wanted)
    kinds = {step.kind for step in steps if step.verb == "make"}
    if why := cloud.read("what it stands on", lambda c: _lacking(c, wanted, kinds)):
        raise Refused(why)
    for step in steps:
        cloud.change(
            step.what(balancer),
            lambda c, s=step: _call(c, balancer, wanted, s),  # type: ignore[misc]
            diff=step.diff(),
            repeatable=step.verb != "make",
        )
        if not node.dry_run:
            _settled(node, cloud, balancer, wanted)
    return node.done(lambda: cloud.read(f"the load balancer {balancer}", lambda c: _look(c, balancer, wanted)))


def _parts(seen: Seen[tuple[str, ...]]) -> Chain:
    for host, why in seen.missing.items():
        raise Refused(f"{host}: {why}")
    names = [name for _, found in seen.items() for name in found]
    if not names:
        raise Refused("the inventory has no load balancer of the cloud: say balancers: ... of the host of the role cloud")
    return Chain("in order", Stage("load balancers", [do(load_balancer, balancer=name) for name in names], CLOUD))


def _of(inventory: Inventory) -> dict[str, Balancer]:
    return dict(of_the_cloud(inventory, Balancers).balancers)


def _settled(node: Node, cloud: Cloud, name: str, wanted: Balancer) -> Balanced:
    """What there is, once Octavia is done with it: it takes no second change before (HTTP 409)."""
    waited = 0.0
    while True:
        now = cloud.read(f"the load balancer {name}", lambda c: _look(c, name, wanted))
        if why := broken(name, now.status):
            raise Refused(why)
        if not now.status.startswith("PENDING") or node.dry_run:
            return now
        if waited > _SETTLE_SECONDS:
            minutes = _SETTLE_SECONDS / 60
            raise TimedOut(f"the load balancer {name} is {now.status} for {minutes:.0f} minutes: does octavia-worker run?")
        node.gate.wait(_PAUSE, f"the load balancer {name} to settle")
        waited += _PAUSE


def _call(cloud: Connection, name: str, wanted: Balancer, step: Todo) -> None:
    """One step; ids of what earlier ones made are looked up."""
    now = _look(cloud, name, wanted)
    if step.kind == "load balancer":
        _make_balancer(cloud, name, wanted)
    elif step.kind == "floating address":
        _make_floating(cloud, wanted, now.port)
    elif step.verb == "make":
        _make(cloud, name, now, step)
    else:
        _set(cloud, now, step)


def _lacking(cloud: Connection, wanted: Balancer, kinds: set[str]) -> str:
    """What the parts that are to be made need and the cloud has not, told before the first is made; else ''."""
    if "load balancer" in kinds and _subnet(cloud, wanted) is None:
        return f"the project {wanted.project} has no subnet {wanted.subnet or wanted.project}"
    if "floating address" in kinds and _any(cloud).network.find_network(wanted.external) is None:
        return f"the cloud has no network {wanted.external}: run openstack.external_networks first"
    return ""


def _subnet(cloud: Connection, wanted: Balancer) -> Any:
    title = wanted.subnet or wanted.project
    return next(iter(_any(cloud).network.subnets(name=title, project_id=project_id(cloud, wanted.project))), None)


def _make_balancer(cloud: Connection, name: str, wanted: Balancer) -> None:
    owner, subnet = project_id(cloud, wanted.project), _subnet(cloud, wanted)
    address = {"vip_address": str(wanted.vip)} if wanted.vip else {}
    _any(cloud).load_balancer.create_load_balancer(name=name, vip_subnet_id=subnet.id, project_id=owner, **address)


def _make_floating(cloud: Connection, wanted: Balancer, port: str) -> None:
    outside = _any(cloud).network.find_network(wanted.external)
    owner = project_id(cloud, wanted.project)
    _any(cloud).network.create_ip(floating_network_id=outside.id, port_id=port, project_id=owner)


def _make(cloud: Connection, name: str, now: Balanced, step: Todo) -> None:
    api = _any(cloud).load_balancer
    if step.kind == "listener":
        api.create_listener(name=name, load_balancer_id=now.id, **step.words)
    elif step.kind == "pool":
        api.create_pool(name=name, listener_id=now.listener, **step.words)
    elif step.kind == "member":
        api.create_member(now.pool, **step.words)
    else:
        api.create_health_monitor(name=name, pool_id=now.pool, **step.words)


def _set(cloud: Connection, now: Balanced, step: Todo) -> None:
    api = _any(cloud).load_balancer
    if step.kind == "pool":
        api.update_pool(step.id, **step.words)
    elif step.kind == "health monitor":
        api.update_health_monitor(step.id, **step.words)
    elif step.verb == "set":
        api.update_member(step.id, now.pool, **step.words)
    else:
        api.delete_member(step.id, now.pool)


def _look(cloud: Connection, name: str, wanted: Balancer) -> Balanced:
    api, network = _any(cloud).load_balancer, _any(cloud).network
    one = next(iter(api.load_balancers(name=name, project_id=project_id(cloud, wanted.project))), None)
    if one is None:
        return Balanced()
    listener = next(
        (each for each in api.listeners() if _of_it(each.load_balancers, one.id) and each.protocol_port == wanted.port), None
    )
    pool = api.get_pool(listener.default_pool_id) if listener and listener.default_pool_id else None
    monitor = api.get_health_monitor(pool.health_monitor_id) if pool and pool.health_monitor_id else None
    found = list(api.members(pool)) if pool else []
    members = {each.address: (each.id, each.weight, each.operating_status) for each in found}
    floating = next(iter(network.ips(port_id=one.vip_port_id)), None) if one.vip_port_id else None
    return Balanced(
        one.id,
        settling(one.provisioning_status, [each.provisioning_status for each in (listener, pool, monitor, *found) if each]),
        one.operating_status,
        one.vip_address,
        one.vip_port_id or "",
        listener.id if listener else "",
        listener.protocol if listener else "",
        pool.id if pool else "",
        pool.protocol if pool else "",
        pool.lb_algorithm if pool else "",
        members,
        monitor.id if monitor else "",
        monitor.type if monitor else "",
        (monitor.delay, monitor.timeout, monitor.max_retries) if monitor else (0, 0, 0),
        floating.floating_ip_address if floating else "",
        network.get_network(floating.floating_network_id).name if floating else "",
    )


def settling(whole: str, parts: Sequence[str]) -> str:
    """The status of a load balancer: that of a part which Octavia is not done with, else its own. Pure."""
    return next((part for part in parts if part.startswith("PENDING")), whole)


def _of_it(owners: Any, number: str) -> bool:
    return any(each["id"] == number for each in owners or ())


def _any(cloud: Connection) -> Any:
    return cloud
