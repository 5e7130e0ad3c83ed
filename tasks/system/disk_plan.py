"""What has to be done to a disk so that it carries the wanted file system, or why nothing may be. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nornir_stack.errors import Refused
from nornir_stack.size import Size
from nornir_stack.tasks.system import fstab
from nornir_stack.tasks.system.disk_facts import Partition, partition_path

if TYPE_CHECKING:
    from nornir_stack.tasks.system.disk_facts import Disk, Place, Signature

Filesystem = Literal["ext4", "xfs"]
# xfsprogs 5.19 and later make nothing smaller than 300 MB; both with the room that a partition table takes
SMALLEST: dict[str, Size] = {"ext4": Size.parse("16M"), "xfs": Size.parse("304M")}
LONGEST_LABEL = {"ext4": 16, "xfs": 12}


@dataclass(frozen=True)
class Wanted:
    device: str
    mount: str
    filesystem: Filesystem
    label: str
    owner: str = "root:root"
    partition: bool = True

    @property
    def partition_name(self) -> str:
        """Our mark in the partition table: by it a run that was cut before mkfs is recognised."""
        return f"nornir-stack:{self.label}"


@dataclass(frozen=True)
class Step:
    """`do` is one of wipe, partition, node, mkfs, label, fstab, mount, owner; `target` the device that it is done to."""

    do: str
    target: str
    words: tuple[str, ...] = ()


def decide(disk: Disk, place: Place, wanted: Wanted, *, uuid: str, confirm: str = "") -> list[Step]:
    """The steps in order, none where all is as wanted. `uuid` is given to a new file system.

    Raises Refused with what was seen and what to do; nothing that holds anything is formatted without `confirm` being
    the very words that the refusal printed.
    """
    _refuse_impossible(disk, wanted)
    target = _target(disk, wanted)
    if target and _as_wanted(target.holds, disk, place, wanted, target.path):
        _refuse_place(disk, place, wanted, target.path)
        return _adopted(target, place, wanted, _more(disk))
    refuse_used(disk)
    _refuse_place(disk, place, wanted, "")
    steps = []
    if not (target and not target.holds):
        steps = cleared(disk, confirm)
        target = None
    return [*steps, *_made(disk, target, wanted, uuid)]


def _refuse_impossible(disk: Disk, wanted: Wanted) -> None:
    if not disk.kind:
        raise Refused(f"{wanted.device} does not exist on this node: `lsblk` there shows the disks that do")
    if disk.kind != "block":
        raise Refused(f"{wanted.device} is no block device but a {disk.kind}")
    root = [mount for mount, _ in disk.mounts if mount in {"/", "/boot", "/boot/efi", "/usr", "/var"}]
    if root:
        raise Refused(f"{disk.path} carries the system ({', '.join(root)} is mounted from it): name another disk")
    if disk.unreadable:
        raise Refused(f"{disk.path} cannot be opened on this node, so what it holds is not known (no medium, or not allowed)")
    if disk.read_only:
        raise Refused(f"{disk.path} is read-only")
    if disk.unopened:
        raise Refused(
            f"{disk.path} is a disk of the iSCSI target {disk.unopened}, and no boot opens the session to it: have it opened by"
            f" `iscsiadm -m node -T {disk.unopened} -o update -n node.startup -v automatic`"
        )
    smallest = SMALLEST[wanted.filesystem]
    if disk.size < smallest:
        raise Refused(f"{disk.path} has {disk.size} bytes, too small for {wanted.filesystem}, which needs {smallest}")
    if wanted.partition and disk.is_partition:
        raise Refused(f"{disk.path} is a partition itself: name the whole disk, or use it as it is by partition=false")


def _target(disk: Disk, wanted: Wanted) -> Partition | None:
    """Where the file system is or goes, if that is there: the device, or the partition that is ours or mounted there."""
    if not wanted.partition:
        return Partition(0, disk.path, holds=disk.holds) if disk.holds.kind else None
    mounted = {source for mount, source in disk.mounts if mount == wanted.mount}
    for partition in disk.partitions:
        if partition.path in mounted or partition.holds.label == wanted.label:
            return partition
    only = disk.partitions[0] if len(disk.partitions) == 1 else None
    return only if only and only.name == wanted.partition_name else None


def _as_wanted(holds: Signature, disk: Disk, place: Place, wanted: Wanted, path: str) -> bool:
    """A file system of the wanted kind under the wanted label, or mounted at the wanted place, by hand or by fstab."""
    if holds.kind != wanted.filesystem:
        return False
    in_fstab = any(e.mount == wanted.mount and e.source in _names(holds, path) for e in fstab.entries(list(place.fstab)))
    return holds.label == wanted.label or in_fstab or (wanted.mount, path) in disk.mounts


def _names(holds: Signature, path: str) -> set[str]:
    label = {f"LABEL={holds.label}"} if holds.label else set()
    return {path, f"UUID={holds.uuid}", f"/dev/disk/by-uuid/{holds.uuid}"} | label


def entry_of(wanted: Wanted, uuid: str, *more: str) -> fstab.Entry:
    """The line of fstab, with `more` options.

    `nofail`: without the disk the node boots and can be repaired, and the server does not start.
    """
    check = "2" if wanted.filesystem == "ext4" else "0"  # fsck.xfs does nothing
    options = ",".join(["defaults", "nofail", *more])
    return fstab.Entry(f"UUID={uuid}", wanted.mount, wanted.filesystem, options, check=check)


def _more(disk: Disk) -> tuple[str, ...]:
    """The options of a disk over the network: else systemd goes by the kind of file system, takes it for one of the machine's
    own, and unmounts it when the network has gone (systemd.mount(5), `_netdev`).
    """
    return (fstab.NETWORK,) if disk.network else ()


def _adopted(target: Partition, place: Place, wanted: Wanted, more: tuple[str, ...]) -> list[Step]:
    entry = entry_of(wanted, target.holds.uuid, *more)
    lines = list(place.fstab)
    steps = [] if target.node or place.mounted else [Step("node", target.path)]
    if target.holds.label != wanted.label:
        steps.append(Step("label", target.path, (wanted.filesystem, wanted.label, wanted.mount if place.mounted else "")))
    if fstab.with_mount(lines, entry) != lines:
        steps.append(Step("fstab", target.path, (target.holds.uuid, *more)))
    if not place.mounted:
        steps.append(Step("mount", target.path, (wanted.mount, wanted.owner)))
    elif not _owned(place.owner, wanted.owner):
        steps.append(Step("owner", wanted.mount, (wanted.owner,)))
    return steps


def _owned(now: str, wanted: str) -> bool:
    user, _, group = wanted.partition(":")
    return now.partition(":")[0] == user and (not group or now.partition(":")[2] == group)


def refuse_used(disk: Disk) -> None:
    """Raise Refused for a disk that something uses."""
    uses = [f"{source} is mounted on {mount}" for mount, source in disk.mounts] + list(disk.uses)
    if uses:
        raise Refused(f"{disk.path} is in use: {'; '.join(uses)}. Take it out of use first, or name another disk")


def _refuse_place(disk: Disk, place: Place, wanted: Wanted, path: str) -> None:
    elsewhere = [mount for mount, source in disk.mounts if source == path and mount != wanted.mount]
    if elsewhere and (wanted.mount, path) not in disk.mounts:
        raise Refused(f"{path} is mounted on {elsewhere[0]}, and wanted on {wanted.mount}: unmount it first")
    if place.mounted and (not path or (wanted.mount, path) not in disk.mounts):
        raise Refused(f"{place.mounted} is mounted on {wanted.mount} already: unmount it first, or choose another place")
    if place.filled and not place.mounted:
        raise Refused(
            f"the folder {wanted.mount} holds files that a mount there would hide: move them away first (a server's data "
            "go into a folder below the mount point, when it is mounted)"
        )


def cleared(disk: Disk, confirm: str) -> list[Step]:
    """What makes the disk empty, nothing where it is. Raises Refused unless `confirm` names all that it holds."""
    found = [disk.holds.token] if disk.holds else list(disk.more[:1])
    found += [p.holds.token if p.holds else f"partition {p.number}" for p in disk.partitions]
    if not found and disk.data:
        found = [f"data:{disk.data}"]
    token = "+".join(found)
    if not found:
        return []
    if confirm != token:
        seen = _described(disk)
        again = f"confirm={confirm!r} names something else. " if confirm else ""
        raise Refused(
            f"{disk.path} is not empty: {seen}. Nothing was touched. {again}"
            f"If all of it may be lost, say so by confirm={token!r}"
        )
    return [Step("wipe", disk.path, (token,))]


def _described(disk: Disk) -> str:
    parts = []
    if disk.holds.table:
        parts.append(f"a {disk.holds.table} partition table with {len(disk.partitions)} partitions")
    if disk.holds.kind:
        parts.append(_words(disk.holds))
    parts += [f"{p.path} with {_words(p.holds)}" for p in disk.partitions if p.holds]
    parts += [f"a signature of {kind}" for kind in disk.more if not disk.holds]
    return ", ".join(parts) or "data without a known signature"


def _words(holds: Signature) -> str:
    return f"{holds.kind or holds.table}" + (f" labelled {holds.label!r}" if holds.label else "")


def _made(disk: Disk, target: Partition | None, wanted: Wanted, uuid: str) -> list[Step]:
    path = disk.path if not wanted.partition else target.path if target else partition_path(disk.path, 1)
    steps = []
    if wanted.partition and target is None:
        steps.append(Step("partition", disk.path, (wanted.partition_name,)))
    elif target and not target.node:
        steps.append(Step("node", path))
    return [
        *steps,
        Step("mkfs", path, (wanted.filesystem, wanted.label, uuid)),
        Step("fstab", path, (uuid, *_more(disk))),
        Step("mount", path, (wanted.mount, wanted.owner)),
    ]
