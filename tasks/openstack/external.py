"""External networks of the cloud: what Neutron's server must allow, the network with its subnet, a router with its gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud as Api
from nornir_stack.select import nearest
from nornir_stack.tasks.config.apply import edit
from nornir_stack.tasks.config.ini import values
from nornir_stack.tasks.networking.bridge import bridge, open_vswitch
from nornir_stack.tasks.openstack.applied import applied
from nornir_stack.tasks.openstack.one_cloud import of_the_cloud
from nornir_stack.tasks.openstack.settings import Cloud
from nornir_stack.tasks.system.services import service, unit_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nornir.core.inventory import Inventory
    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.agents import Agent
    from nornir_stack.tasks.openstack.settings import External

ML2 = "/etc/neutron/plugins/ml2/ml2_conf.ini"
L3_INI = "/etc/neutron/l3_agent.ini"
NEUTRON = "/etc/neutron/neutron.conf"
# Debian has two for the server, others one.
SERVERS = ("neutron-api.service", "neutron-rpc-server.service", "neutron-server.service")
L3_UNIT = "neutron-l3-agent.service"
# What `ip link set up` did is gone after a boot, and Open vSwitch lets a card be as it is.
UP_UNIT = "nornir-stack-external-up.service"
_UP_FILE = f"/etc/systemd/system/{UP_UNIT}"
# Kilo's: a value in either ties the agent to one external network.
_ONE_ONLY = ("external_network_bridge", "gateway_external_network_id")


@dataclass(frozen=True)
class Made:
    """A network of the cloud with its subnet; ids are Neutron's, and stay."""

    network: str
    subnet: str
    physical_network: str
    pool: tuple[str, str]


def of_inventory(inventory: Inventory) -> Cloud:
    """What the inventory's one cloud is to have. Raises UsageError where there is none, or several."""
    return of_the_cloud(inventory, Cloud)


def external_of(inventory: Inventory, name: str) -> External:
    """An external network's settings. Raises UsageError for one that the inventory does not have."""
    known = of_inventory(inventory).external
    if name not in known:
        raise UsageError(f"cloud.external has no {name!r}{nearest(name, known)}")
    return known[name]


# the nodes


def bridges(task: Task) -> Result[None]:
    """A network node's bridge for every external network, mapped to its physical network; the l3 agent tied to none.

    A unit has bridges and NICs up after each boot. What else is mapped stays mapped.
    """
    node = Node(task)
    open_vswitch(task)
    cards: dict[str, str] = {}
    for one in of_inventory(task.nornir.inventory).external.values():
        if one.bridge not in cards:
            node.then(bridge, bridge=one.bridge, ports=[one.nic], physical_network=one.physical_network)
            cards[one.bridge] = one.nic
    if node.write_file(_UP_FILE, up_unit(cards), independent=True):
        node.change("systemctl", "daemon-reload", repeatable=True)
    node.then(service, unit=UP_UNIT, state="started", enabled=True)
    text = node.read_file(L3_INI, independent=True) or ""
    tied = {key: "" for key in _ONE_ONLY if values(text, "DEFAULT", key)[-1:] not in {(), ("",)}}
    if tied:
        edit(node, L3_INI, {"DEFAULT": tied})
    if not node.gate.pending and unit_state(task, unit=L3_UNIT).value.running:
        node.then(applied, unit=L3_UNIT, files=[L3_INI])
    return node.done()


