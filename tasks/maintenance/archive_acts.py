"""What is done for a node's archive: packed on the node, brought to its keeper, proved there, confirmed, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.tasks.cluster.backup_line import PORT, address_of, sender
from nornir_stack.tasks.cluster.backup_receive import RECEIVE_UNIT, listen, received
from nornir_stack.tasks.cluster.backup_unit import LINE, run_unit
from nornir_stack.tasks.maintenance.archives import EXTRAS, PACK, packed
from nornir_stack.tasks.system.firewall import firewall
from nornir_stack.tasks.system.packages import packages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.secret import Secret
    from nornir_stack.tasks.maintenance.settings import Archive

STATE = "/var/lib/nornir-stack/archive"
SEND_UNIT = "nornir-stack-archive"
COMING = ".coming"
# $1: a folder of its own, $2: the archive's name. A file with its SHA-256 stands beside it, for whoever receives it.
_PACK = f"""
export LC_ALL=C
umask 077
{EXTRAS}{PACK}
w=$1 name=$2; shift 2
IFS='
'
rm -rf -- "$w" && mkdir -p -- "$w/extra" && extras "$w/extra" || exit
{{ pack "$w/extra" "$@" || : >"$w/failed"; }} | gzip -n >"$w/$name" || exit
[ ! -e "$w/failed" ] || exit 1
rm -rf -- "$w/extra"
cd -- "$w" && sha256sum -- "$name" >"$name.sha256"
"""
# $1: the run's folder. $2: where the archive is, $3: its name, then the way.
_SEND = r"""
run=$1 w=$2 name=$3; shift 3
cd -- "$w" && tar -cf - -- "$name" "$name.sha256" | "$@" 2>"$run/way.log"
"""
# $1: where it came to, $2: its name, $3: where it goes. It counts when it is what was sent, and tar reads it to its end.
_STORE = r"""
export LC_ALL=C
umask 077
cd -- "$1" || exit
sha256sum --quiet --status -c -- "$2.sha256" || { echo "$2 is not what was sent" >&2; exit 1; }
n=$(tar -tzf "$2" | wc -l) && [ "$n" -gt 1 ] || { echo "tar does not read $2" >&2; exit 1; }
mkdir -p -- "$3" && chmod 700 -- "${3%/*}" "$3" || exit
chown 0:0 -- "$2" && chmod 600 -- "$2" && sync -- "$2" && mv -- "$2" "$3/$2" && sync -- "$3" || exit
cd / && rm -rf -- "$1"
"""
_SECONDS = 3600.0


def pack(task: Task, *, archive: str, wanted: Archive) -> Result[None]:
    """Pack what is wanted of this node, readable by root alone, where it can be fetched from."""
    node = Node(task)
    node.change(
        sh(_PACK, STATE, archive, *packed(wanted), label=f"pack {archive}"),
        timeout=_SECONDS,
        what=f"pack {', '.join(wanted.paths)}",
        repeatable=True,
    )
    return node.done()


def ways(task: Task) -> Result[None]:
    """socat, for archives that go from node to node."""
    node = Node(task)
    packages(task, present=("socat",))
    return node.done()


def reached(task: Task, *, senders: Sequence[str]) -> Result[None]:
    """A keeper's port open for the `senders`, hosts of the inventory."""
    node = Node(task)
    sources = [address_of(task.nornir.inventory, name) for name in senders]
    firewall(task, purpose="archives", ports=[f"{PORT}/tcp"], sources=sources)
    return node.done()


def expect(task: Task, *, folder: str, line: Secret) -> Result[None]:
    """Listen on the keeper for one archive, which comes to a folder that nothing takes for one."""
    node = Node(task)
    node.change(sh('rm -rf -- "$1" "$1.received"; umask 077; mkdir -p -- "$1"', coming(folder), label="room for it"))
    listen(node, coming(folder), "tar", line)
    return node.done()


def send(task: Task, *, archive: str, keeper: str, line: Secret) -> Result[None]:
    """Send the packed archive to its keeper, over the line that was made for it, and keep nothing of it here."""
    node = Node(task)
    way = sender(address_of(task.nornir.inventory, keeper), LINE)
    run_unit(
        node,
        SEND_UNIT,
        _SEND,
        STATE,
        archive,
        *way,
        after=f'rm -rf -- "${{1%/*}}/line.pem" {STATE}',
        line=line,
        what=f"send {archive} to {keeper}",
    )
    return node.done()


def store(task: Task, *, archive: str, folder: str, node_name: str, sent: bool) -> Result[None]:
    """Prove an archive on its keeper, and only then give it its name. `sent`: it came from another node.

    Raises Refused or CommandFailed where it is not whole; nothing of it counts then.
    """
    node = Node(task)
    place = coming(folder) if sent else STATE
    if sent and not node.dry_run:
        received(node, place)
    node.change(
        sh(_STORE, place, archive, f"{folder}/{node_name}", label=f"prove {archive}"),
        timeout=_SECONDS,
        what=f"keep {archive}",
        diff=f"+{folder}/{node_name}/{archive}\n",
    )
    if not node.dry_run and node.stat(f"{folder}/{node_name}/{archive}") is None:
        raise Refused(f"{archive} was stored and is not there")
    return node.done()


def quiet(task: Task, *, folder: str) -> Result[None]:
    """Nobody listens any more on the keeper, and nothing unfinished lies there."""
    node = Node(task)
    look = 'if systemctl is-active --quiet "$2.service" || [ -e "$1" ] || [ -e "$1.received" ]; then echo left; fi'
    words = (coming(folder), RECEIVE_UNIT)
    if node.gate.pending or node.read(sh(look, *words, label="what is unfinished")).text:
        node.change(
            sh('systemctl stop "$2.service" 2>/dev/null; rm -rf -- "$1" "$1.received"', *words, label="tidy up"),
            repeatable=True,
        )
    return node.done()


def confirm(task: Task, *, paths: Sequence[str]) -> Result[None]:
    """Note that nodes are still as these archives say, by their time."""
    node = Node(task)
    shown = "".join(f"+{path.rpartition('/')[2]} is still what its node has\n" for path in paths)
    node.change("touch", "--no-create", "--", *paths, what=f"confirm {len(paths)} archives", diff=shown, repeatable=True)
    return node.done()


def delete(task: Task, *, paths: Sequence[str]) -> Result[None]:
    """Delete archives that are too many."""
    node = Node(task)
    shown = "".join(f"-{path}\n" for path in paths)
    node.change("rm", "-f", "--", *paths, what=f"delete {len(paths)} archives", diff=shown, repeatable=True)
    return node.done()


def coming(folder: str) -> str:
    """Where an archive is until it was proved."""
    return f"{folder}/{COMING}"
