"""A member's configuration file: sizes from the node, products apart, and what it refuses to hold."""

from __future__ import annotations

import configparser
import subprocess
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nornir.core.inventory import Defaults, Host

from nornir_stack.errors import InventoryError, UsageError
from nornir_stack.secret import Secret
from nornir_stack.settings import settings_of
from nornir_stack.size import Size
from nornir_stack.tasks.cluster import arbitrator, dangers, mycnf
from nornir_stack.tasks.cluster.database import TRANSFER_GRANTS, granted, native_hash, privileges, shown_grant
from nornir_stack.tasks.cluster.probe import Facts, File, member
from nornir_stack.tasks.cluster.product import PRODUCTS
from nornir_stack.tasks.cluster.settings import Galera, Tls

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
MEMBERS = ("10.0.32.23", "10.0.32.24", "10.0.32.25")


def galera(**settings: Any) -> Galera:
    return Galera(**{"cluster_name": "SilverSkySoftDBClusterA", "address": ip_address("10.0.32.23"), **settings})


def config(family: str = "debian", memory: int = 4096 * MIB, cpus: int = 4, **settings: Any) -> configparser.RawConfigParser:
    mine = galera(**settings)
    product = PRODUCTS[mine.product, family]
    text = mycnf.rendered(mine, product, name="DBNode1", members=MEMBERS, memory=memory, cpus=cpus)
    parser = configparser.RawConfigParser(strict=True)
    parser.read_string(text)
    return parser


def test_the_notebooks_settings_all_stand() -> None:
    """Every line of the notebook's my.cnf that today's servers take is in the file, with its meaning."""
    server = config(buffer_pool=Size.parse("200M"), log_file_size=Size.parse("20M"), slave_threads=2)["mysqld"]
    expected = {
        "user": "mysql",
        "datadir": "/var/lib/mysql/mysql_data",
        "log_bin": "mysql-bin",
        "binlog_format": "ROW",
        "innodb_buffer_pool_size": str(200 * MIB),
        "innodb_flush_method": "O_DIRECT",
        "innodb_log_file_size": str(20 * MIB),
        "innodb_file_per_table": "1",
        "innodb_autoinc_lock_mode": "2",
        "wsrep_cluster_address": "gcomm://10.0.32.23,10.0.32.24,10.0.32.25",
        "wsrep_slave_threads": "2",
        "wsrep_cluster_name": "SilverSkySoftDBClusterA",
        "wsrep_node_name": "DBNode1",
        "wsrep_node_address": "10.0.32.23",
        "wsrep_sst_method": "rsync",
    }
    assert {key: server[key] for key in expected} == expected


def test_a_name_with_blanks_is_quoted_wherever_it_is_read(tmp_path: Path) -> None:
    """Debian's own default is one: the file, the look at it, and the shell that garb-systemd sources it with give it whole."""
    name = "MariaDB Galera Cluster"
    mine = settings_of(Host("db1", "10.0.32.23", data={"galera": {"cluster_name": name}}, defaults=Defaults()), Galera)
    text = mycnf.rendered(mine, PRODUCTS["mariadb", "debian"], name="db1", members=MEMBERS, memory=MIB, cpus=1)
    assert f'wsrep_cluster_name             = "{name}"\n' in text
    assert member(Facts(files={"/etc/a.cnf": File(text.encode(), 0)}), None, unit="mariadb").cluster_name == name
    (garb := tmp_path / "garb").write_text(arbitrator.configuration(mine, list(MEMBERS)))
    # as garb-systemd of galera-arbitrator-4 26.4 makes its words
    start = """. "$1"; OPTIONS="-g '$GALERA_GROUP'"; eval "printf '%s|' $OPTIONS" """
    done = subprocess.run(["bash", "-uec", start, "bash", garb], capture_output=True, text=True, check=True)
    assert done.stdout == f"-g|{name}|"


@pytest.mark.parametrize("name", ["", " shop", "shop ", "a" * 33, "a'b", 'a"b', "a\tb", "a$b", "a\n"])
def test_names_that_no_file_could_hold(name: str) -> None:
    """Blanks only inside; neither quotes nor what a shell or a path would take for something else; at most 32 characters."""
    host = Host("db1", "10.0.32.23", data={"galera": {"cluster_name": name}}, defaults=Defaults())
    with pytest.raises(InventoryError, match=r"galera\.cluster_name"):
        settings_of(host, Galera)


def test_binary_logs_expire_and_commits_are_on_disk_unless_said() -> None:
    """The defaults lose nothing and fill no disk."""
    server = config()["mysqld"]
    assert server["binlog_expire_logs_seconds"] == str(7 * 86_400)
    assert server["innodb_flush_log_at_trx_commit"] == "1"


