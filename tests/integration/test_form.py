"""galera.form on real nodes: what it makes, that it makes it once, what it adopts, and where it refuses."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from nornir_stack.errors import UsageError
from nornir_stack.results import Status
from tests.integration.cluster_lab import (
    CONFIG,
    DATADIR,
    DB,
    PASSWORD,
    Cluster,
    changed_between,
    inside,
    primaries,
    tell,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

# A member as somebody else would configure it: in a file of another name, with the same names for cluster and members.
BY_HAND = """
cat >/etc/mysql/mariadb.conf.d/70-by-hand.cnf <<END
[mysqld]
datadir={datadir}
bind_address=0.0.0.0
binlog_format=ROW
innodb_autoinc_lock_mode=2
innodb_buffer_pool_size=128M
innodb_log_file_size=16M
log_bin=mysql-bin
wsrep_on=ON
wsrep_provider=/usr/lib/galera/libgalera_smm.so
wsrep_cluster_name=t
wsrep_cluster_address=gcomm://{members}
wsrep_node_name={name}
wsrep_node_address={address}
wsrep_sst_method=rsync
wsrep_provider_options="gcache.size=16M"
END
mkdir -p -m 750 {datadir}
chown mysql: {datadir}
mariadb-install-db --user=mysql --datadir={datadir} --skip-test-db --auth-root-authentication-method=socket >/dev/null
"""


@pytest.fixture(scope="module")
def standing(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> tuple[Cluster, Report]:
    """A cluster that was formed on three prepared nodes, and the report of that. Tests leave it as they found it."""
    cluster = Cluster(boot(*DB, tree="db"), tmp_path_factory.mktemp("standing") / "inventory")
    return cluster, told(cluster.form())


@pytest.fixture
def formed(standing: tuple[Cluster, Report]) -> Cluster:
    return standing[0]


@pytest.fixture(scope="module")
def spare(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(boot(*DB, tree="db"), tmp_path_factory.mktemp("fresh") / "inventory")


@pytest.fixture
def fresh(spare: Cluster) -> Iterator[Cluster]:
    """Three prepared nodes on which nothing ever ran."""
    spare.lab.heal()
    spare.write()
    spare.lab.reset(*DB)
    yield spare
    spare.lab.kill(*DB)  # two cores serve all labs


@pytest.fixture(scope="module")
def empty(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Three nodes that do not even have the packages."""
    return Cluster(boot(*DB), tmp_path_factory.mktemp("empty") / "inventory")


def told(report: Report) -> Report:
    """The report, printed by stage for whoever reads the test's output."""
    for stage in report.stages:
        tell(f"{stage.duration:7.2f} s  {stage.name}  {stage.status}  {' '.join(stage.problems)}")
    tell(f"{report.duration:7.2f} s  {report.chain}, {len(report.changed)} changes {report.error}")
    return report


def by_hand(cluster: Cluster, *names: str) -> None:
    members = ",".join(map(cluster.address, DB))
    for name in names:
        values = {"datadir": DATADIR, "members": members, "name": name, "address": cluster.address(name)}
        inside(cluster.lab, name, BY_HAND.format_map(values))


def refused(report: Report) -> str:
    """What a run said that refused to decide: nothing after its decision was reached."""
    assert report.exit_code == 1
    stages = [stage for stage in report.stages if stage.status is Status.FAILED]
    assert [stage.name for stage in stages] in (["look"], ["elect/look again"])
    assert report.stage("databases").status is Status.NOT_REACHED
    return " ".join(stages[0].problems)


