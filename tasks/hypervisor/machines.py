"""The machines that an inventory has on a hypervisor: made, seeded, started, and brought to their sizes, cards and disks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_interface
from typing import TYPE_CHECKING

from nornir_stack import guest_image
from nornir_stack.command import command
from nornir_stack.connections.libvirt import hypervisor
from nornir_stack.errors import LibvirtFailed, Refused
from nornir_stack.inventory.networks import networks_of
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import nearest
from nornir_stack.settings import settings_of
from nornir_stack.size import Size
from nornir_stack.tasks.hypervisor import capacity, devices, hostkeys, volumes
from nornir_stack.tasks.hypervisor.domain_xml import Attached, Description, Domain, domain_xml, host_key_of, promised, resized
from nornir_stack.tasks.hypervisor.domains import domains
from nornir_stack.tasks.hypervisor.images import Made, made
from nornir_stack.tasks.hypervisor.names import mac_of, refuse_nova, volume_of
from nornir_stack.tasks.hypervisor.networks import machines_of
from nornir_stack.tasks.hypervisor.seed import Identity, Nic, seed
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings, Machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from libvirt import virConnect
    from nornir.core.inventory import Host, Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.secret import Secret

_SEED = Size.parse("1M")


@dataclass(frozen=True)
class Whole:
    """What a hypervisor has, and all that is on it. `memory` in bytes."""

    cpus: int
    memory: int
    domains: Mapping[str, Domain]
    volumes: Mapping[str, Mapping[str, volumes.Volume]]


def machines(task: Task) -> Result[tuple[str, ...]]:
    """Have the machines that the inventory has on this hypervisor, running; their names.

    A new one gets its disks, a seed with its name, addresses and keys, and a host key that is noted here before anybody logs
    in. One that is there gets the cards and disks that it lacks, while it runs; other sizes from its next start. What it
    has beside that stays. Capacity is looked at first: nothing is made if not all of them fit. Nor is one made or started that
    another hypervisor of the inventory has.
    """
    node = Node(task)
    virt = Libvirt(node)
    wanted = machines_of(node.name, task.nornir.inventory)
    now = virt.read("what the hypervisor has", _look)
    if not all(name in now.domains and now.domains[name].running for name in wanted):
        refuse_twice(node.name, wanted, now.domains, _elsewhere(node))
    _refuse(node, task.nornir.inventory, wanted, now)
    for name, machine in wanted.items():
        host = task.nornir.inventory.hosts[name]
        if name in now.domains:
            _adjust(node, host, machine, now)
        else:
            _make(node, host, machine, now)
        if name not in now.domains or now.domains[name].autostart != machine.autostart:
            what = f"{name} starts {'with libvirt' if machine.autostart else 'by hand'}"
            virt.change(what, _autostart(name, machine.autostart), repeatable=True)
        if name not in now.domains or not now.domains[name].running:
            virt.change(f"start {name}", _create(name), repeatable=True)
    return node.done(tuple(wanted))


def _autostart(name: str, wanted: bool) -> volumes.Do:
    return lambda link: link.lookupByName(name).setAutostart(int(wanted)) and None


def _create(name: str) -> volumes.Do:
    return lambda link: link.lookupByName(name).create() and None


def _look(link: virConnect) -> Whole:
    cpus, memory = capacity.has(link)
    return Whole(cpus, memory, domains(link), volumes.volumes(link))


def _elsewhere(node: Node) -> dict[str, Mapping[str, Domain]]:
    """The machines of the inventory's other hypervisors. Raises ConnectionFailed: else two could have one address."""
    found: dict[str, Mapping[str, Domain]] = {}
    for name, host in node.task.nornir.inventory.hosts.items():
        if name != node.name and host.has_parent_group("hypervisor"):
            other = hypervisor(host, node.task.nornir.config)
            found[name] = node.gate.look(f"the machines of {name}", partial(other.look, domains))
    return found


def refuse_twice(
    here: str, wanted: Iterable[str], now: Mapping[str, Domain], elsewhere: Mapping[str, Mapping[str, Domain]]
) -> None:
    """Raise Refused where a machine is to be made or started that another hypervisor has. Pure."""
    for name in wanted:
        for other in (host for host, each in elsewhere.items() if name in each):
            if name not in now:
                raise Refused(f"{name} is on {other}: cloud.move machine={name} takes it to {here}")
            if not now[name].running:
                raise Refused(f"{name} is on {other} too, and does not run on {here}: start the newer one (hypervisor.start)")


