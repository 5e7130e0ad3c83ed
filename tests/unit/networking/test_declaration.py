"""What is wrong with a declaration is told before anything is touched; what a node lacks of it, link by link."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack import schema
from nornir_stack.errors import Refused
from nornir_stack.inventory.networks import read_networks
from nornir_stack.tasks.networking import bonds, ovs, vlans
from nornir_stack.tasks.networking.check import wrong
from nornir_stack.tasks.networking.differ import differences, problems, refuse
from nornir_stack.tasks.networking.links import actions, files_of, undoing
from nornir_stack.tasks.networking.managers import MANAGERS, at_work, manager_of
from nornir_stack.tasks.networking.observe import NodeNetwork, SeenBridge, SeenLink, SeenPort, SeenRoute, parse
from nornir_stack.tasks.networking.order import complete
from nornir_stack.tasks.networking.record import RECORD, Record, forgotten, freed, record_of, recorded
from nornir_stack.tasks.networking.resolvers import Resolver, carried
from nornir_stack.tasks.networking.settings import Links
from tests.unit.networking.declared import HOST, NETWORK_NODE, links

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PLAN = {
    "external": {
        "cidr": "111.0.0.0/29",
        "kind": "public",
        "gateway": "111.0.0.1",
        "floating": [{"first": "111.0.0.3", "last": "111.0.0.6"}],
    },
    "data": {"cidr": "172.16.1.0/24", "pools": [{"first": "172.16.1.100", "last": "172.16.1.199"}]},
}


def told(**data: Any) -> list[str]:
    networks, complaints = read_networks({"networks": PLAN})
    assert complaints == []
    return [f"{'.'.join(map(str, one.path))}: {one.text}" for one in wrong(links(**data), networks)]


def test_declarations_that_hold_together() -> None:
    """A host with everything, and a network node whose default route stands before the route to its gateway."""
    networks, _ = read_networks({"networks": PLAN})
    assert list(wrong(HOST, networks)) == []
    assert list(wrong(NETWORK_NODE, networks)) == []


SLIPS: Mapping[str, tuple[dict[str, Any], str]] = {
    "a netmask of /24 on a /29": (
        {"links": {"br-ex": {"kind": "ovs-bridge", "addresses": ["111.0.0.2/24"]}}},
        "links.br-ex.addresses.0: 111.0.0.2/24 has the wrong netmask: network 'external' is 111.0.0.0/29",
    ),
    "a pool that starts on the bridge's own address": (
        {"links": {"br-ex": {"kind": "ovs-bridge", "addresses": ["111.0.0.3/29"]}}},
        "links.br-ex.addresses.0: 111.0.0.3 stands in the range 111.0.0.3-111.0.0.6 of network 'external'",
    ),
    "a gateway that nothing reaches": (
        {"links": {"br-ex": {"kind": "ovs-bridge"}}, "routes": [{"to": "default", "via": "111.0.0.1", "link": "br-ex"}]},
        "routes.0: to default: its gateway 111.0.0.1 is reached by no address and no other route of br-ex",
    ),
    "networks that overlap": (
        {"links": {"a": {"addresses": ["10.0.0.1/16"]}, "b": {"addresses": ["10.0.5.1/24"]}}},
        "links.b.addresses: 10.0.5.0/24 overlaps 10.0.0.0/16 of a: answers would leave by the other",
    ),
    "the network's own address": (
        {"links": {"a": {"addresses": ["10.0.0.0/24"]}}},
        "links.a.addresses.0: 10.0.0.0 is the network address of 10.0.0.0/24: no host can have it",
    ),
    "a mask that takes in another network": (
        {"links": {"a": {"addresses": ["172.16.9.1/16"]}}},
        "links.a.addresses.0: 172.16.9.1/16 takes in network 'data' (172.16.1.0/24), which lies elsewhere",
    ),
    "an address on a port": (
        {"links": {"br0": {"kind": "bridge", "ports": ["eth0"]}, "eth0": {"addresses": ["10.0.0.1/24"]}}},
        "links.eth0.addresses: 10.0.0.1/24: eth0 is a port of br0, which has the address then",
    ),
    "a port twice": (
        {"links": {"br0": {"kind": "bridge", "ports": ["eth0"]}, "br1": {"kind": "bridge", "ports": ["eth0"]}}},
        "links.br1.ports: eth0 is a port of br0 already",
    ),
    "a gateway that is oneself": (
        {"links": {"a": {"addresses": ["10.0.0.1/24"]}}, "routes": [{"to": "default", "via": "10.0.0.1"}]},
        "routes.0: via 10.0.0.1, which is this host's own address",
    ),
    "two default routes": (
        {
            "links": {"a": {"addresses": ["10.0.0.1/24"]}},
            "routes": [{"to": "default", "via": "10.0.0.2"}, {"to": "default", "via": "10.0.0.3"}],
        },
        "routes.1: 0.0.0.0/0 has a route already (routes.0): give one a metric",
    ),
    "a rule into an empty table": (
        {"rules": [{"source": "10.0.0.0/8", "table": 7, "priority": 9}]},
        "rules.0.table: no route is declared in table 7: what it catches is lost",
    ),
    "a route over a link that is wider than its network": (
        {"links": {"br-ex": {"kind": "ovs-bridge"}}, "routes": [{"to": "111.0.0.0/24", "link": "br-ex"}]},
        "routes.0: 111.0.0.0/24 over br-ex takes in more than network 'external': write 111.0.0.0/29",
    ),
    "a gateway at the end of its network": (
        {"links": {"a": {"addresses": ["172.16.1.5/24"]}}, "routes": [{"to": "default", "via": "172.16.1.255"}]},
        "routes.0: via 172.16.1.255, which is the broadcast address of network 'data'",
    ),
    "a gateway outside, with DHCP on some link": (
        {"links": {"a": {"addresses": ["10.0.0.1/24"]}, "b": {"dhcp": True}}, "routes": [{"to": "default", "via": "10.9.0.1"}]},
        "routes.0: to default: its gateway 10.9.0.1 is reached by no address and no other route of a declared link",
    ),
    "a VLAN of larger frames than what it is over": (
        {"links": {"v": {"kind": "vlan", "over": "eth0", "vlan": 3, "mtu": 9000}}},
        "links.v.mtu: 9000 is more than the 1500 of eth0, beneath it: say `mtu` there too",
    ),
    "a bridge of larger frames than its port": (
        {"links": {"br0": {"kind": "bridge", "ports": ["a", "b"], "mtu": 9000}, "a": {"mtu": 9000}, "b": {"mtu": 8000}}},
        "links.br0.mtu: 9000 is more than the 8000 of b, beneath it",
    ),
    "a VLAN twice": (
        {"links": {name: {"kind": "vlan", "over": "eth0", "vlan": 3} for name in ("v", "w")}},
        "links.w.vlan: 3 over eth0 is v already",
    ),
    "a tag where nothing has tags": (
        {"links": {"br0": {"kind": "bridge", "ports": ["eth0"]}, "eth0": {"vlan": 3}}},
        "links.eth0.vlan: only a vlan, or a port of an ovs-bridge, has a VLAN",
    ),
    "a VLAN over nothing": ({"links": {"v": {"kind": "vlan", "vlan": 3}}}, "links.v.over: missing: a vlan has one"),
    "a bond of one": ({"links": {"b": {"kind": "bond", "ports": ["a"]}}}, "links.b.ports: a bond has two ports or more"),
    "a patch without its other end": (
        {"links": {"br": {"kind": "ovs-bridge", "ports": ["p"]}, "p": {"kind": "ovs-patch", "peer": "q"}}},
        "links.p.peer: q is to be an ovs-patch whose peer is p",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_are_told(slip: str) -> None:
    """Each with its key, what is wrong, and what to do."""
    data, sentence = SLIPS[slip]
    (found,) = told(**data)
    assert found.startswith(sentence)


def test_a_circle_of_links_is_told() -> None:
    """A bridge whose port is a VLAN over that bridge could never be made: each of the two says so."""
    circle = {"br0": {"kind": "bridge", "ports": ["v"]}, "v": {"kind": "vlan", "over": "br0", "vlan": 3}}
    assert told(links=circle) == ["links.br0: stands on itself", "links.v: stands on itself"]


def test_what_the_kernel_would_not_take_is_no_declaration() -> None:
    """A name of 16 letters (IFNAMSIZ counts the NUL), and VLANs 0 and 4095 (802.1Q)."""
    slips: list[dict[str, Any]] = [
        {"a" * 16: {}},
        {"br0": {"kind": "bridge", "ports": ["a" * 16]}},
        {"v": {"kind": "vlan", "over": "eth0", "vlan": 0}},
        {"v": {"kind": "vlan", "over": "eth0", "vlan": 4095}},
    ]
    for slip in slips:
        assert schema.read(Links, {"links": slip})[1] != []
    assert schema.read(Links, {"links": {"a" * 15: {}}})[1] == []
    _, complaints = read_networks({"networks": {"external": {**PLAN["external"], "bridge": "a" * 16}}})
    assert [one.path for one in complaints] == [("networks", "external", "bridge")]


def seen(**more: Any) -> NodeNetwork:
    """A node with one card that is up and holds its address."""
    card = SeenLink("eth0", up=True, addresses=(ip_interface("10.0.0.1/24"),))
    return replace(NodeNetwork(links={"eth0": card}, units=frozenset({"systemd-networkd"})), **more)


def test_what_a_node_lacks() -> None:
    """An address too few or too many, a route, a rule, a link that is down: a sentence each; else nothing."""
    wanted = complete(links(links={"eth0": {"addresses": ["10.0.0.1/24"]}}, routes=[{"to": "default", "via": "10.0.0.254"}]))
    way = SeenRoute(ip_network("0.0.0.0/0"), "10.0.0.254", "eth0")
    assert differences(wanted, seen(routes=(way,))) == {}
    assert problems(wanted, seen()) == ["eth0: no route to default via 10.0.0.254"]
    assert problems(wanted, seen(routes=(replace(way, table="100"),))) == ["eth0: no route to default via 10.0.0.254"]
    other = SeenLink("eth0", addresses=(ip_interface("10.0.0.2/24"),))
    assert problems(wanted, seen(routes=(way,), links={"eth0": other})) == [
        "eth0: it is down",
        "eth0: it has no address 10.0.0.1/24",
        "eth0: it has the address 10.0.0.2/24, which is not declared",
    ]


def test_an_address_is_won_back() -> None:
    """br-ex without an address, and with a route over it: the address that it has is told, and the route that it lacks."""
    wanted = complete(links(links={"br-ex": {"kind": "ovs-bridge"}}, routes=[{"to": "111.0.0.0/29", "link": "br-ex"}]))
    now = NodeNetwork(
        links={"br-ex": SeenLink("br-ex", "tun", up=True, addresses=(ip_interface("111.0.0.2/29"),))},
        bridges={"br-ex": SeenBridge("netdev", {})},
        has_ovs=True,
    )
    assert problems(wanted, now) == [
        "br-ex: it has the address 111.0.0.2/29, which is not declared",
        "br-ex: no route to 111.0.0.0/29 over br-ex",
    ]


def test_what_is_no_device_or_another_is_refused() -> None:
    """A card that does not exist, a bridge's name that a card has, Open vSwitch that is not there."""
    with pytest.raises(Refused, match="there is no network device eth9"):
        refuse(complete(links(links={"eth9": {}})), seen(), "n1")
    with pytest.raises(Refused, match="eth0 is a card, not a bridge"):
        refuse(complete(links(links={"eth0": {"kind": "bridge"}})), seen(), "n1")
    with pytest.raises(Refused, match="Open vSwitch is not installed"):
        refuse(complete(links(links={"br-ex": {"kind": "ovs-bridge"}})), seen(), "n1")
    on = {"br-int": SeenBridge("system", {"eth0": SeenPort(("eth0",))})}
    with pytest.raises(Refused, match="eth0 is on the bridge br-int"):
        refuse(complete(links(links={"br": {"kind": "ovs-bridge", "ports": ["eth0"]}})), seen(bridges=on, has_ovs=True), "n1")


