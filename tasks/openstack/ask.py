"""Who answers at a URL, as a node sees it: asked over HTTP through the node's own connection, with no program on it."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nornir_stack.errors import ConnectionFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir_stack.node import Node

_SECONDS = 20.0
_MOST = 1 << 16
_PORTS = {"http": 80, "https": 443}
_CHOICES = 300  # HTTP: Multiple Choices


@dataclass(frozen=True)
class Base:
    """The part of a URL that says where a service listens."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """What came back: `kind` is the type of the service that it speaks for, '' for none that is known.

    `status` is HTTP's, 0 for no answer; then `why` is a sentence.
    """

    kind: str = ""
    status: int = 0
    why: str = ""


def base_of(url: str) -> Base:
    """Scheme, host and port of an endpoint's URL, whose path may hold `%(tenant_id)s`. Raises UsageError for no URL."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UsageError(f"{url!r} is no URL of a service, such as http://10.0.0.11:8080/v1")
    return Base(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])


def path_of(url: str) -> str:
    """Everything after host and port, `%(tenant_id)s` as it is."""
    return url.partition("://")[2].partition("/")[2]


def ask(node: Node, base: Base, path: str = "/") -> Answer:
    """GET `path` from there, as the node reaches it. What does not answer is an answer too; raises only if the node is gone.

    A certificate is not judged: whose service it is is seen by what it says.
    """
    try:
        status, headers, body = node.gate.look(f"GET {base}{path}", lambda: _get(node, base, path))
    except ConnectionFailed as error:
        if not node.connection.alive:
            raise
        return Answer(why=_reason(base, str(error)))
    except (HTTPException, OSError) as error:
        return Answer(why=f"what listens on {base.host}:{base.port} speaks no {base.scheme.upper()} ({type(error).__name__})")
    return Answer(kind_of(status, headers, body), status)


def _get(node: Node, base: Base, path: str) -> tuple[int, Mapping[str, str], bytes]:
    plug = node.connection.open_socket((base.host, base.port))
    try:
        plug.settimeout(_SECONDS)
        if base.scheme == "https":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            plug = context.wrap_socket(plug, server_hostname=base.host)
        link = HTTPConnection(base.host, base.port)
        link.sock = plug
        link.request("GET", path, headers={"Connection": "close", "Accept": "application/json"})
        answer = link.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read(_MOST)
    finally:
        plug.close()


def _reason(base: Base, said: str) -> str:
    if "refused" in said.lower():
        return f"nothing listens on {base.host}:{base.port}"
    return f"{base.host}:{base.port} does not answer"


def kind_of(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """The type of the OpenStack service that gave this answer to `GET /` or `GET /v3`; '' for none that is known. Pure.

    Each says which versions it has, in its own words; Swift numbers every request (`X-Trans-Id`).
    """
    if headers.get("x-trans-id", "").startswith("tx"):
        return "object-store"
    try:
        said: Any = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(said, dict):
        return ""
    versions = said.get("versions", [said["version"]] if "version" in said else None)
    if isinstance(versions, dict):
        versions = versions.get("values")
    if not isinstance(versions, list) or not all(isinstance(each, dict) for each in versions) or not versions:
        return ""
    return _kind(status, said, versions)


def _kind(status: int, said: dict[str, Any], versions: list[dict[str, Any]]) -> str:
    media = str([each.get("media-types") for each in versions])
    ids = {str(each.get("id")) for each in versions}
    links = str([each.get("links") for each in versions])
    rules = (
        ("identity", "openstack.identity" in media),
        ("volume", "openstack.volume" in media),
        ("metric", "build" in said and ids == {"v1.0"}),
        ("placement", ids == {"v1.0"} and "max_version" in versions[0]),
        ("compute", "v2.1" in ids and any("min_version" in each for each in versions)),
        ("network", ids == {"v2.0"}),
        ("image", status == _CHOICES and "v2.0" in ids and "/v2/" in links),
        ("load-balancer", "v2.0" in ids and all("updated" in each for each in versions)),
        ("orchestration", ids == {"v1.0"} and "/v1/" in links),
    )
    return next((kind for kind, holds in rules if holds), "")
