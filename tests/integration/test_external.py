"""Public networks by each of the three ways: from outside through a physical host and a network node to an instance.

up1 is the upstream router, host1 the physical host, net1 the network node with Open vSwitch, inst1 an instance behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage
from nornir_stack.results import Status
from nornir_stack.select import role
from nornir_stack.tasks.networking.bridge import open_vswitch
from nornir_stack.tasks.networking.external import Answers, external, good_citizen
from nornir_stack.tasks.networking.links import links
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

CARDS = {
    "up1": {"out1": "outside"},
    "host1": {"peth0": "outside", "vnet0": "inside"},
    "net1": {"eth2": "inside", "tap5": "instances"},
    "inst1": {"eth0": "instances"},
}
ROLES = {"router": ["up1"], "hypervisor": ["host1"], "network": ["net1"], "instance": ["inst1"]}
OUTSIDE = "203.0.113.1"
HOST = "203.0.113.10"
FOREIGN = "192.0.2.7"  # behind another card of the physical host, and nobody's business outside
# Everything that a second run must leave as it is; start times are in microseconds after the boot.
STATE = r"""
ip -o -4 address; ip -4 route show table all; ip -6 route show | grep -v ^fe80; ip rule; ip -6 rule; nft -s list ruleset
grep -H . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/proxy_arp
ovs-vsctl show 2>/dev/null; cat /etc/systemd/network/* /etc/nornir-stack/*
systemctl show -p ActiveEnterTimestampMonotonic systemd-networkd openvswitch-switch nornir-stack-external
"""


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    """Open vSwitch runs on the network node, as every test of whatever order needs it."""
    lab = boot(*CARDS, tree="network", nics=CARDS)
    inside(lab, "host1", f"ip address add {FOREIGN}/24 dev lo")
    report = run(lab, "routed", Chain("ready", Stage("ovs", [open_vswitch], role("network"))))
    assert report.ok, problems(report)
    return lab


def inside(lab: Lab, node: str, script: str) -> str:
    return lab.enter(node, "sh", "-c", script).stdout.strip()


def state(lab: Lab) -> dict[str, str]:
    return {node: inside(lab, node, STATE) for node in CARDS}


def inventory(mode: str) -> dict[str, dict[str, Any]]:
    """A plan of addresses, and what follows from it for each host; the instance's address is `instance(mode)`."""
    routed = mode != "bridged"
    public: dict[str, Any] = {"kind": "public", "bridge": "br-ex", "static": {"inst1": instance(mode)}}
    if routed:
        public |= {"cidr": "111.0.0.0/28", "gateway": "111.0.0.1"}
    else:
        public |= {
            "cidr": "203.0.113.0/24",
            "gateway": OUTSIDE,
            "floating": [{"first": "203.0.113.100", "last": "203.0.113.120"}],
        }
    networks = {"external": public, **({"outside": {"cidr": "203.0.113.0/24"}} if routed else {})}
    card = {"addresses": [f"{instance(mode)}/{'28' if routed else '24'}"], "offload": False}
    uplink = {"mode": mode, "card": "peth0", "bridge": "virbr2", "next_hop": HOST}
    out = [{"to": "203.0.113.0/24", "via": "111.0.0.1"}] if routed else []
    return {
        "defaults": {"networks": networks},
        "up1": {
            "router": {"dialect": "linux"},
            "network": {"links": {"out1": {"addresses": [f"{OUTSIDE}/24"], "offload": False}}},
        },
        "host1": {
            "external": {"networks": {"external": uplink}},
            "network": {
                "links": {"peth0": {"addresses": [f"{HOST}/24"]}, "virbr2": {"kind": "bridge", "ports": ["vnet0"]}},
            },
        },
        "net1": {
            "network": {
                "links": {"br-ex": {"kind": "ovs-bridge", "ports": ["eth2", "tap5"]}},
                "routes": [{"to": public["cidr"], "link": "br-ex"}],
            },
        },
        "inst1": {"network": {"links": {"eth0": card}, "routes": out}},
    }


def instance(mode: str) -> str:
    return "203.0.113.98" if mode == "bridged" else "111.0.0.5"


def run(lab: Lab, mode: str, chain: Chain | None = None, *, dry_run: bool = False) -> Report:
    with nornir(lab, ROLES, inventory(mode)) as nr:
        return (chain or external()).run(nr, dry_run=dry_run)


def settled(lab: Lab, mode: str) -> Report:
    """The instance with its address, then the chain."""
    instance = run(lab, mode, Chain("ready", Stage("instance", [links], role("instance"))))
    assert instance.ok, problems(instance)
    report = run(lab, mode)
    assert report.ok, problems(report)
    return report


def bring(lab: Lab, mode: str) -> Report:
    """The instance with its address, then the chain; again it must change nothing."""
    report = settled(lab, mode)
    before = state(lab)
    again = run(lab, mode)
    assert again.ok, problems(again)
    assert again.changed == ()
    assert state(lab) == before
    return report


def problems(report: Report) -> list[str]:
    return [problem for stage in report.stages for problem in stage.problems]


def reached(lab: Lab, address: str) -> None:
    """Ping, TCP and ssh from outside; the instance sees who asks, and shows the host key that the lab made for it."""
    capture = "tcpdump -lni eth0 -c 4 'icmp[icmptype] == icmp-echo or tcp dst port 22' 2>/dev/null & sleep 0.5"
    ask = f"ip neigh flush dev out1; ping -c3 -W3 {address} && nc -z -w5 {address} 22 && ssh-keyscan -T 10 -t ed25519 {address}"
    inside(lab, "inst1", f"({capture}; wait) >/tmp/capture 2>&1 & echo")
    said = inside(lab, "up1", ask)
    known = (lab.spec.state / "known_hosts").read_text()
    key = next(line.split()[-1] for line in known.splitlines() if line.startswith("inst1,"))
    assert f"{address} ssh-ed25519 {key}" in said, said
    seen = inside(lab, "inst1", "cat /tmp/capture")
    assert f"IP {OUTSIDE} > {address}: ICMP echo request" in seen, seen
    assert f"> {address}.22: Flags [S]" in seen or "ICMP" in seen, seen


def asked_for(lab: Lab, address: str) -> str:
    """What is seen on the wire outside while somebody there asks who has an address."""
    route = f"ip route replace {address}/32 dev out1"
    capture = "timeout 4 tcpdump -lni out1 arp 2>/dev/null & sleep 0.5"
    return inside(
        lab, "up1", f"{route}; {capture}; ping -c2 -W1 {address} >/dev/null; wait; ip route delete {address}/32 dev out1"
    )


def test_routed(lab: Lab) -> None:
    """The upstream router sends the network to the host; what is not of the range is not forwarded, the gateway is closed."""
    report = bring(lab, "routed")
    assert report.value(good_citizen, "host1") == Answers({"external": ("111.0.0.0/28",)})
    reached(lab, instance("routed"))
    assert "via 203.0.113.10" in inside(lab, "up1", "ip route show 111.0.0.0/28")
    # the gateway: it answers who asks from outside nothing else than before, and instances not at all
    assert "1 received" not in inside(lab, "inst1", "ping -c1 -W1 111.0.0.1")
    # another's source does not leave
    inside(lab, "inst1", "ip address add 198.51.100.9/32 dev lo")
    assert "1 received" not in inside(lab, "inst1", f"ping -c1 -W1 -I 198.51.100.9 {OUTSIDE}")
    inside(lab, "inst1", "ip address delete 198.51.100.9/32 dev lo")
    # an address that is not in the range is not forwarded, though the host would know the way
    inside(lab, "up1", f"ip route replace {FOREIGN}/32 via {HOST}; ip route replace 10.99.9.9/32 via {HOST}")
    inside(lab, "host1", "ip route replace 10.99.9.9/32 dev virbr2")
    inside(lab, "inst1", "timeout 4 tcpdump -lni eth0 host 10.99.9.9 or arp host 10.99.9.9 >/tmp/strays 2>/dev/null & echo")
    assert "1 received" not in inside(lab, "up1", "ping -c2 -W1 10.99.9.9")
    assert inside(lab, "inst1", "cat /tmp/strays") == ""
    inside(lab, "host1", "ip route delete 10.99.9.9/32 dev virbr2")
    inside(lab, "up1", f"ip route delete {FOREIGN}/32; ip route delete 10.99.9.9/32")


def test_proxy_arp(lab: Lab) -> None:
    """The host answers on the wire outside for the own range and for nothing else; without the rules it would."""
    report = bring(lab, "proxy_arp")
    answers = report.value(good_citizen, "host1")
    assert f"{lab.spec.network} by host0" in answers.kept_back
    assert "via" not in inside(lab, "up1", "ip route show 111.0.0.0/28")  # the static route of the other way is gone
    inside(lab, "up1", "ip route replace 111.0.0.0/28 dev out1")
    mac = inside(lab, "host1", "cat /sys/class/net/peth0/address")
    assert f"Reply 111.0.0.5 is-at {mac}" in asked_for(lab, "111.0.0.5")
    reached(lab, instance("proxy_arp"))

    management = lab.spec.node("net1").address.partition("/")[0]
    for foreign in (management, FOREIGN, "198.51.100.200"):
        seen = asked_for(lab, foreign)
        assert f"who-has {foreign} tell" in seen
        assert f"Reply {foreign}" not in seen, seen
    # without the rules the same question is answered: they are what keeps it quiet
    inside(lab, "host1", "systemctl stop nornir-stack-external")
    assert inside(lab, "host1", "cat /proc/sys/net/ipv4/conf/peth0/proxy_arp") == "0"
    inside(lab, "host1", "echo 1 >/proc/sys/net/ipv4/conf/peth0/proxy_arp")
    assert f"Reply {management} is-at {mac}" in asked_for(lab, management)
    mended = run(lab, "proxy_arp")
    assert mended.ok, problems(mended)
    assert f"Reply {management}" not in asked_for(lab, management)

    # as after a boot: rules first, then answers
    lab.stop("host1")
    lab.start("host1")
    inside(lab, "host1", f"ip address add {FOREIGN}/24 dev lo")
    assert run(lab, "proxy_arp").changed == ()
    reached(lab, instance("proxy_arp"))
    assert f"Reply {management}" not in asked_for(lab, management)
    inside(lab, "up1", "ip route delete 111.0.0.0/28 dev out1")


def test_bridged(lab: Lab) -> None:
    """The card is a port of the bridge, which took its address; instances speak ARP for the own range only."""
    bring(lab, "bridged")
    assert HOST in inside(lab, "host1", "ip -o address show dev virbr2")
    assert inside(lab, "host1", "ip -o -4 address show dev peth0") == ""
    assert inside(lab, "host1", "cat /proc/sys/net/ipv4/conf/peth0/proxy_arp") == "0"
    reached(lab, instance("bridged"))
    assert "1 received" in inside(lab, "up1", f"ping -c1 -W2 {HOST}")
    # an instance that claims the gateway's address is not heard outside
    inside(lab, "inst1", "ip address add 203.0.113.250/32 dev eth0")
    assert "Reply 203.0.113.250" not in asked_for(lab, "203.0.113.250")
    inside(lab, "inst1", "ip address delete 203.0.113.250/32 dev eth0")


def test_a_range_that_leads_nowhere_is_not_answered_for(lab: Lab) -> None:
    """Where the own range does not go to the bridge, the host refuses before anything is touched."""
    chain = Chain("only the rules", Stage("rules", [good_citizen], role("hypervisor")))
    settled(lab, "bridged")
    before = state(lab)
    report = run(lab, "proxy_arp", chain)
    told = report.stage("rules").host("host1")
    assert told.status is Status.FAILED
    assert "the route of 111.0.0.0/28 goes" in told.error
    assert state(lab) == before


def test_a_dry_run_touches_nothing(lab: Lab) -> None:
    """The whole chain is looked at; files and rules stand in the diff."""
    settled(lab, "bridged")
    before = state(lab)
    report = run(lab, "routed", dry_run=True)
    assert report.exit_code == 3
    assert state(lab) == before
