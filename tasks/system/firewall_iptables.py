"""iptables and ip6tables: rules of ours in INPUT before what rejects, and in the file that is restored at boot. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from nornir_stack.files import unified_diff
from nornir_stack.tasks.system.firewall_rules import (
    ALL_OF_IT,
    WHOLE,
    Opened,
    addresses,
    comment_of,
    everywhere,
    merged,
    port_words,
)

if TYPE_CHECKING:
    from nornir_stack.tasks.system.firewall_rules import Ranges, RuleSet

_ENDING = {"DROP", "REJECT", "RETURN", "QUEUE", "NFQUEUE", "TARPIT"}
_RULE = re.compile(r"^(?:\[\d+:\d+\] )?-A (\S+)(.*)$")
_TARGET = re.compile(r"\s-([jg]) (\S+)")
_PLAIN = re.compile(
    r"-A INPUT(?: -s (?P<source>\S+))? -p (?P<protocol>tcp|udp) -m (?:tcp|udp|multiport) --dports? (?P<ports>[\d:,]+)"
    r'(?: -m comment --comment (?:"[^"]*"|\S+))? -j ACCEPT'
)
_WHOLE = re.compile(
    r"-A INPUT(?: -s (?P<source>\S+))? -p (?P<protocol>\d+)"
    r'(?: -m comment --comment (?:"[^"]*"|\S+))? -j ACCEPT'
)
_MULTIPORT = 15  # xt_multiport: at most 15 ports, a range counts as two


@dataclass(frozen=True)
class Table:
    """The filter table as iptables-save writes it: INPUT's policy and rules, and the rules of all chains."""

    policy: str
    chains: dict[str, tuple[str, ...]]

    @property
    def input(self) -> tuple[str, ...]:
        return self.chains.get("INPUT", ())

    @property
    def end(self) -> int:
        """The place of INPUT's first rule that may drop or reject; the number of rules where none does."""
        return next((i for i, rule in enumerate(self.input) if self.ends(rule)), len(self.input))

    @property
    def filters(self) -> bool:
        """Whether something that comes in may be dropped or rejected."""
        return self.policy not in {"ACCEPT", ""} or self.end < len(self.input)

    def ends(self, rule: str, above: tuple[str, ...] = ()) -> bool:
        """Whether a packet that matches may be dropped by the rule, or leave INPUT unaccepted."""
        found = _TARGET.search(rule)
        if found is None:
            return False
        how, target = found.groups()
        if how == "g" or target in _ENDING:
            return not (above and target == "RETURN")
        below = self.chains.get(target, ()) if target not in above else ()
        return any(self.ends(deeper, (*above, target)) for deeper in below)


@dataclass(frozen=True)
class Edit:
    """The input of `iptables-restore --noflush`, which touches no other rule, and the difference for people."""

    script: str = ""
    diff: str = ""


def parse(saved: str) -> Table:
    """The filter table of what iptables-save printed, or of a file in that form."""
    policy, chains = "", dict[str, list[str]]()
    inside = False
    for line in saved.splitlines():
        if line.startswith("*"):
            inside = line.strip() == "*filter"
        elif inside and line.startswith(":INPUT "):
            policy = line.split()[1]
        elif inside and (found := _RULE.match(line)):
            chains.setdefault(found[1], []).append(_numbered(f"-A {found[1]}{found[2]}".rstrip()))
    return Table(policy, {name: tuple(rules) for name, rules in chains.items()})


def _numbered(rule: str) -> str:
    """Protocols without ports by number: iptables-save writes a name where the node has /etc/protocols."""
    for word, number in WHOLE.items():
        rule = rule.replace(f" -p {word} ", f" -p {number} ")
    return rule


def wanted_rules(wanted: RuleSet | None, version: int) -> list[str]:
    """The rules in the very words of iptables-save, one for each source and protocol."""
    if wanted is None:
        return []
    return [
        f'-A INPUT -s {source} {what} -m comment --comment "{wanted.comment}" -j ACCEPT'
        for source in wanted.sources_of(version)
        for protocol, ranges in wanted.ports.items()
        for what in _what(protocol, port_words(ranges, ":"))
    ]