def test_open_vswitch_is_changed_in_one_transaction() -> None:
    """Bridges, ports, tags, bonds and patch ports where there are none; only what differs where there are some."""
    (made,) = ovs.steps(NETWORK_NODE, NodeNetwork(has_ovs=True))
    assert made.line == (
        "ovs-vsctl --timeout=30"
        " add-br br-ex -- set bridge br-ex datapath_type=netdev -- add-port br-ex eth2 -- add-port br-ex ex-to-ex2"
        " -- set interface ex-to-ex2 type=patch options:peer=ex2-to-ex"
        " -- add-br br-ex2 -- set bridge br-ex2 datapath_type=netdev"
        " -- add-bond br-ex2 bond1 eth3 eth4 tag=30 bond_mode=balance-slb -- add-port br-ex2 ex2-to-ex"
        " -- set interface ex2-to-ex type=patch options:peer=ex-to-ex2"
    )
    patch = SeenPort(("ex-to-ex2",), type="patch", peer="ex2-to-ex")
    there = {
        "br-ex": SeenBridge("system", {"eth2": SeenPort(("eth2",), tag=7), "ex-to-ex2": patch, "phy-br-ex": SeenPort(())}),
        "br-ex2": SeenBridge(
            "system",
            {
                "bond1": SeenPort(("eth3", "eth4"), tag=30, mode="balance-slb"),
                "ex2-to-ex": SeenPort(("ex2-to-ex",), type="patch", peer="ex-to-ex2"),
            },
        ),
    }
    now = NodeNetwork(has_ovs=True, bridges=there)
    assert [step.line for step in ovs.steps(NETWORK_NODE, now)] == ["ovs-vsctl --timeout=30 clear port eth2 tag"]
    assert [step.line for step in ovs.restore(NETWORK_NODE, now)] == ["ovs-vsctl --timeout=30 set port eth2 tag=7"]
    restored = ovs.restore(NETWORK_NODE, NodeNetwork(has_ovs=True))
    assert restored[0].argv[2:] == ("--if-exists", "del-br", "br-ex", "--", "--if-exists", "del-br", "br-ex2")