def test_three_prepared_nodes_become_one_cluster(standing: tuple[Cluster, Report]) -> None:
    """Size 3, all Synced, one UUID, configuration and member list, no residue; schemas, users and the probe's row on all."""
    cluster, report = standing
    assert (report.exit_code, report.error) == (0, "")
    uuid = cluster.uuid()
    assert [stage.name for stage in report.stages if stage.name.startswith("elect/")] == [
        "elect/bootstrap db1",
        "elect/join db2",
        "elect/join db3",
        "elect/restart db1 normally",
    ]
    marks = set(cluster.rows("SELECT mark FROM nornir_stack.probe").values())
    assert len(marks) == 1
    assert uuid in marks.pop()
    assert set(cluster.rows("SHOW GRANTS FOR page").values()) == set(cluster.rows("SHOW GRANTS FOR page@'%'").values())
    grants = cluster.rows("SHOW GRANTS FOR page")
    assert all("GRANT SELECT ON `my_test_db`.* TO `page`" in text for text in grants.values()), grants
    assert cluster.rows("SELECT COUNT(*) FROM mysql.user WHERE User = 'app'") == dict.fromkeys(DB, "1\n")
    enabled = {name: inside(cluster.lab, name, "systemctl is-enabled mariadb") for name in DB}
    assert enabled == dict.fromkeys(DB, "enabled\n")


def test_the_users_log_in_with_their_passwords(formed: Cluster) -> None:
    """A user of the inventory logs in over the network on each member with exactly the password that the secret holds."""
    formed.uuid()
    for name in DB:
        escaped = PASSWORD.replace("\\", "\\\\")
        option = f'[client]\nuser=app\npassword="{escaped}"\nhost={formed.address(name)}\n'
        script = f"cat >/run/app.cnf <<'END'\n{option}END\nmariadb --defaults-file=/run/app.cnf -N my_test_db -e"
        script += " 'SELECT CURRENT_USER()'; rm /run/app.cnf"
        assert inside(formed.lab, name, script) == "app@%\n"


def test_the_second_run_changes_nothing(formed: Cluster) -> None:
    """Nothing to change means: 0 changed, equal files, the same processes since the same moment, the same UUID."""
    look = ("/etc", "/var/lib/mysql", "/usr/local", "/root", "/var/lib/dpkg")
    uuid, started, before = formed.uuid(), formed.started(), formed.tree(*look)
    report = told(formed.form())
    assert (report.exit_code, report.changed) == (0, ())
    assert changed_between(before, formed.tree(*look)) == {}
    assert formed.started() == started
    assert formed.uuid() == uuid


def test_check_is_content_with_a_formed_cluster(formed: Cluster) -> None:
    """`nornir-stack check galera.form` ends with 0 and says that nothing is pending."""
    ran = formed.cli("check", "galera.form")
    assert (ran.code, "0 changes pending" in ran.out) == (0, True), ran.said


def test_check_shows_the_line_that_was_changed_by_hand(formed: Cluster) -> None:
    """One line of the configuration changed on one member: exit code 3 and a diff of this line; a run puts it back."""
    started, before = formed.started(), formed.tree("/etc")
    inside(formed.lab, "db2", f"sed -i 's/^\\(max_connections *=\\).*/\\1 7/' {CONFIG}")
    ran = formed.cli("check", "galera.form")
    assert ran.code == 3, ran.said
    assert "1 change pending on 1 host" in ran.out
    assert f"db2 prepare, configure: write {CONFIG}" in ran.out
    diff = [line.strip() for line in ran.out.splitlines() if line.strip().startswith(("-max", "+max"))]
    assert diff == ["-max_connections                = 7", "+max_connections                = 100"]
    report = formed.form()
    assert [change.partition(":")[0] for change in report.changed] == ["prepare db2"]
    assert changed_between(before, formed.tree("/etc")) == {}
    assert formed.started() == started


def test_a_dry_run_on_empty_nodes_changes_no_file(empty: Cluster) -> None:
    """Not one file differs afterwards, but where nodes write by themselves; the report shows who would lead and join."""
    empty.lab.reset(*DB)
    before = empty.tree("/")
    json_file = empty.folder.parent / "report.json"
    ran = empty.cli("run", "galera.form", "--dry-run", "--json", str(json_file))
    after = empty.tree("/")
    assert ran.code == 3, ran.said
    assert changed_between(before, after) == {}
    tell(f"{sum(map(len, before.values()))} entries compared")
    report = json.loads(json_file.read_text())
    stages = [stage["name"] for stage in report["stages"]]
    assert stages[:7] == ["look", "certificates", "prepare", "elect", "elect/bootstrap db1", "elect/join db2", "elect/join db3"]
    assert "a new cluster, led by db1" in ran.out
    for started in ("db1 starts a cluster", "db2 joins", "db3 joins", "db1 restarts normally"):
        assert f"+{started}" in ran.out