def _refuse(node: Node, inventory: Inventory, wanted: Mapping[str, Machine], now: Whole) -> None:
    settings = settings_of(node.host, HypervisorSettings)
    for name, machine in wanted.items():
        refuse_nova(name, now.domains[name].config if name in now.domains else "")
        for kind, given, known in (
            ("image", [machine.image], settings.images),
            ("pool", [machine.pool], settings.pools),
            ("network", list(machine.networks), settings.networks),
        ):
            if missing := [each for each in given if each not in known]:
                hint = nearest(missing[0], known)
                raise Refused(f"{name}: {node.name} has no {kind} {missing[0]!r} in the inventory{hint}")
        disks = disks_of_machine(inventory.hosts[name], machine, node.host)
        devices.refuse_foreign(name, [_path(node, disk) for disk in disks.values()], now.domains)
        devices.refuse_mac(name, machine.networks, now.domains)
    promises = [each for each in promised(now.domains) if each.machine not in wanted]
    for name, machine in wanted.items():
        promises.append(_promise(name, sizes_of(inventory.hosts[name], machine), now.domains.get(name)))
    capacity.refuse(node.name, now.cpus, now.memory, settings.reserved, promises)


def _promise(name: str, sizes: capacity.Sizes, now: Domain | None) -> capacity.Promise:
    """What a declared machine has by now, or will have from its next start: the larger. Pure."""
    if now is None or not now.running:
        now = Domain(name, now.config if now else "<domain/>")
    memory = 0 if now.huge_pages else max(now.memory, sizes.memory)
    return capacity.Promise(name, max(now.cpus, sizes.cpus), memory)


def sizes_of(host: Host, machine: Machine) -> capacity.Sizes:
    """A machine's sizes. Pure."""
    roles = [group.name for group in host.extended_groups()]
    return capacity.sizes_of(roles, machine.cpus, machine.memory, machine.disk)


def disks_of_machine(host: Host, machine: Machine, hypervisor: Host, image: Made | None = None) -> dict[str, volumes.Disk]:
    """Its disks by serial, that of its system first. Pure."""
    logical = settings_of(hypervisor, HypervisorSettings).pools[machine.pool].volume_group is not None
    sizes = {"root": sizes_of(host, machine).disk, **machine.disks}
    found = {}
    for serial, size in sizes.items():
        start = image.disk if image and serial == "root" else ""
        backing, copy_of = ("", start) if logical else (start, "")
        found[serial] = volumes.Disk(machine.pool, volume_of(host.name, serial), size, logical, backing, copy_of)
    return found


def _make(node: Node, host: Host, machine: Machine, now: Whole) -> None:
    """Everything that a new machine needs, up to its definition. Where libvirt refuses any of it, the new disks go again."""
    virt = Libvirt(node)
    settings = settings_of(node.host, HypervisorSettings)
    image = made(settings.images[machine.image], str(settings.pools[settings.image_pool].path))
    disks = disks_of_machine(host, machine, node.host, image)
    there = now.volumes.get(machine.pool, {})
    for serial, disk in disks.items():
        if disk.volume in there:
            path = there[disk.volume].path
            raise Refused(f"{host.name}: its disk {serial} would be {path}, which is there already: move it away, or delete it")
    refuse_cut(host.name, disks["root"], now.volumes.get(settings.image_pool, {}).values())
    private, public = hostkeys.new_pair()
    identity = identity_of(host, machine, node.host, private, public)
    seeded = volumes.Disk(seed_pool(settings, machine), volume_of(host.name, "seed"), _SEED, raw=True)
    kvm = _kvm(node, settings.accelerator, image)
    paths = {serial: _path(node, disk) for serial, disk in disks.items()}
    attached = [Attached(serial, paths[serial], disk.format) for serial, disk in disks.items()]
    attached.append(Attached("seed", _path(node, seeded), "raw", readonly=True))
    uid = identity.instance
    description = Description(
        host.name, uid, public, sizes_of(host, machine), image, attached, list(machine.networks), machine.console, kvm
    )
    xml = domain_xml(description)
    new = []
    try:
        for disk in disks.values():
            volumes.make(virt, disk)
            new.append(disk)
        # a seed alone is nobody's data: a run that was cut leaves it
        volumes.make(virt, seeded, seed(identity), replace=True)
        virt.change(f"define {host.name}", lambda link: link.defineXML(xml) and None, diff=_summary(description))
    except LibvirtFailed:  # which said no: nobody has written to these, and they would be in the way of the next run
        for disk in new:
            volumes.remove(virt, disk)
        raise
    hostkeys.note(node, host, public)


def refuse_cut(machine: str, disk: volumes.Disk, there: Iterable[volumes.Volume]) -> None:
    """Raise Refused where a disk would be smaller than the image that it starts from: QEMU cuts off the rest. Pure."""
    for each in there:
        if each.path in {disk.backing, disk.copy_of} and disk.size < each.capacity:
            raise Refused(f"{machine}: the disk of its system is to have {disk.size}, and its image has {each.capacity}")


