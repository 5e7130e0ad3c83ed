"""What has to be done so that a volume group stands on devices, or why nothing may be. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.size import Size
from nornir_stack.tasks.system.disk_plan import cleared, refuse_used

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir_stack.tasks.system.disk_facts import Disk

_SYSTEM = frozenset({"/", "/boot", "/boot/efi", "/usr", "/var"})


@dataclass(frozen=True)
class Groups:
    """LVM as it is: physical volume to its group ('': none), group to its free bytes, `group/volume` to its size."""

    physical: Mapping[str, str]
    free: Mapping[str, int]
    volumes: Mapping[str, Size]


@dataclass(frozen=True)
class Step:
    """`do` is one of wipe, create, extend."""

    do: str
    devices: tuple[str, ...]


def parse(out: str) -> Groups:
    """What `pvs`, `vgs` and `lvs` printed, each row with its kind before it and | between fields."""
    rows = [[word.strip() for word in line.split("|")] for line in out.splitlines() if "|" in line]
    physical = {row[1]: row[2] for row in rows if row[0] == "pv"}
    free = {row[1]: int(row[2]) for row in rows if row[0] == "vg"}
    volumes = {f"{row[1]}/{row[2]}": Size(int(row[3])) for row in rows if row[0] == "lv"}
    return Groups(physical, free, volumes)


def decide(group: str, disks: Sequence[Disk], now: Groups, confirm: str = "") -> list[Step]:
    """The steps in order; none where the group stands on all of `disks` (it may stand on more).

    Raises Refused for a device that is in use or another group's, and for one that holds anything, unless `confirm` names it.
    """
    steps, new = [], []
    for disk in disks:
        _refuse_impossible(disk)
        if disk.path in now.physical:
            other = now.physical[disk.path]
            if other == group:
                continue
            if other:
                raise Refused(
                    f"{disk.path} is of the volume group {other}: take it out there first (vgreduce), or name another"
                )
        else:
            refuse_used(disk)
            steps += [Step("wipe", (disk.path,)) for _ in cleared(disk, confirm)]
        new.append(disk.path)
    if not new:
        return steps
    return [*steps, Step("extend" if group in now.free else "create", tuple(new))]


def _refuse_impossible(disk: Disk) -> None:
    if disk.kind != "block":
        seen = "does not exist on this node" if not disk.kind else f"is no block device but a {disk.kind}"
        raise Refused(f"{disk.path} {seen}: `lsblk` there shows the disks that do")
    if system := [mount for mount, _ in disk.mounts if mount in _SYSTEM]:
        raise Refused(f"{disk.path} carries the system ({', '.join(system)} is mounted from it): name another disk")
    if disk.unreadable or disk.read_only:
        raise Refused(f"{disk.path} is {'read-only' if disk.read_only else 'not to be opened'}: name another disk")


def volume_step(group: str, volume: str, size: Size, now: Groups, extent: int = 4 << 20) -> str:
    """`create`, `extend` or '' for a logical volume. Raises Refused where it would be made smaller, or there is no room."""
    wanted = -(-int(size) // extent) * extent
    there = now.volumes.get(f"{group}/{volume}")
    if there is not None and there >= wanted:
        if there > wanted:
            raise Refused(
                f"{group}/{volume} has {there} and {size} is wanted: a volume is never made smaller here; correct the inventory"
            )
        return ""
    lacking = wanted - (there or 0)
    if lacking > now.free.get(group, 0):
        left = Size(now.free.get(group, 0) >> 20 << 20)
        raise Refused(f"{group} has {left} left and {volume} wants {Size(lacking)} more: give the group another disk first")
    return "create" if there is None else "extend"
