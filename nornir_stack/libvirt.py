"""A task's hypervisor: the two verbs over its host's `libvirt` connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from nornir_stack.connections.libvirt import Hypervisor, hypervisor

if TYPE_CHECKING:
    from collections.abc import Callable

    from libvirt import virConnect

    from nornir_stack.node import Node

T = TypeVar("T")


class Libvirt:
    """`read` and `change` for a hypervisor's libvirt, through the gate of the task's Node. Raises LibvirtFailed.

        names = Libvirt(node).read("the networks", lambda virt: [each.name() for each in virt.listAllNetworks()])

    Objects of libvirt belong to the connection that gave them: look them up again within the call that changes them.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def _hypervisor(self, what: str) -> Hypervisor:
        return self._node.gate.still(hypervisor(self._node.host, self._node.task.nornir.config), what)

    def read(self, what: str, look: Callable[[virConnect], T], *, independent: bool = False) -> T:
        """What `look` finds; its connection is read-only."""
        return self._node.gate.look(what, lambda: self._hypervisor(what).look(look), independent=independent)

    def change(self, what: str, do: Callable[[virConnect], T], *, diff: str = "", repeatable: bool = False) -> T | None:
        """Have `do` change something; in a dry run it is only written down, and None comes back."""
        return self._node.gate.effect(
            what,
            lambda: self._hypervisor(what).act(do),
            ready=lambda: self._hypervisor(what),
            diff=diff or f"+{what}\n",
            repeatable=repeatable,
        )
