"""What a backup has to know of a host, in one look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.tasks.cluster.backup_choice import Sight
from nornir_stack.tasks.cluster.backups import look as look_at_shelf
from nornir_stack.tasks.cluster.observe import member_of
from nornir_stack.tasks.cluster.product import DB, TOOLS
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER, Place, place

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

SIZE_SECONDS = 50.0
LOOK_SECONDS = 180.0  # with everything that is looked at beside
# A run of the server: which boot, and when its process began. A full copy from a donor comes at a start only.
_LIFE = r"""
pid=$(systemctl show -p MainPID --value "$1")
if [ "${pid:-0}" -gt 0 ] && read -r stat <"/proc/$pid/stat"; then
    set -- ${stat##*) }
    read -r boot </proc/sys/kernel/random/boot_id
    echo "$boot:${20}"
fi
"""
# What the tool does not copy is not counted; binary logs are, each by itself.
_SIZE = r"""
export LC_ALL=C
size=$(du -s -k --exclude='ib_logfile*' --exclude=galera.cache --exclude='ibtmp*' --exclude='*-bin.[0-9]*' \
    --exclude='#innodb_redo' --exclude='#innodb_temp' --exclude='binlog.[0-9]*' -- "$1" 2>/dev/null)
set -- ${size:-0}
echo "data $1"
base=$("$client" --user=root -N -B -e 'SELECT IFNULL(@@log_bin_basename, "")' 2>/dev/null) && echo login
[ -z "$base" ] || "$client" --user=root -N -B -e 'SHOW BINARY LOGS' |
    while read -r name size rest; do echo "log $size $name"; done
:
"""


def sight(task: Task, *, folder: str, keeper: str = "") -> Result[Sight]:
    """Observe a member, a load balancer or the host that keeps the backups (`keeper`; else each member keeps its own)."""
    node = Node(task)
    inventory = node.task.nornir.inventory
    ours = node.name in DB.hosts(inventory)
    here = place(task).value if ours or node.name in LOADBALANCER.hosts(inventory) else Place()
    kept = look_at_shelf(node, folder) if node.name == keeper or (ours and not keeper) else None
    if here.upkeep is None or not here.upkeep.member.serves:
        return node.done(Sight(here, kept, login=False))
    galera, _ = member_of(node)
    text = node.read(
        sh(TOOLS[galera.product].words + _SIZE, galera.datadir, label=f"size of {galera.datadir}"), timeout=SIZE_SECONDS
    ).stdout
    data, login, logs = sizes(text)
    return node.done(Sight(here, kept, data, life_of(node), logs, login, galera.product))


def sizes(text: str) -> tuple[int, bool, tuple[tuple[str, int], ...]]:
    """Bytes of the data, whether root logs in by the socket, and the binary logs with their bytes."""
    rows = [line.split(" ", 2) for line in text.splitlines()]
    data = sum(int(row[1]) for row in rows if row[0] == "data") * 1024
    return data, any(row[0] == "login" for row in rows), tuple((row[2], int(row[1])) for row in rows if row[0] == "log")


def life_of(node: Node) -> str:
    """Which run of its server this is; empty where none runs."""
    _, product = member_of(node)
    return node.read(sh(_LIFE, product.unit, label="when the server began")).text
