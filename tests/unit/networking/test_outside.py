"""Public networks from outside: rules that `nft` takes, what proxy ARP would answer for, and routers' words."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_interface, ip_network
from typing import TYPE_CHECKING, Any

import pytest
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups

from nornir_stack.chain import Chain, Stage
from nornir_stack.errors import Refused
from nornir_stack.inventory.networks import read_networks
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.select import everyone
from nornir_stack.tasks.networking.citizen import Guarded, answered, rules
from nornir_stack.tasks.networking.dialects import DIALECTS, Static, decide, faults, installed
from nornir_stack.tasks.networking.external import cards_of, compared, good_citizen, unit
from nornir_stack.tasks.networking.observe import NodeNetwork, SeenLink, SeenRoute
from nornir_stack.tasks.networking.uplink import External, Uplink, declared, own_ranges, wrong
from nornir_stack.tasks.networking.upstream import upstream_routes
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OWN = "111.0.0.0/28"
PROXY = Guarded("proxy_arp", "peth0", "virbr2", (OWN,), "111.0.0.1", ("203.0.113.10",))
BRIDGED = Guarded("bridged", "peth1", "br0", ("198.51.100.16-198.51.100.20", "198.51.100.9"))
ROUTED = Guarded("routed", "peth0", "virbr3", ("111.0.1.0/29",), "111.0.1.1")


def networks(**more: Any) -> dict[str, Any]:
    return {"external": {"cidr": OWN, "kind": "public", "gateway": "111.0.0.1", "bridge": "br-ex", **more}}


def route(target: str, link: str, via: str = "") -> SeenRoute:
    return SeenRoute(ip_network(target), via, link)


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed (apt: nftables)")
@pytest.mark.parametrize("guarded", [[PROXY], [BRIDGED], [ROUTED], [PROXY, ROUTED, BRIDGED], []])
def test_nft_takes_the_rules(guarded: Sequence[Guarded]) -> None:
    """Each way alone, all at once, and none: loaded in a network of its own, twice, with the same outcome."""
    script = 'f=$(mktemp); cat >"$f"; nft -f "$f" && nft list ruleset && echo == && nft -f "$f" && nft list ruleset; rm "$f"'
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", script], input=rules(guarded), capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr:
        pytest.skip("a network namespace needs root")
    assert done.stderr == ""
    first, _, second = done.stdout.partition("==\n")
    assert first == second
    assert ("table arp" in first) == (PROXY in guarded)
    assert ("table bridge" in first) == (BRIDGED in guarded)


def test_rules_of_a_good_citizen() -> None:
    """Only the own range is answered for, foreign ARP is dropped in both directions, and the gateway is closed."""
    text = rules([PROXY])
    for line in (
        f'iifname "peth0" arp operation request arp daddr ip != {{ {OWN}, 203.0.113.10 }} drop',
        f'iifname "peth0" arp saddr ip {{ {OWN} }} drop',
        f'oifname "peth0" arp saddr ip != {{ {OWN}, 203.0.113.10, 0.0.0.0 }} drop',
        f'iifname "peth0" ct state new ip daddr != {{ {OWN} }} drop',
        f'iifname "virbr2" ip saddr != {{ {OWN} }} drop',
        'iifname "virbr2" ip daddr 111.0.0.1 ct state new reject with icmp admin-prohibited',
    ):
        assert line in text


def test_rules_stand_before_the_first_answer_and_go_after_the_last() -> None:
    """One unit loads them, then has the card answer; it stops in the other order."""
    text = unit(["peth0"])
    assert text.index("nft -f") < text.index("echo 1 >/proc/sys/net/ipv4/conf/peth0/proxy_arp")
    stop = text[text.index("ExecStop") :]
    assert stop.index("echo 0 >") < stop.index("nft delete table")
    assert "firewalld" not in text.partition("PartOf=")[2]  # it touches its own table only, and may be stopped
    assert "PartOf=nftables.service\n" in text  # which flushes every table
    assert "WantedBy=multi-user.target nftables.service\n" in text
    assert cards_of(unit(["peth0", "eth1"])) == ["peth0", "eth1"]
    assert cards_of(unit([])) == []


def test_routes_that_would_be_answered_for_are_compared() -> None:
    """All that leave by another link, a default route among them; what is not ours is listed; a range that is lost refused."""
    now = NodeNetwork(
        links={name: SeenLink(name) for name in ("peth0", "virbr2", "eth1")},
        routes=(
            route(OWN, "virbr2"),
            route("203.0.113.0/24", "peth0"),
            route("10.0.0.0/8", "eth1"),
            route("0.0.0.0/0", "eth1", "10.0.0.1"),
        ),
    )
    assert [str(one.target) for one in answered(now, "peth0")] == [OWN, "10.0.0.0/8", "0.0.0.0/0"]
    assert compared(PROXY, now, "h") == ["10.0.0.0/8 by eth1", "0.0.0.0/0 by eth1"]
    with pytest.raises(Refused, match="goes to eth1, not to virbr2"):
        compared(PROXY, replace(now, routes=now.routes[1:]), "h")
    more = route("111.0.0.8/29", "eth1")  # a narrower one wins, for half of the range
    assert compared(PROXY, replace(now, routes=(*now.routes, more)), "h") == ["10.0.0.0/8 by eth1", "0.0.0.0/0 by eth1"]


def test_own_ranges() -> None:
    """Of a network that is routed here all of it; of a segment that others share what the plan gives to us."""
    plan, _ = read_networks(
        {
            "networks": {
                "external": {
                    "cidr": "203.0.113.0/24",
                    "gateway": "203.0.113.1",
                    "floating": [{"first": "203.0.113.100", "last": "203.0.113.110"}],
                    "routers": ["203.0.113.100"],
                    "static": {"vm": "203.0.113.98"},
                }
            }
        }
    )
    shared = Uplink(mode="bridged", card="peth0", bridge="br0")
    assert own_ranges(plan["external"], shared) == ("203.0.113.100-203.0.113.110", "203.0.113.98")
    assert own_ranges(plan["external"], replace(shared, mode="routed")) == ("203.0.113.0/24",)


def host(external: dict[str, Any], **data: Any) -> Host:
    defaults = Defaults(data={"networks": networks()})
    return Host("h", hostname="203.0.113.10", defaults=defaults, groups=ParentGroups(), data={"external": external, **data})


def test_a_card_gives_its_address_and_routes_to_the_bridge() -> None:
    """As they are on the node where nothing is declared; on the second run they are read from the bridge."""
    uplink = {"networks": {"external": {"mode": "bridged", "card": "eth0", "bridge": "br0"}}}
    address = (ip_interface("203.0.113.10/24"),)
    ways = (route("203.0.113.0/24", "eth0"), route("0.0.0.0/0", "eth0", "203.0.113.1"))
    now = NodeNetwork(links={"eth0": SeenLink("eth0", up=True, addresses=address)}, routes=ways)
    links = declared(host(uplink), now, {})
    assert links.links["br0"].ports == ("eth0",)
    assert links.links["br0"].addresses == address
    assert [(str(one.target), str(one.via), one.link) for one in links.routes] == [("0.0.0.0/0", "203.0.113.1", "br0")]
    then = NodeNetwork(
        links={"eth0": SeenLink("eth0", up=True, master="br0"), "br0": SeenLink("br0", "bridge", up=True, addresses=address)},
        routes=tuple(replace(way, link="br0") for way in ways),
    )
    assert declared(host(uplink), then, {"br0": "bridge"}) == links


def test_an_address_by_dhcp_is_not_written_down() -> None:
    """A bridge over a card with a lease is refused until that is declared; no route of the lease is written then."""
    uplink = {"networks": {"external": {"mode": "bridged", "card": "eth0", "bridge": "br0"}}}
    lease = SeenLink("eth0", up=True, dynamic=(ip_interface("203.0.113.10/24"),))
    ways = (
        route("203.0.113.0/24", "eth0"),
        replace(route("0.0.0.0/0", "eth0", "203.0.113.1"), protocol="dhcp"),
        replace(route("198.51.100.0/24", "eth0", "203.0.113.1"), protocol="dhcp"),
    )
    now = NodeNetwork(links={"eth0": lease}, routes=ways)
    with pytest.raises(Refused, match=r"eth0 has 203\.0\.113\.10/24 by DHCP"):
        declared(host(uplink), now, {})
    then = NodeNetwork(links={"br0": replace(lease, name="br0", kind="bridge"), "eth0": SeenLink("eth0", master="br0")})
    with pytest.raises(Refused, match=r"br0 has 203\.0\.113\.10/24 by DHCP"):
        declared(host(uplink), then, {"br0": "bridge"})
    for name, kind in (("eth0", "card"), ("br0", "bridge")):
        links = declared(host(uplink, network={"links": {name: {"kind": kind, "dhcp": True}}}), now, {})
        assert (links.links["br0"].dhcp, links.links["eth0"].dhcp, links.links["br0"].addresses) == (True, False, ())
        assert links.routes == ()


def test_proxy_arp_wants_a_static_address() -> None:
    """Its rules name the card's own addresses: that of the next lease would be asked for in vain."""
    now = NodeNetwork(
        links={"peth0": SeenLink("peth0", dynamic=(ip_interface("203.0.113.10/24"),)), "virbr2": SeenLink("virbr2")},
        routes=(route(OWN, "virbr2"),),
    )
    with pytest.raises(Refused, match=r"peth0 has 203\.0\.113\.10/24 by DHCP"):
        compared(PROXY, now, "h")
    assert compared(replace(PROXY, mode="routed"), now, "h") == []


