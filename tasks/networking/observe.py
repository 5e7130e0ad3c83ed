"""A node's network as it is, in one read: links, addresses, routes, rules, Open vSwitch, and who manages it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.tasks.networking import resolvers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.networking.resolvers import Resolver
    from nornir_stack.tasks.networking.settings import AnyAddress, AnyInterface, AnyNetwork

# Each section begins with a line of the record separator and its name. iproute2 speaks JSON since 4.14 (2017); by numbers
# (-N) since 5.3 (2019): /etc/iproute2/rt_tables of a node may have a name of its own for any table.
# `way` is what sshd says of this connection, told to the first program that it started (sudo forgets it). `described` tells
# which devices have a file: networkd's by their index.
_LOOK = r"""
export LC_ALL=C
s() { printf '\036%s\n' "$1"; }
s links; ip -j -d link show
s addresses; ip -j address show
s routes; ip -N -j -4 route show table all; s routes6; ip -N -j -6 route show table all
s rules; ip -N -j -4 rule show; s rules6; ip -N -j -6 rule show
s kernel; if [ -d /sys/module/openvswitch ] || modprobe --quiet --dry-run openvswitch 2>/dev/null; then echo openvswitch; fi
s sysctl; for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/proxy_arp; do echo "$f $(cat "$f")"; done
s units; systemctl is-active systemd-networkd NetworkManager networking network openvswitch-switch openvswitch
s files; ls -d /etc/netplan/*.yaml /usr/sbin/netplan /sbin/ifup /usr/sbin/ifup /etc/network/interfaces \
    /etc/sysconfig/network-scripts 2>/dev/null
s way; w=$SSH_CONNECTION p=$$; while [ -z "$w" ] && [ "${p:-0}" -gt 1 ]; do
    w=$({ tr '\0' '\n' <"/proc/$p/environ" | sed -n 's/^SSH_CONNECTION=//p'; } 2>/dev/null)
    p=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$p/status" 2>/dev/null); done; echo "$w"
s described; grep -ls '^NETWORK_FILE=/' /run/systemd/netif/links/* | sed 's|.*/|networkd |'
sed -n 's/^[[:space:]]*iface[[:space:]]\{1,\}\([^[:space:]]*\).*/ifupdown \1/p' \
    /etc/network/interfaces /etc/network/interfaces.d/* 2>/dev/null
for f in /etc/sysconfig/network-scripts/ifcfg-*; do if [ -e "$f" ]; then echo "ifcfg ${f#*/ifcfg-}"; fi; done
s resolvers
grep -Hs '^NETWORK_FILE=/' /run/systemd/netif/links/* | while IFS= read -r l; do
    i=${l%%:*}; sed -n "s/^\(DNS\|Domains\)=/networkd ${i##*/} \1 /p" "${l#*=}"; done
sed -n -e 's/^[[:space:]]*iface[[:space:]]\{1,\}\([^[:space:]]*\).*/iface \1/p' \
    -e 's/^[[:space:]]*\(dns-[a-z]*[[:space:]]\)/\1/p' /etc/network/interfaces /etc/network/interfaces.d/* 2>/dev/null |
    while read -r k v; do if [ "$k" = iface ]; then d=$v; else echo "ifupdown $d $k $v"; fi; done
if systemctl -q is-active NetworkManager 2>/dev/null; then
    nmcli -t -e no -f DEVICE,FILENAME connection show --active | while IFS=: read -r d f; do
        sed -n "s/^\(dns\|dns-search\|DNS[0-9]*\|DOMAIN\)=/nm $d \1 /p" "$f"; done
fi 2>/dev/null
for f in /etc/sysconfig/network-scripts/ifcfg-*; do
    if [ -e "$f" ]; then sed -n "s/^\(DNS[0-9]*\|DOMAIN\)=/ifcfg ${f#*/ifcfg-} \1 /p" "$f"; fi; done