def test_what_open_vswitch_had_comes_back() -> None:
    """A bond's mode and ports, a patch's peer, and bridges that were deleted, with all ports that they had."""
    was = {
        "br-ex": SeenBridge("system", {"eth2": SeenPort(("eth2",))}),
        "br-ex2": SeenBridge(
            "netdev",
            {
                "bond1": SeenPort(("eth3", "eth9"), tag=30, trunks=(5, 6), mode="active-backup"),
                "ex2-to-ex": SeenPort(("ex2-to-ex",), type="patch", peer="old"),
            },
        ),
    }
    now = NodeNetwork(has_ovs=True, bridges=was)
    assert "bond1: eth9 is in it and not declared there" in problems(NETWORK_NODE, now)
    (step,) = ovs.steps(NETWORK_NODE, now)
    assert "set port bond1 bond_mode=balance-slb -- add-bond-iface bond1 eth4 -- del-bond-iface bond1 eth9" in step.line
    assert "options:peer=ex-to-ex2" in step.line
    (back,) = ovs.restore(NETWORK_NODE, now)
    for words in (
        "del-port br-ex ex-to-ex2",
        "set port bond1 trunks=5,6 -- set port bond1 bond_mode=active-backup",
        "add-bond-iface bond1 eth9 -- del-bond-iface bond1 eth4",
        "set interface ex2-to-ex type=patch options:peer=old",
    ):
        assert words in back.line
    (anew,) = ovs.again(["br-ex2"], now)
    assert anew.line == (
        "ovs-vsctl --timeout=30 --may-exist add-br br-ex2 -- set bridge br-ex2 datapath_type=netdev"
        " -- --may-exist add-bond br-ex2 bond1 eth3 eth9 tag=30 trunks=5,6 bond_mode=active-backup"
        " -- --may-exist add-port br-ex2 ex2-to-ex -- set interface ex2-to-ex type=patch options:peer=old"
    )


