"""The load balancer and the page before a real cluster of three, through everything that may happen to a member."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql
import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import sh
from nornir_stack.connections import shell_of
from nornir_stack.lab import machine
from nornir_stack.node import Node
from nornir_stack.results import Report, Result, Status
from nornir_stack.secret import Secret
from nornir_stack.select import hosts
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer import deploy as loadbalancer
from nornir_stack.tasks.loadbalancer.config import configuration
from nornir_stack.tasks.loadbalancer.haproxy import haproxy, info
from nornir_stack.tasks.loadbalancer.health import drain_flag, health
from nornir_stack.tasks.loadbalancer.runtime import Backends, backends, look, not_up, set_server
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.loadbalancer.through import Turns, members_through
from nornir_stack.tasks.web import deploy as web
from nornir_stack.tasks.web.page import page
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core import Nornir
    from nornir.core.task import Task

    from nornir_stack.lab import Lab

DB = ("db1", "db2", "db3")
CASES = Path(__file__).parents[1] / "cases" / "loadbalancer"
PASSWORD = "it's a \\ secret"
CNF = """[mysqld]
bind_address=0.0.0.0
skip_name_resolve=ON
binlog_format=ROW
innodb_autoinc_lock_mode=2
innodb_buffer_pool_size=64M
wsrep_on=ON
wsrep_provider=/usr/lib/galera/libgalera_smm.so
wsrep_cluster_name=t
wsrep_cluster_address=gcomm://{members}
wsrep_node_name={name}
wsrep_node_address={address}
wsrep_sst_method=rsync
wsrep_provider_options="gcache.size=32M"
"""
SQL = """
CREATE DATABASE my_test_db;
CREATE USER app@'%' IDENTIFIED BY '{password}';
GRANT ALL ON my_test_db.* TO app@'%';
CREATE USER page@'%' IDENTIFIED BY '{password}';
GRANT SELECT ON my_test_db.* TO page@'%';
DELETE FROM mysql.global_priv WHERE User=''; FLUSH PRIVILEGES;
"""


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot(*DB, "lb1", "web1", tree="db")


@pytest.fixture(scope="module")
def nr(lab: Lab) -> Nornir:
    """A cluster formed by hand, and nothing yet on the load balancer and the web server."""
    addresses = {name: lab.spec.node(name).address.partition("/")[0] for name in DB}
    for name, address in addresses.items():
        cnf = CNF.format(members=",".join(addresses.values()), name=name, address=address)
        script = f"cat >/etc/mysql/mariadb.conf.d/99-test.cnf <<'END'\n{cnf}END\n"
        inside(lab, name, script + ("galera_new_cluster" if name == "db1" else "systemctl start mariadb"))
        if name == "db1":
            escaped = PASSWORD.replace("\\", "\\\\").replace("'", "\\'")
            inside(lab, name, f"mariadb <<'END'\n{SQL.format(password=escaped)}\nEND\n")
    virtual = str(lab.spec.network[20])
    secret = Secret(literal=PASSWORD)
    return nornir(
        lab,
        {"db": list(DB), "loadbalancer": ["lb1"], "web": ["web1"]},
        {
            "db": {
                "galera": {
                    "cluster_name": "t",
                    "users": [{"name": "app", "password": secret}, {"name": "page", "password": secret}],
                }
            },
            "loadbalancer": {
                "loadbalancer": {
                    "virtual_address": virtual,
                    "listeners": {
                        "reads": {"port": 3306},
                        "writes": {"port": 3307, "mode": "single-writer"},
                        "donors": {"port": 3308, "donors": True},
                    },
                }
            },
            "web": {
                "system": {"names": {virtual: ["dbcluster1.lab"]}},
                "web": {
                    "database": "my_test_db",
                    "table": "my_test_table",
                    "db_host": "dbcluster1.lab",
                    "user": "page",
                    "password": secret,
                },
            },
        },
    )


@pytest.fixture(scope="module")
def deployed(nr: Nornir) -> Nornir:
    """Everything deployed, after a dry run that touched nothing."""
    before = prints(nr)
    dry = loadbalancer.deploy().run(nr, dry_run=True)
    assert dry.changed, dry.to_json()
    assert web.deploy().run(nr, dry_run=True).changed
    assert prints(nr) == before
    for chain in (loadbalancer.deploy(), web.deploy()):
        report = chain.run(nr)
        assert report.exit_code == 0, report.to_json()
    return nr


def inside(lab: Lab, name: str, script: str) -> str:
    done = lab.enter(name, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


def on(nr: Nornir, name: str, script: str, *values: str) -> str:
    return shell_of(nr.inventory.hosts[name], nr.config).run(sh(script, *values), timeout=120).require().text


def prints(nr: Nornir) -> dict[str, str]:
    """What the tasks could have touched on each node."""
    script = (
        "find /etc /usr/local /var/www /var/lib/haproxy /var/lib/dpkg -type f -printf '%p %m %u %g %C@\\n' 2>/dev/null | sort;"
        "ip -o -4 address; for unit in haproxy apache2 galera-health.socket nornir-stack-virtual-address; do"
        " systemctl show -p Id,ActiveState,UnitFileState,ActiveEnterTimestampMonotonic $unit; done"
    )
    return {name: on(nr, name, script) for name in nr.inventory.hosts}


def run(nr: Nornir, name: str, function: Callable[..., Any], *, dry_run: bool = False, **arguments: Any) -> Report:
    return Chain("test", Stage("it", [do(function, **arguments)], hosts(name))).run(nr, dry_run=dry_run)


def value(nr: Nornir, name: str, function: Callable[..., Any], **arguments: Any) -> Any:
    report = run(nr, name, function, **arguments)
    assert report.exit_code == 0, report.to_json()
    return report.value(function, name)


def through(nr: Nornir, listener: str, tries: int = 6) -> Turns:
    found = value(nr, "lb1", members_through, listener=listener, tries=tries)
    assert isinstance(found, Turns)
    return found


def servers(nr: Nornir) -> dict[tuple[str, str], Any]:
    found = value(nr, "lb1", backends)
    assert isinstance(found, Backends)
    return {(one.listener, one.name): one for one in found.servers}


def wait_until(nr: Nornir, holds: Callable[[dict[tuple[str, str], Any]], bool], what: str, seconds: float = 30) -> None:
    machine.wait_for(lambda: holds(servers(nr)), seconds, what)


def described(task: Task) -> Result[str]:
    """Which configuration the HAProxy that runs was started with."""
    node = Node(task)
    return node.done(info(look(node, settings_of(task.host, LoadBalancer), "show info") or "").get("description", ""))


def wait_all_up(nr: Nornir) -> None:
    machine.wait_for(lambda: not not_up(value(nr, "lb1", backends)), 60, "all members up")


def test_a_second_run_changes_nothing(deployed: Nornir) -> None:
    """Deployed again, nothing is changed: not in the report and not on the nodes."""
    before = prints(deployed)
    for chain in (loadbalancer.deploy(), web.deploy()):
        report = chain.run(deployed)
        assert report.exit_code == 0, report.to_json()
        assert not report.changed
    assert prints(deployed) == before


def test_all_members_take_turns_and_one_takes_the_writes(deployed: Nornir) -> None:
    """Six connections come to the three members in turn; through the single-writer listener all come to the first."""
    assert set(through(deployed, "reads").answered) == set(DB)
    assert through(deployed, "writes").answered == ("db1",) * 6


def test_the_virtual_address_is_reached_from_elsewhere(deployed: Nornir) -> None:
    """The web server and this machine reach the virtual address, through which the members answer."""
    found = value(deployed, "web1", members_through, listener="reads", tries=6)
    assert set(found.answered) == set(DB)
    assert set(found.members) == set(DB)


def test_the_page_shows_the_row_and_another_member_each_time(deployed: Nornir) -> None:
    """Three fetches show the row and three members; nobody but root and the web server can read the password."""
    views = value(deployed, "web1", page, tries=3)
    assert {view.member for view in views} == set(DB)
    assert views[0].rows == (("1", "It works"),)
    assert on(deployed, "web1", "stat -c '%a %U %G' /var/www/html/index.php") == "640 root www-data"


def test_a_stopped_member_gets_no_traffic_and_comes_back(deployed: Nornir) -> None:
    """A member whose server stops goes DOWN with a reason, the others answer, and it is UP again after its start."""
    on(deployed, "db3", "systemctl stop mariadb")
    try:
        assert value(deployed, "db3", health).says == "the database server does not answer"
        wait_until(deployed, lambda now: now["reads", "db3"].status == "DOWN", "db3 down")
        assert "does not answer" in servers(deployed)["reads", "db3"].says
        assert set(through(deployed, "reads").answered) == {"db1", "db2"}
    finally:
        on(deployed, "db3", "systemctl start mariadb")
    wait_all_up(deployed)


def test_the_writer_fails_over_with_its_sessions_and_back(deployed: Nornir) -> None:
    """When the writer goes, its sessions end and the second takes all; when it comes back, those on the second end."""
    on(deployed, "db1", "touch /run/galera-health.drained")
    try:
        wait_until(deployed, lambda now: now["writes", "db1"].status == "DOWN", "db1 down")
        assert through(deployed, "writes").answered == ("db2",) * 6
        held = hold(deployed, 3307)
        assert ask(held) == "db2"
    finally:
        on(deployed, "db1", "rm -f /run/galera-health.drained")
    wait_all_up(deployed)
    with pytest.raises(pymysql.MySQLError):
        ask(held)
    assert through(deployed, "writes").answered == ("db1",) * 6


def test_a_donor_keeps_the_traffic_of_the_listener_that_lets_it(deployed: Nornir) -> None:
    """A desynced member is DOWN for the listeners that want Synced ones, and UP for the one that takes donors."""
    on(deployed, "db2", "mariadb -e 'SET GLOBAL wsrep_desync=ON'")
    try:
        wait_until(deployed, lambda now: now["reads", "db2"].status == "DOWN", "db2 down")
        assert "Donor/Desynced" in value(deployed, "db2", health).says
        assert value(deployed, "db2", health, donors=True).good
        assert servers(deployed)["donors", "db2"].status == "UP"
        assert "db2" in through(deployed, "donors").answered
        assert "db2" not in through(deployed, "reads").answered
    finally:
        on(deployed, "db2", "mariadb -e 'SET GLOBAL wsrep_desync=OFF'")
    wait_all_up(deployed)


def test_a_member_out_of_the_primary_component_is_out(deployed: Nornir, lab: Lab) -> None:
    """A member cut off from the others, with a server that runs, gets no traffic."""
    lab.partition(["db1", "db2", "lb1", "web1"], ["db3"])
    try:
        wait_until(deployed, lambda now: now["reads", "db3"].status == "DOWN", "db3 down")
        machine.wait_for(lambda: not value(deployed, "db3", health).good, 30, "db3 sees it")
        assert "component is non-Primary" in value(deployed, "db3", health).says
    finally:
        lab.heal()
    wait_all_up(deployed)


def test_drained_by_its_own_flag(deployed: Nornir) -> None:
    """The flag on a member takes it out of every listener, says so, and putting it there twice changes once."""
    assert run(deployed, "db2", drain_flag, drained=True).changed
    try:
        assert not run(deployed, "db2", drain_flag, drained=True).changed
        wait_until(deployed, lambda now: now["reads", "db2"].status == "DOWN", "db2 down")
        assert "drained" in servers(deployed)["reads", "db2"].says
    finally:
        run(deployed, "db2", drain_flag, drained=False)
    wait_all_up(deployed)


def test_drain_keeps_sessions_and_survives_a_reload(deployed: Nornir) -> None:
    """A drained server keeps its connections, gets no new ones, stays so over a reload; a dry run says it and does nothing."""
    dry = run(deployed, "lb1", set_server, dry_run=True, server="db2", state="drain")
    assert dry.changed
    assert servers(deployed)["reads", "db2"].state == "ready"
    held = next(link for link in (hold(deployed, 3306) for _ in range(3)) if ask(link) == "db2")
    try:
        assert run(deployed, "lb1", set_server, server="db2", state="drain").changed
        assert not run(deployed, "lb1", set_server, server="db2", state="drain").changed
        assert "db2" not in through(deployed, "reads").answered
        assert ask(held) == "db2"
        weigh(deployed, {"db1": 2})
        assert run(deployed, "lb1", haproxy).changed
        now = servers(deployed)
        assert now["reads", "db2"].state == "drain"
        assert now["reads", "db1"].weight == 2
        assert ask(held) == "db2"
        assert on(deployed, "lb1", "wc -l </var/lib/haproxy/server-state") == "2"
    finally:
        weigh(deployed, {})
        run(deployed, "lb1", haproxy)
        run(deployed, "lb1", set_server, server="db2", state="ready")
    wait_all_up(deployed)


def test_draining_the_writer_moves_its_sessions(deployed: Nornir) -> None:
    """One member writes while the writer drains too: its sessions end, and the second takes all."""
    held = hold(deployed, 3307)
    assert ask(held) == "db1"
    try:
        run(deployed, "lb1", set_server, server="db1", state="drain")
        with pytest.raises(pymysql.MySQLError):
            ask(held)
        assert set(through(deployed, "writes").answered) == {"db2"}
    finally:
        run(deployed, "lb1", set_server, server="db1", state="ready")
    wait_all_up(deployed)


def test_haproxy_takes_the_golden_files(deployed: Nornir) -> None:
    """What the unit tests compare with is what a real HAProxy calls valid, without a warning."""
    for case in sorted(CASES.glob("*.cfg")):
        said = on(deployed, "lb1", 'printf %s "$1" | haproxy -c -f /dev/stdin 2>&1', case.read_text())
        assert said == "Configuration file is valid"


def test_a_configuration_that_haproxy_refuses_is_not_written(deployed: Nornir, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HAProxy refuses never reaches the file, in a dry run too, and the error says why."""
    before = on(deployed, "lb1", "sha256sum /etc/haproxy/haproxy.cfg")
    monkeypatch.setattr(
        "nornir_stack.tasks.loadbalancer.haproxy.configuration",
        lambda *args: configuration(*args) + "\nlisten odd\n    balanse x\n",
    )
    for dry_run in (True, False):
        report = run(deployed, "lb1", haproxy, dry_run=dry_run)
        assert report.hosts["lb1"] == Status.FAILED
        assert "balanse" in report.stages[-1].hosts[0].error
    assert on(deployed, "lb1", "sha256sum /etc/haproxy/haproxy.cfg") == before


