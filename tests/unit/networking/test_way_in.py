"""The way in: which link has it, and what would lose it where neither undoing nor a boot brings it back."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.tasks.networking.observe import NodeNetwork, SeenBridge, SeenLink, SeenPort
from nornir_stack.tasks.networking.order import complete
from nornir_stack.tasks.networking.record import Record
from nornir_stack.tasks.networking.way_in import kept, lost, stands_on, stripped, taken, unheld, way_in
from tests.unit.networking.declared import links

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MINE = ip_interface("10.0.0.5/24")
# Management on a VLAN over a bond, which is a port of a bridge.
NOW = NodeNetwork(
    links={
        "br0": SeenLink("br0", "bridge", up=True, addresses=(MINE,)),
        "v7": SeenLink("v7", "vlan", up=True, master="br0", over="bond0", vlan=7),
        "bond0": SeenLink("bond0", "bond", up=True, mode="active-backup", miimon=100),
        "eth0": SeenLink("eth0", up=True, master="bond0"),
        "eth1": SeenLink("eth1", up=True, addresses=(ip_interface("10.1.0.5/24"),)),
    },
    way=MINE.ip,
)
PLAIN = NodeNetwork(links={"eth0": SeenLink("eth0", up=True, addresses=(MINE,)), "eth1": SeenLink("eth1")}, way=MINE.ip)
LEASED = replace(PLAIN, links={"eth0": SeenLink("eth0", up=True, dynamic=(MINE,)), "eth1": SeenLink("eth1")})


def test_the_link_of_the_way_in_and_all_beneath_it() -> None:
    """The link with the address that ssh came to; ports, bonds and what a VLAN is over are beneath it, in Open vSwitch too."""
    assert way_in(NOW) == "br0"
    assert stands_on("br0", NOW) == ["br0", "v7", "bond0", "eth0"]
    assert way_in(replace(NOW, way=None)) == ""
    assert way_in(replace(NOW, way=ip_address("203.0.113.9"))) == ""  # behind a translation of addresses
    ex = {"br-ex": SeenBridge("system", {"bond1": SeenPort(("eth2", "eth3"))})}
    assert stands_on("br-ex", NodeNetwork(bridges=ex)) == ["br-ex", "eth2", "eth3"]


KEPT: Mapping[str, tuple[NodeNetwork, dict[str, Any], bool]] = {
    "where it is": (PLAIN, {"eth0": {"addresses": [str(MINE)]}}, True),
    "on a bridge": (PLAIN, {"br9": {"kind": "bridge", "ports": ["eth0"], "addresses": [str(MINE)]}}, True),
    "with another mask": (PLAIN, {"eth0": {"addresses": ["10.0.0.5/16"]}}, True),
    "another address": (PLAIN, {"eth0": {"addresses": ["10.0.0.6/24"]}}, False),
    "a port without it": (PLAIN, {"br9": {"kind": "bridge", "ports": ["eth0"]}}, False),
    "DHCP instead": (PLAIN, {"eth0": {"dhcp": True}}, False),
    "still by DHCP": (LEASED, {"eth0": {"dhcp": True}}, True),
    "by DHCP on a bridge over it": (LEASED, {"br9": {"kind": "bridge", "ports": ["eth0"], "dhcp": True}}, True),
    "by DHCP on another card": (LEASED, {"eth1": {"dhcp": True}}, False),
}


@pytest.mark.parametrize("case", KEPT)
def test_whether_a_declaration_has_the_way_in(case: str) -> None:
    """On whatever link the address is declared; by DHCP where it came by DHCP, on the same card."""
    now, declared, expected = KEPT[case]
    assert kept(links(links=declared), now) is expected


OTHER: dict[str, Any] = {"eth1": {"addresses": ["10.1.0.5/24"]}}
MADE = Record(devices={"br0": "bridge", "v7": "vlan", "bond0": "bond"}, cards=("eth0", "eth1"))
LOST: Mapping[str, tuple[NodeNetwork, dict[str, Any], Record, Collection[str] | None, str]] = {
    "its bridge was made by us": (NOW, OTHER, MADE, None, "and br0, which it stands on, is no longer declared and would be"),
    "the bond beneath it was": (NOW, OTHER, replace(MADE, devices={"bond0": "bond"}), None, "and bond0, which it stands on"),
    "nothing of it is ours": (NOW, OTHER, Record(), (), ""),
    "the address moves to a card": (NOW, {"eth0": {"addresses": [str(MINE)]}}, MADE, None, ""),
    "a boot would not know the card": (PLAIN, OTHER, Record(cards=("eth0",)), (), "described by no file of others: a boot"),
    "others describe the card": (PLAIN, OTHER, Record(cards=("eth0",)), ("eth0",), ""),
    "a manager that takes it up at once": (PLAIN, OTHER, Record(cards=("eth0",)), None, ""),
    "what a new login would tell": (PLAIN, {"eth0": {"addresses": ["10.0.0.6/24"]}}, Record(cards=("eth0",)), (), ""),
    "not by ssh": (replace(NOW, way=None), OTHER, MADE, (), ""),
}


@pytest.mark.parametrize("case", LOST)
def test_what_would_be_lost_for_good(case: str) -> None:
    """A device beneath it that is deleted, a card that no file describes at a boot; what cuts at once is undone."""
    now, declared, record, elsewhere, sentence = LOST[case]
    found = list(lost(complete(links(links=declared)), now, record, elsewhere))
    assert len(found) == (0 if not sentence else len(found) or 1)
    assert sentence in (found or [""])[0]


def test_a_card_under_a_vlan_keeps_its_addresses() -> None:
    """One that is named only as `over` would be written down without them: it is to be declared."""
    vlan: dict[str, Any] = {"data": {"kind": "vlan", "over": "eth0", "vlan": 172, "addresses": ["172.16.1.10/24"]}}
    (found,) = stripped(links(links=vlan), PLAIN)
    assert found.startswith("data is to be over eth0, which has 10.0.0.5/24 and is not declared")
    assert len(list(stripped(links(links=vlan), LEASED))) == 1
    assert list(stripped(links(links={**vlan, "eth0": {"addresses": [str(MINE)]}}), PLAIN)) == []
    assert list(stripped(links(links={**vlan, "data": {**vlan["data"], "over": "eth1"}}), PLAIN)) == []


def test_a_port_of_others_stays_on_their_bridge() -> None:
    """A card that is declared alone would leave the bridge that nobody declares; one that we made and that goes lets it go."""
    alone = complete(links(links={"eth0": {"mtu": 9000}}))
    (found,) = taken(alone, NOW, Record())
    assert found.startswith("eth0 is a port of bond0, which is not declared")
    assert list(taken(alone, NOW, Record(devices={"bond0": "bond"}))) == []
    assert list(taken(complete(links(links={"br9": {"kind": "bridge", "ports": ["eth0"]}})), NOW, Record())) == []
    assert list(taken(complete(links(links={"eth1": {}})), NOW, Record())) == []


def test_networkmanager_goes_only_where_another_has_the_way_in() -> None:
    """The address would stay until its lease ends or the node boots, longer than any new login waits."""
    nm, networkd = frozenset({"NetworkManager"}), frozenset({"NetworkManager", "systemd-networkd"})
    assert unheld(replace(PLAIN, units=nm)) == "nothing but NetworkManager manages its network"
    assert unheld(replace(PLAIN, units=networkd)) == "10.0.0.5 on eth0 is the way in, and no file of networkd is about eth0"
    known = frozenset({("networkd", "eth0")})
    assert unheld(replace(PLAIN, units=networkd, described=known)) == ""
    assert unheld(replace(PLAIN, units=nm, described=known)) != ""
    netplan = frozenset({"/usr/sbin/netplan", "/etc/netplan/50-cloud-init.yaml"})
    assert unheld(replace(PLAIN, units=networkd, files=netplan, described=known)) == ""
    assert unheld(replace(PLAIN, units=networkd, files=netplan, way=None)) != ""
