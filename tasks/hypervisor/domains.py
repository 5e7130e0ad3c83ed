"""Machines on a hypervisor: seen, started, stopped, deleted. Those of Nova are never touched."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused, TimedOut
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import nearest
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.domain_xml import Domain, sources_of
from nornir_stack.tasks.hypervisor.names import is_nova, refuse_nova, volume_of
from nornir_stack.tasks.hypervisor.settings import Machine
from nornir_stack.tasks.hypervisor.volumes import of_each, stood_on
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from libvirt import virConnect, virDomain
    from nornir.core.task import Task

    from nornir_stack.results import Result

_LOOK_AGAIN = 0.5
_CHECKPOINTS = 5_006_000  # the version of libvirt that brought them


def observe_machines(task: Task) -> Result[dict[str, Domain]]:
    """Observe every machine of the hypervisor by name, those of Nova too."""
    node = Node(task)
    return node.done(Libvirt(node).read("the machines", domains))


def domains(link: virConnect) -> dict[str, Domain]:
    """For `Libvirt.read`. One that goes while it is looked at, as Nova's do, is not there."""
    import libvirt  # noqa: PLC0415  an extra

    found = {}
    for each in sorted(link.listAllDomains(), key=lambda one: str(one.name())):
        try:
            found[str(each.name())] = _domain(each)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
    return found


def _domain(each: virDomain) -> Domain:
    import libvirt  # noqa: PLC0415  an extra

    live = each.XMLDesc() if each.isActive() else ""
    info = each.info()
    config = each.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    return Domain(each.name(), config, live, bool(each.autostart()) if each.isPersistent() else False, info[3], info[1] << 10)


def the_machine(node: Node, machine: str) -> Domain:
    """A machine that may be acted on. Raises Refused for one that is not there, or is Nova's."""
    refuse_nova(machine)
    there = Libvirt(node).read("the machines", domains)
    if machine not in there:
        ours = [name for name, each in there.items() if not is_nova(name, each.config)]
        raise Refused(f"{node.name} has no machine {machine!r}{nearest(machine, ours)}")
    refuse_nova(machine, there[machine].config)
    return there[machine]


def start(task: Task, *, machine: str) -> Result[bool]:
    """Have a machine run. Raises Refused where the inventory has it on another hypervisor: that one runs, or is the newer."""
    node = Node(task)
    if not the_machine(node, machine).running:
        declared = task.nornir.inventory.hosts.get(machine)
        home = settings_of(declared, Machine).hypervisor if declared and declared.has_parent_group("machine") else node.name
        if home != node.name:
            raise Refused(f"{machine} belongs to {home} (the inventory): this one is what a move left behind on {node.name}")
        Libvirt(node).change(f"start {machine}", on(machine, lambda domain: domain.create()), repeatable=True)
    return node.done(True)


def stop(task: Task, *, machine: str, within: float = 120.0, force: bool = False) -> Result[bool]:
    """Have a machine shut down by itself within so many seconds.

    Raises Refused where it does not: it still runs then. `force` switches it off, which its disks may not survive.
    """
    node = Node(task)
    if not the_machine(node, machine).running:
        return node.done(False)
    virt = Libvirt(node)
    virt.change(f"shut down {machine}", on(machine, lambda domain: domain.shutdown()), repeatable=True)
    if not node.dry_run and not _is_off(node, virt, machine, within):
        if not force:
            raise Refused(
                f"{machine} was asked to shut down and still runs after {within:.0f} s: look at its console, or switch it "
                "off by force=yes, which its file systems may not survive"
            )
        virt.change(f"switch {machine} off", on(machine, lambda domain: domain.destroy()))
    return node.done(False)


def _is_off(node: Node, virt: Libvirt, machine: str, within: float) -> bool:
    left = within
    while virt.read(f"whether {machine} runs", lambda link: _runs(link, machine)):
        if left <= 0:
            return False
        with suppress(TimedOut):
            node.gate.wait(_LOOK_AGAIN, f"{machine} to shut down")
        left -= _LOOK_AGAIN
    return True


def _runs(link: virConnect, machine: str) -> bool:
    """One that was defined by nobody is gone when it has ended."""
    return any(each.name() == machine and each.isActive() for each in link.listAllDomains())


def on(machine: str, do: Callable[[virDomain], object]) -> Callable[[virConnect], object]:
    return lambda link: do(link.lookupByName(machine))


