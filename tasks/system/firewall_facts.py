"""What decides over packets that come in to a node: looked at in one round trip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.tasks.system import firewall_iptables, firewall_nft
from nornir_stack.tasks.system.firewall_rules import IPV4, IPV6

if TYPE_CHECKING:
    from nornir_stack.node import Node

_LOOK = """
PATH=$PATH:/usr/sbin:/sbin
has() { command -v "$1" >/dev/null 2>&1; }
say() { printf '\\n@@%s\\n' "$1"; }
say units
systemctl show -p Id -p ActiveState -p UnitFileState -p ExecStart \
    firewalld.service nftables.service iptables.service ip6tables.service netfilter-persistent.service 2>/dev/null
say policy
if systemctl is-active -q firewalld 2>/dev/null; then
    firewall-cmd --policy="nornir-$1" --list-rich-rules 2>/dev/null || echo absent
    exit 0
fi
if has nft; then say nft; nft -j list ruleset || exit 1; fi
if has iptables; then
    say backend; iptables -V
    say v4; iptables-save -t filter 2>/dev/null
    say v6; ip6tables-save -t filter 2>/dev/null
fi
:
"""


@dataclass(frozen=True)
class Unit:
    active: bool
    enabled: bool
    starts: str


@dataclass(frozen=True)
class Firewall:
    """What decides over packets that come in.

    `policy` holds the rich rules of our firewalld policy, None where it is not loaded; `tables` iptables' by IP version.
    """

    units: dict[str, Unit]
    policy: list[str] | None
    chains: tuple[firewall_nft.InputChain, ...]
    tables: dict[int, firewall_iptables.Table]

    @property
    def families(self) -> tuple[str, ...]:
        """Those in use. A packet has to pass all of them, so what is opened is opened in each."""
        if self.units["firewalld"].active:
            return ("firewalld",)
        used = {"nftables": bool(self.chains), "iptables": any(table.filters for table in self.tables.values())}
        return tuple(family for family, yes in used.items() if yes)

    def enabled(self, unit: str) -> bool:
        return self.units[unit].enabled


def look(node: Node, name: str) -> Firewall:
    """One round trip: units, rulesets and our policy."""
    return parse(node.read(sh(_LOOK, name)).stdout)


def parse(out: str) -> Firewall:
    """Pure: what the look printed."""
    parts = dict(part.partition("\n")[::2] for part in out.split("\n@@")[1:])
    policy = [line.strip() for line in parts.get("policy", "").splitlines() if line.strip()]
    tables = {version: firewall_iptables.parse(parts.get(f"v{version}", "")) for version in (IPV4, IPV6)}
    if any("ufw-before-input" in table.chains for table in tables.values()):
        raise Refused("ufw filters on this node, and it is not served: use `ufw allow from SOURCE to any port PORT` there")
    over_nft = "nf_tables" in parts.get("backend", "") and any(table.policy for table in tables.values())
    return Firewall(
        _units(parts.get("units", "")),
        None if policy == ["absent"] else policy,
        firewall_nft.input_chains(parts.get("nft", "").strip(), iptables=over_nft),
        tables,
    )


def _units(out: str) -> dict[str, Unit]:
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in out.strip().split("\n\n")]
    known = {
        block["Id"].removesuffix(".service"): Unit(
            block.get("ActiveState") == "active", block.get("UnitFileState") == "enabled", block.get("ExecStart", "")
        )
        for block in blocks
        if "Id" in block
    }
    names = ("firewalld", "nftables", "iptables", "ip6tables", "netfilter-persistent")
    return {name: known.get(name, Unit(active=False, enabled=False, starts="")) for name in names}


def left_over(now: Firewall, name: str) -> bool:
    return any(firewall_iptables.is_ours(rule, name) for table in now.tables.values() for rule in table.input)