def test_a_bridge_of_libvirts_is_left_alone() -> None:
    """One that is there and that no earlier run made, nor the inventory declares; else it gets the gateway's address."""
    uplink = {"networks": {"external": {"mode": "routed", "card": "eth0", "bridge": "virbr2"}}}
    there = NodeNetwork(links={"virbr2": SeenLink("virbr2", "bridge")})
    assert declared(host(uplink), there, {}).links == {}
    ours = declared(host(uplink), there, {"virbr2": "bridge"})
    assert ours.links["virbr2"].addresses == (ip_interface("111.0.0.1/28"),)


def test_what_is_wrong_with_an_uplink() -> None:
    """A network that is not declared, private, or without a gateway; a bridge that serves two."""
    plan, _ = read_networks({"networks": {**networks(), "data": {"cidr": "172.16.1.0/24"}}})
    uplink = Uplink(mode="routed", card="eth0", bridge="virbr2")
    external = External(networks={"external": uplink, "data": uplink})
    assert list(wrong("external", uplink, plan, external)) == []
    assert list(wrong("data", uplink, plan, external)) == [
        "'data' is a private network: say `kind: public`, or leave it inside",
        "network 'data' has no gateway: it is the address that virbr2 has itself",
        "virbr2 serves network 'external' already",
    ]
    card = External(networks={"data": replace(uplink, mode="bridged", bridge="br0"), "external": uplink})
    assert list(wrong("external", uplink, plan, card)) == [
        "eth0 is bridged for network 'data': it is a port of br0 and nothing else"
    ]
    assert list(wrong("externa", uplink, plan, external)) == [
        "'externa' is not declared under networks in defaults.yaml: did you mean 'external'?"
    ]


