"""Balancers that share an address: what the inventory may say, what keepalived is told, and when it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups

from nornir_stack.errors import Refused, UsageError
from nornir_stack.secret import Secret
from nornir_stack.seen import Seen
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer.deploy import turns
from nornir_stack.tasks.loadbalancer.keepalived import (
    Held,
    given_away,
    in_turn,
    nobody_else,
    one_holds,
    one_of_them_holds,
    others_serve,
)
from nornir_stack.tasks.loadbalancer.pair import OURS, Sight, conf, pair_of, parse, refuse, understood
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer

SECRET = Secret(literal="vr-rp.02")
VIRTUAL = "10.0.0.20"
SEEN = Sight(interface="eth0", config=OURS, neighbours={"10.0.0.22": "aa:bb:cc:dd:ee:22"})
HELD = Held(VIRTUAL, shared=True, here=False, keepalived=True, haproxy=True)
HAS = replace(HELD, here=True)


def balancer(router: int = 51, virtual: str = VIRTUAL, *, shared: bool = True, **more: object) -> dict[str, Any]:
    keepalived = {
        "virtual_router_id": router,
        "secret": SECRET,
        **{k: v for k, v in more.items() if k in {"secret", "preempt"}},
    }
    rest = {key: value for key, value in more.items() if key not in keepalived}
    mine = {"virtual_address": virtual, "listeners": {"writes": {"port": 3307}}, **rest}
    return {"loadbalancer": {**mine, "keepalived": keepalived} if shared else mine}


def inventory(*balancers: dict[str, Any], hostnames: tuple[str, ...] = ()) -> Inventory:
    groups = Groups({name: Group(name) for name in ("db", "loadbalancer")})
    hosts = Hosts({"db1": Host("db1", "10.0.0.11", groups=ParentGroups([groups["db"]]))})
    for number, data in enumerate(balancers):
        name = f"lb{number + 1}"
        hostname = hostnames[number] if hostnames else f"10.0.0.{21 + number}"
        hosts[name] = Host(name, hostname, groups=ParentGroups([groups["loadbalancer"]]), data=data)
    pool = {"first": "10.0.0.100", "last": "10.0.0.199"}
    return Inventory(hosts, groups, Defaults(data={"networks": {"data": {"cidr": "10.0.0.0/24", "pools": [pool]}}}))


def judged(*balancers: dict[str, Any], hostnames: tuple[str, ...] = ()) -> list[str]:
    known = inventory(*balancers, hostnames=hostnames)
    mine = {name: settings_of(host, LoadBalancer) for name, host in known.hosts.items() if name != "db1"}
    return [f"{found.host} {found.field}: {found.text}" for found in LoadBalancer.judge(mine, known)]


def test_a_pair_is_in_order() -> None:
    """Two that agree on everything; and a third by itself, with another address and another number."""
    assert judged(balancer(), balancer()) == []
    assert judged(balancer(), balancer(), balancer(shared=False, virtual="10.0.0.30")) == []


@pytest.mark.parametrize(
    ("balancers", "said"),
    [
        ((balancer(), balancer(shared=False)), "lb2 virtual_address: 10.0.0.20 is also that of lb1, and without keepalived"),
        ((balancer(), balancer(52)), "lb2 keepalived: not as on lb1"),
        ((balancer(), balancer(preempt=True)), "lb2 keepalived: not as on lb1"),
        ((balancer(), balancer(secret=Secret(literal="vrrptwo"))), "lb2 keepalived: not as on lb1"),
        ((balancer(), balancer(network="other")), "lb2 network: not as on lb1"),
        (
            (balancer(), balancer(), balancer(virtual="10.0.0.30"), balancer(virtual="10.0.0.30")),
            "lb3 keepalived.virtual_router_id: 51 is that of lb1",
        ),
        ((balancer(),), "lb1 keepalived: lb1 is alone with 10.0.0.20"),
        ((balancer(virtual="10.0.0.150"),) * 2, "lb1 virtual_address: 10.0.0.150 stands in a pool of network 'data'"),
        ((balancer(virtual="fd00::20"),) * 2, "is IPv6, and only IPv4 is shared"),
    ],
)
def test_what_a_pair_may_not_be(balancers: tuple[dict[str, Any], ...], said: str) -> None:
    """Each is told at the host that has it."""
    assert said in "\n".join(judged(*balancers))


def test_a_balancer_without_an_address_of_its_own() -> None:
    """A hostname that is a name does not tell where the others find it; `address` does."""
    names = ("10.0.0.21", "lb2.example.net")
    assert "lb2 address: the hostname is no address" in "\n".join(judged(balancer(), balancer(), hostnames=names))
    assert judged(balancer(), balancer(address="10.0.0.22"), hostnames=names) == []


def test_priorities_follow_the_declared_order() -> None:
    """Each later balancer has less; peers are the others of the same address."""
    known = inventory(balancer(), balancer(), balancer(52, virtual="10.0.0.30"), balancer(52, virtual="10.0.0.30"))
    pairs = [pair_of(f"lb{number}", known) for number in (1, 2, 3, 4)]
    assert [(pair.priority, dict(pair.peers)) for pair in pairs] == [
        (250, {"lb2": "10.0.0.22"}),
        (200, {"lb1": "10.0.0.21"}),
        (250, {"lb4": "10.0.0.24"}),
        (200, {"lb3": "10.0.0.23"}),
    ]
    with pytest.raises(UsageError, match=r"lb2: loadbalancer\.keepalived: not as on lb1"):
        pair_of("lb1", inventory(balancer(), balancer(52)))


def test_what_keepalived_is_told() -> None:
    """Unicast to the peers alone, the secret, the check; nobody begins as the master; preemption by choice."""
    text = conf(pair_of("lb2", inventory(balancer(), balancer())), "eth0")
    lines = [line.strip() for line in text.splitlines()]
    for line in ("state BACKUP", "nopreempt", "priority 200", "virtual_router_id 51", "unicast_src_ip 10.0.0.22", "10.0.0.21",
                 "auth_pass vr-rp.02", "10.0.0.20/32 dev eth0"):  # fmt: skip
        assert line in lines
    assert text.startswith(OURS)
    assert "nopreempt" not in conf(pair_of("lb1", inventory(balancer(preempt=True), balancer(preempt=True))), "eth0")


def test_who_is_understood() -> None:
    """Another number or secret is another language; other settings are not; a file that nobody read is not known."""

    def told(**more: Any) -> str:
        return conf(pair_of("lb1", inventory(balancer(**more), balancer(**more))), "eth0")

    assert understood(told(), told(preempt=True))
    assert understood(told(), told().replace("fall 2", "fall 3"))
    assert not understood(told(), told(router=52))
    assert not understood(told(), told(secret=Secret(literal="vrrpelse")))
    assert not understood(told(), told())
    assert not understood(None, told())


@pytest.mark.parametrize("secret", ["longer-than8", "has sp ", 'qu"ote', "new\nline", "hash#1"])
def test_a_secret_that_would_be_cut_or_misread(secret: str) -> None:
    """VRRP keeps eight characters, and keepalived's file has words of its own; the message does not show it."""
    one = balancer(secret=Secret(literal=secret))
    with pytest.raises(UsageError, match="4 to 8 letters") as error:
        conf(pair_of("lb1", inventory(one, one)), "eth0")
    assert secret not in str(error.value)


