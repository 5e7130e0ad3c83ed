"""XML of libvirt's domains: made of a template, and what has to be done about one that differs. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from jinja2 import Environment, StrictUndefined

from nornir_stack.errors import Refused
from nornir_stack.guest_image import EMULATED_WORDS
from nornir_stack.tasks.hypervisor.capacity import Promise
from nornir_stack.tasks.hypervisor.names import mac_of
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from libvirt import virConnect

    from nornir_stack.tasks.hypervisor.capacity import Sizes
    from nornir_stack.tasks.hypervisor.images import Made

NAMESPACE = "https://nornir-stack.example/machine"
# q35 takes a device while the machine runs only where a port is free (libvirt's pci-hotplug.html).
_OTHERS, _SPARE = 4, 8
_SERIAL_LENGTH = 20  # virtio-blk's (VIRTIO_BLK_ID_BYTES)


@dataclass(frozen=True)
class Attached:
    """A disk of a machine: by its `serial` it is found in there. `source` is a path."""

    serial: str
    source: str
    format: str = "qcow2"
    readonly: bool = False

    @property
    def block(self) -> bool:
        return self.source.startswith("/dev/")


@dataclass(frozen=True)
class Backing:
    """The file that another stands on, with the formats of both."""

    path: str
    over: str
    under: str


@dataclass(frozen=True)
class Description:
    """All that makes a machine on a hypervisor. `nics`: the names of libvirt's networks, in order."""

    name: str
    uuid: str
    host_key: str
    sizes: Sizes
    image: Made
    disks: Sequence[Attached]
    nics: Sequence[str]
    console: str = "spice"
    kvm: bool = False


def domain_xml(wanted: Description) -> str:
    """A machine as libvirt wants it (https://libvirt.org/formatdomain.html), from templates/domain.xml."""
    template = files("nornir_stack.tasks.hypervisor").joinpath("templates/domain.xml").read_text(encoding="utf-8")
    environment = Environment(undefined=StrictUndefined, autoescape=True)
    # NICs and disks are XML already
    from markupsafe import Markup  # noqa: PLC0415  comes with jinja2

    values = {
        "namespace": NAMESPACE,
        "name": wanted.name,
        "uuid": wanted.uuid,
        "host_key": wanted.host_key,
        "memory_kib": wanted.sizes.memory // 1024,
        "cpus": wanted.sizes.cpus,
        "kernel": wanted.image.kernel,
        "initrd": wanted.image.initrd,
        "words": wanted.image.words + ("" if wanted.kvm else f" {EMULATED_WORDS}"),
        "console": wanted.console,
        "ports": len(wanted.disks) + len(wanted.nics) + _OTHERS + _SPARE,
        "kvm": wanted.kvm,
        "disks": [Markup(disk_xml(disk, _target(i))) for i, disk in enumerate(wanted.disks)],  # noqa: S704  made by ElementTree
        "nics": [Markup(nic_xml(wanted.name, network)) for network in wanted.nics],  # noqa: S704  made by ElementTree
    }
    return environment.from_string(template).render(values)


def _target(number: int) -> str:
    return f"vd{chr(ord('a') + number)}"


def disk_xml(disk: Attached, target: str) -> str:
    """A virtio disk."""
    root = ET.Element("disk", type="block" if disk.block else "file", device="disk")
    ET.SubElement(root, "driver", name="qemu", type=disk.format, discard="unmap")
    ET.SubElement(root, "source", {"dev" if disk.block else "file": disk.source})
    ET.SubElement(root, "target", dev=target, bus="virtio")
    ET.SubElement(root, "serial").text = disk.serial[:_SERIAL_LENGTH]
    if disk.readonly:
        ET.SubElement(root, "readonly")
    return ET.tostring(root, encoding="unicode")


def nic_xml(machine: str, network: str) -> str:
    """A virtio card on a network of libvirt, with the hardware address that follows from both names."""
    root = ET.Element("interface", type="network")
    ET.SubElement(root, "mac", address=mac_of(machine, network))
    ET.SubElement(root, "source", network=network)
    ET.SubElement(root, "model", type="virtio")
    return ET.tostring(root, encoding="unicode")


@dataclass(frozen=True)
class Domain:
    """A machine as libvirt has it: `config` as it will start, `live` as it runs ('' if it does not). `memory` in bytes."""

    name: str
    config: str
    live: str = ""
    autostart: bool = False
    cpus: int = 0
    memory: int = 0

    @property
    def running(self) -> bool:
        return bool(self.live)

    @property
    def huge_pages(self) -> bool:
        """Whether its memory is of huge pages."""
        return parsed(self.live or self.config).find("memoryBacking/hugepages") is not None


def promised(there: Mapping[str, Domain]) -> list[Promise]:
    """What machines have of a hypervisor, or will have when it has been started again: those that run or start with it."""
    return [
        Promise(name, each.cpus, 0 if each.huge_pages else each.memory)
        for name, each in there.items()
        if each.running or each.autostart
    ]


def host_key_of(xml: str) -> str:
    """The public key of the machine's sshd, as it was injected; '' where nothing is known of it."""
    found = parsed(xml).find(f"metadata/{{{NAMESPACE}}}machine/{{{NAMESPACE}}}host_key")
    return (found.text or "").strip() if found is not None else ""


def disks_of(xml: str) -> dict[str, str]:
    """Serial to target, of all disks; those without a serial have their target twice."""
    return {each.findtext("serial", "") or _dev(each): _dev(each) for each in parsed(xml).iterfind("devices/disk")}


