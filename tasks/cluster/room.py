"""Whether a member may start and join: the others well, room, nothing left of a copy that was cut. Pure but for the look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.judge import disagreement, unhealthy
from nornir_stack.tasks.cluster.member import TRANSFER_PORT
from nornir_stack.tasks.cluster.observe import look, member_of
from nornir_stack.tasks.cluster.release import no_copy, version
from nornir_stack.tasks.cluster.views import words

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.member import Member
    from nornir_stack.tasks.cluster.release import Version

_SIZE = r"""
if [ -d "$1" ]; then du -s -k -- "$1" 2>/dev/null | { read -r size rest; echo "${size:-0}"; }; else echo 0; fi
! mountpoint -q "$1" || echo mounted
server=$(command -v mariadbd || command -v mysqld) && "$server" --no-defaults --version | sed 's/^.*Ver //'
:
"""
_SIZE_SECONDS = 50.0
_SPARE = 1.1  # what is written while the copy is taken
_LEAST_BYTES = 16 << 20  # InnoDB makes its temporary tablespace anew at each start (ibtmp1:12M)
RECEIVERS = frozenset({"socat", "rsync", "nc", "ncat", "netcat", "stunnel"})
"""What receives a state transfer on the joiner's side (wsrep_sst_mariabackup, wsrep_sst_rsync)."""


@dataclass(frozen=True)
class Room:
    """A member, the bytes that its data folder takes, and the version of its program. `mounted`: a disk is mounted there."""

    member: Member
    data_bytes: int
    version: Version | None = None
    mounted: bool = False


def room(task: Task) -> Result[Room]:
    """Observe a member, the size of its data, and its program."""
    node = Node(task)
    galera, _ = member_of(node)
    said = node.read(sh(_SIZE, galera.datadir, label=f"size of {galera.datadir}"), timeout=_SIZE_SECONDS).lines
    return node.done(Room(look(node), int(said[0]) * 1024, version(said[-1] if len(said) > 1 else None), "mounted" in said))


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
    serving = [one.member.wsrep for _, one in seen.items() if one.member.serves and one.member.wsrep]
    behind = mine.member.position
    if not behind.known or not any(wsrep.keeps(behind.seqno) for wsrep in serving):  # it takes a full copy
        problems += no_copy(name, mine.version, {host: one.version for host, one in seen.items() if one.member.serves})
    return problems + cannot_start(name, mine.member) + no_room(seen, name)


def no_room(seen: Seen[Room], name: str) -> list[str]:
    """Why a full copy of the largest of the others has no room on `name`; nothing where that is not known."""
    if name not in seen or (free := seen[name].member.free_bytes) is None:
        return []
    needed = max((one.data_bytes for host, one in seen.items() if host != name), default=0) * _SPARE
    have = free + seen[name].data_bytes
    return [f"{name}: a full copy needs {_gib(needed)} and it has room for {_gib(have)}."] if have < needed else []


def cannot_start(name: str, member: Member, *, joins: bool = True) -> list[str]:
    """Why the server of a member that is down would not start: no room at all; or, where it `joins`, somebody has its port."""
    problems = []
    free = member.free_bytes
    if not member.running and free is not None and free < _LEAST_BYTES:
        problems.append(f"{name} has {free >> 20} MiB free on the disk of its data, where no server starts: make room.")
    if joins and [program for _, program in member.stale if program not in RECEIVERS]:
        problems.append(f"{left_of_transfer(name, member)}, and is nothing of Galera's: end it (ss -ltnp).")
    return problems


def left_of_transfer(name: str, member: Member) -> str:
    """One clause, if somebody waits for a state transfer although no server runs."""
    holders = [f"{program} (process {pid})" if pid else "something" for pid, program in member.stale]
    return f"{name}: {words(holders)} listens on port {TRANSFER_PORT}, where a full copy would come" if holders else ""


def cannot_keep(seen: Seen[Room], name: str) -> list[str]:
    """Why the data of `name` cannot be kept aside while it takes a full copy of the largest of the others."""
    if name not in seen:
        return []
    mine = seen[name]
    other = "Or say backup_first=no: then what only it has is overwritten."
    if mine.mounted:
        return [f"{name}: a disk is mounted at its data folder, which cannot be kept aside: back it up by hand. {other}"]
    needed = max((one.data_bytes for host, one in seen.items() if host != name), default=0) * _SPARE
    have = mine.member.free_bytes
    if have is None or have >= needed:
        return []
    return [f"{name}: its data are kept aside, so a full copy needs {_gib(needed)} and has {_gib(have)}: make room. {other}"]


def _gib(size: float) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def not_left(seen: Seen[Member], name: str) -> list[str]:
    """Why `name` has not left: it runs, or one of the others does not list exactly the others."""
    running = [f"{name} still runs."] if name in seen and seen[name].running else []
    return running + disagreement(seen)
