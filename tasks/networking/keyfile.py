"""NetworkManager's keyfiles (nm-settings-keyfile(5)), one a connection. Pure.

The names `master` and `slave-type` are read by every NetworkManager; `controller` and `port-type` only from 1.46 on.
A port of Open vSwitch is three connections there: the bridge, the port on it, the interface in the port.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import NAMESPACE_DNS, uuid5

from nornir_stack.tasks.networking.order import (
    Files,
    Text,
    above,
    bridge_of,
    devices,
    family,
    on_link,
    other_way_out,
    routes,
    rules,
    sections,
)
from nornir_stack.tasks.networking.resolvers import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir_stack.tasks.networking.resolvers import Resolver
    from nornir_stack.tasks.networking.settings import Link, Links

FOLDER = "/etc/NetworkManager/system-connections"
_TYPES = {"card": "ethernet", "bridge": "bridge", "bond": "bond", "vlan": "vlan"}
_NAMESPACE = uuid5(NAMESPACE_DNS, "nornir-stack")


def path(connection: str) -> str:
    return f"{FOLDER}/{connection}.nmconnection"


def render(links: Links, names: Mapping[str, Resolver] = MappingProxyType({})) -> Files:
    """The files, by path; NetworkManager reads only those that nobody else may read. `names` are name servers by link."""
    files: Files = {}
    for name, link in [*devices(links).items(), *_bonds(links)]:
        for connection, parts in _connections(name, link, links).items():
            about = {"id": connection, "uuid": uuid5(_NAMESPACE, connection), **parts[0]}
            resolver = names.get(name, NONE)
            rest = [(title, {**values, **_resolver(title, values, resolver)}) for title, values in parts[1]]
            text = sections(iter([("connection", about), *rest]))
            files[path(connection)] = Text("# written by nornir_stack from the inventory's `network`\n" + text, "0600")
    return files


def _resolver(section: str, values: Mapping[str, object], resolver: Resolver) -> Mapping[str, object]:
    """Servers of a family in its section, if it has addresses there; domains with the first of them."""
    mine = [server for server in resolver.servers if (":" in server) == (section == "ipv6")]
    if values.get("method") not in {"auto", "manual"} or not mine:
        return {}
    search = resolver.search if mine[0] == resolver.servers[0] else ()
    return {"dns": "".join(f"{one};" for one in mine), "dns-search": "".join(f"{one};" for one in search) or None}


def link_of(connection: str) -> str:
    """The link that a connection of ours is for."""
    return connection.removeprefix("nornir-stack-").removeprefix("port-").removeprefix("if-")


def link_of_file(path: str) -> str:
    """The link that a file of ours is for, '' of any other file."""
    folder, _, name = path.rpartition("/")
    return link_of(name.removesuffix(".nmconnection")) if folder == FOLDER else ""


def connections(links: Links) -> list[str]:
    """The connections in the order in which they are brought up: bridges, their ports, what is in these."""
    found = [name for one, link in [*devices(links).items(), *_bonds(links)] for name in _connections(one, link, links)]

    def depth(name: str) -> int:
        if name.startswith("nornir-stack-port-"):
            return 1
        return 2 if name.startswith("nornir-stack-if-") or above(link_of(name), links) is not None else 0

    return sorted(found, key=depth)


def _bonds(links: Links) -> list[tuple[str, Link]]:
    return [(name, link) for name, link in links.links.items() if link.kind in {"ovs-bond", "ovs-patch"}]


def _connections(
    name: str, link: Link, links: Links
) -> dict[str, tuple[dict[str, object], list[tuple[str, Mapping[str, object]]]]]:
    """Each connection of a link: what stands in [connection], and the other sections."""
    own = f"nornir-stack-{name}"
    base = {"interface-name": name, "autoconnect-priority": 100}
    port_of = bridge_of(name, links)
    if link.kind == "ovs-bridge":
        inner = {"type": "ovs-interface", **base, "master": f"{name}", "slave-type": "ovs-port"}
        port = {"type": "ovs-port", **base, "master": name, "slave-type": "ovs-bridge"}
        return {
            own: ({"type": "ovs-bridge", **base}, [("ovs-bridge", {})]),
            f"nornir-stack-port-{name}": (port, []),
            f"nornir-stack-if-{name}": (
                {**inner, "master": uuid5(_NAMESPACE, f"nornir-stack-port-{name}")},
                [("ovs-interface", {"type": "internal"}), *_addresses(name, link, links)],
            ),
        }
    if port_of is not None and links.links[port_of].kind == "ovs-bridge":
        return _ovs_port(name, link, links, port_of, base)
    over = above(name, links)
    if over is not None:
        base |= {"master": over, "slave-type": links.links[over].kind}
    about = {"type": _TYPES[link.kind], **base}
    return {own: (about, [*_device(link), *(() if over else _addresses(name, link, links))])}


def _ovs_port(
    name: str, link: Link, links: Links, bridge: str, base: Mapping[str, object]
) -> dict[str, tuple[dict[str, object], list[tuple[str, Mapping[str, object]]]]]:
    own, port = f"nornir-stack-{name}", f"nornir-stack-port-{name}"
    tags: dict[str, object] = {"tag": link.vlan, "trunks": ",".join(map(str, link.trunks)) or None}
    about = {"type": "ovs-port", **base, "master": bridge, "slave-type": "ovs-bridge"}
    if link.kind == "ovs-bond":
        return {port: (about, [("ovs-port", {**tags, "bond-mode": link.mode or "active-backup"})])}
    over = above(name, links)
    mine = over if over is not None and links.links[over].kind == "ovs-bond" else name
    inside = {**base, "master": uuid5(_NAMESPACE, f"nornir-stack-port-{mine}"), "slave-type": "ovs-port"}
    inner: tuple[dict[str, object], list[tuple[str, Mapping[str, object]]]]
    if link.kind == "ovs-patch":
        patch = ("ovs-patch", {"peer": link.peer})
        inner = ({"type": "ovs-interface", **inside}, [("ovs-interface", {"type": "patch"}), patch])
    else:
        inner = ({"type": "ethernet", **inside}, list(_device(link)))
    return {own: inner} if mine != name else {port: (about, [("ovs-port", tags)]), own: inner}


def _device(link: Link) -> Iterator[tuple[str, Mapping[str, object]]]:
    if link.kind == "bridge":
        yield "bridge", {"mac-address": link.mac.upper() if link.mac else None, "stp": "false"}
    elif link.kind == "bond":
        yield "bond", {"mode": link.mode or "active-backup", "miimon": 100}
    elif link.kind == "vlan":
        yield "vlan", {"id": link.vlan, "parent": link.over, "flags": 1}
    mac = link.mac.upper() if link.mac and link.kind != "bridge" else None
    yield "ethernet", {"cloned-mac-address": mac, "mtu": link.mtu}


def _addresses(name: str, link: Link, links: Links) -> Iterator[tuple[str, Mapping[str, object]]]:
    for version, other in ((4, "disabled"), (6, "link-local")):
        mine = [address for address in link.addresses if address.version == version]
        lines: dict[str, object] = {"method": "auto" if link.dhcp and version == 4 else "manual" if mine else other}  # noqa: PLR2004
        if link.dhcp and version == 4 and other_way_out(name, links):  # noqa: PLR2004
            lines["never-default"] = "true"
        lines |= {f"address{number}": address for number, address in enumerate(mine, 1)}
        ways = [route for route in routes(name, links) if family(route) == version]
        if ways and lines["method"] == "disabled":
            lines["method"] = "link-local"  # a disabled family takes no routes
        for number, route in enumerate(ways, 1):
            none = {4: "0.0.0.0", 6: "::"}[version] if route.metric is not None else ""  # noqa: S104  its word for no gateway
            hop = str(route.via) if route.via is not None else none
            words = [str(route.target), *([hop] if hop else []), *([str(route.metric)] if route.metric is not None else [])]
            lines[f"route{number}"] = ",".join(words)
            more = ["onlink=true"] if on_link(route, name, links) else []
            more += [f"table={route.table}"] if route.table is not None else []
            lines[f"route{number}_options"] = ",".join(more) or None
        ours = [rule for rule in rules(name, links) if family(rule) == version]
        for number, rule in enumerate(ours, 1):
            words = [f"priority {rule.priority}", f"from {rule.source or ('0.0.0.0/0' if version == 4 else '::/0')}"]  # noqa: PLR2004
            words += [f"to {rule.target}"] if rule.target is not None else []
            lines[f"routing-rule{number}"] = " ".join([*words, f"table {rule.table}"])
        yield f"ipv{version}", lines
