"""Whether a machine can go to another hypervisor: all that is looked at before anything is stopped or copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import nearest
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor import capacity
from nornir_stack.tasks.hypervisor.domain_xml import Domain, boot_files_of, macs_of, promised, sources_of
from nornir_stack.tasks.hypervisor.domains import beside, domains, the_machine
from nornir_stack.tasks.hypervisor.machines import seed_pool, sizes_of
from nornir_stack.tasks.hypervisor.networks import machines_of
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings
from nornir_stack.tasks.hypervisor.volumes import of_each
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from libvirt import virConnect
    from nornir.core.inventory import Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.hypervisor.settings import Machine

ASIDE = ".nornir-stack-moving"  # the ending of a file that is not yet known to be what was sent
# A line a file or a logical volume: what is there of it and of its copy, and the file system or the volume group that it would
# be in, with its free blocks and what one of them has.
_ROOM = r"""
size() { case $1 in /dev/*) blockdev --getsize64 "$1" ;; *) stat -c %s -- "$1" ;; esac }
for path; do
    folder=${path%/*}
    [ ! -e "$path" ] || echo "there $(size "$path") $path"
    [ ! -e "$path$ASIDE" ] || echo "part $(size "$path$ASIDE") $path"
    case $path in
        /dev/*) echo "room $(vgs --noheadings --nosuffix --units b -o vg_name,vg_free_count,vg_extent_size "${folder#/dev/}" |
            sed 's/^ *//; s/  */ /g') $path" ;;
        *) echo "room $(stat -c %d -- "$folder") $(stat -f -c '%a %S' -- "$folder") $path" ;;
    esac