def test_a_port_that_is_no_longer_declared_is_let_go() -> None:
    """A card of the record leaves the bridge or bond that is still declared, and comes back where undone; others' stay."""
    record = Record(cards=("eth0", "eth1", "eth2", "eth7"))
    wanted = complete(
        links(links={"br0": {"kind": "bridge", "ports": ["eth0"]}, "br-ex": {"kind": "ovs-bridge", "ports": ["eth5"]}})
    )
    now = NodeNetwork(
        links={
            "eth0": SeenLink("eth0", master="br0"),
            "eth1": SeenLink("eth1", master="br0"),
            "vnet0": SeenLink("vnet0", master="br0"),
            "eth2": SeenLink("eth2", master="ovs-system"),
            "eth7": SeenLink("eth7", master="virbr0"),
        },
        bridges={"br-ex": SeenBridge("system", {"eth2": SeenPort(("eth2",), tag=9), "phy-br-ex": SeenPort(())})},
    )
    assert freed(record, wanted, now) == {"eth1": "br0", "eth2": "br-ex"}
    assert "--may-exist add-port br-ex eth2 tag=9" in ovs.restore(wanted, now, {"eth1": "br0", "eth2": "br-ex"})[0].line
    into = replace(now, links={"eth5": SeenLink("eth5", master="br0")})
    first, second = actions(MANAGERS["networkd"], wanted, into, [], written=False)
    assert first.line == "ip link set dev eth5 nomaster"
    assert "add-port br-ex eth5" in second.line


