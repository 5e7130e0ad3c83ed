"""What of a node's condition an operator should know, by the limits of the inventory. Pure."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nornir_stack.tasks.maintenance.history import DAY, disk_points, growth, log_points, new_oom_kills
from nornir_stack.tasks.maintenance.judging_services import of_backups, of_keys, of_namespaces, of_rabbit
from nornir_stack.tasks.maintenance.trouble import Trouble, above, below, days, few, size, worse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nornir_stack.tasks.maintenance.condition import Condition, Disk
    from nornir_stack.tasks.maintenance.history import Growth, Sample
    from nornir_stack.tasks.maintenance.settings import Care

_MOST_NOTABLE = 0.005  # of a disk, a day: what grows slower is no news
_LONG = 366.0


def troubles(seen: Condition, care: Care, history: Sequence[Sample]) -> tuple[Trouble, ...]:
    """All of it, the worst first. `history` holds the node's samples, the newest is of this look."""
    found = [
        *of_disks(seen, care, history),
        *of_arrays(seen),
        *of_drives(seen),
        *of_memory(seen, care, history),
        *of_units(seen),
        *of_rabbit(seen, care),
        *of_certificates(seen, care),
        *of_keys(seen, care),
        *of_backups(seen, care),
        *of_clock(seen, care),
        *of_logs(seen, care, history),
        *of_updates(seen, care),
        *of_kernel(seen),
        *of_namespaces(seen),
        *(
            Trouble("look", "look", f"{what} did not answer in its time: what it would show is not known.")
            for what in seen.hung
        ),
    ]
    return tuple(sorted(found, key=lambda trouble: trouble.severity != "severe"))


def of_disks(seen: Condition, care: Care, history: Sequence[Sample]) -> Iterator[Trouble]:
    for disk in seen.disks:
        grows = growth(disk_points(history, disk.mount), disk.free)
        full_in = grows.full_in if grows and grows.full_in is not None else None
        notable = grows is not None and grows.per_day > disk.size * _MOST_NOTABLE
        by_time = below(full_in, care.full_in) if full_in is not None and notable else None
        if level := worse(above(disk.percent, care.disk_used), by_time):
            text = f"{disk.percent:.0f} % full, {size(disk.free)} left"
            yield Trouble(level, f"disk {disk.mount}", f"{text}{_forecast(grows)}{_largest(seen, disk)}.")
        if level := above(disk.inodes_percent, care.inodes_used):
            left = disk.inodes - disk.inodes_used
            yield Trouble(
                level, f"inodes {disk.mount}", f"{disk.inodes_percent:.0f} % used, {left} left: too many small files."
            )


def _forecast(grows: Growth | None) -> str:
    if grows is None or grows.full_in is None or grows.full_in > _LONG:
        return ""
    return f"; full in {days(grows.full_in)}: it grows by {size(grows.per_day)} a day since {_date(grows.since)}"


def _largest(seen: Condition, disk: Disk) -> str:
    """The largest logs that lie on this disk."""
    mounts = [one.mount for one in seen.disks]
    there = [log for log in seen.logs if _mount_of(log.path, mounts) == disk.mount]
    return f"; largest logs: {few((f'{log.path} ({size(log.size)})' for log in there), 2)}" if there else ""


def _mount_of(path: str, mounts: Sequence[str]) -> str:
    above_it = [mount for mount in mounts if path.startswith(mount.rstrip("/") + "/")]
    return max(above_it, key=len, default="")


def of_arrays(seen: Condition) -> Iterator[Trouble]:
    return (Trouble("severe", f"RAID {one.name}", f"It is not whole: {one.state}.") for one in seen.arrays if one.state)


def of_drives(seen: Condition) -> Iterator[Trouble]:
    for one in seen.drives:
        if one.severe:
            yield Trouble("severe", f"disk {one.name}", f"By its own account (SMART) it fails: {one.severe}: replace it.")
        elif one.notes:
            yield Trouble("look", f"disk {one.name}", f"By its own account (SMART): {', '.join(one.notes)}.")