def delete(task: Task, *, machine: str, confirm: str = "") -> Result[tuple[str, ...]]:
    """Delete a machine with its disks; the paths that are gone. The images that it started from stay.

    Raises Refused unless `confirm` is what the refusal printed; it names the machine and every disk.
    """
    node = Node(task)
    refuse_nova(machine)
    virt = Libvirt(node)
    there = virt.read("the machines", domains)
    if machine not in there:
        return node.done(())
    now = the_machine(node, machine)
    disks = virt.read(f"the disks of {machine}", lambda link: own_disks(link, now, there))
    token = deletion(machine, disks)
    if confirm != token:
        extra = virt.read(f"what {machine} has beside its disks", lambda link: beside(link, machine))
        lines = [f"{machine} would be deleted with {len(disks)} disks, and all that is on them."]
        lines += [f"{each} would go too." for each in extra]
        lines += [f"{path} stays: it is others' too." for path in sources_of(now.config) if path not in disks]
        raise Refused("\n".join([*lines, f"If it may: confirm={token!r}"]))
    destroy(virt, now, disks)
    return node.done(tuple(disks))


def deletion(machine: str, disks: list[str]) -> str:
    """The words by which a deletion is confirmed. Pure."""
    return "+".join([machine, *(path.rpartition("/")[2] for path in disks)])


def own_disks(link: virConnect, machine: Domain, there: Mapping[str, Domain]) -> list[str]:
    """The machine's disks that are volumes of a pool and nobody else's. For `Libvirt.read`.

    Not its own are: a disk of another machine, as it runs or as it will start; one on which another volume stands; a medium,
    such as an image of a CD; and what it only reads or shares, but for its seed.
    """
    others = used_by_others(machine.name, there)
    known, backings = set(of_each(link, lambda each: each.path())), stood_on(link)
    mine = owned(machine.config, volume_of(machine.name, "seed"))
    return [path for path in mine if path in known and path not in others and path not in backings]


def used_by_others(machine: str, there: Mapping[str, Domain]) -> dict[str, str]:
    """Path to machine, of all disks of the other machines, as they run and as they will start. Pure."""
    found: dict[str, str] = {}
    for name, each in there.items():
        for xml in (each.config, each.live):
            found |= dict.fromkeys(sources_of(xml), name) if xml and name != machine else {}
    return found


def owned(config: str, seed: str) -> list[str]:
    """The paths of a machine's disks that could be its own; `seed` is the name of its seed, without the ending. Pure."""
    found = []
    for disk in parsed(config).iterfind("devices/disk"):
        source = disk.find("source")
        path = "" if source is None else source.get("file") or source.get("dev") or ""
        read = disk.find("readonly") is not None and not path.rpartition("/")[2].startswith(f"{seed}.")
        if path and disk.get("device", "disk") == "disk" and disk.find("shareable") is None and not read:
            found.append(path)
    return found


def beside(link: virConnect, machine: str) -> list[str]:
    """What a machine has beside its disks: snapshots, a saved memory, its firmware's settings. For `Libvirt.read`."""
    domain = link.lookupByName(machine)
    found = [f"snapshot {name}" for name in sorted(each.getName() for each in domain.listAllSnapshots())]
    if link.getLibVersion() >= _CHECKPOINTS:
        found += [f"checkpoint {name}" for name in sorted(each.getName() for each in domain.listAllCheckpoints())]
    found += ["its saved memory"] if domain.hasManagedSaveImage() else []
    nvram = parsed(domain.XMLDesc()).findtext("os/nvram")
    return found + ([f"its NVRAM {nvram}"] if nvram else [])


def destroy(virt: Libvirt, machine: Domain, disks: list[str]) -> None:
    """Switch a machine off, delete these disks of it and forget it. The caller has a confirmation.

    Cut between the disks it is still there, to be deleted by a further run.
    """
    import libvirt  # noqa: PLC0415  an extra

    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )

    def do(link: virConnect) -> None:
        domain = link.lookupByName(machine.name)
        lasting, checkpoints = domain.isPersistent(), link.getLibVersion() >= _CHECKPOINTS
        if domain.isActive():
            domain.destroy()
        for path in disks:
            link.storageVolLookupByPath(path).delete()
        if lasting:
            domain.undefineFlags(flags | (libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA if checkpoints else 0))

    diff = "".join([f"-machine {machine.name}\n", *(f"-{path}\n" for path in disks)])
    virt.change(f"delete {machine.name} with {len(disks)} disks", do, diff=diff)
