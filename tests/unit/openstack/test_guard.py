"""The session of a cloud against a real HTTP server on this machine, and a host without a shell in a chain."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import MSG_PEEK
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from nornir_stack.chain import Chain, Stage
from nornir_stack.connections.openstack import Api
from nornir_stack.errors import ApiFailed, ConnectionFailed, Refused, TimedOut, UsageError
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.results import Result, Status
from nornir_stack.secret import Secret
from nornir_stack.select import everyone
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nornir.core.task import Task
    from openstack.connection import Connection

    Asked = list[tuple[str, str]]

pytest.importorskip("openstack")
# openstacksdk says of its own calls and defaults that they will go
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


class Server(BaseHTTPRequestHandler):
    """As much of an API as a token and one answer take."""

    asked: ClassVar[Asked] = []

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, self.path))
        token = {"token": {"expires_at": "2100-01-01T00:00:00Z", "methods": [], "user": {}, "catalog": [], "project": {}}}
        status = 201 if self.path.endswith("/auth/tokens") else 409 if self.path == "/conflict" else 200
        body = json.dumps(token).encode()
        self.send_response(status)
        self.send_header("X-Subject-Token", "a-token")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base's
        pass


class Closing(Server):
    """As uWSGI's http-socket: HTTP/1.1, which promises to go on, and the connection is closed after each answer."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        super().answer()
        self.close_connection = True


class Late(Closing):
    """That close as a client sees it that was faster: its next request meets a connection that ends."""

    met: ClassVar[Asked] = []

    def answer(self) -> None:
        super().answer()
        self.wfile.flush()
        if self.connection.recv(1, MSG_PEEK):
            self.met.append((self.command, self.path))


for each in (Server, Closing, Late):
    for method in ("GET", "POST", "PATCH", "DELETE"):
        setattr(each, f"do_{method}", each.answer)


@contextmanager
def serving(handler: type[Server]) -> Iterator[str]:
    """The URL of a server that runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Server.asked = []
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A clouds.yaml for a server that runs, and the server's URL."""
    with serving(Server) as url:
        yield written(tmp_path, url), url


def written(folder: Path, url: str) -> Path:
    auth = f"{{auth_url: {url}/v3, username: u, project_name: p, user_domain_name: Default, project_domain_name: Default}}"
    (folder / "clouds.yaml").write_text(f"clouds:\n  one:\n    auth: {auth}\n")
    return folder / "clouds.yaml"


def test_a_look_sends_only_get_and_the_login(clouds: tuple[Path, str]) -> None:
    """POST, PATCH and DELETE reach the server within `act` and at no other time, before or after it."""
    path, url = clouds
    api = Api("one", str(path), Secret(literal="a-password"))
    assert api.look(lambda c: c.session.get(f"{url}/x").status_code) == 200
    for method in ("post", "patch", "delete"):
        with pytest.raises(Refused, match=f"about to send {method.upper()}"):
            api.look(lambda c, method=method: getattr(c.session, method)(f"{url}/x"))  # type: ignore[misc]
    api.act(lambda c: c.session.delete(f"{url}/x"))
    with pytest.raises(Refused):
        api.look(lambda c: c.session.delete(f"{url}/x"))
    api.close()
    sent = [(method, path) for method, path in Server.asked if method != "GET"]
    assert sent == [("POST", "/v3/auth/tokens"), ("DELETE", "/x")]


class Slow(Server):
    """One that takes its time for /x."""

    release: ClassVar[Event]

    def answer(self) -> None:
        if self.path == "/x":
            self.release.wait(20)
        super().answer()


for method in ("GET", "POST"):
    setattr(Slow, f"do_{method}", Slow.answer)


