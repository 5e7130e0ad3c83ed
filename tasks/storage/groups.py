"""Volume groups and logical volumes, such as `cinder-volumes`, with the care for existing data that a data disk gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import command, sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.size import Size
from nornir_stack.tasks.storage.group_plan import Groups, Step, decide, parse, volume_step
from nornir_stack.tasks.storage.settings import Storage
from nornir_stack.tasks.system import disk_facts
from nornir_stack.tasks.system.disk import WIPE
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import packages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result

_LOOK = """
PATH=$PATH:/usr/sbin:/sbin
options="--noheadings --separator | --units b --nosuffix --readonly"
pvs $options -o pv_name,vg_name | sed 's/^ */pv|/'
vgs $options -o vg_name,vg_free | sed 's/^ */vg|/'
lvs $options -o vg_name,lv_name,lv_size | sed 's/^ */lv|/'
"""


def volume_groups(task: Task) -> Result[tuple[str, ...]]:
    """Have the volume groups of the inventory (`storage: volume_groups`) with their logical volumes; the groups' names."""
    node = Node(task)
    declared = settings_of(task.host, Storage).volume_groups
    for name, group in declared.items():
        if node.then(volume_group, group=name, devices=group.devices) is None:
            continue
        for title, size in group.volumes.items():
            node.then(logical_volume, group=name, volume=title, size=str(size))
    return node.done(tuple(declared))


def volume_group(task: Task, *, group: str, devices: Sequence[str], confirm: str = "") -> Result[int]:
    """Have the volume group stand on these devices (paths in /dev, links too), whatever others it has; its free bytes.

    A device that holds a signature, a partition table or data is taken only when `confirm` is what the refusal printed; one
    that is mounted, otherwise in use or another group's never is.
    """
    if wrong := [each for each in devices if not each.startswith("/dev/")]:
        raise UsageError(f"devices are paths in /dev, not {wrong[0]!r}")
    node = Node(task)
    packages(task, present=family(node).package("lvm"))
    now = _groups(node)
    disks = []
    for device in devices:
        disk, _ = disk_facts.parse(node.read(disk_facts.look(device, "/nonexistent")).stdout, "/nonexistent")
        disks.append(disk)
    for step in decide(group, disks, now, confirm):
        _act(node, group, step)
    return node.done(lambda: _groups(node).free.get(group, 0))


def _act(node: Node, group: str, step: Step) -> None:
    listed = " ".join(step.devices)
    if step.do == "wipe":
        node.change(sh(WIPE, listed), what=f"wipe the signatures of {listed} (confirmed)", diff=f"-{listed}: what it held\n")
        return
    program = "vgcreate" if step.do == "create" else "vgextend"
    # without --yes: what has a signature after all is refused by LVM too
    node.change(
        command(program, group, *step.devices),
        what=f"{step.do} the volume group {group} with {listed}",
        diff=f"+{group}: {listed}\n",
    )


def logical_volume(task: Task, *, group: str, volume: str, size: str) -> Result[str]:
    """Have a logical volume of this size (whole extents) in a group, enlarged where it is smaller; its path.

    Raises Refused for one that is larger, and where the group has no room. What stands on it is not enlarged.
    """
    wanted = Size.parse(size)
    node = Node(task)
    now = _groups(node)
    if group not in now.free:
        raise Refused(f"{node.name} has no volume group {group!r}: it has {', '.join(now.free) or 'none'}")
    path = f"/dev/{group}/{volume}"
    match volume_step(group, volume, wanted, now):
        case "create":
            made = command("lvcreate", "--yes", "--wipesignatures", "y", "--size", f"{int(wanted)}b", "--name", volume, group)
            node.change(made, what=f"make the volume {group}/{volume}: {wanted}", diff=f"+{path} {wanted}\n")
        case "extend":
            longer = command("lvextend", "--size", f"{int(wanted)}b", path)
            node.change(longer, what=f"enlarge {group}/{volume} to {wanted}", diff=f"+{path} {wanted}\n", repeatable=True)
    return node.done(path)


def _groups(node: Node) -> Groups:
    return parse(node.read(sh(_LOOK, label="pvs, vgs, lvs")).stdout)
