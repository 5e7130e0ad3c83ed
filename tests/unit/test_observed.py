"""The plan of addresses beside what nodes have: differences as sentences, and marked in the picture."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from xml.etree import ElementTree as ET

from nornir_stack.cli.network import as_observed
from nornir_stack.inventory.addressing import Holder, plan
from nornir_stack.inventory.networks import read_networks
from nornir_stack.inventory.observed import differences
from nornir_stack.inventory.picture import hosts_of, marked, svg

NETWORKS, _ = read_networks(
    {
        "networks": {
            "data": {
                "cidr": "10.0.0.0/24",
                "gateway": "10.0.0.1",
                "pools": [{"first": "10.0.0.100", "last": "10.0.0.199"}],
            },
            "external": {"cidr": "111.0.0.0/28", "kind": "public", "gateway": "111.0.0.1", "bridge": "br-ex"},
        }
    }
)
KNOWN = [
    Holder(ip_address("10.0.0.11"), "db1", "hostname"),
    Holder(ip_address("10.0.0.12"), "db2", "hostname"),
    Holder(ip_address("10.0.0.20"), "db1", "loadbalancer.virtual_address"),
    Holder(ip_address("10.0.0.20"), "db2", "loadbalancer.virtual_address"),
]
PLANS = plan(NETWORKS, KNOWN)


def seen(**hosts: list[str]) -> dict[str, dict[str, list[object]]]:
    return {host: {"eth0": [ip_interface(one) for one in addresses]} for host, addresses in hosts.items()}


def told(**hosts: list[str]) -> list[str]:
    return [one.text for one in differences(PLANS, KNOWN, seen(**hosts))]  # type: ignore[arg-type]


def test_nodes_as_planned() -> None:
    """A shared address is where one of them has it; the gateway's may be anybody's; other networks are no matter."""
    assert told(db1=["10.0.0.11/24", "10.0.0.20/32", "111.0.0.1/28", "192.168.1.5/24"], db2=["10.0.0.12/24"]) == []
    assert as_observed([]) == "the nodes are as planned"


def test_differences_are_told() -> None:
    """Not there, there without being planned, with another netmask; of hosts that were not looked at nothing is said."""
    assert told(db1=["10.0.0.11/16", "10.0.0.150/24"]) == [
        "db1 has 10.0.0.11/16, and network data is 10.0.0.0/24",
        "10.0.0.20 is planned for db1, which does not have it",
        "db1 has 10.0.0.150 on eth0, which is pool in the plan",
    ]
    assert told(db2=["111.0.0.4/28", "10.0.0.20/32"]) == [
        "10.0.0.12 is planned for db2, which does not have it",
        "db2 has 111.0.0.4 on eth0, which is free in the plan",
    ]


def test_the_picture_marks_them() -> None:
    """A wire and an address in red, one that is not planned too; a host that could not be looked at has a dashed box."""
    found = differences(PLANS, KNOWN, seen(db1=["10.0.0.11/24", "10.0.0.20/24", "111.0.0.4/28"]))  # type: ignore[arg-type]
    hosts = marked(hosts_of(PLANS, KNOWN, {"db1": "db", "db2": "db"}), found, ["db2"])
    assert [host.marked for host in hosts] == [frozenset({"external"}), frozenset()]
    text = svg(PLANS, hosts, [one.text for one in found])
    ET.fromstring(text)  # noqa: S314  our own
    assert 'class="address wrong" text-anchor="start">111.0.0.4<' in text
    assert "db1 has 111.0.0.4 on eth0, which is free in the plan" in text
    assert text.count("stroke-dasharray") == 1
    plain = svg(PLANS, hosts_of(PLANS, KNOWN, {"db1": "db", "db2": "db"}))
    assert "stroke-dasharray" not in plain