def test_a_port_moves_between_declared_bridges() -> None:
    """It is taken off the one first, and given back to it where the change is undone."""
    wanted = complete(links(links={"a": {"kind": "ovs-bridge"}, "b": {"kind": "ovs-bridge", "ports": ["eth0"]}}))
    there = {"a": SeenBridge("netdev", {"eth0": SeenPort(("eth0",))}), "b": SeenBridge("netdev", {})}
    now = NodeNetwork(has_ovs=True, bridges=there)
    assert [step.line for step in ovs.steps(wanted, now)] == ["ovs-vsctl --timeout=30 del-port a eth0 -- add-port b eth0"]
    (back,) = ovs.restore(wanted, now)
    assert back.line == "ovs-vsctl --timeout=30 --if-exists del-port b eth0 -- --may-exist add-port a eth0"


def test_bridges_that_were_deleted_are_made_again_with_their_ports() -> None:
    """With tags and types; a tunnel is refused before anything changes."""
    ports = {"eth9": SeenPort(("eth9",), tag=4), "tap": SeenPort(("tap",), type="internal")}
    (back,) = ovs.again(["old"], NodeNetwork(has_ovs=True, bridges={"old": SeenBridge("netdev", ports)}))
    assert back.line.split(" -- ") == [
        "ovs-vsctl --timeout=30 --may-exist add-br old",
        "set bridge old datapath_type=netdev",
        "--may-exist add-port old eth9 tag=4",
        "--may-exist add-port old tap",
        "set interface tap type=internal",
    ]
    tunnel = NodeNetwork(has_ovs=True, bridges={"old": SeenBridge("system", {"vx1": SeenPort(("vx1",), type="vxlan")})})
    with pytest.raises(Refused, match="port vx1 of the bridge old is of type vxlan"):
        ovs.again(["old"], tunnel)


