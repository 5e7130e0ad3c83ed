"""The `openstack` connection: a cloud's APIs by openstacksdk, in a session that refuses to change anything until told."""

from __future__ import annotations

import logging
import math
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nornir_stack.connections import connection
from nornir_stack.errors import ApiFailed, ConnectionFailed, ConnectionLost, LoginRefused, Refused, TimedOut, UsageError
from nornir_stack.secret import Secret, mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir.core.configuration import Config
    from nornir.core.inventory import Host
    from openstack.connection import Connection

T = TypeVar("T")
_ANSWER_SECONDS = 60
_LOOKING = frozenset({"GET", "HEAD", "OPTIONS"})
# Nova's actions are POSTs, and this one only reads (its API reference, "Show Console Output").
_LOOKING_ACTIONS = frozenset({"os-getConsoleOutput"})
# What they warn of comes as an exception too; without a handler Python would print it into the progress.
for _logger in ("keystoneauth", "openstack"):
    logging.getLogger(_logger).addHandler(logging.NullHandler())
_EXTRA = "clouds need the extra: pip install 'nornir-stack[openstack]'"


def api(host: Host, config: Config) -> Api:
    """The APIs of the cloud that this host stands for (`connection: openstack`). Raises UsageError, ConnectionFailed."""
    return cast("Api", connection(host, "openstack", config))


class OpenstackPlugin:
    """Nornir's connection plugin `openstack`.

    Extras: `cloud` (its name in clouds.yaml; default: `openstack`), `clouds_file` (default: where openstacksdk looks, which
    is `OS_CLIENT_CONFIG_FILE`, ./clouds.yaml, ~/.config/openstack and /etc/openstack), `password` (Secret; else clouds.yaml
    has it).
    """

    connection: Api

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
        # those of a host may be inherited, and are of logins on nodes
        del hostname, username, password, port, platform, configuration
        self.connection = Api(**(extras or {}))

    def close(self) -> None:
        self.connection.close()


