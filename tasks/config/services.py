"""The one table of configuration file to services, per family; and which of them a change concerns. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from nornir_stack.tasks.config.ini import Dialect

Units: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """Files (shell patterns) of one program, and the units that read them at their start, in the order of restarts.

    `a|b`: b only where systemd has no a that runs: programs that run by themselves on one system and in Apache on another.
    """

    files: tuple[str, ...]
    debian: Units
    redhat: Units
    dialect: Dialect = "oslo"


def _swift(server: str) -> Row:
    parts = {"account": ("auditor", "reaper", "replicator"), "container": ("auditor", "replicator", "sync", "updater")}
    more = parts.get(server, ("auditor", "replicator", "updater", "reconstructor"))
    debian = (f"swift-{server}", *(f"swift-{server}-{part}" for part in more))
    redhat = tuple(f"openstack-{unit}" for unit in debian)
    return Row((f"/etc/swift/{server}-server.conf", f"/etc/swift/{server}-server/*.conf"), debian, redhat, "paste")


_SWIFT = tuple(_swift(server) for server in ("account", "container", "object"))
_PROXY = Row(("/etc/swift/proxy-server.conf",), ("swift-proxy",), ("openstack-swift-proxy",), "paste")
_AGENTS = ("neutron-openvswitch-agent", "neutron-l3-agent", "neutron-dhcp-agent", "neutron-metadata-agent")
_ML2 = ("/etc/neutron/plugin.ini", "/etc/neutron/plugins/ml2/ml2_conf*.ini")

# Units that do not run on a node are passed over, so the table may hold those of today (Debian 12, Ubuntu, RDO) and of Kilo.
# From the packages' own unit files; names of Kilo from RDO's openstack-*.service.
TABLE: tuple[Row, ...] = (
    Row(("/etc/keystone/keystone.conf",), ("keystone|apache2",), ("openstack-keystone|httpd",)),
    Row(
        ("/etc/glance/glance-api.conf", "/etc/glance/glance-api-paste.ini"),
        ("glance-api",),
        ("openstack-glance-api",),
    ),
    Row(("/etc/glance/glance-registry.conf",), ("glance-registry",), ("openstack-glance-registry",)),
    Row(("/etc/placement/placement.conf",), ("placement-api|apache2",), ("openstack-placement-api|httpd",)),
    Row(
        ("/etc/nova/nova.conf", "/etc/nova/nova.conf.d/*.conf"),
        (
            "nova-api",
            "nova-api-metadata",
            "nova-conductor",
            "nova-scheduler",
            "nova-novncproxy",
            "nova-spicehtml5proxy",
            "nova-serialproxy",
            "nova-compute",
        ),
        (
            "openstack-nova-api",
            "openstack-nova-cert",
            "openstack-nova-consoleauth",
            "openstack-nova-conductor",
            "openstack-nova-scheduler",
            "openstack-nova-novncproxy",
            "openstack-nova-spicehtml5proxy",
            "openstack-nova-compute",
        ),
    ),
    Row(("/etc/nova/nova-compute.conf",), ("nova-compute",), ("openstack-nova-compute",)),
    Row(
        ("/etc/neutron/neutron.conf", "/etc/neutron/api-paste.ini"),
        ("neutron-server|neutron-api", "neutron-rpc-server", *_AGENTS),
        ("neutron-server", *_AGENTS),
    ),
    Row(_ML2, ("neutron-server|neutron-api", "neutron-rpc-server"), ("neutron-server",)),
    Row(
        ("/etc/neutron/plugins/ml2/openvswitch_agent.ini", "/etc/neutron/plugins/openvswitch/ovs_neutron_plugin.ini"),
        ("neutron-openvswitch-agent",),
        ("neutron-openvswitch-agent",),
    ),
    Row(("/etc/neutron/l3_agent.ini",), ("neutron-l3-agent",), ("neutron-l3-agent",)),
    Row(("/etc/neutron/dhcp_agent.ini",), ("neutron-dhcp-agent",), ("neutron-dhcp-agent",)),
    Row(("/etc/neutron/metadata_agent.ini",), ("neutron-metadata-agent",), ("neutron-metadata-agent",)),
    Row(
        ("/etc/cinder/cinder.conf",),
        ("cinder-api|apache2", "cinder-scheduler", "cinder-volume", "cinder-backup"),
        ("openstack-cinder-api", "openstack-cinder-scheduler", "openstack-cinder-volume", "openstack-cinder-backup"),
    ),
    Row(
        ("/etc/heat/heat.conf",),
        ("heat-api", "heat-api-cfn", "heat-engine"),
        ("openstack-heat-api", "openstack-heat-api-cfn", "openstack-heat-engine"),
    ),
    Row(
        ("/etc/octavia/octavia.conf",),
        ("octavia-api", "octavia-worker", "octavia-health-manager", "octavia-housekeeping"),
        ("octavia-api", "octavia-worker", "octavia-health-manager", "octavia-housekeeping"),
    ),
    Row(
        ("/etc/ceilometer/ceilometer.conf",),
        (
            "ceilometer-api",
            "ceilometer-collector",
            "ceilometer-agent-notification",
            "ceilometer-agent-central",
            "ceilometer-agent-compute",
        ),
        (
            "openstack-ceilometer-api",
            "openstack-ceilometer-collector",
            "openstack-ceilometer-alarm-evaluator",
            "openstack-ceilometer-alarm-notifier",
            "openstack-ceilometer-notification",
            "openstack-ceilometer-central",
            "openstack-ceilometer-compute",
        ),
    ),
    Row(
        ("/etc/gnocchi/gnocchi.conf",),
        ("gnocchi-api|apache2", "gnocchi-metricd", "gnocchi-statsd"),
        ("openstack-gnocchi-api|httpd", "openstack-gnocchi-metricd", "openstack-gnocchi-statsd"),
    ),
    Row(
        ("/etc/aodh/aodh.conf",),
        ("aodh-api|apache2", "aodh-evaluator", "aodh-listener", "aodh-notifier"),
        ("openstack-aodh-api|httpd", "openstack-aodh-evaluator", "openstack-aodh-listener", "openstack-aodh-notifier"),
    ),
    _PROXY,
    *_SWIFT,
    Row(
        ("/etc/swift/swift.conf",),
        (*_PROXY.debian, *(unit for row in _SWIFT for unit in row.debian)),
        (*_PROXY.redhat, *(unit for row in _SWIFT for unit in row.redhat)),
        "paste",
    ),
)
# Files of PasteDeploy that name no program of the table.
_PASTE = ("*-paste.ini", "*/api-paste.ini", "/etc/swift/*")


@dataclass(frozen=True)
class Running:
    """A unit that runs; `started` is when its process began, seconds since 1970."""

    unit: str
    started: int


def dialect_of(path: str) -> Dialect:
    """How the programs read this file."""
    row = row_of(path)
    if any(fnmatchcase(path, pattern) for pattern in _PASTE):
        return "paste"
    return row.dialect if row else "oslo"


def row_of(path: str) -> Row | None:
    """The row of the table that has this file."""
    return next((row for row in TABLE if any(fnmatchcase(path, pattern) for pattern in row.files)), None)


def candidates(paths: Collection[str], family: Literal["debian", "redhat"]) -> tuple[str, ...]:
    """All units that may read these files, each once, in the order of the table, with `.service`."""
    found = (unit for path in paths for word in _units(path, family) for unit in word.split("|"))
    return tuple(dict.fromkeys(f"{unit}.service" for unit in found))


def concerned(
    written: Mapping[str, int | None], running: Mapping[str, Running], family: Literal["debian", "redhat"]
) -> tuple[str, ...]:
    """The units to restart, each once, in the order of the table.

    `written`: file to when it was last written (seconds since 1970; None: only now). A unit is due if a file of it was
    written after it started, so what an interrupted run left undone is done by the next; one that does not run is not.
    """
    due = (unit for path, when in written.items() for unit in _due(path, when, running, family))
    order = candidates([file for row in TABLE for file in row.files], family)
    return tuple(sorted(dict.fromkeys(due), key=order.index))


def _due(path: str, when: int | None, running: Mapping[str, Running], family: Literal["debian", "redhat"]) -> Iterator[str]:
    for word in _units(path, family):
        unit = next((f"{one}.service" for one in word.split("|") if f"{one}.service" in running), "")
        # one second: neither time is more exact
        if unit and (when is None or when > running[unit].started + 1):
            yield unit


def _units(path: str, family: Literal["debian", "redhat"]) -> Units:
    row = row_of(path)
    if row is None:
        return ()
    return row.debian if family == "debian" else row.redhat
