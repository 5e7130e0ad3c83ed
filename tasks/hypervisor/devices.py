"""Cards and disks of a machine: plugged in and taken out while it runs, and for its next start too."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
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
from nornir_stack.tasks.hypervisor.domains import domains, own_disks, the_machine, used_by_others
from nornir_stack.tasks.hypervisor.names import DISK, mac_of, volume_of
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings, Machine
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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


_LET_GO = 15  # seconds
_OWN = frozenset({"root", "seed"})


def attach_nic(task: Task, *, machine: str, network: str) -> Result[str]:
    """Have a card on a network of libvirt in a machine, now and after its next start; its hardware address."""
    node = Node(task)
    virt = Libvirt(node)
    names = virt.read("the networks", lambda link: [each.name() for each in link.listAllNetworks()])
    if network not in names:
        raise Refused(f"{node.name} has no network {network!r}{nearest(network, names)}")
    now = the_machine(node, machine)
    refuse_mac(machine, [network], virt.read("the machines", domains))
    have_nic(virt, now, network)
    return node.done(mac_of(machine, network))


def detach_nic(task: Task, *, machine: str, network: str) -> Result[bool]:
    """Take the card on a network out of a machine, now and for its next start.

    Raises Refused for its last one, for that by which the inventory reaches it, and where the machine does not let go of it.
    """
    node = Node(task)
    virt = Libvirt(node)
    now = the_machine(node, machine)
    mac = mac_of(machine, network)
    if not any(mac in macs_of(xml) for xml in (now.config, now.live) if xml):
        return node.done(False)
    host = task.nornir.inventory.hosts.get(machine)
    if host and host.has_parent_group("machine"):
        address = settings_of(host, Machine).networks.get(network)
        if address is not None and str(address) == host.hostname:
            raise Refused(f"{machine} is reached by {address}, which it has on {network}: without that card it cannot be")
    if set(macs_of(now.config)) == {mac}:
        raise Refused(f"{machine} has one card only, that on {network}: without it, it cannot be reached")
    held = [bool(xml) and mac in macs_of(xml) for xml in _both(now)]
    _device(virt, now, nic_xml(machine, network), Plug("take out the card on", network, held[0], held[1], out=True))
    _let_go(node, virt, machine, f"its card on {network}", lambda xml: mac not in macs_of(xml))
    return node.done(True)


def attach_disk(task: Task, *, machine: str, disk: str, size: str, pool: str = "default") -> Result[str]:
    """Have a disk of this name in a machine, made if it is not there, now and after its next start; its path in the machine."""
    node = Node(task)
    if not re.fullmatch(DISK, disk):
        raise UsageError(f"{disk!r} is no name of a disk: a small letter and up to 19 of them, digits and -")
    if disk in _OWN:
        raise UsageError(f"the disk {disk} is every machine's own: choose another name")
    try:
        wide = Size.parse(size)
    except ValueError as error:
        raise UsageError(f"size={size}: {error}") from None
    virt = Libvirt(node)
    now = the_machine(node, machine)
    declared = settings_of(task.host, HypervisorSettings).pools
    if pool not in declared:
        raise Refused(f"{node.name} has no pool {pool!r} in the inventory{nearest(pool, declared)}")
    wanted = volumes.Disk(pool, volume_of(machine, disk), wide, declared[pool].volume_group is not None)
    there = virt.read("the volumes", volumes.volumes).get(pool, {}).get(wanted.volume)
    path = f"{(declared[pool].path or '/dev/' + str(declared[pool].volume_group)).rstrip('/')}/{wanted.volume}"
    refuse_foreign(machine, [path], virt.read("the machines", domains))
    if there:
        volumes.enlarge(node, wanted, there, machine)
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
    xml = now.config if held[0] else now.live
    dev = disks_of(xml)[disk]
    element = next(each for each in _disk_elements(xml) if each.find(f"target[@dev='{dev}']") is not None)
    source = element.find("source")
    path = "" if source is None else source.get("file") or source.get("dev") or ""
    mine = virt.read("its volume", lambda link: own_disks(link, replace(now, config=xml), domains(link)))
    if confirm.startswith("delete:") and path not in mine:
        raise Refused(f"{path} is another's too, or no volume of a pool: it is not deleted; take it out by confirm={disk!r}")
    _device(virt, now, ET.tostring(element, encoding="unicode"), Plug("take out disk", disk, held[0], held[1], out=True))
    _let_go(node, virt, machine, f"its disk {disk}", lambda xml: disk not in disks_of(xml))
    if confirm.startswith("delete:"):
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
    elif wanted.path in virt.read("what is stood on", volumes.stood_on, independent=True):
        raise Refused(f"{now.name}: other disks stand on {wanted.path}, and would be broken by what is written to it")
    xml = disk_xml(Attached(serial, wanted.path, wanted.disk.format), free_target(now.config, now.live))
    _device(virt, now, xml, Plug("plug in disk", serial, *lacking))


def refuse_mac(machine: str, networks: Iterable[str], there: Mapping[str, Domain]) -> None:
    """Raise Refused where another machine of the hypervisor has the hardware address that a card would have. Pure."""
    for network in networks:
        mac = mac_of(machine, network)
        for name, each in there.items():
            if name != machine and any(mac in macs_of(xml) for xml in _both(each) if xml):
                raise Refused(f"{machine}: {name} has the hardware address {mac} of its card on {network}: change that one's")


def refuse_foreign(machine: str, paths: Iterable[str], there: Mapping[str, Domain]) -> None:
    """Raise Refused where a disk that a machine is to have is another machine's. Pure."""
    others = used_by_others(machine, there)
    for path in paths:
        if path in others:
            raise Refused(f"{machine}: its disk would be {path}, which is {others[path]}'s: choose another name")


