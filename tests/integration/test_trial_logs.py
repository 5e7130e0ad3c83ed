"""Logs on a real node: limits, a rotation, and its proof; dry run, for real, again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Check, Stage, do
from nornir_stack.results import Status
from nornir_stack.select import everyone
from nornir_stack.tasks.maintenance.logs import JOURNAL, fills, journal_limits, rotated, rotation, too_full
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.chain import Bound
    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

LOG = "/var/log/trial/big.log"
CONFIG = "/etc/logrotate.d/nornir-stack-trial"
LIMITS = do(journal_limits, most="64M", keep_free="100M")
ROTATION = do(rotation, label="trial", paths=["/var/log/trial/*.log"], keep=2, largest="1M")
ROTATED = do(rotated, label="trial", paths=["/var/log/trial/*.log"], largest="1M")


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("log1")


@pytest.fixture(autouse=True)
def logs(lab: Lab) -> None:
    """A large log and a small one, and nothing of ours."""
    inside(
        lab,
        f"rm -rf /var/log/trial {JOURNAL} {CONFIG}; dpkg --purge logrotate; mkdir /var/log/trial;"
        f"head -c 3000000 /dev/zero > {LOG}; echo small > /var/log/trial/small.log",
    )


def inside(lab: Lab, script: str) -> str:
    return lab.enter("log1", "sh", "-c", script).stdout.strip()


def run(lab: Lab, *tasks: Bound | Callable[..., Any], dry_run: bool = False) -> Report:
    until = Check(fills, too_full, everyone)
    with nornir(lab, {"node": ["log1"]}) as nr:
        return Chain("trial", Stage("logs", tasks, everyone, until=until)).run(nr, dry_run=dry_run)


def test_limits_and_a_forced_rotation(lab: Lab) -> None:
    """The large log is rotated once and proven so, the small one goes along; dry run and second run change nothing."""
    before = inside(lab, f"stat -c %s {LOG}; ls {JOURNAL} {CONFIG} /usr/sbin/logrotate; ls /var/log/trial")
    plan = run(lab, LIMITS, ROTATION, ROTATED, dry_run=True)
    assert plan.exit_code == 3, plan
    assert "+SystemMaxUse=64M" in plan.stage("logs").host("log1").tasks[0].diff
    assert "+    maxsize 1048576" in plan.stage("logs").host("log1").tasks[1].diff
    assert inside(lab, f"stat -c %s {LOG}; ls {JOURNAL} {CONFIG} /usr/sbin/logrotate; ls /var/log/trial") == before

    done = run(lab, LIMITS, ROTATION, ROTATED)
    assert done.ok, done
    assert {log.path: log.size for log in done.value(rotated, "log1")} == {LOG: 0, "/var/log/trial/small.log": 0}
    assert inside(lab, f"stat -c %s {LOG}.1") == "3000000"

    state = inside(lab, f"stat -c '%n %i %s %Z' /var/log/trial/* {JOURNAL} {CONFIG}")
    again = run(lab, LIMITS, ROTATION, ROTATED)
    assert again.ok, again
    assert again.changed == ()
    assert inside(lab, f"stat -c '%n %i %s %Z' /var/log/trial/* {JOURNAL} {CONFIG}") == state


def test_what_fills_a_disk_is_named(lab: Lab) -> None:
    """The largest files, and one that was deleted while somebody writes to it."""
    held = "exec 3>/var/log/trial/gone.log; head -c 200000 /dev/zero >&3; rm /var/log/trial/gone.log; exec sleep 600"
    inside(lab, f"sh -c '{held}' >/dev/null 2>&1 &")
    inside(lab, "head -c 5000000 /dev/zero > /var/log/trial/huge.dat")
    seen = run(lab, do(fills, path="/var/log/trial")).value(fills, "log1")
    assert seen.largest[0] == ("/var/log/trial/huge.dat", 5000000)
    assert ("/var/log/trial/gone.log (deleted)", 200000) in seen.deleted
    assert seen.size > seen.free > 0


def test_a_rotation_that_does_not_happen_is_found(lab: Lab) -> None:
    """logrotate ends well where a file of ours holds no pattern for the log: the task does not believe it."""
    run(lab, ROTATION)
    inside(lab, "head -c 2000000 /dev/zero > /var/log/trial/other.txt")
    report = run(lab, do(rotated, label="trial", paths=["/var/log/trial/other.txt"], largest="1M"))
    assert report.stage("logs").host("log1").status is Status.FAILED
    assert "did not rotate: /var/log/trial/other.txt is still inode" in report.stage("logs").host("log1").error
