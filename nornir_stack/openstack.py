"""A task's cloud: the two verbs over its host's `openstack` connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from nornir_stack.connections.openstack import Api, api

if TYPE_CHECKING:
    from collections.abc import Callable

    from openstack.connection import Connection

    from nornir_stack.node import Node

T = TypeVar("T")


class Cloud:
    """`read` and `change` for a cloud's APIs, through the gate of the task's Node. Raises ApiFailed.

        found = Cloud(node).read("services", lambda cloud: list(cloud.identity.services()))

    Lists of openstacksdk are fetched while they are walked: make them lists within the call.
    """

    def __init__(self, node: Node) -> None:
        self._node = node

    def _api(self, what: str) -> Api:
        return self._node.gate.still(api(self._node.host, self._node.task.nornir.config), what)

    def read(self, what: str, look: Callable[[Connection], T], *, independent: bool = False) -> T:
        """What `look` finds by openstacksdk; its session sends nothing but GET."""
        gate = self._node.gate
        return gate.look(what, lambda: self._api(what).look(look, seconds=gate.remaining(None)), independent=independent)

    def renew(self) -> None:
        """Forget the catalogue that came with the login: for after endpoints were changed. Nobody else sees it."""
        self._api("log in anew").renew()

    def change(self, what: str, do: Callable[[Connection], T], *, diff: str = "", repeatable: bool = False) -> T | None:
        """Have `do` change something; in a dry run it is only written down, and None comes back."""
        gate = self._node.gate
        return gate.effect(
            what,
            lambda: self._api(what).act(do, seconds=gate.remaining(None)),
            ready=lambda: self._api(what),
            diff=diff or f"+{what}\n",
            repeatable=repeatable,
        )
