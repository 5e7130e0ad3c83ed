"""What of a declaration a node does not have, link by link, as sentences. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.tasks.networking import bonds
from nornir_stack.tasks.networking.check import OVS
from nornir_stack.tasks.networking.order import above, bridge_of, devices, link_of, rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_stack.tasks.networking.observe import NodeNetwork, SeenLink, SeenPort
    from nornir_stack.tasks.networking.settings import Link, Links, Route, Rule

_TABLES = {None: "main", 253: "default", 254: "main", 255: "local"}
_KERNEL = {"bridge": "bridge", "bond": "bond", "vlan": "vlan"}


def differences(links: Links, now: NodeNetwork) -> dict[str, list[str]]:
    """Link to sentences, of those that differ. `links` is complete."""
    found: dict[str, list[str]] = {}
    for name, link in links.links.items():
        if link.kind in {"ovs-bond", "ovs-patch"}:
            sentences = list(_port(name, link, links, now))
        else:
            sentences = [*_device(name, link, links, now), *_port(name, link, links, now)]
        if sentences:
            found[name] = sentences
    for route in links.routes:
        if not has_route(route, link_of(route, links), now):
            over = link_of(route, links)
            found.setdefault(over, []).append(
                f"no route to {route.to}" + (f" via {route.via}" if route.via else f" over {over}")
            )
    for name in links.links:
        for rule in rules(name, links):
            if rule_words(rule) not in now.rules:
                found.setdefault(name, []).append(f"no rule {rule_words(rule)}")
    return found


def problems(links: Links, now: NodeNetwork) -> list[str]:
    """All differences in a row, each with its link."""
    return [f"{name}: {sentence}" for name, sentences in differences(links, now).items() for sentence in sentences]


def has_route(route: Route, link: str, now: NodeNetwork) -> bool:
    """Whether the kernel has it, in its table and over that link; metrics of ours are compared, others are the manager's."""
    table = _TABLES.get(route.table, str(route.table))
    via = str(route.via) if route.via is not None else ""
    return any(
        (one.target, one.via, one.link, one.table) == (route.target, via, link, table) and route.metric in {None, one.metric}
        for one in now.routes
    )


def rule_words(rule: Rule) -> str:
    """As the observation words it."""
    words = [f"{rule.priority}:"]
    words += [f"from {rule.source}"] if rule.source is not None else []
    words += [f"to {rule.target}"] if rule.target is not None else []
    return " ".join([*words, f"table {_TABLES.get(rule.table, str(rule.table))}"])


def _device(name: str, link: Link, links: Links, now: NodeNetwork) -> Iterator[str]:
    seen = now.links.get(name)
    if seen is None:
        yield "there is no such device"
        return
    if not seen.up:
        yield "it is down"
    if link.mtu is not None and seen.mtu != link.mtu:
        yield f"its MTU is {seen.mtu}, not {link.mtu}"
    if link.mac is not None and seen.mac != link.mac:
        yield f"its hardware address is {seen.mac}, not {link.mac}"
    if link.offload is False and name not in now.offload_off:
        yield "its transmit offload is on"
    if link.kind == "bond":
        yield from _bond(link, seen)
    yield from _address(link, seen)
    over = above(name, links)
    kernel = over if over is not None and links.links[over].kind not in OVS else None
    if kernel is not None and seen.master != kernel:
        yield f"it is no port of {kernel}"
    elif over is None and seen.master and name in links.links and seen.master in links.links:
        yield f"it is a port of {seen.master}"
    if link.kind == "vlan" and (seen.over, seen.vlan) != (link.over, link.vlan):
        yield f"it is VLAN {seen.vlan} over {seen.over or 'nothing'}, not {link.vlan} over {link.over}"


def _bond(link: Link, seen: SeenLink) -> Iterator[str]:
    if seen.mode != (link.mode or bonds.MODE):
        yield f"its mode is {seen.mode}, not {link.mode or bonds.MODE}"
    if seen.miimon == 0:
        yield "it does not look whether its ports are alive (miimon is 0)"


def _address(link: Link, seen: SeenLink) -> Iterator[str]:
    for address in link.addresses:
        if address not in seen.addresses:
            yield f"it has no address {address}"
    # what a DHCP server or a router gave is not ours to judge
    for address in seen.addresses:
        if address not in link.addresses:
            yield f"it has the address {address}, which is not declared"
    if not link.dhcp:
        for address in seen.dynamic:
            if address.version == 4:  # noqa: PLR2004
                yield f"it has the address {address} from a DHCP server"


def _port(name: str, link: Link, links: Links, now: NodeNetwork) -> Iterator[str]:
    """Its place in Open vSwitch."""
    if link.kind == "ovs-bridge":
        if name not in now.bridges:
            yield "there is no such bridge of Open vSwitch"
        return
    over = above(name, links)
    bridge = bridge_of(name, links)
    if over is None or bridge is None or links.links[over].kind not in OVS:
        return
    bonded = links.links[over].kind == "ovs-bond"
    ports = now.bridges[bridge].ports if bridge in now.bridges else {}
    port = ports.get(over if bonded else name)
    if port is None or (bonded and name not in port.interfaces):
        yield f"it is no port of {over}"
    elif port.error:
        yield f"Open vSwitch cannot use it: {port.error}"
    elif not bonded:
        yield from _settings(link, port)


def _settings(link: Link, port: SeenPort) -> Iterator[str]:
    if (port.tag or None) != link.vlan:
        yield f"its tag is {port.tag or 'none'}, not {link.vlan or 'none'}"
    if port.trunks != tuple(sorted(link.trunks)):
        yield f"its trunks are {list(port.trunks)}, not {sorted(link.trunks)}"
    if link.kind == "ovs-bond" and set(port.interfaces) - set(link.ports):
        yield f"{', '.join(sorted(set(port.interfaces) - set(link.ports)))} is in it and not declared there"
    if link.kind == "ovs-bond" and (port.mode or "active-backup") != (link.mode or "active-backup"):
        yield f"its mode is {port.mode}, not {link.mode or 'active-backup'}"
    if link.kind == "ovs-patch" and port.peer != link.peer:
        yield f"its peer is {port.peer or 'none'}, not {link.peer}"


def refuse(links: Links, now: NodeNetwork, host: str) -> None:
    """Raise Refused where the node has not what is needed, or something else under a name of the declaration."""
    for name, link in devices(links).items():
        seen = now.links.get(name)
        if link.kind == "card" and seen is None:
            raise Refused(f"{host}: there is no network device {name}: check its name (ip link), or plug it in")
        if link.kind == "ovs-bridge" and seen is not None and name not in now.bridges:
            raise Refused(f"{host}: {name} is a device that Open vSwitch does not know: choose another name, or remove it")
        if seen is not None and link.kind in _KERNEL and seen.kind != _KERNEL[link.kind]:
            raise Refused(f"{host}: {name} is a {seen.kind or 'card'}, not a {link.kind}: choose another name, or remove it")
    if any(link.kind in OVS for link in links.links.values()) and not now.has_ovs:
        raise Refused(f"{host}: Open vSwitch is not installed: run network.open_vswitch first")
    for bridge, seen_bridge in now.bridges.items():
        for port in seen_bridge.ports:
            wanted = bridge_of(port, links)
            mine = links.links.get(port)
            held = wanted is None and bridge in links.links and mine is not None and bool(mine.addresses or mine.dhcp)
            if held or (wanted not in {None, bridge} and bridge not in links.links):
                raise Refused(
                    f"{host}: {port} is on the bridge {bridge}: take it off there first (ovs-vsctl del-port {bridge} {port})"
                )
