"""A physical host prepared for networks of its own: which services have a say in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nornir_stack.command import command
from nornir_stack.confirmed import Network, confirmed
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.tasks.networking.observe import look
from nornir_stack.tasks.networking.way_in import unheld
from nornir_stack.tasks.system.services import unit_state

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.command import Command
    from nornir_stack.results import Result
    from nornir_stack.tasks.system.services import UnitState

Wish = Literal["on", "off"]
_UNITS = {"network_manager": "NetworkManager.service", "firewalld": "firewalld.service"}


def host(
    task: Task, *, network_manager: Wish | None = None, firewalld: Wish | None = None, within: float = 60
) -> Result[dict[str, bool]]:
    """Have NetworkManager and firewalld on (and started at a boot) or off; what is left out stays as it is.

    Through `confirmed`: where it cuts the node off, both are as before. One that is not installed is off. The value is
    which of them run. Raises Refused where NetworkManager is to go and nothing else would manage the network after a boot,
    or has no file about the link that the node is reached by: the address would stay until its lease ends, or until a boot.
    """
    node = Node(task)
    now = look(node)
    states = {word: unit_state(task, unit=unit).value for word, unit in _UNITS.items()}
    wishes = {"network_manager": network_manager, "firewalld": firewalld}
    if network_manager == "off" and states["network_manager"].running and (why := unheld(now)):
        raise Refused(
            f"{node.name}: {why}: enable systemd-networkd, networking or the network scripts first, with the node's"
            " addresses in their files"
        )
    steps = [step for word, wish in wishes.items() if wish for step in verbs(states[word], wish, node.name)]
    if steps:
        back = [step for word, wish in wishes.items() if wish for step in former(states[word])]
        confirmed(node, steps, undo=Network(restore=back), within=within)
    return node.done(lambda: {word: unit_state(task, unit=unit).value.running for word, unit in _UNITS.items()})


def verbs(now: UnitState, wish: Wish, host: str) -> list[Command]:
    """What brings a unit to its wanted state. Raises Refused for one that is to run and is not installed. Pure."""
    if not now.known:
        if wish == "on":
            raise Refused(f"{host}: {now.name} is to run and is not installed: install it first")
        return []
    if wish == "on":
        return [] if now.running and now.enabled else [command("systemctl", "enable", "--now", now.name)]
    return [command("systemctl", "disable", "--now", now.name)] if now.running or now.enabled else []


def former(was: UnitState) -> list[Command]:
    """What gives a unit its former state again. Pure."""
    if not was.known:
        return []
    run = "start" if was.running else "stop"
    return [command("systemctl", "enable" if was.enabled else "disable", was.name), command("systemctl", run, was.name)]
