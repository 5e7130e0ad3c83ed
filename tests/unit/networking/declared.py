"""A declaration with everything in it, for the writers of files."""

from __future__ import annotations

from typing import Any

from nornir_stack import schema
from nornir_stack.tasks.networking.order import complete
from nornir_stack.tasks.networking.settings import Links


def links(**data: Any) -> Links:
    """The settings that these data give."""
    value, complaints = schema.read(Links, data)
    assert value is not None, complaints
    return value


# A physical host: management by a bridge over its one card, a VLAN, a bond, a second way out by a table of its own.
HOST = complete(
    links(
        links={
            "br0": {
                "kind": "bridge",
                "ports": ["eth0"],
                "addresses": ["192.168.5.10/24", "fd00:5::10/64"],
                "mtu": 1500,
                "mac": "52:54:00:0a:0b:0c",
            },
            "bond0": {"kind": "bond", "ports": ["eth2", "eth3"], "mode": "802.3ad"},
            "data": {"kind": "vlan", "over": "bond0", "vlan": 172, "addresses": ["172.16.1.10/24"]},
            "eth4": {"dhcp": True},
        },
        routes=[
            {"to": "default", "via": "192.168.5.1"},
            {"to": "10.0.0.0/8", "via": "172.16.1.1", "metric": 50},
            {"to": "default", "via": "172.16.1.1", "table": 100},
            {"to": "fd01::/48", "via": "fd00:5::1"},
        ],
        rules=[{"source": "172.16.1.0/24", "table": 100, "priority": 1000}],
    )
)
# The network node of the notebook: br-ex without an address, its network over it, and the default route by a gateway in it.
NETWORK_NODE = complete(
    links(
        links={
            "br-ex": {"kind": "ovs-bridge", "ports": ["eth2", "ex-to-ex2"], "physical_network": "physnet1"},
            "br-ex2": {"kind": "ovs-bridge", "ports": ["bond1", "ex2-to-ex"], "addresses": ["203.0.113.2/29"]},
            "bond1": {"kind": "ovs-bond", "ports": ["eth3", "eth4"], "mode": "balance-slb", "vlan": 30},
            "ex-to-ex2": {"kind": "ovs-patch", "peer": "ex2-to-ex"},
            "ex2-to-ex": {"kind": "ovs-patch", "peer": "ex-to-ex2"},
            "eth2": {"offload": False},
        },
        routes=[{"to": "default", "via": "111.0.0.1", "link": "br-ex"}, {"to": "111.0.0.0/29", "link": "br-ex"}],
    )
)
