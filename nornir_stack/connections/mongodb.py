"""The `mongodb` connection: a MongoDB server by pymongo, where what looks can send nothing that changes anything."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, cast

from nornir_stack.connections import connection
from nornir_stack.errors import ConnectionFailed, ConnectionLost, DatabaseFailed, LoginRefused, Refused, TimedOut, UsageError
from nornir_stack.secret import Secret, mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.configuration import Config
    from nornir.core.inventory import Host

_SECONDS = 10
_ANSWER_SECONDS = 3600
_EXTRA = "MongoDB needs the extra: pip install 'nornir-stack[mongodb]'"
# Commands that change nothing, by MongoDB's manual (reference/command). An aggregation may write: its stages are looked at.
_LOOKING = frozenset(
    {"ping", "hello", "buildInfo", "getCmdLineOpts", "listDatabases", "listCollections", "listIndexes", "dbStats", "collStats"}
    | {"count", "find", "aggregate"}
)
_WRITING_STAGES = frozenset({"$out", "$merge"})
_LOGIN = frozenset({18, 13})  # AuthenticationFailed, Unauthorized


def mongodb(host: Host, config: Config, **extras: Any) -> Mongo:
    """The host's MongoDB. `extras` are added to those of the inventory. Raises ConnectionFailed, LoginRefused, UsageError."""
    return cast("Mongo", connection(host, "mongodb", config, **extras))


class MongodbPlugin:
    """Nornir's connection plugin `mongodb`.

    Extras: `server` (default: the host's own address), `port` (27017), `username`, `password` (Secret), `auth_source`
    (`admin`), `seconds` (10) to wait for it.
    """

    connection: Mongo

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
        del username, password, port, platform, configuration  # these are of the login on the node
        given = {"server": hostname or "localhost", **(extras or {})}
        self.connection = Mongo(**given)
        self.connection.query("admin", {"ping": 1})

    def close(self) -> None:
        self.connection.close()


class Mongo:
    """A MongoDB server. Commands as its manual has them; the first key is the command's name."""

    def __init__(
        self,
        server: str,
        port: int = 27017,
        *,
        username: str | None = None,
        password: Secret | None = None,
        auth_source: str = "admin",
        seconds: float = _SECONDS,
    ) -> None:
        try:
            from pymongo import MongoClient  # noqa: PLC0415  an extra
        except ImportError:
            raise UsageError(_EXTRA) from None
        self.name = f"mongodb {server}:{port}"
        self.alive = True
        login: dict[str, Any] = {}
        if username:
            login = {"username": username, "password": password.reveal() if password else "", "authSource": auth_source}
        self._client: MongoClient[dict[str, Any]] = MongoClient(
            server,
            port,
            directConnection=True,
            serverSelectionTimeoutMS=int(seconds * 1000),
            connectTimeoutMS=int(seconds * 1000),
            socketTimeoutMS=_ANSWER_SECONDS * 1000,
            retryWrites=False,
            **login,
        )

    def query(self, database: str, command: Mapping[str, Any], *, seconds: float | None = None) -> dict[str, Any]:
        """The answer to a command that only looks. Raises Refused for another, DatabaseFailed for an error.

        `seconds` for the answer, else TimedOut: at most, and by default, an hour.
        """
        name = next(iter(command))
        stages = {key for stage in command.get("pipeline", ()) for key in stage}
        if name not in _LOOKING or stages & _WRITING_STAGES:
            raise Refused(f"{self.name}: this only looks, and was about to send {name}")
        return self._told(database, command, seconds)

    def execute(self, database: str, command: Mapping[str, Any], *, seconds: float | None = None) -> dict[str, Any]:
        """The answer to a command that changes something, sent once. Raises ConnectionLost where it may have been done.

        `seconds` as for `query`: past them, too, it may have been done.
        """
        try:
            return self._told(database, command, seconds)
        except ConnectionFailed as error:
            if isinstance(error, LoginRefused):
                raise
            raise ConnectionLost(f"{error}: whether it was done is not known") from None

    def close(self) -> None:
        self.alive = False
        with suppress(Exception):
            self._client.close()

    def _told(self, database: str, command: Mapping[str, Any], seconds: float | None) -> dict[str, Any]:
        from pymongo import errors, timeout  # noqa: PLC0415  an extra

        try:
            with timeout(min(seconds, _ANSWER_SECONDS)) if seconds else nullcontext():
                return dict(self._client[database].command(dict(command)))
        except errors.ConfigurationError as error:  # a server that is too old for this pymongo, for one
            raise UsageError(f"{self.name}: {mask(str(error))}") from None
        except errors.OperationFailure as error:
            if seconds and error.timeout:
                raise TimedOut(f"{self.name}: no answer within {seconds:.3g} s") from None
            if error.code in _LOGIN:
                raise LoginRefused(f"{self.name}: the login was refused: {mask(str(error))}") from None
            raise DatabaseFailed(self.name, error.code or 0, mask(str(error))) from None
        except errors.PyMongoError as error:
            if seconds and error.timeout:
                raise TimedOut(f"{self.name}: no answer within {seconds:.3g} s") from None
            raise ConnectionFailed(f"{self.name} does not answer: {mask(str(error).partition(', Timeout')[0])}") from None
