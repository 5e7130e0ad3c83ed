"""HAProxy while it runs, through its statistics socket: which servers are up, and taking one out of service."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from nornir_stack.command import command
from nornir_stack.errors import ConnectionFailed, Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer.config import servers
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

State: TypeAlias = Literal["ready", "drain", "maint"]
_ANSWER_SECONDS = 10.0
# srv_admin_state of `show servers state`, management guide 9.3: forced, inherited, from the configuration...
_MAINT, _DRAIN = 0x01 | 0x02 | 0x04 | 0x20 | 0x40, 0x08 | 0x10


@dataclass(frozen=True)
class Server:
    """A server behind a listener, as HAProxy sees it. `status` is its word (`UP`, `DOWN 1/2`...), `state` what people set.

    `says` is what the last health check brought; `sessions` are those open now, `total` all since it began.
    """

    listener: str
    name: str
    address: str
    status: str
    state: State
    weight: int
    backup: bool
    says: str
    sessions: int
    total: int

    @property
    def up(self) -> bool:
        """It gets traffic, and a health check said so (`UP 1/2` is a guess at the start, or a check that just failed)."""
        return self.status == "UP" and self.state == "ready"


@dataclass(frozen=True)
class Backends:
    """All servers of a load balancer; `wanted` are listener and member as the inventory has them.

    `running`: whether HAProxy answered at its socket.
    """

    running: bool
    servers: tuple[Server, ...]
    wanted: tuple[tuple[str, str], ...]


def backends(task: Task) -> Result[Backends]:
    """Observe the servers behind all listeners, in one round trip."""
    node = Node(task)
    mine = settings_of(task.host, LoadBalancer)
    inventory = task.nornir.inventory
    wanted = tuple((name, one.name) for name, listener in mine.listeners.items() for one in servers(listener, inventory))
    said = look(node, mine, "show stat; show servers state")
    return node.done(Backends(said is not None, () if said is None else parse(said), wanted))


def set_server(task: Task, *, server: str, state: State) -> Result[tuple[str, ...]]:
    """Put a member out of service or back, behind every listener that has it; the value is those listeners.

    `drain`: it gets no new connections and keeps those it has, but for a single-writer listener, whose sessions end so
    that they move to the next member together. `maint`: out altogether, not even checked. `ready`: as the check says.
    It outlives a reload by these tasks, not a restart of HAProxy. Raises Refused where no listener has such a server.
    """
    if state not in {"ready", "drain", "maint"}:
        raise UsageError(f"the state of a server is ready, drain or maint, not {state!r}")
    node = Node(task)
    mine = settings_of(task.host, LoadBalancer)
    said = look(node, mine, "show stat; show servers state")
    if said is None:
        raise Refused(f"{node.name}: haproxy does not answer at {mine.stats_socket}: run loadbalancer.deploy first")
    known = parse(said)
    found = [one for one in known if one.name == server]
    if not found:
        names = ", ".join(sorted({one.name for one in known})) or "none"
        raise Refused(f"{node.name}: no listener has a server {server}; there are: {names}")
    writers = {name for name, listener in mine.listeners.items() if listener.mode == "single-writer"}
    for one in found:
        if one.state != state:
            lines = [f"set server {one.listener}/{one.name} state {state}"]
            if state == "drain" and one.listener in writers:
                lines.append(f"shutdown sessions server {one.listener}/{one.name}")
            tell(node, mine, lines, diff=f"--- {one.listener}/{server}\n+++ {one.listener}/{server}\n-{one.state}\n+{state}\n")
    return node.done(tuple(one.listener for one in found))


def all_up(seen: Seen[Backends]) -> list[str]:
    """Every member is up behind every listener of every load balancer."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, now in seen.items():
        problems += [f"{host}: {problem}" for problem in not_up(now)]
    return problems


