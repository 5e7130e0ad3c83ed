"""Whether machines answer by ssh."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.node import Node

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen


def answers(task: Task) -> Result[str]:
    """Observe that a machine answers by ssh: its kernel's release."""
    node = Node(task)
    return node.done(node.read("uname", "-r").text)


def silent(seen: Seen[str]) -> list[str]:
    """Machines that do not answer, and why. Pure."""
    return [f"{name} does not answer by ssh yet: {why}" for name, why in seen.missing.items()]
