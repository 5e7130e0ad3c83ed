"""A task's network device (a router, a switch): the two verbs over its host's `netmiko` connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.connections.netmiko import Device, device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.node import Node


class Router:
    """`read` and `change` for a device with a prompt, through the gate of the task's Node. Raises ConnectionLost, TimedOut.

    A device tells nothing by an exit status: look again at what was changed.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def _device(self, what: str) -> Device:
        return self._node.gate.still(device(self._node.host, self._node.task.nornir.config), what)

    def read(self, command: str, *, independent: bool = False) -> str:
        """What a show command prints."""
        gate = self._node.gate
        return gate.look(
            command, lambda: self._device(command).ask(command, seconds=gate.remaining(None)), independent=independent
        )

    def change(self, lines: Sequence[str], *, what: str = "", repeatable: bool = False) -> str | None:
        """Enter configuration mode and send the lines; what was printed. In a dry run None, and the lines are written down."""
        shown = "\n".join(f"+{line}" for line in lines)
        diff = f"--- configuration\n+++ configuration\n{shown}\n"
        what, gate = what or "; ".join(lines), self._node.gate
        return gate.effect(
            what,
            lambda: self._device(what).configure(lines, seconds=gate.remaining(None)),
            ready=lambda: self._device(what),
            diff=diff,
            repeatable=repeatable,
        )

    def save(self, command: str) -> str | None:
        """Have the device keep its configuration over a restart, by its `command` (`write memory`)."""
        return self._node.gate.effect(
            command,
            lambda: self._device(command).save(command),
            ready=lambda: self._device(command),
            repeatable=True,
        )
