"""Open vSwitch's part of a declaration as one transaction of ovs-vsctl, and what takes it back. Pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from nornir_stack.command import command
from nornir_stack.errors import Refused
from nornir_stack.tasks.networking.order import above

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nornir_stack.command import Command
    from nornir_stack.tasks.networking.observe import NodeNetwork, SeenPort
    from nornir_stack.tasks.networking.settings import Link, Links


def steps(links: Links, now: NodeNetwork) -> list[Command]:
    """Bridges and ports made, tags and peers set; ports that are not declared (Neutron's own patch ports) stay."""
    return _transaction([words for part in _parts(links, now) for words in part])


def restore(links: Links, now: NodeNetwork, freed: Mapping[str, str] = MappingProxyType({})) -> list[Command]:
    """What gives Open vSwitch its former bridges, ports and tags again; `freed`: ports that were taken off, to their bridge."""
    taken = ((bridge, port) for port, bridge in freed.items() if bridge in now.bridges)
    parts = [words for bridge, port in taken for words in _added(bridge, port, now.bridges[bridge].ports[port])]
    for name, link in links.links.items():
        if link.kind != "ovs-bridge":
            continue
        if name not in now.bridges:
            parts.append(["--if-exists", "del-br", name])
            continue
        for port in link.ports:
            was = now.bridges[name].ports.get(port)
            if was is None:
                parts.append(["--if-exists", "del-port", name, port])
            else:
                parts += _back(port, links.links[port], was)
    parts += [words for bridge, port, was in moved(links, now) for words in _added(bridge, port, was)]
    return _transaction(parts)


def again(bridges: Sequence[str], now: NodeNetwork) -> list[Command]:
    """What makes bridges that were deleted anew, with the ports that they had.

    Raises Refused where one has a port that could not be made again: a tunnel, whose options are not looked at.
    """
    parts: list[list[str]] = []
    for name in bridges:
        seen = now.bridges[name]
        parts += [["--may-exist", "add-br", name], ["set", "bridge", name, f"datapath_type={seen.datapath}"]]
        parts += [words for port, was in seen.ports.items() for words in _added(name, port, was)]
    return _transaction(parts)


def moved(links: Links, now: NodeNetwork) -> list[tuple[str, str, SeenPort]]:
    """Ports that are on one declared bridge and belong on another: the bridge, the port, and what it was there."""
    found = []
    for bridge, seen in now.bridges.items():
        for port, was in seen.ports.items():
            owner = above(port, links)
            if owner is not None and owner != bridge and bridge in links.links:
                found.append((bridge, port, was))
    return found


def _transaction(parts: list[list[str]]) -> list[Command]:
    words = [word for part in parts for word in ("--", *part)][1:]
    return [command("ovs-vsctl", "--timeout=30", *words)] if words else []


def _parts(links: Links, now: NodeNetwork) -> Iterator[list[list[str]]]:
    for bridge, port, _ in moved(links, now):
        yield [["del-port", bridge, port]]
    for name, link in links.links.items():
        if link.kind != "ovs-bridge":
            continue
        if name not in now.bridges:
            yield [["add-br", name], ["set", "bridge", name, f"datapath_type={now.datapath}"]]
        there = now.bridges[name].ports if name in now.bridges else {}
        for port in link.ports:
            one = links.links[port]
            if port not in there:
                yield _new(name, port, one)
            else:
                yield _changed(port, one, there[port])


def _new(bridge: str, port: str, link: Link) -> list[list[str]]:
    made = ["add-bond", bridge, port, *link.ports] if link.kind == "ovs-bond" else ["add-port", bridge, port]
    settings = [f"tag={link.vlan}"] if link.vlan is not None else []
    settings += [f"trunks={','.join(map(str, link.trunks))}"] if link.trunks else []
    settings += [f"bond_mode={link.mode or 'active-backup'}"] if link.kind == "ovs-bond" else []
    parts = [[*made, *settings]]
    if link.kind == "ovs-patch":
        parts.append(["set", "interface", port, "type=patch", f"options:peer={link.peer}"])
    return parts


def _changed(port: str, link: Link, was: SeenPort) -> list[list[str]]:
    parts = _tags(port, link, was)
    if link.kind == "ovs-bond":
        mode = link.mode or "active-backup"
        parts += [["set", "port", port, f"bond_mode={mode}"]] if (was.mode or "active-backup") != mode else []
        parts += _members(port, was.interfaces, link.ports)
    elif link.kind == "ovs-patch" and was.peer != link.peer:
        parts.append(["set", "interface", port, "type=patch", f"options:peer={link.peer}"])
    return parts


def _back(port: str, link: Link, was: SeenPort) -> list[list[str]]:
    """What gives a port that is changed its former settings."""
    parts = _tags(port, link, was, back=True)
    if link.kind == "ovs-bond":
        if (was.mode or "active-backup") != (link.mode or "active-backup"):
            parts.append(["set", "port", port, f"bond_mode={was.mode}"] if was.mode else ["clear", "port", port, "bond_mode"])
        parts += _members(port, link.ports, was.interfaces)
    elif link.kind == "ovs-patch" and was.peer != link.peer:
        parts.append(["set", "interface", port, f"type={was.type or 'system'}", f"options:peer={was.peer}"])
    return parts


def _members(port: str, have: Sequence[str], wanted: Sequence[str]) -> list[list[str]]:
    """A bond keeps one port at least all the while."""
    added = [["add-bond-iface", port, one] for one in wanted if one not in have]
    return [*added, *(["del-bond-iface", port, one] for one in have if one not in wanted)]


def _tags(port: str, link: Link, was: SeenPort, *, back: bool = False) -> list[list[str]]:
    parts = []
    if was.tag != (link.vlan or 0):
        tag = was.tag if back else link.vlan
        parts.append(["set", "port", port, f"tag={tag}"] if tag else ["clear", "port", port, "tag"])
    if was.trunks != tuple(sorted(link.trunks)):
        trunks = ",".join(map(str, was.trunks if back else link.trunks))
        parts.append(["set", "port", port, f"trunks={trunks}"] if trunks else ["clear", "port", port, "trunks"])
    return parts


def _added(bridge: str, port: str, was: SeenPort) -> list[list[str]]:
    if was.type not in {"", "system", "internal", "patch"}:
        raise Refused(
            f"port {port} of the bridge {bridge} is of type {was.type}, and could not be made again where the change is undone:"
            f" take it away first (ovs-vsctl del-port {bridge} {port}), or leave the bridge declared"
        )
    settings = [f"tag={was.tag}"] if was.tag else []
    settings += [f"trunks={','.join(map(str, was.trunks))}"] if was.trunks else []
    settings += [f"bond_mode={was.mode}"] if was.mode else []
    if len(was.interfaces) > 1:
        return [["--may-exist", "add-bond", bridge, port, *was.interfaces, *settings]]
    parts = [["--may-exist", "add-port", bridge, port, *settings]]
    if was.type in {"internal", "patch"}:
        peer = [f"options:peer={was.peer}"] if was.type == "patch" else []
        parts.append(["set", "interface", port, f"type={was.type}", *peer])
    return parts
