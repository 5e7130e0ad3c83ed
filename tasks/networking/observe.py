"""A node's network as it is, in one read: links, addresses, routes, rules, Open vSwitch, and who manages it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network
from typing import TYPE_CHECKING, Any

from nornir_stack.command import sh
from nornir_stack.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.networking.settings import AnyInterface, AnyNetwork

# Each section begins with a line of the record separator and its name. iproute2 speaks JSON since 4.14 (2017).
_LOOK = r"""
export LC_ALL=C
s() { printf '\036%s\n' "$1"; }
s links; ip -j -d link show
s addresses; ip -j address show
s routes; ip -j -4 route show table all; s routes6; ip -j -6 route show table all
s rules; ip -j -4 rule show; s rules6; ip -j -6 rule show
s kernel; if [ -d /sys/module/openvswitch ] || modprobe --quiet --dry-run openvswitch 2>/dev/null; then echo openvswitch; fi
s sysctl; for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/proxy_arp; do echo "$f $(cat "$f")"; done
s units; systemctl is-active systemd-networkd NetworkManager networking network openvswitch-switch openvswitch
s files; ls -d /etc/netplan/*.yaml /usr/sbin/netplan /sbin/ifup /usr/sbin/ifup /etc/network/interfaces \
    /etc/sysconfig/network-scripts 2>/dev/null
s offload; if command -v ethtool >/dev/null; then for d in /sys/class/net/*; do
    if ethtool -k "${d##*/}" 2>/dev/null | grep -q '^tx-checksumming: off'; then echo "${d##*/}"; fi; done; fi
if command -v ovs-vsctl >/dev/null; then for t in Bridge Port Interface; do
    s ovs-$t; ovs-vsctl --timeout=5 --format=json list $t 2>/dev/null; done; fi
:
"""


@dataclass(frozen=True)
class SeenLink:
    """A device: `kind` is the kernel's (`` for a card), `master` the bridge or bond that it is a port of."""

    name: str
    kind: str = ""
    up: bool = False
    mtu: int = 1500
    mac: str = ""
    master: str = ""
    over: str = ""
    vlan: int = 0
    addresses: tuple[AnyInterface, ...] = ()
    dynamic: tuple[AnyInterface, ...] = ()


@dataclass(frozen=True)
class SeenRoute:
    """A route of any table, its words those of ip-route(8); `via` is '' where it is straight over the link."""

    target: AnyNetwork
    via: str
    link: str
    table: str = "main"
    metric: int = 0
    kind: str = "unicast"


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
    """All of it. `units` are those that run; `files` which of the managers' files there are."""

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
    )


def _json(text: str) -> list[dict[str, Any]]:
    return [item for item in json.loads(text or "[]") if item]


def _links(links: list[dict[str, Any]], addresses: list[dict[str, Any]]) -> dict[str, SeenLink]:
    held = {item["ifname"]: item.get("addr_info", []) for item in addresses}
    found = {}
    for item in links:
        info = item.get("linkinfo", {})
        kind = info.get("info_kind", "")
        mine = [one for one in held.get(item["ifname"], []) if one.get("scope") != "link" and "local" in one]
        found[item["ifname"]] = SeenLink(
            name=item["ifname"],
            kind=kind,
            up="UP" in item.get("flags", []),
            mtu=item.get("mtu", 0),
            mac=item.get("address", ""),
            master=item.get("master", ""),
            over=item.get("link", "") if kind == "vlan" else "",
            vlan=info.get("info_data", {}).get("id", 0) if kind == "vlan" else 0,
            addresses=tuple(_address(one) for one in mine if not one.get("dynamic")),
            dynamic=tuple(_address(one) for one in mine if one.get("dynamic")),
        )
    return found


def _address(item: dict[str, Any]) -> AnyInterface:
    return ip_interface(f"{item['local']}/{item['prefixlen']}")


def _routes(items: list[dict[str, Any]], version: int) -> Iterator[SeenRoute]:
    default = "::/0" if version == 6 else "0.0.0.0/0"  # noqa: PLR2004
    for item in items:
        kind = item.get("type", "unicast")
        if kind in {"local", "broadcast", "multicast", "anycast"} or item["dst"].startswith("ff00:"):
            continue
        target = ip_network(default if item["dst"] == "default" else item["dst"])
        for hop in item.get("nexthops", [item]):
            via = hop.get("gateway") or hop.get("via", {}).get("host", "")
            yield SeenRoute(target, via, hop.get("dev", ""), str(item.get("table", "main")), item.get("metric", 0), kind)


def _rules(items: list[dict[str, Any]]) -> Iterator[str]:
    for item in items:
        words = [f"{item['priority']}:"]
        for key, size in (("src", "srclen"), ("dst", "dstlen")):
            word = {"src": "from", "dst": "to"}[key]
            if key in item and item[key] != "all":
                words.append(f"{word} {ip_network(f'{item[key]}/{item[size]}' if size in item else item[key])}")
        words += [f"table {item['table']}"] if "table" in item else []
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
