"""What the survey's look printed, made into a node's condition. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.tasks.maintenance.condition import Condition, Disk, FailedUnit, Kernel, Log, Memory, Updates
from nornir_stack.tasks.maintenance.reading_hardware import arrays, certificates, drives
from nornir_stack.tasks.maintenance.reading_services import backups, key_folders, namespaces, rabbit, zombie_ports

if TYPE_CHECKING:
    from collections.abc import Iterable

# What is no disk: it is in memory, read only, or seen where it belongs.
_NO_DISKS = frozenset({"tmpfs", "devtmpfs", "squashfs", "iso9660", "udf", "efivarfs", "ramfs", "nsfs", "autofs"})
_KIB = 1024


def condition(out: str, err: str, sent: float, received: float) -> Condition:
    """The condition from the look's stdout and stderr; it was sent and received at these times by the clock here."""
    at = {name: body for name, _, body in (part.partition("\n") for part in out.split("\x1e")[1:])}
    begin, end = float(at["begin"]), float(at["end"])
    offset, doubt = clock_offset(sent, received, begin, end)
    clock = _fields(at.get("clock", ""))
    return Condition(
        now=end,
        boot=at.get("boot", "").strip(),
        machine=at.get("machine", "").strip(),
        clock_offset=offset,
        clock_doubt=doubt,
        clock_keeper=clock.get("service", ""),
        synchronised=clock.get("service") == "the host" or clock.get("synchronised", "yes") != "no",
        disks=disks(at.get("disks", "")),
        memory=memory(at.get("meminfo", ""), at.get("pressure", ""), at.get("vmstat", "")),
        failed=failed(at.get("failed", ""), end),
        certificates=certificates(at.get("certificates", "")),
        updates=updates(at.get("updates", "")),
        kernel=kernel(at.get("kernel", ""), at.get("reboot", ""), at.get("replaced", "")),
        arrays=arrays(at.get("mdstat", ""), at.get("zpool", "")),
        drives=drives(at.get("smart", "")),
        logs=logs(at.get("logs", "")),
        logs_size=int(at.get("logs-size", "").split("\t")[0] or 0),
        rabbit=rabbit(at["rabbit"], at.get("queues", "")) if "rabbit" in at else None,
        keys=key_folders(at.get("keys", "")),
        backups=backups(at.get("backups", "")),
        namespaces=namespaces(at.get("namespaces", ""), at.get("netns-of-processes", "")),
        ports=zombie_ports(at.get("ports", "")),
        hung=tuple(line.removeprefix("hung ") for line in err.splitlines() if line.startswith("hung ")),
    )


def clock_offset(sent: float, received: float, begin: float, end: float) -> tuple[float, float]:
    """How far the node's clock is ahead, and the doubt: it began after `sent`, and ended before `received`, of the clock here.

    >>> clock_offset(100.0, 103.0, 205.2, 207.8)
    (105.0, 0.2)
    """
    least, most = end - received, begin - sent
    return round((least + most) / 2, 3), round(abs(most - least) / 2, 3)


def _fields(text: str) -> dict[str, str]:
    return {key: value.strip() for key, _, value in (line.partition(" ") for line in text.splitlines())}


def disks(text: str) -> tuple[Disk, ...]:
    """From `df --output=size,used,avail,itotal,iused,fstype,source,target`; its head is passed over."""
    found = []
    for line in text.splitlines()[1:]:
        size, used, free, inodes, inodes_used, kind, source, mount = line.split(maxsplit=7)
        if kind not in _NO_DISKS and size != "0":
            found.append(Disk(mount, source, kind, _int(size), _int(used), _int(free), _int(inodes), _int(inodes_used)))
    return tuple(found)


def _int(text: str) -> int:
    return int(text) if text.lstrip("-").isdigit() else 0


