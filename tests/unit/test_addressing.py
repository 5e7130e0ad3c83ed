"""The plan of addresses: every address once, the lost ones with their reasons, and what is wrong with a network."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nornir_stack.cli.network import as_text
from nornir_stack.inventory.addressing import Holder, lost, plan, rows
from nornir_stack.inventory.network_rules import wrong_in
from nornir_stack.inventory.networks import Network, Pool
from nornir_stack.inventory.picture import hosts_of, svg


def network(cidr: str = "111.0.0.0/29", **words: Any) -> Network:
    for key in ("gateway", "bridge_address"):
        if key in words:
            words[key] = ip_address(words[key])
    for key in ("pools", "floating"):
        words[key] = tuple(Pool(first=ip_address(a), last=ip_address(b)) for a, b in words.get(key, ()))
    words["routers"] = tuple(map(ip_address, words.get("routers", ())))
    return Network(cidr=ip_network(cidr), **words)


NOTEBOOK = network(
    kind="public",
    gateway="111.0.0.1",
    bridge="br-ex",
    bridge_address="111.0.0.2",
    routers=["111.0.0.3"],
    floating=[("111.0.0.3", "111.0.0.6")],
)


def shown(of: Network, *holders: Holder) -> list[str]:
    return [f"{row.first}-{row.last} {row.who}" for row in rows(of, holders)]


def test_the_table_of_the_notebook() -> None:
    """Of its five lost addresses only the bridge's can be won back, and the plan says how."""
    assert [(str(one.address), one.holder, bool(one.how)) for one in lost(NOTEBOOK)] == [
        ("111.0.0.0", "network", False),
        ("111.0.0.1", "gateway", False),
        ("111.0.0.2", "bridge br-ex", True),
        ("111.0.0.3", "router", False),
        ("111.0.0.7", "broadcast", False),
    ]
    assert "111.0.0.0/29 dev br-ex" in next(one.how for one in lost(NOTEBOOK) if one.how)


def test_a_range_is_split_by_those_who_stand_in_it() -> None:
    """A router takes one of the floating range; a host is named once, with what it uses the address for."""
    holders = [Holder(ip_address("111.0.0.5"), "web1", "hostname"), Holder(ip_address("111.0.0.5"), "web1", "web.address")]
    assert shown(NOTEBOOK, *holders, Holder(ip_address("10.0.0.1"), "elsewhere")) == [
        "111.0.0.0-111.0.0.0 network",
        "111.0.0.1-111.0.0.1 gateway",
        "111.0.0.2-111.0.0.2 bridge br-ex",
        "111.0.0.3-111.0.0.3 router",
        "111.0.0.4-111.0.0.4 floating",
        "111.0.0.5-111.0.0.5 web1",
        "111.0.0.6-111.0.0.6 floating",
        "111.0.0.7-111.0.0.7 broadcast",
    ]


def test_small_and_long_networks() -> None:
    """Two addresses have neither network nor broadcast; IPv6 has no broadcast, and its size hurts nobody."""
    assert shown(network("10.0.0.0/31")) == ["10.0.0.0-10.0.0.1 free"]
    assert shown(network("fd00::/64", gateway="fd00::1")) == [
        "fd00::-fd00:: network",
        "fd00::1-fd00::1 gateway",
        "fd00::2-fd00::ffff:ffff:ffff:ffff free",
    ]


def test_as_text() -> None:
    """Names, ranges with their size, and of the public ones what is lost; private networks lose nothing that counts."""
    text = as_text(plan({"external": NOTEBOOK, "data": network("10.0.0.0/24", gateway="10.0.0.1")}, []))
    assert "external  111.0.0.0/29  public, bridge br-ex" in text
    assert "of 8 public addresses 3 are for instances, 5 are lost:" in text
    assert "111.0.0.2  bridge br-ex  can be won back" in text
    assert "10.0.0.2 - 10.0.0.254  free (253)" in text
    assert text.count("lost") == 1


def test_the_picture_has_everyone_and_is_well_formed() -> None:
    """Names are escaped, each host has a wire for each network that it stands in."""
    plans = plan({"external": NOTEBOOK, "<data>": network("10.0.0.0/24", static={"db1": ip_address("10.0.0.5")})}, [])
    hosts = hosts_of(plans, [Holder(ip_address("111.0.0.5"), "db1")], {"db1": "db", "cloud": "an API"})
    assert [dict(host.addresses) for host in hosts] == [{"external": "111.0.0.5", "<data>": "10.0.0.5"}, {}]
    drawn = svg(plans, hosts)
    assert drawn.startswith("<svg")
    assert "<data>" not in drawn
    for words in ("&lt;data&gt;", "br-ex", "111.0.0.2", "111.0.0.5", "10.0.0.5", "cloud", "upstream"):
        assert words in drawn


@st.composite
def networks(draw: st.DrawFn) -> Network:
    prefix = draw(st.integers(24, 32))
    cidr = ip_network((draw(st.integers(0, 255)) << (32 - prefix), prefix))

    def some() -> Any:
        return cidr[draw(st.integers(0, cidr.num_addresses - 1))]

    def ranges() -> tuple[Pool, ...]:
        return tuple(Pool(first=some(), last=some()) for _ in range(draw(st.integers(0, 2))))

    optional = {name: some() for name in ("gateway", "bridge_address") if draw(st.booleans())}
    return Network(cidr=cidr, kind="public", bridge="br", pools=ranges(), floating=ranges(), **optional)


@given(networks(), st.lists(st.integers(0, 255), max_size=5))
def test_every_address_stands_in_the_plan_once(of: Network, numbers: list[int]) -> None:
    """Rows follow one another without a gap from the first address to the last, whatever is declared."""
    holders = [Holder(of.cidr[number % of.cidr.num_addresses], f"h{number}") for number in numbers]
    found = rows(of, holders)
    assert sum(row.count for row in found) == of.cidr.num_addresses
    assert all(int(one.last) + 1 == int(two.first) for one, two in pairwise(found))
    assert all(any(holder.host in row.who for row in found) for holder in holders)


@given(networks())
def test_where_nothing_is_wrong_nothing_is_handed_out_twice(of: Network) -> None:
    """Without a complaint, no range holds the gateway, the bridge, an edge, or an address of another range."""
    if list(wrong_in(of)):
        return
    handed = [address for pool in (*of.pools, *of.floating) for address in of.cidr if address in pool]
    assert len(handed) == len(set(handed))
    assert not {of.gateway, of.bridge_address, *(one.address for one in lost(of))} & set(handed)
