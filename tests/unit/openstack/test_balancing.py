"""The cloud's own load balancers: what the inventory may say, and what is done that there is what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nornir_stack import schema
from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.openstack.balancer_settings import Balancer, Balancers
from nornir_stack.tasks.openstack.balancing import Balanced, broken, todo
from nornir_stack.tasks.openstack.load_balancer import _parts, settling

PLAIN: dict[str, Any] = {"project": "test", "members": {"10.1.0.11": 1, "10.1.0.12": 2}}
THERE = Balanced(
    "b",
    "ACTIVE",
    "ONLINE",
    "10.1.0.100",
    "p",
    "l",
    "TCP",
    "o",
    "TCP",
    "ROUND_ROBIN",
    {"10.1.0.11": ("m1", 1, "ONLINE"), "10.1.0.12": ("m2", 2, "ONLINE")},
    "h",
    "TCP",
    (5, 3, 3),
)


def read(**words: Any) -> Balancer:
    value, complaints = schema.read(Balancers, {"balancers": {"db": {**PLAIN, **words}}})
    assert value is not None, complaints
    return value.balancers["db"]


def done(now: Balanced, **words: Any) -> list[str]:
    return [step.what("db") for step in todo("db", now, read(**words))]


def test_all_of_it_is_made_in_the_order_that_octavia_wants() -> None:
    """Each part hangs on the one before."""
    assert done(Balanced(), external="public") == [
        "make the load balancer db",
        "make the listener of the load balancer db",
        "make the pool of the load balancer db",
        "make the member 10.1.0.11 of the load balancer db",
        "make the member 10.1.0.12 of the load balancer db",
        "make the health monitor of the load balancer db",
        "make the floating address of the load balancer db",
    ]


def test_what_is_there_is_left_alone() -> None:
    """With its address wanted, or whichever it has."""
    assert done(THERE) == done(THERE, vip="10.1.0.100") == []


def test_a_run_that_was_cut_goes_on() -> None:
    """With what is not there yet, and nothing else."""
    cut = replace(THERE, members={"10.1.0.11": ("m1", 1, "")}, monitor_id="", monitor=(0, 0, 0))
    assert done(cut) == ["make the member 10.1.0.12 of the load balancer db", "make the health monitor of the load balancer db"]


def test_what_differs_is_corrected_in_place() -> None:
    """Algorithm, weights, how often a member is tried: shown as it is and as it will be."""
    steps = todo("db", THERE, read(algorithm="SOURCE_IP", delay=10, members={"10.1.0.11": 1, "10.1.0.12": 0}))
    assert [(step.verb, step.kind, step.id) for step in steps] == [
        ("set", "pool", "o"),
        ("set", "member", "m2"),
        ("set", "health monitor", "h"),
    ]
    assert steps[1].what("db") == "set the member 10.1.0.12 of the load balancer db"
    assert steps[1].diff() == "-member 10.1.0.12: weight 2\n+member 10.1.0.12: weight 0\n"
    assert steps[2].diff() == "-health monitor: delay 5\n+health monitor: delay 10\n"


def test_a_new_member_comes_before_an_old_one_goes() -> None:
    """Somebody serves all the time."""
    assert done(THERE, members={"10.1.0.13": 1}) == [
        "make the member 10.1.0.13 of the load balancer db",
        "remove the member 10.1.0.11 of the load balancer db",
        "remove the member 10.1.0.12 of the load balancer db",
    ]


@pytest.mark.parametrize(
    ("now", "words", "said"),
    [
        ({}, {"vip": "10.1.0.99"}, "its address is 10.1.0.100, not 10.1.0.99"),
        ({"protocol": "HTTP"}, {}, "its listener on port 3306 speaks HTTP, not TCP"),
        ({"pool_protocol": "HTTP"}, {}, "its pool speaks HTTP"),
        ({"monitor_type": "PING"}, {}, "tries by PING, not TCP"),
        ({"floating": "203.0.113.5", "leads_to": "old"}, {"external": "public"}, "203.0.113.5 is of old, not of public"),
    ],
)
def test_what_octavia_does_not_change_is_refused(now: dict[str, str], words: dict[str, str], said: str) -> None:
    """The operator decides what is removed."""
    with pytest.raises(Refused) as caught:
        todo("db", replace(THERE, **now), read(**words))  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_one_in_error_is_told() -> None:
    """With what to do; the others are none of this."""
    assert "is in ERROR" in broken("db", "ERROR")
    assert broken("db", "ACTIVE") == broken("db", "") == ""


def test_a_part_that_is_not_done_is_waited_for() -> None:
    """Octavia takes no change to it before, though the whole is ACTIVE for a moment (HTTP 409)."""
    assert settling("ACTIVE", ["ACTIVE", "PENDING_UPDATE"]) == "PENDING_UPDATE"
    assert settling("ACTIVE", ["ACTIVE", "ERROR"]) == settling("ACTIVE", []) == "ACTIVE"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"members": {}}, "serves nobody"),
        ({"members": {"10.1.0.11": 0}}, "all have the weight 0"),
        ({"members": {"10.1.0.11": 257}}, "256"),
        ({"members": {"10.1.0.11": 1}, "vip": "10.1.0.11"}, "10.1.0.11 is the load balancer's own address"),
        ({"delay": 3}, "timeout: 3 s is not less than the delay of 3 s"),
        ({"algorithm": "RANDOM"}, "ROUND_ROBIN"),
        ({"members": {"db1": 1}}, "db1"),
    ],
)
def test_what_cannot_serve_is_refused(words: dict[str, Any], said: str) -> None:
    """Before anything is asked."""
    value, complaints = schema.read(Balancers, {"balancers": {"db": {**PLAIN, **words}}})
    assert value is None
    assert said in " ".join(f"{one.path} {one.text}" for one in complaints)


def test_an_inventory_without_any_is_told() -> None:
    """With where they are said."""
    with pytest.raises(Refused, match="has no load balancer of the cloud"):
        _parts(Seen({"cloud1": ()}))
    assert [part.name for part in _parts(Seen({"cloud1": ("db",)})).parts] == ["load balancers"]