def seed_pool(settings: HypervisorSettings, machine: Machine) -> str:
    """Where a machine's seed lies: a file, beside its disks if they are files. Pure."""
    return machine.pool if settings.pools[machine.pool].path else settings.image_pool


def _path(node: Node, disk: volumes.Disk) -> str:
    pool = settings_of(node.host, HypervisorSettings).pools[disk.pool]
    folder = pool.path.rstrip("/") if pool.path else f"/dev/{pool.volume_group}"
    return f"{folder}/{disk.volume}"


def _summary(wanted: Description) -> str:
    sizes = wanted.sizes
    kind = "KVM" if wanted.kvm else "emulated"
    lines = [f"machine {wanted.name}: {sizes.cpus} processors, {sizes.memory} of memory, {kind}"]
    lines += [f"disk {each.serial}: {each.source}" for each in wanted.disks]
    lines += [f"card on {network}: {mac_of(wanted.name, network)}" for network in wanted.nics]
    return "".join(f"+{line}\n" for line in lines)


def identity_of(host: Host, machine: Machine, hypervisor: Host, private: Secret, public: str) -> Identity:
    """What a new machine is told. Pure but for its uuid."""
    nics = nics_of(host, machine, hypervisor)
    return Identity(host.name, str(uuid.uuid4()), nics, machine.authorized_keys, private, public)


def nics_of(host: Host, machine: Machine, hypervisor: Host) -> list[Nic]:
    """A machine's cards in order: the first of its networks that has a gateway is its way out. Pure."""
    plan = networks_of(host.defaults)
    virtual = settings_of(hypervisor, HypervisorSettings).networks
    nics = []
    out = False
    for name, address in machine.networks.items():
        network = plan.get(virtual[name].network or name)
        if address is None or network is None:
            nics.append(Nic(mac_of(host.name, name), None if address is None else ip_interface(str(address))))
            continue
        gateway = str(network.gateway) if network.gateway not in {None, address} and not out else ""
        out = out or bool(gateway)
        nics.append(Nic(mac_of(host.name, name), ip_interface(f"{address}/{network.cidr.prefixlen}"), gateway))
    return nics


def _kvm(node: Node, accelerator: str, image: Made) -> bool:
    """Whether KVM is to be used: as said, else whether it boots a kernel. That /dev/kvm is there proves nothing.

    Of an image with its own boot loader the kernel is in the disk: the hypervisor's own is tried then.
    """
    if accelerator != "auto":
        return accelerator == "kvm"

    kernel = image.kernel or f"/boot/vmlinuz-{node.read('uname', '-r', independent=True).text}"

    def probe() -> bool:
        if not node.read("test", "-c", "/dev/kvm", ok=None, independent=True).ok:
            return False
        words = ["timeout", str(guest_image.KVM_SECONDS), *guest_image.kvm_probe(kernel)]
        return "Kernel panic" in node.read(command(*words), ok=None, independent=True, timeout=90).stdout

    return node.cached(f"hypervisor.kvm {kernel}", probe)


def _adjust(node: Node, host: Host, machine: Machine, now: Whole) -> None:
    """Bring a machine that is there to what the inventory says of it."""
    virt = Libvirt(node)
    domain = now.domains[host.name]
    if key := host_key_of(domain.config):
        hostkeys.note(node, host, key)
    for disk in disks_of_machine(host, machine, node.host).values():
        found = now.volumes.get(disk.pool, {}).get(disk.volume)
        if found:
            volumes.enlarge(node, disk, found, host.name)
    sizes, console = sizes_of(host, machine), machine.console
    _, lines = resized(domain.config, sizes, console)
    if lines:
        when = " (from its next start)" if domain.running else ""
        diff = "\n".join([f"--- {host.name}", f"+++ {host.name}", *lines, ""])
        virt.change(f"define {host.name} anew{when}", _resize(host.name, sizes, console), diff=diff)
    for network in machine.networks:
        devices.have_nic(virt, domain, network)
    for serial, disk in disks_of_machine(host, machine, node.host).items():
        there = now.volumes.get(disk.pool, {}).get(disk.volume)
        devices.have_disk(virt, domain, devices.Wanted(serial, disk, there, _path(node, disk)))


def _resize(name: str, sizes: capacity.Sizes, console: str) -> volumes.Do:
    """The whole definition, a console's password too, is at hand only where something may be changed."""

    def do(link: virConnect) -> None:
        import libvirt  # noqa: PLC0415  an extra

        whole = link.lookupByName(name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        link.defineXML(resized(whole, sizes, console)[0])

    return do
