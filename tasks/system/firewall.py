"""Ports opened for named sources, in the firewall that the node has: firewalld, nftables or iptables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.tasks.system import firewall_firewalld, firewall_iptables, firewall_nft
from nornir_stack.tasks.system.firewall_facts import Firewall, left_over, look
from nornir_stack.tasks.system.firewall_rules import IPV4, IPV6, covered, rule_set, wanted_openings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.system.firewall_rules import Opened, RuleSet

PROGRAMS = {IPV4: "iptables", IPV6: "ip6tables"}
NO_FIREWALL = "no firewall on this node: all ports are open"

_RUNTIME = """
say() { printf '@@%s\\n' "$1"; }
say runtime; firewall-cmd --list-all-zones && firewall-cmd --direct --get-all-rules || exit 1
say permanent; firewall-cmd --permanent --list-all-zones && firewall-cmd --permanent --direct --get-all-rules
"""


@dataclass(frozen=True)
class Openings:
    """Of the wanted ports, which are open for whom (`3306/tcp from 10.0.32.23`), in the node's firewall as it is now."""

    families: tuple[str, ...]
    open: tuple[str, ...]
    closed: tuple[str, ...]


def firewall(task: Task, *, purpose: str, ports: Sequence[str], sources: Sequence[str]) -> Result[Openings] | Result[None]:
    """Make `ports` reachable for `sources`, now and after a reboot, by rules with the comment `nornir-stack PURPOSE`.

    Rules under that comment that are no longer wanted go. `ports` are `3306/tcp`, `5900-5999/tcp` or the named set
    `galera`; `sources` addresses or networks. Where nothing filters there is nothing to open: the task is skipped.
    Raises Refused where the rules would not survive a reboot.
    """
    wanted = rule_set(purpose, ports, sources)
    node = Node(task)
    now = look(node, purpose)
    if not now.families and not left_over(now, purpose):
        return node.skipped(NO_FIREWALL)
    if now.families == ("firewalld",):
        _firewalld(node, now, wanted)
    else:
        _keep(node, now, wanted)
        _apply(node, now, wanted)
    return node.done(lambda: judge(look(node, purpose) if node.gate.effects else now, wanted))


def observe_ports(task: Task, *, purpose: str, ports: Sequence[str], sources: Sequence[str]) -> Result[Openings]:
    """Which of the wanted ports are open for whom; changes nothing."""
    node = Node(task)
    return node.done(judge(look(node, purpose), rule_set(purpose, ports, sources)))


def closed_ports(seen: Seen[Openings]) -> list[str]:
    """The problems: what is not open on which host."""
    return [f"{host}: {opening} is closed" for host, openings in seen.items() for opening in openings.closed]


def judge(now: Firewall, wanted: RuleSet) -> Openings:
    """Pure: a port is open where every filter in use accepts it before it rejects."""
    each = wanted_openings(wanted)
    by_version = {version: _filters(now, version) for version in (IPV4, IPV6)}
    is_open = {text: all(covered(one, rules) for rules in by_version[one.version]) for text, one in each.items()}
    return Openings(
        now.families,
        tuple(text for text, yes in is_open.items() if yes),
        tuple(text for text, yes in is_open.items() if not yes),
    )


def _filters(now: Firewall, version: int) -> list[list[Opened]]:
    if now.units["firewalld"].active:
        return [firewall_firewalld.accepted(now.policy or [])]
    found = [firewall_nft.accepted(chain) for chain in now.chains if version in chain.versions]
    table = now.tables.get(version)
    return [*found, firewall_iptables.accepted(table, version)] if table and table.filters else found


# acting: the permanent files first, so that a node never has an opening that a reboot takes back; only accepting rules of
# ours come and go, hence `cannot_cut`


def _keep(node: Node, now: Firewall, wanted: RuleSet) -> None:
    path = firewall_nft.DROP_IN.format(wanted.name)
    if any(firewall_nft.wanted_rules(chain, wanted) for chain in now.chains):
        _nft_file(node, now, wanted, path)
    else:
        node.remove_file(path)
    for version, table in now.tables.items():
        rules = _iptables_rules(table, wanted, version)
        if rules or any(firewall_iptables.is_ours(rule, wanted.name) for rule in table.input):
            edit = partial(firewall_iptables.edited_file, name=wanted.name, wanted=rules)
            node.edit_lines(_iptables_file(now, version), edit)


