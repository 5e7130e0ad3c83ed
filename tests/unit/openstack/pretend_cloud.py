"""As much of a cloud's APIs as compute nodes and load balancers take, over HTTP, as the services' own code has them.

Nova 26 (api/openstack/compute: services, evacuate, migrate_server and their schemas), Placement, Neutron, Octavia 11. What it
is asked in another form than theirs it answers with 400. A move takes two looks to end.
"""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import NAMESPACE_DNS, uuid5

HOSTS = ("n1", "n2")
ROOM = {"VCPU": 8, "MEMORY_MB": 4096}
NEEDS = {"VCPU": 1, "MEMORY_MB": 512}
TYPES = ("identity", "compute", "placement", "network", "load-balancer")


def number(name: str) -> str:
    return str(uuid5(NAMESPACE_DNS, name))


class State:
    """What the cloud has."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {
            number(f"service {host}"): {"host": host, "status": "enabled", "up": True, "forced_down": False, "why": None}
            for host in HOSTS
        }
        self.providers = {number(host): host for host in HOSTS}
        self.servers: dict[str, dict[str, Any]] = {}
        self.given: dict[str, dict[str, dict[str, int]]] = {}  # consumer to provider to resources
        self.migrations: list[dict[str, Any]] = []
        self.agents = {number(f"agent {host}"): host for host in HOSTS}
        self.octavia: dict[str, dict[str, dict[str, Any]]] = {
            kind: {} for kind in ("loadbalancers", "listeners", "pools", "members", "healthmonitors")
        }
        self.floating: list[dict[str, Any]] = []
        self.pending = 0
        self.asked: list[tuple[str, str, Any]] = []

    def boot(self, name: str, host: str, status: str = "ACTIVE") -> None:
        one: dict[str, Any] = {
            "id": number(name),
            "name": name,
            "host": host,
            "status": status,
            "task": None,
            "next": None,
            "looks": 0,
        }
        self.servers[one["id"]] = one
        self.given[one["id"]] = {number(host): dict(NEEDS)}

    def at(self, host: str) -> dict[str, Any]:
        return next(one for one in self.services.values() if one["host"] == host)

    def away(self, host: str) -> str:
        """Where the scheduler sends an instance of this node."""
        there = (str(one["host"]) for one in self.services.values() if one["status"] == "enabled")
        return next((one for one in there if one != host), "")

    def look(self, one: dict[str, Any]) -> dict[str, Any]:
        """A server as the API shows it; a move ends at the second look."""
        one["looks"] += 1
        if one["next"] and one["looks"] > 1:
            one.update(one["next"], task=None, next=None)
        return {
            "id": one["id"],
            "name": one["name"],
            "status": one["status"],
            "image": {"id": number("image")},
            "OS-EXT-SRV-ATTR:host": one["host"],
            "OS-EXT-STS:task_state": one["task"],
        }

    def act(self, one: dict[str, Any], body: dict[str, Any], version: str) -> tuple[int, Any]:
        """Nova's actions on servers that compute nodes are emptied by."""
        host, away = one["host"], self.away(one["host"])
        if body == {"os-migrateLive": {"host": None, "block_migration": "auto"}} and version == "2.30":
            one.update(task="migrating", status="MIGRATING", next={"host": away, "status": "ACTIVE"}, looks=0)
            self.given[one["id"]] = {number(away): dict(NEEDS)}
        elif body == {"migrate": None} and one["status"] == "SHUTOFF":
            one.update(task="resize_prep", status="RESIZE", next={"host": away, "status": "VERIFY_RESIZE"}, looks=0)
            self.migrations.append(
                {"instance_uuid": one["id"], "source_compute": host, "status": "finished", "migration_type": "migration"}
            )
            self.given[one["id"]] = {number(away): dict(NEEDS)}
        elif body == {"confirmResize": None} and one["status"] == "VERIFY_RESIZE":
            one.update(next={"status": one.get("before", "SHUTOFF")}, looks=0)
            self.migrations = [each for each in self.migrations if each["instance_uuid"] != one["id"]]
        elif body == {"evacuate": {}} and version == "2.14" and not self.at(host)["up"]:
            one.update(task="rebuilding", status="REBUILD", next={"host": away, "status": one["status"]}, looks=0)
            self.migrations.append(
                {"instance_uuid": one["id"], "source_compute": host, "status": "done", "migration_type": "evacuation"}
            )
            self.given[one["id"]][number(away)] = dict(NEEDS)  # the dead node keeps its own
        else:
            return 400, {"badRequest": {"message": f"{body} {version} {one['status']}"}}
        return 202, None

    def service(self, key: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        """PUT (a body) or DELETE of a nova-compute."""
        one = self.services[key]
        if body is None:
            if any(each["host"] == one["host"] for each in self.servers.values()):
                return 409, {"conflictingRequest": {"message": "hosting instances"}}
            if not any(number(one["host"]) in given for given in self.given.values()):
                del self.providers[number(one["host"])]  # else Placement refuses it, and Nova goes on
            del self.services[key]
            return 204, None
        back = body.get("forced_down") is False
        if back and any(each["source_compute"] == one["host"] and each["status"] == "done" for each in self.migrations):
            return 400, {"badRequest": {"message": "evacuation records remain"}}
        if set(body) == {"forced_down"}:
            one.update(forced_down=body["forced_down"])
        elif body in ({"status": "enabled"}, {"status": "disabled", "disabled_reason": body.get("disabled_reason")}):
            one.update(status=body["status"], why=body.get("disabled_reason"))
        else:
            return 400, {"badRequest": {"message": str(body)}}
        return 200, {"service": {}}

    def services_shown(self) -> list[dict[str, Any]]:
        return [
            {
                "id": key,
                "host": one["host"],
                "binary": "nova-compute",
                "status": one["status"],
                "state": "up" if one["up"] and not one["forced_down"] else "down",
                "forced_down": one["forced_down"],
                "disabled_reason": one["why"],
            }
            for key, one in self.services.items()
        ]

    def stock(self, provider: str, what: str) -> tuple[int, Any]:
        """Placement's view of a provider."""
        if provider not in self.providers:
            return 404, {"errors": []}
        mine = {consumer: given[provider] for consumer, given in self.given.items() if provider in given}
        if what == "allocations":
            return 200, {"allocations": {consumer: {"resources": given} for consumer, given in mine.items()}}
        if what == "usages":
            return 200, {"usages": {kind: sum(given[kind] for given in mine.values()) for kind in ROOM}}
        rows = {kind: {"total": n, "reserved": 0, "allocation_ratio": 1.0} for kind, n in ROOM.items()}
        return 200, {"inventories": rows}

    def compute(self, method: str, path: str, query: dict[str, str], body: Any, version: str) -> tuple[int, Any]:
        words = path.strip("/").split("/")
        if words[0] == "os-services":
            return (200, {"services": self.services_shown()}) if method == "GET" else self.service(words[1], body)
        if words[0] == "os-hypervisors":
            found = [{"id": key, "service": {"host": host}} for key, host in self.providers.items()]
            return 200, {"hypervisors": found}
        if words[0] == "os-migrations":
            return 200, {"migrations": [each for each in self.migrations if query.items() <= each.items()]}
        if words[1] == "detail":
            return 200, {"servers": [] if "marker" in query else [self.look(one) for one in self.servers.values()]}
        if method == "POST":
            return self.act(self.servers[words[1]], body, version)
        return 200, {"server": self.look(self.servers[words[1]])}

    def placement(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        words = path.strip("/").split("/")
        if words[0] == "resource_providers":
            return self.provider(method, words[1:])
        if method == "PUT":
            if set(body) != {"allocations", "consumer_generation", "project_id", "user_id"}:
                return 400, {"errors": []}
            self.given[words[1]] = {rp: one["resources"] for rp, one in body["allocations"].items()}
            return 204, None
        given = {rp: {"resources": one, "generation": 1} for rp, one in self.given[words[1]].items()}
        return 200, {"allocations": given, "consumer_generation": 1, "project_id": "p", "user_id": "u"}

    def provider(self, method: str, words: list[str]) -> tuple[int, Any]:
        if not words:
            rows = [{"uuid": key, "name": host, "parent_provider_uuid": None} for key, host in self.providers.items()]
            return 200, {"resource_providers": rows}
        if method == "DELETE":
            if any(words[0] in given for given in self.given.values()):
                return 409, {"errors": [{"code": "placement.resource_provider.inuse"}]}
            del self.providers[words[0]]
            return 204, None
        return self.stock(words[0], words[1])

    def network(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        kind, _, key = path.strip("/").partition("/")
        if kind == "agents" and method == "DELETE":
            del self.agents[key]
            return 204, None
        if kind == "floatingips" and method == "POST":
            self.floating.append({"id": number("floating"), "floating_ip_address": "192.0.2.7", **body["floatingip"]})
            return 201, {"floatingip": self.floating[-1]}
        rows: dict[str, list[dict[str, Any]]] = {
            "agents": [{"id": key, "host": host, "binary": "neutron-openvswitch-agent"} for key, host in self.agents.items()],
            "subnets": [{"id": number("subnet"), "name": "test", "project_id": number("test")}],
            "networks": [{"id": number("public"), "name": "public"}],
            "floatingips": [one for one in self.floating if query.get("port_id") == one.get("port_id")],
        }
        if key:
            one = next((one for one in rows[kind] if one["id"] == key), None)
            return (200, {kind.removesuffix("s"): one}) if one else (404, {"NeutronError": {"message": "none", "type": "x"}})
        return 200, {kind: [one for one in rows[kind] if "name" not in query or one.get("name") == query["name"]]}

    def balance(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Octavia's: immutable (409) while a change is pending, which one look ends."""
        words = path.strip("/").split("/")[2:]  # v2.0/lbaas
        kind = words[2] if len(words) > 2 else words[0]
        key = words[3] if len(words) > 3 else words[1] if len(words) == 2 else ""
        parts = self.octavia[kind]
        if method == "GET":
            self.pending = max(self.pending - 1, 0) if kind == "loadbalancers" else self.pending
            rows = [self._status(one) for one in parts.values() if "name" not in query or one["name"] == query["name"]]
            return 200, ({kind.removesuffix("s"): self._status(parts[key])} if key else {kind: rows})
        if self.pending:
            return 409, {"faultstring": "immutable"}
        self.pending = 2
        if method == "DELETE":
            del parts[key]
            return 204, None
        ((_, words_),) = body.items()
        if method == "PUT":
            parts[key].update(words_)
            return 200, {kind.removesuffix("s"): parts[key]}
        return 201, {kind.removesuffix("s"): self._made(kind, words_)}

    def _status(self, one: dict[str, Any]) -> dict[str, Any]:
        return {**one, "provisioning_status": "PENDING_UPDATE" if self.pending else "ACTIVE", "operating_status": "OFFLINE"}

    def _made(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        one = {"id": number(f"{kind} {len(self.octavia[kind])} {body.get('address')}"), "name": "", **body}
        if kind == "loadbalancers":
            one |= {"vip_address": body.get("vip_address", "10.1.0.9"), "vip_port_id": number("vip")}
        if kind == "listeners":
            one["loadbalancers"] = [{"id": body["loadbalancer_id"]}]
        if kind == "pools":
            self.octavia["listeners"][body["listener_id"]]["default_pool_id"] = one["id"]
        if kind == "healthmonitors":
            self.octavia["pools"][body["pool_id"]]["healthmonitor_id"] = one["id"]
        self.octavia[kind][one["id"]] = one
        return one


class Server(BaseHTTPRequestHandler):
    """The services below one address, each at its type."""

    state: State

    def answer(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = self._answer(json.loads(raw) if raw else None)
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Subject-Token", "a-token")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, body: Any) -> tuple[int, Any]:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        top, _, path = parts.path.strip("/").partition("/")
        if self.command != "GET" and not path.endswith("auth/tokens"):
            self.state.asked.append((self.command, parts.path, body))
        version = (self.headers.get("OpenStack-API-Version") or "").rpartition(" ")[2]
        if top in {"identity", "v3"}:
            return self._identity(path, query)
        if not path or re.fullmatch(r"v[\d.]+", path):
            return 200, self._versions(top)
        path = re.sub(r"^v2\.[01]/", "", path) if top != "load-balancer" else path
        if top == "compute":
            return self.state.compute(self.command, path, query, body, version)
        if top == "placement":
            return self.state.placement(self.command, path, body)
        if top == "network":
            return self.state.network(self.command, path, query, body)
        return self.state.balance(self.command, path, query, body)

    @property
    def _base(self) -> str:
        return f"http://{self.headers['Host']}"

    def _identity(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path.endswith("auth/tokens"):
            catalog = [
                {
                    "type": kind,
                    "name": kind,
                    "id": kind,
                    "endpoints": [
                        {"interface": "public", "region": "r", "region_id": "r", "id": kind, "url": f"{self._base}/{kind}"}
                    ],
                }
                for kind in TYPES
            ]
            token = {"expires_at": "2100-01-01T00:00:00Z", "methods": [], "user": {"id": "u"}, "project": {"id": "p"}}
            return 201, {"token": {**token, "catalog": catalog}}
        if "projects" in path:
            one = {"id": number("test"), "name": "test"}
            if path.endswith("projects"):
                return 200, {"projects": [one] if query.get("name", "test") == "test" else []}
            return 404, {"error": {"message": "none", "code": 404}}
        links = [{"rel": "self", "href": f"{self._base}/identity/v3"}]
        return 200, {"version": {"id": "v3.14", "status": "stable", "links": links}}

    def _versions(self, top: str) -> Any:
        ids = {"compute": "v2.1", "placement": "v1.0", "network": "v2.0", "load-balancer": "v2.0"}
        own = {"compute": "v2.1", "placement": "", "network": "v2.0", "load-balancer": "v2"}[top]
        micro = {"compute": ("2.1", "2.93"), "placement": ("1.0", "1.39")}.get(top, ("", ""))
        one = {"id": ids[top], "status": "CURRENT", "min_version": micro[0], "version": micro[1], "max_version": micro[1]}
        return {"versions": [{**one, "links": [{"rel": "self", "href": f"{self._base}/{top}/{own}".rstrip("/")}]}]}

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base's
        pass


for method in ("GET", "POST", "PUT", "DELETE"):
    setattr(Server, f"do_{method}", Server.answer)


class Pretend:
    """A cloud that runs until it is closed."""

    def __init__(self) -> None:
        self.state = State()
        handler = type("Handler", (Server,), {"state": self.state})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
