"""What happens to single members while clients write: crashed, hung, stopped at once, left with transactions nobody ended."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from nornir_stack.lab.machine import LabError
from nornir_stack.tasks.cluster.recover import recover
from tests.integration.cluster_lab import DATADIR, DB, inside, primaries, status, tell, until
from tests.integration.life import Life, recovered, refusal, well

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

_ROW = "UPDATE my_test_db.account SET balance = balance - 1 WHERE id = 1"
# Galera refuses XA START (ERROR 1235), so the server runs without it; it is killed with the transaction prepared.
PREPARED = f"""
runuser -u mysql -- mariadbd --wsrep-on=OFF --wsrep-provider=none --skip-networking --pid-file=/tmp/off.pid >/tmp/off.log 2>&1 &
until mariadb -e 'SELECT 1' >/dev/null 2>&1; do sleep 0.1; kill -0 $! || exit 1; done
mariadb -e "XA START 'pay'; {_ROW}; XA END 'pay'; XA PREPARE 'pay'" || exit
pkill -KILL mariadbd
while pidof mariadbd >/dev/null; do sleep 0.1; done
"""


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Life:
    cluster = Life(boot(*DB, tree="db"), tmp_path_factory.mktemp("members") / "inventory")
    well(cluster.form())
    return cluster


@pytest.fixture
def cluster(life: Life) -> Iterator[Life]:
    """Three members, complete, with a bank that nobody writes to yet."""
    life.whole()
    yield life
    life.lab.heal()


def decided(report: Report) -> str:
    return " ".join(sentence for stage in report.stages for sentence in stage.decided)


def free_of_xa(cluster: Life) -> None:
    """Nobody holds a prepared transaction or its locks: the row that it had changed can be written, and all apply that."""
    assert set(cluster.rows("XA RECOVER").values()) == {""}
    inside(cluster.lab, "db2", "timeout 20 mariadb -e 'UPDATE my_test_db.account SET balance = 55 WHERE id = 1'")
    read = "SET SESSION wsrep_sync_wait = 1; SELECT balance FROM my_test_db.account WHERE id = 1"
    assert set(cluster.rows(f"SET SESSION max_statement_time = 20; {read}").values()) == {"55\n"}


def test_transactions_that_nobody_ended(cluster: Life) -> None:
    """All crashed, two with a prepared XA transaction: it is said, undone on both, and no applier waits for its locks."""
    cluster.killed(*DB)
    for name in ("db1", "db3"):
        inside(cluster.lab, name, PREPARED)
    inside(cluster.lab, "db1", f"sed -i 's/^seqno:.*/seqno:   -1/' {DATADIR}/grastate.dat")
    report = recovered(cluster)
    assert "db1 has 1 prepared XA transactions: they are rolled back" in decided(report)
    assert "db3 has 1 prepared XA transactions: they are rolled back" in decided(report)
    free_of_xa(cluster)


@pytest.mark.campaign
@pytest.mark.skipif("not config.getoption('--campaign', default=False)", reason="the harder case is in the short run")
def test_one_of_them_beside_a_cluster_that_serves(cluster: Life) -> None:
    """A crashed member with a prepared XA transaction takes a full copy, so that it never stops the others by flow control."""
    cluster.killed("db3")
    inside(cluster.lab, "db3", f"rm -f {DATADIR}/grastate.dat.given-up; {PREPARED}")
    recovered(cluster)
    assert inside(cluster.lab, "db3", f"ls {DATADIR}/grastate.dat.given-up")
    free_of_xa(cluster)


def test_one_crashes_while_it_is_written_to(cluster: Life) -> None:
    """The member that all clients write to is killed: they go on with the next one, it comes back, nothing is lost."""
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "20 transfers")
        cluster.killed("db1")
        so_far = len(bank.acked)
        until(lambda: len(bank.acked) > so_far + 20, 60, "20 more transfers")
        recovered(cluster)
    cluster.audited(bank)
    tell(f"the writer killed: longest gap of a client {bank.longest_gap:.1f} s")


def test_all_stop_at_once(cluster: Life) -> None:
    """A parallel shutdown under load, whatever flags it leaves: one leads, the most advanced, and nothing is lost."""
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "20 transfers")
        cluster.everywhere("systemctl stop mariadb")
    files = {name: inside(cluster.lab, name, f"cat {DATADIR}/grastate.dat") for name in DB}
    flags = [name for name, text in files.items() if "safe_to_bootstrap: 1" in text]
    tell(f"after a parallel shutdown {', '.join(flags) or 'nobody'} is flagged as safe to bootstrap")
    recovered(cluster)
    cluster.audited(bank)


def test_one_hangs_and_goes_on(cluster: Life) -> None:
    """A member that is paused under load is expelled, and not touched: it may be Primary. It goes on, and is back by itself."""
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "20 transfers")
        paused(cluster, "db1")
        try:
            # db1 is not asked: its kernel would take the question, and nobody answer it
            until(lambda: status(cluster.lab, "db2").get("wsrep_cluster_size") == "2", 60, "db1 expelled")
            so_far = len(bank.acked)
            until(lambda: len(bank.acked) > so_far + 20, 60, "20 more transfers")
            assert "db1" in refusal(cluster.run(recover()))
        finally:
            resumed(cluster, "db1")
        until(lambda: cluster.says("db2", "wsrep_cluster_size") == "3", 60, "db1 back")  # it says Synced before it knows better
        until(lambda: cluster.says("db1", "wsrep_local_state_comment") == "Synced", 60, "db1 Synced")
    assert primaries(cluster.seen()) == list(DB)
    assert well(cluster.run(recover())).changed == ()
    cluster.audited(bank)


def paused(cluster: Life, name: str) -> None:
    """The node, where this machine can freeze one (cgroup v2), else its server."""
    try:
        cluster.lab.pause(name)
    except LabError:
        inside(cluster.lab, name, "pkill -STOP mariadbd")


def resumed(cluster: Life, name: str) -> None:
    with suppress(LabError):
        cluster.lab.resume(name)
    inside(cluster.lab, name, "pkill -CONT mariadbd")
