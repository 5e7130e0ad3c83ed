"""A swap file: right size and mode, without holes, active, in fstab once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.size import Size
from nornir_stack.tasks.system import fstab

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

SMALLEST = Size.parse("1M")
SPARE = Size.parse("64M")  # left free on the file system, and of the memory when swap is taken away
# where the kernel can swap to a file: mm/swapfile.c asks the file system for a map of blocks without holes
_CARRIES = frozenset({"ext2", "ext3", "ext4", "xfs", "f2fs", "btrfs"})
_ALLOCATES = frozenset({"ext4", "xfs", "f2fs", "btrfs"})  # ext2 and ext3 have no fallocate

_LOOK = r"""
PATH=$PATH:/usr/sbin:/sbin
folder=$(dirname -- "$1")
[ -d "$folder" ] || { echo "nofolder=$folder"; exit 0; }
findmnt -n -r -b -o FSTYPE,AVAIL,TARGET -T "$folder" | { read -r type free where
    printf 'filesystem=%s\nfree=%s\nwhere=%s\n' "$type" "$free" "$where"; }
if [ -e "$1" ] || [ -L "$1" ]; then
    stat --printf='kind=%F\nsize=%s\nallocated=%b\nmode=%a\nowner=%U\n' -- "$1"
    printf 'signature=%s\n' "$(blkid -p -o value -s TYPE -- "$1")"
fi
while read -r file type size used rest; do
    [ "$file" = "$1" ] && printf 'active=%s\nused=%s\n' "$size" "$used"
done </proc/swaps
while read -r key value _; do
    case $key in MemAvailable:) echo "memory=$value" ;; SwapFree:) echo "swapfree=$value" ;; esac
done </proc/meminfo
:
"""

# Made beside the path and renamed when it is whole, so a file at the path without swap's signature is never ours.
_MAKE = """
set -e
new=$(dirname -- "$1")/.$(basename -- "$1").nornir-stack
trap 'rm -f -- "$new"' EXIT
trap 'exit 143' TERM INT HUP
rm -f -- "$new"
(umask 077; : > "$new")
if [ "$4" = nocow ]; then chattr +C -- "$new"; fi
if [ "$3" != fallocate ] || ! fallocate -l "$2" -- "$new" 2>/dev/null; then
    dd if=/dev/zero of="$new" bs=1M count="$(($2 / 1048576))" conv=fsync 2>/dev/null || {
        echo "could not write $2 bytes to $new" >&2; exit 1; }
