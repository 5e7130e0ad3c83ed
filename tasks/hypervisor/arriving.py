"""A machine's files brought to another hypervisor by libvirt's streams, checked by their sums, and its definition there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.connections.libvirt import hypervisor
from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import nearest
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor import capacity, hostkeys
from nornir_stack.tasks.hypervisor.domain_xml import host_key_of, macs_of, moved_xml
from nornir_stack.tasks.hypervisor.domains import domains
from nornir_stack.tasks.hypervisor.machines import seed_pool, sizes_of
from nornir_stack.tasks.hypervisor.networks import machines_of
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings
from nornir_stack.tasks.hypervisor.volumes import transfer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from libvirt import virConnect
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.hypervisor.moving import Luggage

_SUM = 'if [ -e "$1" ]; then sha256sum <"$1" | cut -d" " -f1; else echo absent; fi'
_REBASE = 'qemu-img rebase -u -f qcow2 -F qcow2 -b "$2" "$1"'
_COPY_SECONDS = 3600.0
STAMP = "%i %.9Y"  # stat(1): a file's inode, and when it was written, to the nanosecond


def arrive(task: Task, *, machine: str, source: str, bags: Luggage) -> Result[None]:
    """Bring a machine that is shut off on `source` here: files, then its definition, with the cards' addresses it had.

    A file that is here under the same path with the same sum is used as it is. Does nothing on a hypervisor that it is not to
    be on. Raises Refused without room, without its networks, and where a copy is not what was sent.
    """
    node = Node(task)
    wanted = machines_of(node.name, task.nornir.inventory)
    if machine not in wanted:
        return node.done()
    virt = Libvirt(node)
    there = virt.read("the machines", domains)
    if machine in there:
        return node.done()
    settings = settings_of(node.host, HypervisorSettings)
    refuse_room(node, virt, machine, bags.config)
    where: dict[str, str] = {}
    for path, digest in bags.shared.items():
        where[path] = _bring(node, source, path, digest, settings.image_pool)
    for path, digest in bags.disks.items():
        seeded = path.rpartition("/")[2] == f"{machine}-seed.raw"
        pool = seed_pool(settings, wanted[machine]) if seeded else wanted[machine].pool
        where[path] = _bring(node, source, path, digest, pool, stamp=bags.stamps[path])
    _rebase(node, virt, bags, where)
    xml = moved_xml(bags.config, where)
    virt.change(f"define {machine}", lambda link: link.defineXML(xml) and None, diff=f"+machine {machine}, from {source}\n")
    noted(node, virt, machine, host_key_of(xml))
    return node.done()


def refuse_room(node: Node, virt: Libvirt, machine: str, config: str) -> None:
    """Raise Refused where a hypervisor lacks the networks of a machine that is to come, or the room."""
    inventory, settings = node.task.nornir.inventory, settings_of(node.host, HypervisorSettings)
    for network in set(macs_of(config).values()) - set(settings.networks):
        raise Refused(f"{machine} has a card on {network}, and {node.name} has none{nearest(network, settings.networks)}")
    sizes = sizes_of(inventory.hosts[machine], machines_of(node.name, inventory)[machine])
    cpus, memory = virt.read("what the hypervisor has", lambda link: (link.getInfo()[2], link.getInfo()[1] << 20))
    there = virt.read("the machines", domains)
    promises = [capacity.Promise(name, each.cpus, each.memory) for name, each in there.items() if each.running]
    promises.append(capacity.Promise(machine, sizes.cpus, sizes.memory))
    capacity.refuse(node.name, cpus, memory, settings.reserved, promises)


def noted(node: Node, virt: Libvirt, machine: str, key: str) -> None:
    """A machine that has come starts with libvirt as the inventory says, and its host key is known."""
    inventory = node.task.nornir.inventory
    autostart = int(machines_of(node.name, inventory)[machine].autostart)
    virt.change(
        f"{machine} starts with libvirt or not", lambda link: link.lookupByName(machine).setAutostart(autostart) and None
    )
    if key:
        hostkeys.note(node, inventory.hosts[machine], key)


def start_there(task: Task, *, machine: str) -> Result[None]:
    """Start a machine on the hypervisor that it has come to; nothing on others."""
    node = Node(task)
    if machine in machines_of(node.name, task.nornir.inventory):
        virt = Libvirt(node)
        if not virt.read("the machines", domains)[machine].running:
            virt.change(f"start {machine}", lambda link: link.lookupByName(machine).create() and None, repeatable=True)
    return node.done()


def _bring(node: Node, source: str, path: str, digest: str, pool: str, *, stamp: str = "") -> str:
    """Where the file is here, copied if there is no equal one. A disk, which has a `stamp`, never goes over another."""
    folder = settings_of(node.host, HypervisorSettings).pools[pool].path
    if folder is None:
        raise Refused(f"pool {pool} of {node.name} is of logical volumes, into which files of disks are not taken yet")
    title = path.rpartition("/")[2]
    same = f"{folder.rstrip('/')}/{title}"
    if stamp:
        _refuse_shared(node, same, stamp)
    now = _sum(node, same)
    if now == digest:
        return same
    if now != "absent":
        if stamp:
            raise Refused(f"{node.name} has another {same} already: move it away, or delete it")
        title = f"{digest[:12]}-{title}"
        same = f"{folder.rstrip('/')}/{title}"
        if _sum(node, same) == digest:
            return same
    origin = hypervisor(node.task.nornir.inventory.hosts[source], node.task.nornir.config)
    virt = Libvirt(node)
    virt.change(
        f"copy {path} from {source} to {same}",
        lambda link: origin.act(lambda other: transfer(other, path, link, pool, title)),
        diff=f"+{same}\n",
    )
    if not node.dry_run and (got := _sum(node, same)) != digest:
        virt.change(f"delete {same}", lambda link: link.storageVolLookupByPath(same).delete() and None)
        raise Refused(f"{same} is not what {source} sent ({got[:12]} for {digest[:12]}): it was deleted; run it again")
    return same


def _refuse_shared(node: Node, path: str, stamp: str) -> None:
    """Raise Refused where the file here is not a copy but the very same: the old machine's end would be the new one's."""
    if node.read("stat", "-c", STAMP, path, ok=None, independent=True).text == stamp:
        raise Refused(
            f"{path} is the same file on both hypervisors, on storage that they share: there is nothing to copy, and this "
            "moves only what it can copy; nothing was changed"
        )


def _sum(node: Node, path: str) -> str:
    return node.read(sh(_SUM, path, label=f"the sum of {path}"), timeout=_COPY_SECONDS, independent=True).text


def _rebase(node: Node, virt: Libvirt, bags: Luggage, where: Mapping[str, str]) -> None:
    """Disks that stand on an image which has another path here are told so; nothing of their contents changes."""
    for path, new in where.items():
        if path in bags.disks and path.endswith(".qcow2"):
            for image, here in where.items():
                if image in bags.shared and image != here and image.endswith(".qcow2"):
                    node.change(sh(_REBASE, new, here, label=f"tell {new} that it stands on {here}"), repeatable=True)
    pools_seen_again(node, virt)


def pools_seen_again(node: Node, virt: Libvirt) -> None:
    """libvirt finds files that came by other ways only when it is told to look."""
    if not node.dry_run:
        virt.change("look at the pools again", _refresh, repeatable=True)


def _refresh(link: virConnect) -> None:
    for pool in link.listAllStoragePools():
        if pool.isActive():
            pool.refresh()
