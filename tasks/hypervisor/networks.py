"""Networks of libvirt: isolated, NAT, routed, bridged; redefined only when they mean something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import LibvirtFailed, Refused
from nornir_stack.inventory.networks import networks_of
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.names import mac_of
from nornir_stack.tasks.hypervisor.network_xml import (
    Reservation,
    Steps,
    bridge_of,
    decide,
    has_own_bridge,
    network_xml,
    with_identity,
)
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings, Machine
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from libvirt import virConnect, virNetwork
    from nornir.core.inventory import Host, Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result

# devices that a stopped network leaves behind without a bridge are put on the new one
_REPLUG = r"""
bridge=$1; shift
for device; do
    [ ! -e "/sys/class/net/$device" ] || ip link set dev "$device" master "$bridge" up || exit
done
"""
# A line a port: its device and its bridge. Then `way` and the devices by which whoever works here is answered: sudo hides
# from its children where they came from, so the parents are asked.
_LOOK = r"""
for port in /sys/class/net/*/brport/bridge; do
    [ -e "$port" ] || continue
    device=${port#/sys/class/net/}
    echo "${device%%/*} $(basename "$(readlink "$port")")"
done
lower() {
    echo "way $1"
    for below in "/sys/class/net/$1"/lower_*; do [ ! -e "$below" ] || lower "${below##*/lower_}"; done
}
pid=$$ client=
while [ -z "$client" ] && [ "${pid:-0}" -gt 1 ]; do
    client=$(tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | sed -n 's/^SSH_CONNECTION=\([^ ]*\).*/\1/p')
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null)
done
case $client in
    '') ;;
    *%*) lower "${client#*%}" ;;
    *) for device in $(ip -o route get "$client" | sed -n 's/.* dev \([^ ]*\).*/\1/p'); do lower "$device"; done ;;
esac
"""


@dataclass(frozen=True)
class Found:
    """A network as libvirt has it: `config` as it will start, `live` as it runs ('' if it does not).

    `guests`: running machines that are on it, by name and device, whether it runs or not.
    """

    config: str = ""
    live: str = ""
    autostart: bool = False
    guests: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Plugged:
    """The hypervisor's devices: port to bridge, and those by which whoever works here is answered."""

    ports: Mapping[str, str]
    way: frozenset[str]

    def on(self, bridge: str) -> list[str]:
        """The ports of a bridge."""
        return [device for device, at in self.ports.items() if at == bridge]


def networks(task: Task, *, restart: Sequence[str] = ()) -> Result[tuple[str, ...]]:
    """Have the networks of the inventory (`hypervisor: networks`) in libvirt, running, started with it or not; the names.

    One is redefined only when its XML means something else. DHCP's reservations and ranges are changed while it runs. What
    cannot be is refused while anything is on its bridge, unless the network is named in `restart`: all of that is plugged in
    again, and where the network does not start as it is wanted, it is started as it was. It is always refused where the way of
    whoever works here goes over it. Machines whose cards were left without the bridge are put on it. Other networks stay.
    """
    node = Node(task)
    settings = settings_of(task.host, HypervisorSettings)
    wanted = {name: network_wanted(task.host, task.nornir.inventory, name) for name in settings.networks}
    plugged = plugged_in(node)
    for name, each in wanted.items():
        _network(node, name, each, plugged, restart=name in restart)
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


def plugged_in(node: Node) -> Plugged:
    """Observe what is plugged into the hypervisor's bridges."""
    lines = [line.split() for line in node.read(sh(_LOOK, label="look at the bridges")).lines]
    pairs = [(each[0], each[1]) for each in lines if len(each) == 2]  # noqa: PLR2004
    return Plugged(
        {port: bridge for port, bridge in pairs if port != "way"}, frozenset(device for word, device in pairs if word == "way")
    )


def held(now: Found, plugged: Plugged) -> list[str]:
    """Who is on a network that runs: its machines, then devices of its own bridge that are no machine's. Pure."""
    taps = {tap for _, tap in now.guests}
    bridge = bridge_of(now.live) if now.live and has_own_bridge(now.live) else ""
    others = [device for device in plugged.on(bridge) if device not in taps and device != f"{bridge}-nic"] if bridge else []
    return [*dict.fromkeys(guest for guest, _ in now.guests), *(f"the device {device}" for device in others)]


def refuse_way(where: str, name: str, live: str, plugged: Plugged) -> None:
    """Raise Refused where a network that is to be stopped is the way of whoever works here. Pure."""
    if live and has_own_bridge(live) and (bridge := bridge_of(live)) in plugged.way:
        raise Refused(
            f"{where}: network {name} has to be stopped for this, and your own connection comes by its bridge {bridge}: "
            "do it from elsewhere, or by virsh at the hypervisor's console"
        )


