"""The port of a member where load balancers ask whether it may have traffic; and the flag that drains it there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.errors import ConnectionFailed
from nornir_stack.node import Node
from nornir_stack.select import role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.settings import Galera
from nornir_stack.tasks.loadbalancer.config import endpoint, template_text
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.firewall import firewall
from nornir_stack.tasks.system.kernel import sysctl
from nornir_stack.tasks.system.services import service
from nornir_stack.tasks.system.templates import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.inventory import Host, Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result

SCRIPT = "/usr/local/sbin/galera-health"
SOCKET = "galera-health.socket"
UNITS = "/etc/systemd/system"
DRAIN_FLAG = "/run/galera-health.drained"
NOTICE_SECONDS = 4.0  # a load balancer, that a member is drained: two health checks (inter, fastinter, fall of haproxy.cfg)
_ANSWER_SECONDS = 10.0
_RETRIES = 6  # 0.2 seconds, doubled six times (tcp(7), tcp_retries2)


@dataclass(frozen=True)
class Health:
    """What a member answered. `status` is HTTP's (200: may have traffic, 0: no answer), `says` the sentence."""

    status: int
    says: str

    @property
    def good(self) -> bool:
        return self.status == 200  # noqa: PLR2004  HTTP: OK


def health_endpoint(task: Task) -> Result[tuple[int, ...]] | Result[None]:
    """Answer on the check ports of all listeners that this member stands behind; the value is those ports.

    A socket unit of systemd starts a shell script for each question, so nothing runs in between. It asks the server
    through its unix socket: MariaDB as the system user `mysql`, whom a fresh server lets in without a password; Percona as
    root. Nothing is made in the database, and it answers (503) while there is none.
    """
    node = Node(task)
    ports = check_ports(task.host, task.nornir.inventory)
    if not ports:
        return node.skipped("no listener of a load balancer has this host as a member")
    galera = settings_of(task.host, Galera)
    mariadb = galera.product == "mariadb"
    values = {
        "client": "mariadb" if mariadb else "mysql",
        "user": "mysql" if mariadb else "root",
        "socket": family(node).path("mariadb-socket"),
        "drain_flag": DRAIN_FLAG,
        "script": SCRIPT,
        "listens": [endpoint(galera.address, port) for port in ports],
    }
    node.write_file(SCRIPT, _text("galera-health", values), mode="0755")
    stale = node.write_file(f"{UNITS}/galera-health@.service", _text("galera-health@.service", values))
    moved = node.write_file(f"{UNITS}/{SOCKET}", _text(SOCKET, values))
    if stale or moved:
        node.change("systemctl", "daemon-reload", repeatable=True)
    if moved:
        node.change("systemctl", "try-restart", SOCKET, repeatable=True)
    node.then(service, unit=SOCKET, state="started", enabled=True)
    return node.done(ports)


def health(task: Task, *, donors: bool = False) -> Result[Health]:
    """Observe: ask the member as a load balancer would (`donors`: as a listener that lets donors keep their traffic)."""
    node = Node(task)
    ports = check_ports(task.host, task.nornir.inventory) or (9200,)
    address = str(settings_of(task.host, Galera).address)
    path = "/donor-ok" if donors else "/"
    return node.done(node.gate.look(f"ask {address}:{ports[0]}{path}", lambda: _ask(node, address, ports[0], path)))


def drain_flag(task: Task, *, drained: bool) -> Result[bool]:
    """Have the member answer 503 to every load balancer, or no longer. The flag is gone after a boot."""
    node = Node(task)
    if drained:
        node.write_file(DRAIN_FLAG, "")
    else:
        node.remove_file(DRAIN_FLAG)
    return node.done(drained)


def check_ports(host: Host, inventory: Inventory) -> tuple[int, ...]:
    """The check ports of the listeners of all load balancers that have `host` as a member, sorted."""
    balancers = [settings_of(inventory.hosts[name], LoadBalancer) for name in role("loadbalancer").hosts(inventory)]
    listeners = [listener for balancer in balancers for listener in balancer.listeners.values()]
    return tuple(sorted({one.check_port for one in listeners if host.has_parent_group(one.members_role)}))


def open_to_balancers(task: Task) -> Result[None]:
    """The database's port and the health endpoints open for the load balancers, where a firewall is."""
    node = Node(task)
    inventory = task.nornir.inventory
    balancers = [str(inventory.hosts[name].hostname) for name in role("loadbalancer").hosts(inventory)]
    ports = ["3306/tcp", *(f"{port}/tcp" for port in check_ports(task.host, inventory))]
    opened = firewall(task, purpose="balancers", ports=ports, sources=balancers)
    return node.skipped(opened.skipped) if opened.skipped else node.done()


def notice_dead_balancers(task: Task) -> Result[None]:
    """Have the member's kernel give up a balancer that vanished amid an answer after 25 seconds; its default is 15 minutes.

    Until then the session keeps its locks, and whoever comes through the other balancer waits for them. One that vanished
    between answers is noticed by the server's own keepalives. Skipped where no balancers share an address.
    """
    node = Node(task)
    inventory = task.nornir.inventory
    balancers = [settings_of(inventory.hosts[name], LoadBalancer) for name in role("loadbalancer").hosts(inventory)]
    if not any(balancer.keepalived for balancer in balancers):
        return node.skipped("no load balancers share an address")
    sysctl(task, values={"net.ipv4.tcp_retries2": _RETRIES}, label="balancers")
    return node.done()


def parse(answer: bytes) -> Health:
    """Status and sentence from the status line."""
    words = answer.decode("utf-8", "replace").partition("\n")[0].split(None, 2)
    if len(words) < 2 or not words[1].isdigit():  # noqa: PLR2004  protocol and status
        return Health(0, "it closed the connection without an answer")
    return Health(int(words[1]), words[2].strip() if len(words) > 2 else "")  # noqa: PLR2004  protocol, status, sentence


def _ask(node: Node, address: str, port: int, path: str) -> Health:
    try:
        link = node.connection.open_socket((address, port))
    except ConnectionFailed:
        if not node.connection.alive:
            raise
        return Health(0, f"nothing listens on {address}:{port}")
    with link:
        link.settimeout(_ANSWER_SECONDS)
        link.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while piece := link.recv(4096):
            answer += piece
    return parse(answer)


def _text(name: str, values: Mapping[str, object]) -> str:
    return render(f"{name}.j2", template_text(f"{name}.j2"), values)
