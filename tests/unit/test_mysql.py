"""A real MariaDB server, reached through a shell's connection."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nornir.core.configuration import Config
from nornir.core.inventory import ConnectionOptions, Host
from nornir.core.plugins.connections import ConnectionPluginRegister

from nornir_stack.connections.mysql import mysql
from nornir_stack.errors import DatabaseFailed, TimedOut, UsageError
from nornir_stack.secret import Secret
from tests.unit.shells import until
from tests.unit.ssh_server import USER, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_stack.connections.mysql import Mysql

pytestmark = pytest.mark.skipif(not shutil.which("mariadbd"), reason="needs mariadbd (package mariadb-server-core)")
PASSWORD = "correct horse"
# what mariadb-install-db does; the script itself needs more packages than the server does
_SQL = Path("/usr/share/mysql")
_SQL_FILES = ("mysql_system_tables", "mysql_performance_tables", "mysql_system_tables_data", "maria_add_gis_sp_bootstrap")
_TABLES = b"USE mysql;\nSET @skip_auth_anonymous = 1;\nSET @auth_root_socket = 'root';\n"


class Server:
    """A MariaDB server on a data folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "mysql.sock"
        self._data = folder / "data"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        (self._data / "mysql").mkdir(parents=True)
        subprocess.run(
            ["mariadbd", "--no-defaults", "--bootstrap", "--user=root", f"--datadir={self._data}"],
            input=_TABLES + b"".join((_SQL / f"{name}.sql").read_bytes() for name in _SQL_FILES),
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        own = ["--no-defaults", "--user=root", f"--datadir={self._data}", f"--socket={self.socket}", "--skip-networking"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(["mariadbd", *own], stdout=log, stderr=log)
        until(lambda: b"ready for connections" in self._log.read_bytes(), within=30)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    ConnectionPluginRegister.auto_register()
    running = Server(tmp_path_factory.mktemp("mariadb"))
    running.start()
    yield running
    running.stop()


@contextlib.contextmanager
def handle(server: Server, kind: str, folder: Path) -> Iterator[Mysql]:
    """The server through a local shell's connection or through SSH."""
    with contextlib.ExitStack() as stack:
        options = {"mysql": ConnectionOptions(extras={"socket": str(server.socket)})}
        host = Host("db1", hostname="127.0.0.1", username=USER, connection_options=options, data={"connection": kind})
        if kind == "ssh":
            sshd = stack.enter_context(serving(folder))
            host.port = sshd.port
            options["ssh"] = ConnectionOptions(extras=sshd.extras())
        stack.callback(host.close_connections)
        yield mysql(host, Config())


@pytest.fixture(params=["local", "ssh"])
def db(server: Server, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mysql]:
    with handle(server, request.param, tmp_path) as opened:
        yield opened


def test_root_needs_no_password(db: Mysql) -> None:
    """Socket login: the server sees who logged in on the node."""
    assert db.query("SELECT CURRENT_USER() AS who, %s AS n", (7,)) == [{"who": "root@localhost", "n": 7}]


def test_show_works(db: Mysql) -> None:
    """What a look at a cluster needs."""
    assert db.query("SHOW GLOBAL STATUS LIKE 'uptime'")[0]["Variable_name"] == "Uptime"


def test_only_execute_changes(db: Mysql) -> None:
    """A query cannot write, neither rows nor tables, also after an execute; `execute` commits at once."""
    db.execute("CREATE OR REPLACE DATABASE trial")
    db.execute("CREATE TABLE trial.t (n INT) ENGINE=InnoDB")
    assert db.execute("INSERT INTO trial.t VALUES (%s), (%s)", (1, 2)) == 2
    for change in ("INSERT INTO trial.t VALUES (3)", "DROP TABLE trial.t", "CREATE DATABASE other"):
        with pytest.raises(DatabaseFailed, match="READ ONLY") as caught:
            db.query(change)
        assert caught.value.code == 1792
    assert db.query("SELECT n FROM trial.t ORDER BY n") == [{"n": 1}, {"n": 2}]


def test_error_has_the_servers_number(db: Mysql) -> None:
    """And its words."""
    with pytest.raises(DatabaseFailed, match="syntax") as caught:
        db.query("SELEKT 1")
    assert caught.value.code == 1064


def test_an_answer_is_waited_for_no_longer_than_wanted(db: Mysql) -> None:
    """And not asked for a second time; the next statement has its own time."""
    began = time.monotonic()
    for ask in (db.query, db.execute):
        with pytest.raises(TimedOut, match=r"no answer within 0\.3 s"):
            ask("SELECT SLEEP(20)", seconds=0.3)
    assert time.monotonic() - began < 10  # and not the 20 that it takes
    assert db.query("SELECT SLEEP(0.5) AS a") == [{"a": 0}]


def test_connects_again_after_a_restart(server: Server, db: Mysql) -> None:
    """A stopped server is an error of the database; started again, the same handle answers."""
    assert db.query("SELECT 1 AS one") == [{"one": 1}]
    server.stop()
    with pytest.raises(DatabaseFailed):
        db.query("SELECT 1 AS one")
    with pytest.raises(DatabaseFailed, match="no server answers") as caught:
        db.query("SELECT 1 AS one")
    assert caught.value.code == 2003
    server.start()
    assert db.query("SELECT 1 AS one") == [{"one": 1}]
    server.stop()
    server.start()
    assert db.execute("SET GLOBAL max_connections = 99") == 0


def test_named_user_goes_by_tcp(server: Server, tmp_path: Path) -> None:
    """A user with a password Secret is for 127.0.0.1 as the node sees it; nothing listens there in this test."""
    with handle(server, "local", tmp_path) as root:
        assert root.alive
    extras = {"username": "app", "password": Secret(literal=PASSWORD), "port": 1}
    host = Host("db1", connection_options={"mysql": ConnectionOptions(extras=extras)}, data={"connection": "local"})
    with pytest.raises(DatabaseFailed, match=r"nothing answers at 127\.0\.0\.1:1"):
        mysql(host, Config())
    host.close_connections()


def test_plain_nornir_cannot_open_it() -> None:
    """Without the way to the node there is no connection, and the message names the door."""
    ConnectionPluginRegister.auto_register()
    with pytest.raises(UsageError, match=r"mysql\.mysql"):
        Host("db1").get_connection("mysql", Config())