def test_routes_for_the_upstream_router() -> None:
    """One for each network that a host routes, to its address; networks that come in otherwise are managed, not routed."""
    uplink = {"mode": "routed", "card": "eth0", "bridge": "virbr2"}
    one = host({"networks": {"external": uplink}})
    inventory = Inventory(Hosts({"h": one}), Groups({"router": Group("router")}), one.defaults)
    route_ = Static(IPv4Network(OWN), IPv4Address("203.0.113.10"))
    assert upstream_routes(inventory) == ([route_], [IPv4Network(OWN)])
    one.data["external"] = {"networks": {"external": {**uplink, "mode": "proxy_arp"}}}
    assert upstream_routes(inventory) == ([], [IPv4Network(OWN)])
    one.data["external"] = {"networks": {"external": uplink}}
    one.hostname = "host1.example.net"
    with pytest.raises(Refused, match="say next_hop"):
        upstream_routes(inventory)


SHOWN = {
    "cisco": (
        "ip route 111.0.0.0 255.255.255.240 203.0.113.10\nip route 0.0.0.0 0.0.0.0 GigabitEthernet0/0\n",
        "ip route 111.0.0.0 255.255.255.240 203.0.113.10",
        "S        111.0.0.0 [1/0] via 203.0.113.10\n",
    ),
    "frr": (
        "hostname r\n!\nip route 111.0.0.0/28 203.0.113.10\nip route 10.0.0.0/8 Null0\n!\nend\n",
        "ip route 111.0.0.0/28 203.0.113.10",
        "S>* 111.0.0.0/28 [1/0] via 203.0.113.10, out1, weight 1, 00:00:05\n",
    ),
    "vyos": (
        "set protocols static route 111.0.0.0/28 next-hop 203.0.113.10\n",
        "set protocols static route 111.0.0.0/28 next-hop 203.0.113.10",
        "S>* 111.0.0.0/28 [1/0] via 203.0.113.10, eth0, weight 1, 00:00:05\n",
    ),
}


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_what_a_router_shows_is_read_and_what_it_is_told_is_what_it_shows(name: str) -> None:
    """IOS with masks, FRR with prefixes, VyOS by `set`: read, written, removed; and the routes that it uses."""
    words = DIALECTS[name]
    shown, line, used = SHOWN[name]
    there = Static(IPv4Network(OWN), IPv4Address("203.0.113.10"))
    assert list(words.parse(shown)) == [there]
    assert words.lines([there], [])[0] == line
    gone = words.lines([], [there])[0]
    assert gone == (line.replace("set ", "delete ", 1) if name == "vyos" else f"no {line}")
    assert installed(used) == {(IPv4Address("111.0.0.0"), IPv4Address("203.0.113.10"))}