def not_up(now: Backends) -> list[str]:
    """What keeps members of one load balancer from traffic, a sentence each."""
    if not now.running:
        return ["haproxy does not answer at its statistics socket"]
    found = {(one.listener, one.name): one for one in now.servers}
    problems = []
    for listener, member in now.wanted:
        one = found.get((listener, member))
        if one is None:
            problems.append(f"{listener}: {member} is not behind it: what runs is an older configuration")
        elif one.state != "ready":
            problems.append(f"{listener}: {member} was set to {one.state}")
        elif not one.up:
            problems.append(f"{listener}: {member} is {one.status}" + (f": {one.says}" if one.says else ""))
    return problems


def parse(said: str) -> tuple[Server, ...]:
    """The servers from what `show stat; show servers state` prints: CSV, a blank line, a table (management guide 9.1, 9.3)."""
    table, _, states = said.lstrip().partition("\n\n")
    admin = {(row["be_name"], row["srv_name"]): int(row["srv_admin_state"]) for row in parse_states(states)}
    rows = csv.DictReader(table.removeprefix("# ").splitlines())
    return tuple(
        Server(
            row["pxname"],
            row["svname"],
            row["addr"],
            row["status"],
            state_of(admin.get((row["pxname"], row["svname"]), 0), row["status"]),
            int(row["weight"] or 0),
            row["bck"] == "1",
            _check(row),
            int(row["scur"] or 0),
            int(row["stot"] or 0),
        )
        for row in rows
        if row["type"] == "2"
    )


def parse_states(text: str) -> list[dict[str, str]]:
    """The rows of `show servers state` by the names in its header."""
    lines = [line for line in text.splitlines() if line.strip()]
    header = next((line for line in lines if line.startswith("# be_id")), "")
    names = header.removeprefix("# ").split()
    return [dict(zip(names, line.split(), strict=False)) for line in lines if header and line[0].isdigit() and " " in line]


def state_of(admin: int, status: str) -> State:
    """What people, or the configuration, set a server to."""
    if admin & _MAINT or status.startswith("MAINT"):
        return "maint"
    return "drain" if admin & _DRAIN else "ready"


def _check(row: dict[str, str]) -> str:
    text = row.get("last_chk") or row.get("check_desc") or ""
    return " ".join(filter(None, [row.get("check_status", "").lstrip("* "), row.get("check_code", ""), text])).strip()


def look(node: Node, mine: LoadBalancer, line: str, *, independent: bool = False) -> str | None:
    """What HAProxy answers to a command that only shows, or None where it does not run."""
    return node.gate.look(f"haproxy: {line}", lambda: ask(node, mine, line), independent=independent)


def tell(node: Node, mine: LoadBalancer, lines: Iterable[str], *, diff: str) -> None:
    """Send commands that change something. Raises Refused with what HAProxy said against one."""

    def send() -> None:
        for line in lines:
            said = ask(node, mine, line)
            if said is None or said.strip():
                raise Refused(f"{node.name}: haproxy refused `{line}`: {(said or 'it does not answer').strip()}")

    node.gate.effect("haproxy: " + "; ".join(lines), send, diff=diff, repeatable=True)


def ask(node: Node, mine: LoadBalancer, line: str) -> str | None:
    """One line to the statistics socket, past the gate: for `look` and inside effects. None: nobody listens there."""
    if node.connection.by_sudo:  # sshd opens the socket as the login, who may not; root's socat may
        socat = command("socat", "-t", "5", "-", f"UNIX-CONNECT:{mine.stats_socket}", stdin=f"{line}\n")
        done = node.connection.run(socat, timeout=_ANSWER_SECONDS)
        return done.stdout if done.ok else None
    try:
        link = node.connection.open_socket(mine.stats_socket)
    except ConnectionFailed:
        if not node.connection.alive:
            raise
        return None
    with link:
        link.settimeout(_ANSWER_SECONDS)
        link.sendall(f"{line}\n".encode())
        said = b""
        while piece := link.recv(1 << 16):
            said += piece
    return said.decode("utf-8", "replace")
