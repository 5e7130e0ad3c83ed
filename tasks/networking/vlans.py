"""VLANs that are there with another number, or over another device, than declared. Pure.

Neither can be changed of a VLAN that is there, and managers leave it as it is: it has to go first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.tasks.networking.order import devices

if TYPE_CHECKING:
    from nornir_stack.command import Command
    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.settings import Links


def other(links: Links, now: NodeNetwork) -> list[str]:
    """Declared VLANs that are there otherwise."""
    return [
        name
        for name, link in links.links.items()
        if link.kind == "vlan"
        and name in now.links
        and (now.links[name].over, now.links[name].vlan) != (link.over, link.vlan)
    ]


def concerned(links: Links, now: NodeNetwork) -> list[str]:
    """These, and what stands on them: it loses its port, or goes with them."""
    found = other(links, now)
    for name, link in devices(links).items():
        if name not in found and {*link.ports, link.over} & {*found}:
            found.append(name)
    return found


def steps(links: Links, now: NodeNetwork) -> list[Command]:
    """What takes them away, for the manager to make them."""
    gone = other(links, now)
    script = 'for d; do ip link delete dev "$d" || exit; done'
    return [sh(script, *gone, label=f"ip link delete {' '.join(gone)}")] if gone else []
