"""Red Hat's network scripts: ifcfg-*, route-*, rule-* (sysconfig.txt of initscripts; Open vSwitch's README.RHEL). Pure.

Routes are written in the form of `ip route`: the form ADDRESS0=, GATEWAY0= cannot say "straight over this link", and a
gateway whose route stands below it fails there.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from nornir_stack.tasks.networking.order import (
    Files,
    Text,
    above,
    bridge_of,
    devices,
    family,
    ip_route,
    ip_rule,
    other_way_out,
    over_vlans,
    routes,
    rules,
)
from nornir_stack.tasks.networking.resolvers import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir_stack.tasks.networking.resolvers import Resolver
    from nornir_stack.tasks.networking.settings import Link, Links

FOLDER = "/etc/sysconfig/network-scripts"
_TYPES = {"card": "Ethernet", "bridge": "Bridge", "bond": "Bond", "vlan": "Vlan", "ovs-bridge": "OVSBridge"}
_OVS_PORTS = {"card": "OVSPort", "ovs-bond": "OVSBond", "ovs-patch": "OVSPatchPort"}
_HEAD = "# written by nornir_stack from the inventory's `network`\n"


def render(links: Links, datapath: str = "system", names: Mapping[str, Resolver] = MappingProxyType({})) -> Files:
    """The files, by path. `links` is complete; `datapath` is for bridges of Open vSwitch, `names` are name servers by link."""
    files: Files = {}
    for name, link in links.links.items():
        resolver = names.get(name, NONE)
        pairs = [*_lines(name, link, links, datapath), *((f"DNS{n}", one) for n, one in enumerate(resolver.servers, 1))]
        pairs += [("DOMAIN", " ".join(resolver.search))] if resolver.search else []
        lines = [f"{key}={_quoted(value)}\n" for key, value in pairs]
        files[f"{FOLDER}/ifcfg-{name}"] = Text(_HEAD + "".join(lines))
    for name in devices(links):
        for version, suffix in ((4, ""), (6, "6")):
            ways = [ip_route(route, name) for route in routes(name, links) if family(route) == version]
            ours = [ip_rule(rule) for rule in rules(name, links) if family(rule) == version]
            for kind, found in (("route", ways), ("rule", ours)):
                if found:
                    files[f"{FOLDER}/{kind}{suffix}-{name}"] = Text(_HEAD + "".join(f"{line}\n" for line in found))
    return files


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text


def _lines(name: str, link: Link, links: Links, datapath: str) -> Iterator[tuple[str, object]]:
    bridge = bridge_of(name, links)
    ovs = bridge is not None and links.links[bridge].kind == "ovs-bridge"
    bonded = link.kind == "card" and links.links.get(above(name, links) or "", link).kind == "ovs-bond"
    yield "DEVICE", name
    yield "ONBOOT", "yes"
    yield "NM_CONTROLLED", "no"
    if link.kind.startswith("ovs-") or (ovs and not bonded):
        yield "DEVICETYPE", "ovs"
    if not bonded:
        yield "TYPE", _OVS_PORTS[link.kind] if ovs else _TYPES[link.kind]
    yield from _above(name, links) if not ovs else _ovs_port(link, bridge or "", bonded=bonded)
    if link.kind == "ovs-bridge" and datapath != "system":
        yield "OVS_EXTRA", f"set bridge {name} datapath_type={datapath}"
    if link.kind == "bridge":
        yield "STP", "no"
        yield "DELAY", 0
    elif link.kind == "bond":
        yield "BONDING_MASTER", "yes"
        yield "BONDING_OPTS", f"mode={link.mode or 'active-backup'} miimon=100"
    elif link.kind == "vlan":
        yield "VLAN", "yes"
        yield "PHYSDEV", link.over
        yield "VLAN_ID", link.vlan
    if link.mac is not None:
        yield "MACADDR", link.mac
    if link.mtu is not None:
        yield "MTU", link.mtu
    yield from _addresses(name, link, links)
    if over_vlans(name, links) and not link.addresses and not link.dhcp:
        yield "IPV6INIT", "no"


def _above(name: str, links: Links) -> Iterator[tuple[str, object]]:
    over = above(name, links)
    if over is None:
        return
    if links.links[over].kind == "bridge":
        yield "BRIDGE", over
    else:
        yield "MASTER", over
        yield "SLAVE", "yes"


def _ovs_port(link: Link, bridge: str, *, bonded: bool) -> Iterator[tuple[str, object]]:
    if bonded:  # its bond names it
        return
    yield "OVS_BRIDGE", bridge
    options = [f"tag={link.vlan}"] if link.vlan is not None else []
    options += [f"trunks={','.join(map(str, link.trunks))}"] if link.trunks else []
    if link.kind == "ovs-bond":
        yield "BOND_IFACES", " ".join(link.ports)
        options.append(f"bond_mode={link.mode or 'active-backup'}")
    elif link.kind == "ovs-patch":
        yield "OVS_PATCH_PEER", link.peer
    if options:
        yield "OVS_OPTIONS", " ".join(options)


def _addresses(name: str, link: Link, links: Links) -> Iterator[tuple[str, object]]:
    yield "BOOTPROTO", "dhcp" if link.dhcp else "none"
    if link.dhcp and other_way_out(name, links):
        yield "DEFROUTE", "no"
    four = [address for address in link.addresses if address.version == 4]  # noqa: PLR2004
    for number, address in enumerate(four):
        yield f"IPADDR{number or ''}", address.ip
        yield f"PREFIX{number or ''}", address.network.prefixlen
    six = [address for address in link.addresses if address.version == 6]  # noqa: PLR2004
    if six:
        yield "IPV6INIT", "yes"
        yield "IPV6_AUTOCONF", "no"
        yield "IPV6ADDR", six[0]
        if six[1:]:
            yield "IPV6ADDR_SECONDARIES", " ".join(map(str, six[1:]))
