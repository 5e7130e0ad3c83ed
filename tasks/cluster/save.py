"""What a member knows of itself, copied to a dated folder on its node before anything is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import DatabaseFailed
from nornir_stack.node import Node
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.observe import look, member_of

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

FOLDER = "/var/lib/nornir-stack/galera-states"
_SAVE = r"""
umask 077
folder=$1/$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$folder" || exit
cat >"$folder/status" || exit
for file in grastate.dat gvwstate.dat; do
    if [ -e "$2/$file" ]; then cp -p -- "$2/$file" "$folder/" || exit; fi
done
journalctl -u "$3" -n 500 --no-pager >"$folder/journal" 2>&1
sync "$folder"/*
echo "$folder"
"""


def save_state(task: Task) -> Result[str]:
    """Copy grastate.dat, gvwstate.dat, the wsrep status and the end of the unit's journal. The value: the folder.

    Data are not copied: a backup of a side that is given up is the operator's to make before.
    """
    node = Node(task)
    galera, product = member_of(node)
    status = _status(node) if look(node).wsrep else "no server answered\n"
    save = sh(_SAVE, FOLDER, galera.datadir, product.unit, label=f"save the member's state in {FOLDER}")
    made = node.change(save, stdin=status, diff=f"+{FOLDER}/<now>/", repeatable=True)
    return node.done(lambda: made.text)


def _status(node: Node) -> str:
    try:
        pairs = Sql(node).pairs("SHOW GLOBAL STATUS LIKE 'wsrep%'")
    except DatabaseFailed as error:
        return f"{error}\n"
    return "".join(f"{name}\t{value}\n" for name, value in pairs.items())
