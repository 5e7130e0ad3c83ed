"""Whether a member may join: the others well, and room for a full copy; and whether one has left. Pure but for the look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.judge import disagreement, unhealthy
from nornir_stack.tasks.cluster.observe import look, member_of

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.member import Member

_SIZE = r"""
if [ -d "$1" ]; then du -s -k -- "$1" 2>/dev/null | { read -r size rest; echo "${size:-0}"; }; else echo 0; fi
"""
_SIZE_SECONDS = 50.0
_SPARE = 1.1  # what is written while the copy is taken


@dataclass(frozen=True)
class Room:
    """A member, and the bytes that its data folder takes."""

    member: Member
    data_bytes: int


def room(task: Task) -> Result[Room]:
    """Observe a member and the size of its data."""
    node = Node(task)
    galera, _ = member_of(node)
    size = node.read(sh(_SIZE, galera.datadir, label=f"size of {galera.datadir}"), timeout=_SIZE_SECONDS).text
    return node.done(Room(look(node), int(size) * 1024))


def cannot_join(seen: Seen[Room], name: str) -> list[str]:
    """Why `name` may not join now: not seen, the others not well, or no room. Nothing for one that has joined.

    A full copy deletes what the joiner has before it is received, so what that takes counts as free.
    """
    if name not in seen:
        return [f"it was not seen ({seen.missing.get(name, 'it is no member')})."]
    mine = seen[name]
    if mine.member.synced:
        return []
    others = Seen(
        {host: one.member for host, one in seen.items() if host != name},
        {host: why for host, why in seen.missing.items() if host != name},
        tuple(host for host in seen.hosts if host != name),
    )
    problems = unhealthy(others)
    needed = max((one.data_bytes for host, one in seen.items() if host != name), default=0)
    have = (mine.member.free_bytes or 0) + mine.data_bytes
    if mine.member.free_bytes is not None and have < needed * _SPARE:
        problems.append(f"a full copy needs {_gib(needed * _SPARE)} and it has room for {_gib(have)}.")
    return problems


def _gib(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def not_left(seen: Seen[Member], name: str) -> list[str]:
    """Why `name` has not left: it runs, or one of the others does not list exactly the others."""
    running = [f"{name} still runs."] if name in seen and seen[name].running else []
    return running + disagreement(seen)
