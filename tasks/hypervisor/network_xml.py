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
_RESERVATION = re.compile(r"network/ip\[([^]]*)\]/dhcp/host\[([^]]*)\]")


@dataclass(frozen=True)
class Reservation:
    """A machine's address, which DHCP gives to its hardware address."""

    mac: str
    name: str
    address: str


@dataclass(frozen=True)
class Update:
    """One change of a running network: `add` or `delete` a reservation within its `ip` element (by number)."""

    do: str
    xml: str
    ip: int = 0


@dataclass(frozen=True)
class Steps:
    """What is to be done: either updates, or a new definition, with or without a restart. `lines` tell what differs."""

    define: bool = False
    restart: bool = False
    updates: tuple[Update, ...] = ()
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
                ET.SubElement(dhcp, "host", mac=each.mac, name=each.name, ip=each.address)
            if not len(dhcp):
                ip.remove(dhcp)  # nobody to give anything to
    return ET.tostring(root, encoding="unicode")


def decide(config: str, live: str, wanted: str) -> Steps:
    """What is to be done about a network that has `config` ('' if it is not there) and runs as `live` ('': it does not)."""
    if not config:
        return Steps(define=True, lines=tuple(f"+{each}" for each in _told(wanted)))
    lines = differences(config, wanted, NETWORK_ADDED)
    stale = bool(live) and bool(differences(live, wanted, NETWORK_ADDED))
    if not lines and not stale:
        return Steps()
    updates = _updates(config, wanted)
    running_alike = not live or _reservations(live) == _reservations(config)
    if lines and running_alike and all(_RESERVATION.match(line[1:]) for line in lines) and _range_stays(config):
        return Steps(updates=updates, lines=tuple(lines))
    shown = lines or ["it runs as it was defined before"]
    return Steps(define=bool(lines), restart=bool(live) and stale, lines=tuple(shown))


def with_identity(wanted: str, config: str) -> str:
    """`wanted` with the UUID and the bridge's hardware address that the network has already: they stay."""
    root = parsed(wanted)
    now = parsed(config) if config else None
    for tag in ("uuid", "mac"):
        found = now.find(tag) if now is not None else None
        if found is not None and root.find(tag) is None:
            root.append(found)
    return ET.tostring(root, encoding="unicode")


def _told(xml: str) -> list[str]:
    return [f"{path} = {value}" if value else path for path, value in sorted(flat(xml).items())]


def _range_stays(config: str) -> bool:
    """libvirt takes no reservation into an `ip` that has no DHCP at all (src/conf/network_conf.c)."""
    return parsed(config).find("ip/dhcp") is not None


def _updates(config: str, wanted: str) -> tuple[Update, ...]:
    """First what goes, so that an address is free for whom it is given to."""
    old, new = _reservations(config), _reservations(wanted)
    gone = [Update("delete", xml) for key, xml in old.items() if new.get(key) != xml]
    return (*gone, *(Update("add", xml) for key, xml in new.items() if old.get(key) != xml))


def _reservations(xml: str) -> Mapping[str, str]:
    found = {}
    for host in parsed(xml).iterfind("ip/dhcp/host"):
        given: dict[str, str] = {key: host.attrib[key] for key in ("mac", "name", "ip") if key in host.attrib}
        given["mac"] = given.get("mac", "").lower()
        found["/".join(given.values())] = ET.tostring(ET.Element("host", given), encoding="unicode")
    return found
