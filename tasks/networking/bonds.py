"""The kernel's bonds that are there with another mode than declared. Pure.

Managers give a mode to a bond that they make, and the kernel changes none that is up or has ports (bonding.txt, 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh

if TYPE_CHECKING:
    from nornir_stack.command import Command
    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.settings import Links

MODE, MIIMON = "active-backup", 100  # where nothing is said; milliseconds
# What is over the bond (VLANs, addresses) stays; its routes are the manager's to bring back.
_SET = r"""
b=$1 mode=$2 miimon=$3
shift 3
ip link set dev "$b" down || exit
for p in $(cat "/sys/class/net/$b/bonding/slaves"); do ip link set dev "$p" nomaster || exit; done
ip link set dev "$b" type bond mode "$mode" miimon "$miimon" || exit
for p; do
    ip link set dev "$p" down && ip link set dev "$p" master "$b" && ip link set dev "$p" up || exit
done
ip link set dev "$b" up
"""


def other(links: Links, now: NodeNetwork) -> list[str]:
    """Declared bonds that are there otherwise. One with miimon 0 does not look whether its ports are alive."""
    return [
        name
        for name, link in links.links.items()
        if link.kind == "bond"
        and name in now.links
        and (now.links[name].mode != (link.mode or MODE) or now.links[name].miimon == 0)
    ]


def steps(links: Links, now: NodeNetwork) -> list[Command]:
    """What gives them their declared mode."""
    return [_set(name, links.links[name].mode or MODE, MIIMON, links.links[name].ports) for name in other(links, now)]


def restore(links: Links, now: NodeNetwork) -> list[Command]:
    """What gives them their former mode and ports."""
    return [
        _set(
            name,
            now.links[name].mode,
            now.links[name].miimon,
            [port for port, seen in now.links.items() if seen.master == name],
        )
        for name in other(links, now)
    ]


def _set(name: str, mode: str, miimon: int, ports: tuple[str, ...] | list[str]) -> Command:
    label = f"ip link set dev {name} type bond mode {mode} miimon {miimon}, with {', '.join(ports) or 'no ports'}"
    return sh(_SET, name, mode, str(miimon), *ports, label=label)
