"""libvirt's network `default`, for installers of OpenStack that want to delete it themselves and fail where it is gone."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_interface
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused, UsageError
from nornir_stack.inventory.networks import Network, Pool, networks_of
from nornir_stack.libvirt import Libvirt
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.network_xml import network_xml
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings, VirtualNetwork
from nornir_stack.tasks.hypervisor.xml import parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from libvirt import virConnect
    from nornir.core.task import Task

    from nornir_stack.results import Result

NAME = "default"
_SMALLEST = 29  # its own address, and some to give


def default_network(task: Task, *, cidr: str = "192.168.122.0/24", bridge: str = "virbr0") -> Result[str]:
    """Have libvirt's network `default` there and running, as its package makes it: NAT, DHCP. The bridge that it has.

    One that is there stays as it is, and is started. It does not start with libvirt. Packstack of Juno and Kilo deletes it,
    and fails where it cannot. Raises Refused where the inventory declares one, or the addresses are somebody else's.
    """
    node = Node(task)
    if NAME in settings_of(task.host, HypervisorSettings).networks:
        raise Refused(f"{node.name}: the inventory declares a network {NAME!r}: hypervisor.networks makes it")
    virt = Libvirt(node)
    there, running = virt.read(f"network {NAME}", _found)
    xml = there or wanted(cidr, bridge)
    if not there:
        refuse_taken(cidr, networks_of(task.host.defaults), node.name)
        virt.change(f"define network {NAME}", lambda link: link.networkDefineXML(xml) and None)
    if not running:
        virt.change(f"start network {NAME}", lambda link: link.networkLookupByName(NAME).create() and None)
    found = parsed(xml).find("bridge")
    return node.done(found.get("name", "") if found is not None else "")


def wanted(cidr: str, bridge: str) -> str:
    """Its XML: the first address is the hypervisor's, the others are handed out. Pure; raises UsageError."""
    try:
        network = IPv4Network(cidr)
    except ValueError as error:
        raise UsageError(f"cidr={cidr}: {error}") from None
    if network.prefixlen > _SMALLEST:
        raise UsageError(f"cidr={cidr}: a /{_SMALLEST} or larger, such as 192.168.122.0/24")
    pool = Pool(first=network.network_address + 2, last=network.broadcast_address - 1)
    declared = VirtualNetwork(mode="nat", bridge=bridge, address=network.network_address + 1, dhcp=True)
    return network_xml(NAME, declared, Network(cidr=network, pools=(pool,)), [])


def refuse_taken(cidr: str, plan: Mapping[str, Network], host: str) -> None:
    """Raise Refused where the plan of addresses has them; addresses of the hypervisor's own are libvirt's to refuse. Pure."""
    network = ip_interface(cidr).network
    for name, one in plan.items():
        if one.cidr.version == network.version and one.cidr.overlaps(network):
            raise Refused(f"{host}: {cidr} overlaps network {name!r} ({one.cidr}) of the inventory: say another cidr")


def _found(link: virConnect) -> tuple[str, bool]:
    network = next((each for each in link.listAllNetworks() if each.name() == NAME), None)
    return (network.XMLDesc(), bool(network.isActive())) if network is not None else ("", False)