class Api:
    """A cloud. `look` may only GET, by whatever call of openstacksdk; `act` may do the rest. The login comes at the first."""

    def __init__(self, cloud: str = "openstack", clouds_file: str = "", password: str | Secret | None = None) -> None:
        self.name = cloud
        self._open = threading.local()
        self._made_of = (cloud, clouds_file, password)
        self._link = _connect(*self._made_of, self._allow)

    def look(self, do: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        """What `do` finds; a call in it that would change something raises Refused before it is sent.

        A connection that broke is made once more: a service that was just restarted. `seconds` for all its requests
        together, else TimedOut; each has 60 at most.
        """
        with self._within(seconds, door=False):
            try:
                return self._told(do)
            except LoginRefused:
                raise
            except ConnectionFailed:
                return self._told(do)

    def act(self, do: Callable[[Connection], T], *, seconds: float | None = None) -> T:
        """Have `do` change something. Raises ApiFailed, LoginRefused; ConnectionLost, where it may have been done.

        `seconds` as for `look`: past them, too, it may have been done.
        """
        with self._within(seconds, door=True):
            try:
                return self._told(do)
            except ConnectionFailed as error:
                if isinstance(error, LoginRefused):
                    raise
                raise ConnectionLost(f"{error}: whether it was done is not known") from None

    def renew(self) -> None:
        """Log in anew at the next call: a login brings the catalogue of its moment, and openstacksdk goes by that."""
        self.close()
        self._link = _connect(*self._made_of, self._allow)

    def close(self) -> None:
        with suppress(Exception):
            self._link.close()

    def _allow(self, method: str, url: str, said: object) -> float:
        """The seconds that are left for this request. Raises Refused, TimedOut."""
        # a login is a POST, and changes nothing that anybody else sees
        looks = method.upper() in _LOOKING or url.rstrip("/").endswith("/auth/tokens")
        looks = looks or (url.endswith("/action") and isinstance(said, dict) and bool(said) and set(said) <= _LOOKING_ACTIONS)
        if not looks and not getattr(self._open, "door", False):
            raise Refused(f"{self.name}: this only looks, and was about to send {method.upper()} {mask(url)}")
        left = getattr(self._open, "until", math.inf) - time.monotonic()
        if left <= 0:
            raise TimedOut(f"{self.name}: the deadline had passed before: {method.upper()} {mask(url)}")
        return left

    @contextmanager
    def _within(self, seconds: float | None, *, door: bool) -> Iterator[None]:
        before = getattr(self._open, "door", False), getattr(self._open, "until", math.inf)
        self._open.door = door
        self._open.until = math.inf if seconds is None else time.monotonic() + seconds
        try:
            yield
        finally:
            self._open.door, self._open.until = before

    def _told(self, do: Callable[[Connection], T]) -> T:
        from keystoneauth1 import exceptions as auth  # noqa: PLC0415  an extra
        from openstack.exceptions import HttpException, SDKException  # noqa: PLC0415  an extra

        try:
            return do(self._link)
        except auth.Unauthorized as error:
            raise LoginRefused(f"{self.name}: the login was refused: {_first_line(error)}") from None
        except auth.ConnectFailure as error:
            raise ConnectionFailed(f"{self.name}: {_first_line(error)}") from None
        except (SDKException, auth.ClientException) as error:
            if isinstance(error, auth.ConnectTimeout) and time.monotonic() >= getattr(self._open, "until", math.inf):
                raise TimedOut(f"{self.name}: no answer by the deadline: {_first_line(error)}") from None
            status = error.status_code if isinstance(error, HttpException) else getattr(error, "http_status", 0)
            raise ApiFailed(self.name, int(status or 0), _first_line(error)) from None


def _connect(
    cloud: str, clouds_file: str, password: str | Secret | None, allow: Callable[[str, str, object], float]
) -> Connection:
    try:
        from keystoneauth1.session import Session, TCPKeepAliveAdapter  # noqa: PLC0415  an extra
        from openstack.config import OpenStackConfig  # noqa: PLC0415  an extra
        from openstack.connection import Connection  # noqa: PLC0415  an extra
        from openstack.exceptions import ConfigException  # noqa: PLC0415  an extra
    except ImportError:
        raise UsageError(_EXTRA) from None

    class Once(TCPKeepAliveAdapter):
        """A connection of its own for each request.

        uWSGI's http-socket closes one after its answer and does not say so. A pool hands it out again before that is seen,
        and the next request breaks: nobody knows then whether it was done.
        """

        def send(self, *args: Any, **kwargs: Any) -> Any:
            with closing(TCPKeepAliveAdapter()) as adapter:  # what the answer still holds is closed when that is read
                return adapter.send(*args, **kwargs)

    class Guarded(Session):
        """Every call of every service passes here."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            for scheme in ("http://", "https://"):
                self.session.mount(scheme, Once())

        def request(self, url: str, method: str, *args: Any, **kwargs: Any) -> Any:
            left = allow(method, url, kwargs.get("json"))
            kwargs["timeout"] = min(kwargs.get("timeout") or _ANSWER_SECONDS, left)
            return super().request(url, method, *args, **kwargs)

    if clouds_file and not Path(clouds_file).expanduser().is_file():
        raise UsageError(f"the clouds file {clouds_file} does not exist")
    plain = password.reveal() if isinstance(password, Secret) else password
    given: dict[str, Any] = {"auth": {"password": plain}} if plain else {}
    try:
        files = [str(Path(clouds_file).expanduser())] if clouds_file else None
        config = OpenStackConfig(config_files=files, session_constructor=Guarded)
        region = config.get_one(cloud=cloud, api_timeout=_ANSWER_SECONDS, **given)
        # where the login is answered, whatever the catalogue says: else a wrong entry of Keystone itself could not be corrected
        region.config.setdefault("identity_endpoint_override", region.config["auth"].get("auth_url"))
        return Connection(config=region)
    except ConfigException as error:
        raise UsageError(f"cloud {cloud!r}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return mask(lines[0]) if lines else type(error).__name__