s offload; if command -v ethtool >/dev/null; then for d in /sys/class/net/*; do
    if ethtool -k "${d##*/}" 2>/dev/null | grep -q '^tx-checksumming: off'; then echo "${d##*/}"; fi; done; fi
if command -v ovs-vsctl >/dev/null; then for t in Bridge Port Interface; do
    s ovs-$t; ovs-vsctl --timeout=5 --format=json list $t 2>/dev/null; done; fi
:
"""


@dataclass(frozen=True)
class SeenLink:
    """A device: `kind` is the kernel's (`` for a card), `master` the bridge or bond that it is a port of.

    `hardware` is the permanent address of a card that a bus of the machine has, '' of any other device.
    `mode` and `miimon` (milliseconds, 0: it does not look whether its ports are alive) are a bond's.
    """

    name: str
    kind: str = ""
    up: bool = False
    mtu: int = 1500
    mac: str = ""
    master: str = ""
    over: str = ""
    vlan: int = 0
    mode: str = ""
    miimon: int = 0
    hardware: str = ""
    addresses: tuple[AnyInterface, ...] = ()
    dynamic: tuple[AnyInterface, ...] = ()


@dataclass(frozen=True)
class SeenRoute:
    """A route of any table, its words those of ip-route(8); `via` is '' where it is straight over the link.

    `protocol` is who made it: `kernel` by an address, `dhcp`, `ra`, or anything else by hand or from a file.
    """

    target: AnyNetwork
    via: str
    link: str
    table: str = "main"
    metric: int = 0
    kind: str = "unicast"
    protocol: str = ""


@dataclass(frozen=True)
class SeenPort:
    """A port of an Open vSwitch bridge with the devices in it (two or more: a bond)."""

    interfaces: tuple[str, ...]
    tag: int = 0
    trunks: tuple[int, ...] = ()
    mode: str = ""
    type: str = ""
    peer: str = ""
    error: str = ""


@dataclass(frozen=True)
class SeenBridge:
    """A bridge of Open vSwitch; `datapath` is `system` or `netdev`."""

    datapath: str
    ports: Mapping[str, SeenPort]


@dataclass(frozen=True)
class NodeNetwork:
    """All of it. `units` are those that run; `files` which of the managers' files there are.

    `way` is the address that this connection came to, None where it is none of ssh; `described` are a manager's name and a
    link that its files are about. `resolvers` are the name servers of their files by link, without those of DHCP.
    """

    links: Mapping[str, SeenLink] = field(default_factory=dict)
    routes: tuple[SeenRoute, ...] = ()
    rules: tuple[str, ...] = ()
    bridges: Mapping[str, SeenBridge] = field(default_factory=dict)
    has_ovs: bool = False
    kernel_ovs: bool = False
    forwarding: bool = False
    proxy_arp: tuple[str, ...] = ()
    offload_off: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()
    way: AnyAddress | None = None
    described: frozenset[tuple[str, str]] = frozenset()
    resolvers: Mapping[str, Resolver] = field(default_factory=dict)

    @property
    def datapath(self) -> str:
        """What a new bridge of Open vSwitch gets here."""
        return "system" if self.kernel_ovs else "netdev"


def observe(task: Task) -> Result[NodeNetwork]:
    """Observe links, addresses, routes, rules, Open vSwitch and forwarding, in one read."""
    node = Node(task)
    return node.done(look(node))


def look(node: Node) -> NodeNetwork:
    return parse(node.read(sh(_LOOK, label="look at the network")).stdout)


def parse(text: str) -> NodeNetwork:
    """What the look printed. Pure."""
    parts = {title: body for title, _, body in (part.partition("\n") for part in text.split("\x1e")[1:])}
    by_index = {str(item["ifindex"]): item["ifname"] for item in _json(parts["links"]) if "ifindex" in item}
    settings = dict(line.split() for line in parts["sysctl"].splitlines())
    names = ("systemd-networkd", "NetworkManager", "networking", "network", "openvswitch-switch", "openvswitch")
    active = (name for name, state in zip(names, parts["units"].splitlines(), strict=False) if state == "active")
    prefix = "/proc/sys/net/ipv4/conf/"
    return NodeNetwork(
        links=_links(_json(parts["links"]), _json(parts["addresses"])),
        routes=tuple(_routes(_json(parts["routes"]), 4)) + tuple(_routes(_json(parts["routes6"]), 6)),
        rules=tuple(rule for version in ("rules", "rules6") for rule in _rules(_json(parts[version]))),
        bridges=_bridges(*(_table(parts.get(f"ovs-{name}", "")) for name in ("Bridge", "Port", "Interface"))),
        has_ovs="ovs-Bridge" in parts,
        kernel_ovs="openvswitch" in parts["kernel"],
        forwarding=settings["/proc/sys/net/ipv4/ip_forward"] == "1",
        proxy_arp=tuple(
            key.removeprefix(prefix).removesuffix("/proxy_arp")
            for key, value in settings.items()
            if key.startswith(prefix) and value == "1"
        ),
        offload_off=frozenset(parts["offload"].split()),
        units=frozenset(active),
        files=frozenset(parts["files"].split()),
        way=_way(parts.get("way", "")),
        described=frozenset(_described(parts.get("described", ""), by_index)),
        resolvers=resolvers.parse(parts.get("resolvers", ""), by_index),
    )


def _way(text: str) -> AnyAddress | None:
    """The third word of SSH_CONNECTION (ssh(1)): the server's address, IPv4 in IPv6 where sshd listens on both."""
    words = text.split()
    if len(words) != 4:  # noqa: PLR2004
        return None
    found = ip_address(words[2].partition("%")[0])
    return getattr(found, "ipv4_mapped", None) or found


def _described(text: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for manager, link in (line.split(maxsplit=1) for line in text.splitlines() if " " in line):
        yield manager, names.get(link, "") if manager == "networkd" else link


# linux/rtnetlink.h: RT_TABLE_*, RTN_*, RTPROT_*
_TABLES = {"253": "default", "254": "main", "255": "local"}
_TYPES = {
    "2": "local",
    "3": "broadcast",
    "4": "anycast",
    "5": "multicast",
    "6": "blackhole",
    "7": "unreachable",
    "8": "prohibit",
    "9": "throw",
}
_PROTOCOLS = {"2": "kernel", "3": "boot", "4": "static", "9": "ra", "16": "dhcp"}


def _word(words: Mapping[str, str], value: object) -> str:
    return words.get(str(value), str(value))


def _json(text: str) -> list[dict[str, Any]]:
    return [item for item in json.loads(text or "[]") if item]


def _links(links: list[dict[str, Any]], addresses: list[dict[str, Any]]) -> dict[str, SeenLink]:
    held = {item["ifname"]: item.get("addr_info", []) for item in addresses}
    found = {}
    for item in links:
        info = item.get("linkinfo", {})
        kind = info.get("info_kind", "")
        data = info.get("info_data", {})
        mine = [one for one in held.get(item["ifname"], []) if one.get("scope") != "link" and "local" in one]
        found[item["ifname"]] = SeenLink(
            name=item["ifname"],
            kind=kind,
            up="UP" in item.get("flags", []),
            mtu=item.get("mtu", 0),
            mac=item.get("address", ""),
            master=item.get("master", ""),
            over=item.get("link", "") if kind == "vlan" else "",
            vlan=data.get("id", 0) if kind == "vlan" else 0,
            mode=data.get("mode", "") if kind == "bond" else "",
            miimon=data.get("miimon", 0) if kind == "bond" else 0,
            hardware=item.get("permaddr", item.get("address", "")) if "parentbus" in item and not kind else "",
            addresses=tuple(_address(one) for one in mine if not one.get("dynamic")),
            dynamic=tuple(_address(one) for one in mine if one.get("dynamic")),
        )
    return found


def _address(item: dict[str, Any]) -> AnyInterface:
    return ip_interface(f"{item['local']}/{item['prefixlen']}")


def _routes(items: list[dict[str, Any]], version: int) -> Iterator[SeenRoute]:
    default = "::/0" if version == 6 else "0.0.0.0/0"  # noqa: PLR2004
    for item in items:
        kind = _word(_TYPES, item.get("type", "unicast"))
        if kind in {"local", "broadcast", "multicast", "anycast"} or item["dst"].startswith("ff00:"):
            continue
        target = ip_network(default if item["dst"] == "default" else item["dst"])
        for hop in item.get("nexthops", [item]):
            via = hop.get("gateway") or hop.get("via", {}).get("host", "")
            table, protocol = _word(_TABLES, item.get("table", "main")), _word(_PROTOCOLS, item.get("protocol", ""))
            yield SeenRoute(target, via, hop.get("dev", ""), table, item.get("metric", 0), kind, protocol)


def _rules(items: list[dict[str, Any]]) -> Iterator[str]:
    for item in items:
        words = [f"{item['priority']}:"]
        for key, size in (("src", "srclen"), ("dst", "dstlen")):
            word = {"src": "from", "dst": "to"}[key]
            if key in item and item[key] != "all":
                words.append(f"{word} {ip_network(f'{item[key]}/{item[size]}' if size in item else item[key])}")
        words += [f"table {_word(_TABLES, item['table'])}"] if "table" in item else []
        yield " ".join(words)


def _table(text: str) -> dict[str, dict[str, Any]]:
    """Rows of a table of the database by their uuid: `ovs-vsctl --format=json list`."""
    if not text.strip():
        return {}
    table = json.loads(text)
    rows = [dict(zip(table["headings"], map(_plain, row), strict=True)) for row in table["data"]]
    return {row["_uuid"]: row for row in rows}


def _plain(value: Any) -> Any:
    """OVSDB's JSON (RFC 7047, 5.1): a set of one value is that value; a set and a map as list and dict."""
    if not isinstance(value, list):
        return value
    kind, inner = value
    if kind == "uuid":
        return inner
    if kind == "map":
        return {key: _plain(one) for key, one in inner}
    return [_plain(one) for one in inner]


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _one(value: Any) -> Any:
    return next(iter(_many(value)), None)


def _bridges(bridges: Mapping[str, Any], ports: Mapping[str, Any], interfaces: Mapping[str, Any]) -> dict[str, SeenBridge]:
    found = {}
    for bridge in bridges.values():
        mine = [ports[uuid] for uuid in _many(bridge["ports"]) if uuid in ports]
        held = {port["name"]: _port(port, interfaces) for port in mine if port["name"] != bridge["name"]}
        found[bridge["name"]] = SeenBridge(bridge["datapath_type"] or "system", held)
    return found


def _port(port: Mapping[str, Any], interfaces: Mapping[str, Any]) -> SeenPort:
    inside = [interfaces[uuid] for uuid in _many(port["interfaces"]) if uuid in interfaces]
    return SeenPort(
        interfaces=tuple(sorted(one["name"] for one in inside)),
        tag=_one(port["tag"]) or 0,
        trunks=tuple(sorted(_many(port["trunks"]))),
        mode=_one(port["bond_mode"]) or "",
        type=inside[0]["type"] if inside else "",
        peer=inside[0]["options"].get("peer", "") if inside else "",
        error="; ".join(str(_one(one["error"])) for one in inside if _one(one.get("error"))),
    )
