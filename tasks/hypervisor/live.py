"""A running machine taken to another hypervisor as it runs, where both see its disks as the very same files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.command import sh
from nornir_stack.connections.libvirt import hypervisor
from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.tasks.hypervisor.answering import answers, silent
from nornir_stack.tasks.hypervisor.arriving import STAMP, noted
from nornir_stack.tasks.hypervisor.domain_xml import backings_of, boot_files_of, disks_to_write, host_key_of, sources_of
from nornir_stack.tasks.hypervisor.domains import domains, the_machine
from nornir_stack.tasks.hypervisor.movable import refuse_room
from nornir_stack.tasks.hypervisor.volumes import pools_seen_again

if TYPE_CHECKING:
    from collections.abc import Mapping

    from libvirt import virConnect
    from nornir.core.inventory import Host
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.hypervisor.moving import Placed

# A line a file: how it is here, and for a disk whether a machine that runs has it open. QEMU holds locks on the disks that it
# writes (its manual, "Disk image file locking"), over NFS too; qemu-img is refused the file then, and changes nothing.
LOCKS = r"""
export LC_ALL=C
command -v qemu-img >/dev/null || { echo 'there is no qemu-img, which tells who has a file open' >&2; exit 127; }
for path; do
    lock=free
    case $(qemu-img info -- "$path" 2>&1 >/dev/null) in *'"write" lock'*) lock=held ;; esac
    stamp=$(stat -L -c '%i %.9Y' -- "$path" 2>/dev/null) || stamp='absent absent'
    echo "$lock $stamp $path"
done
"""


@dataclass(frozen=True)
class Files:
    """What a running machine stands on: its description, the files that it writes and those that nobody does, with stamps."""

    config: str
    written: Mapping[str, str]
    still: Mapping[str, str]


def living(seen: Seen[Placed], whereabouts: tuple[str, str], *, machine: str, within: float) -> Chain:
    """The chain that takes a machine from where it runs to where it is to be. Pure; raises Refused where it does not run."""
    wanted, old = whereabouts
    if machine in seen[wanted].domains:
        if old and seen[old].domains[machine].running:
            raise Refused(f"{machine} runs on {old}, and {wanted} has an older one that is shut off: delete that first there")
        return Chain("there", reasons=[f"{machine} is on {wanted} already"])
    if not old:
        raise Refused(f"{machine} is on no hypervisor: cloud.infrastructure makes it")
    if not seen[old].domains[machine].running:
        raise Refused(f"{machine} does not run on {old}: it is moved without live=")
    over = partial(crossing, machine=machine, wanted=wanted, within=within)
    return Chain("live", Plan("files", do(files, machine=machine), over, hosts(old)), reasons=[f"{machine}: {old} to {wanted}"])


def files(task: Task, *, machine: str) -> Result[Files]:
    """Observe the files of a running machine: its disks, their images, the kernel that it boots."""
    node = Node(task)
    xml = the_machine(node, machine).config
    written = disks_to_write(xml)
    virt = Libvirt(node)
    chain = virt.read("what its disks stand on", lambda link: backings_of(link, sources_of(xml)))
    backings = [each.path for each in chain.values()]
    still = [*dict.fromkeys([*(path for path in sources_of(xml) if path not in written), *backings, *boot_files_of(xml)])]
    stamps = dict(zip([*written, *still], node.read("stat", "-L", "-c", STAMP, "--", *written, *still).lines, strict=True))
    return node.done(Files(xml, {path: stamps[path] for path in written}, {path: stamps[path] for path in still}))


def crossing(seen: Seen[Files], *, machine: str, wanted: str, within: float) -> Chain:
    """Take it over, and ask it by ssh. Pure."""
    if seen.missing:
        raise Refused("; ".join(f"{host} could not be looked at: {why}" for host, why in seen.missing.items()))
    ((source, bags),) = seen.items()
    act = do(take, machine=machine, source=source, bags=bags)
    return Chain("cross", Stage("take", [act], hosts(wanted), until=Check(answers, silent, hosts(machine), within=within)))


def take(task: Task, *, machine: str, source: str, bags: Files) -> Result[None]:
    """Have a machine that runs on `source` run here, without a stop: libvirt's live migration, its memory by TCP.

    Raises Refused without room or its networks, and where its files are not the same ones here. Where the migration fails, it
    runs on where it was.
    """
    node = Node(task)
    virt = Libvirt(node)
    there = virt.read("the machines", domains)
    if machine in there:
        return node.done()
    refuse_room(node, virt, machine, bags.config)
    lines = node.read(sh(LOCKS, *bags.written, *bags.still, label=f"look for the files of {machine}")).lines
    if wrong := differing(bags, lines):
        raise Refused(
            f"{machine} cannot come to {node.name} while it runs: " + "; ".join(wrong) + ". Without live= its disks are copied"
        )
    origin = hypervisor(task.nornir.inventory.hosts[source], task.nornir.config)
    to = arrival(task.host)
    virt.change(
        f"migrate {machine} from {source}",
        lambda link: origin.act(lambda other: _migrate(other, link, machine, to)),
        diff=f"+machine {machine}, as it runs, from {source}\n",
    )
    pools_seen_again(node, virt)
    noted(node, virt, machine, host_key_of(bags.config))
    return node.done()


def differing(bags: Files, lines: list[str]) -> list[str]:
    """Sentences about files that are not the very same here. Pure.

    A disk that is written has no stamp that stays: its inode is compared, and a running machine must hold it.
    """
    found = []
    for line in lines:
        lock, inode, changed, path = line.split(" ", 3)
        was = bags.written.get(path) or bags.still[path]
        if inode == "absent":
            found.append(f"{path} is not there")
        elif inode != was.partition(" ")[0] or (path in bags.still and f"{inode} {changed}" != was):
            found.append(f"{path} is another file there")
        elif path in bags.written and lock != "held":
            found.append(f"{path} is not held by the running machine, as seen from there")
    return found


def arrival(host: Host) -> str:
    """Where the machine's memory is sent: the address of the inventory; '' has libvirt take the hypervisor's own name. Pure."""
    name = host.hostname or ""
    try:
        return f"tcp:[{name}]" if ip_address(name).version == 6 else f"tcp:{name}"  # noqa: PLR2004  IPv6
    except ValueError:
        return f"tcp:{name}" if name else ""


def _migrate(origin: virConnect, here: virConnect, machine: str, to: str) -> None:
    """The definition goes along: two of them would be two machines on one disk. That the files are the same was seen."""
    import libvirt  # noqa: PLC0415  an extra

    flags = (
        libvirt.VIR_MIGRATE_LIVE
        | libvirt.VIR_MIGRATE_PERSIST_DEST
        | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        | libvirt.VIR_MIGRATE_AUTO_CONVERGE
        | libvirt.VIR_MIGRATE_UNSAFE  # libvirt knows shared storage by the type of its file system only
    )
    parameters = {libvirt.VIR_MIGRATE_PARAM_URI: to} if to else {}
    origin.lookupByName(machine).migrate3(here, parameters, flags)
