"""Links, routes and rules from one declaration on real nodes, by networkd and by ifupdown; Open vSwitch; wrong ones undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.select import role
from nornir_stack.tasks.networking.bridge import AGENT_INI, open_vswitch
from nornir_stack.tasks.networking.deploy import deploy
from nornir_stack.tasks.networking.host import host
from nornir_stack.tasks.networking.observe import observe
from tests.integration.conftest import nornir
from tests.integration.link_trials import (
    PLAN,
    ROUTED,
    asking_from_afar,
    bring,
    inside,
    is_undone,
    not_forwarding,
    reboot,
    run,
    state,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab

CARDS = {"eth2": "inside", "eth3": "second"}
NODES = {"n1": CARDS, "n2": CARDS}
# ifupdown alone: what Debian's installer leaves behind
IFUPDOWN = r"""
set -e
printf 'auto lo\niface lo inet loopback\n\nauto host0\niface host0 inet static\n    address %s\n    gateway %s\n' "$1" "$2" \
    >/etc/network/interfaces
systemctl disable systemd-networkd.service systemd-networkd.socket
rm -f /etc/systemd/network/*
systemctl enable networking.service
"""


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    """n1 with networkd, n2 with ifupdown; both with two cards, on the same two segments."""
    lab = boot("n1", "n2", tree={"n1": "network", "n2": "ifupdown"}, nics=NODES)
    done = lab.enter("n2", "sh", "-c", IFUPDOWN, "sh", lab.spec.node("n2").address, lab.spec.gateway)
    assert done.returncode == 0, done.stderr
    lab.stop("n2")
    lab.start("n2")
    install = Chain("install", Stage("ovs", [open_vswitch], role("network")))
    with nornir(lab, {"network": ["n1", "n2"]}) as nr:
        assert install.run(nr).ok
    return lab


EXTERNAL: dict[str, Any] = {
    "links": {
        "br-ex": {
            "kind": "ovs-bridge",
            "ports": ["eth2", "to-ex2"],
            "addresses": ["111.0.0.2/29"],
            "physical_network": "physnet1",
        },
        "br-ex2": {"kind": "ovs-bridge", "ports": ["eth3", "to-ex"], "physical_network": "physnet2"},
        "eth3": {"vlan": 30},
        "to-ex2": {"kind": "ovs-patch", "peer": "to-ex"},
        "to-ex": {"kind": "ovs-patch", "peer": "to-ex2"},
    },
    "routes": [{"to": "10.50.0.0/16", "via": "111.0.0.1"}],
}
WON_BACK: dict[str, Any] = {
    "links": {**EXTERNAL["links"], "br-ex": {**EXTERNAL["links"]["br-ex"], "addresses": []}},
    "routes": [{"to": "10.50.0.0/16", "via": "111.0.0.1", "link": "br-ex"}, {"to": "111.0.0.0/29", "link": "br-ex"}],
}


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_links_routes_and_rules(lab: Lab, node: str) -> None:
    """A dry run touches nothing; then all is there, and after a boot; what is no longer declared goes."""
    before = state(lab, node)
    plan, told = run(lab, node, ROUTED, dry_run=True)
    assert plan.exit_code == 3, told.error
    assert "10.1.0.1/24" in told.diff
    assert state(lab, node) == before

    bring(lab, node, ROUTED)
    for _ in range(2):
        ways = inside(lab, node, "ip route; ip -6 route; ip route show table 100; ip rule")
        assert "10.9.0.0/16 via 10.8.0.1 dev br0" in ways
        assert "fd09::/48 via fd00:1::9 dev br0" in ways
        assert "default via 10.2.0.254 dev eth3" in ways
        assert "from 10.2.0.0/24 lookup 100" in ways
        assert "mtu 1400" in inside(lab, node, "ip link show eth3")
        assert "master br0" in inside(lab, node, "ip link show eth2")
        reboot(lab, node, ROUTED)

    less = {"links": {"eth3": {"addresses": ["10.2.0.1/24"]}}}
    bring(lab, node, less)
    ways = inside(lab, node, "ip -o link; ip route; ip rule; ip route show table 100")
    assert not any(gone in ways for gone in ("br0", "10.9.0.0", "lookup 100", "10.2.0.254"))


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_open_vswitch(lab: Lab, node: str) -> None:
    """Bridges, a tag, patch ports, mappings; then br-ex without its address and with a route; each also after a boot."""
    inside(lab, node, f"mkdir -p {AGENT_INI.rpartition('/')[0]}; printf '[ovs]\\n' >{AGENT_INI}")
    bring(lab, node, EXTERNAL)
    assert "bridge_mappings = physnet1:br-ex,physnet2:br-ex2" in inside(lab, node, f"cat {AGENT_INI}")
    assert inside(lab, node, "ovs-vsctl get port eth3 tag; ovs-vsctl get interface to-ex options:peer").split() == [
        "30",
        "to-ex2",
    ]
    assert "111.0.0.2/29" in inside(lab, node, "ip -o address show dev br-ex")
    bring(lab, node, WON_BACK)
    for _ in range(2):
        assert "111.0.0." not in inside(lab, node, "ip -o address")
        ways = inside(lab, node, "ip route show dev br-ex")
        assert "111.0.0.0/29" in ways
        assert "10.50.0.0/16 via 111.0.0.1" in ways
        assert inside(lab, node, "ovs-vsctl list-ports br-ex").split() == ["eth2", "to-ex2"]
        reboot(lab, node, WON_BACK)
    bring(lab, node, {"links": {"eth3": {"addresses": ["10.2.0.1/24"]}}})
    assert inside(lab, node, "ovs-vsctl list-br") == ""


def test_packets_pass_a_bridge_with_a_tag(lab: Lab) -> None:
    """n1's tagged port is in VLAN 30: through br-ex2 the other node is reached only where its frames are taken for it."""
    bring(lab, "n1", {"links": {"br-ex": {"kind": "ovs-bridge", "ports": ["eth2"], "addresses": ["10.5.0.1/24"]}}})
    bring(lab, "n2", {"links": {"eth2": {"addresses": ["10.5.0.2/24"]}}})
    assert "1 received" in inside(lab, "n2", "ping -c1 -W3 10.5.0.1")
    bring(
        lab,
        "n1",
        {
            "links": {
                "br-ex": {"kind": "ovs-bridge", "ports": ["eth2"], "addresses": ["10.5.0.1/24"]},
                "eth2": {"vlan": 30},
            }
        },
    )
    assert "1 received" not in inside(lab, "n2", "ip neigh flush dev eth2; ping -c1 -W2 10.5.0.1")


def test_the_only_card_becomes_a_port_of_a_bridge(lab: Lab) -> None:
    """The card that carries management gives its address and default route to the bridge: the way there stays."""
    address = lab.spec.node("n1").address
    moved = {
        "links": {"br-mgmt": {"kind": "bridge", "ports": ["host0"], "addresses": [address]}},
        "routes": [{"to": "default", "via": lab.spec.gateway}],
    }
    bring(lab, "n1", moved)
    assert f"default via {lab.spec.gateway} dev br-mgmt" in inside(lab, "n1", "ip route")
    reboot(lab, "n1", moved)
    # back: the bridge goes with its declaration, and the card has its own file again
    report, told = run(lab, "n1", {"links": {"host0": {"addresses": [address]}}, "routes": moved["routes"]})
    assert report.ok, told.error
    assert f"default via {lab.spec.gateway} dev host0" in inside(lab, "n1", "ip route")


def test_what_locks_out_is_undone(lab: Lab) -> None:
    """A bridge that swallows the only card, another address, a wrong default route for one who asks from afar."""
    host0 = {"host0": {"addresses": [lab.spec.node("n1").address]}}
    bring(lab, "n1", {"links": host0, "routes": [{"to": "default", "via": lab.spec.gateway}]})
    is_undone(lab, "n1", {"links": {"br9": {"kind": "bridge", "ports": ["host0"]}}})
    is_undone(lab, "n1", {"links": {"br9": {"kind": "ovs-bridge", "ports": ["host0"]}}})
    is_undone(lab, "n1", {"links": {"host0": {"addresses": ["192.0.2.7/24"]}}})
    not_forwarding(lab, "n2")
    elsewhere = lab.spec.node("n2").address.partition("/")[0]
    with asking_from_afar(lab, "n1"):
        is_undone(lab, "n1", {"links": host0, "routes": [{"to": "default", "via": elsewhere}]})


def test_a_declaration_that_does_not_hold_is_refused(lab: Lab) -> None:
    """Told with its key; nothing is touched."""
    before = state(lab, "n1")
    _, told = run(lab, "n1", {"links": {"eth2": {"addresses": ["111.0.0.2/24"]}}})
    assert "network.links.eth2.addresses.0: 111.0.0.2/24 has the wrong netmask" in told.error
    _, told = run(lab, "n1", {"links": {"eth7": {"addresses": ["10.7.0.2/24"]}}})
    assert "there is no network device eth7" in told.error
    assert state(lab, "n1") == before


def test_the_chain_over_all_nodes(lab: Lab) -> None:
    """network.deploy: names everywhere, the host in the private network, on both families of files; again without a change."""
    data: dict[str, Any] = {
        "defaults": PLAN,
        "n1": {"network": {"links": {"eth1": {"kind": "bridge", "ports": ["eth2"], "addresses": ["172.16.1.1/24"]}}}},
        "n2": {"network": {"links": {"eth2": {"addresses": ["172.16.1.2/24"]}}}},
    }
    with nornir(lab, {"hypervisor": ["n1"], "network": ["n2"]}, data) as nr:
        report = deploy().run(nr)
        assert report.ok, [problem for stage in report.stages for problem in stage.problems]
        assert deploy().run(nr).changed == ()
    assert "1 received" in inside(lab, "n2", "ping -c1 -W3 172.16.1.1")
    assert f"{lab.spec.node('n1').address.partition('/')[0]} n1" in inside(lab, "n2", "cat /etc/hosts")


def test_services_of_a_physical_host(lab: Lab) -> None:
    """What is not installed is off; what is wanted and not there is refused; looking tells all in one read."""
    chain = Chain("host", Stage("services", [do(host, network_manager="off", firewalld="off")], role("network")))
    with nornir(lab, {"network": ["n1"]}) as nr:
        report = chain.run(nr)
        assert report.ok
        assert report.changed == ()
        assert report.value(host, "n1") == {"network_manager": False, "firewalld": False}
        wanted = Chain("host", Stage("services", [do(host, firewalld="on")], role("network"))).run(nr)
        assert "firewalld.service is to run and is not installed" in wanted.stage("services").host("n1").error
        seen = nr.run(task=observe)["n1"][0].result
    assert {"lo", "host0", "eth2", "eth3"} <= set(seen.links)
    assert "systemd-networkd" in seen.units
