"""What the services' configuration files must hold, from the plane alone. What else stands in them stays. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir_stack.tasks.config.settings import Value
    from nornir_stack.tasks.openstack.plane import Plane

    Section = Mapping[str, Value]
    Files = dict[str, dict[str, Section]]

CONSOLE_PORT, CONSOLE_PAGE = 6082, "/spice_auto.html"
CACHE = "127.0.0.1:11211"
CERTIFICATES = "/etc/octavia/certs"
# Octavia's API reads it after octavia.conf; its worker is given that file, and does not.
OCTAVIA_API = "/etc/octavia/octavia.conf.d/nornir-stack.conf"
VOLUME_BACKEND = "lvm"


def login(plane: Plane, user: str) -> dict[str, Value]:
    """A service's own login at Keystone (keystoneauth's options)."""
    return {
        "auth_url": plane.keystone,
        "auth_type": "password",
        "project_domain_name": "Default",
        "user_domain_name": "Default",
        "project_name": "service",
        "username": user,
        "password": plane.password(f"keystone {user}"),
        "region_name": plane.region,
    }


def authtoken(plane: Plane, user: str) -> dict[str, Value]:
    """How an API finds out who asks (keystonemiddleware's options)."""
    return {**login(plane, user), "www_authenticate_uri": plane.keystone, "memcached_servers": CACHE}


def keystone(plane: Plane) -> Files:
    return {
        "/etc/keystone/keystone.conf": {
            "database": {"connection": plane.database_url("keystone")},
            "token": {"provider": "fernet"},
        }
    }


def glance(plane: Plane) -> Files:
    return {
        "/etc/glance/glance-api.conf": {
            "DEFAULT": {
                "enabled_backends": "files:file",
                **({"transport_url": plane.transport_url} if plane.telemetry else {}),
                **_workers(plane, "workers"),
            },
            **_notifying(plane),
            "database": {"connection": plane.database_url("glance")},
            "keystone_authtoken": authtoken(plane, "glance"),
            "paste_deploy": {"flavor": "keystone"},
            "glance_store": {"default_backend": "files"},
            "files": {"filesystem_store_datadir": "/var/lib/glance/images"},
        }
    }


def cinder(plane: Plane) -> Files:
    return {"/etc/cinder/cinder.conf": _cinder_common(plane, plane.address)}


def cinder_volume(plane: Plane, address: str, group: str, backend: str) -> Files:
    """Of a node that gives a volume group away, by iSCSI from its own address."""
    driver = {
        "lvm": "cinder.volume.drivers.lvm.LVMVolumeDriver",
        "fake": "cinder.tests.fake_driver.FakeLoggingVolumeDriver",
    }[backend]
    common = _cinder_common(plane, address)
    common["DEFAULT"] = {**common["DEFAULT"], "enabled_backends": VOLUME_BACKEND}
    common[VOLUME_BACKEND] = {
        "volume_driver": driver,
        "volume_backend_name": VOLUME_BACKEND,
        "volume_group": group,
        # Cinder's own is 20 times what there is: a thin pool that is full breaks the file systems of all its volumes
        "max_over_subscription_ratio": "1.0",
        "target_protocol": "iscsi",
        # the helper has to be the one that is installed: the notebook's failure of the iSCSI type
        "target_helper": "tgtadm",
        "target_ip_address": address,
    }
    return {"/etc/cinder/cinder.conf": common}


def _cinder_common(plane: Plane, address: str) -> dict[str, Section]:
    return {
        "DEFAULT": {
            "my_ip": address,
            "transport_url": plane.transport_url,
            "auth_strategy": "keystone",
            "glance_api_servers": f"http://{plane.address}:9292",
        },
        "database": {"connection": plane.database_url("cinder")},
        # who takes a volume off an instance has to be a service (CVE-2023-2088)
        "keystone_authtoken": {
            **authtoken(plane, "cinder"),
            "service_token_roles": "admin",
            "service_token_roles_required": True,
        },
        "service_user": {**login(plane, "cinder"), "send_service_user_token": True, "region_name": None},
        "nova": login(plane, "nova"),
    }


def placement(plane: Plane) -> Files:
    return {
        "/etc/placement/placement.conf": {
            "api": {"auth_strategy": "keystone"},
            "placement_database": {"connection": plane.database_url("placement")},
            "keystone_authtoken": authtoken(plane, "placement"),
        }
    }


def nova(plane: Plane) -> Files:
    sections: dict[str, Section] = {
        **merged(_nova_common(plane, plane.address), proxy_tls(plane.console)),
        "database": {"connection": plane.database_url("nova")},
        "api_database": {"connection": plane.database_url("nova_api")},
        # a new compute node is found without anybody's doing
        "scheduler": {"discover_hosts_in_cells_interval": 60, **_workers(plane, "workers")},
        "conductor": _workers(plane, "workers"),
    }
    return {"/etc/nova/nova.conf": sections}


def nova_compute(plane: Plane, address: str) -> Files:
    driver = {"fake": "fake.FakeDriver"}.get(plane.compute_driver, "libvirt.LibvirtDriver")
    compute: dict[str, Section] = {"DEFAULT": {"compute_driver": driver}}
    if plane.compute_driver != "fake":
        compute["libvirt"] = {"virt_type": plane.compute_driver, "cpu_mode": "none" if plane.compute_driver == "qemu" else None}
    # an instance gets its keys without a metadata service
    common = {**_nova_common(plane, address)}
    common["DEFAULT"] = {**common["DEFAULT"], "force_config_drive": True}
    return {"/etc/nova/nova.conf": common, "/etc/nova/nova-compute.conf": compute}


def _nova_common(plane: Plane, address: str) -> dict[str, Section]:
    return {
        "DEFAULT": {"my_ip": address, "transport_url": plane.transport_url},
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": authtoken(plane, "nova"),
        "glance": {"api_servers": f"http://{plane.address}:9292"},
        "placement": login(plane, "placement"),
        "neutron": login(plane, "neutron"),
        "service_user": {**login(plane, "nova"), "send_service_user_token": True, "region_name": None},
        **({"cinder": {"os_region_name": plane.region}} if plane.volumes else {}),
        **screens(plane.console, address),
        **_notifying(plane),
    }


@dataclass(frozen=True)
class Console:
    """How screens are reached: the proxy's address; `certificate` and `key` are files there, None for plain HTTP."""

    proxy: str
    certificate: str | None = None
    key: str | None = None
    keymap: str | None = None

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.proxy}:{CONSOLE_PORT}{CONSOLE_PAGE}"