def test_only_managed_networks_are_touched() -> None:
    """A route to one of ours that goes elsewhere is replaced; routes of others stay."""
    ours, others = IPv4Network(OWN), IPv4Network("198.51.100.0/24")
    old, new = Static(ours, IPv4Address("203.0.113.9")), Static(ours, IPv4Address("203.0.113.10"))
    foreign = Static(others, IPv4Address("203.0.113.77"))
    assert decide([old, foreign], [new], [ours]) == ([new], [old])
    assert decide([new, foreign], [new], [ours]) == ([], [])
    assert decide([new, foreign], [], [ours]) == ([], [new])


def test_what_a_router_says_against_a_line() -> None:
    """IOS and FRR begin with a percent sign, VyOS has sentences."""
    assert faults("r(config)# ip route x\n% Unknown command: ip route x\nr(config)# end") == ["% Unknown command: ip route x"]
    assert faults("[edit]\nSet failed\nCommit failed\n") == ["Commit failed"]


def test_nothing_is_forwarded_before_the_rules_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules are looked at and loaded first, and forwarding follows in the same unit; a dry run shows it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    now = NodeNetwork(links={name: SeenLink(name) for name in ("peth0", "virbr2")}, routes=(route(OWN, "virbr2"),))
    monkeypatch.setattr("nornir_stack.tasks.networking.external.look", lambda _: now)
    monkeypatch.setattr("nornir_stack.tasks.networking.external._loaded", lambda *_: ("wanted", ""))
    register_connections()
    uplink = {"mode": "routed", "card": "peth0", "bridge": "virbr2"}
    nr = fleet({"hypervisor": ["h"]}, {"h": {"connection": "local", "external": {"networks": {"external": uplink}}}})
    nr.inventory.defaults.data["networks"] = networks()
    nr.inventory.hosts["h"].defaults = nr.inventory.defaults
    report = Chain("c", Stage("s", [good_citizen], everyone)).run(nr, dry_run=True)
    nr.close_connections()
    told = report.stage("s").host("h").tasks[0]
    assert told.error == ""
    (change,) = told.effects
    assert "systemctl restart nornir-stack-external.service" in change
    start = next(line for line in told.diff.splitlines() if "ExecStart" in line)  # at a boot too
    assert start.index("nft -f") < start.index("echo 1 >/proc/sys/net/ipv4/ip_forward")
