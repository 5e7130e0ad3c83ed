"""nftables: rules of ours inside the chains that filter input, before what rejects. Pure.

A packet that one base chain accepts is still judged by every other base chain of the hook (nft(8), "verdict statements"),
so a table of our own could not open anything: the rules go into each chain that may drop.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from nornir_stack.files import unified_diff
from nornir_stack.tasks.system.firewall_rules import (
    ALL_OF_IT,
    FAMILIES,
    IPV4,
    WHOLE,
    Opened,
    addresses,
    comment_of,
    everywhere,
    merged,
    port_words,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir_stack.tasks.system.firewall_rules import Ranges, RuleSet

DROP_IN = "/etc/nftables.d/nornir-stack-{}.nft"
INCLUDE = 'include "/etc/nftables.d/nornir-stack-*.nft"'
# verdicts after which a rule below would not be reached, or not in this chain (vmap: any of its verdicts may be one)
_ENDING = {"drop", "reject", "return", "queue", "goto"}


@dataclass(frozen=True)
class Rule:
    """A rule of a chain. `ends` is true where the packet may be dropped by it, or leave the chain unaccepted."""

    handle: int
    comment: str
    expr: tuple[Any, ...]
    ends: bool


@dataclass(frozen=True)
class InputChain:
    """A base chain on the input hook that may drop what is not accepted in it."""

    family: str
    table: str
    name: str
    policy: str
    rules: tuple[Rule, ...]

    @property
    def path(self) -> str:
        return f"{self.family} {_word(self.table)} {_word(self.name)}"

    @property
    def versions(self) -> tuple[int, ...]:
        return {"ip": (4,), "ip6": (6,)}.get(self.family, (4, 6))


@dataclass(frozen=True)
class Edit:
    """One transaction for `nft -f -`, and the rules of ours before and after for people."""

    script: str = ""
    diff: str = ""


def input_chains(ruleset: str, *, iptables: bool) -> tuple[InputChain, ...]:
    """The chains that filter input, of what `nft -j list ruleset` printed.

    `iptables`: the node has iptables on nftables, so `filter INPUT` of ip and ip6 are iptables' and left to it; so is
    firewalld's table to firewalld.
    """
    items = json.loads(ruleset or '{"nftables": []}')["nftables"]
    chains = {(c["family"], c["table"], c["name"]): c for item in items if (c := item.get("chain"))}
    rules: dict[tuple[str, str, str], list[dict[str, Any]]] = {key: [] for key in chains}
    for item in items:
        if rule := item.get("rule"):
            rules[rule["family"], rule["table"], rule["chain"]].append(rule)
    found = []
    for key, chain in chains.items():
        foreign = key[1] == "firewalld" or (iptables and key in {("ip", "filter", "INPUT"), ("ip6", "filter", "INPUT")})
        if foreign or chain.get("hook") != "input" or key[0] not in {"inet", "ip", "ip6"}:
            continue
        parsed = tuple(
            Rule(r["handle"], r.get("comment", ""), tuple(r["expr"]), _ends(r["expr"], key[:2], rules, top=True))
            for r in rules[key]
        )
        policy = chain.get("policy", "accept")
        if policy != "accept" or any(rule.ends for rule in parsed):
            found.append(InputChain(*key, policy, parsed))
    return tuple(found)


def _ends(
    expr: list[Any],
    table: tuple[str, str],
    rules: Mapping[tuple[str, str, str], list[dict[str, Any]]],
    *,
    top: bool,
    above: tuple[str, ...] = (),
) -> bool:
    for part in expr:
        for verdict, more in _verdicts(part):
            if verdict in _ENDING and (top or verdict != "return"):
                return True
            target = more["target"] if verdict == "jump" else ""
            if target and target not in above:
                below = rules.get((*table, target), [])
                if any(_ends(rule["expr"], table, rules, top=False, above=(*above, target)) for rule in below):
                    return True
    return False


def _verdicts(part: Any) -> list[tuple[str, Any]]:
    """The verdicts in one expression of a rule; a verdict map holds several, and a named one may hold any."""
    if not isinstance(part, dict):
        return []
    if "vmap" not in part:
        return [(key, part[key]) for key in part if key in _ENDING or key == "jump"]
    data = part["vmap"]["data"]
    if not isinstance(data, dict) or "set" not in data:
        return [("drop", None)]
    return [(verdict, more) for _, value in data["set"] for verdict, more in value.items()]


def decide(chain: InputChain, name: str, wanted: RuleSet | None) -> Edit:
    """What makes `chain` hold exactly the rules of `wanted` (None: no rule) under the comment of `name`."""
    ours = [rule for rule in chain.rules if rule.comment == comment_of(name)]
    others = [rule for rule in chain.rules if rule.comment != comment_of(name)]
    end = next((rule for rule in others if rule.ends), None)
    below = chain.rules[chain.rules.index(end) :] if end else ()
    target = wanted_rules(chain, wanted)
    now = [opened(rule) for rule in ours]
    if sorted(map(repr, now)) == sorted(map(repr, target)) and not any(rule in below for rule in ours):
        return Edit()
    place = f"insert rule {chain.path} position {end.handle}" if end else f"add rule {chain.path}"
    lines = [f"delete rule {chain.path} handle {rule.handle}" for rule in ours]
    texts = [text(rule, comment_of(name)) for rule in target]
    lines += [f"{place} {line}" for line in texts]
    before = [text(rule, comment_of(name)) if rule else "a rule of ours in another form" for rule in now]
    return Edit("".join(f"{line}\n" for line in lines), _diff(chain, before, texts))


def wanted_rules(chain: InputChain, wanted: RuleSet | None) -> tuple[Opened, ...]:
    if wanted is None:
        return ()
    return tuple(
        Opened(version, protocol, ports, addresses(sources))
        for version in chain.versions
        if (sources := wanted.sources_of(version))
        for protocol, ports in wanted.ports.items()
    )


def text(rule: Opened, comment: str) -> str:
    """The rule as nft reads it."""
    sources = ", ".join(_span(rule.version, first, last) for first, last in rule.sources)
    if rule.protocol in WHOLE:
        what = f"meta l4proto {WHOLE[rule.protocol]}"
        return f'{FAMILIES[rule.version]} saddr {{ {sources} }} {what} accept comment "{comment}"'
    ports = ", ".join(port_words(rule.ports))
    return f'{FAMILIES[rule.version]} saddr {{ {sources} }} {rule.protocol} dport {{ {ports} }} accept comment "{comment}"'


def opened(rule: Rule) -> Opened | None:
    """The rule as a value, if it says just `saddr ... dport ... accept`; else None."""
    found = _matches(rule)
    if found is None or set(found) != {"saddr", "dport"}:
        return None
    (family, sources), (protocol, ports) = found["saddr"], found["dport"]
    return Opened({"ip": 4, "ip6": 6}[family], protocol, ports, sources)


def accepted(chain: InputChain) -> list[Opened]:
    """What plain rules accept before one that rejects, ours and others'; rules with further conditions do not count."""
    found = []
    for rule in chain.rules:
        if rule.ends:
            break
        matches = _matches(rule)
        if matches and "dport" in matches:
            protocol, ports = matches["dport"]
            for version in chain.versions:
                family, sources = matches.get("saddr", (FAMILIES[version], everywhere(version)))
                if family == FAMILIES[version]:
                    found.append(Opened(version, protocol, ports, sources))
    return found