def test_a_bond_is_taken_down_for_its_mode(tmp_path: Path) -> None:
    """The script in its order: down, mode, each port down before it joins, and up at last."""
    (tmp_path / "ip").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / "ip").chmod(0o755)
    (step,) = bonds.steps(BONDED, bond("balance-rr"))
    done = subprocess.run(step.argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert done.stdout.replace("link set dev ", "").splitlines() == [
        "bond0 down",
        "bond0 type bond mode 802.3ad miimon 100",
        "eth2 down",
        "eth2 master bond0",
        "eth2 up",
        "eth3 down",
        "eth3 master bond0",
        "eth3 up",
        "bond0 up",
    ]


BONDED = complete(links(links={"bond0": {"kind": "bond", "ports": ["eth2", "eth3"], "mode": "802.3ad"}}))


def bond(mode: str, miimon: int = 100) -> NodeNetwork:
    ports = {name: SeenLink(name, up=True, master="bond0") for name in ("eth2", "eth3")}
    return NodeNetwork(links={**ports, "bond0": SeenLink("bond0", "bond", up=True, mode=mode, miimon=miimon)})


def test_a_bond_of_another_mode_is_given_its_own() -> None:
    """It goes down and lets go of its ports for that, as the kernel wants; undone it has its former mode again."""
    assert problems(BONDED, bond("802.3ad")) == []
    assert bonds.steps(BONDED, bond("802.3ad")) == []
    assert problems(BONDED, bond("balance-rr", 0)) == [
        "bond0: its mode is balance-rr, not 802.3ad",
        "bond0: it does not look whether its ports are alive (miimon is 0)",
    ]
    (step,) = bonds.steps(BONDED, bond("balance-rr", 0))
    assert step.argv[-5:] == ("bond0", "802.3ad", "100", "eth2", "eth3")
    (back,) = bonds.restore(BONDED, bond("balance-rr", 0))
    assert back.argv[-5:] == ("bond0", "balance-rr", "0", "eth2", "eth3")
    acts = actions(MANAGERS["networkd"], BONDED, bond("balance-rr"), ["bond0"], written=False)
    assert [act.line.split(" ", 2)[0] for act in acts] == ["ip", "networkctl"]
    (alone,) = actions(MANAGERS["networkmanager"], BONDED, bond("balance-rr"), ["bond0"], written=False)
    assert alone.line.endswith("up nornir-stack-bond0 nornir-stack-eth2 nornir-stack-eth3")  # it does so itself


def test_a_vlan_of_another_number_is_made_anew() -> None:
    """It is made anew before the manager sees to it and to what stands on it; undone it has its former number."""
    tagged = {"kind": "vlan", "over": "eth2", "vlan": 173}
    wanted = complete(links(links={"data": tagged, "br0": {"kind": "bridge", "ports": ["data"]}}))
    cards = {name: SeenLink(name, up=True) for name in ("eth2", "eth3")}
    bridge = SeenLink("br0", "bridge", up=True)

    def seen(over: str, number: int) -> NodeNetwork:
        data = SeenLink("data", "vlan", up=True, master="br0", over=over, vlan=number)
        return NodeNetwork(links={**cards, "br0": bridge, "data": data})

    assert vlans.steps(wanted, seen("eth2", 173)) == []
    for over, number in (("eth2", 172), ("eth3", 173)):
        now = seen(over, number)
        assert problems(wanted, now) == [f"data: it is VLAN {number} over {over}, not 173 over eth2"]
        acts = actions(MANAGERS["networkd"], wanted, now, ["data"], written=True)
        made = "ip link delete data; ip link add link eth2 name data type vlan id 173"
        assert [act.line for act in acts] == [made, "networkctl reload, reconfigure data br0"]
        back = undoing(MANAGERS["networkd"], wanted, now, Record())
        made = f"ip link delete data; ip link add link {over} name data type vlan id {number}"
        assert [act.line for act in back] == [made, "networkctl reload, reconfigure eth2 data br0"]


LOOKED = """\
\x1elinks
[{"ifindex":2,"ifname":"eth2","flags":["UP"],"mtu":1500,"master":"bond0","address":"52:54:00:00:00:02",
  "permaddr":"52:54:00:00:00:03","parentbus":"virtio","parentdev":"virtio1"},
 {"ifindex":7,"ifname":"bond0","flags":["UP"],"mtu":1500,"linkinfo":{"info_kind":"bond",
  "info_data":{"mode":"802.3ad","miimon":100,"ad_lacp_rate":"slow"}}}]
\x1eaddresses
[{"ifname":"bond0","addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":24,"scope":"global","dynamic":true}]}]
\x1eroutes
[{"dst":"default","gateway":"10.0.0.254","dev":"bond0","table":"254","protocol":"16","scope":"0","metric":100,"flags":[]},
 {"dst":"10.9.0.0/16","dev":"bond0","table":"100","scope":"253","flags":[]},
 {"type":"3","dst":"10.0.0.255","dev":"bond0","table":"255","protocol":"2","scope":"253","flags":[]},
 {"type":"7","dst":"10.8.0.0/16","table":"254","flags":[]}]
\x1eroutes6
\x1erules
[{"priority":0,"src":"all","table":"255"},{"priority":9,"src":"10.0.0.0","srclen":24,"table":"100"}]
\x1erules6
\x1ekernel
\x1esysctl
/proc/sys/net/ipv4/ip_forward 1
\x1eunits
active
\x1efiles
/etc/network/interfaces
\x1eway
203.0.113.7 50000 ::ffff:10.0.0.1 22
\x1edescribed
networkd 7
ifupdown eth2
\x1eresolvers
networkd 7 DNS 192.0.2.53
networkd 7 DNS 2001:db8::53#dns.example
networkd 7 Domains example.net ~.
ifupdown eth2 dns-nameservers 192.0.2.54 192.0.2.55
nm eth3 dns 192.0.2.56;192.0.2.57;
nm eth3 dns-search a.example;b.example;
ifcfg eth4 DNS1 "192.0.2.58"
ifcfg eth4 PEERDNS no
\x1eoffload
"""


def test_a_node_s_network_as_ip_tells_it_by_numbers() -> None:
    """Tables, types and protocols are numbers (`ip -N`): a node may have given table 100 a name; the way in is sshd's word."""
    now = parse(LOOKED)
    assert now.routes == (
        SeenRoute(ip_network("0.0.0.0/0"), "10.0.0.254", "bond0", "main", 100, "unicast", "dhcp"),
        SeenRoute(ip_network("10.9.0.0/16"), "", "bond0", "100"),
        SeenRoute(ip_network("10.8.0.0/16"), "", "", "main", 0, "unreachable"),
    )
    assert now.rules == ("0: table local", "9: from 10.0.0.0/24 table 100")
    assert (now.links["bond0"].mode, now.links["bond0"].miimon) == ("802.3ad", 100)
    assert [now.links[name].hardware for name in ("eth2", "bond0")] == ["52:54:00:00:00:03", ""]  # a bond gave it its own
    assert now.links["bond0"].dynamic == (ip_interface("10.0.0.1/24"),)
    assert now.way == ip_address("10.0.0.1")
    assert now.resolvers == {
        "bond0": Resolver(("192.0.2.53", "2001:db8::53#dns.example"), ("example.net", "~.")),
        "eth2": Resolver(("192.0.2.54", "192.0.2.55")),
        "eth3": Resolver(("192.0.2.56", "192.0.2.57"), ("a.example", "b.example")),
        "eth4": Resolver(("192.0.2.58",)),
    }
    assert now.described == {("networkd", "bond0"), ("ifupdown", "eth2")}


def test_name_servers_go_where_the_address_goes() -> None:
    """Nobody declares them, and ours take the place of the files that name them: to the bridge over a card, and back."""
    mine, other = Resolver(("192.0.2.53",)), Resolver(("192.0.2.54",))
    card = complete(links(links={"eth0": {"addresses": ["10.0.0.1/24"]}, "eth1": {}}))
    over = complete(links(links={"br0": {"kind": "bridge", "ports": ["eth0"], "addresses": ["10.0.0.1/24"]}}))
    plain = NodeNetwork(links={"eth0": SeenLink("eth0")}, resolvers={"eth0": mine, "eth1": other})
    assert carried(card, plain) == {"eth0": mine}
    assert carried(over, plain) == {"br0": mine}
    bridged = NodeNetwork(links={"eth0": SeenLink("eth0", master="br0"), "br0": SeenLink("br0")}, resolvers={"br0": mine})
    assert carried(over, bridged) == {"br0": mine}
    assert carried(card, bridged) == {"eth0": mine}


def test_a_declared_card_keeps_its_name_over_a_boot() -> None:
    """By its hardware address: udev may name one that was plugged in later, or whose neighbour went, otherwise."""
    wanted = complete(links(links={"ens7": {"addresses": ["10.0.0.1/24"]}, "veth9": {}}))
    veth = SeenLink("veth9", "veth", mac="52:54:00:0a:0b:0d")
    cards = {"ens7": SeenLink("ens7", hardware="52:54:00:0a:0b:0c"), "veth9": veth}
    files = files_of(MANAGERS["networkd"], wanted, NodeNetwork(links=cards))
    pins = {path: text for path, (text, _) in files.items() if path.endswith(".link")}
    assert pins == {
        "/etc/systemd/network/70-nornir-stack-ens7.link": (
            "[Match]\nPermanentMACAddress=52:54:00:0a:0b:0c\n\n[Link]\nName=ens7\n"
        )
    }
    assert next(iter(pins)) in recorded(files[RECORD].text).files  # it goes when the card is no longer declared


def test_who_manages_the_network() -> None:
    """Looked at; netplan stands for what it writes for; two at once, or none, is the operator's to decide."""
    assert at_work(seen()) == ["networkd"]
    netplan = frozenset({"/usr/sbin/netplan", "/etc/netplan/50-cloud-init.yaml"})
    assert at_work(seen(files=netplan)) == ["netplan"]
    both = frozenset({"networking", "NetworkManager"})
    debian = seen(units=both, files=frozenset({"/usr/sbin/ifup"}))
    with pytest.raises(Refused, match="NetworkManager and ifupdown are at work"):
        manager_of(debian, None, "n1")
    assert manager_of(debian, "ifupdown", "n1") is MANAGERS["ifupdown"]
    with pytest.raises(Refused, match="nothing manages its network"):
        manager_of(seen(units=frozenset()), None, "n1")
    with pytest.raises(Refused, match="is netplan, which does not run there"):
        manager_of(debian, "netplan", "n1")


def test_what_was_declared_once_and_is_no_longer_goes() -> None:
    """Routes and rules of the record that the node still has, as `ip` takes them away; the record reads back as it was."""
    record = recorded(record_of(HOST, ["/etc/x"]))
    assert record.files == ("/etc/x",)
    assert tuple(sorted(record.cards)) == ("eth0", "eth2", "eth3", "eth4")
    assert record.devices == {"br0": "bridge", "bond0": "bond", "data": "vlan"}
    way = SeenRoute(ip_network("10.0.0.0/8"), "172.16.1.1", "data", metric=50)
    now = NodeNetwork(routes=(way,), rules=("1000: from 172.16.1.0/24 table 100",))
    assert forgotten(record, HOST, now) == []
    assert forgotten(record, replace(HOST, routes=(), rules=()), now) == [
        "-4 route delete 10.0.0.0/8 via 172.16.1.1 dev data metric 50",
        "-4 rule delete from 172.16.1.0/24 table 100 priority 1000",
    ]
    back = complete(links(links={"br-ex": {"kind": "ovs-bridge", "addresses": ["111.0.0.2/29"]}}))
    over = NodeNetwork(routes=(SeenRoute(ip_network("111.0.0.0/29"), "", "br-ex"),))
    bare = complete(links(links={"br-ex": {"kind": "ovs-bridge"}}, routes=[{"to": "111.0.0.0/29", "link": "br-ex"}]))
    assert forgotten(recorded(record_of(bare, [])), back, over) == []  # the address brings it now
    assert str(record.routes[0][0].via) == str(ip_address("192.168.5.1"))
    assert recorded(None).files == ()
