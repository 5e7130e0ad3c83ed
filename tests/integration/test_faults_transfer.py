"""State transfers that are cut: whoever falls, the others serve, nothing is lost, and the next recovery ends well."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.recover import recover
from tests.integration.cluster_lab import DATADIR, DB, inside, primaries, until
from tests.integration.life import KILL, Life, well

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

WIPE = f"find {DATADIR} -mindepth 1 -delete"
# The joiner's script, or the donor's, which every transfer runs first; it waits there for as long as the file is there.
HELD = "/usr/bin/wsrep_sst_rsync"
HOLD = f"""
[ -e {HELD}.real ] || mv {HELD} {HELD}.real
printf '%s\\n' '#!/bin/sh' 'case "$*" in *"--role WHO"*) : >/tmp/held' 'while [ -e /tmp/held ]; do sleep 0.1; done;; esac' \\
    'exec {HELD}.real "$@"' >{HELD}
chmod 755 {HELD}
"""
LET_GO = f"rm -f /tmp/held; [ ! -e {HELD}.real ] || mv -f {HELD}.real {HELD}"
LEFT = "pgrep -l 'rsync|socat|wsrep_sst'; true"
SMALL_MIB = 64


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Life:
    cluster = Life(boot(*DB, tree="db", disk_mib=SMALL_MIB), tmp_path_factory.mktemp("transfer") / "inventory")
    well(cluster.form())
    return cluster


@pytest.fixture
def cluster(life: Life) -> Iterator[Life]:
    """Three members, complete, of which db3 loses its data: it takes a full copy when it comes back."""
    life.whole()
    life.killed("db3")
    inside(life.lab, "db3", WIPE)
    until(lambda: life.says("db1", "wsrep_cluster_size") == "2", 60, "two members")
    yield life
    life.everywhere(LET_GO)


class Recovering:
    """A recovery that runs while the test goes on."""

    def __init__(self, cluster: Life) -> None:
        self._reports: list[Report] = []
        self._thread = threading.Thread(target=lambda: self._reports.append(cluster.run(recover())))
        self._thread.start()

    def report(self) -> Report:
        self._thread.join(timeout=300)
        assert self._reports, "the recovery does not end"
        return self._reports[0]


def until_held(cluster: Life, name: str) -> None:
    until(lambda: inside(cluster.lab, name, "ls /tmp/held 2>/dev/null; true") != "", 120, f"a transfer held on {name}")


def ends_whole(cluster: Life) -> None:
    """One more recovery makes one complete cluster with everybody's rows; after that there is nothing to do."""
    well(cluster.run(recover()))
    cluster.uuid()
    assert len(set(cluster.rows("SELECT COUNT(*) FROM my_test_db.transfer").values())) == 1
    assert well(cluster.run(recover())).changed == ()


def said(report: Report) -> str:
    return " ".join(problem for stage in report.stages for problem in stage.problems)


def test_the_joiner_dies_in_a_transfer(cluster: Life) -> None:
    """The joiner is killed while it receives: it is left stopped, nothing of the transfer runs on, the others serve."""
    inside(cluster.lab, "db3", HOLD.replace("WHO", "joiner"))
    with cluster.bank(*[(cluster.address(name), 3306) for name in ("db1", "db2")]) as bank:
        run = Recovering(cluster)
        until_held(cluster, "db3")
        inside(cluster.lab, "db3", KILL.replace("systemctl mask --runtime --quiet mariadb\n", "") + LET_GO)
        report = run.report()
        so_far = len(bank.acked)
        until(lambda: len(bank.acked) > so_far + 10, 60, "10 more transfers")
    assert report.exit_code == 1, "a recovery whose joiner died ended well"
    assert "db3" in said(report)
    assert primaries(cluster.seen()) == ["db1", "db2"]
    assert cluster.says("db3", "unit") in {"inactive", "failed"}
    assert inside(cluster.lab, "db3", LEFT) == ""
    ends_whole(cluster)
    cluster.audited(bank)


def test_the_donor_dies_in_a_transfer(cluster: Life) -> None:
    """The donor's node is killed while it sends: the copy is not taken for one, and the donor comes back with what it had."""
    cluster.everywhere(HOLD.replace("WHO", "donor"), ("db1", "db2"))
    with cluster.bank(*[(cluster.address(name), 3306) for name in ("db1", "db2")]) as bank:
        until(lambda: len(bank.acked) > 10, 60, "10 transfers")
        run = Recovering(cluster)
        donor = held_donor(cluster)
        cluster.lab.kill(donor)
        cluster.everywhere(LET_GO, [name for name in DB if name != donor])
        report = run.report()
    assert report.exit_code == 1, "a recovery whose donor died ended well"
    cluster.lab.start(donor)
    inside(cluster.lab, donor, LET_GO)
    ends_whole(cluster)
    cluster.audited(bank)


def held_donor(cluster: Life) -> str:
    found: list[str] = []

    def look() -> bool:
        found[:] = [name for name in ("db1", "db2") if inside(cluster.lab, name, "ls /tmp/held 2>/dev/null; true")]
        return bool(found)

    until(look, 120, "a donor in a transfer")
    return found[0]


def test_the_joiners_disk_is_too_small(cluster: Life) -> None:
    """A full copy on a disk that is too small for it ends with a sentence that says so; with more room it joins."""
    disk = cluster.lab.container("db3").disk()
    inside(
        cluster.lab,
        "db3",
        f"mkfs.ext4 -q -F {disk} && mount {disk} {DATADIR} && chown mysql: {DATADIR} && rmdir {DATADIR}/lost+found",
    )
    try:
        report = cluster.run(recover())
        assert report.exit_code == 1, "a copy on a disk that is too small ended well"
        assert "room" in said(report) or "No space left" in said(report), said(report)
        assert primaries(cluster.seen()) == ["db1", "db2"]
        assert cluster.says("db3", "unit") in {"inactive", "failed"}
        assert inside(cluster.lab, "db3", LEFT) == ""
    finally:
        inside(cluster.lab, "db3", f"systemctl stop mariadb; umount {DATADIR}")
    ends_whole(cluster)