def up_unit(cards: Mapping[str, str]) -> str:
    """A unit of systemd that has bridges and their NICs (bridge to NIC) up at each boot. Pure."""
    devices = " ".join(name for pair in cards.items() for name in pair)
    lines = [
        "[Unit]",
        "Description=Bridges of external networks and their cards up",
        "After=network.target openvswitch-switch.service openvswitch.service",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"ExecStart=/bin/sh -c 'bad=0; for d in {devices}; do ip link set dev \"$$d\" up || bad=1; done; exit $$bad'",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "".join(f"{line}\n" for line in lines)


def allowed(task: Task) -> Result[None]:
    """Neutron's server lets networks lie on these physical networks, flat or by VLAN; restarted one unit after the other.

    Physical networks that are allowed beside them stay. `plugin.ini` that is a link stays one.
    """
    node = Node(task)
    externals = of_inventory(task.nornir.inventory).external.values()
    text = node.read_file(ML2, independent=True)
    if text is None:
        raise Refused(f"{node.name} has no {ML2}: it runs no Neutron with ML2")
    edit(node, ML2, ml2(text, externals))
    for unit in SERVERS:
        if not node.gate.pending and unit_state(task, unit=unit).value.running:
            node.then(applied, unit=unit, files=[ML2, NEUTRON])
    return node.done()


def ml2(text: str, externals: Iterable[External]) -> dict[str, dict[str, str]]:
    """What ml2_conf.ini must hold for these networks beside what it has. Pure."""
    flat = _words(text, "ml2_type_flat", "flat_networks")
    ranges = _words(text, "ml2_type_vlan", "network_vlan_ranges")
    drivers = _words(text, "ml2", "type_drivers") or ["flat", "vlan", "vxlan"]
    for one in externals:
        if one.vlan is None:
            flat += [one.physical_network] if "*" not in flat and one.physical_network not in flat else []
            drivers += ["flat"] if "flat" not in drivers else []
        elif not _in_range(ranges, one.physical_network, one.vlan):
            ranges.append(f"{one.physical_network}:{one.vlan}:{one.vlan}")
    if ranges and "vlan" not in drivers:  # with ranges and without the driver the server does not start
        drivers.append("vlan")
    found = {"ml2": {"type_drivers": ",".join(drivers)}}
    if flat:
        found["ml2_type_flat"] = {"flat_networks": ",".join(flat)}
    if ranges:
        found["ml2_type_vlan"] = {"network_vlan_ranges": ",".join(ranges)}
    return found


def _words(text: str, section: str, key: str) -> list[str]:
    found = values(text, section, key)[-1:]
    return [word.strip() for word in found[0].split(",") if word.strip()] if found else []


def _in_range(ranges: Sequence[str], physical: str, vlan: int) -> bool:
    for word in ranges:
        name, *numbers = word.split(":")
        if name == physical and (not numbers or int(numbers[0]) <= vlan <= int(numbers[-1])):
            return True
    return False


def mapped(seen: Seen[tuple[Agent, ...]], *, wanted: Mapping[str, str], nodes: Sequence[str]) -> list[str]:
    """Every network node's agent is alive, and reports each of these physical networks with its bridge."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for agents in (agents for _, agents in seen.items()):
        switching = {one.host: one for one in agents if one.binary == "neutron-openvswitch-agent"}
        for node in nodes:
            agent = switching.get(node)
            if agent is None or not agent.alive:
                problems.append(f"neutron-openvswitch-agent on {node} is not alive in the cloud's eyes")
                continue
            for physical, on in wanted.items():
                if agent.mappings.get(physical) != on:
                    has = agent.mappings.get(physical, "nothing")
                    problems.append(f"the agent on {node} maps {physical} to {has}, not to {on}")
    return problems


# the cloud


def external_network(task: Task, *, network: str) -> Result[Made]:
    """Have one external network of the inventory, with its subnet: pool, gateway and DNS servers as wanted, ids kept.

    Raises Refused for a physical network that no agent maps, and for a network of this name that is another.
    """
    node = Node(task)
    wanted = external_of(task.nornir.inventory, network)
    cloud = Api(node)
    known = cloud.read("the agents' physical networks", _physical)
    if wanted.physical_network not in known:
        raise Refused(
            f"no agent maps the physical network {wanted.physical_network!r}; they map {', '.join(known) or 'none'}:"
            " make its bridge on the network nodes first"
        )
    now = cloud.read(f"the network {network}", lambda c: _network(c).find_network(network))
    if now is None:
        cloud.change(f"make the network {network}", lambda c: _network(c).create_network(name=network, **_as_asked(wanted)))
    else:
        _same(network, now, wanted)
    number = now.id if now else ""
    subnet = cloud.read("its subnet", lambda c: next(iter(_network(c).subnets(network_id=number)), None)) if now else None
    if subnet is None:
        cloud.change(
            f"make the subnet {wanted.cidr} of {network}",
            lambda c: _network(c).create_subnet(
                network_id=_network(c).find_network(network).id,
                name=f"{network}-subnet",
                ip_version=4,
                cidr=str(wanted.cidr),
                is_dhcp_enabled=False,
                **_subnet(wanted),
            ),
        )
    elif subnet.cidr != str(wanted.cidr):
        raise Refused(
            f"the subnet of {network} is {subnet.cidr}, not {wanted.cidr}: remove it first, by openstack.remove_network"
        )
    elif old := {key: getattr(subnet, key) for key, value in _subnet(wanted).items() if getattr(subnet, key) != value}:
        new = _subnet(wanted)
        cloud.change(
            f"correct the subnet of {network}",
            lambda c: _network(c).update_subnet(subnet.id, **{key: new[key] for key in old}),
            diff="".join(f"-{key} {value}\n+{key} {new[key]}\n" for key, value in old.items()),
            repeatable=True,
        )
    return node.done(lambda: cloud.read("the network", lambda c: _made(c, network)))


def _as_asked(wanted: External) -> dict[str, Any]:
    found: dict[str, Any] = {
        "is_router_external": True,
        "provider_network_type": "flat" if wanted.vlan is None else "vlan",
        "provider_physical_network": wanted.physical_network,
    }
    if wanted.vlan is not None:
        found["provider_segmentation_id"] = wanted.vlan
    return found


def _subnet(wanted: External) -> dict[str, Any]:
    return {
        "gateway_ip": str(wanted.gateway),
        "allocation_pools": [{"start": str(wanted.first), "end": str(wanted.last)}],
        "dns_nameservers": [str(one) for one in wanted.dns],
    }


def _same(name: str, now: Any, wanted: External) -> None:
    for key, value in _as_asked(wanted).items():
        if getattr(now, key) != value:
            words = key.replace("provider_", "").replace("_", " ")
            raise Refused(
                f"the network {name} is there, and its {words} is {getattr(now, key)!r}, not {value!r}: rename one of them"
            )


def _physical(cloud: Connection) -> list[str]:
    found = [(each.configuration or {}).get("bridge_mappings") or {} for each in _network(cloud).agents()]
    return sorted({name for mappings in found for name in mappings})


def _made(cloud: Connection, name: str) -> Made:
    network = _network(cloud).find_network(name)
    subnet = next(iter(_network(cloud).subnets(network_id=network.id)))
    pool = subnet.allocation_pools[0]
    return Made(network.id, subnet.id, network.provider_physical_network, (pool["start"], pool["end"]))


def _network(cloud: Connection) -> Any:
    return cloud.network
