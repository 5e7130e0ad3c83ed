"""The answer file: what an inventory answers to packstack's questions. Pure.

Only what differs from packstack's own default is written: it takes its default for what is not there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.errors import UsageError
from nornir_stack.secret import Secret
from nornir_stack.settings import raw_settings, settings_of
from nornir_stack.tasks.openstack.external import of_inventory
from nornir_stack.tasks.openstack.plane import COMPUTE, NETWORK, STORAGE, Plane, address_of, plane_of
from nornir_stack.tasks.openstack.settings import Cloud, Swift
from nornir_stack.tasks.packstack.parameters import complaint, parameters, written
from nornir_stack.tasks.packstack.settings import Packstack
from nornir_stack.tasks.storage.settings import Storage
from nornir_stack.tasks.system.settings import System

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir.core.inventory import Inventory

    from nornir_stack.tasks.packstack.parameters import Parameter
    from nornir_stack.tasks.packstack.settings import Answer

VOLUME_GROUP = "cinder-volumes"
_INSTALL = re.compile(r"CONFIG_([A-Z]+)_INSTALL")
# Services that stand on the controller. By default packstack has them on the machine that it runs on.
_ON_CONTROLLER = (
    "CONFIG_CONTROLLER_HOST",
    "CONFIG_AMQP_HOST",
    "CONFIG_REDIS_HOST",
    "CONFIG_REDIS_MASTER_HOST",
    "CONFIG_MONGODB_HOST",
    "CONFIG_SAHARA_HOST",
)
# Passwords that packstack would make up; these are another's, and are said or left.
_NOT_MADE = re.compile(
    r"CONFIG_(DEFAULT_PASSWORD|MARIADB_PW|KEYSTONE_LDAP_.*|VCENTER_.*|RH_.*|SATELLITE_.*|CINDER_(NETAPP|SOLIDFIRE)_.*"
    r"|MANILA_NETAPP_.*|AMQP_.*|PROVISION_TEMPEST_.*)"
)


def answers(inventory: Inventory) -> dict[str, Answer]:
    """Name to answer, in the file's order. Raises UsageError where the inventory is not what packstack can put up."""
    plane = plane_of(inventory)
    own = settings_of(inventory.hosts[plane.controller], Packstack)
    known = parameters(own.version)
    found: dict[str, Answer] = dict.fromkeys(_ON_CONTROLLER, plane.address)
    found |= _nodes(inventory, plane) | _database(plane, own) | _network(inventory, own)
    found |= {"CONFIG_KEYSTONE_REGION": plane.region, "CONFIG_KEYSTONE_ADMIN_PW": plane.admin, "CONFIG_PROVISION_DEMO": "n"}
    if servers := settings_of(inventory.hosts[plane.controller], System).time_servers:
        found["CONFIG_NTP_SERVERS"] = ",".join(map(str, servers))
    if plane.workers is not None:
        found["CONFIG_SERVICE_WORKERS"] = plane.workers
    if plane.compute_driver == "qemu":
        found["CONFIG_NOVA_LIBVIRT_VIRT_TYPE"] = "qemu"
    services = {*own.services, *_storage_services(inventory)}
    found |= {name: "y" if name[7:-8].lower() in services else "n" for name in known if _INSTALL.fullmatch(name)}
    found |= _database(plane, own)
    found |= {name: value for name, value in _passwords(plane, known, found).items() if name not in found}
    for name, value in own.answers.items():
        if text := complaint(own.version, name, value):
            raise UsageError(f"{plane.controller}: packstack.answers.{name}: {text}")
    found |= own.answers
    return {name: found[name] for name in known if name in found and _differs(known[name], found[name])}


def answer_file(found: Mapping[str, Answer]) -> str:
    """The file as packstack reads it (Python's RawConfigParser), with the passwords in it: for the file alone."""
    return "".join(["[general]\n", *(f"{name}={written(value)}\n" for name, value in found.items())])


def shown(found: Mapping[str, Answer]) -> tuple[str, ...]:
    """Its lines for people: no secret in them."""
    return tuple(f"{name}={value}" for name, value in found.items())


def _differs(known: Parameter, value: Answer) -> bool:
    return isinstance(value, Secret) or written(value) != known.default


