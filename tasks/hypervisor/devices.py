"""Cards and disks of a machine: plugged in and taken out while it runs, and for its next start too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nornir_stack.errors import Refused, UsageError
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import nearest
from nornir_stack.settings import settings_of
from nornir_stack.size import Size
from nornir_stack.tasks.hypervisor import volumes
from nornir_stack.tasks.hypervisor.domain_xml import Attached, Domain, disk_xml, disks_of, free_target, macs_of, nic_xml
from nornir_stack.tasks.hypervisor.domains import own_disks, refuse_word, the_machine
from nornir_stack.tasks.hypervisor.names import mac_of, volume_of
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from libvirt import virConnect
    from nornir.core.task import Task

    from nornir_stack.results import Result


@dataclass(frozen=True)
class Wanted:
    """A disk that a machine is to have: what is `there` of it, and its path."""

    serial: str
    disk: volumes.Disk
    there: volumes.Volume | None
    path: str


@dataclass(frozen=True)
class Plug:
    """What is done with a device, for the machine's next start (`config`), as it runs (`live`), or both."""

    verb: str
    what: str
    config: bool
    live: bool
    out: bool = False


_OWN = frozenset({"root", "seed"})


def attach_nic(task: Task, *, machine: str, network: str) -> Result[str]:
    """Have a card on a network of libvirt in a machine, now and after its next start; its hardware address."""
    node = Node(task)
    virt = Libvirt(node)
    names = virt.read("the networks", lambda link: [each.name() for each in link.listAllNetworks()])
    if network not in names:
        raise Refused(f"{node.name} has no network {network!r}{nearest(network, names)}")
    have_nic(virt, the_machine(node, machine), network)
    return node.done(mac_of(machine, network))


def detach_nic(task: Task, *, machine: str, network: str) -> Result[bool]:
    """Take the card on a network out of a machine, now and for its next start. Raises Refused for its last one."""
    node = Node(task)
    virt = Libvirt(node)
    now = the_machine(node, machine)
    mac = mac_of(machine, network)
    if not any(mac in macs_of(xml) for xml in (now.config, now.live) if xml):
        return node.done(False)
    if len(macs_of(now.config)) == 1:
        raise Refused(f"{machine} has one card only, that on {network}: without it, it cannot be reached")
    held = [bool(xml) and mac in macs_of(xml) for xml in _both(now)]
    _device(virt, now, nic_xml(machine, network), Plug("take out the card on", network, held[0], held[1], out=True))
    return node.done(True)


def attach_disk(task: Task, *, machine: str, disk: str, size: str, pool: str = "default") -> Result[str]:
    """Have a disk of this name in a machine, made if it is not there, now and after its next start; its path in the machine."""
    node = Node(task)
    refuse_word(disk, "disk")
    if disk in _OWN:
        raise UsageError(f"the disk {disk} is every machine's own: choose another name")
    virt = Libvirt(node)
    now = the_machine(node, machine)
    declared = settings_of(task.host, HypervisorSettings).pools
    if pool not in declared:
        raise Refused(f"{node.name} has no pool {pool!r} in the inventory{nearest(pool, declared)}")
    wanted = volumes.Disk(pool, volume_of(machine, disk), Size.parse(size), declared[pool].volume_group is not None)
    there = virt.read("the volumes", volumes.volumes).get(pool, {}).get(wanted.volume)
    path = f"{(declared[pool].path or '/dev/' + str(declared[pool].volume_group)).rstrip('/')}/{wanted.volume}"
    if there:
        volumes.enlarge(virt, wanted, there, machine)
    have_disk(virt, now, Wanted(disk, wanted, there, path))
    return node.done(f"/dev/disk/by-id/virtio-{disk}")


def detach_disk(task: Task, *, machine: str, disk: str, confirm: str = "") -> Result[bool]:
    """Take a disk out of a machine, now and for its next start; its volume stays, with all that is on it.

    The machine may be using it, which cannot be seen from here: `confirm` must be the disk's name. With `delete:NAME` the
    volume is deleted too.
    """
    node = Node(task)
    virt = Libvirt(node)
    now = the_machine(node, machine)
    if disk in _OWN:
        raise UsageError(f"a machine does not run without its disk {disk}")
    held = [disk in disks_of(xml) for xml in _both(now)]
    if not any(held):
        return node.done(False)
    if confirm not in {disk, f"delete:{disk}"}:
        raise Refused(
            f"{machine} may be using its disk {disk}: unmount it there first, then say confirm={disk!r}; with "
            f"confirm='delete:{disk}' all that is on it is deleted"
        )
    element = next(each for xml in _both(now) if xml for each in _disk_elements(xml) if each.findtext("serial") == disk)
    source = element.find("source")
    path = "" if source is None else source.get("file") or source.get("dev") or ""
    mine = virt.read("its volume", lambda link: own_disks(link, now, {}))
    _device(virt, now, ET.tostring(element, encoding="unicode"), Plug("take out disk", disk, held[0], held[1], out=True))
    if confirm.startswith("delete:") and path in mine:
        virt.change(f"delete {path}", lambda link: link.storageVolLookupByPath(path).delete() and None, diff=f"-{path}\n")
    return node.done(True)


def have_nic(virt: Libvirt, now: Domain, network: str) -> None:
    """Plug a card in where the machine lacks it: as it runs, as it will start, or both."""
    mac = mac_of(now.name, network)
    lacking = [bool(xml) and mac not in macs_of(xml) for xml in _both(now)]
    if any(lacking):
        _device(virt, now, nic_xml(now.name, network), Plug("plug in a card on", network, *lacking))


def have_disk(virt: Libvirt, now: Domain, wanted: Wanted) -> None:
    """Make and plug in a disk that the machine lacks."""
    serial = wanted.serial
    lacking = [bool(xml) and serial not in disks_of(xml) for xml in _both(now)]
    if not any(lacking):
        return
    if serial == "root":
        raise Refused(f"{now.name} has no disk with the serial root: it was not made by this; the inventory cannot have it")
    if wanted.there is None:
        volumes.make(virt, wanted.disk)
    xml = disk_xml(Attached(serial, wanted.path, wanted.disk.format), free_target(now.config, now.live))
    _device(virt, now, xml, Plug("plug in disk", serial, *lacking))


def _both(now: Domain) -> tuple[str, str]:
    return now.config, now.live


def _disk_elements(xml: str) -> list[ET.Element]:
    return parsed(xml).findall("devices/disk")


def _device(virt: Libvirt, now: Domain, xml: str, plug: Plug) -> None:
    def do(link: virConnect) -> None:
        import libvirt  # noqa: PLC0415  an extra

        domain = link.lookupByName(now.name)
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG if plug.config else 0
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE if plug.live else 0
        if plug.out:
            domain.detachDeviceFlags(xml, flags)
        else:
            domain.attachDeviceFlags(xml, flags)

    when = " while it runs" if plug.live else ""
    sign = "-" if plug.out else "+"
    virt.change(f"{now.name}: {plug.verb} {plug.what}{when}", do, diff=f"{sign}{now.name}: {plug.what}\n")