done
"""
_MIB = 1 << 20
_STATEFUL = {
    "hostdev": "it has a device of the hypervisor's own",
    "filesystem": "it shares a folder of the hypervisor's",
    "tpm": "what its TPM holds lies beside its disks",
    "shmem": "it shares memory with others",
}


@dataclass(frozen=True)
class Packed:
    """What a machine would take along: its description, and its files by path with their sizes in bytes."""

    config: str
    disks: Mapping[str, int]
    shared: Mapping[str, int]


def pack(task: Task, *, machine: str) -> Result[Packed]:
    """Observe what a machine would take along. Raises Refused where that is more than disks in pools, and their images."""
    node = Node(task)
    virt = Libvirt(node)
    config = the_machine(node, machine).config
    extra = virt.read(f"what {machine} has beside its disks", lambda link: beside(link, machine))
    if wrong := immovable(config, extra):
        raise Refused(f"{machine} cannot be moved, and was left as it is: " + "; ".join(wrong))
    disks = sources_of(config)
    sizes, strange, backings = virt.read("its disks", lambda link: _volumes(link, [*disks, *boot_files_of(config)]))
    if strange:
        raise Refused(
            f"{machine} cannot be moved, and was left as it is: {', '.join(strange)} is in no pool that runs on "
            f"{node.name} (one that came since the pool was looked at is found by virsh pool-refresh)"
        )
    shared = [path for path in [*backings, *boot_files_of(config)] if path not in disks]
    return node.done(Packed(config, {path: sizes[path] for path in disks}, {path: sizes[path] for path in shared}))


def immovable(config: str, extra: Sequence[str]) -> list[str]:
    """What of a machine would not come along by copies of its disks; `extra` as `beside` tells it. Pure."""
    root = parsed(config)
    found = [f"{each} would stay behind" for each in extra]
    found += [said for tag, said in _STATEFUL.items() if root.find(f"devices/{tag}") is not None]
    for disk in root.iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        if source is not None and source.attrib and not (source.get("file") or source.get("dev")):
            title = target.get("dev", "") if target is not None else ""
            found.append(f"its disk {title} is no file and no device ({' '.join(source.attrib.values())})")
        if disk.find("shareable") is not None:
            found.append("others write to a disk of it too")
    for card in root.iterfind("devices/interface"):
        source = card.find("source")
        if source is None or not source.get("network"):
            found.append("a card of it is on no network of libvirt")
    return list(dict.fromkeys(found))


def _volumes(link: virConnect, paths: Iterable[str]) -> tuple[dict[str, int], list[str], list[str]]:
    """Sizes by path of volumes and of all that they stand on, those that are in no pool, and what is stood on."""
    import libvirt  # noqa: PLC0415  an extra

    known = dict(of_each(link, lambda each: (each.path(), each)))
    sizes: dict[str, int] = {}
    strange: list[str] = []
    backings: list[str] = []
    todo = list(paths)
    while todo:
        path = todo.pop(0)
        if path in sizes or path in strange:
            continue
        if path not in known:
            strange.append(path)
            continue
        sizes[path] = known[path].infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2]
        if backing := parsed(known[path].XMLDesc()).findtext("backingStore/path"):
            backings.append(backing)
            todo.append(backing)
    return sizes, strange, list(dict.fromkeys(backings))


def admit(task: Task, *, machine: str, packed: Packed) -> Result[None]:
    """Observe that a machine can come here. Raises Refused: without room, without its networks, its kind of machine or its
    names free.
    """
    node = Node(task)
    virt = Libvirt(node)
    there = virt.read("the machines", domains)
    refuse_room(node, virt, machine, packed.config)
    settings = settings_of(node.host, HypervisorSettings)
    wanted = machines_of(node.name, node.task.nornir.inventory)[machine]
    pools = {pool_for(settings, wanted, machine, path) for path in packed.disks} | {settings.image_pool for _ in packed.shared}
    wrong = virt.read("what is here for it", lambda link: _lacking(link, packed.config, pools))
    wrong += taken(machine, packed.config, there)
    sizes = {destination(settings, wanted, machine, path): size for path, size in packed.disks.items()}
    disks = frozenset(sizes)
    sizes |= {destination(settings, wanted, machine, path, shared=True): size for path, size in packed.shared.items()}
    lines = node.read(sh(f"ASIDE={ASIDE}{_ROOM}", *sizes, label=f"look for room for {machine}")).lines
    wrong += crowded(sizes, frozenset() if machine in there else disks, lines)
    if wrong:
        raise Refused(f"{machine} cannot come to {node.name}; it was not stopped: " + "; ".join(wrong))
    return node.done()


def destination(settings: HypervisorSettings, wanted: Machine, machine: str, path: str, *, shared: bool = False) -> str:
    """Where a disk or an image of a machine would be here. Pure; raises Refused for a pool of another kind."""
    title = path.rpartition("/")[2]
    pool = settings.image_pool if shared else pool_for(settings, wanted, machine, path)
    if pool not in settings.pools:
        raise Refused(f"there is no pool {pool!r} in the inventory{nearest(pool, settings.pools)}")
    folder, group = settings.pools[pool].path, settings.pools[pool].volume_group
    if path.startswith("/dev/") != (folder is None):
        kinds = ("a file", f"the logical volumes of {group}") if folder is None else ("a logical volume", f"files in {folder}")
        raise Refused(
            f"{path} is {kinds[0]}, and pool {pool} has {kinds[1]}: what is moved stays of its kind, name such a pool"
        )
    return f"{folder.rstrip('/')}/{title}" if folder is not None else f"/dev/{group}/{title}"


def pool_for(settings: HypervisorSettings, wanted: Machine, machine: str, path: str) -> str:
    """The pool of a disk of a machine. Pure."""
    return seed_pool(settings, wanted) if path.endswith(f"/{machine}-seed.raw") else wanted.pool


def crowded(sizes: Mapping[str, int], disks: frozenset[str], lines: Sequence[str]) -> list[str]:
    """Sentences about disks and images for which there is no room, and `disks` whose place is taken. Pure."""
    found = []
    needs: dict[str, int] = {}
    room: dict[str, int] = {}
    split = [line.split(" ", 2) for line in lines]
    there, parts = ({path: int(size) for word, size, path in split if word == each} for each in ("there", "part"))
    for line in lines:
        if not line.startswith("room "):
            continue
        if line.startswith("room  "):  # stat(1), or vgs(8), had nothing to say
            found.append(f"the place of {line.removeprefix('room').strip()} is not there")
            continue
        _, device, blocks, width, path = line.split(" ", 4)
        if path.startswith("/dev/") and sizes[path] % int(width):
            found.append(f"{path} would have {sizes[path]} bytes, which are no whole extents of {device}")
        room[device] = int(blocks) * int(width)
        # an image of another size is another, and is copied beside it
        need = 0 if there.get(path) == sizes[path] else max(0, sizes[path] - parts.get(path, 0))
        needs[device] = needs.get(device, 0) + need
    found += [f"{path} is there already: move it away, or delete it" for path in sorted(disks & set(there))]
    found += [
        f"its disks want {needs[each] // _MIB} MiB, and there are {room[each] // _MIB} MiB"
        for each in needs
        if needs[each] > room[each]
    ]
    return found


def taken(machine: str, config: str, there: Mapping[str, Domain]) -> list[str]:
    """Sentences about what of a machine another one here has already: its UUID, its hardware addresses. Pure."""
    found = []
    uuid, macs = parsed(config).findtext("uuid"), set(macs_of(config))
    for name, each in there.items():
        if name == machine:
            continue
        if parsed(each.config).findtext("uuid") == uuid:
            found.append(f"{name} has its UUID")
        found += [f"{name} has its hardware address {mac}" for mac in sorted(macs & set(macs_of(each.config)))]
    return found


def _lacking(link: virConnect, config: str, pools: set[str]) -> list[str]:
    running = {each.name() for each in link.listAllNetworks() if each.isActive()}
    found = [f"network {each} does not run" for each in sorted(set(macs_of(config).values()) - running)]
    stored = {each.name() for each in link.listAllStoragePools() if each.isActive()}
    found += [f"pool {each} does not run" for each in sorted(pools - stored)]
    found += foreign(config, link.getCapabilities())
    if (cpu := model_of(config)) and not link.compareCPU(cpu):
        found.append("its processor is not of the model that the machine has")
    return found


def model_of(config: str) -> str:
    """The processor that a machine is promised under KVM, as XML; '' for that of its hypervisor, or an emulated one. Pure."""
    root = parsed(config)
    cpu = root.find("cpu")
    named = cpu is not None and cpu.find("model") is not None and cpu.get("mode", "custom") == "custom"
    return ET.tostring(cpu, encoding="unicode") if cpu is not None and named and root.get("type") == "kvm" else ""


def foreign(config: str, capabilities: str) -> list[str]:
    """What a hypervisor lacks of a machine's kind (https://libvirt.org/formatcaps.html). Pure."""
    root = parsed(config)
    kind = root.find("os/type")
    arch, machine = (kind.get("arch", ""), kind.get("machine", "")) if kind is not None else ("", "")
    virtual, emulator = root.get("type", ""), root.findtext("devices/emulator")
    for each in parsed(capabilities).iterfind("guest/arch"):
        if each.get("name") != arch:
            continue
        found = []
        kinds = [*each.iterfind("machine"), *each.iterfind("domain/machine")]
        if machine not in {name for one in kinds for name in (one.text, one.get("canonical"))}:
            found.append(f"its QEMU does not know the machine type {machine}")
        if virtual not in {one.get("type") for one in each.iterfind("domain")}:
            found.append(f"it has no {virtual.upper()}")
        paths = {one.text for one in [*each.iterfind("emulator"), *each.iterfind("domain/emulator")]}
        if emulator and emulator not in paths:
            found.append(f"{emulator} is not there")
        return found
    return [f"it runs no machines of {arch}"]


def refuse_room(node: Node, virt: Libvirt, machine: str, config: str) -> None:
    """Raise Refused where a hypervisor lacks the networks of a machine that is to come, or the room."""
    inventory, settings = node.task.nornir.inventory, settings_of(node.host, HypervisorSettings)
    for network in set(macs_of(config).values()) - set(settings.networks):
        raise Refused(f"{machine} has a card on {network}, and {node.name} has none{nearest(network, settings.networks)}")
    cpus, memory = virt.read("what the hypervisor has", capacity.has)
    there = virt.read("the machines", domains)
    promises = [each for each in promised(there) if each.machine != machine]
    promises.append(_coming(inventory, node.name, machine, config))
    capacity.refuse(node.name, cpus, memory, settings.reserved, promises)


def _coming(inventory: Inventory, hypervisor: str, machine: str, config: str) -> capacity.Promise:
    """It comes as it is; what the inventory says of it holds from its next start."""
    sizes = sizes_of(inventory.hosts[machine], machines_of(hypervisor, inventory)[machine])
    root = parsed(config)
    cpus, memory = int(root.findtext("vcpu") or 0), int(root.findtext("memory") or 0) << 10
    return capacity.Promise(machine, max(cpus, sizes.cpus), max(memory, sizes.memory))