def test_empty_nodes_become_a_cluster(empty: Cluster) -> None:
    """From nodes without packages to a cluster of three in one run; Debian's standalone server never ran on the way."""
    empty.lab.reset(*DB)
    report = told(empty.form())
    assert report.exit_code == 0, report.to_json()
    empty.uuid()
    for name in DB:
        starts = inside(empty.lab, name, "journalctl -o cat -u mariadb | grep -c 'Starting mariadb.service'; true")
        assert int(starts) == (2 if name == "db1" else 1), "bootstrapped and restarted, or joined"


def test_a_cluster_formed_by_hand_is_adopted(fresh: Cluster) -> None:
    """It is found, nothing of it is restarted; what differs is shown by `check` before, and nothing after the run."""
    by_hand(fresh, *DB)
    inside(fresh.lab, "db1", "galera_new_cluster")
    for name in ("db2", "db3", "db1"):
        inside(fresh.lab, name, "systemctl restart mariadb")
    uuid = fresh.seen()["db1"]["wsrep_cluster_state_uuid"]
    started = fresh.started()
    before = fresh.cli("check", "galera.form")
    assert before.code == 3, before.said
    assert "db1, db2 and db3 are one cluster, complete and Synced" in before.out
    assert f"+++ {CONFIG}" in before.out
    assert fresh.started() == started
    report = told(fresh.form())
    assert report.exit_code == 0, report.to_json()
    assert [stage.name for stage in report.stages if stage.name.startswith("elect/")] == []
    after = fresh.cli("check", "galera.form")
    assert after.code == 0, after.said
    assert fresh.started() == started
    assert {said["wsrep_cluster_state_uuid"] for said in fresh.seen().values()} == {uuid}


def test_an_unreachable_member_stops_the_forming_and_not_the_preparing(fresh: Cluster) -> None:
    """Others are prepared, nobody is bootstrapped, the report shows who was not seen; named as lost, two form without it;
    and when it is back it joins the living cluster beside which nobody is bootstrapped.
    """
    fresh.lab.cut("db3")
    report = told(fresh.form())
    assert report.exit_code == 1
    prepare = report.stage("prepare")
    assert {host.host: host.status for host in prepare.hosts} == {
        "db1": Status.CHANGED,
        "db2": Status.CHANGED,
        "db3": Status.UNREACHABLE,
    }
    assert report.stage("look").status is Status.OK
    assert report.hosts["db3"] is Status.UNREACHABLE
    begun = {"look", "certificates", "prepare"}
    assert {stage.status for stage in report.stages if stage.name not in begun} == {Status.NOT_REACHED}
    assert {said["unit"] for said in fresh.seen().values()} == {"inactive"}

    report = told(fresh.form(missing=["db3"]))
    assert report.exit_code == 0, report.to_json()
    uuid = fresh.one_of("db1", "db2")
    assert primaries(fresh.seen()) == ["db1", "db2"]

    fresh.lab.heal()
    report = told(fresh.form())
    assert report.exit_code == 0, report.to_json()
    assert [stage.name for stage in report.stages if stage.name.startswith("elect/")] == ["elect/room on db3", "elect/join db3"]
    assert fresh.uuid() == uuid


def test_nobody_is_bootstrapped_beside_a_living_member(fresh: Cluster) -> None:
    """db3 alone is Primary and the others are fresh: db1, which would lead a new cluster, joins db3's."""
    by_hand(fresh, "db3")
    inside(fresh.lab, "db3", "galera_new_cluster && mariadb -e 'CREATE DATABASE precious'")
    uuid = fresh.seen()["db3"]["wsrep_cluster_state_uuid"]
    with fresh.watched() as watch:
        report = told(fresh.form())
    assert report.exit_code == 0, report.to_json()
    assert not [stage.name for stage in report.stages if "bootstrap" in stage.name]
    assert watch.splits == []
    assert watch.looks > 0
    assert {said["wsrep_cluster_state_uuid"] for said in fresh.seen().values()} == {uuid}
    assert fresh.rows("SHOW DATABASES LIKE 'precious'") == dict.fromkeys(DB, "precious\n")


