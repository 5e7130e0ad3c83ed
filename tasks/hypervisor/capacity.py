"""What a hypervisor may promise: virtual processors twice, memory once; and the sizes of machines by role. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.size import Size
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from libvirt import virConnect

PROMISED_TWICE = 2


@dataclass(frozen=True)
class Sizes:
    """Of a machine: virtual processors, memory and the disk of its system."""

    cpus: int
    memory: Size
    disk: Size


# For a small cloud: a controller is heavy on processors, a network node on packets; databases and storage want memory.
BY_ROLE: Mapping[str, Sizes] = {
    "controller": Sizes(4, Size.parse("6G"), Size.parse("60G")),
    "network": Sizes(2, Size.parse("2G"), Size.parse("20G")),
    "storage": Sizes(2, Size.parse("2G"), Size.parse("40G")),
    "db": Sizes(2, Size.parse("4G"), Size.parse("40G")),
    "loadbalancer": Sizes(1, Size.parse("1G"), Size.parse("10G")),
    "web": Sizes(1, Size.parse("1G"), Size.parse("10G")),
}
OTHER = Sizes(1, Size.parse("1G"), Size.parse("10G"))


def sizes_of(roles: Iterable[str], cpus: int | None, memory: Size | None, disk: Size | None) -> Sizes:
    """A machine's sizes: as said, else the largest of its roles."""
    found = [BY_ROLE[each] for each in roles if each in BY_ROLE] or [OTHER]
    return Sizes(
        cpus or max(each.cpus for each in found),
        memory or max(each.memory for each in found),
        disk or max(each.disk for each in found),
    )


@dataclass(frozen=True)
class Promise:
    """What a machine is promised while it runs. `memory` in bytes; of huge pages, which are apart, none."""

    machine: str
    cpus: int
    memory: int


def has(link: virConnect) -> tuple[int, int]:
    """A hypervisor's processors, and its memory in bytes less what is set aside as huge pages. For `Libvirt.read`."""
    info = link.getInfo()
    return info[2], (info[1] << 20) - huge_pages(link.getCapabilities())


def huge_pages(capabilities: str) -> int:
    """The bytes that are set aside as huge pages, on all NUMA nodes (https://libvirt.org/formatcaps.html). Pure."""
    found = 0
    for cell in parsed(capabilities).iterfind("host/topology/cells/cell"):
        pages = [(int(each.get("size", "0")), int(each.text or 0)) for each in cell.iterfind("pages")]  # in KiB
        smallest = min((size for size, _ in pages), default=0)
        found += sum(size * count << 10 for size, count in pages if size > smallest)
    return found


def refuse(hypervisor: str, cpus: int, memory: int, reserved: int, promises: Sequence[Promise]) -> None:
    """Raise Refused where a hypervisor cannot hold all of its `promises`: those of machines that run
    or start with it, and of those to come."""
    wanted = sum(each.memory for each in promises)
    if wanted > memory - reserved:
        listed = ", ".join(f"{each.machine} {_mib(each.memory)}" for each in promises)
        raise Refused(
            f"{hypervisor} has {_mib(memory)} of memory, of which {_mib(reserved)} are its own, and its machines want "
            f"{_mib(wanted)} ({listed}): memory is not promised twice. Give them less, or move one to another hypervisor"
        )
    for each in promises:
        if each.cpus > cpus:
            raise Refused(f"{hypervisor} has {cpus} processors, and {each.machine} alone wants {each.cpus}")
    total = sum(each.cpus for each in promises)
    if total > PROMISED_TWICE * cpus:
        raise Refused(
            f"{hypervisor} has {cpus} processors, and its machines want {total}: they may be promised twice, not more. "
            "Give them fewer, or move one to another hypervisor"
        )


def _mib(size: int) -> str:
    return f"{size >> 20} MiB"
