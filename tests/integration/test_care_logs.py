"""Logs on a real node: limits, rotations and their proof, a disk without room for a copy; dry run, for real, again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Check, Stage, do
from nornir_stack.results import Status
from nornir_stack.select import everyone
from nornir_stack.tasks.maintenance.fills import fills, too_full
from nornir_stack.tasks.maintenance.logs import JOURNAL, logs, shortened
from nornir_stack.tasks.maintenance.rotation import CONFIG, FOLDER, UNIT, cut_log, rotated, rotation
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.chain import Bound
    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

LOG = "/var/log/trial/big.log"
PATHS = ["/var/log/trial/*.log"]
ROTATION = do(rotation, label="trial", paths=PATHS, keep=2, largest="1M")
ROTATED = do(rotated, label="trial", paths=PATHS, largest="1M")
CARE = {
    "care": {
        "logs": {
            "journal": "64M",
            "keep_free": "100M",
            "rotations": {"trial": {"paths": PATHS, "keep": 2, "largest": "1M"}},
        }
    }
}


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("log1")


@pytest.fixture(autouse=True)
def files(lab: Lab) -> None:
    """A large log and a small one, and nothing of ours."""
    inside(
        lab,
        f"umount /var/log/trial; systemctl disable --now {UNIT}.timer; rm -rf /var/log/trial {JOURNAL} /etc/nornir-stack"
        f" /var/lib/nornir-stack /etc/systemd/system/{UNIT}.*; systemctl daemon-reload; dpkg --purge logrotate;"
        f"mkdir /var/log/trial; head -c 3000000 /dev/zero > {LOG}; echo small > /var/log/trial/small.log",
    )


def inside(lab: Lab, script: str) -> str:
    return lab.enter("log1", "sh", "-c", script).stdout.strip()


def run(lab: Lab, *tasks: Bound | Callable[..., Any]) -> Report:
    with nornir(lab, {"node": ["log1"]}) as nr:
        return Chain("trial", Stage("logs", tasks, everyone)).run(nr)


def care(lab: Lab, *, dry_run: bool = False, percent: int = 100) -> Report:
    with nornir(lab, {"node": ["log1"]}, {"node": CARE}) as nr:
        return logs(percent=percent).run(nr, dry_run=dry_run)


def state(lab: Lab) -> str:
    return inside(
        lab,
        f"stat -c '%n %i %s %Z' /var/log/trial/* {JOURNAL} {CONFIG} {FOLDER}/* /etc/systemd/system/{UNIT}.*;"
        f" systemctl is-enabled {UNIT}.timer; systemctl is-active {UNIT}.timer; ls /usr/sbin/logrotate /var/lib/nornir-stack",
    )


def test_the_chain_bounds_and_rotates(lab: Lab) -> None:
    """The large log is rotated once and proven so, the small one stays; dry run and second run change nothing."""
    before = state(lab)
    plan = care(lab, dry_run=True)
    assert plan.exit_code == 3, plan
    shown = plan.to_json()
    assert "+SystemMaxUse=64M" in shown
    assert "+    size 1048576" in shown
    assert state(lab) == before

    done = care(lab)
    assert done.ok, done
    assert {log.path: log.size for log in done.value(shortened, "log1")} == {LOG: 0, "/var/log/trial/small.log": 6}
    assert inside(lab, f"stat -c %s {LOG}.1") == "3000000"

    after = state(lab)
    assert f"{UNIT}.timer" in after
    assert "enabled\nactive" in after
    again = care(lab)
    assert again.ok, again
    assert again.changed == ()
    assert state(lab) == after
    assert care(lab, dry_run=True).exit_code == 0


def test_the_timer_rotates_without_anybody(lab: Lab) -> None:
    """What the hourly timer starts is what the proof started: a log that grows is rotated by it, its writer goes on."""
    run(lab, ROTATION)
    inside(lab, f"systemctl start {UNIT}.service; head -c 2000000 /dev/zero >> {LOG}; systemctl start {UNIT}.service")
    assert inside(lab, f"stat -c %s {LOG} {LOG}.1 | tr '\\n' ' '") == "0 2000000"
    assert inside(lab, "ls /var/log/trial/big.log.2.gz") == "/var/log/trial/big.log.2.gz"
    assert inside(lab, f"systemctl show -p TriggeredBy --value {UNIT}.service") == f"{UNIT}.timer"


def test_what_fills_a_disk_is_named(lab: Lab) -> None:
    """The largest files, and one that was deleted while somebody writes to it; a disk that is too full ends the chain."""
    held = "exec 3>/var/log/trial/gone.log; head -c 200000 /dev/zero >&3; rm /var/log/trial/gone.log; exec sleep 600"
    inside(lab, f"sh -c '{held}' >/dev/null 2>&1 &")
    inside(lab, "head -c 5000000 /dev/zero > /var/log/trial/huge.dat")
    seen = run(lab, do(fills, path="/var/log/trial")).value(fills, "log1")
    assert seen.largest[0] == ("/var/log/trial/huge.dat", 5000000)
    assert ("/var/log/trial/gone.log (deleted)", 200000) in seen.deleted
    assert seen.size > seen.free > 0
    report = care(lab, percent=0)
    assert report.exit_code == 1
    assert "% full; largest: /var/log/trial/gone.log (deleted) (195K), " in report.stage("rotate").problems[0]


def test_a_log_in_two_rotations_is_refused(lab: Lab) -> None:
    """logrotate would pass over the second, and its log grow on."""
    run(lab, ROTATION)
    report = run(lab, do(rotation, label="other", paths=[LOG]))
    assert "duplicate log entry" in report.stage("logs").host("log1").error


def test_a_rotation_that_does_not_happen_is_found(lab: Lab) -> None:
    """logrotate ends well where a file of ours holds no pattern for the log: the task does not believe it."""
    run(lab, ROTATION)
    inside(lab, "head -c 2000000 /dev/zero > /var/log/trial/other.txt")
    report = run(lab, do(rotated, label="trial", paths=["/var/log/trial/other.txt"], largest="1M"))
    assert report.stage("logs").host("log1").status is Status.FAILED
    assert "did not rotate: /var/log/trial/other.txt is still inode" in report.stage("logs").host("log1").error


def test_no_room_for_a_copy(lab: Lab) -> None:
    """Refused with what to do; the log is then given up but for its end, once, and its writer goes on in the same file."""
    run(lab, ROTATION)
    inside(lab, f"rm -f /var/log/trial/*; mount -t tmpfs -o size=4M tmpfs /var/log/trial; yes line | head -c 3000000 > {LOG}")
    refused = run(lab, ROTATED)
    assert "no room for a copy of /var/log/trial/big.log (2.9M, 1.1M left)" in refused.stage("logs").host("log1").error
    cut = do(cut_log, path=LOG, keep="512K")
    inode = inside(lab, f"stat -c %i {LOG}")
    assert run(lab, cut).value(cut_log, "log1").size == 0
    assert inside(lab, f"stat -c '%i %s' {LOG}; stat -c %s {LOG}.end") == f"{inode} 0\n524288"
    assert run(lab, cut).changed == ()
    assert "this is for logs only" in run(lab, do(cut_log, path="/etc/passwd")).stage("logs").host("log1").error


def test_nobody_is_told_that_all_is_well_where_it_is_not(lab: Lab) -> None:
    """The check of the chain sees every node."""
    with nornir(lab, {"node": ["log1"]}) as nr:
        nr.inventory.hosts["log1"].port = 1
        report = Chain("full", Stage("x", [], everyone, until=Check(fills, too_full, everyone))).run(nr)
    assert report.exit_code == 1
