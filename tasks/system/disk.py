"""A disk for a server's data: partition, file system, label, fstab by UUID, mount, owner."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

from nornir_stack.command import Command, sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.tasks.system import disk_facts, fstab
from nornir_stack.tasks.system.disk_plan import LONGEST_LABEL, Step, Wanted, decide, entry_of
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import packages

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.system.disk_facts import Place
    from nornir_stack.tasks.system.disk_plan import Filesystem

PACKAGES = {
    "sfdisk": {"debian": "fdisk", "redhat": "util-linux"},
    "mkfs.ext4": {"debian": "e2fsprogs", "redhat": "e2fsprogs"},
    "mkfs.xfs": {"debian": "xfsprogs", "redhat": "xfsprogs"},
}

_UNKNOWN = "OF-THE-FILE-SYSTEM-TO-BE-MADE"  # in a dry run

WIPE = """
set -e
for part in $(lsblk -lnpo NAME -- "$1" | tail -n +2); do
    if [ -b "$part" ]; then wipefs -q -a -- "$part"; fi
done
wipefs -q -a -- "$1"
"""

# The kernel is told by partx: it works where a full re-read does not (a loop device, a kernel that parses no tables).
# A container has no udev, so the device node is made there, or made anew if it is left over from another device.
_NODE = """
kernel=/sys/class/block/${2#/dev/}
partx -u -- "$1" 2>/dev/null || partx -a -- "$1" 2>/dev/null
if command -v udevadm >/dev/null && [ -S /run/udev/control ]; then udevadm settle --timeout=30; fi
[ -e "$kernel/dev" ] || { echo "the kernel does not show $2" >&2; exit 1; }
numbers=$(cat "$kernel/dev")
now() { [ -b "$2" ] && printf '%d:%d' "0x$(stat -c %t "$2")" "0x$(stat -c %T "$2")"; }
if [ "$(now "$@")" != "$numbers" ]; then
    rm -f -- "$2"
    mknod -m 0660 -- "$2" b "${numbers%:*}" "${numbers#*:}"
fi
"""
# GPT's type for a Linux file system; sfdisk of Red Hat 8 does not know the name `linux`
_PARTITION = (
    """
set -e
printf 'label: gpt\\ntype=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name="%s"\\n' "$3" |
    sfdisk -q --no-reread --no-tell-kernel --wipe always --wipe-partitions always -- "$1"
set +e
"""
    + _NODE
)
_MKFS = """
case $2 in
    ext4) exec mkfs.ext4 -q -L "$3" -U "$4" -- "$1" ;;
    xfs) exec mkfs.xfs -q -L "$3" -m "uuid=$4" -- "$1" ;;
esac
"""
_LABEL = """
case $2 in
    ext4) exec tune2fs -L "$3" -- "$1" ;;
    xfs) if [ -n "$4" ]; then exec xfs_io -c "label -s $3" "$4"; else exec xfs_admin -L "$3" "$1"; fi ;;
