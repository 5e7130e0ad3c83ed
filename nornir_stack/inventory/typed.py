"""The settings of every role of every host, read once, and judged together."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from nornir_stack import schema
from nornir_stack.inventory.roles import EVERYONE, classes_of
from nornir_stack.settings import raw_settings

if TYPE_CHECKING:
    from nornir_stack.inventory.findings import Findings
    from nornir_stack.inventory.roles import Roles
    from nornir_stack.settings import Settings

Read = dict[type["Settings"], dict[str, "Settings"]]


def check_settings(findings: Findings, roles: Roles) -> Read:
    """The settings by class and host, those without a complaint."""
    good: defaultdict[type[Settings], dict[str, Settings]] = defaultdict(dict)
    bad: set[type[Settings]] = set()
    for host in findings.inventory.hosts.values():
        for _, cls in classes_of(host, roles):
            value, complaints = schema.read(cls, raw_settings(host, cls))
            for complaint in complaints:
                findings.of(host, (cls.key, *complaint.path), complaint.text)
            if value is None:
                bad.add(cls)
            else:
                good[cls][host.name] = value
    _unread(findings, roles)
    for cls, mine in good.items():
        _judge(findings, cls, mine, complete=cls not in bad)
    return dict(good)


def _judge(findings: Findings, cls: type[Settings], mine: dict[str, Settings], *, complete: bool) -> None:
    judge = getattr(cls, "judge", None)
    for finding in judge(mine, findings.inventory) if judge is not None else ():
        if finding.warning and not complete:
            continue  # how many there are is not known while some could not be read
        host = findings.inventory.hosts[finding.host]
        findings.of(host, (cls.key, *finding.field.split(".")), finding.text, warning=finding.warning)


def _unread(findings: Findings, roles: Roles) -> None:
    """Settings that stand at a host which has no role that reads them."""
    readers: defaultdict[str, list[str]] = defaultdict(list)
    for role, classes in roles.items():
        for cls in classes:
            readers[cls.key].append(role)
    for host in findings.inventory.hosts.values():
        for key in host.data:
            wanted = readers.get(key, [EVERYONE])
            if EVERYONE not in wanted and not any(host.has_parent_group(role) for role in wanted):
                text = f"read by nobody: the host has no role {' or '.join(map(repr, wanted))}"
                findings.of(host, (key,), text, warning=True)
