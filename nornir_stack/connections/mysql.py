"""The `mysql` connection: a database server reached through its node's own connection, so no port has to be open."""

from __future__ import annotations

import math
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pymysql
from pymysql.cursors import DictCursor

from nornir_stack.connections import connection, shell_of
from nornir_stack.errors import ConnectionFailed, DatabaseFailed, TimedOut, UsageError
from nornir_stack.secret import Secret, mask

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nornir.core.configuration import Config
    from nornir.core.inventory import Host

    from nornir_stack.shell import ShellConnection

T = TypeVar("T")
SOCKETS = ("/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock")  # Debian's and Red Hat's
_CONNECT_SECONDS, _ANSWER_SECONDS = 10, 60
_NO_SERVER = 2003  # CR_CONN_HOST_ERROR
_LOST = frozenset({0, 2006, 2013, 1053, 1927})  # gone away, lost, shutting down, killed; 0: PyMySQL's for a closed one


def mysql(host: Host, config: Config) -> Mysql:
    """The host's database server, through its shell's connection. Raises ConnectionFailed, DatabaseFailed."""
    return cast("Mysql", connection(host, "mysql", config, through=lambda: shell_of(host, config)))


class MysqlPlugin:
    """Nornir's connection plugin `mysql`; opened by `mysql(host, config)`, which knows the way to the node.

    Where the login on the node is root, it is root by socket login, without a password. Else, or where the connection
    options name a user: `username` and `password` over TCP, as the node sees it (127.0.0.1). Extras: `username`,
    `password` (Secret), `port` (3306), `socket` (path; default: Debian's or Red Hat's).
    """

    connection: Mysql

    def open(  # noqa: PLR0917  the signature is Nornir's
        self,
        hostname: str | None,
        username: str | None,
        password: str | None,
        port: int | None,
        platform: str | None,
        extras: dict[str, Any] | None = None,
        configuration: Config | None = None,
    ) -> None:
        del hostname, username, password, port, platform, configuration  # these are of the login on the node
        extras = extras or {}
        if "through" not in extras:
            raise UsageError("a mysql connection is opened by nornir_stack.connections.mysql.mysql(host, config)")
        self.connection = Mysql(**extras)
        self.connection.query("SELECT 1")

    def close(self) -> None:
        self.connection.close()


