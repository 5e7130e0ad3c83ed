"""Images that machines start from: a Debian made of packages, or a finished cloud image with its checksum."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack import guest_image
from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.seed import image_files
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings
from nornir_stack.tasks.hypervisor.volumes import pools_seen_again
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.settings import System

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.hypervisor.settings import Image

RECIPE = "2"  # change it whenever what the script below makes of the same packages changes
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    guest_image.KEYRING: "debian-archive-keyring",
}
TOOLS_REDHAT = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-img",
    guest_image.KEYRING: "debian-keyring",
}
_BUILD_SECONDS = 1800.0
_LOOK = """
[ ! -e "$1" ] || echo "there $1"
shift
for each; do
    case $each in
        /*) [ -e "$each" ] ;;
        *) command -v "$each" >/dev/null ;;
    esac || echo "missing $each"
done
"""
# What must differ between machines is taken out; the image itself comes last, so one that is there is whole.
_BUILD = r"""
set -e
base=$1 label=$2 unpacked=$(mktemp -d "$1.XXXXXX.new")
shift 2
trap 'rm -rf -- "$unpacked"' EXIT
cd -- "$unpacked"
cat > files.tar
"$@" </dev/null
rm -f tree/etc/ssh/ssh_host_* tree/etc/hostname tree/etc/resolv.conf tree/var/lib/dbus/machine-id \
    tree/etc/iscsi/initiatorname.iscsi
for timer in apt-daily apt-daily-upgrade; do rm -f "tree/etc/systemd/system/timers.target.wants/$timer.timer"; done
tar -x -f files.tar -C tree --no-same-owner
used=$(du -sm tree | cut -f1)
mke2fs -q -t ext4 -L "$label" -E lazy_itable_init=1 -m 0 -d tree disk.raw "$((used + used / 8 + 96))M"
qemu-img convert -q -f raw -O qcow2 disk.raw disk.qcow2
chmod 0644 disk.qcow2
cp -L tree/vmlinuz "$base.vmlinuz"
cp -L tree/initrd.img "$base.initrd"
chmod 0644 "$base.vmlinuz" "$base.initrd"
sync
mv disk.qcow2 "$base.qcow2"
"""
_FETCH = r"""
set -e
new=$(mktemp "$1.XXXXXX.new")
trap 'rm -f -- "$new"' EXIT
case $2 in
    /*) cp -- "$2" "$new" ;;
    file://*) cp -- "${2#file://}" "$new" ;;
    *) if command -v curl >/dev/null; then curl -fsSL --retry 2 -o "$new" -- "$2"; else wget -q -O "$new" -- "$2"; fi ;;
esac
sum=$(sha256sum <"$new"); sum=${sum%% *}
[ "$sum" = "$3" ] || { echo "the sum of $2 is $sum, and the inventory says $3: not taken" >&2; exit 1; }
source=$2
refused() { echo "$source $1: not taken" >&2; exit 1; }
# The header (QEMU's docs/interop/qcow2.txt): magic, version, the place of a backing file's name, and from byte 72 the features
# that must be understood, of which bit 2 is a data file. A machine would be given whatever file of the hypervisor these name.
case $(od -An -v -tx1 -N80 "$new" | tr -d ' \n') in
    514649fb0000000[23]0000000000000000*) ;;
    514649fb0000000[23]*) refused "stands on another file" ;;
    *) refused "is no qcow2 image" ;;
esac
case $(od -An -v -tx1 -N80 "$new" | tr -d ' \n') in
    514649fb00000003*[4567cdef]) refused "keeps its data in another file" ;;
esac
chmod 0644 "$new"
sync
mv -- "$new" "$1.qcow2"
"""
_LABEL = "root"


@dataclass(frozen=True)
class Made:
    """An image on a hypervisor, as files of its pool. `kernel` and `initrd` are '' where the disk has its own boot loader."""

    disk: str
    kernel: str = ""
    initrd: str = ""
    words: str = ""


def made(image: Image, folder: str) -> Made:
    """Where an image is: its name follows from what is in it, so a changed declaration is another image. Pure."""
    if image.source is not None:
        return Made(f"{folder}/cloud-{str(image.sha256)[:12]}.qcow2")
    said = " ".join((RECIPE, image.suite, *contents(image)))
    base = f"{folder}/debian-{image.suite}-{hashlib.sha256(said.encode() + image_files()).hexdigest()[:12]}"
    words = f"root=LABEL={_LABEL} rw {guest_image.KERNEL_WORDS}"
    return Made(f"{base}.qcow2", f"{base}.vmlinuz", f"{base}.initrd", words)


def contents(image: Image) -> tuple[str, ...]:
    """The packages of an image that is made. Pure."""
    return tuple(sorted({*guest_image.KERNEL, *guest_image.SYSTEM, *image.packages}))


def image(task: Task, *, image: str) -> Result[Made]:
    """Have an image of the inventory (`hypervisor: images`) on this hypervisor: made of packages, or fetched and checked.

    What is fetched must have its sum, and be a qcow2 image that names no other file of the hypervisor. One that is there stays
    as it is: machines stand on it. The first takes minutes. Raises Refused where it is not declared.
    """
    node = Node(task)
    settings = settings_of(task.host, HypervisorSettings)
    if image not in settings.images:
        raise Refused(f"{node.name} has no image {image!r} in the inventory: it has {', '.join(settings.images) or 'none'}")
    wanted = settings.images[image]
    there = made(wanted, str(settings.pools[settings.image_pool].path))
    tools = TOOLS if family(node).name == "debian" else TOOLS_REDHAT
    seen = node.read(sh(_LOOK, there.disk, *tools, label=f"look for {there.disk}")).lines
    if f"there {there.disk}" in seen:
        return node.done(there)
    base = there.disk.removesuffix(".qcow2")
    if wanted.source is not None:
        fetch = sh(_FETCH, base, wanted.source, str(wanted.sha256), label=f"fetch {wanted.source}")
        node.change(fetch, what=f"image {image}: fetch {wanted.source}", diff=f"+{there.disk}\n", timeout=_BUILD_SECONDS)
        pools_seen_again(node, Libvirt(node))
        return node.done(there)
    if lacking := sorted(tools[line.removeprefix("missing ")] for line in seen if line.startswith("missing ")):
        packages(task, present=lacking)
    mirror = settings_of(task.host, System).mirror or guest_image.MIRROR
    words = guest_image.bootstrap("tree", wanted.suite, contents(wanted), mirror)
    build = sh(_BUILD, base, _LABEL, *words, stdin=image_files(), label=f"make {there.disk}")
    what = f"image {image}: {wanted.suite} with {', '.join(wanted.packages) or 'nothing beside the base'}"
    node.change(build, what=what, diff=f"+{there.disk}\n", timeout=_BUILD_SECONDS)
    pools_seen_again(node, Libvirt(node))
    return node.done(there)