def test_a_change_by_hand_is_shown_and_taken_back(deployed: Nornir) -> None:
    """One line changed on the node: a dry run shows it as a diff, the next run takes it back and reloads."""
    on(deployed, "lb1", "sed -i 's/retries 3/retries 9/' /etc/haproxy/haproxy.cfg")
    dry = run(deployed, "lb1", haproxy, dry_run=True)
    assert "-    retries 9" in dry.stages[-1].hosts[0].tasks[0].diff
    assert run(deployed, "lb1", haproxy).changed
    assert not run(deployed, "lb1", haproxy).changed


def test_a_reload_that_was_cut_is_made_up_for(deployed: Nornir) -> None:
    """The file is as wanted and what runs is older (a controller died between): the next run reloads."""
    on(
        deployed,
        "lb1",
        "cd /etc/haproxy && cp haproxy.cfg keep && sed -i 's/description .*/description old/' haproxy.cfg"
        " && systemctl reload haproxy",
    )
    machine.wait_for(lambda: value(deployed, "lb1", described) == "old", 30, "the reload: systemctl only signals")
    on(deployed, "lb1", "cd /etc/haproxy && mv keep haproxy.cfg")
    assert run(deployed, "lb1", haproxy).changed
    assert not run(deployed, "lb1", haproxy).changed


def test_everything_is_back_after_a_boot(deployed: Nornir, lab: Lab) -> None:
    """The load balancer, killed and booted again, has its address, HAProxy and its members without any run."""
    lab.kill("lb1")
    lab.up()
    wait_all_up(deployed)
    assert set(through(deployed, "reads").answered) == set(DB)


def weigh(nr: Nornir, weights: dict[str, int]) -> None:
    listeners = nr.inventory.groups["loadbalancer"].data["loadbalancer"]["listeners"]
    listeners["reads"] = {**listeners["reads"], "weights": weights}


def hold(nr: Nornir, port: int) -> pymysql.Connection[Any]:
    """A connection through the virtual address that stays open."""
    virtual = nr.inventory.groups["loadbalancer"].data["loadbalancer"]["virtual_address"]
    return pymysql.connect(host=virtual, port=port, user="app", password=PASSWORD, read_timeout=10)


def ask(link: pymysql.Connection[Any]) -> str:
    with link.cursor() as cursor:
        cursor.execute("SELECT @@wsrep_node_name")
        return str((cursor.fetchone() or ("",))[0])