class Mysql:
    """A database server. One statement at a time; connected again when the server was restarted.

    `query` cannot change a table: its session is read-only. (The server lets a few statements through all the same, SET
    GLOBAL for one: only `execute` may have those.)
    """

    def __init__(
        self,
        through: Callable[[], ShellConnection],
        *,
        username: str | None = None,
        password: str | Secret | None = None,
        port: int = 3306,
        socket: str | None = None,
    ) -> None:
        self._through = through
        self._username, self._password = username, password
        self._port, self._sockets = port, (socket,) if socket else SOCKETS
        self._turn = threading.RLock()
        self._connection: pymysql.Connection[DictCursor] | None = None
        self._until = math.inf
        self.alive = True

    def query(
        self, sql: str, args: Sequence[object] | Mapping[str, object] | None = None, *, seconds: float | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a statement that only reads (SELECT, SHOW), by column name. Raises DatabaseFailed.

        `seconds`: how long the server may take for its answer, else TimedOut; at most, and by default, a minute.
        """
        with self._taking(seconds):
            return self._again(lambda: self._rows(sql, args))

    def execute(
        self, sql: str, args: Sequence[object] | Mapping[str, object] | None = None, *, seconds: float | None = None
    ) -> int:
        """Run a statement that changes something; the number of rows concerned. Committed at once. Raises DatabaseFailed.

        Never sent twice: where the connection is lost meanwhile, whether it was done is not known. `seconds` as for `query`.
        """
        with self._taking(seconds):
            self._again(lambda: self._rows("SET SESSION TRANSACTION READ WRITE", None))
            try:
                with self._connected().cursor() as cursor:
                    return cursor.execute(sql, args)
            except (pymysql.MySQLError, OSError) as error:
                raise self._failed(error) from None
            finally:
                with suppress(DatabaseFailed, ConnectionFailed, pymysql.MySQLError, OSError):
                    self._rows("SET SESSION TRANSACTION READ ONLY", None)

    def close(self) -> None:
        self.alive = False
        self._drop()

    @contextmanager
    def _taking(self, seconds: float | None) -> Iterator[None]:
        """One statement at a time, and so long for its answer."""
        with self._turn:
            wanted = min(seconds or _ANSWER_SECONDS, _ANSWER_SECONDS)
            self._until = time.monotonic() + wanted
            try:
                yield
            except DatabaseFailed as error:
                if error.code in _LOST and wanted < _ANSWER_SECONDS and time.monotonic() >= self._until:
                    raise TimedOut(f"{error}: no answer within {wanted:.3g} s") from None
                raise
            finally:
                self._until = math.inf

    def _rows(self, sql: str, args: Sequence[object] | Mapping[str, object] | None) -> list[dict[str, Any]]:
        with self._connected().cursor() as cursor:
            cursor.execute(sql, args)
            return [dict(row) for row in cursor.fetchall()]

    def _again(self, do: Callable[[], T]) -> T:
        """Once more on a new connection, where the old one turns out to be gone."""
        fresh = self._connection is None
        try:
            return do()
        except (pymysql.MySQLError, OSError) as error:
            failed = self._failed(error)
            if fresh or failed.code not in _LOST or time.monotonic() >= self._until:
                raise failed from None
        try:
            return do()
        except (pymysql.MySQLError, OSError) as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> DatabaseFailed:
        code, message = (*error.args, "", "")[:2] if isinstance(error, pymysql.MySQLError) else (2013, str(error))
        code = code if isinstance(code, int) else 2013
        if code in _LOST:
            self._drop()
        return DatabaseFailed("database", code, mask(str(message)) or type(error).__name__)

    def _connected(self) -> pymysql.Connection[DictCursor]:
        if self._connection is None:
            user, password, plug = self._way()
            link: pymysql.Connection[DictCursor] = pymysql.Connection(
                user=user,
                password=password,
                charset="utf8mb4",
                cursorclass=DictCursor,
                autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_ANSWER_SECONDS,
                write_timeout=_ANSWER_SECONDS,
                # not a transaction around each query: a Galera member outside the Primary component refuses BEGIN,
                # and answers SHOW
                init_command="SET SESSION TRANSACTION READ ONLY",
                defer_connect=True,
            )
            try:
                link.connect(plug)
            except BaseException:
                plug.close()
                raise
            self._connection = link
        # PyMySQL has no call for it, and looks here before each packet
        left = max(min(self._until - time.monotonic(), _ANSWER_SECONDS), 0.01)
        self._connection._read_timeout = left  # type: ignore[attr-defined]  # noqa: SLF001
        return self._connection

    def _way(self) -> tuple[str, str, socket.socket]:
        """User, password, and a socket to the server."""
        shell = self._through()
        if self._username:
            password = self._password.reveal() if isinstance(self._password, Secret) else self._password or ""
            return self._username, password, self._open(shell, ("127.0.0.1", self._port))
        if not shell.root or shell.by_sudo:
            raise UsageError("the login on the node is not root: name a database user (connection_options: mysql: extras)")
        return "root", "", self._open(shell, *self._sockets)

    def _open(self, shell: ShellConnection, *targets: str | tuple[str, int]) -> socket.socket:
        for target in targets:
            try:
                return shell.open_socket(target)
            except ConnectionFailed as error:
                failure = error
        if not shell.alive:
            raise failure
        raise DatabaseFailed("database", _NO_SERVER, f"no server answers there: {failure}")

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(pymysql.MySQLError, OSError):
                self._connection.close()
            self._connection = None
