"""firewalld: a policy of ours, evaluated before every zone. Pure.

A rich rule carries no comment, so the policy's name and description tell whose it is. A policy from ANY zone to HOST with a
negative priority comes before the zones' own rules, whichever zone an interface is in (firewalld.policies(5), since 0.9).
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING

from nornir_stack.tasks.system.firewall_rules import ALL_OF_IT, WHOLE, Opened, addresses, merged, port_words, word

if TYPE_CHECKING:
    from nornir_stack.tasks.system.firewall_rules import RuleSet

_HEAD = """<?xml version="1.0" encoding="utf-8"?>
<policy priority="-100" target="CONTINUE">
  <short>{}</short>
  <description>Written by nornir_stack.</description>
  <ingress-zone name="ANY"/>
  <egress-zone name="HOST"/>"""
_RICH = re.compile(r'rule family="ipv([46])" source address="([^"]+)" port port="(\d+)(?:-(\d+))?" protocol="(tcp|udp)" accept')
_RICH_WHOLE = re.compile(r'rule family="ipv([46])" source address="([^"]+)" protocol value="(\w+)" accept')
FILE = "/etc/firewalld/policies/{}.xml"


def policy_name(name: str) -> str:
    return f"nornir-{name}"


def rich_rules(wanted: RuleSet) -> list[str]:
    """One rule for each source and port, in the words of `firewall-cmd --list-rich-rules`."""
    return [
        f'rule family="ipv{version}" source address="{address}" protocol value="{protocol}" accept'
        if protocol in WHOLE
        else f'rule family="ipv{version}" source address="{address}" port port="{port}" protocol="{protocol}" accept'
        for version, address, port, protocol in _rules(wanted)
    ]


def policy_file(wanted: RuleSet) -> str:
    """The policy's file in /etc/firewalld/policies."""
    rules = [
        f'  <rule family="ipv{version}"><source address="{address}"/>'
        + (f'<protocol value="{protocol}"/>' if protocol in WHOLE else f'<port port="{port}" protocol="{protocol}"/>')
        + "<accept/></rule>"
        for version, address, port, protocol in _rules(wanted)
    ]
    return "\n".join([_HEAD.format(wanted.comment), *rules, "</policy>", ""])


def _rules(wanted: RuleSet) -> list[tuple[int, str, str, str]]:
    return [
        (source.version, word(source), port, protocol)
        for source in wanted.sources
        for protocol, ranges in wanted.ports.items()
        for port in port_words(ranges)
    ]


def accepted(rules: list[str]) -> list[Opened]:
    """What rich rules of our form accept."""
    found = [_RICH.fullmatch(rule) for rule in rules]
    whole = [_RICH_WHOLE.fullmatch(rule) for rule in rules]
    return [
        *(
            Opened(int(rule[1]), rule[5], merged([(int(rule[3]), int(rule[4] or rule[3]))]), addresses([ip_network(rule[2])]))
            for rule in found
            if rule
        ),
        *(
            Opened(int(rule[1]), rule[3], ALL_OF_IT, addresses([ip_network(rule[2])]))
            for rule in whole
            if rule and rule[3] in WHOLE
        ),
    ]


def decide(runtime: list[str], wanted: list[str]) -> tuple[list[str], list[str]]:
    """Rich rules to take out of the loaded policy, and those to add."""
    return [rule for rule in runtime if rule not in wanted], [rule for rule in wanted if rule not in runtime]


def only_runtime(runtime: str, permanent: str) -> list[str]:
    """Lines of `--list-all-zones` and `--direct --get-all-rules` that a reload would lose.

    Interfaces are left out: firewalld keeps their zones over a reload.
    """

    return sorted(_settings(runtime) - _settings(permanent))


def _settings(text: str) -> set[str]:
    zone, found = "", set[str]()
    for line in text.splitlines():
        setting = line.strip()
        if line and not line[0].isspace():
            zone = line.partition(" ")[0]
        elif setting and not setting.startswith("interfaces:") and setting.partition(":")[2].strip():
            found.add(f"{zone}: {setting}")
    return found
