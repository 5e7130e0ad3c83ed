"""What makes a backup one, on the host that keeps it: it is prepared, gets its checksums, its manifest and its name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.tasks.cluster.backup_receive import RECEIVE_UNIT, received
from nornir_stack.tasks.cluster.backup_unit import DAY_SECONDS
from nornir_stack.tasks.cluster.backups import DATA, FULL, INCREMENTAL, MANIFEST, UNFINISHED, Backup, look, within
from nornir_stack.tasks.cluster.product import TOOLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.backup_choice import Choice

# A tool prepares what its own release took (MariaDB manual, "mariadb-backup and older versions"; Percona's, "Server version
# and backup version comparison").
SAME_RELEASE = r"""
same_release() {
    taken=$(cat "$1/xtrabackup_info" "$1/mariadb_backup_info" 2>/dev/null |
        sed -n 's/^tool_version = \([0-9]*\.[0-9]*\).*/\1/p')
    here=$("$tool" --version 2>&1 | sed -n 's/.* server \([0-9]*\.[0-9]*\).*/\1/p')
    [ "$taken" = "$here" ] && return
    echo "it was taken by $tool ${taken:-of an unknown release}, ${here:-none} is here: it has to be the same" >&2
    return 1
}
"""
# A full backup is prepared where it lies; of an increment its base is copied, and it is applied to that.
_PROVE = (
    r"""
cd -- "$1" || exit
shift
export LC_ALL=C
umask 077
[ ! -d data/binlogs.d ] || mv -- data/binlogs.d binlogs || exit
"""
    + SAME_RELEASE
    + r"""
same_release data || exit
prepare() { "$tool" --prepare "$@" >>prepare.log 2>&1 || { tail -n 8 prepare.log >&2; return 1; }; }
if [ "$#" = 0 ]; then
    prepare --target-dir=data || exit
else
    cp -a --reflink=auto -- "$1/data" proof || exit
    shift
    for folder in "$@" .; do
        cp -a --reflink=auto -- "$folder/data" increment || exit
        prepare --target-dir=proof --incremental-dir=increment || exit
        rm -rf increment || exit
    done
    rm -rf proof || exit
fi
for folder in data binlogs; do
    [ ! -d "$folder" ] || find "$folder" -type f -print0
done | sort -z | xargs -0 -r sha256sum -- >files.sha256
"""
)
_TOLD = r"""
cd -- "$1" || exit
export LC_ALL=C
for file in checkpoints galera_info binlog_info info; do
    for path in "data/xtrabackup_$file" "data/mariadb_backup_$file"; do
        [ ! -f "$path" ] || { echo "== $file"; cat -- "$path"; echo; }
    done