def test_percona_has_its_own_names() -> None:
    """Percona 8 has applier threads, no wsrep_on, no rsync, its own bootstrap unit."""
    server = config(product="percona", sst_method="xtrabackup-v2")["mysqld"]
    assert "wsrep_applier_threads" in server
    assert "wsrep_slave_threads" not in server
    assert "wsrep_on" not in server
    assert server["wsrep_provider"] == "/usr/lib/galera4/libgalera_smm.so"
    assert PRODUCTS["percona", "redhat"].bootstrap_unit == "mysql@bootstrap.service"


def test_tls_encrypts_what_members_send() -> None:
    """With tls the provider encrypts replication, and state transfers by mariabackup are encrypted too."""
    tls = Tls(ca="/etc/ssl/ca.pem", cert="/etc/ssl/db.pem", private_key="/etc/ssl/db.key")
    parser = config(tls=tls, sst_method="mariabackup", sst_password=Secret(literal="a long password"))
    assert "socket.ssl_key=/etc/ssl/db.key" in parser["mysqld"]["wsrep_provider_options"]
    assert parser["sst"]["tca"] == "/etc/ssl/ca.pem"
    assert parser["sst"]["wsrep_sst_auth"] == "sst:a long password"


def test_extra_settings_come_last_and_dangerous_ones_are_refused_all_at_once() -> None:
    """`extra` is written; what would contradict the file or keep the server down is refused with its reason."""
    assert config(extra={"max_allowed_packet": "64M"})["mysqld"]["max_allowed_packet"] == "64M"
    with pytest.raises(UsageError) as refused:
        config(extra={"innodb-locks-unsafe-for-binlog": 1, "wsrep_cluster_address": "gcomm://"})
    assert "READ-COMMITTED" in str(refused.value)
    assert "second cluster" in str(refused.value)


@pytest.mark.parametrize("value", [0, 2])
def test_fast_commits_are_explained(value: int) -> None:
    """innodb_flush_log_at_trx_commit 0 and 2 are taken, and what they can lose is said."""
    assert config(innodb_flush_log_at_trx_commit=value)["mysqld"]["innodb_flush_log_at_trx_commit"] == str(value)
    said = dangers.warnings({}, flush_log_at_trx_commit=value, sst_method="mariabackup")
    assert "last second" in said[0].replace("\n", " ")


@given(st.integers(0, 1 << 42))
def test_the_buffer_pool_fits_the_node(memory: int) -> None:
    """A multiple of 128 MiB, at least one, and above 1 GiB of memory never more than 70 % of it."""
    pool = mycnf.buffer_pool(memory)
    assert pool % (128 * MIB) == 0
    assert pool >= 128 * MIB
    if memory > 1024 * MIB:
        assert pool <= memory * 7 // 10


@given(st.integers(0, 512))
def test_applier_threads_follow_the_processors(cpus: int) -> None:
    """Between 1 and 16."""
    assert 1 <= mycnf.applier_threads(cpus) <= 16


def test_passwords_travel_as_hashes() -> None:
    """The hash is that of mysql_native_password: PASSWORD('password') of the MariaDB manual."""
    assert native_hash("password") == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"


@pytest.mark.parametrize(
    ("wanted", "shown", "there"),
    [
        ("ALL ON shop.*", "ALL PRIVILEGES ON `shop`.*", True),
        ("all on shop.*", "ALL PRIVILEGES ON `shop`.*", True),
        ("SELECT, INSERT ON shop.*", "INSERT, SELECT ON `shop`.*", True),
        ("SELECT ON my_test_db.*", r"SELECT ON `my\_test\_db`.*", True),
        ("SELECT ON shop.*", "SELECT, INSERT, UPDATE ON `shop`.*", True),
        ("SELECT ON shop.*", "ALL PRIVILEGES ON `shop`.*", True),
        ("SELECT, DELETE ON shop.*", "SELECT, INSERT ON `shop`.*", False),
        ("SELECT ON shop.*", "SELECT ON `other`.*", False),
        ("SELECT (a, b), UPDATE ON shop.t", "UPDATE, SELECT (a, b) ON `shop`.`t`", True),
        ("ALL ON shop.* WITH GRANT OPTION", "ALL PRIVILEGES ON `shop`.*", False),
        (*TRANSFER_GRANTS, "RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, SLAVE MONITOR ON *.*", True),
        ("REPLICATION CLIENT ON *.*", "BINLOG MONITOR ON *.*", True),
    ],
)
def test_grants_are_compared_by_meaning(wanted: str, shown: str, *, there: bool) -> None:
    """What people write, and what SHOW GRANTS prints in its own names; more than is wanted is left alone."""
    assert granted(wanted, privileges(shown_grant(f"GRANT {shown} TO `app`@`%` IDENTIFIED BY PASSWORD '*2470'"))) is there


def test_a_grant_with_grant_option_is_recognised() -> None:
    """What the server prints of a user's grant is compared with the option, without the user and the hash."""
    line = "GRANT ALL PRIVILEGES ON `shop`.* TO `app`@`%` IDENTIFIED BY PASSWORD '*2470' WITH GRANT OPTION"
    assert granted("ALL ON shop.* WITH GRANT OPTION", privileges(shown_grant(line)))
