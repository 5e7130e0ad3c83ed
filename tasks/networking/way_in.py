"""The way in: the address that this connection came to, and what would take it away where no undoing brings it back. Pure.

A change that cuts the way at once is undone by the node (`confirmed`). What is told here is the rest: a device that goes
for good, files that a boot would miss, a service without which nobody keeps the address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.tasks.networking.managers import at_work, running
from nornir_stack.tasks.networking.order import above

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.record import Record
    from nornir_stack.tasks.networking.settings import Links


def way_in(now: NodeNetwork) -> str:
    """The link that has the address that this connection came to; '' where it is none of ssh, or not the node's own."""
    return next(
        (name for name, link in now.links.items() for one in (*link.addresses, *link.dynamic) if one.ip == now.way),
        "",
    )


def stands_on(link: str, now: NodeNetwork) -> list[str]:
    """A link and all that is beneath it: ports of a bridge or a bond, what a VLAN is over."""
    found = [link]
    for name in found:  # it grows meanwhile
        seen = now.links.get(name)
        beneath = [one for one, port in now.links.items() if port.master == name]
        if name in now.bridges:
            beneath += [one for port in now.bridges[name].ports.values() for one in port.interfaces]
        beneath += [seen.over] if seen is not None and seen.over else []
        found += [one for one in beneath if one not in found]
    return found


def kept(wanted: Links, now: NodeNetwork) -> bool:
    """Whether the declaration has the address of the way in: on whatever link, or by DHCP where it came by DHCP."""
    link = way_in(now)
    leased = link != "" and any(one.ip == now.way for one in now.links[link].dynamic)
    return any(
        any(one.ip == now.way for one in other.addresses) or (leased and other.dhcp and link in {name, *other.ports})
        for name, other in wanted.links.items()
    )


def lost(wanted: Links, now: NodeNetwork, record: Record, elsewhere: Collection[str] | None) -> Iterator[str]:
    """What the declaration would take away of the way in for good, as sentences.

    `record` is what an earlier one made. `elsewhere` are links that files of others describe, for a manager that looks into
    its files at a boot only; None for one that takes every change up at once.
    """
    link = way_in(now)
    if not link or kept(wanted, now):
        return
    own = f"{now.way} on {link} is the way in"
    what = f"declare it, or give {now.way} to another link"
    for name in stands_on(link, now):
        if name not in wanted.links and name in record.devices:
            yield f"{own}, and {name}, which it stands on, is no longer declared and would be removed: {what}"
        elif name not in wanted.links and name in record.cards and elsewhere is not None and name not in elsewhere:
            yield f"{own}, and {name} is no longer declared, and described by no file of others: a boot would lose it: {what}"


def stripped(declared: Links, now: NodeNetwork) -> Iterator[str]:
    """Devices under a VLAN that are not declared themselves and would lose their addresses, as sentences.

    `declared` is as the inventory has it, not completed.
    """
    for name, link in declared.links.items():
        seen = now.links.get(link.over or "")
        if link.kind != "vlan" or seen is None or seen.name in declared.links:
            continue
        held = [*seen.addresses, *(one for one in seen.dynamic if one.version == 4)]  # noqa: PLR2004
        if held:
            yield (
                f"{name} is to be over {seen.name}, which has {', '.join(map(str, held))} and is not declared: declare"
                f" {seen.name} with its addresses and routes too"
            )


def taken(wanted: Links, now: NodeNetwork, record: Record) -> Iterator[str]:
    """Declared devices whose own file would take them off a bridge or bond of others, as sentences. `wanted` is complete."""
    for name in wanted.links:
        master = now.links[name].master if name in now.links else ""
        if master not in {"", "ovs-system", *wanted.links, *record.devices} and above(name, wanted) is None:
            yield f"{name} is a port of {master}, which is not declared: its own file would take it off: declare {master} too"


def unheld(now: NodeNetwork) -> str:
    """Why the way in would not outlast NetworkManager, as a sentence; '' where another manager has it in its files."""
    left = [name for name in running(now) if name != "networkmanager"]
    link = way_in(now)
    if not left or (not link and at_work(now) == ["netplan"]):
        return "nothing but NetworkManager manages its network"
    if not link or any((name, link) in now.described for name in left):
        return ""
    return f"{now.way} on {link} is the way in, and no file of {' or '.join(left)} is about {link}"