def sources_of(xml: str) -> list[str]:
    """The paths of all disks."""
    found = [each.find("source") for each in parsed(xml).iterfind("devices/disk")]
    return [path for each in found if each is not None and (path := each.get("file") or each.get("dev"))]


def disks_to_write(xml: str) -> list[str]:
    """The paths of the disks that are not read-only."""
    root = parsed(xml)
    found = [each.find("source") for each in root.iterfind("devices/disk") if each.find("readonly") is None]
    return [path for each in found if each is not None and (path := each.get("file") or each.get("dev"))]


def backings_of(link: virConnect, paths: Sequence[str]) -> dict[str, Backing]:
    """What disks stand on, by the path of who stands there, whole chains of them. For `Libvirt.read`."""
    found: dict[str, Backing] = {}
    todo = list(paths)
    while todo:
        path = todo.pop()
        xml = parsed(link.storageVolLookupByPath(path).XMLDesc())
        backing = xml.findtext("backingStore/path")
        if backing and path not in found:
            kind = xml.find("target/format")
            under = xml.find("backingStore/format")
            own, other = ("" if each is None else each.get("type", "") for each in (kind, under))
            found[path] = Backing(backing, own, other)
            todo.append(backing)
    return found


def boot_files_of(xml: str) -> list[str]:
    """The paths of the kernel and the initrd that it boots directly; none where its disk has a boot loader."""
    root = parsed(xml)
    return [path for tag in ("kernel", "initrd") if (path := root.findtext(f"os/{tag}"))]


def moved_xml(xml: str, where: Mapping[str, str], mark: str) -> str:
    """The description with files at their new paths; everything else stays, the cards' addresses too.

    `mark` says what it was made of: by it a definition that a cut run left is told from one that is older.
    """
    root = parsed(xml)
    metadata = root.find("metadata")
    if metadata is None:
        metadata = ET.SubElement(root, "metadata")
    ours = metadata.find(f"{{{NAMESPACE}}}machine")
    if ours is None:
        ours = ET.SubElement(metadata, f"{{{NAMESPACE}}}machine")
    arrived = ours.find(f"{{{NAMESPACE}}}arrived")
    if arrived is None:
        arrived = ET.SubElement(ours, f"{{{NAMESPACE}}}arrived")
    arrived.text = mark
    for source in root.iterfind("devices/disk/source"):
        for key in ("file", "dev"):
            if (path := source.get(key)) in where:
                source.set(key, where[str(path)])
    for tag in ("kernel", "initrd"):
        found = root.find(f"os/{tag}")
        if found is not None and found.text in where:
            found.text = where[str(found.text)]
    return ET.tostring(root, encoding="unicode")


def mark_of(xml: str) -> str:
    """What `moved_xml` marked a description with; '' for a machine that was made where it is."""
    return parsed(xml).findtext(f"metadata/{{{NAMESPACE}}}machine/{{{NAMESPACE}}}arrived", "").strip()


def _dev(disk: ET.Element) -> str:
    target = disk.find("target")
    return target.get("dev", "") if target is not None else ""


def macs_of(xml: str) -> dict[str, str]:
    """Hardware address to the network of libvirt that the card is on, of all cards."""
    found = {}
    for card in parsed(xml).iterfind("devices/interface"):
        mac, source = card.find("mac"), card.find("source")
        if mac is not None and source is not None:
            found[mac.get("address", "").lower()] = source.get("network") or source.get("bridge") or ""
    return found


def free_target(*documents: str) -> str:
    """The first virtio target that none of these descriptions of one machine uses."""
    taken = {_dev(disk) for xml in documents if xml for disk in parsed(xml).iterfind("devices/disk")}
    found = next((name for i in range(26) if (name := _target(i)) not in taken), "")
    if not found:
        raise Refused("it has 26 disks, vda to vdz, and takes no more")
    return found


def resized(config: str, wanted: Sizes, console: str) -> tuple[str, tuple[str, ...]]:
    """The description with sizes and console as wanted, and what that changes; addresses of its devices stay."""
    root = parsed(config)
    lines = []
    memory, now_cpus = root.find("memory"), root.find("vcpu")
    now = {"memory": memory.text if memory is not None else "", "cpus": now_cpus.text if now_cpus is not None else ""}
    want: Mapping[str, str] = {"memory": str(wanted.memory // 1024), "cpus": str(wanted.cpus)}
    for key, unit in (("memory", " KiB"), ("cpus", "")):
        lines += [f"-{key} {now[key]}{unit}", f"+{key} {want[key]}{unit}"] if now[key] != want[key] else []
    graphics = root.find("devices/graphics")
    shown = graphics.get("type", "") if graphics is not None else "none"
    if shown != console:
        lines += [f"-console {shown}", f"+console {console}"]
    if not lines:
        return config, ()
    if now["memory"] != want["memory"] and root.find("cpu/numa") is not None:
        raise Refused("its memory is shared out among NUMA cells, which only virsh edit changes: correct the inventory")
    for tag, value in (("memory", want["memory"]), ("currentMemory", want["memory"]), ("vcpu", want["cpus"])):
        found = root.find(tag)
        if found is not None:
            found.text = value
            found.attrib.pop("current", None)
    devices = root.find("devices")
    if shown != console and devices is not None:
        spice = [*devices.iterfind("channel[@type='spicevmc']"), *devices.iterfind("audio[@type='spice']")]
        for each in [*devices.iterfind("graphics"), *spice]:
            devices.remove(each)
        if console != "none":
            ET.SubElement(devices, "graphics", type=console, autoport="yes", listen="127.0.0.1")
    return ET.tostring(root, encoding="unicode"), tuple(lines)
