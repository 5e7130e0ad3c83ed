"""VRRP, a protocol without ports, in each packet filter."""

from __future__ import annotations

import pytest

from nornir_stack.errors import UsageError
from nornir_stack.tasks.system import firewall_firewalld, firewall_iptables
from nornir_stack.tasks.system.firewall_nft import Edit, accepted, decide, permanent
from nornir_stack.tasks.system.firewall_rules import covered, rule_set, wanted_openings
from tests.unit.system_storage.test_firewall_nft import namespace, needs_kernel

VRRP = rule_set("vrrp", ["vrrp"], ["10.0.0.21", "10.0.0.22"])
DROPS = "table inet a { chain b { type filter hook input priority 0; policy drop; tcp dport 22 accept; \n } \n }\n"


def test_it_is_told_by_its_name() -> None:
    """`vrrp from SOURCE`, beside ports of other sets; what is no port is answered with the names that there are."""
    assert list(wanted_openings(VRRP)) == ["vrrp from 10.0.0.21", "vrrp from 10.0.0.22"]
    both = rule_set("x", ["vrrp", "80/tcp"], ["10.0.0.21"])
    assert list(wanted_openings(both)) == ["80/tcp from 10.0.0.21", "vrrp from 10.0.0.21"]
    with pytest.raises(UsageError, match="galera, vrrp"):
        rule_set("x", ["carp"], ["10.0.0.21"])


@needs_kernel
def test_nftables() -> None:
    """The kernel takes the rule and gives it back; the permanent file makes the same; a second run does nothing."""
    with namespace() as kernel:
        kernel.run("nft", "-f", "-", stdin=DROPS)
        (chain,) = kernel.chains.values()
        assert not any(covered(one, accepted(chain)) for one in wanted_openings(VRRP).values())
        kernel.apply(decide(chain, "vrrp", VRRP))
        (opened,) = kernel.chains.values()
        assert decide(opened, "vrrp", VRRP) == Edit()
        assert all(covered(one, accepted(opened)) for one in wanted_openings(VRRP).values())
        assert not covered(wanted_openings(rule_set("x", ["vrrp"], ["10.0.0.23"]))["vrrp from 10.0.0.23"], accepted(opened))
        kernel.run("nft", "-f", "-", stdin="flush ruleset\n" + DROPS + permanent((chain,), VRRP))
        (booted,) = kernel.chains.values()
        assert decide(booted, "vrrp", VRRP) == Edit()


@pytest.mark.parametrize("protocol", ["112", "vrrp"])
def test_iptables(protocol: str) -> None:
    """iptables-save writes a number, or a name where the node has /etc/protocols: both are the rule that is wanted."""
    rules = firewall_iptables.wanted_rules(VRRP, 4)
    saved = "\n".join(["*filter", ":INPUT DROP [0:0]", *rules, "COMMIT"]).replace("-p 112", f"-p {protocol}")
    table = firewall_iptables.parse(saved)
    assert firewall_iptables.decide(table, "vrrp", rules).script == ""
    assert all(covered(one, firewall_iptables.accepted(table, 4)) for one in wanted_openings(VRRP).values())
    assert firewall_iptables.edited_file(saved.splitlines(), "vrrp", rules) == saved.splitlines()
    closed = firewall_iptables.parse("*filter\n:INPUT DROP [0:0]\nCOMMIT")
    assert "-I INPUT 1 -s 10.0.0.21/32 -p 112 -m comment" in firewall_iptables.decide(closed, "vrrp", rules).script
    assert firewall_iptables.wanted_rules(VRRP, 6) == []


def test_firewalld() -> None:
    """A rich rule with a protocol in place of a port, in the policy's file too."""
    rules = firewall_firewalld.rich_rules(VRRP)
    assert rules[0] == 'rule family="ipv4" source address="10.0.0.21" protocol value="vrrp" accept'
    assert all(covered(one, firewall_firewalld.accepted(rules)) for one in wanted_openings(VRRP).values())
    assert '<source address="10.0.0.22"/><protocol value="vrrp"/><accept/>' in firewall_firewalld.policy_file(VRRP)
