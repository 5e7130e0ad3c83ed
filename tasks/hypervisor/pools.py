"""Storage pools of libvirt: folders, and volume groups that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings
from nornir_stack.tasks.hypervisor.xml import POOL_ADDED, differences

if TYPE_CHECKING:
    from libvirt import virConnect
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.hypervisor.settings import Pool


def pools(task: Task) -> Result[tuple[str, ...]]:
    """Have the pools of the inventory (`hypervisor: pools`) in libvirt, running and started with it; the names.

    A folder is made where it is not there; a volume group never is (`storage.volume_group` does that). A pool that is there
    and means another place is refused: its disks would be lost from sight. Others that libvirt has stay.
    """
    node = Node(task)
    virt = Libvirt(node)
    wanted = settings_of(task.host, HypervisorSettings).pools
    now = virt.read("the pools", _look)
    for name, pool in wanted.items():
        config = now[name][0] if name in now else ""
        if config and (lines := differences(config, pool_xml(name, pool), POOL_ADDED)):
            said = "; ".join(lines)
            raise Refused(f"{node.name}: pool {name} is there and is another ({said}): give this one another name")
    for name, pool in wanted.items():
        if pool.path and not (name in now and now[name][1]):
            node.make_folder(pool.path)
    for name, pool in wanted.items():
        xml = pool_xml(name, pool)
        config, active, autostart = now.get(name, ("", False, False))
        if not config:
            what = f"define pool {name}: {pool.path or pool.volume_group}"
            virt.change(what, lambda link, xml=xml: link.storagePoolDefineXML(xml) and None)  # type: ignore[misc]
        if not active:
            virt.change(f"start pool {name}", lambda link, name=name: link.storagePoolLookupByName(name).create() and None)  # type: ignore[misc]
        if not autostart:
            what = f"pool {name} starts with libvirt"
            virt.change(
                what,
                lambda link, name=name: link.storagePoolLookupByName(name).setAutostart(1) and None,  # type: ignore[misc]
                repeatable=True,
            )
    return node.done(tuple(wanted))


def pool_xml(name: str, pool: Pool) -> str:
    """A pool as libvirt wants it (https://libvirt.org/formatstorage.html). Pure."""
    root = ET.Element("pool", type="dir" if pool.path else "logical")
    ET.SubElement(root, "name").text = name
    if pool.volume_group:
        source = ET.SubElement(root, "source")
        ET.SubElement(source, "name").text = pool.volume_group
        ET.SubElement(source, "format", type="lvm2")
    target = ET.SubElement(root, "target")
    ET.SubElement(target, "path").text = pool.path.rstrip("/") if pool.path else f"/dev/{pool.volume_group}"
    return ET.tostring(root, encoding="unicode")


def _look(link: virConnect) -> dict[str, tuple[str, bool, bool]]:
    import libvirt  # noqa: PLC0415  an extra

    flag = libvirt.VIR_STORAGE_XML_INACTIVE
    return {
        each.name(): (each.XMLDesc(flag), bool(each.isActive()), bool(each.autostart())) for each in link.listAllStoragePools()
    }
