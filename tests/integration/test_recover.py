"""galera.recover on real nodes: what happens to clusters, made to happen, and none of it loses an acknowledged commit."""

from __future__ import annotations

import itertools
import random
import threading
from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.member import ZERO_UUID
from nornir_stack.tasks.cluster.recover import recover
from nornir_stack.tasks.cluster.save import FOLDER
from tests.integration.cluster_lab import DATADIR, DB, changed_between, inside, primaries, tell, until
from tests.integration.life import Life, recovered, refusal, well

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

WIPE = f"find {DATADIR} -mindepth 1 -delete"
FLAG = f"sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' {DATADIR}/grastate.dat"
MARKED = f"sed -i 's/^uuid:.*/uuid:    {ZERO_UUID}/; s/^seqno:.*/seqno:   -1/' {DATADIR}/grastate.dat"
EMPTY_VIEW = f": >{DATADIR}/gvwstate.dat"
CRASHING = """mkdir -p /run/systemd/system/mariadb.service.d
printf '[Service]\\nExecStart=\\nExecStart=/bin/sh -c "kill -ABRT $$$$"\\n' >/run/systemd/system/mariadb.service.d/zz.conf
systemctl daemon-reload; systemctl start --no-block mariadb"""
CRASHES_NO_LONGER = """rm -r /run/systemd/system/mariadb.service.d; systemctl daemon-reload
systemctl stop mariadb; systemctl reset-failed mariadb || :"""


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Life:
    cluster = Life(boot(*DB, tree="db"), tmp_path_factory.mktemp("life") / "inventory")
    well(cluster.form())
    return cluster


@pytest.fixture
def cluster(life: Life) -> Iterator[Life]:
    """Three members, complete, with a bank that nobody writes to yet."""
    life.whole()
    yield life
    life.lab.heal()


def problems(report: Report) -> str:
    return " ".join(problem for stage in report.stages for problem in stage.problems)


def led(report: Report) -> str:
    """Whom it bootstrapped."""
    return next((name.rpartition("bootstrap ")[2] for stage in report.stages if "bootstrap " in (name := stage.name)), "")


def test_all_crash_at_once_under_load(cluster: Life) -> None:
    """Every node is killed while clients write. A dry run touches nothing and shows branches; the recovery loses nothing."""
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 50, 60, "50 transfers")
        cluster.lab.kill(*DB)
    for name in DB:
        cluster.lab.start(name)
    before = cluster.tree("/etc", "/var/lib")
    dry = cluster.run(recover(), dry_run=True)
    assert dry.exit_code == 3
    assert "Who of db1, db2 and db3 recovers the highest seqno leads" in " ".join(dry.stage("recover").decided)
    assert changed_between(before, cluster.tree("/etc", "/var/lib")) == {}
    report = recovered(cluster)
    cluster.audited(bank)
    saved = {name: inside(cluster.lab, name, f"cat {FOLDER}/*/grastate.dat") for name in DB}
    assert all("seqno:   -1" in text for text in saved.values())
    tell(f"three crashed members: {report.duration:.1f} s")


def test_system_tables_are_being_upgraded(cluster: Life) -> None:
    """A member whose system tables are upgraded (the process stands for mariadb-upgrade) is waited for, then all is well."""
    script = "cp /bin/sleep /run/mariadb-upgrade; systemd-run --quiet --unit=upgrade /run/mariadb-upgrade 6"
    inside(cluster.lab, "db2", script)
    report = well(cluster.run(recover()))
    assert "db2 upgrades its system tables (mariadb-upgrade)" in " ".join(report.stage("recover").decided)
    assert report.changed == ()
    assert inside(cluster.lab, "db2", "pgrep -x mariadb-upgrade; true") == ""


def test_stopped_cleanly_one_after_the_other(cluster: Life, seed: int) -> None:
    """In whatever order the members are stopped, the last one leads, and what was written meanwhile is on all of them."""
    order = random.Random(seed).choice(list(itertools.permutations(DB)))  # noqa: S311  a sample
    stopped_in(cluster, order)


@pytest.mark.campaign
@pytest.mark.skipif("not config.getoption('--campaign', default=False)", reason="one order is drawn; all with --campaign")
@pytest.mark.parametrize("order", list(itertools.permutations(DB)), ids="-".join)
def test_stopped_cleanly_in_every_order(cluster: Life, order: tuple[str, ...]) -> None:
    """As above, in each order."""
    stopped_in(cluster, order)


def stopped_in(cluster: Life, order: tuple[str, ...]) -> None:
    for number, name in enumerate(order, 1):
        row = f"INSERT INTO my_test_db.transfer VALUES ({number})"  # noqa: S608  a number
        inside(cluster.lab, name, f"mariadb -e '{row}'; systemctl stop mariadb")
    assert led(recovered(cluster)) == order[-1]
    assert set(cluster.rows("SELECT COUNT(*) FROM my_test_db.transfer").values()) == {"3\n"}