def _network(node: Node, name: str, wanted: tuple[str, bool], plugged: Plugged, *, restart: bool) -> None:
    virt = Libvirt(node)
    now = virt.read(f"network {name}", lambda link: _found(link, name), independent=True)
    xml, autostart = wanted
    steps = decide(now.config, now.live, xml)
    if steps.restart:
        refuse_way(node.name, name, now.live, plugged)
        if (on_it := held(now, plugged)) and not restart:
            raise Refused(
                f"{node.name}: network {name} has to be restarted for this, and machines run on it ({', '.join(on_it)}): "
                f"name it in restart={name!r}, which cuts them off for a moment.\n" + "\n".join(steps.lines)
            )
    diff = "\n".join([f"--- network {name}", f"+++ network {name}", *steps.lines, ""])
    if steps.updates or steps.live:
        virt.change(f"network {name}: DHCP's reservations", lambda link: _update(link, name, steps), diff=diff)
    elif steps.define:
        identified = with_identity(xml, now.config or now.live)
        virt.change(f"define network {name}", lambda link: link.networkDefineXML(identified) and None, diff=diff)
    taps = [tap for _, tap in now.guests if tap]
    if steps.restart:
        left = list(dict.fromkeys([*taps, *(plugged.on(bridge_of(now.live)) if has_own_bridge(now.live) else [])]))
        try:
            virt.change(f"restart network {name}", lambda link: _restart(link, name, now.live))
        except LibvirtFailed:  # it runs as it did before
            _plug(node, virt, name, left)
            raise
        _plug(node, virt, name, left)
    elif not now.live:
        virt.change(f"start network {name}", lambda link: link.networkLookupByName(name).create() and None)
        _plug(node, virt, name, taps)
    elif has_own_bridge(now.live):
        _plug(node, virt, name, [tap for tap in taps if plugged.ports.get(tap) != bridge_of(now.live)])
    if now.autostart != autostart:
        what = f"network {name} starts {'with libvirt' if autostart else 'by hand'}"
        virt.change(what, lambda link: link.networkLookupByName(name).setAutostart(int(autostart)) and None, repeatable=True)


def _restart(link: virConnect, name: str, before: str) -> None:
    """Stop and start; where it does not start as it is defined by now, it is defined and started as it ran `before`."""
    import libvirt  # noqa: PLC0415  an extra

    network = link.networkLookupByName(name)
    network.destroy()
    try:
        network.create()
    except libvirt.libvirtError:
        link.networkDefineXML(before).create()
        raise


def _plug(node: Node, virt: Libvirt, name: str, devices: Sequence[str]) -> None:
    """Put these devices, of machines and none of the hypervisor's own, on the bridge of a network that runs."""
    if not devices:
        return
    told = f"plug {', '.join(devices)} into network {name}"
    if node.dry_run:
        node.change("true", what=told, repeatable=True)
        return
    bridge = virt.read(f"the bridge of {name}", lambda link: bridge_of(link.networkLookupByName(name).XMLDesc()))
    node.change(sh(_REPLUG, bridge, *devices, label=told), cannot_cut=True, repeatable=True)


def _update(link: virConnect, name: str, steps: Steps) -> None:
    import libvirt  # noqa: PLC0415  an extra

    network = link.networkLookupByName(name)
    commands = {"add": libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, "delete": libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE}
    sections = {"host": libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, "range": libvirt.VIR_NETWORK_SECTION_IP_DHCP_RANGE}
    for updates, where in (
        (steps.updates, libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG),
        (steps.live, libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE),
    ):
        for each in updates:
            network.update(commands[each.do], sections[each.section], 0, each.xml, where)


def _found(link: virConnect, name: str) -> Found:
    import libvirt  # noqa: PLC0415  an extra

    network = next((each for each in link.listAllNetworks() if each.name() == name), None)
    if network is None:
        return Found()
    return Found(
        network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE) if network.isPersistent() else "",
        network.XMLDesc() if network.isActive() else "",
        bool(network.autostart()) if network.isPersistent() else False,
        tuple(guests_on(link, network)),
    )


def guests_on(link: virConnect, network: virNetwork) -> list[tuple[str, str]]:
    """The running machines with a card on a network, or on the bridge that libvirt made for it, and the card's device here."""
    import libvirt  # noqa: PLC0415  an extra

    live = network.XMLDesc()
    bridge = bridge_of(live) if has_own_bridge(live) else ""
    active = link.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
    return [(each.name(), tap) for each in active for tap in taps_on(each.XMLDesc(), network.name(), bridge)]


def taps_on(domain: str, network: str, bridge: str) -> list[str]:
    """The devices of a machine's cards on a network, by its name or that of its bridge ('': none of its own). Pure."""
    found = []
    for card in parsed(domain).iterfind("devices/interface"):
        source, target = card.find("source"), card.find("target")
        if source is not None and (source.get("network") == network or (bridge and source.get("bridge") == bridge)):
            found.append(target.get("dev", "") if target is not None else "")
    return found