def test_the_look_is_read() -> None:
    """Each word of it; a machine that answered nowhere has no neighbour's line."""
    assert parse("") == Sight()
    text = (
        "interface eth0\nconfig # Written by nornir_stack x\nloaded abc\nhere\nneighbour 10.0.0.22 aa:bb:cc:dd:ee:22\n"
        "router 33 10.0.0.1\n"
    )
    assert parse(text) == Sight(
        "eth0", True, "# Written by nornir_stack x", "abc", {"10.0.0.22": "aa:bb:cc:dd:ee:22"}, {51: "10.0.0.1"}
    )


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (replace(SEEN, interface=""), "no network card has 10.0.0.21"),
        (replace(SEEN, config="! Configuration File for keepalived"), "written by somebody else"),
        (replace(SEEN, config=""), "written by somebody else"),
        (replace(SEEN, neighbours={**SEEN.neighbours, VIRTUAL: "aa:bb:cc:dd:ee:99"}), r"another machine \(aa:bb:cc:dd:ee:99\)"),
        (replace(SEEN, neighbours={VIRTUAL: "aa:bb:cc:dd:ee:22"}), "another machine"),
        (replace(SEEN, routers={51: "10.0.0.1"}), "10.0.0.1 is a virtual router of the number 51"),
    ],
)
def test_when_the_address_is_not_taken(seen: Sight, why: str) -> None:
    """Somebody else's keepalived, address or number."""
    with pytest.raises(Refused, match=why):
        refuse(pair_of("lb1", inventory(balancer(), balancer())), seen)


