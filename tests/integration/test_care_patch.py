"""Newer packages on real nodes, one after the other; a surprise on the first ends it with the second untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.maintenance.patch import patch
from tests.integration import care_repo
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

NODES = ("look1", "look2")
# A service that the upgrade ends badly: apt's own hook kills it.
DIES = r"""
printf '[Service]\nExecStart=/bin/sleep infinity\n' >/run/systemd/system/dies.service
systemctl daemon-reload; systemctl start dies
echo 'DPkg::Post-Invoke {"systemctl kill -s ABRT dies";};' >/etc/apt/apt.conf.d/99break
"""
MENDED = "systemctl stop dies; rm -f /run/systemd/system/dies.service /etc/apt/apt.conf.d/99break; systemctl reset-failed"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot(*NODES)


@pytest.fixture(autouse=True)
def newer(lab: Lab) -> Iterator[None]:
    """Each test finds an iputils-ping that is newer than the one before."""
    for name in NODES:
        care_repo.make(lab, name)
    yield
    for name in NODES:
        inside(lab, name, MENDED)
        care_repo.take(lab, name)


def inside(lab: Lab, name: str, script: str) -> str:
    return lab.enter(name, "sh", "-c", script).stdout.strip()


def run(lab: Lab, *, dry_run: bool = False) -> Report:
    with nornir(lab, {"node": list(NODES)}) as nr:
        return patch(reboot=False).run(nr, dry_run=dry_run)


def versions(lab: Lab) -> list[str]:
    return [inside(lab, name, "dpkg-query -W -f '${Version}' iputils-ping") for name in NODES]


def test_one_after_the_other(lab: Lab) -> None:
    """Dry run, for real, again."""
    before = versions(lab)
    plan = run(lab, dry_run=True)
    assert plan.exit_code == 3, plan
    assert f"+iputils-ping {before[0]}.1" in plan.to_json()
    assert versions(lab) == before
    done = run(lab)
    assert done.ok, done
    assert versions(lab) == [f"{version}.1" for version in before]
    again = run(lab)
    assert again.ok, again
    assert again.changed == ()


def test_a_service_that_the_upgrade_ends_is_a_surprise(lab: Lab) -> None:
    """It ran before and failed: the chain stops there, the second node keeps what it has, and the next run refuses."""
    before = versions(lab)
    inside(lab, "look1", DIES)
    report = run(lab)
    assert report.exit_code == 1
    assert "look1: dies.service failed" in report.stage("look/look1/upgrade").problems[0]
    assert versions(lab) == [f"{before[0]}.1", before[1]]
    refused = run(lab)
    assert "Nothing is patched: look1: dies.service failed" in refused.stage("look").problems[0]
