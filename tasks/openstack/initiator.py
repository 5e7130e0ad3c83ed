"""How a compute node reaches volumes by iSCSI: open-iscsi's daemon, and a name that no other node has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

NAME_FILE = "/etc/iscsi/initiatorname.iscsi"
DAEMON, SOCKET = "iscsid.service", "iscsid.socket"
_NAME = re.compile(r"^InitiatorName=(\S+)", re.MULTILINE)
# As open-iscsi's package makes it; an image of which many machines are made has to be without one.
_MAKE = r"""
set -e
umask 077
name=$(PATH=$PATH:/sbin:/usr/sbin iscsi-iname -p iqn.1993-08.org.debian:01)
[ -n "$name" ]
printf 'InitiatorName=%s\n' "$name" >"$1.new"
mv "$1.new" "$1"
"""


def initiator(task: Task) -> Result[str]:
    """Have this node's iSCSI initiator know its name, and its daemon run as soon as it is asked for. The value: the name."""
    node = Node(task)
    if not _name(node):
        node.change(sh(_MAKE, NAME_FILE), what="make a name for the iSCSI initiator", diff=f"+{NAME_FILE}\n", repeatable=True)
    # the socket cannot be had beside a daemon that somebody started without it
    if not node.read("systemctl", "is-active", "--quiet", DAEMON, ok=None, independent=True).ok:
        node.then(service, unit=SOCKET, state="started", enabled=True)
    return node.done(lambda: _name(node))


def initiator_name(task: Task) -> Result[str]:
    """Observe the name of this node's iSCSI initiator: '' for none."""
    node = Node(task)
    return node.done(_name(node))


def _name(node: Node) -> str:
    return name_in(node.read_file(NAME_FILE, independent=True) or "")


def name_in(text: str) -> str:
    """The initiator's name in the text of its file: '' for none. Pure."""
    found = _NAME.search(text)
    return found[1] if found else ""


def shared(seen: Seen[str]) -> list[str]:
    """Nodes with one name: at a volume that both reach, as in a move, each ends the other's session (RFC 7143, 6.3.5). Pure."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    by_name: dict[str, list[str]] = {}
    for host, name in seen.items():
        if name:
            by_name.setdefault(name, []).append(host)
    return problems + [
        f"{' and '.join(hosts)} have the iSCSI initiator's name {name}, as machines of one image do: empty {hosts[-1]} of"
        f" instances, remove {NAME_FILE} there, restart {DAEMON} after the next run"
        for name, hosts in by_name.items()
        if len(hosts) > 1
    ]
