"""Who answers at the virtual address: connections through a listener, each telling which member it came to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Literal

import pymysql

from nornir_stack.errors import ConnectionFailed, UsageError
from nornir_stack.node import Node
from nornir_stack.secret import mask
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.settings import Galera, User
from nornir_stack.tasks.loadbalancer.config import listener_of, servers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.inventory import Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.loadbalancer.settings import Listener

_SECONDS = 10


@dataclass(frozen=True)
class Turns:
    """What connections through a listener came to: the member of each, in order; `failures` are sentences.

    `members` are those that the listener has, those of weight 0 left out.
    """

    listener: str
    mode: Literal["balanced", "single-writer"]
    members: tuple[str, ...]
    answered: tuple[str, ...]
    failures: tuple[str, ...] = ()


def members_through(task: Task, *, listener: str, tries: int = 0, user: str = "") -> Result[Turns]:
    """Observe: connect through the virtual address from this node, and see which member answered each time.

    `tries` is twice the number of members if not given; `user` one of `galera: users:`, by default the first that may
    log in from anywhere, else from this host's `hostname`. Raises UsageError for a listener or user that the inventory does
    not have.
    """
    node = Node(task)
    inventory = task.nornir.inventory
    balancer, wanted = listener_of(inventory, listener, task.host)
    behind = servers(wanted, inventory)
    login = login_from(str(task.host.hostname), settings_of(inventory.hosts[behind[0].name], Galera).users, user)
    names = _by_address(wanted, inventory)
    target = (str(balancer.virtual_address), wanted.port)
    answered, failures = [], []
    for _ in range(tries or 2 * len(behind)):
        try:
            answered.append(node.gate.look(f"connect to {target[0]}:{target[1]}", lambda: _who(node, target, login, names)))
        except (pymysql.MySQLError, OSError) as error:
            failures.append(mask(str(error.args[-1] if error.args else error)))
        except ConnectionFailed as error:
            if not node.connection.alive:
                raise
            failures.append(str(error))
            break  # nothing is there, and each try would wait for the network to say so
    members = tuple(server.name for server in behind if server.weight)
    return node.done(Turns(listener, wanted.mode, members, tuple(answered), tuple(failures)))


def right_ones_answer(seen: Seen[Turns]) -> list[str]:
    """Through a balanced listener all members answer in turn, through a single-writer one exactly one does, and none fails."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, turns in seen.items():
        problems += [f"{host}: {turns.listener}: {problem}" for problem in wrong(turns)]
    return problems


def wrong(turns: Turns) -> list[str]:
    """What is wrong with what was seen through one listener."""
    tries = len(turns.answered) + len(turns.failures)
    problems = []
    if turns.failures:
        problems.append(f"{len(turns.failures)} of {tries} connections failed: {turns.failures[0]}")
    came = set(turns.answered)
    silent = [name for name in turns.members if name not in came]
    if turns.mode == "balanced" and silent:
        problems.append(f"{', '.join(silent)} never answered in {tries} connections")
    if turns.mode == "single-writer" and len(came) > 1:
        problems.append(f"one member should take all, and {', '.join(sorted(came))} answered")
    strangers = sorted(came - set(turns.members))
    if strangers:
        problems.append(f"{', '.join(strangers)} answered and is no member of the listener")
    return problems


def login_from(address: str, users: Sequence[User], name: str = "") -> User:
    """The user to connect as: the one of this name, else the first that may log in from anywhere, else from `address`.

    Raises UsageError where there is none.
    """
    found = [user for user in users if user.name == name]
    if not name:
        found = [user for user in users if user.host == "%"] + [user for user in users if may_come(user.host, address)]
    if not found:
        what = f"user {name!r}" if name else f"user that may log in from {address} (its `host`, or '%')"
        raise UsageError(f"galera.users has no {what}: a connection through the listener needs one")
    return found[0]


def may_come(pattern: str, address: str) -> bool:
    """Whether the host of an account (MariaDB manual, "Account Names") lets this address in: `%` and `_`, or a netmask."""
    if "/" in pattern:
        network, _, mask = pattern.partition("/")
        try:
            return ip_address(address) in ip_network(f"{network}/{mask}")
        except ValueError:
            return False
    wanted = re.escape(pattern).replace("%", ".*").replace("_", ".")
    return re.fullmatch(wanted, address, re.IGNORECASE) is not None


def _by_address(listener: Listener, inventory: Inventory) -> dict[str, str]:
    """Address to the inventory's name: a cluster that was formed by hand may have other names for its members."""
    names = [server.name for server in servers(listener, inventory)]
    return {str(settings_of(inventory.hosts[name], Galera).address): name for name in names}


def _who(node: Node, target: tuple[str, int], login: User, names: dict[str, str]) -> str:
    plug = node.connection.open_socket(target)
    try:
        link: pymysql.Connection[pymysql.cursors.Cursor] = pymysql.Connection(
            user=login.name,
            password=login.password.reveal(),
            connect_timeout=_SECONDS,
            read_timeout=_SECONDS,
            write_timeout=_SECONDS,
            defer_connect=True,
        )
        plug.settimeout(_SECONDS)
        link.connect(plug)
        with link, link.cursor() as cursor:
            cursor.execute("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('wsrep_node_name', 'wsrep_node_address', 'hostname')")
            seen = dict(cursor.fetchall())
    finally:
        plug.close()
    address = str(seen.get("wsrep_node_address", "")).partition(":")[0]
    return names.get(address) or str(seen.get("wsrep_node_name") or seen["hostname"])
