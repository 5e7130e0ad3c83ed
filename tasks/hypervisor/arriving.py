"""A machine's files brought to another hypervisor by libvirt's streams, checked by their sums, and its definition there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.connections.libvirt import hypervisor
from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor import hostkeys
from nornir_stack.tasks.hypervisor.domain_xml import host_key_of, mark_of, moved_xml
from nornir_stack.tasks.hypervisor.domains import domains
from nornir_stack.tasks.hypervisor.movable import ASIDE, destination, pool_for, refuse_room
from nornir_stack.tasks.hypervisor.networks import machines_of
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings
from nornir_stack.tasks.hypervisor.volumes import pools_seen_again, transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from libvirt import virConnect
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.hypervisor.moving import Luggage

_SUM = 'if [ -e "$1" ]; then sha256sum <"$1" | cut -d" " -f1; else echo absent; fi'
_REBASE = 'qemu-img rebase -u -f "$2" -F "$4" -b "$3" "$1"'
# never over another file; a run that was cut between the files finds the rest
_PLACE = r"""
for path; do
    if [ -e "$path" ]; then
        [ ! -e "$path$ASIDE" ] || { echo "$path has come beside $path$ASIDE, which was to be it" >&2; exit 1; }
    else
        sync
        case $path in
            /dev/*) lvrename -q "$path$ASIDE" "$path" >/dev/null && [ -e "$path" ] ;;
            *) mv -n -T -- "$path$ASIDE" "$path" ;;
        esac && [ ! -e "$path$ASIDE" ] || exit 1
    fi
done
"""
_UNPLACED = 'for path; do [ -e "$path" ] && [ ! -e "$path$ASIDE" ] || echo "$path"; done'
_COPY_SECONDS = 3600.0
STAMP = "%i %.9Y"  # stat(1): a file's inode, and when it was written, to the nanosecond


@dataclass(frozen=True)
class Copy:
    """A file to be copied: its path and sum where it is, its path here, and the pool of that."""

    path: str
    digest: str
    here: str
    pool: str


def arrive(task: Task, *, machine: str, source: str, bags: Luggage) -> Result[None]:
    """Bring a machine that is shut off on `source` here: files, then its definition, with the cards' addresses it had.

    Copies have a name of their own until their sums are those of what was sent; a definition of the machine that a run which
    was cut has left is gone on with. Does nothing on a hypervisor that it is not to be on. Raises Refused without room,
    without its networks, where a copy is not what was sent, and where an older machine of this name is here.
    """
    node = Node(task)
    wanted = machines_of(node.name, task.nornir.inventory)
    if machine not in wanted:
        return node.done()
    virt = Libvirt(node)
    there = virt.read("the machines", domains)
    settings, mark = settings_of(node.host, HypervisorSettings), mark_for(bags)
    disks = {path: destination(settings, wanted[machine], machine, path) for path in bags.disks}
    if machine in there:
        if mark_of(there[machine].config) != mark:
            raise Refused(
                f"{node.name} has a {machine} that is not made of what {source} has: which of both is the newer is not known "
                "here. Delete the older one (hypervisor.delete)"
            )
        _place(node, virt, machine, disks)
        return node.done()
    refuse_room(node, virt, machine, bags.config)
    where = {path: _image(node, source, path, digest) for path, digest in bags.shared.items()}
    for path, digest in bags.disks.items():
        _refuse_shared(node, disks[path], bags.stamps[path])
        _aside(node, source, Copy(path, digest, disks[path], pool_for(settings, wanted[machine], machine, path)))
    where |= disks
    _rebase(node, bags, where)
    origin = hypervisor(task.nornir.inventory.hosts[source], task.nornir.config)
    # the whole of it, a console's password too: that is in no report
    virt.change(
        f"define {machine}",
        lambda link: link.defineXML(moved_xml(origin.act(_whole(machine)), where, mark)) and None,
        diff=f"+machine {machine}, from {source}\n",
    )
    _place(node, virt, machine, disks)
    return node.done()


def _whole(machine: str) -> Callable[[virConnect], str]:
    import libvirt  # noqa: PLC0415  an extra

    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    return lambda link: str(link.lookupByName(machine).XMLDesc(flags))


def mark_for(bags: Luggage) -> str:
    """What a machine that was brought is marked with: a sum over the sums of its disks, as they were sent. Pure."""
    return hashlib.sha256("\n".join(sorted(bags.disks.values())).encode()).hexdigest()


def noted(node: Node, virt: Libvirt, machine: str, key: str) -> None:
    """A machine that has come starts with libvirt as the inventory says, and its host key is known."""
    inventory = node.task.nornir.inventory
    autostart = int(machines_of(node.name, inventory)[machine].autostart)
    virt.change(
        f"{machine} starts with libvirt or not", lambda link: link.lookupByName(machine).setAutostart(autostart) and None
    )
    if key:
        hostkeys.note(node, inventory.hosts[machine], key)


def start_there(task: Task, *, machine: str, source: str) -> Result[None]:
    """Start a machine on the hypervisor that it has come to; nothing on others. Raises Refused where the old one runs."""
    node = Node(task)
    if machine not in machines_of(node.name, task.nornir.inventory):
        return node.done()
    virt = Libvirt(node)
    now = virt.read("the machines", domains).get(machine)
    if now is None and not node.dry_run:
        raise Refused(f"{machine} is not on {node.name}: run this again")
    origin = hypervisor(task.nornir.inventory.hosts[source], task.nornir.config)
    old = node.gate.look(f"{machine} on {source}", lambda: origin.look(domains)).get(machine)
    if old and old.running:
        raise Refused(f"{machine} runs on {source} again: two with one address; it was not started on {node.name}")
    noted(node, virt, machine, host_key_of(now.config) if now else "")
    if not (now and now.running):
        virt.change(f"start {machine}", lambda link: link.lookupByName(machine).create() and None, repeatable=True)
    return node.done()


def _image(node: Node, source: str, path: str, digest: str) -> str:
    """Where an image or a kernel is here, copied if there is none of the same sum; beside one of the name that is another."""
    settings = settings_of(node.host, HypervisorSettings)
    folder = str(settings.pools[settings.image_pool].path).rstrip("/")
    title = path.rpartition("/")[2]
    for here in (f"{folder}/{title}", f"{folder}/{digest[:12]}-{title}"):
        now = _sum(node, here)
        if now == digest:
            return here
        if now == "absent":
            _aside(node, source, Copy(path, digest, here, settings.image_pool))
            place = sh(f"ASIDE={ASIDE}; {_PLACE}", here, label=f"have {here}, which is whole")
            node.change(place, repeatable=True)
            return here
    raise Refused(f"{node.name} has another {folder}/{digest[:12]}-{title} already: move it away, or delete it")


def _aside(node: Node, source: str, copy: Copy) -> None:
    """Have a copy of a file beside the place where it will be; one that a run which was cut has left whole is taken."""
    path, digest, here, pool = copy.path, copy.digest, copy.here, copy.pool
    if _sum(node, here) != "absent":
        raise Refused(f"{node.name} has another {here} already: move it away, or delete it")
    aside = f"{here}{ASIDE}"
    if _sum(node, aside) == digest:
        return
    origin = hypervisor(node.task.nornir.inventory.hosts[source], node.task.nornir.config)
    virt = Libvirt(node)
    title = aside.rpartition("/")[2]
    virt.change(
        f"copy {path} from {source} to {here}",
        lambda link: origin.act(lambda other: transfer(other, path, link, pool, title)),
        diff=f"+{here}\n",
    )
    if not node.dry_run and (got := _sum(node, aside)) != digest:
        virt.change(f"delete {aside}", lambda link: link.storageVolLookupByPath(aside).delete() and None)
        raise Refused(f"{here} is not what {source} sent ({got[:12]} for {digest[:12]}): it was deleted; run it again")


def _place(node: Node, virt: Libvirt, machine: str, disks: Mapping[str, str]) -> None:
    """Give copies that are whole their names, where they do not have them yet."""
    look = sh(f"ASIDE={ASIDE}; {_UNPLACED}", *disks.values(), label=f"the disks of {machine}")
    if missing := [*disks.values()] if node.gate.pending else node.read(look).lines:
        place = sh(f"ASIDE={ASIDE}; {_PLACE}", *missing, label=f"have the disks of {machine}, which are whole")
        node.change(place, repeatable=True)
        pools_seen_again(node, virt)


def _refuse_shared(node: Node, path: str, stamp: str) -> None:
    """Raise Refused where the file here is not a copy but the very same: the old machine's end would be the new one's."""
    if node.read("stat", "-c", STAMP, path, ok=None, independent=True).text == stamp:
        raise Refused(
            f"{path} is the same file on both hypervisors, on storage that they share: there is nothing to copy, and this "
            "moves only what it can copy; nothing was changed"
        )


def _sum(node: Node, path: str) -> str:
    return node.read(sh(_SUM, path, label=f"the sum of {path}"), timeout=_COPY_SECONDS, independent=True).text


def _rebase(node: Node, bags: Luggage, where: Mapping[str, str]) -> None:
    """Disks that stand on an image which has another path here are told so; nothing of their contents changes."""
    for over, backing in bags.backings.items():
        here = where[backing.path]
        if here == backing.path:
            continue
        if over not in bags.disks:
            raise Refused(f"{over} stands on {backing.path}, which would be {here} here: give the pools the same paths")
        if not backing.under:
            raise Refused(f"{over} does not say of what format {backing.path} is (qemu-img rebase -u -F does)")
        words = (f"{where[over]}{ASIDE}", backing.over, here, backing.under)
        node.change(sh(_REBASE, *words, label=f"tell {where[over]} that it stands on {here}"), repeatable=True)
