"""The end of a line that receives: a unit that listens, unpacks, and marks what was received in whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.tasks.cluster.backup_line import PORT, address_of, receiver
from nornir_stack.tasks.cluster.backup_unit import LINE, run_unit
from nornir_stack.tasks.cluster.backups import DATA, UNFINISHED, within

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.secret import Secret

RECEIVE_UNIT = "nornir-stack-receive"
_TRIES = 100  # of a tenth of a second
# A stranger who knocks ends socat: it listens again. What was received in whole is marked.
_RECEIVE = r"""
run=$1 folder=$2 unpack=$3; shift 3
export LC_ALL=C
umask 077
mkdir -p -- "$folder" || exit
{
    try=0
    until "$@" 2>>"$run/way.log"; do
        try=$((try + 1))
        [ "$try" -lt 20 ] || exit 1
    done
    : >"$run/whole"
} | "$unpack" -x -C "$folder" 2>"$run/unpack.log" && [ -e "$run/whole" ] && : >"$folder.received"
"""
_AFTER = 'rm -f -- "${1%/*}/line.pem"'
_LISTENING = r"""
port=$(printf '%04X' "$1") try=0
until grep -qs ":$port 0*:0000 0A " /proc/net/tcp /proc/net/tcp6; do
    try=$((try + 1))
    [ "$try" -lt "$2" ] || { tail -q -n 5 /run/nornir-stack-backup/nornir-stack-receive/*.log >&2; exit 1; }
    sleep 0.1
done
"""
_RECEIVED = r"""
try=0
while systemctl is-active --quiet "$2" && [ "$try" -lt "$3" ]; do try=$((try + 1)); sleep 0.1; done
[ -e "$1.received" ] && rm -f -- "$1.received"
"""


def receive(task: Task, *, folder: str, label: str, line: Secret, stream: str) -> Result[None]:
    """Listen for a backup, and unpack it where nothing takes it for one. Returns when it listens."""
    node = Node(task)
    listen(node, f"{within(node, folder)}/{UNFINISHED}{label}/{DATA}", stream, line)
    return node.done()


def listen(node: Node, folder: str, unpack: str, line: Secret) -> None:
    """Receive once, into `folder`, by `mbstream`, `xbstream` or `tar`."""
    words = (folder, unpack, *receiver(address_of(node.task.nornir.inventory, node.name), LINE))
    run_unit(node, RECEIVE_UNIT, _RECEIVE, *words, after=_AFTER, line=line, wait=False, what=f"listen on port {PORT}")
    node.change(sh(_LISTENING, str(PORT), str(_TRIES), label=f"wait until port {PORT} listens"), repeatable=True)


def received(node: Node, folder: str) -> None:
    """Raises CommandFailed where not all of it came."""
    node.change(sh(_RECEIVED, folder, RECEIVE_UNIT, str(_TRIES), label="all that was sent has been received"))
