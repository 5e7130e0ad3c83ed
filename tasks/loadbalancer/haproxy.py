"""HAProxy installed, configured from the inventory, checked before its file is replaced, and reloaded with its state kept."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from nornir_stack.command import command, sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer import runtime
from nornir_stack.tasks.loadbalancer.address import may_be_elsewhere, virtual_address
from nornir_stack.tasks.loadbalancer.config import CONFIG, STATE_FILE, configuration, mark_in
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import service, unit_state

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

NO_STATE = "1\n# be_id be_name srv_id srv_name\n"
_NOT_INSTALLED = 127
_ALERT = re.compile(r"\[ALERT\]\s+\(\d+\) : (config : )?")
_RELOAD_SECONDS = 20.0


def haproxy(task: Task) -> Result[str]:
    """Have HAProxy run as the inventory says, with the virtual address if it is not shared; the value is the configuration.

    HAProxy itself checks the new file, on the node and before it replaces the old one, in a dry run too (unless it is not
    installed yet). A change is a reload: connections live on, and servers keep what they were set to. Raises Refused with
    what HAProxy said against the file, and as `virtual_address` does.
    """
    node = Node(task)
    mine = settings_of(task.host, LoadBalancer)
    text = configuration(task.host, task.nornir.inventory)
    more = ("socat",) if node.connection.by_sudo else ()
    unit = family(node).unit("haproxy")
    ran = unit_state(task, unit=unit).value.running
    packages(task, present=[*family(node).package("haproxy"), *more], no_start=True)
    check(node, text)
    if mine.keepalived:
        may_be_elsewhere(task)
    else:
        virtual_address(task)
    node.write_file(STATE_FILE, NO_STATE, independent=True)
    written = node.write_file(CONFIG, text, independent=True)
    said = runtime.look(node, mine, "show info", independent=True)
    reload_needed = said is not None and (written or info(said).get("description") != mark_in(text))
    if said is None and ran:
        # it runs with a configuration of somebody else, who put the socket elsewhere or has none
        node.change("systemctl", "reload", unit, repeatable=True)
    elif reload_needed:
        node.gate.effect(f"reload {unit}, servers keep their state", lambda: _reload(node, mine, unit, text), repeatable=True)
    node.then(service, unit=unit, state="started", enabled=True)
    return node.done(text)


def check(node: Node, text: str) -> None:
    """Have the node's HAProxy check a configuration that is not written yet. Raises Refused with what it says against it."""
    script = "command -v haproxy >/dev/null || exit 127; exec haproxy -c -f /dev/stdin"
    done = node.read(sh(script, stdin=text), ok=None, independent=True)
    if done.status == _NOT_INSTALLED and node.dry_run:
        return
    if not done.ok:
        said = "; ".join(complaints(done.stderr + done.stdout))
        raise Refused(f"{node.name}: haproxy refuses the new configuration, the old one stays: {said}")


def complaints(said: str) -> list[str]:
    """What HAProxy says against a configuration, without its prefixes."""
    return [_ALERT.sub("", line).strip() for line in said.splitlines() if _ALERT.match(line)] or [said.strip()]


def info(said: str) -> dict[str, str]:
    """`show info` as a dictionary."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in said.splitlines())}


def kept(said: str, text: str) -> str:
    """Of `show servers state`, what may be carried over a reload: servers that stand in the new configuration as they are.

    HAProxy would take addresses and ports from there too, and so undo what is new.
    """
    lines = said.splitlines()
    rows = {(row["be_name"], row["srv_name"]): row for row in runtime.parse_states(said)}
    keep = set()
    for listener, name, address, check_port in _servers_in(text):
        row = rows.get((listener, name))
        if row and address == f"{row['srv_addr']}:{row['srv_port']}" and row.get("srv_check_port", check_port) == check_port:
            keep.add((listener, name))
    return "\n".join([*lines[:2], *(line for line in lines[2:] if tuple(line.split()[1:4:2]) in keep), ""])


def _servers_in(text: str) -> list[tuple[str, str, str, str]]:
    """Listener, server, address and check port, from our own configuration."""
    found, listener, port = [], "", ""
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["listen"]:
            listener = words[1]
        elif words[:3] == ["default-server", "check", "port"]:
            port = words[3]
        elif words[:1] == ["server"]:
            found.append((listener, words[1], words[2], port))
    return found


def _reload(node: Node, mine: LoadBalancer, unit: str, text: str) -> None:
    before = info(runtime.ask(node, mine, "show info") or "")
    states = runtime.ask(node, mine, "show servers state")
    if states:
        _write_states(node, kept(states, text))
    try:
        node.connection.run(command("systemctl", "reload", "--", unit), timeout=_RELOAD_SECONDS).require()
        end = time.monotonic() + _RELOAD_SECONDS
        while time.monotonic() < end:
            now = info(runtime.ask(node, mine, "show info") or "")
            if now.get("description") == mark_in(text) and now.get("Pid") != before.get("Pid"):
                return
            time.sleep(0.1)
    finally:
        _write_states(node, NO_STATE)
    log = node.connection.run(command("journalctl", "--no-pager", "-q", "-o", "cat", "-n", "20", "-u", unit), timeout=30)
    raise Refused(f"{node.name}: {unit} was reloaded and does not serve the new configuration: {log.text}")


def _write_states(node: Node, states: str) -> None:
    node.connection.run(sh('cat >"$1.new" && mv -f "$1.new" "$1"', STATE_FILE, stdin=states), timeout=30).require()
