"""Names of hosts and groups: characters, case, and one name for two things."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.inventory.roles import EVERYONE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nornir_stack.inventory.findings import Findings
    from nornir_stack.inventory.source import Source

_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")  # RFC 1123, section 2.1: it becomes the node's hostname
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def check_names(findings: Findings) -> None:
    """Notes names that cannot be typed, resolved or told apart."""
    hosts, groups = findings.sources.hosts, findings.sources.groups
    for name in hosts.data:
        if not _HOST.fullmatch(name):
            findings.at(hosts, (name,), f"host name {name!r}: letters, digits, hyphens and dots only (RFC 1123)")
        if name in groups.data or name == EVERYONE:
            findings.at(hosts, (name,), f"host name {name!r} is the name of a group too: a selection could mean either")
    for name in groups.data:
        if not _GROUP.fullmatch(name):
            findings.at(groups, (name,), f"group name {name!r}: letters, digits, hyphens and underscores only")
        if name == EVERYONE:
            findings.at(groups, (name,), f"group name {name!r} is taken: it means all hosts")
    _case(findings, hosts, hosts.data)
    _case(findings, groups, groups.data)


def _case(findings: Findings, source: Source, names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(name.casefold(), name)
        if first != name:
            findings.at(source, (name,), f"{name!r} and {first!r} (line {source.line((first,))}) differ only in case")
