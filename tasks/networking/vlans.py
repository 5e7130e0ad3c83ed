"""VLANs that are there with another number, or over another device, than declared. Pure.

Neither can be changed of a VLAN that is there, and managers leave it as it is. Nor does networkd make one that was deleted: it
does so where it configures the device beneath.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.tasks.networking.order import devices

if TYPE_CHECKING:
    from nornir_stack.command import Command
    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.settings import Links

# Over a device that is not there yet the manager makes it, with that.
_MAKE = """
ip link delete dev "$1" 2>/dev/null
[ ! -e "/sys/class/net/$2" ] || ip link add link "$2" name "$1" type vlan id "$3"
"""


def other(links: Links, now: NodeNetwork) -> list[str]:
    """Declared VLANs that are there otherwise."""
    return [
        name
        for name, link in links.links.items()
        if link.kind == "vlan" and name in now.links and (now.links[name].over, now.links[name].vlan) != (link.over, link.vlan)
    ]


def concerned(links: Links, now: NodeNetwork) -> list[str]:
    """These, and what stands on them: it loses its port, or goes with them."""
    found = other(links, now)
    for name, link in devices(links).items():
        if name not in found and {*link.ports, link.over} & {*found}:
            found.append(name)
    return found


def steps(links: Links, now: NodeNetwork) -> list[Command]:
    """What makes them as declared."""
    return [_made(name, links.links[name].over or "", links.links[name].vlan or 0) for name in other(links, now)]


def restore(links: Links, now: NodeNetwork) -> list[Command]:
    """What makes them as they were."""
    return [_made(name, now.links[name].over, now.links[name].vlan) for name in other(links, now)]


def _made(name: str, over: str, number: int) -> Command:
    label = f"ip link delete {name}; ip link add link {over} name {name} type vlan id {number}"
    return sh(_MAKE, name, over, str(number), label=label)
