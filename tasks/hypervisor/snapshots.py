"""Snapshots of machines, within their disks."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import nearest
from nornir_stack.tasks.hypervisor.domains import on, the_machine
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result


def snapshot(task: Task, *, machine: str, snapshot: str) -> Result[tuple[str, ...]]:
    """Have a snapshot of a machine's disks, and of its memory if it runs, under this name; the names of all.

    One of this name that is there stays as it is. Raises Refused where a disk cannot be part of it.
    """
    node = Node(task)
    now = the_machine(node, machine)
    virt = Libvirt(node)
    if snapshot not in _snapshots(virt, machine):
        xml = snapshot_xml(now.config, snapshot)
        virt.change(f"snapshot {snapshot} of {machine}", on(machine, lambda domain: domain.snapshotCreateXML(xml) and None))
    return node.done(lambda: _snapshots(virt, machine))


def snapshot_xml(config: str, snapshot: str) -> str:
    """A snapshot within the disks. Pure; raises Refused for a disk that may be written and is no qcow2."""
    root = ET.Element("domainsnapshot")
    ET.SubElement(root, "name").text = snapshot
    disks = ET.SubElement(root, "disks")
    for disk in parsed(config).iterfind("devices/disk"):
        driver, target = disk.find("driver"), disk.find("target")
        kind = driver.get("type") if driver is not None else ""
        dev = target.get("dev", "") if target is not None else ""
        if disk.find("readonly") is not None:
            ET.SubElement(disks, "disk", name=dev, snapshot="no")
        elif kind == "qcow2":
            ET.SubElement(disks, "disk", name=dev, snapshot="internal")
        else:
            raise Refused(f"disk {dev} is {kind}, which keeps no snapshots: shut the machine down and copy the disk")
    return ET.tostring(root, encoding="unicode")


def revert(task: Task, *, machine: str, snapshot: str, confirm: str = "") -> Result[str]:
    """Put a machine back to a snapshot: what it wrote since is lost, so `confirm` must be the snapshot's name."""
    node = Node(task)
    the_machine(node, machine)
    virt = Libvirt(node)
    there = _snapshots(virt, machine)
    if snapshot not in there:
        raise Refused(f"{machine} has no snapshot {snapshot!r}{nearest(snapshot, there)}")
    if confirm != snapshot:
        raise Refused(f"everything that {machine} wrote since {snapshot} would be lost: say so by confirm={snapshot!r}")
    back = on(machine, lambda domain: domain.revertToSnapshot(domain.snapshotLookupByName(snapshot)))
    virt.change(f"put {machine} back to {snapshot}", back)
    return node.done(snapshot)


def _snapshots(virt: Libvirt, machine: str) -> tuple[str, ...]:
    return virt.read(
        f"the snapshots of {machine}",
        lambda link: tuple(sorted(each.getName() for each in link.lookupByName(machine).listAllSnapshots())),
    )
