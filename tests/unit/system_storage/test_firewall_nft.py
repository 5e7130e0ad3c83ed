from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.tasks.system.firewall_nft import Edit, InputChain, accepted, decide, input_chains, permanent, with_include
from nornir_stack.tasks.system.firewall_rules import covered, rule_set, wanted_openings
from tests.unit.system_storage.cases import cases

if TYPE_CHECKING:
    from collections.abc import Iterator

WANTED = rule_set("galera", ["galera", "5900-5999/tcp"], ["10.0.32.23", "10.0.32.24", "10.1.0.0/16", "fd00:32::/64"])
LESS = rule_set("galera", ["3306/tcp"], ["10.0.32.23"])
NONE = rule_set("galera", [], [])


class Kernel:
    """nftables in a network namespace of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._enter = ["nsenter", "-t", str(process.pid), "-n"]

    def run(self, *argv: str, stdin: str = "") -> str:
        done = subprocess.run([*self._enter, *argv], input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def chains(self) -> dict[str, InputChain]:
        return {chain.path: chain for chain in input_chains(self.run("nft", "-j", "list", "ruleset"), iptables=False)}

    def others(self) -> list[str]:
        return [line for line in self.run("nft", "list", "ruleset").splitlines() if "nornir-stack" not in line]

    def apply(self, *edits: Edit) -> None:
        self.run("nft", "-f", "-", stdin="".join(edit.script for edit in edits))


@contextmanager
def namespace() -> Iterator[Kernel]:
    with subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("ready\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        yield Kernel(process)
        process.stdin.close()


def can_unshare() -> bool:
    if not all(map(shutil.which, ("nft", "unshare", "nsenter"))):
        return False
    return subprocess.run(["unshare", "-n", "nft", "list", "ruleset"], capture_output=True, check=False).returncode == 0


needs_kernel = pytest.mark.skipif(not can_unshare(), reason="needs root, unshare and nft on this machine")


@needs_kernel
@pytest.mark.parametrize("case", cases("firewall/nft.yaml"))
def test_decide_in_a_kernel(case: dict[str, Any]) -> None:
    """In every chain that filters, and in no other, our rules stand in place; others stay; a second time does nothing."""
    with namespace() as kernel:
        kernel.run("nft", "-f", "-", stdin=case["ruleset"])
        others = kernel.others()
        assert sorted(case["opened"]) == sorted(kernel.chains)
        kernel.apply(*[decide(chain, "galera", WANTED) for chain in kernel.chains.values()])
        assert others == kernel.others()
        for path, chain in kernel.chains.items():
            listing = kernel.run("nft", "list", "chain", *path.split()).splitlines()
            ours = [i for i, line in enumerate(listing) if "nornir-stack galera" in line]
            assert len(ours) == 2 * len(chain.versions)
            assert (case["opened"][path] or "}") in listing[ours[-1] + 1]
            assert decide(chain, "galera", WANTED) == Edit()
            for one in wanted_openings(WANTED).values():
                assert covered(one, accepted(chain)) == (one.version in chain.versions)


@needs_kernel
@pytest.mark.parametrize("case", cases("firewall/nft.yaml"))
def test_rules_no_longer_wanted_go(case: dict[str, Any]) -> None:
    """With fewer ports and sources the rest of our rules goes; with none all go, and the ruleset is as it was."""
    with namespace() as kernel:
        kernel.run("nft", "-f", "-", stdin=case["ruleset"])
        before = kernel.run("nft", "list", "ruleset")
        kernel.apply(*[decide(chain, "galera", WANTED) for chain in kernel.chains.values()])
        kernel.apply(*[decide(chain, "galera", LESS) for chain in kernel.chains.values()])
        ours = [line for line in kernel.run("nft", "list", "ruleset").splitlines() if "nornir-stack" in line]
        assert len(ours) == sum(4 in chain.versions for chain in kernel.chains.values())
        kernel.apply(*[decide(chain, "galera", NONE) for chain in kernel.chains.values()])
        assert before == kernel.run("nft", "list", "ruleset")


@needs_kernel
@pytest.mark.parametrize("case", cases("firewall/nft.yaml"))
def test_the_file_restores_what_was_decided(case: dict[str, Any]) -> None:
    """After a boot (the node's own ruleset, then our file, in one transaction) nothing is left to decide."""
    with namespace() as kernel:
        kernel.run("nft", "-f", "-", stdin=case["ruleset"])
        ours = permanent(tuple(kernel.chains.values()), WANTED)
        kernel.run("nft", "-f", "-", stdin="flush ruleset\n" + case["ruleset"] + ours)
        assert [decide(chain, "galera", WANTED) for chain in kernel.chains.values()] == [Edit()] * len(case["opened"])


@needs_kernel
def test_the_file_loads_where_the_chain_is_gone() -> None:
    """A chain that was renamed since does not keep the node's ruleset from loading."""
    with namespace() as kernel:
        kernel.run(
            "nft", "-f", "-", stdin="table inet a { chain b { type filter hook input priority 0; policy drop; \n } \n }\n"
        )
        ours = permanent(tuple(kernel.chains.values()), WANTED)
        kernel.run("nft", "-f", "-", stdin="flush ruleset\n" + ours)
        assert kernel.chains == {}


@needs_kernel
def test_rules_below_what_rejects_are_moved() -> None:
    """A rule of ours that somebody's new reject stands above is put before it."""
    with namespace() as kernel:
        kernel.run(
            "nft", "-f", "-", stdin="table inet a { chain b { type filter hook input priority 0; policy drop; \n } \n }\n"
        )
        kernel.apply(*[decide(chain, "galera", WANTED) for chain in kernel.chains.values()])
        kernel.run("nft", "insert rule inet a b tcp dport 3306 reject")
        (chain,) = kernel.chains.values()
        assert not any(covered(one, accepted(chain)) for one in wanted_openings(WANTED).values())
        kernel.apply(decide(chain, "galera", WANTED))
        (chain,) = kernel.chains.values()
        assert decide(chain, "galera", WANTED) == Edit()
        assert "nornir-stack" not in kernel.run("nft", "list", "chain", "inet", "a", "b").splitlines()[-3]


def test_include_once() -> None:
    """The include line stands at the end of nftables' own file, once."""
    lines = with_include(["flush ruleset"])
    assert lines == ["flush ruleset", 'include "/etc/nftables.d/nornir-stack-*.nft"']
    assert lines == with_include(lines)
