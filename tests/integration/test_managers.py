"""The links of a declaration by NetworkManager and by netplan on real nodes: applied, kept over a boot, and undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.link_trials import ROUTED, bring, inside, is_undone, reboot, run, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab

CARDS = {"eth2": "inside", "eth3": "second"}
# What an installer leaves behind: the management card alone, by this manager and no other.
NETWORKMANAGER = r"""
set -e
file=/etc/NetworkManager/system-connections/host0.nmconnection
cat >$file <<END
[connection]
id=host0
type=ethernet
interface-name=host0
[ipv4]
method=manual
address1=$1,$2
[ipv6]
method=disabled
END
chmod 600 $file
systemctl disable systemd-networkd.service systemd-networkd.socket
rm -f /etc/systemd/network/*
systemctl enable NetworkManager.service
"""
# udev does not run in a container: /sys is read-only there, so `udevadm trigger` fails, and netplan with it.
NETPLAN = r"""
set -e
printf '#!/bin/sh\n[ "$1" = trigger ] || exec /usr/bin/udevadm "$@"\n' >/usr/local/sbin/udevadm
chmod 755 /usr/local/sbin/udevadm
cat >/etc/netplan/50-cloud-init.yaml <<END
network:
  version: 2
  ethernets:
    host0:
      addresses: [$1]
      routes:
      - {to: default, via: $2}
END
chmod 600 /etc/netplan/50-cloud-init.yaml
rm -f /etc/systemd/network/*
"""
NODES = {"nm1": NETWORKMANAGER, "np1": NETPLAN}
BY = pytest.mark.parametrize("node", [pytest.param("nm1", id="NetworkManager"), pytest.param("np1", id="netplan")])
LESS: dict[str, Any] = {"links": {"eth3": {"addresses": ["10.2.0.1/24", "10.2.0.2/24"]}}}


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    lab = boot(*NODES, tree="managers", nics=dict.fromkeys(NODES, CARDS))
    for node, script in NODES.items():
        done = lab.enter(node, "sh", "-c", script, "sh", lab.spec.node(node).address, lab.spec.gateway)
        assert done.returncode == 0, done.stderr
        lab.stop(node)
        lab.start(node)
    return lab


def with_management(lab: Lab, node: str, declared: dict[str, Any]) -> dict[str, Any]:
    """A declaration with the card that the node is reached by: what a declaration had once, and has no longer, goes."""
    card = {"host0": {"addresses": [lab.spec.node(node).address]}}
    way = {"to": "default", "via": lab.spec.gateway}
    return {**declared, "links": {**declared["links"], **card}, "routes": [*declared.get("routes", []), way]}


@BY
def test_links_routes_and_rules(lab: Lab, node: str) -> None:
    """A dry run touches nothing; then all is there, and after a boot; what is no longer declared goes, what changed is so."""
    routed, less = (with_management(lab, node, declared) for declared in (ROUTED, LESS))
    before = state(lab, node)
    plan, told = run(lab, node, routed, dry_run=True)
    assert plan.exit_code == 3, told.error
    assert state(lab, node) == before

    bring(lab, node, routed)
    reboot(lab, node, routed)
    ways = inside(lab, node, "ip route; ip -6 route; ip route show table 100; ip rule")
    assert "10.9.0.0/16 via 10.8.0.1 dev br0" in ways
    assert "fd09::/48 via fd00:1::9 dev br0" in ways
    assert "default via 10.2.0.254 dev eth3" in ways
    assert "from 10.2.0.0/24 lookup 100" in ways
    assert "mtu 1400" in inside(lab, node, "ip link show eth3")
    assert "master br0" in inside(lab, node, "ip link show eth2")

    bring(lab, node, less)
    ways = inside(lab, node, "ip -o link; ip route; ip rule; ip route show table 100")
    assert not any(gone in ways for gone in ("br0", "10.9.0.0", "lookup 100", "10.2.0.254"))
    held = inside(lab, node, "ip -o -4 address show dev eth3")
    assert ("10.2.0.1/24" in held, "10.2.0.2/24" in held) == (True, True)


@BY
def test_the_only_card_and_what_locks_out(lab: Lab, node: str) -> None:
    """Another address is undone, for other links too; management moves to a bridge, is there after a boot, and moves back."""
    address = lab.spec.node(node).address
    moved = {
        "links": {"br-mgmt": {"kind": "bridge", "ports": ["host0"], "addresses": [address]}},
        "routes": [{"to": "default", "via": lab.spec.gateway}],
    }
    is_undone(lab, node, {"links": {"host0": {"addresses": ["192.0.2.7/24"]}}})
    bring(lab, node, moved)
    assert f"default via {lab.spec.gateway} dev br-mgmt" in inside(lab, node, "ip route")
    reboot(lab, node, moved)
    # back: the bridge goes with its declaration
    report, told = run(lab, node, with_management(lab, node, {"links": {}}))
    assert report.ok, told.error
    assert f"default via {lab.spec.gateway} dev host0" in inside(lab, node, "ip route")
