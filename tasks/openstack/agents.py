"""Nodes that do the cloud's work: Open vSwitch with Neutron's agents, and instances; and what the cloud knows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.tasks.config.apply import edit
from nornir_stack.tasks.config.ini import values
from nornir_stack.tasks.networking.bridge import AGENT_INI, open_vswitch
from nornir_stack.tasks.openstack import files, programs
from nornir_stack.tasks.openstack.applied import applied
from nornir_stack.tasks.openstack.initiator import initiator
from nornir_stack.tasks.openstack.plane import COMPUTE, CONTROLLER, NETWORK, address_of, plane_of
from nornir_stack.tasks.openstack.registered import seen_if_there
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.inventory import Inventory
    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

_KERNEL = "[ -d /sys/module/openvswitch ] || modprobe --quiet --dry-run openvswitch 2>/dev/null"
_PACKAGED = "external:br-ex"  # Debian's own, of a bridge that nobody made
_NO_BRIDGE = 2  # ovs-vsctl(8), br-exists
OVS_AGENT, L3, DHCP = "neutron-openvswitch-agent", "neutron-l3-agent", "neutron-dhcp-agent"


@dataclass(frozen=True)
class Agent:
    """A service of the cloud on a node, as the cloud sees it. `mappings` are an Open vSwitch agent's bridge_mappings."""

    host: str
    binary: str
    alive: bool
    mappings: Mapping[str, str]


def network_node(task: Task) -> Result[None]:
    """Open vSwitch, and the agents that switch, route and hand out addresses; on a compute node only the one that switches."""
    node = Node(task)
    inventory = task.nornir.inventory
    plane, own = plane_of(inventory), address_of(task.host)
    network = task.host.has_parent_group("network")
    packages(task, present=programs.NETWORK if network else programs.SWITCH)
    node.then(open_vswitch)
    kernel = node.read(sh(_KERNEL, label="look for Open vSwitch in the kernel"), ok=None, independent=True).ok
    controller = node.name in CONTROLLER.hosts(inventory)
    wanted = files.agents(plane, own, kernel=kernel, network=network, controller=controller)
    for path, sections in wanted.items():
        edit(node, path, sections)
    if not node.gate.pending and node.read("ovs-vsctl", "--timeout=10", "br-exists", "br-ex", ok=None).status == _NO_BRIDGE:
        text = node.read_file(AGENT_INI) or ""
        if values(text, "ovs", "bridge_mappings") == (_PACKAGED,):  # with it the agent ends at its start
            edit(node, AGENT_INI, {"ovs": {"bridge_mappings": None}})
    for unit in (OVS_AGENT, *((L3, DHCP) if network else ())):
        node.then(applied, unit=f"{unit}.service", files=["/etc/neutron/neutron.conf", *_of(unit)])
    return node.done()


def _of(unit: str) -> list[str]:
    own = {OVS_AGENT: "plugins/ml2/openvswitch_agent.ini", L3: "l3_agent.ini", DHCP: "dhcp_agent.ini"}[unit]
    return [f"/etc/neutron/{own}"]


def compute_node(task: Task) -> Result[None]:
    """Nova on a node that runs instances."""
    node = Node(task)
    plane = plane_of(task.nornir.inventory)
    packages(task, present=programs.COMPUTE)
    if plane.initiators:
        node.then(initiator)
    wanted = files.nova_compute(plane, address_of(task.host))
    for path, sections in wanted.items():
        edit(node, path, sections)
    if plane.compute_driver != "fake":
        node.then(service, unit="libvirtd.service", state="started", enabled=True)
    node.then(applied, unit="nova-compute.service", files=list(wanted))
    return node.done()


def cloud_agents(task: Task) -> Result[tuple[Agent, ...]]:
    """Observe Neutron's agents and Nova's services, as the cloud sees them."""
    node = Node(task)
    return node.done(seen_if_there(node, "agents and services", _look))


def _look(cloud: Connection) -> tuple[Agent, ...]:
    network, compute = _proxies(cloud)
    agents = [
        Agent(
            each.host,
            each.binary,
            bool(each.is_alive),
            dict((each.configuration or {}).get("bridge_mappings") or {}),
        )
        for each in network.agents()
    ]
    return (*agents, *(Agent(each.host, each.binary, each.state == "up", {}) for each in compute.services()))


def _proxies(cloud: Connection) -> tuple[Any, Any]:
    return cloud.network, cloud.compute


def wanted_agents(inventory: Inventory) -> tuple[tuple[str, str], ...]:
    """Node and binary of every agent that the inventory's cloud has. Pure."""
    network, compute = NETWORK.hosts(inventory), COMPUTE.hosts(inventory)
    if not network and not compute:
        return ()
    found = [(host, binary) for host in network for binary in (OVS_AGENT, L3, DHCP)]
    found += [(host, OVS_AGENT) for host in compute if host not in network]
    found += [(host, "nova-compute") for host in compute]
    found += [(host, binary) for host in CONTROLLER.hosts(inventory) for binary in ("nova-conductor", "nova-scheduler")]
    return tuple(found)


def all_alive(seen: Seen[tuple[Agent, ...]], *, wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Every agent that should be there is, and alive."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for agents in (agents for _, agents in seen.items()):
        alive = {(one.host, one.binary): one.alive for one in agents}
        for each in wanted:
            if each not in alive:
                problems.append(f"{each[1]} on {each[0]} never reported to the cloud")
            elif not alive[each]:
                problems.append(f"{each[1]} on {each[0]} is down in the cloud's eyes")
    return problems