def _apply(node: Node, now: Firewall, wanted: RuleSet) -> None:
    edits = [edit for chain in now.chains if (edit := firewall_nft.decide(chain, wanted.name, wanted)).script]
    if edits:
        script = "".join(edit.script for edit in edits)
        diff = "\n".join(edit.diff for edit in edits)
        what = f"nft: the rules {wanted.comment!r}"
        node.change("nft", "-f", "-", stdin=script, what=what, diff=diff, cannot_cut=True)
    for version, table in now.tables.items():
        rules = _iptables_rules(table, wanted, version)
        restored = firewall_iptables.decide(table, wanted.name, rules, program=PROGRAMS[version])
        if restored.script:
            words = (f"{PROGRAMS[version]}-restore", "-w", "10", "--noflush")
            what = f"{PROGRAMS[version]}: the rules {wanted.comment!r}"
            node.change(*words, stdin=restored.script, what=what, diff=restored.diff, cannot_cut=True)


def _iptables_rules(table: firewall_iptables.Table, wanted: RuleSet, version: int) -> list[str]:
    return firewall_iptables.wanted_rules(wanted, version) if table.filters else []


def _nft_file(node: Node, now: Firewall, wanted: RuleSet, path: str) -> None:
    unit = now.units["nftables"]
    own = re.search(r"-f (/\S+)", unit.starts)
    if not unit.enabled or own is None:
        raise Refused(
            "nftables rules filter on this node, but nftables.service is not enabled, so what loads them is not known "
            "and a rule would not survive a reboot: put the ruleset into its file and enable nftables.service"
        )
    rules = firewall_nft.permanent(now.chains, wanted)
    lines = (node.read_file(own[1]) or "").splitlines()
    if node.read_file(path) == rules and firewall_nft.with_include(lines) == lines:
        return
    plain = "".join(f"{line}\n" for line in lines if line != firewall_nft.INCLUDE)
    check = node.read("nft", "-c", "-f", "-", stdin=plain + rules, ok=None)
    if not check.ok:
        raise Refused(f"nft does not accept {own[1]} with the new rules, so nothing was written: {check.stderr.strip()[:400]}")
    node.make_folder(path.rpartition("/")[0])
    node.write_file(path, rules)
    node.edit_lines(own[1], firewall_nft.with_include)


def _iptables_file(now: Firewall, version: int) -> str:
    if now.enabled("netfilter-persistent"):
        return f"/etc/iptables/rules.v{version}"
    program = PROGRAMS[version]
    if now.enabled(program):
        return f"/etc/sysconfig/{program}"
    raise Refused(
        f"{program} rules filter on this node, but neither netfilter-persistent nor {program}.service is enabled, so what "
        "loads them is not known and a rule would not survive a reboot: install iptables-persistent (Debian) or "
        "iptables-services (Red Hat) and save the node's own rules"
    )


def _firewalld(node: Node, now: Firewall, wanted: RuleSet) -> None:
    rules = firewall_firewalld.rich_rules(wanted)
    if not rules and now.policy is None:
        return
    policy = firewall_firewalld.policy_name(wanted.name)
    if now.policy is None:
        _refuse_losses(node)
    node.write_file(firewall_firewalld.FILE.format(policy), firewall_firewalld.policy_file(wanted))
    if now.policy is None:
        added = "".join(f"+{rule}\n" for rule in rules)
        diff = f"--- firewalld\n+++ firewalld {policy}\n{added}"
        node.change("firewall-cmd", "--reload", diff=diff, repeatable=True, cannot_cut=True)
        return
    gone, new = firewall_firewalld.decide(now.policy, rules)
    for verb, some in (("remove", gone), ("add", new)):
        if some:
            words = [f"--{verb}-rich-rule={rule}" for rule in some]
            diff = "".join(f"{'+' if verb == 'add' else '-'}{rule}\n" for rule in some)
            head = f"--- firewalld {policy}\n+++ firewalld {policy}\n"
            node.change("firewall-cmd", f"--policy={policy}", *words, diff=head + diff, cannot_cut=True)


def _refuse_losses(node: Node) -> None:
    """A new policy needs a reload, and that drops what others set at run time only (Docker, libvirt, an operator)."""
    out = node.read(sh(_RUNTIME)).stdout
    runtime, _, permanent = out.partition("@@permanent\n")
    lost = firewall_firewalld.only_runtime(runtime, permanent)
    if lost:
        raise Refused(
            "firewalld has to be reloaded for a new policy, which would lose what is set at run time only: "
            f"{'; '.join(lost[:5])}. "
            "Keep it by `firewall-cmd --runtime-to-permanent`, or reload once by hand"
        )