fi
chmod 0600 -- "$new"
mkswap -- "$new" >/dev/null
mv -f -- "$new" "$1"
if [ -e /sys/fs/selinux/enforce ] && command -v restorecon >/dev/null; then restorecon -- "$1"; fi
"""


@dataclass(frozen=True)
class Swap:
    """What stands at the path and around it. Sizes in bytes; `kind` is empty where there is no file."""

    folder: bool = True
    filesystem: str = "ext4"
    where: str = "/"
    free: int = 0
    kind: str = ""
    size: int = 0
    allocated: int = 0
    mode: str = ""
    owner: str = "root"
    signature: str = ""
    active: bool = False
    used: int = 0
    memory: int = 0
    other_free: int = 0

    @property
    def holes(self) -> bool:
        return self.allocated < self.size


def swap_file(task: Task, *, size: Size | str, path: str = "/swapfile") -> Result[str]:
    """Make `path` an active swap file of `size` (`1G` is 1024^3 bytes; whole megabytes), also after a reboot.

    One of another size is replaced, if the memory can take what it holds. Raises Refused where the file system cannot carry
    a swap file, has too little room, or where something else stands at `path`.
    """
    wanted = _size(size)
    if not path.startswith("/") or len(path.split()) != 1:
        raise UsageError(f"path is an absolute path without white space, not {path!r}")
    node = Node(task)
    now = parse(node.read(sh(_LOOK, path)).stdout)
    steps = decide(now, wanted, path)
    commands = {
        "swapoff": (sh('swapoff -- "$1"', path), "swapoff"),
        "make": (sh(_MAKE, path, str(int(wanted)), *_how(now)), f"make a swap file of {wanted}, mode 0600"),
        "mode": (sh('chown root:root -- "$1"; chmod 0600 -- "$1"', path), "mode 0600, owner root"),
        "swapon": (sh('swapon -- "$1"', path), "swapon"),
    }
    for step in steps:
        command, what = commands[step]
        node.change(command, what=f"{what} {path}", diff=f"--- {path}\n+++ {path}\n+{what}\n")
    node.edit_lines(fstab.PATH, partial(fstab.with_swap, path=path), independent=True)
    return node.done(str(wanted))


def _size(size: Size | str) -> Size:
    try:
        wanted = Size.parse(size)
    except ValueError as why:
        raise UsageError(str(why)) from why
    if wanted < SMALLEST or wanted % SMALLEST:
        raise UsageError(f"a swap file has whole megabytes, at least {SMALLEST}: not {wanted}")
    return wanted


def decide(now: Swap, size: Size, path: str) -> list[str]:
    """The steps, of swapoff, make, mode, swapon; or Refused with what was seen. Pure."""
    if not now.folder:
        raise Refused(f"the folder of {path} does not exist")
    if now.kind and not now.kind.startswith("regular"):
        raise Refused(f"{path} is no file but a {now.kind}: choose another path")
    if now.size and now.signature != "swap":
        raise Refused(f"{path} is a file that is no swap ({now.signature or 'without a known signature'}): choose another path")
    good = bool(now.kind) and now.size == size and not now.holes and now.signature == "swap"
    steps = []
    if not good:
        _refuse_filesystem(now, path)
        _refuse_room(now, size, path)
        if now.active:
            _refuse_memory(now, path)
            steps.append("swapoff")
        steps.append("make")
    elif (int(now.mode, 8), now.owner) != (0o600, "root"):
        steps.append("mode")
    if not (good and now.active):
        steps.append("swapon")
    return steps


def _refuse_filesystem(now: Swap, path: str) -> None:
    if now.filesystem not in _CARRIES:
        raise Refused(
            f"{path} would lie on {now.filesystem} ({now.where}), which cannot carry a swap file: choose a path on one of "
            f"{', '.join(sorted(_CARRIES))}"
        )


def _refuse_room(now: Swap, size: Size, path: str) -> None:
    # the old file goes only when the new one is whole
    if now.free < size + SPARE:
        free = Size(now.free >> 20 << 20)
        raise Refused(f"{now.where} has {free} free, too little for {path} of {size} and {SPARE} to spare")


def _refuse_memory(now: Swap, path: str) -> None:
    if now.used + SPARE > now.memory + now.other_free:
        used, memory = Size(now.used >> 20 << 20), Size(now.memory >> 20 << 20)
        raise Refused(
            f"{path} has another size and holds {used} of swapped memory, and only {memory} of memory is free to take it "
            "back: free some, or keep the size"
        )


def _how(now: Swap) -> tuple[str, str]:
    """btrfs swaps only to files without copy-on-write, and an empty file may still be made so (btrfs(5), "swapfile")."""
    return ("fallocate" if now.filesystem in _ALLOCATES else "dd"), ("nocow" if now.filesystem == "btrfs" else "")


def parse(out: str) -> Swap:
    """Pure: what the look printed."""
    facts = dict(line.partition("=")[::2] for line in out.splitlines() if "=" in line)
    kib = {key: int(facts.get(key) or 0) * 1024 for key in ("used", "memory", "swapfree", "active")}
    unused = max(kib["active"] - kib["used"], 0)
    return Swap(
        "nofolder" not in facts,
        facts.get("filesystem", ""),
        facts.get("where", ""),
        int(facts.get("free") or 0),
        facts.get("kind", ""),
        int(facts.get("size") or 0),
        int(facts.get("allocated") or 0) * 512,
        facts.get("mode", ""),
        facts.get("owner", "root"),
        facts.get("signature", ""),
        "active" in facts,
        kib["used"],
        kib["memory"],
        max(kib["swapfree"] - unused, 0),
    )