@pytest.mark.parametrize("running", [True, False])
def test_a_standalone_server_with_data_is_refused(fresh: Cluster, running: bool) -> None:
    """A server without Galera that holds a database of its own, running or not: nothing is started, and it is said why."""
    by_hand(fresh, "db2")
    inside(fresh.lab, "db2", "sed -i s/wsrep_on=ON/wsrep_on=OFF/ /etc/mysql/mariadb.conf.d/70-by-hand.cnf")
    inside(fresh.lab, "db2", "systemctl start mariadb && mariadb -e 'CREATE DATABASE precious'")
    if not running:
        inside(fresh.lab, "db2", "systemctl stop mariadb")
    said = refused(told(fresh.form()))
    tell(said)
    assert "db2" in said
    assert ("runs without Galera on data of its own" if running else "precious") in said
    assert {name: status["unit"] for name, status in fresh.seen().items()} == {
        "db1": "inactive",
        "db2": "active" if running else "inactive",
        "db3": "inactive",
    }
    assert inside(fresh.lab, "db2", f"ls -d {DATADIR}/precious")


@pytest.mark.parametrize("running", [True, False])
def test_two_clusters_are_refused(fresh: Cluster, running: bool) -> None:
    """Two members with clusters of their own, living or stopped: both histories are named, and no file is touched anywhere."""
    by_hand(fresh, "db1", "db2")
    for name in ("db1", "db2"):
        inside(fresh.lab, name, "galera_new_cluster")
    seen = fresh.seen()
    uuids = {seen[name]["wsrep_cluster_state_uuid"] for name in ("db1", "db2")}
    assert len(uuids) == 2
    if not running:
        for name in ("db1", "db2"):
            inside(fresh.lab, name, "systemctl stop mariadb")
    started, kept = fresh.started(), fresh.stamps("/etc", "/usr", "/var/lib/dpkg")
    said = refused(told(fresh.form()))
    tell(said)
    assert ("Split brain" if running else "different histories") in said
    assert all(uuid in said for uuid in uuids)
    assert fresh.started() == started
    assert changed_between(kept, fresh.stamps("/etc", "/usr", "/var/lib/dpkg")) == {}


def test_an_interrupted_run_reports_and_is_completed_by_the_next(fresh: Cluster) -> None:
    """Ctrl-C while db2 joins: the join ends, nothing new begins, exit code 130, what was not reached is named; the next run
    completes the cluster.
    """
    process = fresh.start_cli("run", "galera.form")
    until(lambda: fresh.seen()["db2"]["unit"] == "activating", 120, "db2 to join")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    tell(f"ended {time.monotonic() - begun:.1f} s after Ctrl-C")
    assert process.returncode == 130, out + err
    lines = [line for line in out.splitlines() if line.startswith("elect/join db3")]
    assert len(lines) == 1, out
    assert "not reached" in lines[0]
    seen = fresh.seen()
    assert primaries(seen) == ["db1", "db2"], seen
    report = told(fresh.form())
    assert report.exit_code == 0, report.to_json()
    fresh.uuid()


def test_a_filtered_inventory_is_refused(formed: Cluster) -> None:
    """Who would be left out of `nr.filter()` cannot be forgotten: refused before anything is touched."""
    from nornir_stack.inventory import open_inventory  # noqa: PLC0415  only here
    from nornir_stack.tasks.cluster.form import form  # noqa: PLC0415  only here

    nr = open_inventory(formed.folder)
    with pytest.raises(UsageError, match="was filtered and knows nothing of db2, db3"):
        form().run(nr.filter(name="db1"))
    nr.close_connections()