def test_requests_end_by_the_deadline(tmp_path: Path) -> None:
    """The seconds are for all requests of a call together: the one that is on its way is ended, and none is sent after."""
    Slow.release = Event()
    with serving(Slow) as url, closing(Api("one", str(written(tmp_path, url)), "a-password")) as api:
        assert api.look(lambda cloud: cloud.session.get(f"{url}/w")).status_code == 200
        began = time.monotonic()
        with pytest.raises(TimedOut, match="no answer by the deadline"):
            api.look(lambda cloud: cloud.session.get(f"{url}/x"), seconds=0.3)

        def late(cloud: Connection) -> None:
            time.sleep(0.1)
            cloud.session.post(f"{url}/y")

        with pytest.raises(TimedOut, match="the deadline had passed before: POST"):
            api.act(late, seconds=0.05)
        assert time.monotonic() - began < 10  # and not the 20 that an answer takes
        Slow.release.set()
        assert api.look(lambda cloud: cloud.session.get(f"{url}/x")).status_code == 200
    assert "/y" not in [path for _, path in Server.asked]


@pytest.mark.parametrize("handler", [Closing, Late])
def test_a_server_that_closes_after_each_answer(tmp_path: Path, handler: type[Server]) -> None:
    """Whatever it says of that, every change arrives once and none is in doubt; nor is a look within one, nor the login."""
    Late.met = []
    with serving(handler) as url, closing(Api("one", str(written(tmp_path, url)), "a-password")) as api:

        def change(cloud: Connection) -> None:
            cloud.session.get(f"{url}/x")
            cloud.session.post(f"{url}/x")
            cloud.session.patch(f"{url}/x")

        for _ in range(200):
            api.act(change)
    assert Counter(Server.asked) == {("POST", "/v3/auth/tokens"): 1, ("GET", "/v3"): 1} | dict.fromkeys(
        [("GET", "/x"), ("POST", "/x"), ("PATCH", "/x")], 200
    )
    assert Late.met == []


def test_errors_speak_our_words(clouds: tuple[Path, str], tmp_path: Path) -> None:
    """An answer that is an error keeps HTTP's status; no answer is a connection that failed; an unknown cloud is usage."""
    path, url = clouds
    api = Api("one", str(path), "a-password")
    with pytest.raises(ApiFailed) as failed:
        api.act(lambda c: c.session.post(f"{url}/conflict"))
    assert failed.value.status == 409
    api.close()
    with pytest.raises(UsageError, match="cloud 'two'"):
        Api("two", str(path))
    with pytest.raises(UsageError, match="does not exist"):
        Api("one", str(tmp_path / "nothing.yaml"))
    written(tmp_path, "http://127.0.0.1:1")
    away = Api("one", str(tmp_path / "clouds.yaml"), "a-password")
    with pytest.raises(ConnectionFailed):
        away.look(lambda c: c.session.get("http://127.0.0.1:1/x"))
    away.close()


def test_a_cloud_in_a_chain(clouds: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host has no shell: it is locked by nobody, and a task that asks for a command is told so. A dry run sends nothing."""
    path, url = clouds
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    api = Api("one", str(path), "a-password")

    def delete(task: Task) -> Result[Any]:
        node = Node(task)
        cloud = Cloud(node)
        cloud.read("x", lambda c: c.session.get(f"{url}/x").status_code)
        cloud.change("delete x", lambda c: c.session.delete(f"{url}/x"))
        return node.done()

    def command(task: Task) -> Result[None]:
        node = Node(task)
        node.read("true")
        return node.done()

    monkeypatch.setattr("nornir_stack.openstack.api", lambda _host, _config: api)
    nr = fleet({"cloud": ["cloud1"]}, {"cloud1": {"connection": "openstack"}})
    plan = Chain("c", Stage("s", [delete], everyone)).run(nr, dry_run=True)
    assert plan.changed == ("s cloud1: delete x",)
    assert ("DELETE", "/x") not in Server.asked
    assert Chain("c", Stage("s", [delete], everyone)).run(nr).ok
    assert ("DELETE", "/x") in Server.asked
    host = Chain("c", Stage("s", [command], everyone)).run(nr).stage("s").host("cloud1")
    assert (host.status, "reached by openstack" in host.error) == (Status.FAILED, True)
    api.close()