def test_stale_and_several_flags(cluster: Life) -> None:
    """All say safe_to_bootstrap: 1, one of them from long ago: the most advanced leads, whoever is first, and none other."""
    inside(cluster.lab, "db1", "systemctl stop mariadb")
    inside(cluster.lab, "db2", "mariadb -e 'INSERT INTO my_test_db.transfer VALUES (1)'")
    cluster.everywhere("systemctl stop mariadb", ("db2", "db3"))
    cluster.everywhere(FLAG)
    assert led(recovered(cluster)) != "db1"
    assert set(cluster.rows("SELECT COUNT(*) FROM my_test_db.transfer").values()) == {"1\n"}


def test_stopped_long_ago_beside_crashed_ones(cluster: Life) -> None:
    """One stopped cleanly, with a seqno and the flag; the others crashed later with -1: those are ahead (LP 1682153)."""
    inside(cluster.lab, "db1", "systemctl stop mariadb")
    inside(cluster.lab, "db2", "mariadb -e 'INSERT INTO my_test_db.transfer VALUES (1)'")
    cluster.killed("db2", "db3")
    inside(cluster.lab, "db1", FLAG)
    assert led(recovered(cluster)) != "db1"
    assert set(cluster.rows("SELECT COUNT(*) FROM my_test_db.transfer").values()) == {"1\n"}


def test_wiped_data_and_an_empty_view(cluster: Life) -> None:
    """All crashed, one lost its data, one has an empty gvwstate.dat (galera #354): neither stops the recovery."""
    cluster.killed(*DB)
    inside(cluster.lab, "db1", WIPE)
    inside(cluster.lab, "db2", EMPTY_VIEW)
    assert led(recovered(cluster)) in {"db2", "db3"}


def test_the_most_advanced_is_marked_as_unsafe(cluster: Life) -> None:
    """It crashed within DDL, so Galera zeroed its state: its data are asked, nothing of it is given up unsaid, and with
    keep= it leads and no acknowledged transfer is lost.
    """
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "20 transfers")
        for name in ("db2", "db3"):  # not at once: db1 has to serve on, which it does where each leaves in its turn
            inside(cluster.lab, name, "systemctl stop mariadb")
        so_far = len(bank.acked)
        until(lambda: len(bank.acked) > so_far + 20, 60, "20 more transfers")
        cluster.killed("db1")
    inside(cluster.lab, "db1", MARKED)
    dry = cluster.run(recover(), dry_run=True)
    assert "Galera marked the data of db1 as unsafe" in " ".join(dry.stage("recover").decided)
    said = problems(cluster.run(recover()))
    assert "but it reaches" in said
    assert "active" not in [seen["unit"] for seen in cluster.seen().values()]
    well(cluster.run(recover(keep="db1")))
    cluster.audited(bank)


def test_all_are_marked_as_unsafe(cluster: Life) -> None:
    """Nobody knows where it stands: refused, with how far the data of each reach; the one that is kept leads."""
    uuid = cluster.uuid()
    inside(cluster.lab, "db2", "mariadb -e 'INSERT INTO my_test_db.transfer VALUES (7)'")
    cluster.everywhere("pkill -STOP mariadbd")
    cluster.killed(*DB)
    cluster.everywhere(MARKED)
    said = problems(cluster.run(recover()))
    assert f"Their data reach: db1 to {uuid}:" in said
    well(cluster.run(recover(keep="db2")))
    assert set(cluster.rows("SELECT COUNT(*) FROM my_test_db.transfer").values()) == {"1\n"}


def test_what_was_recovered_holds_until_the_server_runs_again(cluster: Life) -> None:
    """With the same connections: a recovery that was refused after it asked, then a day of the operator's own."""
    uuid = cluster.uuid()
    cluster.killed(*DB)
    cluster.everywhere(MARKED)
    assert not cluster.run(recover()).ok
    inside(cluster.lab, "db3", f"sed -i 's/^uuid:.*/uuid:    {uuid}/' {DATADIR}/grastate.dat; {FLAG}; galera_new_cluster")
    inside(cluster.lab, "db3", "mariadb -e 'INSERT INTO my_test_db.transfer VALUES (8)'; systemctl stop mariadb")
    assert led(recovered(cluster)) == "db3"
    assert set(cluster.rows("SELECT COUNT(*) FROM my_test_db.transfer").values()) == {"1\n"}


def test_a_server_that_crashes_again_and_again(cluster: Life) -> None:
    """systemd starts it for ever: nobody waits an hour for it, and it is said what to do."""
    cluster.killed(*DB)
    inside(cluster.lab, "db2", CRASHING)
    until(lambda: "auto-restart" in inside(cluster.lab, "db2", "systemctl show -p SubState mariadb"), 60, "the first crash")
    said = problems(cluster.run(recover()))
    inside(cluster.lab, "db2", CRASHES_NO_LONGER)
    assert "db2 fails and is started again and again" in said
    recovered(cluster)


def test_survivors_that_are_not_primary(cluster: Life) -> None:
    """Two of three crash at once, the third serves nobody: it is made Primary as it runs, nobody is bootstrapped."""
    cluster.killed("db1", "db2")
    cluster.until_primary("db3", "non-Primary")
    before = cluster.started()["db3"]
    report = recovered(cluster)
    assert any(stage.name.endswith("promote db3") for stage in report.stages)
    assert led(report) == ""
    assert cluster.started()["db3"] == before


