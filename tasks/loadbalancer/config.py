"""HAProxy's configuration as the inventory alone gives it: who stands behind which listener, and the text. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import UsageError
from nornir_stack.select import nearest, role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.settings import Galera
from nornir_stack.tasks.loadbalancer.settings import Listener, LoadBalancer
from nornir_stack.tasks.system.templates import render

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from nornir.core.inventory import Host, Inventory

CONFIG = "/etc/haproxy/haproxy.cfg"
CHROOT = "/var/lib/haproxy"
STATE_FILE = f"{CHROOT}/server-state"
DATABASE_PORT = 3306


@dataclass(frozen=True)
class Server:
    """A member behind a listener. `ends_others`: when it comes back, sessions on members that stood in for it end.

    `tracks`: the listener whose check of the same member serves this one too; '' where it has its own.
    """

    name: str
    address: str
    weight: int
    backup: bool = False
    ends_others: bool = False
    tracks: str = ""


def servers(listener: Listener, inventory: Inventory) -> tuple[Server, ...]:
    """The members behind a listener, in declared order. Raises InventoryError for one without Galera settings."""
    names = role(listener.members_role).hosts(inventory)
    writer = listener.mode == "single-writer"
    return tuple(
        Server(
            name,
            endpoint(settings_of(inventory.hosts[name], Galera).address, DATABASE_PORT),
            listener.weights.get(name, 1),
            backup=writer and place > 0,
            # the last one stands in for nobody
            ends_others=writer and place < len(names) - 1,
        )
        for place, name in enumerate(names)
    )


def configuration(host: Host, inventory: Inventory) -> str:
    """The text of haproxy.cfg for a load balancer. Raises UsageError (InventoryError) before anything is touched."""
    mine = settings_of(host, LoadBalancer)
    listeners = [_listener(mine, name, listener, inventory) for name, listener in mine.listeners.items()]
    values: dict[str, Any] = {
        "chroot": CHROOT,
        "stats_socket": mine.stats_socket,
        "state_file": STATE_FILE,
        "listeners": _one_check_each(listeners),
    }
    without = render("haproxy.cfg.j2", template_text("haproxy.cfg.j2"), {**values, "mark": "-"})
    return render("haproxy.cfg.j2", template_text("haproxy.cfg.j2"), {**values, "mark": mark(without)})


def mark(text: str) -> str:
    """What tells one configuration from another, in a word."""
    return f"nornir-stack-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def mark_in(text: str) -> str:
    """The mark that stands in a configuration."""
    return next(line.split()[1] for line in text.splitlines() if line.startswith("    description "))


def _listener(mine: LoadBalancer, name: str, listener: Listener, inventory: Inventory) -> dict[str, Any]:
    behind = servers(listener, inventory)
    if not behind:
        known = set(inventory.groups) - {listener.members_role}
        hint = nearest(listener.members_role, known)
        raise UsageError(f"listener {name}: no members: no host has the role {listener.members_role!r}{hint}")
    return {
        "name": name,
        "bind": endpoint(mine.virtual_address, listener.port),
        "writer": listener.mode == "single-writer",
        "balance": listener.balance,
        "check_path": "/donor-ok" if listener.donors else "/",
        "check_port": listener.check_port,
        "servers": behind,
    }


def _one_check_each(listeners: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A member is asked once, however many listeners it stands behind: each question costs it a process."""
    first: dict[tuple[object, ...], str] = {}
    found = []
    for listener in listeners:
        asked = (listener["check_path"], listener["check_port"])
        known = [(server, first.setdefault((*asked, server.address), listener["name"])) for server in listener["servers"]]
        own = [replace(server, tracks="" if by == listener["name"] else by) for server, by in known]
        found.append({**listener, "servers": own})
    return found


def endpoint(address: IPv4Address | IPv6Address, port: int) -> str:
    """`10.0.0.1:3306`, `[fd00::1]:3306`."""
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"  # noqa: PLR2004  IP version 6


def listener_of(inventory: Inventory, name: str, host: Host | None = None) -> tuple[LoadBalancer, Listener]:
    """The listener of that name, of `host` if it is a load balancer, else of the first that has it. Raises UsageError."""
    balancers = [inventory.hosts[one] for one in role("loadbalancer").hosts(inventory)]
    if host is not None and host in balancers:
        balancers = [host]
    known: list[str] = []
    for balancer in balancers:
        mine = settings_of(balancer, LoadBalancer)
        if name in mine.listeners:
            return mine, mine.listeners[name]
        known += mine.listeners
    raise UsageError(f"no load balancer has a listener {name!r}{nearest(name, known)}")


def template_text(name: str) -> str:
    return files("nornir_stack.tasks.loadbalancer").joinpath(f"templates/{name}").read_text()
