"""The machine's own record of its cards: those that were plugged in since it was made are in none of its files yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import command, sh
from nornir_stack.confirmed import File, Network, confirmed
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.machines import nics_of
from nornir_stack.tasks.hypervisor.seed import MARK, networkd
from nornir_stack.tasks.hypervisor.settings import Machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result

FOLDER = "/etc/systemd/network"
# The machine's cards, then what its files are about; nothing of a machine whose network is cloud-init's or somebody else's.
_LOOK = rf"""
[ -e "$1/{MARK}" ] || exit 0
for card in "$1"/sys/class/net/*; do
    [ ! -e "$card/device" ] || echo "card $(cat "$card/address") ${{card##*/}}"
done
grep -h -i -s -E '^((Permanent)?MACAddress|Name)=' "$1{FOLDER}"/*.network || :
"""
_WITHIN = 120.0  # an emulated machine takes its time to let somebody in


def cards(task: Task) -> Result[tuple[str, ...]]:
    """Have a file of systemd-networkd for each card of a machine that was made of packages; the networks of the new ones.

    By it the card comes up at the machine's next start, with the address that the inventory gives it: the file names its
    hardware address. It gets no way out: that is of the cards that the machine was made with. The machine takes it back
    where it cannot be reached afterwards. Cards that a file of the machine is about stay as they are.
    """
    node = Node(task)
    machine = settings_of(task.host, Machine)
    hypervisor = task.nornir.inventory.hosts[machine.hypervisor]
    nics = dict(zip(machine.networks, nics_of(task.host, machine, hypervisor), strict=True))
    lines = node.read(sh(_LOOK, "", label="what its files say of its cards")).lines
    new = unrecorded({name: nic.mac for name, nic in nics.items()}.items(), lines)
    reload = command("networkctl", "reload")
    steps = [File(f"{FOLDER}/20-{name}.network", networkd(nics[name], out=False), "0644") for name in new]
    if steps:
        confirmed(node, [*steps, reload], undo=Network(restore=[reload]), within=_WITHIN)
    return node.done(tuple(new))


def unrecorded(macs: Iterable[tuple[str, str]], lines: Sequence[str]) -> list[str]:
    """The networks (with their cards' hardware addresses in `macs`) whose cards are there and in no file. Pure."""
    there = {mac: device for word, mac, device in (line.split() for line in lines if line.startswith("card ")) if word}
    told = {word for line in lines if "=" in line for word in line.partition("=")[2].lower().split()}
    return [name for name, mac in macs if mac in there and not told & {mac, there[mac].lower()}]