done
echo "== here"
sha256sum <files.sha256
du -s -k . | cut -f 1
date +%s
ls binlogs 2>/dev/null
:
"""
_COMMIT = 'sync -f "$1" && mv -T -- "$1" "$2" && sync -f "$2"'
_CLEAR = r"""
cd -- "$1" 2>/dev/null || exit 0
for name in .unfinished-* .deleting-*; do [ ! -d "$name" ] || rm -rf -- "$name"; done
"""
_TIDY = 'systemctl stop -- "$2" 2>/dev/null; rm -rf -- "$1"'
_DELETE = r"""
cd -- "$1" || exit
shift
for name; do mv -T -- "$name" ".deleting-$name" && sync -f . && rm -rf -- ".deleting-$name" || exit; done
"""


def clear(task: Task, *, folder: str) -> Result[None]:
    """Take away what earlier runs left unfinished: none of it is a backup, and nobody works on it while the lock is ours."""
    node = Node(task)
    left = look(node, folder).unfinished
    if left:
        node.change(sh(_CLEAR, within(node, folder), label="remove unfinished backups"), diff="".join(f"-{x}\n" for x in left))
    return node.done()


def prove(task: Task, *, choice: Choice, folder: str, bases: Sequence[str], life: str, over_line: bool) -> Result[Backup]:
    """Prepare the backup (an increment: on a copy of its base), take the checksums, and only then make it one.

    bases: the labels of what it continues, oldest first. over_line: it came from another node.
    """
    node = Node(task)
    home = within(node, folder)
    unfinished = f"{home}/{UNFINISHED}{choice.label}"
    if over_line:
        received(node, f"{unfinished}/{DATA}")
    words = (unfinished, *(f"{home}/{base}" for base in bases))
    tool = TOOLS[choice.product]
    proof = sh(tool.words + _PROVE, *words, label=f"{tool.name} --prepare of {choice.label}, and its checksums")
    node.change(proof, timeout=DAY_SECONDS, diff=f"+{home}/{choice.label}")
    told = node.read(sh(_TOLD, unfinished, label="what the backup says of itself"))
    made = described(told.stdout, choice, cluster=home.rpartition("/")[2], life=life)
    node.write_file(f"{unfinished}/{MANIFEST}", made.as_json(), mode="0600")
    node.change(sh(_COMMIT, unfinished, f"{home}/{choice.label}", label=f"{choice.label} is a backup from now on"))
    return node.done(made)


def described(text: str, choice: Choice, *, cluster: str, life: str) -> Backup:
    """The manifest, from the tool's own files. Raises ValueError where one of them lacks what it should have."""
    parts = dict(re.findall(r"^== (\w+)\n(.*?)(?=^== |\Z)", text, re.MULTILINE | re.DOTALL))
    points = dict(re.findall(r"^(\w+) = (.*)$", parts.get("checkpoints", ""), re.MULTILINE))
    about = dict(re.findall(r"^(\w+) = (.*)$", parts.get("info", ""), re.MULTILINE))
    place = re.match(r"([0-9a-f-]{36}):(-?\d+)", parts.get("galera_info", ""))
    name, offset, gtid = ([*parts.get("binlog_info", "").split(), "", "0", ""] if "binlog_info" in parts else ["", "0", ""])[:3]
    checksum, size, finished, *logs = re.findall(r"^(\S+)", parts["here"], re.MULTILINE)
    if place is None or not {"from_lsn", "to_lsn"} <= set(points):
        raise ValueError(f"{choice.label}: {TOOLS[choice.product].name} did not say where in the history the backup stands")
    return Backup(
        label=choice.label,
        cluster=cluster,
        kind=INCREMENTAL if choice.base else FULL,
        base=choice.base.label if choice.base else "",
        member=choice.member,
        server=about.get("server_version", ""),
        uuid=place[1],
        seqno=int(place[2]),
        gtid=gtid,
        binlog=name,
        offset=int(offset or 0),
        from_lsn=int(points["from_lsn"]),
        to_lsn=int(points["to_lsn"]),
        life=life,
        started=choice.started,
        finished=int(finished),
        size=int(size) * 1024,
        logs=tuple(logs),
        checksum=checksum,
    )


def tidy(task: Task, *, folder: str, label: str) -> Result[None]:
    """Where the backup did not become one, nothing of it stays."""
    node = Node(task)
    name = f"{UNFINISHED}{label}"
    if name in look(node, folder).unfinished:
        gone = sh(_TIDY, f"{within(node, folder)}/{name}", RECEIVE_UNIT, label=f"remove {name}")
        node.change(gone, diff=f"-{name}", repeatable=True)
    return node.done()


def delete(task: Task, *, folder: str, labels: Sequence[str]) -> Result[None]:
    """Delete backups, in this order; each is none from the first moment on."""
    node = Node(task)
    there = {one.label for one in look(node, folder).backups}
    going = [label for label in labels if label in there]
    if going:
        gone = sh(_DELETE, within(node, folder), *going, label=f"delete {', '.join(going)}")
        node.change(gone, timeout=DAY_SECONDS, diff="".join(f"-{label}\n" for label in going))
    return node.done()