def memory(meminfo: str, pressure: str, vmstat: str) -> Memory:
    """From /proc/meminfo (KiB), /proc/pressure/memory (a kernel's Documentation/accounting/psi.rst) and /proc/vmstat."""
    at = {
        key: _int(value.split()[0]) * _KIB for key, _, value in (line.partition(":") for line in meminfo.splitlines()) if value
    }
    some = re.search(r"^some .*avg300=([0-9.]+)", pressure, re.MULTILINE)
    kills = re.search(r"^oom_kill (\d+)", vmstat, re.MULTILINE)
    return Memory(
        at.get("MemTotal", 0),
        at.get("MemAvailable", at.get("MemFree", 0)),
        at.get("SwapTotal", 0),
        at.get("SwapFree", 0),
        float(some[1]) if some else None,
        int(kills[1]) if kills else 0,
    )


def failed(text: str, now: float) -> tuple[FailedUnit, ...]:
    """From the uptime and blocks of `systemctl show`. Units that do not exist any more are passed over."""
    first, _, shown = text.partition("\n")
    booted = now - float(first.removeprefix("uptime ") or 0)
    found = []
    for block in shown.split("\n\n"):
        at = dict(line.partition("=")[::2] for line in block.splitlines())
        if at.get("ActiveState") in {"failed", "activating"}:
            since = booted + _int(at.get("StateChangeTimestampMonotonic", "0")) / 1e6
            state = "failed" if at["ActiveState"] == "failed" else at.get("SubState", "")
            found.append(FailedUnit(at["Id"], state, at.get("Result", ""), _int(at.get("NRestarts", "0")), int(since)))
    return tuple(found)


def updates(text: str) -> Updates | None:
    """From `apt-get -s dist-upgrade` or dnf's lists; None for another package manager."""
    lines = text.splitlines()
    if not lines:
        return None
    lists = _int(lines[0].removeprefix("lists ").strip())
    if any(line.startswith(("advisory ", "newer ")) for line in lines):
        return _dnf(lines[1:], lists)
    new = [line for line in lines[1:] if line.startswith("Inst ")]
    security = _unique(line.split()[1] for line in new if _from_security(line))
    return Updates(security, len(new) - len(security), lists)


def _from_security(line: str) -> bool:
    """`Inst openssl [1] (2 Debian-Security:12/stable-security [amd64])`; Ubuntu says `Ubuntu:24.04/noble-security`."""
    source = re.search(r"\(\S+ ([^)\[]*)", line)
    return bool(source and re.search(r"[-/]security\b|^debian-security", source[1], re.IGNORECASE))


def _dnf(lines: list[str], lists: int) -> Updates:
    """`FEDORA-2024-1 Important/Sec. openssl-1:3.0.7-27.el9.x86_64`, and `openssl.x86_64  1:3.0.7-28.el9  baseos`.

    Indented is what one of those would replace.
    """
    rows = [line.split() for line in lines if not line.startswith("newer  ")]
    security = _unique(_name_of(row[-1]) for row in rows if row[0] == "advisory" and len(row) > 2)  # noqa: PLR2004  columns
    newer = {row[1].rpartition(".")[0] for row in rows if row[0] == "newer" and len(row) == 4}  # noqa: PLR2004  columns
    return Updates(security, len(newer - set(security)), lists)


def _name_of(nevra: str) -> str:
    return nevra.rpartition("-")[0].rpartition("-")[0] or nevra


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def kernel(text: str, reboot: str, replaced: str) -> Kernel:
    """Running and newest kernel (of the same flavour), what asks for a boot, and services with replaced libraries."""
    running, *images = text.splitlines() or [""]
    versions = [image.rpartition("vmlinuz-")[2] for image in images]
    same = [version for version in versions if _flavour(version) == _flavour(running) and "rescue" not in version]
    newest = max(same, key=_version, default="")
    return Kernel(running, newest, _unique(reboot.split()), _unique(replaced.split()))


def _flavour(version: str) -> str:
    """`amd64` of `6.1.0-18-amd64`, `x86_64` of `5.14.0-427.el9.x86_64`."""
    return re.split(r"[-.]", version)[-1]


def _version(version: str) -> tuple[tuple[int, str], ...]:
    """Numbers as numbers: 6.1.0-9 comes before 6.1.0-18."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|[a-z]+", version.lower()))


def logs(text: str) -> tuple[Log, ...]:
    """From find's `%s %T@ %p`, the largest first."""
    rows = [line.split(" ", 2) for line in text.splitlines()]
    return tuple(Log(path, int(size), int(float(written))) for size, written, path in rows)
