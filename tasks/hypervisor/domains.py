"""Machines on a hypervisor: seen, started, stopped, deleted. Those of Nova are never touched."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused, TimedOut, UsageError
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import nearest
from nornir_stack.tasks.hypervisor.domain_xml import Domain, sources_of
from nornir_stack.tasks.hypervisor.names import is_nova, refuse_nova

if TYPE_CHECKING:
    from collections.abc import Callable

    from libvirt import virConnect, virDomain
    from nornir.core.task import Task

    from nornir_stack.results import Result

_LOOK_AGAIN = 0.5


def observe_machines(task: Task) -> Result[dict[str, Domain]]:
    """Observe every machine of the hypervisor by name, those of Nova too."""
    node = Node(task)
    return node.done(Libvirt(node).read("the machines", domains))


def domains(link: virConnect) -> dict[str, Domain]:
    """For `Libvirt.read`."""
    return {each.name(): _domain(each) for each in sorted(link.listAllDomains(), key=lambda one: str(one.name()))}


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
    """Have a machine run."""
    node = Node(task)
    if not the_machine(node, machine).running:
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
    while virt.read(f"whether {machine} runs", on(machine, lambda domain: bool(domain.isActive()))):
        if left <= 0:
            return False
        with suppress(TimedOut):
            node.gate.wait(_LOOK_AGAIN, f"{machine} to shut down")
        left -= _LOOK_AGAIN
    return True


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
        raise Refused(
            f"{machine} would be deleted with {len(disks)} disks, and all that is on them. If it may: confirm={token!r}"
        )
    destroy(virt, now, disks)
    return node.done(tuple(disks))


def deletion(machine: str, disks: list[str]) -> str:
    """The words by which a deletion is confirmed. Pure."""
    return "+".join([machine, *(path.rpartition("/")[2] for path in disks)])


def own_disks(link: virConnect, machine: Domain, there: dict[str, Domain]) -> list[str]:
    """The machine's disks that are volumes of a pool and no other machine's. For `Libvirt.read`."""
    others = {path for name, each in there.items() if name != machine.name for path in sources_of(each.config)}
    volumes = {each.path() for pool in link.listAllStoragePools() if pool.isActive() for each in pool.listAllVolumes()}
    return [path for path in sources_of(machine.config) if path in volumes and path not in others]


def destroy(virt: Libvirt, machine: Domain, disks: list[str]) -> None:
    """Switch a machine off, forget it and delete these disks of it. The caller has a confirmation."""
    import libvirt  # noqa: PLC0415  an extra

    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )

    def do(link: virConnect) -> None:
        domain = link.lookupByName(machine.name)
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(flags)
        for path in disks:
            link.storageVolLookupByPath(path).delete()

    diff = "".join([f"-machine {machine.name}\n", *(f"-{path}\n" for path in disks)])
    virt.change(f"delete {machine.name} with {len(disks)} disks", do, diff=diff)


def refuse_word(word: str, what: str) -> None:
    """Raise UsageError for a name that libvirt or a shell would read otherwise."""
    if not word or not all(letter.isalnum() or letter in "_.-" for letter in word):
        raise UsageError(f"{word!r} is no name of a {what}: letters, digits, dots, - and _")
