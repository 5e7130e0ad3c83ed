"""`cloud.teardown`: the machines, networks and pools of the inventory taken out of libvirt again, behind a confirmation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.select import hosts, role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.domain_xml import host_key_of, macs_of
from nornir_stack.tasks.hypervisor.domains import destroy, domains, own_disks
from nornir_stack.tasks.hypervisor.names import refuse_nova
from nornir_stack.tasks.hypervisor.networks import guests_on, machines_of, plugged_in, refuse_way
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from libvirt import virConnect
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.hypervisor.domain_xml import Domain

HYPERVISOR = role("hypervisor")


@dataclass(frozen=True)
class Belongings:
    """What a hypervisor has of the inventory: machines with their disks' paths, networks with who is on them, pools."""

    machines: Mapping[str, tuple[str, ...]]
    networks: Mapping[str, tuple[str, ...]]
    pools: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.machines or self.networks or self.pools)


def teardown(*, confirm: str = "") -> Chain:
    """Delete the machines of the inventory with their disks, and its networks and pools, from all hypervisors.

    Images stay as files. What the inventory does not name stays as it is, and so do machines of Nova.

    confirm: what the refusal printed: the names of all machines that are there.
    """
    return Chain("cloud.teardown", Plan("belongings", belongings, partial(demolition, confirm=confirm), HYPERVISOR))


def belongings(task: Task) -> Result[Belongings]:
    """Observe what a hypervisor has of the inventory. Raises Refused for a machine of a declared name that we did not make."""
    node = Node(task)
    declared = settings_of(task.host, HypervisorSettings)
    wanted = machines_of(node.name, task.nornir.inventory)

    def look(link: virConnect) -> Belongings:
        there = domains(link)
        ours = {name: there[name] for name in wanted if name in there}
        for name, domain in ours.items():
            refuse_nova(name, domain.config)
            if not host_key_of(domain.config):
                raise Refused(f"{node.name}: {name} was not made by this, whatever it is: rename it, or take it away by virsh")
        networks = {each.name(): each for each in link.listAllNetworks() if each.name() in declared.networks}
        pools = {each.name() for each in link.listAllStoragePools()}
        return Belongings(
            {name: tuple(own_disks(link, domain, there)) for name, domain in ours.items()},
            {
                name: tuple(dict.fromkeys([*(guest for guest, _ in guests_on(link, networks[name])), *_off(there, name)]))
                for name in declared.networks
                if name in networks
            },
            tuple(name for name in declared.pools if name in pools),
        )

    return node.done(Libvirt(node).read("what is of the inventory", look))


def demolition(seen: Seen[Belongings], *, confirm: str) -> Chain:
    """The stages that take all of it away. Pure; raises Refused without a right confirmation, and where others would suffer."""
    if seen.missing:
        said = "; ".join(f"{name}: {why}" for name, why in seen.missing.items())
        raise Refused(f"not every hypervisor could be looked at ({said}), so it is not known what would be left")
    there = {host: each for host, each in seen.items() if each}
    if not there:
        return Chain("nothing", reasons=["nothing of the inventory is there"])
    for host, each in there.items():
        for network, guests in each.networks.items():
            if others := [name for name in guests if name not in each.machines]:
                raise Refused(f"{host}: {', '.join(others)}, not of the inventory, has a card on {network}: move it first")
    names = [name for each in there.values() for name in each.machines]
    token = "+".join(names) or "networks"
    lines = [line for host, each in there.items() for line in _told(host, each)]
    if confirm != token:
        raise Refused("\n".join(["all of this would be deleted:", *lines, f"If it may be: confirm={token!r}"]))
    stages = [Stage(host, [do(demolish, mandate=each)], hosts(host)) for host, each in there.items()]
    return Chain("demolition", *stages, reasons=lines)


def _told(host: str, each: Belongings) -> list[str]:
    lines = [f"{host}: machine {name} with {', '.join(disks) or 'no disk'}" for name, disks in each.machines.items()]
    lines += [f"{host}: network {name}" for name in each.networks]
    stays = "what else is in it stays, and with that a pool of logical volumes"
    return lines + [f"{host}: pool {name} ({stays})" for name in each.pools]


def demolish(task: Task, *, mandate: Belongings) -> Result[None]:
    """Take away what was seen. Raises Refused where it is something else by now, or a network is the way in here."""
    node = Node(task)
    now = belongings(task).value
    if now != mandate:
        raise Refused(f"{node.name} has other machines, disks, networks or pools than were shown: run it again")
    virt = Libvirt(node)
    there = virt.read("the machines", domains, independent=True)
    plugged = plugged_in(node)
    running = virt.read("the networks", _running, independent=True)
    for name in mandate.networks:
        refuse_way(node.name, name, running.get(name, ""), plugged)
    for name, disks in mandate.machines.items():
        destroy(virt, there[name], list(disks))
    for name in mandate.networks:
        virt.change(f"delete network {name}", _no_network(name), diff=f"-network {name}\n")
    for name in mandate.pools:
        virt.change(f"forget pool {name}", _no_pool(name), diff=f"-pool {name}\n")
    return node.done()


def _off(there: Mapping[str, Domain], network: str) -> list[str]:
    """Machines that start with a card on a network: without it, they do not."""
    return [name for name, each in there.items() if network in macs_of(each.config).values()]


def _running(link: virConnect) -> dict[str, str]:
    return {each.name(): each.XMLDesc() for each in link.listAllNetworks() if each.isActive()}


def _no_network(name: str) -> Callable[[virConnect], None]:
    def do_(link: virConnect) -> None:
        network = link.networkLookupByName(name)
        if network.isActive():
            network.destroy()
        network.undefine()

    return do_


def _no_pool(name: str) -> Callable[[virConnect], None]:
    def do_(link: virConnect) -> None:
        pool = link.storagePoolLookupByName(name)
        empty = False
        if pool.isActive():
            pool.refresh()  # files that came by other ways
            if "<pool type='logical'>" in pool.XMLDesc() and pool.listAllVolumes():
                return  # its end would deactivate them (vgchange -an), whosever they are
            empty = not pool.listAllVolumes() and "<pool type='dir'>" in pool.XMLDesc()
            pool.destroy()
        if empty:
            pool.delete()  # of a folder pool: the folder, which must be empty
        pool.undefine()

    return do_
