"""Which static routes an upstream router must have, of the whole inventory. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.inventory.networks import networks_of
from nornir_stack.select import whole
from nornir_stack.settings import settings_of
from nornir_stack.tasks.networking.dialects import Static
from nornir_stack.tasks.networking.settings import Route
from nornir_stack.tasks.networking.uplink import External, next_hop

if TYPE_CHECKING:
    from ipaddress import IPv4Network

    from nornir.core.inventory import Inventory

    from nornir_stack.tasks.networking.settings import Links


def upstream_routes(inventory: Inventory) -> tuple[list[Static], list[IPv4Network]]:
    """The routes, one to each network that a host routes, and all networks that hosts bring in, however they do.

    Raises Refused where a host names no address to send a network to, UsageError for an inventory that forgot hosts.
    """
    wanted: list[Static] = []
    managed: list[IPv4Network] = []
    for host in whole(inventory).hosts.values():
        for name, uplink in settings_of(host, External).networks.items():
            network = networks_of(host.defaults).get(name)
            if network is None or network.cidr.version != 4:  # noqa: PLR2004
                continue
            managed.append(network.cidr)
            if uplink.mode == "routed":
                hop = next_hop(host, uplink)
                if hop is None:
                    raise Refused(f"{host.name}: where is {name} to be sent? Its hostname is no address: say next_hop")
                wanted.append(Static(network.cidr, hop))
    return wanted, managed


def with_upstream(links: Links, inventory: Inventory) -> Links:
    """A Linux router's declaration with these routes."""
    wanted, _ = upstream_routes(inventory)
    more = [Route(to=one.target, via=one.via) for one in wanted if one.target not in [route.target for route in links.routes]]
    return replace(links, routes=(*links.routes, *more))
