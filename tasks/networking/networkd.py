"""systemd-networkd: a .netdev for each device that is made, and a .network for each link (systemd.network(5)). Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from nornir_stack.tasks.networking.order import (
    Files,
    Text,
    above,
    bridge_of,
    devices,
    in_ovs,
    on_link,
    over_vlans,
    routes,
    rules,
    sections,
)
from nornir_stack.tasks.networking.resolvers import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir_stack.tasks.networking.resolvers import Resolver
    from nornir_stack.tasks.networking.settings import Link, Links

FOLDER = "/etc/systemd/network"
HEAD = "# written by nornir_stack from the inventory's `network`\n"
# The first file that matches a link counts, so ours stand before what installers and netplan write (10-...).
_PREFIX = "05-nornir-stack-"


def path(name: str, kind: str) -> str:
    return f"{FOLDER}/{_PREFIX}{name}.{kind}"


def render(links: Links, names: Mapping[str, Resolver] = MappingProxyType({})) -> Files:
    """The files, by path. `links` is complete, `names` are name servers by link.

    Open vSwitch keeps its own; its devices are given addresses here.
    """
    files: Files = {}
    for name, link in devices(links).items():
        if link.kind in {"bridge", "bond", "vlan"}:
            files[path(name, "netdev")] = Text(HEAD + sections(_netdev(name, link)))
        network = _network(name, link, links, names.get(name, NONE))
        files[path(name, "network")] = Text(HEAD + sections(network))
    return files


def _netdev(name: str, link: Link) -> Iterator[tuple[str, Mapping[str, object]]]:
    yield "NetDev", {"Name": name, "Kind": link.kind, "MTUBytes": link.mtu, "MACAddress": link.mac}
    if link.kind == "bridge":
        yield "Bridge", {"STP": "no"}
    elif link.kind == "bond":
        yield "Bond", {"Mode": link.mode or "active-backup", "MIIMonitorSec": "100ms"}
    else:
        yield "VLAN", {"Id": link.vlan}


def _network(name: str, link: Link, links: Links, resolver: Resolver) -> Iterator[tuple[str, Mapping[str, object]]]:
    over = above(name, links)
    port = bridge_of(name, links) is not None if in_ovs(name, links) else over is not None
    yield "Match", {"Name": name}
    yield (
        "Link",
        {
            "MTUBytes": link.mtu,
            "MACAddress": link.mac,
            "RequiredForOnline": "no" if port or not (link.addresses or link.dhcp) else None,
        },
    )
    made = link.kind in {"bridge", "bond", "ovs-bridge"}
    yield (
        "Network",
        {
            "Bridge": over if over and links.links[over].kind == "bridge" else None,
            "Bond": over if over and links.links[over].kind == "bond" else None,
            "VLAN": over_vlans(name, links),
            "DHCP": "ipv4" if link.dhcp else "no",
            "Address": [str(address) for address in link.addresses],
            "DNS": resolver.servers,
            "Domains": " ".join(resolver.search) or None,
            "LinkLocalAddressing": "no" if port else None,
            "IPv6AcceptRA": "no",
            "ConfigureWithoutCarrier": "yes" if made and not link.dhcp else None,
        },
    )
    for route in routes(name, links):
        yield (
            "Route",
            {
                "Destination": str(route.target),
                "Gateway": route.via,
                "GatewayOnLink": "yes" if on_link(route, name, links) else None,
                "Scope": "link" if route.via is None and route.target.version == 4 else None,  # noqa: PLR2004
                "Metric": route.metric,
                "Table": route.table,
            },
        )
    for rule in rules(name, links):
        yield (
            "RoutingPolicyRule",
            {"From": rule.source, "To": rule.target, "Table": rule.table, "Priority": rule.priority},
        )
