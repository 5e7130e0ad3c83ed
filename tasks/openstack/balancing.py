"""A load balancer of the cloud: what it has, and what is to be done that it has what is wanted. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir_stack.tasks.openstack.balancer_settings import Balancer


@dataclass(frozen=True)
class Balanced:
    """What the cloud has of one: ids ('' for what is not there), and what its parts say of themselves.

    `status` is the provisioning's (ACTIVE, PENDING_UPDATE, ERROR...), `works` the operating status, which is the data
    plane's. `members` are address to (id, weight, operating status); `monitor` is delay, timeout and retries.
    """

    id: str = ""
    status: str = ""
    works: str = ""
    vip: str = ""
    port: str = ""  # Neutron's, which has the vip
    listener: str = ""
    protocol: str = ""
    pool: str = ""
    pool_protocol: str = ""
    algorithm: str = ""
    members: Mapping[str, tuple[str, int, str]] = field(default_factory=dict)
    monitor_id: str = ""
    monitor_type: str = ""
    monitor: tuple[int, int, int] = (0, 0, 0)
    floating: str = ""
    leads_to: str = ""


@dataclass(frozen=True)
class Todo:
    """One call to the API: `verb` (make, set or remove), `kind`, and what it is called with. `old` is what stands there.

    `at` is a member's address.
    """

    verb: str
    kind: str
    id: str = ""
    words: Mapping[str, Any] = field(default_factory=dict)
    old: Mapping[str, Any] = field(default_factory=dict)
    at: str = ""

    def what(self, balancer: str) -> str:
        thing = f"the {self.kind} {self.at}".rstrip() if self.kind != "load balancer" else "the"
        rest = f"of the load balancer {balancer}" if self.kind != "load balancer" else f"load balancer {balancer}"
        return f"{self.verb} {thing} {rest}"

    def diff(self) -> str:
        thing = f"{self.kind} {self.at}".rstrip()  # of several effects one diff is made
        old = [f"-{thing}: {key} {value}\n" for key, value in self.old.items() if self.words.get(key) != value]
        new = [f"+{thing}: {key} {value}\n" for key, value in self.words.items() if self.old.get(key) != value]
        return "".join(line for line in (*old, *new) if not line.endswith(f": address {self.at}\n"))


def broken(name: str, status: str) -> str:
    """That a load balancer cannot be worked on, or nothing."""
    if status != "ERROR":
        return ""
    return (
        f"the load balancer {name} is in ERROR: why stands in octavia-worker's log;"
        f" openstack loadbalancer failover {name}, or remove it"
    )


def todo(name: str, now: Balanced, wanted: Balancer) -> tuple[Todo, ...]:
    """What is to be done, in order. Raises Refused for what can only be had by removing what is there."""
    if why := _another(name, now, wanted):
        raise Refused(why)
    return tuple(_todo(now, wanted))


def _another(name: str, now: Balanced, wanted: Balancer) -> str:
    """Octavia changes neither the address nor the protocols of what it has made."""
    have = f"the load balancer {name} is there, and"
    if now.id and wanted.vip and now.vip != str(wanted.vip):
        return f"{have} its address is {now.vip}, not {wanted.vip}: remove it first, or correct the inventory"
    if now.listener and now.protocol != "TCP":
        return f"{have} its listener on port {wanted.port} speaks {now.protocol}, not TCP: remove that first"
    if now.pool and now.pool_protocol != "TCP":
        return f"{have} its pool speaks {now.pool_protocol}, not TCP: remove that first"
    if now.monitor_id and now.monitor_type != "TCP":
        return f"{have} its health monitor tries by {now.monitor_type}, not TCP: remove that first"
    if now.floating and wanted.external and now.leads_to != wanted.external:
        return f"{have} its floating address {now.floating} is of {now.leads_to}, not of {wanted.external}: remove that first"
    return ""


def _todo(now: Balanced, wanted: Balancer) -> Iterator[Todo]:
    if not now.id:
        yield Todo("make", "load balancer", words={"vip": str(wanted.vip or "any"), "subnet": wanted.subnet or wanted.project})
    if not now.listener:
        yield Todo("make", "listener", words={"protocol": "TCP", "protocol_port": wanted.port})
    if not now.pool:
        yield Todo("make", "pool", words={"protocol": "TCP", "lb_algorithm": wanted.algorithm})
    elif now.algorithm != wanted.algorithm:
        yield Todo("set", "pool", now.pool, {"lb_algorithm": wanted.algorithm}, {"lb_algorithm": now.algorithm})
    yield from _members(now, wanted)
    monitor = dict(zip(("delay", "timeout", "max_retries"), (wanted.delay, wanted.timeout, wanted.retries), strict=True))
    old = dict(zip(monitor, now.monitor, strict=True))
    if not now.monitor_id:
        yield Todo("make", "health monitor", words={"type": "TCP", **monitor})
    elif old != monitor:
        yield Todo("set", "health monitor", now.monitor_id, monitor, old)
    if wanted.external and not now.floating:
        yield Todo("make", "floating address", words={"network": wanted.external})


def _members(now: Balanced, wanted: Balancer) -> Iterator[Todo]:
    """New ones before old ones go, so that somebody serves all the time."""
    for address, weight in ((str(address), weight) for address, weight in wanted.members.items()):
        number, has, _ = now.members.get(address, ("", 0, ""))
        if not number:
            yield Todo("make", "member", words={"address": address, "protocol_port": wanted.port, "weight": weight}, at=address)
        elif has != weight:
            yield Todo("set", "member", number, {"weight": weight}, {"weight": has}, address)
    known = {str(address) for address in wanted.members}
    for address, (number, has, _) in now.members.items():
        if address not in known:
            yield Todo("remove", "member", number, old={"address": address, "weight": has}, at=address)
