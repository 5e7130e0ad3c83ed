"""`cloud.move`: a machine with its disks taken to another hypervisor; the old one is kept until that is confirmed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import hosts, role
from nornir_stack.tasks.hypervisor.answering import answers, silent
from nornir_stack.tasks.hypervisor.arriving import STAMP, arrive, start_there
from nornir_stack.tasks.hypervisor.domain_xml import Backing, Domain, backings_of, boot_files_of, sources_of
from nornir_stack.tasks.hypervisor.domains import destroy, domains, on, own_disks, stop, the_machine
from nornir_stack.tasks.hypervisor.live import LOCKS, living
from nornir_stack.tasks.hypervisor.movable import Packed, admit, pack
from nornir_stack.tasks.hypervisor.names import is_nova
from nornir_stack.tasks.hypervisor.networks import machines_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

HYPERVISOR = role("hypervisor")
_SUMS = 'for path; do printf "%s  %s\\n" "$(sha256sum <"$path" | cut -d" " -f1)" "$path"; done'
_SUM_SECONDS = 3600.0


@dataclass(frozen=True)
class Placed:
    """The machines that a hypervisor has, and the names of those that it should have."""

    domains: Mapping[str, Domain]
    wanted: tuple[str, ...]


@dataclass(frozen=True)
class Luggage:
    """What goes along: the machine's description and the SHA-256 sums of its files, by path. `shared` are others' too.

    `stamps` tell a disk from its copy, by path. `backings` are what files stand on, by path.
    """

    config: str
    disks: Mapping[str, str]
    shared: Mapping[str, str]
    stamps: Mapping[str, str]
    backings: Mapping[str, Backing]


HERE = Luggage("", {}, {}, {}, {})


def move(*, machine: str, live: bool = False, within: float = 600.0, confirm: str = "") -> Chain:
    """Take a machine with its disks to the hypervisor that the inventory names by now, with the same addresses.

    Whether it can be there is looked at first. Then it is shut down, copied, started there and asked by ssh. The old one
    stays as it was, shut off and never started by itself, until a further run with confirm= deletes it. Run again after an
    interruption, it goes on.

    machine: its name.
    live: as it runs, without a stop. Both hypervisors must have its disks as the same files; nothing is copied or kept then.
    within: seconds for it to shut down, and again for it to answer on its new hypervisor.
    confirm: what the refusal or the last run printed: deletes the old one with its disks.
    """
    if live:
        return Chain("cloud.move", Plan("live", placed, partial(alive, machine=machine, within=within), HYPERVISOR))
    return Chain(
        "cloud.move",
        Plan("leave", placed, partial(leaving, machine=machine, within=within), HYPERVISOR),
        Plan("luggage", do(luggage, machine=machine), partial(arriving, machine=machine, within=within), HYPERVISOR),
        Plan("old", placed, partial(forgetting, machine=machine, within=within, confirm=confirm), HYPERVISOR),
    )


def placed(task: Task) -> Result[Placed]:
    """Observe the machines of a hypervisor, beside those that the inventory has on it."""
    node = Node(task)
    wanted = tuple(machines_of(node.name, task.nornir.inventory))
    return node.done(Placed(Libvirt(node).read("the machines", domains), wanted))


def whereabouts(seen: Seen[Placed], machine: str) -> tuple[str, str]:
    """The hypervisor that a machine is to be on, and the one that has it beside that, or ''. Pure; raises Refused."""
    if seen.missing:
        said = "; ".join(f"{name}: {why}" for name, why in seen.missing.items())
        raise Refused(f"not every hypervisor could be looked at ({said}), so it is not known where {machine} is")
    wanted = next((host for host, each in seen.items() if machine in each.wanted), "")
    if not wanted or is_nova(machine):
        raise Refused(f"the inventory has no machine {machine!r} on a hypervisor" if not wanted else f"{machine} is Nova's")
    others = [host for host, each in seen.items() if machine in each.domains and host != wanted]
    if len(others) > 1:
        raise Refused(f"{machine} is on {', '.join(others)}, and should be on {wanted}: delete all but one (hypervisor.delete)")
    if others and machine in seen[wanted].domains and all(seen[host].domains[machine].running for host in (wanted, others[0])):
        raise Refused(f"{machine} runs on {wanted} and on {others[0]}: two with one address; stop one (hypervisor.stop)")
    return wanted, others[0] if others else ""


def astray(seen: Seen[Placed]) -> list[str]:
    """Sentences about machines that are elsewhere than the inventory says, or may be. Pure."""
    found = []
    there = {
        name: [host for host, each in seen.items() if name in each.domains]
        for each in seen.values.values()
        for name in each.wanted
    }
    for host, each in seen.items():
        for name in each.wanted:
            others = [other for other in there[name] if other != host]
            running = [other for other in others if seen[other].domains[name].running]
            if name not in each.domains and others:
                found.append(
                    f"{name} is on {others[0]}, and the inventory says {host}: cloud.move machine={name} takes it there"
                )
            elif running:
                found.append(f"{name} runs on {running[0]} and belongs to {host}: hypervisor.stop machine={name} there first")
            elif others and not each.domains[name].running:
                found.append(
                    f"{name} is on {host} and on {', '.join(others)}, and runs on none: cloud.move machine={name} goes on with "
                    "a move that was cut; else start the newer one (hypervisor.start)"
                )
            elif name not in each.domains and seen.missing:
                found.append(f"{name} is not on {host}, and {', '.join(seen.missing)} could not be asked whether it is there")
    return found


def leaving(seen: Seen[Placed], *, machine: str, within: float) -> Chain:
    """See whether it can go, and shut it down where it is, unless it has arrived already. Pure."""
    wanted, old = whereabouts(seen, machine)
    if not old or (machine in seen[wanted].domains and seen[wanted].domains[machine].running):
        if machine not in seen[wanted].domains and not old:
            raise Refused(f"{machine} is on no hypervisor: cloud.infrastructure makes it")
        return Chain("there", reasons=[f"{machine} is on {wanted} already"])
    if machine in seen[wanted].domains and seen[old].domains[machine].running:
        raise Refused(
            f"{machine} runs on {old}, and {wanted} has one of that name that is shut off, and is older: delete that first "
            f"(hypervisor.delete machine={machine} on {wanted})"
        )
    go = partial(going, machine=machine, wanted=wanted, within=within)
    reasons = [f"{machine} goes from {old} to {wanted}"]
    return Chain("leave", Plan("pack", do(pack, machine=machine), go, hosts(old)), reasons=reasons)


def going(seen: Seen[Packed], *, machine: str, wanted: str, within: float) -> Chain:
    """Ask the hypervisor that it goes to, and only then shut it down. Pure."""
    if seen.missing:
        raise Refused("; ".join(f"{host}: {why}" for host, why in seen.missing.items()))
    ((old, packed),) = seen.items()
    return Chain(
        "go",
        Stage("admit", [do(admit, machine=machine, packed=packed)], hosts(wanted)),
        Stage("stop", [do(shut, machine=machine, within=within)], hosts(old)),
    )


def alive(seen: Seen[Placed], *, machine: str, within: float) -> Chain:
    """Take it over as it runs. Pure."""
    return living(seen, whereabouts(seen, machine), machine=machine, within=within)


def shut(task: Task, *, machine: str, within: float) -> Result[None]:
    """Shut a machine down, and have it never start by itself."""
    node = Node(task)
    now = the_machine(node, machine)
    node.then(stop, machine=machine, within=within)  # where it does not, it stays as it was
    if now.autostart:
        what = f"{machine} starts by hand"
        Libvirt(node).change(what, on(machine, lambda domain: domain.setAutostart(0) and None), repeatable=True)
    return node.done()


def luggage(task: Task, *, machine: str) -> Result[Luggage | None]:
    """Observe a machine that is shut off, with the sums of all its files; None where this hypervisor has none to give.

    Where it is to be and runs, there is nothing to bring: HERE. A dry run looks at one that runs as if it had been shut
    down, without the sums of its disks.
    """
    node = Node(task)
    there = Libvirt(node).read("the machines", domains)
    wanted = machine in machines_of(node.name, task.nornir.inventory)
    runs = machine in there and there[machine].running
    if machine not in there or wanted or (runs and not node.dry_run):
        return node.done(HERE if wanted and runs else None)
    xml = there[machine].config
    disks = sources_of(xml)
    chains = Libvirt(node).read("what its disks stand on", lambda link: backings_of(link, disks))
    shared = [*dict.fromkeys([*(each.path for each in chains.values()), *boot_files_of(xml)])]
    still = shared if runs else [*disks, *shared]
    lines = node.read(sh(_SUMS, *still, label=f"the sums of the files of {machine}"), timeout=_SUM_SECONDS).lines
    sums = {path: digest for digest, _, path in (line.partition("  ") for line in lines)}
    stamps = dict(zip(disks, node.read("stat", "-c", STAMP, *disks).lines, strict=True))
    mine, others = {each: sums.get(each, "") for each in disks}, {each: sums[each] for each in shared}
    return node.done(Luggage(xml, mine, others, stamps, chains))


def arriving(seen: Seen[Luggage | None], *, machine: str, within: float) -> Chain:
    """Copy it and start it there. Pure."""
    if seen.missing:
        raise Refused("; ".join(f"{host} could not be looked at: {why}" for host, why in seen.missing.items()))
    sources = [host for host, each in seen.items() if each is not None]
    if not sources or HERE in seen.values.values():
        return Chain("nothing")
    bags = seen[sources[0]]
    answer = Check(answers, silent, hosts(machine), within=within)
    wanted = hosts(*[host for host in seen if host not in sources])
    return Chain(
        "arrive",
        Stage("copy", [do(arrive, machine=machine, source=sources[0], bags=bags)], wanted),
        Stage("start", [do(start_there, machine=machine, source=sources[0])], wanted, until=answer),
    )


def forgetting(seen: Seen[Placed], *, machine: str, within: float, confirm: str) -> Chain:
    """Delete the old one if that is confirmed and the new one answers by ssh; else say how. Pure."""
    wanted, old = whereabouts(seen, machine)
    if not old:
        return Chain("nothing", reasons=[f"{machine} is on {wanted} alone"])
    if not confirm:
        disks = ", ".join(sources_of(seen[old].domains[machine].config)) or "no disk"
        kept = f"the old {machine} is kept on {old}, shut off: confirm={machine!r} deletes it, with its disks ({disks})"
        return Chain("kept", reasons=[kept])
    if not (machine in seen[wanted].domains and seen[wanted].domains[machine].running):
        raise Refused(f"{machine} does not run on {wanted}: the old one is not deleted")
    if confirm != machine:
        raise Refused(f"confirm={confirm!r} names something else than {machine}: nothing was deleted")
    answer = Check(answers, silent, hosts(machine), within=within)
    return Chain("forget", Stage("delete", [do(delete_old, machine=machine)], hosts(old), before=answer))


def delete_old(task: Task, *, machine: str) -> Result[tuple[str, ...]]:
    """Delete the machine that was left behind. Raises Refused where it runs, or somebody has its disks open."""
    node = Node(task)
    now = the_machine(node, machine)
    if now.running:
        raise Refused(f"{machine} runs on {node.name} again: stop it first")
    virt = Libvirt(node)
    # a live migration whose last step was cut leaves the definition, and the disks are those of the machine that runs
    look = sh(LOCKS, *sources_of(now.config), label=f"whether anybody has the disks of {machine} open")
    if used := [line.split(" ", 3)[3] for line in node.read(look).lines if line.startswith("held ")]:
        raise Refused(
            f"{', '.join(used)} is open in a machine that runs: the old {machine} has the very same disks. Forget it by virsh "
            "undefine, which leaves them"
        )
    there = virt.read("the machines", domains)
    disks = virt.read(f"the disks of {machine}", lambda link: own_disks(link, now, there))
    destroy(virt, now, disks)
    return node.done(tuple(disks))
