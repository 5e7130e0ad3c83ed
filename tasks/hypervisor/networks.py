"""Networks of libvirt: isolated, NAT, routed, bridged; redefined only when they mean something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.inventory.networks import networks_of
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.names import mac_of
from nornir_stack.tasks.hypervisor.network_xml import Reservation, Steps, decide, network_xml, with_identity
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings, Machine
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from libvirt import virConnect, virNetwork
    from nornir.core.inventory import Host, Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result

# a device that a stopped network leaves behind without a bridge is put on the new one
_REPLUG = 'bridge=$1; shift; for tap; do ip link set dev "$tap" master "$bridge" up || exit; done'


@dataclass(frozen=True)
class Found:
    """A network as libvirt has it: `config` as it will start, `live` as it runs ('' if it does not)."""

    config: str = ""
    live: str = ""
    autostart: bool = False
    guests: tuple[tuple[str, str], ...] = ()


def networks(task: Task, *, restart: Sequence[str] = ()) -> Result[tuple[str, ...]]:
    """Have the networks of the inventory (`hypervisor: networks`) in libvirt, running, started with it or not; the names.

    One is redefined only when its XML means something else. DHCP's reservations are changed while it runs. What cannot be is
    refused while running machines are on it, unless the network is named in `restart`: their cards are plugged in again.
    Others that libvirt has stay.
    """
    node = Node(task)
    settings = settings_of(task.host, HypervisorSettings)
    for name in settings.networks:
        _network(node, name, network_wanted(task.host, task.nornir.inventory, name), restart=name in restart)
    return node.done(tuple(settings.networks))


def network_wanted(host: Host, inventory: Inventory, name: str) -> tuple[str, bool]:
    """A network's XML, and whether it starts with libvirt. Pure. Raises Refused for one that the inventory lacks."""
    declared = settings_of(host, HypervisorSettings).networks[name]
    plan = networks_of(host.defaults)
    title = declared.network or name
    if declared.address is not None and title not in plan:
        raise Refused(f"network {name}: the inventory declares no network {title!r} with its cidr (defaults.yaml, networks)")
    return network_xml(name, declared, plan.get(title), reservations(host.name, inventory, name)), declared.autostart


def reservations(hypervisor: str, inventory: Inventory, network: str) -> list[Reservation]:
    """The machines of a hypervisor that have an address on a network, in declared order. Pure."""
    found = []
    for name, machine in machines_of(hypervisor, inventory).items():
        address = machine.networks.get(network)
        if address is not None:
            found.append(Reservation(mac_of(name, network), name, str(address)))
    return found


def machines_of(hypervisor: str, inventory: Inventory) -> dict[str, Machine]:
    """The machines that the inventory has on a hypervisor, in declared order. Pure; raises InventoryError."""
    mine = {name: host for name, host in inventory.hosts.items() if host.has_parent_group("machine")}
    read = {name: settings_of(host, Machine) for name, host in mine.items()}
    return {name: machine for name, machine in read.items() if machine.hypervisor == hypervisor}


def _network(node: Node, name: str, wanted: tuple[str, bool], *, restart: bool) -> None:
    virt = Libvirt(node)
    now = virt.read(f"network {name}", lambda link: _found(link, name), independent=True)
    xml, autostart = wanted
    steps = decide(now.config, now.live, xml)
    if steps.restart and now.guests and not restart:
        raise Refused(
            f"{node.name}: network {name} has to be restarted for this, and machines run on it "
            f"({', '.join(guest for guest, _ in now.guests)}): name it in restart={name!r}, which cuts them off for a moment.\n"
            + "\n".join(steps.lines)
        )
    diff = "\n".join([f"--- network {name}", f"+++ network {name}", *steps.lines, ""])
    if steps.updates:
        virt.change(f"network {name}: DHCP's reservations", lambda link: _update(link, name, steps), diff=diff)
    elif steps.define:
        identified = with_identity(xml, now.config)
        virt.change(f"define network {name}", lambda link: link.networkDefineXML(identified) and None, diff=diff)
    if steps.restart and now.live:
        virt.change(f"stop network {name}", lambda link: link.networkLookupByName(name).destroy() and None)
    if steps.restart or not now.live:
        virt.change(f"start network {name}", lambda link: link.networkLookupByName(name).create() and None)
        if now.guests:
            bridge = parsed(xml).find("bridge")
            taps = [tap for _, tap in now.guests if tap]
            to = bridge.get("name", "") if bridge is not None else ""
            # the devices of machines, none of the hypervisor's own
            node.change(sh(_REPLUG, to, *taps, label=f"plug {', '.join(taps)} into {to}"), cannot_cut=True, repeatable=True)
    if now.autostart != autostart:
        what = f"network {name} starts {'with libvirt' if autostart else 'by hand'}"
        virt.change(what, lambda link: link.networkLookupByName(name).setAutostart(int(autostart)) and None, repeatable=True)


def _update(link: virConnect, name: str, steps: Steps) -> None:
    import libvirt  # noqa: PLC0415  an extra

    network = link.networkLookupByName(name)
    where = libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
    if network.isActive():
        where |= libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
    commands = {"add": libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, "delete": libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE}
    for update in steps.updates:
        network.update(commands[update.do], libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, update.ip, update.xml, where)


def _found(link: virConnect, name: str) -> Found:
    import libvirt  # noqa: PLC0415  an extra

    network = next((each for each in link.listAllNetworks() if each.name() == name), None)
    if network is None:
        return Found()
    return Found(
        network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE),
        network.XMLDesc() if network.isActive() else "",
        bool(network.autostart()),
        tuple(guests_on(link, network)) if network.isActive() else (),
    )


def guests_on(link: virConnect, network: virNetwork) -> list[tuple[str, str]]:
    """The running machines with a card on a network, and the card's device here."""
    import libvirt  # noqa: PLC0415  an extra

    found = []
    for domain in link.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        for card in parsed(domain.XMLDesc()).iterfind("devices/interface"):
            source, target = card.find("source"), card.find("target")
            if source is not None and source.get("network") == network.name():
                found.append((domain.name(), target.get("dev", "") if target is not None else ""))
    return found
