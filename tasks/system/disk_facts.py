"""What a block device is, what it holds and who uses it: looked at in one round trip, changing nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import Command, sh

if TYPE_CHECKING:
    from collections.abc import Mapping

# blkid -p reads the device itself, not udev's memory of it. Partitions are probed by offset on the whole device, since in a
# container the kernel may know a partition that has no device node, and a table may stand that the kernel never read.
# Samples at the start, in the middle and at the end tell of data that have no signature.
_LOOK = r"""
PATH=$PATH:/usr/sbin:/sbin
say() { printf '\n@@%s\n' "$1"; }
dev=$(readlink -f -- "$1")
numbers() { [ -b "$1" ] && printf '%d:%d' "0x$(stat -c %t "$1")" "0x$(stat -c %T "$1")"; }
# A disk of iSCSI lies below its session; who has iscsiadm has a record that says whether a boot opens it again. Others are
# known by their names; multipath and LVM stand on devices of their own.
beneath() {
    real=$(readlink -f "$1")
    case $real in
        */session[0-9]*/*)
            echo network=1
            session=${real#*/session}
            target=$(cat "/sys/class/iscsi_session/session${session%%/*}/targetname")
            if command -v iscsiadm >/dev/null && ! grep -Erqs '^node\.startup *= *(automatic|onboot)' \
                "/etc/iscsi/nodes/$target" "/var/lib/iscsi/nodes/$target"; then echo "unopened=$target"; fi
            ;;
        */nbd[0-9]*|*/rbd[0-9]*) echo network=1 ;;
    esac
    for below in "$1"/slaves/*; do
        if [ -e "$below" ]; then beneath "$below"; fi
    done
}
say device
printf 'path=%s\n' "$dev"
if [ -b "$dev" ]; then
    set -- "$dev" "$2"
    name=$(basename "$(readlink -f "/sys/dev/block/$(numbers "$dev")")")
    sys=/sys/class/block/$name
    size=$(($(cat "$sys/size") * 512))
    head -c 1 "$dev" >/dev/null 2>&1 || echo unreadable=1
    printf 'kind=block\nname=%s\nsize=%s\nreadonly=%s\n' "$name" "$size" "$(cat "$sys/ro")"
    [ -e "$sys/partition" ] && echo partition=1
    printf 'serial=%s\n' "$(lsblk -dno SERIAL "$dev" 2>/dev/null | tr -d ' ')"
    printf 'numbers=%s\n' "$(cat "$sys/dev" "$sys"/*/dev 2>/dev/null | tr '\n' ' ')"
    printf 'holders=%s\n' "$(ls "$sys/holders" "$sys"/*/holders 2>/dev/null | grep -v -e : -e '^$' | tr '\n' ' ')"
    beneath "$sys"
    sample() {
        {
            dd if="$dev" bs=64k count=16
            dd if="$dev" bs=64k count=4 skip=$((size / 131072))
            dd if="$dev" bs=64k count=4 skip=$((size / 65536 - 4))
        } 2>/dev/null
    }
    if [ -n "$(sample | tr -d '\000' | head -c 1 | od -An -tx1)" ]; then
        printf 'data=%s\n' "$(sample | cksum | cut -d' ' -f1)"
    fi
    say blkid
    blkid -p -o export "$dev"; printf 'status=%s\n' $?
    say wipefs
    wipefs -n -p -- "$dev"
    say partitions
    partx -r -g -o NR,START,SECTORS,NAME "$dev" 2>/dev/null | while read -r nr start sectors name; do
        printf 'PART=%s\nPARTLABEL=%s\n' "$nr" "$name"
        case $dev in *[0-9]) node=${dev}p$nr;; *) node=$dev$nr;; esac
        [ "$(numbers "$node")" = "$(cat "$sys/${node#/dev/}/dev" 2>/dev/null)" ] && echo NODE=yes
        blkid -p -o export -O $((start * 512)) -S $((sectors * 512)) "$dev"; printf 'status=%s\n\n' $?
    done
elif [ -e "$dev" ]; then
    printf 'kind=%s\n' "$(stat -c %F "$dev")"
fi
say mounts
cat /proc/self/mountinfo
say swaps
while read -r file _; do
    [ -b "$file" ] && printf '%s %s\n' "$(numbers "$file")" "$file"
done </proc/swaps
say tools
for tool in sfdisk mkfs.ext4 mkfs.xfs; do command -v "$tool" >/dev/null && echo "$tool"; done
say mountpoint
if [ -d "$2" ] && [ -n "$(ls -A -- "$2" | grep -v -x lost+found)" ]; then echo filled; fi
stat -c %U:%G -- "$2" 2>/dev/null
say fstab
cat /etc/fstab 2>/dev/null
:
"""


@dataclass(frozen=True)
class Signature:
    """What libblkid finds in a place. `kind` is its type (`ext4`, `LVM2_member`, `swap`), `table` a partition table's."""

    kind: str = ""
    label: str = ""
    uuid: str = ""
    table: str = ""

    @property
    def token(self) -> str:
        """How it is named when the operator has to confirm its end."""
        return f"{self.kind or self.table}:{self.uuid}" if self.uuid else self.kind or self.table

    def __bool__(self) -> bool:
        return bool(self.kind or self.table)


@dataclass(frozen=True)
class Partition:
    """`name` is the partition's own label in a GPT; `node` whether the device node is there."""

    number: int
    path: str
    name: str = ""
    node: bool = True
    holds: Signature = Signature()


@dataclass(frozen=True)
class Disk:
    """A block device. `size` in bytes; `data` is a checksum of samples where they are not all zeros; `uses` are sentences.

    `kind` is empty where nothing is there, `block`, or what else it is; `mounts` maps a mount point to the device's path.
    `network`: it is reached over the network; `unopened`: the iSCSI target that it is of, where no boot opens its session.
    """

    path: str
    kind: str = "block"
    size: int = 0
    serial: str = ""
    read_only: bool = False
    unreadable: bool = False
    is_partition: bool = False
    data: str = ""
    holds: Signature = Signature()
    more: tuple[str, ...] = ()
    partitions: tuple[Partition, ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()
    uses: tuple[str, ...] = ()
    network: bool = False
    unopened: str = ""


@dataclass(frozen=True)
class Place:
    """Around the disk: what is mounted at the mount point (a source, or empty), whether that folder holds files, who owns
    it, the lines of fstab, and the programs that the node has."""

    mounted: str = ""
    filled: bool = False
    owner: str = ""
    fstab: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()


def look(device: str, mount: str) -> Command:
    return sh(_LOOK, device, mount)


def parse(out: str, mount: str) -> tuple[Disk, Place]:
    """Pure: what the look printed."""
    parts = dict(part.partition("\n")[::2] for part in out.split("\n@@")[1:])
    facts = _pairs(parts["device"])
    path = facts["path"]
    partitions = tuple(_partition(path, block) for block in _blocks(parts.get("partitions", "")))
    mounts = [line.split() for line in parts["mounts"].splitlines() if line.strip()]
    numbers = set(facts.get("numbers", "").split())
    mine = tuple((_octal(m[4]), m[m.index("-") + 2]) for m in mounts if m[2] in numbers)
    swaps = [line.split() for line in parts["swaps"].splitlines() if line.strip()]
    uses = [f"{path} is used as swap" for number, path in swaps if number in numbers]
    uses += [f"{holder} stands on it" for holder in facts.get("holders", "").split()]
    disk = Disk(
        path,
        facts.get("kind", ""),
        int(facts.get("size", "0")),
        facts.get("serial", ""),
        facts.get("readonly") == "1",
        "unreadable" in facts,
        "partition" in facts,
        facts.get("data", ""),
        _signature(_pairs(parts.get("blkid", ""))),
        _wiped(parts.get("wipefs", "")),
        partitions,
        mine,
        tuple(uses),
        "network" in facts,
        facts.get("unopened", ""),
    )
    there = [m[m.index("-") + 2] for m in mounts if _octal(m[4]) == mount]
    at = parts["mountpoint"].split()
    owner = next((word for word in at if ":" in word), "")
    lines, tools = parts["fstab"].rstrip("\n").splitlines(), parts["tools"].split()
    return disk, Place(there[-1] if there else "", "filled" in at, owner, tuple(lines), tuple(tools))


def _partition(disk: str, block: Mapping[str, str]) -> Partition:
    number = int(block["PART"])
    return Partition(number, partition_path(disk, number), block.get("PARTLABEL", ""), "NODE" in block, _signature(block))


def partition_path(disk: str, number: int) -> str:
    """The kernel's name: `/dev/vdb1`, and `/dev/nvme0n1p1` where the disk's name ends in a digit."""
    return f"{disk}p{number}" if disk[-1].isdigit() else f"{disk}{number}"


def _signature(pairs: Mapping[str, str]) -> Signature:
    if pairs.get("status") == "8":  # blkid(8): ambivalent, more than one signature
        return Signature("several signatures")
    uuid = pairs.get("UUID") or pairs.get("PTUUID", "")
    return Signature(pairs.get("TYPE", ""), pairs.get("LABEL", ""), uuid, pairs.get("PTTYPE", ""))


def _wiped(out: str) -> tuple[str, ...]:
    """The types of `wipefs -n -p` (offset,uuid,label,type), each once."""
    rows = [line.split(",") for line in out.splitlines() if re.match(r"0x[0-9a-f]+,", line)]
    return tuple(dict.fromkeys(row[3] for row in rows))


def _pairs(block: str) -> dict[str, str]:
    return {key: _value(value) for line in block.splitlines() if "=" in line for key, _, value in [line.partition("=")]}


def _value(word: str) -> str:
    # blkid -o export escapes what a shell would read
    return re.sub(r"\\(.)", r"\1", word)


def _blocks(out: str) -> list[dict[str, str]]:
    return [_pairs(block) for block in out.split("\n\n") if "PART=" in block]


def _octal(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)
