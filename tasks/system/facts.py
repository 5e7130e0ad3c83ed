"""Facts of a node in one round trip, without Python on it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.tasks.system.family import DEBIAN, REDHAT, Family, family_of, os_release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result

SelinuxMode = Literal["enforcing", "permissive", "disabled", "absent"]

# Each section begins with a line of the record separator and its name. A hanging network file system must not hang the
# facts, so findmnt is given five seconds. memory.max is of cgroup v2, memory.limit_in_bytes of v1.
_LOOK = r"""
export LC_ALL=C
s() { printf '\036%s\n' "$1"; }
s os; cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release 2>/dev/null
s kernel; uname -r; s machine; uname -m; s hostname; uname -n
s init; if [ -d /run/systemd/system ]; then echo systemd; else cat /proc/1/comm; fi
s cpus; nproc
s memory; cat /proc/meminfo
s limit; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null
s addresses; ip -o addr show 2>/dev/null
s mounts; timeout 5 findmnt -P -b -o TARGET,SOURCE,FSTYPE,SIZE,AVAIL,UUID
s selinux; if [ -e /sys/fs/selinux/enforce ]; then cat /sys/fs/selinux/enforce
elif [ -e /etc/selinux/config ]; then echo off; fi
s virtualization; systemd-detect-virt 2>/dev/null || echo none
s machine-id; cat /etc/machine-id 2>/dev/null
s boot-id; cat /proc/sys/kernel/random/boot_id
:
"""


@dataclass(frozen=True)
class Mount:
    """A mounted file system; `size` and `free` in bytes (free: what an ordinary user may still take)."""

    target: str
    source: str
    type: str
    size: int
    free: int
    uuid: str = ""


@dataclass(frozen=True)
class Facts:
    """What a node is. Bytes where it is memory, swap or space; `memory` is what the cgroup allows, where that is less.

    `virtualization` is systemd-detect-virt's word (`none` on bare metal); `boot_id` differs after each boot.
    """

    os: str
    version: str
    codename: str
    family: Literal["debian", "redhat"]
    kernel: str
    machine: str
    hostname: str
    init: str
    cpus: int
    memory: int
    swap: int
    addresses: Mapping[str, tuple[str, ...]]
    mounts: tuple[Mount, ...]
    selinux: SelinuxMode
    virtualization: str
    machine_id: str
    boot_id: str

    @property
    def differences(self) -> Family:
        """The family's row in the table of differences."""
        return DEBIAN if self.family == "debian" else REDHAT

    def mount_of(self, path: str) -> Mount | None:
        """The mount that carries `path`: the one with the longest target above it, the last mounted of equals."""
        above = [m for m in self.mounts if m.target in {"/", path} or path.startswith(f"{m.target}/")]
        return max(reversed(above), key=lambda mount: len(mount.target), default=None)


def facts(task: Task, *, fresh: bool = False) -> Result[Facts]:
    """Facts, looked at once a connection and then remembered.

    What can change under a running system (swap, addresses, free bytes, hostname, SELinux mode) is as at the first look;
    `fresh` looks again. Raises Refused for a system that is of neither family.
    """
    node = Node(task)
    if fresh:
        node.connection.facts.pop(_KEY, None)
    return node.done(look(node, independent=not fresh))


_KEY = "system.facts"


def look(node: Node, *, independent: bool = True) -> Facts:
    """The remembered facts of a node: for tasks that need to know its family or size. A dry run may ask at any time."""
    return node.cached(_KEY, lambda: parse(node.read(sh(_LOOK), independent=independent).stdout))


def family(node: Node) -> Family:
    """The family of a node, remembered."""
    return look(node).differences


def parse(text: str) -> Facts:
    """Facts from what the look printed. Raises Refused for a system of neither family."""
    at = {name: body for name, _, body in (part.partition("\n") for part in text.split("\x1e")[1:])}

    def line(name: str) -> str:
        return at[name].strip().partition("\n")[0]

    release = os_release(at["os"])
    memory = {key: int(value) * 1024 for key, value in re.findall(r"^(\w+):\s+(\d+) kB$", at["memory"], re.MULTILINE)}
    return Facts(
        os=release.get("ID", ""),
        version=release.get("VERSION_ID", ""),
        codename=release.get("VERSION_CODENAME", ""),
        family=family_of(release).name,
        kernel=line("kernel"),
        machine=line("machine"),
        hostname=line("hostname"),
        init=line("init"),
        cpus=int(line("cpus")),
        memory=min([memory["MemTotal"], *(int(limit) for limit in at["limit"].split() if limit.isdigit())]),
        swap=memory.get("SwapTotal", 0),
        addresses=_addresses(at["addresses"]),
        mounts=_mounts(at["mounts"]),
        selinux=_SELINUX[line("selinux")],
        virtualization=line("virtualization"),
        machine_id=line("machine-id"),
        boot_id=line("boot-id"),
    )


_SELINUX: dict[str, SelinuxMode] = {"1": "enforcing", "0": "permissive", "off": "disabled", "": "absent"}


def _addresses(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for words in (line.split() for line in text.splitlines()):
        if len(words) > 3 and words[2] in {"inet", "inet6"}:  # noqa: PLR2004  number, interface, family, address
            found.setdefault(words[1], []).append(words[3])
    return {name: tuple(addresses) for name, addresses in found.items()}


def _mounts(text: str) -> tuple[Mount, ...]:
    """Those that hold something: findmnt says size 0 for proc and its like. It escapes as \\x20."""
    found = []
    for line in text.splitlines():
        row = dict(word.partition("=")[::2] for word in shlex.split(line.replace("\\x", "\\\\x")))
        if row.get("SIZE", "0") not in {"", "0"}:
            path = re.sub(r"\\x([0-9a-f]{2})", lambda hit: chr(int(hit[1], 16)), row["TARGET"])
            size, free = int(row["SIZE"]), int(row["AVAIL"] or 0)
            found.append(Mount(path, row["SOURCE"], row["FSTYPE"], size, free, row.get("UUID", "")))
    return tuple(found)
