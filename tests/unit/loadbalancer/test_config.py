"""HAProxy's configuration from the inventory: golden files, and what is refused before a node is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups

from nornir_stack.errors import Refused, UsageError
from nornir_stack.tasks.loadbalancer.address import refuse_conflict, refuse_what_needs_more
from nornir_stack.tasks.loadbalancer.config import configuration, listener_of, mark_in
from nornir_stack.tasks.loadbalancer.haproxy import NO_STATE, complaints, info, kept
from nornir_stack.tasks.loadbalancer.health import Health, check_ports, parse

CASES = Path(__file__).parents[2] / "cases" / "loadbalancer"
TWO = {"reads": {"port": 3306}, "writes": {"port": 3307, "mode": "single-writer"}}
ALL = {
    "reads": {"port": 3306, "balance": "leastconn", "weights": {"db1": 2, "db3": 0}, "donors": True, "check_port": 9201},
    "writes": {"port": 3307, "mode": "single-writer"},
}


def inventory(listeners: object, *, balancers: tuple[str, ...] = ("lb1",), virtual: str = "10.0.0.20") -> Inventory:
    groups = Groups({name: Group(name) for name in ("db", "loadbalancer")})
    hosts = Hosts()
    for number in (1, 2, 3):
        data: dict[str, Any] = {"galera": {"cluster_name": "t"}}
        hosts[f"db{number}"] = Host(f"db{number}", f"10.0.0.{number}", groups=ParentGroups([groups["db"]]), data=data)
    for name in balancers:
        data = {"loadbalancer": {"virtual_address": virtual, "listeners": listeners}}
        hosts[name] = Host(name, "10.0.0.9", groups=ParentGroups([groups["loadbalancer"]]), data=data)
    return Inventory(hosts, groups, Defaults())


@pytest.mark.parametrize(("case", "listeners"), [("two", TWO), ("all", ALL)])
def test_configuration_is_as_the_golden_file(case: str, listeners: object) -> None:
    """The same inventory gives the same text, letter by letter (HAProxy itself checks these files on a node)."""
    known = inventory(listeners)
    assert (CASES / f"{case}.cfg").read_text() == configuration(known.hosts["lb1"], known)


def test_the_mark_changes_with_the_configuration() -> None:
    """What runs can be told from what is wanted by one word."""
    texts = [configuration(known.hosts["lb1"], known) for known in (inventory(TWO), inventory(ALL))]
    assert mark_in(texts[0]) != mark_in(texts[1])
    assert mark_in(texts[0]) == mark_in(configuration(inventory(TWO).hosts["lb1"], inventory(TWO)))


def test_a_listener_without_members_is_refused() -> None:
    """No HAProxy is left with an empty listener: the error names the role."""
    known = inventory({"reads": {"port": 3306, "members_role": "dbb"}})
    with pytest.raises(UsageError, match="no host has the role 'dbb': did you mean 'db'"):
        configuration(known.hosts["lb1"], known)


def test_an_unknown_listener_is_named_with_the_nearest() -> None:
    """A mistyped listener is an error of the caller, with a hint."""
    with pytest.raises(UsageError, match="no load balancer has a listener 'read': did you mean 'reads'"):
        listener_of(inventory(TWO), "read")


def test_check_ports_are_those_of_the_listeners_that_a_member_stands_behind() -> None:
    """Each port once, sorted; a host that is no member has none."""
    known = inventory(ALL)
    assert check_ports(known.hosts["db1"], known) == (9200, 9201)
    assert check_ports(known.hosts["lb1"], known) == ()


def test_two_balancers_cannot_share_an_address_yet() -> None:
    """Both would answer ARP for it: refused, and the sentence names both."""
    with pytest.raises(Refused, match=r"lb1 and lb2 share the virtual address 10\.0\.0\.20"):
        refuse_what_needs_more("lb1", inventory(TWO, balancers=("lb1", "lb2")))


def test_an_ipv6_address_is_refused() -> None:
    """Neighbour discovery does not answer for addresses of the loopback."""
    with pytest.raises(Refused, match="is IPv6"):
        refuse_what_needs_more("lb1", inventory(TWO, virtual="fd00::20"))


@pytest.mark.parametrize(
    ("seen", "why"),
    [({"elsewhere", "arp_ignore 0"}, "another machine already answers"), ({"arp_ignore 1"}, "arp_ignore is not 0")],
)
def test_an_address_that_would_not_work_here_is_refused(seen: set[str], why: str) -> None:
    """Another machine has it, or the kernel would not answer for it."""
    with pytest.raises(Refused, match=why):
        refuse_conflict("lb1", "10.0.0.20", seen)


def test_a_free_address_and_one_that_is_here_are_fine() -> None:
    """Neither is a conflict."""
    refuse_conflict("lb1", "10.0.0.20", {"arp_ignore 0"})
    refuse_conflict("lb1", "10.0.0.20", {"here", "arp_ignore 0"})


def test_only_servers_that_stay_as_they_are_keep_their_state_over_a_reload() -> None:
    """A server with a new address or check port, or that is gone, is left out: HAProxy would take the old one back."""
    known = inventory(TWO)
    text = configuration(known.hosts["lb1"], known)
    said = (CASES / "states.txt").read_text()
    lines = kept(said, text).splitlines()
    assert lines[:2] == said.splitlines()[:2]
    assert [line.split()[1:4:2] for line in lines[2:]] == [["reads", "db1"], ["writes", "db1"]]


def test_nothing_is_kept_where_nothing_runs() -> None:
    """An empty state stays an empty state."""
    assert kept(NO_STATE, "listen a\n") == NO_STATE


def test_what_haproxy_says_against_a_file_is_shown_without_its_prefixes() -> None:
    """Only the alerts, and all that was said where there is none."""
    said = "[NOTICE]   (187) : version\n[ALERT]    (187) : config : parsing [/dev/stdin:2] : unknown keyword 'bogus'\n"
    assert complaints(said) == ["parsing [/dev/stdin:2] : unknown keyword 'bogus'"]
    assert complaints("out of memory\n") == ["out of memory"]


def test_show_info_is_read() -> None:
    """Values may hold colons."""
    assert info("Name: HAProxy\nUptime: 0d 0:01\n")["Uptime"] == "0d 0:01"


@pytest.mark.parametrize(
    ("answer", "health"),
    [
        (b"HTTP/1.0 200 Synced\r\n\r\nSynced\n", Health(200, "Synced")),
        (b"HTTP/1.0 503 the member is Joined\r\n\r\n", Health(503, "the member is Joined")),
        (b"HTTP/1.0 503\r\n\r\n", Health(503, "")),
        (b"", Health(0, "it closed the connection without an answer")),
        (b"\xff\x00 nonsense", Health(0, "it closed the connection without an answer")),
    ],
)
def test_the_answer_of_a_member_is_read(answer: bytes, health: Health) -> None:
    """Status and sentence; what is no answer is status 0."""
    assert parse(answer) == health
    assert health.good == (health.status == 200)