def test_a_partition_that_healed(cluster: Life) -> None:
    """One cut from two: while it lasts the two serve and nobody is promoted; healed, it is whole by itself, and left alone."""
    cluster.lab.partition(["db1"], ["db2", "db3"])
    cluster.until_primary("db1", "non-Primary")
    assert cluster.says("db2", "wsrep_cluster_status") == "Primary"
    dry = cluster.run(recover(), dry_run=True)
    assert not any("promote" in stage.name or "bootstrap" in stage.name for stage in dry.stages)
    cluster.lab.heal()
    until(lambda: cluster.says("db1", "wsrep_local_state_comment") == "Synced", 60, "db1 back")
    assert well(cluster.run(recover())).changed == ()
    cluster.uuid()


def test_all_cut_from_each_other(cluster: Life) -> None:
    """Nobody is Primary and all run: healed, they may find each other, and if not, the most advanced is made Primary."""
    cluster.lab.partition(["db1"], ["db2"], ["db3"])
    for name in DB:
        cluster.until_primary(name, "non-Primary")
    cluster.lab.heal()
    recovered(cluster)


def test_a_split_brain_made_by_hand(cluster: Life) -> None:
    """Two Primary components are refused and explained. With keep= the other side is given up, its data kept aside."""
    cluster.lab.partition(["db1"], ["db2", "db3"])
    cluster.until_primary("db1", "non-Primary")
    inside(cluster.lab, "db1", "mariadb -e \"SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'\"")
    cluster.until_primary("db1", "Primary")
    inside(cluster.lab, "db1", "mariadb -e 'INSERT INTO my_test_db.transfer VALUES (1)'")
    inside(cluster.lab, "db2", "mariadb -e 'INSERT INTO my_test_db.transfer VALUES (2)'")
    said = refusal(cluster.run(recover()))
    assert "Split brain" in said
    assert "keep=" in said
    reports: list[Report] = []
    run = threading.Thread(target=lambda: reports.append(cluster.run(recover(keep="db2"))))
    run.start()
    until(lambda: cluster.says("db1", "unit") != "active", 60, "db1 is stopped")
    cluster.lab.heal()  # not before: of two Primary components that meet one aborts
    run.join(300)
    report = well(reports[0])
    assert "What db1 committed since the split" in " ".join(report.stage("recover").decided)
    cluster.uuid()
    assert set(cluster.rows("SELECT id FROM my_test_db.transfer").values()) == {"2\n"}
    assert inside(cluster.lab, "db1", f"ls {DATADIR}.given-up-*/ibdata1 {FOLDER}")
    assert well(cluster.run(recover(keep="db2"))).changed == ()


def test_a_member_that_hangs(cluster: Life) -> None:
    """A server stopped by SIGSTOP may be Primary: nothing is done while it answers nothing, and nothing after it goes on."""
    cluster.killed("db3")
    inside(cluster.lab, "db1", "pkill -STOP mariadbd")
    said = refusal(cluster.run(recover()))
    assert "db1" in said
    inside(cluster.lab, "db1", "pkill -CONT mariadbd")
    recovered(cluster)


def test_a_killed_controller(cluster: Life) -> None:
    """SIGKILL to the controller as soon as somebody is Primary again: the next run goes on, nobody is bootstrapped twice."""
    cluster.killed(*DB)
    with cluster.watched() as watch:
        process = cluster.start_cli("run", "galera.recover")
        until(lambda: bool(primaries(cluster.seen())), 60, "somebody Primary")
        process.kill()
        process.communicate()
    assert watch.splits == []
    assert led(recovered(cluster)) == ""


FAULTS = {
    "stop": "systemctl stop mariadb",
    "crash": "",
    "empty view": EMPTY_VIEW,
    "flag": FLAG,
    "wipe": WIPE,
}
CASES, ALL_CASES = 1, 15


@pytest.mark.campaign
def test_what_comes_together(life: Life, seed: int, *, campaign: bool) -> None:
    """Members stopped, crashed, flagged, with an empty view, at most two wiped: drawn by chance, always one cluster again."""
    draw = random.Random(seed)  # noqa: S311  a sample
    for _ in range(ALL_CASES if campaign else CASES):
        life.whole()
        drawn = {name: draw.choice(list(FAULTS)) for name in DB}
        if list(drawn.values()).count("wipe") == len(DB):
            continue
        tell(f"{drawn}")
        with life.bank() as bank:
            until(lambda: len(bank.acked) > 10, 60, "10 transfers")
            for name in draw.sample(DB, len(DB)):
                if drawn[name] == "stop":
                    inside(life.lab, name, FAULTS["stop"])
            life.killed(*DB)
        for name, fault in drawn.items():
            inside(life.lab, name, FAULTS[fault] or "true")
        recovered(life)
        if "wipe" not in drawn.values():
            life.audited(bank)