def screens(console: Console, own: str) -> dict[str, Section]:
    """What nova.conf says of screens, on a node with the address `own`. Pure."""
    spice: dict[str, Value] = {
        "enabled": True,
        "agent_enabled": True,
        "html5proxy_base_url": console.url,
        "html5proxy_host": console.proxy,
        "server_listen": own,
        "server_proxyclient_address": own,
    }
    if console.keymap:
        spice["keymap"] = console.keymap
    return {"vnc": {"enabled": False}, "spice": spice}


def proxy_tls(console: Console) -> dict[str, Section]:
    """What the proxy's own node says beside that: without a certificate it must not ask for TLS. Pure."""
    only = True if console.certificate else None
    return {"DEFAULT": {"cert": console.certificate, "key": console.key, "ssl_only": only}}


def merged(*several: Mapping[str, Section]) -> dict[str, Section]:
    """Sections of several, key by key. Pure."""
    found: dict[str, Section] = {}
    for sections in several:
        for name, keys in sections.items():
            found[name] = {**found.get(name, {}), **keys}
    return found


def neutron(plane: Plane) -> Files:
    return {
        "/etc/neutron/neutron.conf": {
            "DEFAULT": {
                "core_plugin": "ml2",
                "service_plugins": "router",
                "transport_url": plane.transport_url,
                # without these Nova waits five minutes for each instance's port, and gives up
                "notify_nova_on_port_status_changes": True,
                "notify_nova_on_port_data_changes": True,
                "rpc_state_report_workers": 0,
                **_workers(plane, "api_workers", "rpc_workers"),
            },
            "database": {"connection": plane.database_url("neutron")},
            "keystone_authtoken": authtoken(plane, "neutron"),
            "nova": login(plane, "nova"),
            **_notifying(plane),
        },
        "/etc/neutron/plugins/ml2/ml2_conf.ini": {
            "ml2": {
                "type_drivers": "flat,vlan,vxlan",
                "tenant_network_types": "vxlan",
                "mechanism_drivers": "openvswitch",
                "extension_drivers": "port_security",
            },
            "ml2_type_vxlan": {"vni_ranges": "1:1000"},
        },
    }


