"""XML of libvirt's networks, and what has to be done about one that differs. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nornir_stack.errors import Refused
from nornir_stack.tasks.hypervisor.xml import NETWORK_ADDED, differences, flat, parsed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir_stack.inventory.networks import Network
    from nornir_stack.tasks.hypervisor.settings import VirtualNetwork

_FORWARD = {"nat": "nat", "routed": "route", "bridged": "bridge"}
_MADE = frozenset({"", "nat", "route", "open"})  # the modes in which libvirt makes the bridge itself
# what virNetworkUpdate changes while a network runs, as `differences` tells it
_UPDATABLE = re.compile(r"network/ip\[[^]]*\]/dhcp/(host|range)\[[^]]*\]")


@dataclass(frozen=True)
class Reservation:
    """A machine's address, which DHCP gives to its hardware address."""

    mac: str
    name: str
    address: str


@dataclass(frozen=True)
class Update:
    """One change of a network: `add` or `delete` a `host` (a reservation) or a `range` of DHCP, in its first `ip` element."""

    do: str
    section: str
    xml: str


@dataclass(frozen=True)
class Steps:
    """What is to be done: either updates, or a new definition, with or without a restart. `lines` tell what differs.

    `updates` are of its definition, `live` of the network as it runs.
    """

    define: bool = False
    restart: bool = False
    updates: tuple[Update, ...] = ()
    live: tuple[Update, ...] = ()
    lines: tuple[str, ...] = ()


def network_xml(name: str, declared: VirtualNetwork, plan: Network | None, reserved: Sequence[Reservation]) -> str:
    """A network as libvirt wants it (https://libvirt.org/formatnetwork.html). `plan`: its addresses in the inventory.

    Raises Refused for an address of the hypervisor that is outside.
    """
    root = ET.Element("network")
    ET.SubElement(root, "name").text = name
    if declared.mode in _FORWARD:
        forward = ET.SubElement(root, "forward", mode=_FORWARD[declared.mode])
        if declared.uplink:
            forward.set("dev", declared.uplink)
    if declared.bridge:
        ET.SubElement(root, "bridge", name=declared.bridge)
    if declared.address is not None and plan is not None:
        if declared.address not in plan.cidr:
            raise Refused(f"network {name}: {declared.address} is not in {plan.cidr}")
        family = {"family": "ipv6"} if declared.address.version == 6 else {}  # noqa: PLR2004  IPv6
        ip = ET.SubElement(root, "ip", family, address=str(declared.address), prefix=str(plan.cidr.prefixlen))
        if declared.dhcp:
            dhcp = ET.SubElement(ip, "dhcp")
            for pool in plan.pools:
                ET.SubElement(dhcp, "range", start=str(pool.first), end=str(pool.last))
            for each in reserved:
                # of IPv6 libvirt refuses a hardware address: DHCPv6 does not tell it
                known = {} if ":" in each.address else {"mac": each.mac}
                ET.SubElement(dhcp, "host", known, name=each.name, ip=each.address)
            if not len(dhcp):
                ip.remove(dhcp)  # nobody to give anything to
    return ET.tostring(root, encoding="unicode")


def decide(config: str, live: str, wanted: str) -> Steps:
    """What is to be done about a network that has `config` ('' if it is not there) and runs as `live` ('': it does not)."""
    if not config:
        return Steps(define=True, lines=tuple(f"+{each}" for each in _told(wanted)))
    lines = differences(config, wanted, NETWORK_ADDED)
    stale = differences(live, wanted, NETWORK_ADDED) if live else []
    shown = tuple(lines or ["it runs as it was defined before", *stale])
    if not lines and not stale:
        return Steps()
    if _can_update(config, lines) and _can_update(live, stale):
        of_live = _updates(live, wanted) if stale else ()
        return Steps(updates=_updates(config, wanted) if lines else (), live=of_live, lines=shown)
    return Steps(define=bool(lines), restart=bool(stale), lines=shown)


def with_identity(wanted: str, config: str) -> str:
    """`wanted` with the UUID, and the bridge's name and hardware address, that the network has already: they stay."""
    root = parsed(wanted)
    now = parsed(config) if config else None
    kept = ("uuid", "bridge", "mac") if now is not None and has_own_bridge(wanted) and has_own_bridge(config) else ("uuid",)
    for tag in kept:
        found = now.find(tag) if now is not None else None
        if found is not None and root.find(tag) is None:
            root.append(found)
    return ET.tostring(root, encoding="unicode")


def has_own_bridge(xml: str) -> bool:
    """Whether libvirt makes the network's bridge, and takes it away with it."""
    forward = parsed(xml).find("forward")
    return (forward.get("mode", "nat") if forward is not None else "") in _MADE


def bridge_of(xml: str) -> str:
    """The bridge of a network; '' where its description names none."""
    found = parsed(xml).find("bridge")
    return found.get("name", "") if found is not None else ""


def _told(xml: str) -> list[str]:
    return [f"{path} = {value}" if value else path for path, value in sorted(flat(xml).items())]


def _can_update(xml: str, lines: Sequence[str]) -> bool:
    """libvirt takes no reservation into an `ip` that has no DHCP at all (src/conf/network_conf.c)."""
    return not lines or (all(_UPDATABLE.match(line[1:]) for line in lines) and parsed(xml).find("ip/dhcp") is not None)


def _updates(now: str, wanted: str) -> tuple[Update, ...]:
    """First what goes, so that an address is free for whom it is given to."""
    found: list[Update] = []
    for section, read in (("host", _reservations), ("range", _ranges)):
        old, new = read(now), read(wanted)
        found += [Update("delete", section, xml) for key, xml in old.items() if new.get(key) != xml]
        found += [Update("add", section, xml) for key, xml in new.items() if old.get(key) != xml]
    return tuple(sorted(found, key=lambda each: each.do == "add"))


def _reservations(xml: str) -> Mapping[str, str]:
    found = {}
    for host in parsed(xml).iterfind("ip/dhcp/host"):
        given: dict[str, str] = {key: host.attrib[key] for key in ("mac", "name", "ip") if key in host.attrib}
        if "mac" in given:
            given["mac"] = given["mac"].lower()
        found["/".join(given.values())] = ET.tostring(ET.Element("host", given), encoding="unicode")
    return found


def _ranges(xml: str) -> Mapping[str, str]:
    found = {}
    for each in parsed(xml).iterfind("ip/dhcp/range"):
        given: dict[str, str] = {key: each.attrib[key] for key in ("start", "end") if key in each.attrib}
        found["-".join(given.values())] = ET.tostring(ET.Element("range", given), encoding="unicode")
    return found
