"""What a restore has to know of a host, in one look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.tasks.cluster.backup_sight import sight
from nornir_stack.tasks.cluster.observe import member_of
from nornir_stack.tasks.cluster.product import DB, product_of
from nornir_stack.tasks.cluster.restore_choice import Scene, mark_of

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

PLACED = "/var/lib/nornir-stack/galera-restored.json"
STAGED = "staged.json"
# The names of binary logs come from the index, so those of a server that is down are known too.
_LOOK = r"""
export LC_ALL=C
if mountpoint -q -- "$1"; then echo mounted; fi
for file in "$1"/*-bin.index; do
    [ -f "$file" ] || continue
    while read -r name; do [ ! -f "$1/${name##*/}" ] || echo "log ${name##*/}"; done <"$file"
done
[ ! -f "$1.restoring/staged.json" ] || { printf 'staged '; tr -d '\n' <"$1.restoring/staged.json"; echo; }
[ ! -f "$2" ] || { printf 'placed '; tr -d '\n' <"$2"; echo; }
:
"""


def scene(task: Task, *, folder: str, keeper: str = "") -> Result[Scene]:
    """Observe a member, a load balancer or the host that keeps the backups, and what an earlier restore left.

    Raises Refused for Percona.
    """
    node = Node(task)
    if product_of(task.nornir.inventory) != "mariadb":
        raise Refused("galera.restore knows MariaDB's tools only: docs/backup.md has the steps for Percona")
    seen = sight(task, folder=folder, keeper=keeper).value
    members = DB.hosts(task.nornir.inventory)
    if node.name not in members:
        return node.done(Scene(seen, members=members))
    galera, _ = member_of(node)
    text = node.read(sh(_LOOK, galera.datadir, PLACED, label="look at what an earlier restore left")).stdout
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        said.setdefault(word, []).append(value)
    staged, placed = (mark_of(said[word][0]) if word in said else None for word in ("staged", "placed"))
    return node.done(Scene(seen, galera.cluster_name, members, tuple(said.get("log", ())), "mounted" in said, staged, placed))