def _nodes(inventory: Inventory, plane: Plane) -> dict[str, Answer]:
    compute, network, storage = (
        [address_of(inventory.hosts[name]) for name in role.hosts(inventory)] for role in (COMPUTE, NETWORK, STORAGE)
    )
    if not compute:
        raise UsageError("packstack puts instances on hosts of the role compute, and the inventory has none")
    if len(storage) > 1:
        raise UsageError(f"packstack knows one storage host, and the inventory has {', '.join(STORAGE.hosts(inventory))}")
    found: dict[str, Answer] = {
        "CONFIG_COMPUTE_HOSTS": ",".join(compute),
        "CONFIG_NETWORK_HOSTS": ",".join(network or [plane.address]),
    }
    if storage and storage != [plane.address]:
        found |= {"CONFIG_UNSUPPORTED": "y", "CONFIG_STORAGE_HOST": storage[0]}
    if VOLUME_GROUP in _volume_groups(inventory):
        found["CONFIG_CINDER_VOLUMES_CREATE"] = "n"
    return found


def _volume_groups(inventory: Inventory) -> set[str]:
    hosts = [inventory.hosts[name] for name in STORAGE.hosts(inventory)]
    return {group for host in hosts for group in settings_of(host, Storage).volume_groups}


def _storage_services(inventory: Inventory) -> Iterator[str]:
    if VOLUME_GROUP in _volume_groups(inventory):
        yield "cinder"
    if any(raw_settings(inventory.hosts[name], Swift) for name in STORAGE.hosts(inventory)):
        yield "swift"


def _database(plane: Plane, own: Packstack) -> dict[str, Answer]:
    if not plane.members:
        return {
            "CONFIG_MARIADB_INSTALL": "y",
            "CONFIG_MARIADB_HOST": plane.address,
            "CONFIG_MARIADB_PW": plane.password("packstack CONFIG_MARIADB_PW"),
        }
    if missing := [name for name in ("CONFIG_MARIADB_USER", "CONFIG_MARIADB_PW") if name not in own.answers]:
        raise UsageError(
            f"{plane.controller}: packstack.answers.{missing[0]} is missing: the databases are on the Galera cluster, and"
            " packstack makes them as a user of it who may do so from the controller"
        )
    return {"CONFIG_MARIADB_INSTALL": "n", "CONFIG_MARIADB_HOST": plane.database[0]}


def _network(inventory: Inventory, own: Packstack) -> dict[str, Answer]:
    """Open vSwitch on all nodes, as the tasks of this library take it; the external networks over their bridges."""
    cloud: Cloud = of_inventory(inventory)
    external = tuple(cloud.external.values())
    bridges = {one.bridge: one for one in external}
    vlans: dict[str, list[int]] = {}
    for one in external:
        if one.vlan is not None:
            vlans.setdefault(one.physical_network, []).append(one.vlan)
    found: dict[str, Answer] = {
        "CONFIG_NEUTRON_L2_AGENT": "openvswitch",
        "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": "openvswitch",
        "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": "vxlan",
        "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": "vxlan,flat,vlan" if vlans else "vxlan,flat",
    }
    if external:
        found |= {
            "CONFIG_NEUTRON_ML2_FLAT_NETWORKS": ",".join(sorted({one.physical_network for one in external})),
            "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": ",".join(f"{one.physical_network}:{name}" for name, one in bridges.items()),
            "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": ",".join(f"{name}:{one.nic}" for name, one in bridges.items()),
            "CONFIG_NEUTRON_OVS_EXTERNAL_PHYSNET": external[0].physical_network,
            "CONFIG_NEUTRON_L3_EXT_BRIDGE": "provider",  # the bridge is found by its mapping, so there may be two
        }
    if vlans:
        ranges = [f"{name}:{min(tags)}:{max(tags)}" for name, tags in vlans.items()]
        found["CONFIG_NEUTRON_ML2_VLAN_RANGES"] = ",".join(ranges)
    if own.tunnel_nic:
        found["CONFIG_NEUTRON_OVS_TUNNEL_IF"] = own.tunnel_nic
    return found


def _passwords(plane: Plane, known: Mapping[str, Parameter], found: Mapping[str, Answer]) -> dict[str, Answer]:
    """Of every service that is to be there: derived from the one secret, so that they are the same at each run."""
    absent = tuple(f"{name[:-7]}" for name, value in found.items() if _INSTALL.fullmatch(name) and value == "n")
    if "CONFIG_CEILOMETER_" in absent:
        absent += ("CONFIG_GNOCCHI_",)  # it comes with Ceilometer and has no switch of its own
    return {
        one.name: plane.password(f"packstack {one.name}")
        for one in known.values()
        if one.kind == "secret"
        and one.default is None
        and not _NOT_MADE.fullmatch(one.name)
        and not one.name.startswith(absent)
    }
