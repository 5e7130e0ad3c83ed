"""Disks of machines as volumes of a pool: qcow2 on an image, raw, logical volumes; made, enlarged, never made smaller."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from xml.etree import ElementTree as ET

from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.size import Size
from nornir_stack.tasks.hypervisor.domain_xml import sources_of
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from collections.abc import Callable

    from libvirt import virConnect, virStoragePool, virStorageVol

    from nornir_stack.node import Node

    Do = Callable[[virConnect], object]

T = TypeVar("T")
_SECTOR = 512


@dataclass(frozen=True)
class Disk:
    """A disk that is wanted. `backing`: the image that it starts from (qcow2 on qcow2), or ''. `size` in bytes.

    `copy_of`: the image whose contents it gets, for a logical volume, which stands on no file. `verbatim`: a file of this
    very name, whatever it will hold.
    """

    pool: str
    name: str
    size: Size
    logical: bool = False
    backing: str = ""
    copy_of: str = ""
    raw: bool = False
    verbatim: bool = False

    @property
    def volume(self) -> str:
        """Its name in the pool."""
        return self.name if self.logical or self.verbatim else f"{self.name}.{self.format}"

    @property
    def format(self) -> str:
        return "raw" if self.logical or self.raw or self.verbatim else "qcow2"


@dataclass(frozen=True)
class Volume:
    """A volume as libvirt has it."""

    path: str
    capacity: Size


def volume_xml(disk: Disk) -> str:
    """A volume as libvirt wants it (https://libvirt.org/formatstorage.html). A logical volume has all its room at once."""
    root = ET.Element("volume")
    ET.SubElement(root, "name").text = disk.volume
    ET.SubElement(root, "capacity", unit="bytes").text = str(int(disk.size))
    if disk.logical:
        ET.SubElement(root, "allocation", unit="bytes").text = str(int(disk.size))
        return ET.tostring(root, encoding="unicode")
    ET.SubElement(root, "allocation", unit="bytes").text = "0"
    target = ET.SubElement(root, "target")
    ET.SubElement(target, "format", type=disk.format)
    permissions = ET.SubElement(target, "permissions")
    ET.SubElement(permissions, "mode").text = "0600"
    if disk.backing:
        backing = ET.SubElement(root, "backingStore")
        ET.SubElement(backing, "path").text = disk.backing
        ET.SubElement(backing, "format", type="qcow2")
    return ET.tostring(root, encoding="unicode")


def volumes(link: virConnect) -> dict[str, dict[str, Volume]]:
    """Pool to volume to what it is, of every pool that runs. For `Libvirt.read`."""
    return {pool.name(): dict(_asked(pool, lambda each: (each.name(), _volume(each)))) for pool in _running(link)}


def of_each(link: virConnect, ask: Callable[[virStorageVol], T]) -> list[T]:
    """What is asked of every volume of every pool that runs. For `Libvirt.read`."""
    return [answer for pool in _running(link) for answer in _asked(pool, ask)]


def _asked(pool: virStoragePool, ask: Callable[[virStorageVol], T]) -> list[T]:
    """One that goes meanwhile is left out: folders of pools have files that are just being made, by others too."""
    import libvirt  # noqa: PLC0415  an extra

    found = []
    for each in pool.listAllVolumes():
        try:
            found.append(ask(each))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
    return found


def _running(link: virConnect) -> list[virStoragePool]:
    import libvirt  # noqa: PLC0415  an extra

    return list(link.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE))


def _volume(each: virStorageVol) -> Volume:
    return Volume(each.path(), Size(each.info()[1]))


def stood_on(link: virConnect) -> set[str]:
    """The paths of all volumes on which another stands. For `Libvirt.read`."""
    backings = of_each(link, lambda each: parsed(each.XMLDesc()).findtext("backingStore/path"))
    return {path for path in backings if path}


def make(virt: Libvirt, disk: Disk, content: bytes = b"", *, replace: bool = False) -> None:
    """Make a volume; `content` is written into it. One that cannot be filled is not left behind.

    `replace`: one of that name that is there goes first; only for what is nobody's data.
    """
    xml = volume_xml(disk)

    def do(link: virConnect) -> None:
        pool = link.storagePoolLookupByName(disk.pool)
        old = next((each for each in pool.listAllVolumes() if replace and each.name() == disk.volume), None)
        if old is not None:
            old.delete()
        if disk.copy_of:
            pool.createXMLFrom(xml, link.storageVolLookupByPath(disk.copy_of))
            return
        made = pool.createXML(xml)
        if not content:
            return
        try:
            _fill(link, made, content)
        except BaseException:
            made.delete()
            raise

    on = f" on {disk.backing}" if disk.backing else f", a copy of {disk.copy_of}" if disk.copy_of else ""
    virt.change(f"make disk {disk.volume} in {disk.pool}: {disk.size}{on}", do)