def _matches(rule: Rule) -> dict[str, tuple[str, Ranges]] | None:
    """saddr and dport with their protocol and values, if the rule has no other condition and accepts; else None."""
    parts = [part for part in rule.expr if "counter" not in part]
    if not parts or "accept" not in parts[-1]:
        return None
    found: dict[str, tuple[str, Ranges]] = {}
    try:
        for part in parts[:-1]:
            match = part["match"]
            if match["left"] == {"meta": {"key": "l4proto"}} and match["op"] == "==" and "dport" not in found:
                found["dport"] = _whole(match["right"]), ALL_OF_IT
                continue
            payload = match["left"]["payload"]
            if match["op"] != "==" or payload["field"] not in {"saddr", "dport"} or payload["field"] in found:
                return None
            found[payload["field"]] = payload["protocol"], _values(match["right"])
    except (KeyError, TypeError, ValueError, StopIteration):  # another kind of match, or a named set: not ours to understand
        return None
    return found


def _whole(right: Any) -> str:
    """The word for a protocol without ports, which nft gives by name or by number."""
    return next(word for word, number in WHOLE.items() if right in {word, number})


def _values(right: Any) -> Ranges:
    items = right["set"] if isinstance(right, dict) and "set" in right else [right]
    return merged([_range(item) for item in items])


def _range(item: Any) -> tuple[int, int]:
    if isinstance(item, int):
        return item, item
    if isinstance(item, str):
        return int(ip_address(item)), int(ip_address(item))
    if "prefix" in item:
        network = ip_network(f"{item['prefix']['addr']}/{item['prefix']['len']}")
        return int(network.network_address), int(network.broadcast_address)
    first, last = item["range"]
    return _range(first)[0], _range(last)[0]


def _span(version: int, first: int, last: int) -> str:
    kind = IPv4Address if version == IPV4 else IPv6Address
    return str(kind(first)) if first == last else f"{kind(first)}-{kind(last)}"


def permanent(chains: tuple[InputChain, ...], wanted: RuleSet) -> str:
    """The file that nftables.service loads after the node's own ruleset, in the same transaction.

    `add` makes nothing where the chain exists, and keeps the load from failing where somebody renamed it. What is inserted
    without a position stands first, so before what rejects.
    """
    lines = [f"# {wanted.comment}: written by nornir_stack, loaded by the include line at the end of nftables' own file"]
    for chain in chains:
        lines.append(f"add table {chain.family} {_word(chain.table)}")
        lines.append(f"add chain {chain.path}")
        lines += [f"insert rule {chain.path} {text(rule, wanted.comment)}" for rule in wanted_rules(chain, wanted)]
    return "".join(f"{line}\n" for line in lines)


def with_include(lines: list[str]) -> list[str]:
    """nftables' own file with our include line as its last, once."""
    return lines if INCLUDE in lines else [*lines, INCLUDE]


def _word(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_][\w/.-]*", name) else f'"{name}"'


def _diff(chain: InputChain, before: list[str], after: list[str]) -> str:
    def lines(rules: list[str]) -> bytes:
        return "".join(f"{rule}\n" for rule in rules).encode()

    return unified_diff(f"nft {chain.path}", lines(before), lines(after))
