"""What was seen at the end of a run, as rows for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_stack.results import masked, plain

if TYPE_CHECKING:
    from nornir_stack.results import Report

_WIDEST_VALUE = 200


def last_values(report: Report) -> dict[str, Any]:
    """Host to what its last task answered, as plain data, in the last stage.

    Nothing of a dry run, of one that failed early, or of what a plan saw that refused: its reason says what matters.
    """
    if report.dry_run or not (report.ok or [stage.kind for stage in report.stages] == ["stage"]):
        return {}
    return {
        host.host: masked(plain(host.tasks[-1].value))
        for stage in report.stages[-1:]
        for host in stage.hosts
        if host.tasks and host.tasks[-1].value is not None
    }


def flat(value: Any) -> dict[str, str]:
    """A value as field to text; what is no mapping has one field without a name."""
    if not isinstance(value, dict):
        return {"": _short(value)}
    return {str(key): _short(one) for key, one in value.items()}


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        between = "; " if any(isinstance(one, (dict, list)) for one in value) else ", "
        value = between.join(map(_short, value)) or "none"
    elif isinstance(value, dict):
        value = ", ".join(f"{key}={_short(one)}" for key, one in value.items()) or "none"
    text = "none" if value is None else str(value)
    return text if len(text) <= _WIDEST_VALUE else text[: _WIDEST_VALUE - 3] + "..."


def value_rows(report: Report) -> list[tuple[str, str, str]]:
    """Field, value, and who has it: what all hosts agree on is said once."""
    values = {host: flat(value) for host, value in last_values(report).items()}
    rows = []
    for field in dict.fromkeys(field for fields in values.values() for field in fields):
        having: dict[str, list[str]] = {}
        for host, fields in values.items():
            having.setdefault(fields.get(field, ""), []).append(host)
        agreed = len(having) == 1 and len(values) > 1
        rows += [(field, text, f"all {len(values)}" if agreed else ", ".join(hosts)) for text, hosts in having.items()]
    return rows
