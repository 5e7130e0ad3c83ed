from __future__ import annotations

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.tasks.system import firewall_firewalld
from nornir_stack.tasks.system.firewall import Openings, closed_ports, judge
from nornir_stack.tasks.system.firewall_facts import parse
from nornir_stack.tasks.system.firewall_rules import rule_set

NOTHING = "\n@@units\nId=nftables.service\nActiveState=inactive\nUnitFileState=disabled\n\n@@policy\n"


def test_galera_is_a_named_set() -> None:
    """`galera` stands for rsync, clients, SST, group communication over TCP and UDP, and IST."""
    wanted = rule_set("db", ["galera"], ["10.0.32.0/24"])
    assert dict(wanted.ports) == {"tcp": ((873, 873), (3306, 3306), (4444, 4444), (4567, 4568)), "udp": ((4567, 4567),)}
    assert wanted.comment == "nornir-stack db"


def test_sources_within_others_are_dropped() -> None:
    """A source that lies within another adds nothing."""
    wanted = rule_set("db", ["3306/tcp"], ["10.0.32.23", "10.0.32.0/24", "fd00::1", "10.0.32.23/32"])
    assert [str(source) for source in wanted.sources] == ["10.0.32.0/24", "fd00::1/128"]


@pytest.mark.parametrize(
    ("name", "ports", "sources", "said"),
    [
        ("db", ["3306"], ["10.0.0.1"], "'3306' is no port: write 3306/tcp"),
        ("db", ["0/tcp"], ["10.0.0.1"], "ports are 1 to 65535"),
        ("db", ["20-10/tcp"], ["10.0.0.1"], "the lower one first"),
        ("db", ["3306/tcp"], ["db1"], "a source is an address or a network"),
        ("db", ["3306/tcp"], ["10.0.0.1/24"], "has host bits set"),
        ("DB 1", ["3306/tcp"], ["10.0.0.1"], "a rule set's name"),
        ("db", "3306/tcp", ["10.0.0.1"], "are lists"),
    ],
)
def test_what_is_written_wrongly(name: str, ports: list[str], sources: list[str], said: str) -> None:
    """Bad words are answered by how they are written."""
    with pytest.raises(UsageError) as error:
        rule_set(name, ports, sources)
    assert said in str(error.value)


def test_no_firewall_means_all_open() -> None:
    """Where nothing filters, every wanted port is open."""
    now = parse(NOTHING)
    assert now.families == ()
    assert judge(now, rule_set("db", ["3306/tcp"], ["10.0.0.1"])) == Openings((), ("3306/tcp from 10.0.0.1",), ())


def test_both_must_let_it_through() -> None:
    """A port is closed as long as one of two filters in use rejects it."""
    open_rule = '-A INPUT -s 10.0.0.1/32 -p tcp -m multiport --dports 3306 -m comment --comment "nornir-stack db" -j ACCEPT\n'
    table = "*filter\n:INPUT DROP [0:0]\n" + open_rule + "COMMIT\n"
    chain = (
        '{"nftables": [{"chain": {"family": "inet", "table": "a", "name": "b", "handle": 1, "type": "filter", '
        '"hook": "input", "prio": 0, "policy": "drop"}}]}'
    )
    only = parse(NOTHING + "\n@@backend\niptables v1.8.9 (nf_tables)\n\n@@v4\n" + table)
    both = parse(NOTHING + f"\n@@nft\n{chain}\n\n@@backend\niptables v1.8.9 (nf_tables)\n\n@@v4\n{table}")
    wanted = rule_set("db", ["3306/tcp"], ["10.0.0.1"])
    assert judge(only, wanted) == Openings(("iptables",), ("3306/tcp from 10.0.0.1",), ())
    assert judge(both, wanted) == Openings(("nftables", "iptables"), (), ("3306/tcp from 10.0.0.1",))
    assert closed_ports(Seen({"db1": judge(both, wanted)})) == ["db1: 3306/tcp from 10.0.0.1 is closed"]


def test_ufw_is_left_to_its_owner() -> None:
    """ufw keeps its own files, so nothing is put beside it."""
    with pytest.raises(Refused, match="ufw allow from SOURCE"):
        parse(
            NOTHING
            + "\n@@v4\n*filter\n:INPUT DROP [0:0]\n-A INPUT -j ufw-before-input\n-A ufw-before-input -j ACCEPT\nCOMMIT\n"
        )


def test_firewalld_policy() -> None:
    """The policy's file and the rules that firewall-cmd lists say the same."""
    wanted = rule_set("db", ["3306/tcp", "5900-5999/tcp"], ["10.0.0.1", "fd00::/64"])
    rules = firewall_firewalld.rich_rules(wanted)
    assert rules[0] == 'rule family="ipv4" source address="10.0.0.1" port port="3306" protocol="tcp" accept'
    assert rules[-1] == 'rule family="ipv6" source address="fd00::/64" port port="5900-5999" protocol="tcp" accept'
    text = firewall_firewalld.policy_file(wanted)
    assert '<rule family="ipv4"><source address="10.0.0.1"/><port port="3306" protocol="tcp"/><accept/></rule>' in text
    assert text.count("<rule ") == len(rules)
    assert firewall_firewalld.decide(rules, rules) == ([], [])
    assert firewall_firewalld.decide(["old"], rules) == (["old"], rules)
    assert len(firewall_firewalld.accepted(rules)) == len(rules)


def test_what_a_firewalld_reload_would_lose() -> None:
    """Settings of run time only are named; an interface is none, since firewalld keeps its zone."""
    permanent = "public\n  target: default\n  interfaces: \n  services: ssh\n  ports: \n"
    runtime = "public (active)\n  target: default\n  interfaces: eth0\n  services: ssh\n  ports: 8080/tcp\n"
    assert firewall_firewalld.only_runtime(runtime, permanent) == ["public: ports: 8080/tcp"]
    assert firewall_firewalld.only_runtime(permanent.replace("public", "public (active)"), permanent) == []
