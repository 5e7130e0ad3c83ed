from __future__ import annotations

from typing import Any

import pytest

from nornir_stack.tasks.system.firewall_iptables import Edit, accepted, decide, edited_file, parse, wanted_rules
from nornir_stack.tasks.system.firewall_rules import covered, rule_set, wanted_openings
from tests.unit.system_storage.cases import cases

WANTED = rule_set("galera", ["galera"], ["10.0.32.23", "10.1.0.0/16"])
RULES = [
    f'-A INPUT -s {source} -p {ports} -m comment --comment "nornir-stack galera" -j ACCEPT'
    for source in ("10.0.32.23/32", "10.1.0.0/16")
    for ports in ("tcp -m multiport --dports 873,3306,4444,4567:4568", "udp -m multiport --dports 4567")
]


def restored(saved: str, script: str) -> str:
    """What `iptables-restore --noflush` makes of a table, for the two commands that are sent: -D by words and -I by number."""
    lines = saved.splitlines()
    for line in script.splitlines():
        if line.startswith("-D "):
            lines.remove(line.replace("-D", "-A", 1))
        elif line.startswith("-I INPUT "):
            _, _, number, words = line.split(" ", 3)
            inputs = [i for i, old in enumerate(lines) if old.startswith("-A INPUT ")]
            place = int(number) - 1
            assert place <= len(inputs)
            heads = [i for i, old in enumerate(lines) if old.startswith(":")]
            at = inputs[place] if place < len(inputs) else (inputs or heads)[-1] + 1
            lines.insert(at, f"-A INPUT {words}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("case", cases("firewall/iptables.yaml"))
def test_decide(case: dict[str, Any]) -> None:
    """Our rules stand before what rejects and nothing else moves; a second time changes nothing; none wanted restores it."""
    table = parse(case["rules"])
    assert table.filters == case.get("filters", True)
    if not table.filters:
        return
    after = restored(case["rules"], decide(table, "galera", wanted_rules(WANTED, 4)).script)
    lines = after.splitlines()
    assert lines[lines.index(RULES[0]) :][: len(RULES)] == RULES
    below = [line for line in lines[lines.index(RULES[-1]) + 1 :] if line.startswith("-A INPUT")]
    assert (below[0] if below else None) == case["before"]
    assert decide(parse(after), "galera", wanted_rules(WANTED, 4)) == Edit()
    assert all(covered(one, accepted(parse(after), 4)) for one in wanted_openings(WANTED).values())
    assert case["rules"] == restored(after, decide(parse(after), "galera", []).script)


@pytest.mark.parametrize("case", cases("firewall/iptables.yaml"))
def test_edited_file(case: dict[str, Any]) -> None:
    """The permanent file gets our rules before what rejects, keeps every other line, and is left alone the second time."""
    lines = case["rules"].splitlines()
    after = edited_file(lines, "galera", RULES)
    assert lines == [line for line in after if line not in RULES]
    assert after[after.index(RULES[0]) :][: len(RULES)] == RULES
    if case.get("before"):
        assert after[after.index(RULES[-1]) + 1] == case["before"]
    assert after == edited_file(after, "galera", RULES)
    assert lines == edited_file(after, "galera", [])


def test_rules_below_what_rejects_are_moved() -> None:
    """A rule of ours that was appended behind the reject is put before it."""
    saved = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j REJECT\n" + "\n".join(RULES) + "\nCOMMIT\n"
    edit = decide(parse(saved), "galera", RULES)
    assert [line for line in restored(saved, edit.script).splitlines() if line.startswith("-A")] == [
        *RULES,
        "-A INPUT -j REJECT",
    ]
    assert "moved" in edit.diff


def test_more_ports_than_one_rule_takes() -> None:
    """multiport takes 15 ports, a range counting as two: the rest goes into further rules."""
    many = rule_set("many", [f"{port}/tcp" for port in range(1000, 1036, 2)] + ["2000-2010/tcp"], ["10.0.0.1"])
    rules = wanted_rules(many, 4)
    assert len(rules) == 2
    assert "--dports 1030,1032,1034,2000:2010" in rules[1]


def test_another_set_is_not_ours() -> None:
    """A rule set whose name begins alike is not taken for ours."""
    saved = '*filter\n:INPUT DROP [0:0]\n-A INPUT -m comment --comment "nornir-stack galera-2" -j ACCEPT\nCOMMIT\n'
    assert decide(parse(saved), "galera", []) == Edit()