def remove(virt: Libvirt, disk: Disk) -> None:
    """Delete a volume that was just made."""
    where = f"{disk.volume} in {disk.pool}"
    virt.change(
        f"delete disk {where}",
        lambda link: link.storagePoolLookupByName(disk.pool).storageVolLookupByName(disk.volume).delete() and None,
        diff=f"-{where}\n",
    )


def _fill(link: virConnect, volume: virStorageVol, content: bytes) -> None:
    stream = link.newStream()
    try:
        volume.upload(stream, 0, len(content))
        left = content
        while left:
            left = left[stream.send(left[: 1 << 16]) :]
        stream.finish()
    except BaseException:
        stream.abort()
        raise


def transfer(source: virConnect, path: str, target: virConnect, pool: str, title: str) -> None:
    """Copy a volume, byte by byte, from one libvirt into a pool of the same kind of another, by way of this machine.

    `title` is the name of a copy that nobody uses yet: what an earlier attempt left under it goes first.
    """
    import libvirt  # noqa: PLC0415  an extra

    old = source.storageVolLookupByPath(path)
    there = target.storagePoolLookupByName(pool)
    there.refresh()
    for left in there.listAllVolumes():
        if left.name() == title:
            left.delete()
    length = old.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2]
    logical = parsed(there.XMLDesc()).get("type") == "logical"
    new = there.createXML(volume_xml(Disk(pool, title, Size(length), logical, verbatim=True)))
    down, up = source.newStream(), target.newStream()
    try:
        old.download(down, 0, length)
        new.upload(up, 0, length)
        while piece := down.recv(1 << 18):
            while piece:
                piece = piece[up.send(piece) :]
        down.finish()
        up.finish()
    except BaseException:
        for stream in (down, up):
            with suppress(libvirt.libvirtError):
                stream.abort()
        new.delete()
        raise


def pools_seen_again(node: Node, virt: Libvirt) -> None:
    """libvirt finds files that came by other ways only when it is told to look."""
    if not node.dry_run:
        virt.change("look at the pools again", refreshed, repeatable=True)


def refreshed(link: virConnect) -> None:
    for pool in link.listAllStoragePools():
        if pool.isActive():
            pool.refresh()


def grows(disk: Disk, now: int, machine: str, extent: int = _SECTOR) -> bool:
    """Whether a disk that has `now` bytes is to have more. Pure; raises Refused where it would get less.

    A logical volume has whole extents, of so many bytes; a file whole sectors.
    """
    wanted = whole(disk.size, extent)
    if wanted < now:
        raise Refused(
            f"{machine}: disk {disk.volume} has {Size(now)} and the inventory says {disk.size}: a disk is never made "
            "smaller; correct the inventory"
        )
    return wanted > now


def whole(size: int, extent: int) -> int:
    """A size rounded up to whole extents. Pure."""
    return -(-size // extent) * extent


def enlarge(node: Node, disk: Disk, now: Volume, machine: str) -> None:
    """Give a disk more room, under a machine that runs too. Raises Refused where it would get less, or another has it open."""
    if disk.size == now.capacity:
        return
    virt = Libvirt(node)
    extent = _extent(node, now.path) if disk.logical else _SECTOR
    if not grows(disk, now.capacity, machine, extent):
        return
    size = whole(disk.size, extent)
    holders = virt.read(f"who has {now.path} open", lambda link: _holders(link, now.path), independent=True)
    if others := [name for name in holders if name != machine]:
        raise Refused(f"{machine}: disk {disk.volume} is open in {', '.join(others)}, and is not enlarged under it")
    # libvirt cannot resize these, and sees that they have grown only when it looks at the pool again, which is the last step
    if disk.logical and int(node.read("blockdev", "--getsize64", now.path, independent=True).text) < size:
        node.change("lvextend", "--size", f"{size}b", now.path, what=f"enlarge {now.path} to {Size(size)}")

    def do(link: virConnect) -> None:
        import libvirt  # noqa: PLC0415  an extra

        if holders:  # only its QEMU may write to the file
            link.lookupByName(machine).blockResize(now.path, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        elif not disk.logical:
            link.storageVolLookupByPath(now.path).resize(size)

    if holders or not disk.logical:
        virt.change(f"enlarge disk {disk.volume}: {now.capacity} to {Size(size)}", do, repeatable=True)
    if disk.logical:
        pools_seen_again(node, virt)


def _extent(node: Node, path: str) -> int:
    """Bytes of an extent of the volume group of a logical volume's path (vgs(8))."""
    words = ("vgs", "--noheadings", "--nosuffix", "--units", "b", "-o", "vg_extent_size", path.split("/")[2])
    return int(node.read(*words, independent=True).text)


def _holders(link: virConnect, path: str) -> list[str]:
    import libvirt  # noqa: PLC0415  an extra

    running = link.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    return [each.name() for each in running if path in sources_of(each.XMLDesc())]
