"""The cloud that tests put up whole: what its inventory says, and what of it must not change by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_stack.secret import Secret
from tests.integration.cloud_lab import ADMIN, asked, cloud, endpoints, enter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nornir.core import Nornir

    from nornir_stack.lab import Lab

ROLES = {"controller": ["c1"], "network": ["n1"], "compute": ["n1", "n2"], "storage": ["n1"]}
MASTER, ALICE = "the-one-secret-of-the-trial", "alice-her-word"
SETTINGS = {
    "secret": Secret(literal=MASTER),
    "admin_password": Secret(literal=ADMIN),
    "workers": 1,
    "compute_driver": "fake",
    "telemetry": True,
    "balancer_driver": "fake",
}
# Volumes stand in the books alone, as instances do: no kernel here has a device mapper.
CINDER = {"volume_group": "cinder-volumes", "backend": "fake"}
PUBLIC = {
    "physical_network": "physnet1",
    "bridge": "br-ex",
    "nic": "ex1",
    "cidr": "203.0.113.0/24",
    "gateway": "203.0.113.1",
    "first": "203.0.113.100",
    "last": "203.0.113.200",
}
SECOND = {
    "physical_network": "physnet2",
    "bridge": "br-ex2",
    "nic": "ex2",
    "cidr": "198.51.100.0/24",
    "gateway": "198.51.100.1",
    "first": "198.51.100.50",
    "last": "198.51.100.60",
    "dns": ["198.51.100.2"],
}
PROJECTS = {
    "test": {
        "cidr": "10.1.0.0/24",
        "external": "public",
        "users": {"alice": Secret(literal=ALICE)},
        "quotas": {"instances": 7, "floating_ips": 3},
    },
    "production": {"cidr": "10.2.0.0/24", "external": "second"},
}
# The world outside of the cloud, on each segment.
OUTSIDE = r"""
ip address replace 203.0.113.1/24 dev ex1 && ip address replace 198.51.100.1/24 dev ex2
ip link set ex1 up && ip link set ex2 up
"""
UNITS = (
    "keystone glance-api placement-api nova-api nova-conductor nova-scheduler neutron-api neutron-rpc-server apache2"
    " rabbitmq-server mariadb cinder-api cinder-scheduler cinder-volume neutron-openvswitch-agent"
    " neutron-l3-agent neutron-dhcp-agent nova-compute swift-proxy gnocchi-api gnocchi-metricd octavia-api octavia-worker"
    " ceilometer-agent-central ceilometer-agent-notification"
)


def site(lab: Lab, folder: Path, external: Mapping[str, object], **more: object) -> Nornir:
    data = {"openstack": SETTINGS, "cinder": CINDER, "cloud": {"external": external, "projects": PROJECTS}, **more}
    return cloud(lab, folder, ROLES, {"defaults": data})


def ids(nr: Nornir) -> dict[str, Any]:
    """Ids of what the cloud has."""

    def look(c: Any) -> dict[str, Any]:
        return {
            "users": {each.name: each.id for each in c.identity.users()},
            "projects": {each.name: each.id for each in c.identity.projects()},
            "agents": {(each.host, each.binary): each.id for each in c.network.agents()},
            "networks": {each.name: each.id for each in c.network.networks()},
            "subnets": {each.cidr: each.id for each in c.network.subnets()},
            "routers": {each.name: each.id for each in c.network.routers()},
        }

    return {**asked(nr, look), "endpoints": endpoints(nr)}


def standing(lab: Lab) -> str:
    """When each unit was started, and the checksums of all configuration files."""
    script = (
        'for u; do systemctl show -p Id,ActiveEnterTimestampMonotonic -- "$u.service"; done;'
        " find /etc/keystone /etc/glance /etc/nova /etc/neutron /etc/cinder /etc/placement /etc/swift"
        " /etc/openstack-dashboard /etc/gnocchi /etc/ceilometer /etc/octavia -type f | sort | xargs md5sum"
    )
    return "\n".join(enter(lab, node, script, *UNITS.split()) for node in ("c1", "n1"))
