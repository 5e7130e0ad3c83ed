"""Declarations of links tried on a node: brought, again without a change, after a boot, and undone where they cut it off."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.lab import machine
from nornir_stack.results import Status
from nornir_stack.select import role
from nornir_stack.tasks.networking.links import links
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report, TaskReport

WITHIN = 8.0  # of what is to be undone
GRACE = 20.0  # seconds for two busy cores
FAR = "10.78.0.1"  # where this machine seems to be for a node that answers by its default route
# A bridge, a card, and routes and rules over them.
ROUTED: dict[str, Any] = {
    "links": {
        "br0": {"kind": "bridge", "ports": ["eth2"], "addresses": ["10.1.0.1/24", "fd00:1::1/64"]},
        "eth3": {"addresses": ["10.2.0.1/24"], "mtu": 1400},
    },
    "routes": [
        {"to": "10.9.0.0/16", "via": "10.8.0.1", "link": "br0"},  # before the route to its gateway
        {"to": "10.8.0.0/16", "link": "br0"},
        {"to": "default", "via": "10.2.0.254", "table": 100},
        {"to": "fd09::/48", "via": "fd00:1::9"},
    ],
    "rules": [{"source": "10.2.0.0/24", "table": 100, "priority": 1000}],
}
# What a second run, and a change that was undone, must leave as it is.
STATE = r"""
ip -o -4 address; ip -4 route show table all; ip -6 route show | grep -v ^fe80; ip rule; ip -6 rule
for d in /sys/class/net/*; do echo $d $(readlink $d/master); done; ovs-vsctl show 2>/dev/null
cat /etc/systemd/network/* /etc/network/interfaces /etc/network/interfaces.d/* /etc/nornir-stack/* 2>/dev/null
cat /etc/netplan/* /etc/NetworkManager/system-connections/* 2>/dev/null
systemctl show -p ActiveEnterTimestampMonotonic systemd-networkd NetworkManager openvswitch-switch networking
"""
PLAN = {"networks": {"external": {"cidr": "111.0.0.0/29", "kind": "public", "gateway": "111.0.0.1", "bridge": "br-ex"}}}


def inside(lab: Lab, node: str, script: str) -> str:
    return lab.enter(node, "sh", "-c", script).stdout.strip()


def state(lab: Lab, node: str) -> str:
    return inside(lab, node, STATE)


def run(
    lab: Lab, node: str, declared: dict[str, Any], *, dry_run: bool = False, within: float = 40
) -> tuple[Report, TaskReport]:
    chain = Chain("trial", Stage("links", [do(links, within=within)], role("network")))
    with nornir(lab, {"network": [node]}, {"defaults": PLAN, node: {"network": declared}}) as nr:
        report = chain.run(nr, dry_run=dry_run)
    return report, report.stage("links").host(node).tasks[0]


def bring(lab: Lab, node: str, declared: dict[str, Any]) -> None:
    """A run that changes something, then one that changes nothing, and leaves everything as it is."""
    report, told = run(lab, node, declared)
    assert report.ok, told.error
    before = state(lab, node)
    again, told = run(lab, node, declared)
    assert again.ok, told.error
    assert again.changed == (), told.diff
    assert state(lab, node) == before


def reboot(lab: Lab, node: str, declared: dict[str, Any]) -> None:
    """As declared after a boot, by the node's own files: nothing is left to change."""
    lab.stop(node)
    lab.start(node)  # answers ssh; its other links may still be coming up
    end = time.monotonic() + GRACE
    while (told := run(lab, node, declared, dry_run=True)[1]).changed:
        assert time.monotonic() < end, told.diff
    report, told = run(lab, node, declared)
    assert report.ok, told.error
    assert report.changed == ()


def is_undone(lab: Lab, node: str, declared: dict[str, Any]) -> None:
    """Undone, raised with why, within the time; everything as before, and the node answers."""
    before = state(lab, node)
    started = time.monotonic()
    report, told = run(lab, node, declared, within=WITHIN)
    assert time.monotonic() - started < WITHIN + GRACE
    assert told.status is Status.FAILED
    assert "has its former network again" in told.error
    assert report.exit_code == 1
    assert state(lab, node) == before


def not_forwarding(lab: Lab, node: str) -> None:
    """A new network namespace has the machine's ip_forward; this node is to pass nothing on."""
    lab.enter(node, "sysctl", "-w", "net.ipv4.ip_forward=0")
    assert inside(lab, node, "cat /proc/sys/net/ipv4/ip_forward") == "0"


@contextmanager
def asking_from_afar(lab: Lab, node: str) -> Iterator[None]:
    """This machine speaks to the node from an address that the node reaches by its default route only."""
    address = lab.spec.node(node).address.partition("/")[0]
    machine.run("ip", "address", "add", f"{FAR}/32", "dev", lab.spec.bridge)
    machine.run("ip", "route", "add", address, "dev", lab.spec.bridge, "src", FAR)
    try:
        yield
    finally:
        machine.run("ip", "route", "delete", address, "dev", lab.spec.bridge)
        machine.run("ip", "address", "delete", f"{FAR}/32", "dev", lab.spec.bridge)