esac
"""
_MOUNT = """
set -e
mkdir -p -- "$2"
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
mount -- "$2"
chown -- "$3" "$2"
if [ -e /sys/fs/selinux/enforce ] && command -v restorecon >/dev/null; then restorecon -- "$2"; fi
"""


def data_disk(
    task: Task,
    *,
    device: str,
    mount: str,
    filesystem: Filesystem = "ext4",
    label: str,
    owner: str = "root:root",
    partition: bool = True,
    confirm: str = "",
) -> Result[str]:
    """Make `device` carry `filesystem` under `label` and mount it at `mount`, by UUID, over reboots. The value is the UUID.

    A disk that is so already is adopted, and a run that was cut goes on. What holds a signature, a partition table or data
    is formatted only when `confirm` is what the refusal printed; what is mounted or otherwise in use never is.
    """
    wanted = Wanted(device, mount.rstrip("/"), filesystem, label, owner, partition)
    _refuse_words(wanted)
    node = Node(task)
    disk, place = disk_facts.parse(node.read(disk_facts.look(device, wanted.mount)).stdout, wanted.mount)
    steps = decide(disk, place, wanted, uuid=_UNKNOWN if node.dry_run else str(uuid4()), confirm=confirm)
    _install_tools(task, steps, place)
    for step in steps:
        _act(node, disk.path, wanted, step)
    return node.done(lambda: _uuid(node, wanted, steps))


def _refuse_words(wanted: Wanted) -> None:
    if wanted.filesystem not in LONGEST_LABEL:
        raise UsageError(f"filesystem is ext4 or xfs, not {wanted.filesystem!r}")
    longest = LONGEST_LABEL[wanted.filesystem]
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", wanted.label) or len(wanted.label) > longest:
        raise UsageError(f"a label for {wanted.filesystem} has up to {longest} of letters, digits, _ . -, not {wanted.label!r}")
    if not wanted.device.startswith("/dev/") or not re.fullmatch(r"/[^\s]+", wanted.mount):
        raise UsageError(f"device is a path in /dev and mount an absolute path: {wanted.device!r}, {wanted.mount!r}")


def _install_tools(task: Task, steps: list[Step], place: Place) -> None:
    tools = {"sfdisk"} if any(step.do == "partition" for step in steps) else set[str]()
    tools |= {f"mkfs.{step.words[0]}" for step in steps if step.do == "mkfs"}
    wanted = sorted(PACKAGES[tool][family(Node(task)).name] for tool in tools if tool not in place.tools)
    if wanted:
        packages(task, present=wanted)


def _act(node: Node, disk: str, wanted: Wanted, step: Step) -> None:
    if step.do == "fstab":
        edit = partial(fstab.with_mount, wanted=entry_of(wanted, *step.words))
        node.edit_lines(fstab.PATH, edit, independent=True)
        return
    command, what = _command(disk, step)
    node.change(command, what=what, diff=f"--- {step.target}\n+++ {step.target}\n+{what}\n")


def _command(disk: str, step: Step) -> tuple[Command, str]:  # noqa: PLR0911  one case a step
    target = step.target
    match step.do, *step.words:
        case "wipe", found:
            return sh(WIPE, target), f"wipe the signatures of {target} ({found}, confirmed)"
        case "partition", name:
            part = disk_facts.partition_path(disk, 1)
            return sh(_PARTITION, disk, part, name), f"partition {target}: GPT, one partition {name!r}"
        case "mkfs", filesystem, label, uuid:
            return sh(_MKFS, target, filesystem, label, uuid), f"make a file system on {target}: {filesystem}, label {label}"
        case "label", filesystem, label, mount:
            return sh(_LABEL, target, filesystem, label, mount), f"label {target}: {label}"
        case "mount", mount, owner:
            return sh(_MOUNT, target, mount, owner), f"mount {target} on {mount}, owner {owner}"
        case "owner", owner:
            return sh('chown -- "$2" "$1"', target, owner), f"owner of {target}: {owner}"
        case _:
            return sh(_NODE, disk, target), f"make the kernel and /dev know {target}"


def _uuid(node: Node, wanted: Wanted, steps: list[Step]) -> str:
    """What is mounted in the end, looked at again; a mount that is not there is an error."""
    made = next((step.words[0] for step in steps if step.do == "fstab"), "")
    now = node.read("findmnt", "-n", "-o", "UUID,FSTYPE", "-M", wanted.mount, ok=None).text.split()
    if now and now[-1] == wanted.filesystem and len(now) > 1:
        return now[0]
    if now:  # in a container findmnt knows no UUID: udev's memory is not there
        return made or _from_fstab(node, wanted)
    raise Refused(f"{wanted.mount} is not mounted after all steps: `findmnt {wanted.mount}` and the kernel's log tell more")


def _from_fstab(node: Node, wanted: Wanted) -> str:
    lines = (node.read_file(fstab.PATH) or "").splitlines()
    return next((e.source.removeprefix("UUID=") for e in fstab.entries(lines) if e.mount == wanted.mount), "")