def agents(plane: Plane, address: str, *, kernel: bool, network: bool, controller: bool) -> Files:
    """Of a node with Open vSwitch's agent; `kernel`: it has Open vSwitch's own datapath. The controller has more of its own."""
    files: Files = {
        "/etc/neutron/plugins/ml2/openvswitch_agent.ini": {
            "ovs": {"local_ip": address, "datapath_type": "system" if kernel else "netdev"},
            "agent": {"tunnel_types": "vxlan"},
            "securitygroup": {"firewall_driver": "openvswitch"},
        }
    }
    if not controller:
        files["/etc/neutron/neutron.conf"] = {"DEFAULT": {"core_plugin": "ml2", "transport_url": plane.transport_url}}
    if network:
        files["/etc/neutron/l3_agent.ini"] = {"DEFAULT": {"interface_driver": "openvswitch"}}
        files["/etc/neutron/dhcp_agent.ini"] = {
            "DEFAULT": {"interface_driver": "openvswitch", "dhcp_driver": "neutron.agent.linux.dhcp.Dnsmasq"}
        }
    return files


def gnocchi(plane: Plane) -> Files:
    return {
        "/etc/gnocchi/gnocchi.conf": {
            "api": {"auth_mode": "keystone"},
            "indexer": {"url": plane.database_url("gnocchi")},
            "storage": {"driver": "file", "file_basepath": "/var/lib/gnocchi"},
            "metricd": _workers(plane, "workers"),
            "keystone_authtoken": authtoken(plane, "gnocchi"),
        }
    }


def ceilometer(plane: Plane) -> Files:
    return {
        "/etc/ceilometer/ceilometer.conf": {
            "DEFAULT": {"transport_url": plane.transport_url},
            "service_credentials": {**login(plane, "ceilometer"), "interface": "internalURL"},
            "notification": _workers(plane, "workers"),
        }
    }


def octavia(plane: Plane) -> Files:
    """Balancers are made, change and go in Octavia's books and by its state machine; no machine (amphora) is made of them."""
    return {
        "/etc/octavia/octavia.conf": {
            "DEFAULT": {"transport_url": plane.transport_url},
            "api_settings": {"enabled_provider_drivers": "amphora:amphora", "default_provider_driver": "amphora"},
            "database": {"connection": plane.database_url("octavia")},
            "oslo_messaging": {"topic": "octavia_prov"},
            "keystone_authtoken": authtoken(plane, "octavia"),
            "service_auth": login(plane, "octavia"),
            "controller_worker": {
                "amphora_driver": "amphora_noop_driver",
                "compute_driver": "compute_noop_driver",
                "image_driver": "image_noop_driver",
                "network_driver": "network_noop_driver",
                "amp_image_tag": "amphora",
                "client_ca": f"{CERTIFICATES}/ca.crt",
                **_workers(plane, "workers"),
            },
            "certificates": {
                "ca_certificate": f"{CERTIFICATES}/ca.crt",
                "ca_private_key": f"{CERTIFICATES}/ca.key",
                "ca_private_key_passphrase": plane.password("octavia ca"),
                "server_certs_key_passphrase": plane.password("octavia certificates"),
            },
            "haproxy_amphora": {"client_cert": f"{CERTIFICATES}/client.pem", "server_ca": f"{CERTIFICATES}/ca.crt"},
            "health_manager": {"heartbeat_key": plane.password("octavia heartbeat")},
        }
    }


# The address of a balancer is a real port of Neutron's: the API makes it.
OCTAVIA_PORTS = "[controller_worker]\nnetwork_driver = allowed_address_pairs_driver\n"


def _notifying(plane: Plane) -> dict[str, Section]:
    """Services tell what happens in them where somebody counts it.

    Not Cinder: what oslo.messaging 14.0.3 takes out of a notification's context (a security update of Debian 12) is not there
    where Cinder 21.3 makes a context of it again, and the volume ends in error.
    """
    return {"oslo_messaging_notifications": {"driver": "messagingv2"}} if plane.telemetry else {}


def _workers(plane: Plane, *keys: str) -> dict[str, Value]:
    return {} if plane.workers is None else dict.fromkeys(keys, plane.workers)


MADE = {
    "keystone": keystone,
    "glance": glance,
    "placement": placement,
    "nova": nova,
    "neutron": neutron,
    "cinder": cinder,
    "gnocchi": gnocchi,
    "octavia": octavia,
}