def of_memory(seen: Condition, care: Care, history: Sequence[Sample]) -> Iterator[Trouble]:
    now = seen.memory
    if now.total and (level := below(100 * now.available / now.total, care.memory_free)):
        yield Trouble(level, "memory", f"{size(now.available)} of {size(now.total)} are available.")
    if now.pressure is not None and (level := above(now.pressure, care.memory_pressure)):
        yield Trouble(level, "memory", f"In {now.pressure:.0f} % of the last five minutes something waited for memory.")
    if now.swap and (level := above(100 * (now.swap - now.swap_free) / now.swap, care.swap_used)):
        yield Trouble(level, "swap", f"{size(now.swap - now.swap_free)} of {size(now.swap)} are used.")
    if (kills := new_oom_kills(history)) > 0:
        what = "A process was" if kills == 1 else f"{kills} processes were"
        yield Trouble("severe", "memory", f"{what} killed for want of memory since the last look (journalctl -k -g oom).")


def of_units(seen: Condition) -> Iterator[Trouble]:
    for one in seen.failed:
        if one.state == "failed":
            yield Trouble("severe", one.unit, f"It failed ({one.result}) on {_date(one.since)}.")
        else:
            times = f", {one.restarts} times by now" if one.restarts else ""
            yield Trouble("severe", one.unit, f"It dies and is started again and again{times}.")


def of_certificates(seen: Condition, care: Care) -> Iterator[Trouble]:
    for one in seen.certificates:
        if one.problem:
            yield Trouble("look", "certificate", f"{one.path}: {one.problem}.")
            continue
        left = (one.ends - seen.now) / DAY
        if left <= 0:
            yield Trouble("severe", "certificate", f"{one.path} ({one.subject}) ended on {_date(one.ends)}.")
        elif level := below(left, care.certificate_days):
            yield Trouble(level, "certificate", f"{one.path} ({one.subject}) ends in {days(left)}, on {_date(one.ends)}.")


def of_clock(seen: Condition, care: Care) -> Iterator[Trouble]:
    off = max(abs(seen.clock_offset) - seen.clock_doubt, 0.0)
    if level := above(off, care.clock_offset):
        way = "ahead of" if seen.clock_offset > 0 else "behind"
        yield Trouble(level, "clock", f"It is {abs(seen.clock_offset):.1f} s {way} the clock of the machine that looks.")
    if not seen.clock_keeper:
        yield Trouble("look", "clock", "No service keeps it (system.clock does).")
    elif not seen.synchronised:
        yield Trouble("look", "clock", f"{seen.clock_keeper} runs, and the clock is not synchronised.")


def of_logs(seen: Condition, care: Care, history: Sequence[Sample]) -> Iterator[Trouble]:
    for log in seen.logs:
        if level := above(log.size, care.log_size):
            grows = growth(log_points(history, log.path), 0.0)
            more = f", grows by {size(grows.per_day)} a day since {_date(grows.since)}" if grows else ""
            yield Trouble(level, "log", f"{log.path} has {size(log.size)}{more} (maintenance.logs keeps it within bounds).")


def of_updates(seen: Condition, care: Care) -> Iterator[Trouble]:
    if seen.updates is None:
        return
    if level := above(len(seen.updates.security), care.security_updates):
        count = len(seen.updates.security)
        what = "A security update is" if count == 1 else f"{count} security updates are"
        yield Trouble(level, "packages", f"{what} not installed: {few(seen.updates.security)}.")
    age = (seen.now - seen.updates.lists) / DAY
    if level := above(age, care.lists_days):
        when = f"{days(age)} ago" if seen.updates.lists else "never"
        yield Trouble(level, "packages", f"The sources were asked for newer ones {when}: what is pending is not known.")


def of_kernel(seen: Condition) -> Iterator[Trouble]:
    now = seen.kernel
    if now.newest and now.running != now.newest:
        yield Trouble("look", "kernel", f"{now.running} runs and {now.newest} is installed: a boot is due.")
    elif now.reboot:
        yield Trouble("look", "boot", f"A boot is asked for by {few(now.reboot)}.")
    if now.replaced:
        yield Trouble("look", "services", f"They run programs that were replaced since, restart them: {few(now.replaced)}.")


def _date(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))