@pytest.mark.parametrize(
    "seen",
    [
        SEEN,
        replace(SEEN, config=None),
        replace(SEEN, neighbours={}),
        replace(SEEN, neighbours={**SEEN.neighbours, VIRTUAL: "aa:bb:cc:dd:ee:22"}),
        replace(SEEN, here=True, neighbours={VIRTUAL: "aa:bb:cc:dd:ee:99"}),
        replace(SEEN, routers={52: "10.0.0.1"}),
    ],
)
def test_when_it_may_be_taken(seen: Sight) -> None:
    """It is free, or the other balancer's; or it is here, and there is nothing to take."""
    refuse(pair_of("lb1", inventory(balancer(), balancer())), seen)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"lb1": HAS, "lb2": HELD}, ""),
        ({"lb1": HELD, "lb2": HELD}, "nobody has the virtual address 10.0.0.20"),
        ({"lb1": HAS, "lb2": HAS}, "lb1 and lb2 have the virtual address 10.0.0.20 at once"),
        ({"lb1": HAS, "lb2": replace(HELD, keepalived=False)}, "lb2: keepalived does not run"),
        ({"lb1": replace(HAS, shared=False, keepalived=False)}, ""),
        ({"lb1": HAS, "lb2": replace(HAS, address="10.0.0.30")}, ""),
    ],
)
def test_exactly_one_holds_it(seen: dict[str, Held], said: str) -> None:
    """Of each address; and the one that stands by is able to take it."""
    found = one_holds(Seen(seen))
    assert len(found) == bool(said)
    assert said in "".join(found)
    assert one_holds(Seen({"lb1": HAS}, {"lb2": "unreachable"})) == ["lb2 was not seen: unreachable"]


def test_whose_turn_it_is() -> None:
    """Who does not serve first, who has a shared address last; one that was not seen is met before anybody who serves."""
    down = replace(HELD, haproxy=False)
    assert in_turn(Seen({"lb1": HAS, "lb2": HELD})) == ["lb2", "lb1"]
    assert in_turn(Seen({"lb1": HELD, "lb2": down, "lb3": HAS})) == ["lb2", "lb1", "lb3"]
    assert in_turn(Seen({"lb1": down, "lb2": down})) == ["lb1", "lb2"]
    assert in_turn(Seen({"lb1": replace(HAS, shared=False), "lb2": HELD})) == ["lb1", "lb2"]
    assert in_turn(Seen({"lb1": HAS}, {"lb2": "unreachable"})) == ["lb2", "lb1"]
    chain = turns(Seen({"lb1": HAS, "lb2": HELD}), within=1)
    assert [part.name for part in chain.parts] == ["lb2", "lb1"]


def test_nobody_is_changed_once_another_has_stopped() -> None:
    """Only those that served at the beginning count: the first deployment finds nobody."""
    down = replace(HELD, haproxy=False)
    before = Seen({"lb1": HAS, "lb2": HELD})
    assert others_serve(before, "lb1", before) == []
    assert "lb2 does not run any more" in others_serve(Seen({"lb1": HAS, "lb2": down}), "lb1", before)[0]
    assert "lb2 was not seen" in others_serve(Seen({"lb1": HAS}, {"lb2": "cut"}), "lb1", before)[0]
    assert others_serve(Seen({"lb1": HAS, "lb2": down}), "lb2", before) == []
    assert others_serve(Seen({"lb1": HAS, "lb2": down}), "lb1", Seen({"lb1": HAS, "lb2": down})) == []


def test_who_may_give_the_address_away() -> None:
    """Only where one of those that share it would take it; then it is on exactly one other; balancers beside do not count."""
    one, two = replace(HAS, peers=("lb2",)), replace(HELD, peers=("lb1",))
    other = replace(HELD, address="10.0.0.99", keepalived=False)
    assert nobody_else(Seen({"lb1": one, "lb2": two, "x": other}), "lb1") == []
    assert "lb2 does not run both" in nobody_else(Seen({"lb1": one, "lb2": replace(two, keepalived=False)}), "lb1")[0]
    assert "lb2 was not seen" in nobody_else(Seen({"lb1": one}, {"lb2": "cut"}), "lb1")[0]
    assert nobody_else(Seen({"lb1": replace(one, shared=False)}), "lb1") == []
    gone = replace(one, here=False, keepalived=False)
    assert given_away(Seen({"lb1": gone, "lb2": replace(two, here=True)}), "lb1") == []
    assert "on nobody" in given_away(Seen({"lb1": gone, "lb2": two}), "lb1")[0]
    assert "on lb1 and lb2" in given_away(Seen({"lb1": one, "lb2": replace(two, here=True)}), "lb1")[0]
    assert one_of_them_holds(Seen({"lb1": one, "lb2": two, "x": other}), "lb1") == []
    assert one_of_them_holds(Seen({"lb1": gone, "lb2": two}), "lb1") == [
        "lb1: keepalived does not run",
        "nobody has the virtual address 10.0.0.20",
    ]