def _what(protocol: str, words: list[str]) -> list[str]:
    if protocol in WHOLE:
        return [f"-p {WHOLE[protocol]}"]
    return [f"-p {protocol} -m multiport --dports {','.join(part)}" for part in _parts(words)]


def _parts(words: list[str]) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    room = _MULTIPORT
    for word in words:
        takes = 2 if ":" in word else 1
        if takes > room:
            parts.append([])
            room = _MULTIPORT
        parts[-1].append(word)
        room -= takes
    return parts


def is_ours(rule: str, name: str) -> bool:
    return f'--comment "{comment_of(name)}"' in rule


def decide(table: Table, name: str, wanted: list[str], *, program: str = "iptables") -> Edit:
    """What makes INPUT hold exactly the rules of `wanted` under the comment of `name`, before what rejects."""
    ours = [rule for rule in table.input if is_ours(rule, name)]
    if sorted(ours) == sorted(wanted) and not any(is_ours(rule, name) for rule in table.input[table.end :]):
        return Edit()
    place = table.end - sum(is_ours(rule, name) for rule in table.input[: table.end]) + 1
    lines = ["*filter"]
    lines += [rule.replace("-A ", "-D ", 1) for rule in ours]
    lines += [rule.replace("-A INPUT", f"-I INPUT {place + i}", 1) for i, rule in enumerate(wanted)]
    diff = unified_diff(f"{program} INPUT", _bytes(ours), _bytes(wanted))
    moved = f"--- {program} INPUT\n+++ {program} INPUT\nrules of ours moved before the one that rejects\n"
    return Edit("".join(f"{line}\n" for line in [*lines, "COMMIT"]), diff or moved)


def edited_file(lines: list[str], name: str, wanted: list[str]) -> list[str]:
    """The permanent file with our rules in its filter table, before what rejects; every other line stays as it is."""
    table = parse("\n".join(lines))
    if sorted(r for r in table.input if is_ours(r, name)) == sorted(wanted) and not any(
        is_ours(rule, name) for rule in table.input[table.end :]
    ):
        return lines
    kept = [line for line in lines if not is_ours(line, name)]
    start = next((i for i, line in enumerate(kept) if line.strip() == "*filter"), None)
    if start is None:
        return [*kept, "*filter", *wanted, "COMMIT"]
    commit = next((i for i in range(start, len(kept)) if kept[i].strip() == "COMMIT"), len(kept))
    at = next((i for i in range(start, commit) if _in_input(kept[i]) and table.ends(kept[i])), commit)
    return [*kept[:at], *wanted, *kept[at:]]


def accepted(table: Table, version: int) -> list[Opened]:
    """What INPUT's plain rules accept before one that rejects, ours and others'; rules with further conditions do not count."""
    found = [_PLAIN.fullmatch(rule) for rule in table.input[: table.end]]
    whole = [_WHOLE.fullmatch(rule) for rule in table.input[: table.end]]
    names = {str(number): word for word, number in WHOLE.items()}
    return [
        *(Opened(version, rule["protocol"], _ports(rule["ports"]), _sources(rule, version)) for rule in found if rule),
        *(
            Opened(version, names[rule["protocol"]], ALL_OF_IT, _sources(rule, version))
            for rule in whole
            if rule and rule["protocol"] in names
        ),
    ]


def _ports(text: str) -> Ranges:
    spans = [span.partition(":") for span in text.split(",")]
    return merged([(int(first), int(last or first)) for first, _, last in spans])


def _sources(rule: re.Match[str], version: int) -> Ranges:
    return addresses([ip_network(rule["source"], strict=False)]) if rule["source"] else everywhere(version)


def _in_input(line: str) -> bool:
    found = _RULE.match(line)
    return found is not None and found[1] == "INPUT"


def _bytes(rules: list[str]) -> bytes:
    return "".join(f"{rule}\n" for rule in rules).encode()
