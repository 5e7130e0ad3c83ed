"""The bridges of a machine to the networks that instances reach: each on the card of that network, found by its address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.inventory.networks import networks_of
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.names import mac_of
from nornir_stack.tasks.hypervisor.settings import Machine
from nornir_stack.tasks.networking.bridge import bridge, open_vswitch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.inventory import Host
    from nornir.core.task import Task

    from nornir_stack.results import Result

# cards only: a bridge or a VLAN on one has its hardware address too
_LOOK = """
for card in "${1:-/sys/class/net}"/*; do
    [ ! -e "$card/device" ] || echo "$(cat "$card/address" 2>/dev/null) ${card##*/}"
done
"""


def external_bridges(task: Task) -> Result[tuple[str, ...]]:
    """Have an Open vSwitch bridge for each network of the machine that the inventory gives one (`networks: NAME: bridge`).

    Its port is the machine's card on that network, which carries no address of its own. Raises Refused where the machine
    has no such card yet.
    """
    node = Node(task)
    wanted = bridges_of(task.host)
    if not wanted:
        return node.done(())
    cards = dict(line.split() for line in node.read(sh(_LOOK, label="the cards' addresses")).lines if len(line.split()) == 2)  # noqa: PLR2004
    for network in wanted:
        mac = mac_of(node.name, network)
        if mac not in cards:
            raise Refused(f"{node.name} has no card on {network} ({mac}): run the stage of its hypervisor first")
    node.then(open_vswitch)
    for network, title in wanted.items():
        node.then(bridge, bridge=title, ports=[cards[mac_of(node.name, network)]])
    return node.done(tuple(wanted.values()))


def bridges_of(host: Host) -> Mapping[str, str]:
    """Network to bridge, of those of the machine's networks where it has a card and no address. Pure."""
    plan = networks_of(host.defaults)
    mine = settings_of(host, Machine).networks
    return {
        name: str(plan[name].bridge) for name, address in mine.items() if address is None and name in plan and plan[name].bridge
    }
