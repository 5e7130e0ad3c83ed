"""Removing a network of the cloud: what hangs on it is shown first, and taken away in the order that Neutron wants."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud as Api

if TYPE_CHECKING:
    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result

_OF_ROUTERS = ("network:router_interface", "network:router_gateway", "network:ha_router_replicated_interface")
_OF_NEUTRON = (*_OF_ROUTERS, "network:dhcp", "network:floatingip", "network:distributed")


@dataclass(frozen=True)
class Hanging:
    """What hangs on a network: id and words for people, of each kind. `others` are ports of instances and the like."""

    network: str
    name: str
    floating: tuple[tuple[str, str], ...]
    gateways: tuple[tuple[str, str], ...]  # routers that lead to it
    inner: tuple[tuple[str, str, str], ...]  # routers with an interface on it, and the subnet
    subnets: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...]
    # with routers that go too: what they have on other networks (router, words, subnet); they themselves are `gateways`
    elsewhere: tuple[tuple[str, str, str], ...] = ()
    routers: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each, in the order of their removal."""
        return (
            *(f"floating address {words}" for _, words in self.floating),
            *(f"gateway of the router {words}" for _, words in self.gateways),
            *(f"interface of the router {words}" for _, words, _ in (*self.inner, *self.elsewhere)),
            *(f"router {words}" for _, words in self.gateways if self.routers),
            *(f"subnet {words}" for _, words in self.subnets),
            f"network {self.name}",
        )

    @property
    def word(self) -> str:
        """Eight digits that stand for exactly this: another network, address or router gives others."""
        shown = (*self.floating, *self.gateways, *self.inner, *self.elsewhere, *self.subnets)
        ids = sorted([self.network, f"{self.routers}", *(one[0] for one in shown)])
        return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:8]


def remove_network(task: Task, *, network: str, routers: bool = False, confirm: str = "") -> Result[tuple[str, ...]]:
    """Remove a network and what hangs on it: floating addresses, gateways, routers' interfaces, subnets. The value: lines.

    Without the right `confirm` it shows that, with the word to confirm it by, and does nothing; the word is right as long
    as nothing more hangs on it. Routers that lead to it stay, unless `routers`. Raises Refused where instances' ports are
    on it: those are removed first.
    """
    node = Node(task)
    cloud = Api(node)
    now = cloud.read(f"the network {network}", lambda c: _look(c, network, routers=routers))
    if now is None:
        return node.done(())
    if now.others:
        listed = "; ".join(words for _, words in now.others)
        raise Refused(f"ports of others are on {network}: {listed}: remove those first")
    if confirm != now.word:
        shown = "\n".join(f"  {line}" for line in now.lines)
        raise Refused(f"this would remove, in this order:\n{shown}\nconfirm it by confirm={now.word}")
    for number, words in now.floating:
        cloud.change(f"remove the floating address {words}", lambda c, n=number: _net(c).delete_ip(n), repeatable=True)  # type: ignore[misc]
    for number, words in now.gateways:
        cloud.change(
            f"take the gateway from the router {words}",
            lambda c, n=number: _net(c).update_router(n, external_gateway_info={}),  # type: ignore[misc]
            repeatable=True,
        )
    for number, words, subnet in (*now.inner, *now.elsewhere):
        cloud.change(
            f"take the interface from the router {words}",
            lambda c, n=number, s=subnet: _net(c).remove_interface_from_router(n, subnet_id=s),  # type: ignore[misc]
        )
    for number, words in now.gateways if routers else ():
        cloud.change(f"remove the router {words}", lambda c, n=number: _net(c).delete_router(n), repeatable=True)  # type: ignore[misc]
    for number, words in now.subnets:
        cloud.change(f"remove the subnet {words}", lambda c, n=number: _net(c).delete_subnet(n), repeatable=True)  # type: ignore[misc]
    cloud.change(f"remove the network {network}", lambda c: _net(c).delete_network(now.network), repeatable=True)
    return node.done(now.lines)


def _look(cloud: Connection, name: str, *, routers: bool) -> Hanging | None:
    network = _net(cloud)
    found = network.find_network(name)
    if found is None:
        return None
    known = {each.id: each for each in network.routers()}
    ports = list(network.ports(network_id=found.id))
    leading = [each for each in known.values() if (each.external_gateway_info or {}).get("network_id") == found.id]
    inner = [one for port in ports if port.device_id in known for one in _interface(known[port.device_id], port)]
    elsewhere = [
        one
        for router in (leading if routers else ())
        for port in network.ports(device_id=router.id)
        if port.network_id != found.id
        for one in _interface(router, port)
    ]
    return Hanging(
        found.id,
        found.name,
        tuple(
            (each.id, each.floating_ip_address + (f" of {each.fixed_ip_address}" if each.fixed_ip_address else ""))
            for each in network.ips(floating_network_id=found.id)
        ),
        tuple((each.id, each.name) for each in leading),
        tuple(inner),
        tuple((each.id, each.cidr) for each in network.subnets(network_id=found.id)),
        tuple(
            (port.id, f"{port.device_owner or 'a port'} {', '.join(ip['ip_address'] for ip in port.fixed_ips)}")
            for port in ports
            if port.device_owner not in _OF_NEUTRON
        ),
        tuple(elsewhere),
        routers,
    )


def _interface(router: Any, port: Any) -> list[tuple[str, str, str]]:
    """Router, words and subnet of a port that is a router's interface; nothing for another."""
    if port.device_owner not in {_OF_ROUTERS[0], _OF_ROUTERS[2]}:
        return []
    return [(router.id, f"{router.name} on {ip['ip_address']}", ip["subnet_id"]) for ip in port.fixed_ips]


def _net(cloud: Connection) -> Any:
    return cloud.network
