"""A node's condition in the text form of Prometheus. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nornir_stack.tasks.maintenance.condition import Condition
    from nornir_stack.tasks.maintenance.trouble import Trouble

_HELP = {
    "care_troubles": "What an operator should know, by how bad it is",
    "care_survey_time_seconds": "When the node was looked at",
    "care_disk_free_bytes": "Free on a file system",
    "care_disk_used_ratio": "Used share of a file system",
    "care_memory_available_bytes": "Memory that is available",
    "care_failed_units": "Units of systemd that failed",
    "care_security_updates": "Security updates that are not installed",
    "care_reboot_due": "A newer kernel is installed than runs, or a package asks for a boot",
    "care_certificate_end_seconds": "When a certificate ends",
    "care_backup_newest_seconds": "When the newest file of a backup was written",
    "care_keys_rotated_seconds": "When a key repository of Keystone was rotated",
    "care_log_bytes": "Bytes below /var/log",
}


def exposition(seen: Condition, troubles: Sequence[Trouble], *, name: str) -> str:
    """Gauges, by Prometheus' rules for names and units."""
    text, told = "", ""
    for metric, labels, value in _gauges(seen, troubles):
        if metric != told:
            text += f"# HELP {metric} {_HELP[metric]}.\n# TYPE {metric} gauge\n"
        told = metric
        shown = ",".join(f'{key}="{_escaped(word)}"' for key, word in {"host": name, **labels}.items())
        text += f"{metric}{{{shown}}} {int(value) if value == int(value) else round(value, 4)}\n"
    return text


def _gauges(seen: Condition, troubles: Sequence[Trouble]) -> Iterator[tuple[str, dict[str, str], float]]:
    for severity in ("severe", "look"):
        yield "care_troubles", {"severity": severity}, sum(one.severity == severity for one in troubles)
    yield "care_survey_time_seconds", {}, int(seen.now)
    for disk in seen.disks:
        yield "care_disk_free_bytes", {"mount": disk.mount}, disk.free
    for disk in seen.disks:
        yield "care_disk_used_ratio", {"mount": disk.mount}, disk.percent / 100
    yield "care_memory_available_bytes", {}, seen.memory.available
    yield "care_failed_units", {}, len(seen.failed)
    if seen.updates:
        yield "care_security_updates", {}, len(seen.updates.security)
    due = bool(seen.kernel.reboot or (seen.kernel.newest and seen.kernel.newest != seen.kernel.running))
    yield "care_reboot_due", {}, due
    for one in seen.certificates:
        if not one.problem:
            yield "care_certificate_end_seconds", {"path": one.path}, one.ends
    for backup in seen.backups:
        yield "care_backup_newest_seconds", {"backup": backup.name}, backup.newest
    for keys in seen.keys:
        yield "care_keys_rotated_seconds", {"folder": keys.folder}, keys.rotated
    yield "care_log_bytes", {}, seen.logs_size


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