def free_ports(live: str) -> int | None:
    """How many devices a running machine of type q35 takes yet; None for one of another type. Pure.

    A device is plugged into a root port only, each of which takes one (libvirt's pci-hotplug.html).
    """
    root = parsed(live)
    controllers = [*root.iterfind("devices/controller[@type='pci']")]
    if not any(each.get("model") == "pcie-root" for each in controllers):
        return None
    ports = {int(each.get("index", "0")) for each in controllers if each.get("model") == "pcie-root-port"}
    used = {int(each.get("bus", "0"), 16) for each in root.iterfind("devices/*/address[@type='pci']")}
    return len(ports - used)


def refuse_full(machine: str, live: str, what: str) -> None:
    """Raise Refused where a running machine takes no further device. Pure."""
    if free_ports(live) == 0:
        raise Refused(
            f"{machine} has no PCI port left for {what} while it runs: shut it down (hypervisor.stop) and run this again, "
            "which gives it more"
        )


def _let_go(node: Node, virt: Libvirt, machine: str, what: str, gone: Callable[[str], bool]) -> None:
    """Wait until a running machine has given a device up, for which it is only asked. Raises Refused where it does not."""
    if node.dry_run:
        return
    for _ in range(_LET_GO):
        live = virt.read(f"whether {machine} has {what}", domains)[machine].live
        if not live or gone(live):
            return
        node.gate.wait(1.0, f"{machine} to let go of {what}")
    raise Refused(
        f"{machine} has not let go of {what}: it is out of its definition, and gone with its next start; run this again to ask "
        "again"
    )


def _both(now: Domain) -> tuple[str, str]:
    return now.config, now.live


def _disk_elements(xml: str) -> list[ET.Element]:
    return parsed(xml).findall("devices/disk")


def _device(virt: Libvirt, now: Domain, xml: str, plug: Plug) -> None:
    if plug.live and not plug.out:
        refuse_full(now.name, now.live, plug.what)

    def do(link: virConnect) -> None:
        import libvirt  # noqa: PLC0415  an extra

        domain = link.lookupByName(now.name)
        if plug.live and not plug.out:  # others may have been plugged in since
            refuse_full(now.name, domain.XMLDesc(), plug.what)
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG if plug.config else 0
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE if plug.live else 0
        if plug.out:
            domain.detachDeviceFlags(xml, flags)
        else:
            domain.attachDeviceFlags(xml, flags)

    when = " while it runs" if plug.live else ""
    sign = "-" if plug.out else "+"
    virt.change(f"{now.name}: {plug.verb} {plug.what}{when}", do, diff=f"{sign}{now.name}: {plug.what}\n")
