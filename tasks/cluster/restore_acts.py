"""What is done for a restore: gather, prepare beside the data, replay, and only then put in place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.tasks.cluster.backup_line import address_of, sender
from nornir_stack.tasks.cluster.backup_prove import SAME_RELEASE
from nornir_stack.tasks.cluster.backup_receive import RECEIVE_UNIT, listen, received
from nornir_stack.tasks.cluster.backup_unit import LINE, run_unit
from nornir_stack.tasks.cluster.backups import within
from nornir_stack.tasks.cluster.binlogs import READ, gap, moment, parsed, reach, shown
from nornir_stack.tasks.cluster.judge import state_of
from nornir_stack.tasks.cluster.observe import look, member_of
from nornir_stack.tasks.cluster.product import TOOLS
from nornir_stack.tasks.cluster.restore_choice import Mark, mark_of
from nornir_stack.tasks.cluster.restore_sight import PLACED, STAGED
from nornir_stack.tasks.cluster.save import FOLDER as STATES

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.secret import Secret
    from nornir_stack.tasks.cluster.member import Member
    from nornir_stack.tasks.cluster.restore_choice import Restoration

UNIT = "nornir-stack-restore"
READ_SECONDS = 3600.0  # all binary logs are read
# Paths have no blanks. Live logs are flushed first, where a server runs, so that they reach up to now.
_GIVE = r"""
run=$1 folder=$2 paths=$3 first=$4; shift 4
export LC_ALL=C
if [ -n "$first" ]; then
    mariadb --user=root -e 'FLUSH LOCAL BINARY LOGS' 2>/dev/null
    paths= seen=
    while read -r name; do
        name=${name##*/}
        [ "$name" != "$first" ] || seen=yes
        [ -z "$seen" ] || paths="$paths $name"
    done <"$folder/${first%.*}.index"
fi
{ tar -C "$folder" -cf - -- $paths 2>"$run/tar.log" || : >"$run/failed"; } | "$@" 2>"$run/way.log" || : >"$run/failed"
[ ! -e "$run/failed" ]
"""
# Checksums first, those of the list by the manifest; then the increments are applied, and what is mariadb-backup's own goes.
# The server that replays is private: a socket in its folder, no network, no Galera, no binary log.
_PREPARE = (
    TOOLS["mariadb"].words
    + SAME_RELEASE
    + r"""
run=$1 stage=$2 checksums=$3; shift 3
export LC_ALL=C
umask 077
cd -- "$stage/from" || exit
for label; do
    if [ "$(sha256sum <"$label/files.sha256")" != "${checksums%% *}  -" ]; then
        echo "$label: its list of checksums is damaged" >"$run/list.log"
        exit 1
    fi
    checksums=${checksums#* }
    same_release "$label/data" 2>"$run/release.log" || exit
    (cd -- "$label" && grep '  data/' files.sha256 | sha256sum --check --quiet - >"$run/sums.log" 2>&1) || exit
done
mv -T -- "$1/data" "$stage/data" || exit
shift
for label; do
    mariadb-backup --prepare --target-dir="$stage/data" --incremental-dir="$label/data" >"$run/prepare.log" 2>&1 || exit
done
cd -- "$stage/data" || exit
rm -f -- xtrabackup_* mariadb_backup_* donor_galera_info backup-my.cnf ./*-bin.[0-9]* ib_buffer_pool grastate.dat gvwstate.dat
"""
)
_REPLAY = r"""
run=$1 stage=$2 offset=$3 until=$4; shift 4
export LC_ALL=C TZ=UTC0
umask 077
data=$stage/data socket=$stage/data/private.sock
chmod 0711 -- "$stage" && chown -R mysql:mysql -- "$data" && chmod 0750 -- "$data" && cd -- "$stage/from" || exit
server=$(command -v mariadbd || command -v mysqld) || exit
runuser -u mysql -- "$server" --datadir="$data" --wsrep-on=OFF --wsrep-provider=none --skip-networking --socket="$socket" \
    --pid-file="$data/private.pid" --skip-log-bin --event-scheduler=OFF --skip-slave-start --innodb-buffer-pool-size=128M \
    --max-allowed-packet=1G --log-error="$data/private.err" >/dev/null 2>&1 &
pid=$!
try=0
until mariadb-admin --user=root --socket="$socket" ping >/dev/null 2>&1; do
    try=$((try + 1))
    kill -0 "$pid" 2>/dev/null && [ "$try" -lt 3000 ] || { tail -n 8 "$data/private.err" >"$run/server.log"; exit 1; }
    sleep 0.2
done
if [ "$#" -gt 0 ]; then
    {
        mariadb-binlog --start-position="$offset" --stop-datetime="$until" --verify-binlog-checksum -- "$@" \
            2>"$run/logs.log" || : >"$run/failed"
    } |
        mariadb --user=root --socket="$socket" --binary-mode --max-allowed-packet=1G 2>"$run/replay.log" || : >"$run/failed"
fi
mariadb-admin --user=root --socket="$socket" shutdown 2>"$run/down.log" || : >"$run/failed"
wait "$pid" || : >"$run/failed"
rm -f -- "$data/private.err" "$data/private.pid" "$socket"
[ ! -e "$run/failed" ]
"""
_FRESH = r"""
systemctl stop -- "$2" "$3" 2>/dev/null
rm -rf -- "$1" && mkdir -p -m 0700 -- "$1" "$1/from"
"""
_PLACE = r"""
stage=$1 data=$2 aside=$3
if [ -e "$stage/data" ]; then
    if [ -e "$data" ]; then rmdir -- "$data" 2>/dev/null || mv -T -- "$data" "$aside" || exit; fi
    mv -T -- "$stage/data" "$data" && sync -f "$data" || exit
fi
if command -v restorecon >/dev/null; then restorecon -R -- "$data"; fi
"""
# Of no history: whoever does not go on with the restore finds a member that takes a full copy, never one that leads.
_GRASTATE = """# GALERA saved state
version: 2.1
uuid:    00000000-0000-0000-0000-000000000000
seqno:   -1
safe_to_bootstrap: 0
"""


def stage_of(node: Node) -> str:
    """The folder beside the data in which a restore is prepared."""
    galera, _ = member_of(node)
    return f"{galera.datadir}.restoring"


def empty_stage(task: Task) -> Result[None]:
    """A fresh folder to prepare in."""
    node = Node(task)
    fresh = sh(_FRESH, stage_of(node), UNIT, RECEIVE_UNIT, label=f"make {stage_of(node)}")
    node.change(fresh, repeatable=True)
    return node.done()


def open_line(task: Task, *, line: Secret) -> Result[None]:
    """Listen for what another node gives."""
    node = Node(task)
    listen(node, f"{stage_of(node)}/from", "tar", line)
    return node.done()


def close_line(task: Task) -> Result[None]:
    """All of it has come. Raises CommandFailed where it has not."""
    node = Node(task)
    received(node, f"{stage_of(node)}/from")
    return node.done()


def give(task: Task, *, leader: str, folder: str, paths: tuple[str, ...], live: str, line: Secret | None) -> Result[None]:
    """Backups with what came along, or (`live`) this member's own binary logs from that one on, for the leader."""
    node = Node(task)
    home = member_of(node)[0].datadir if live else within(node, folder)
    way = (
        ("tar", "-C", f"{stage_of(node)}/from", "-xf", "-")
        if line is None
        else sender(address_of(task.nornir.inventory, leader), LINE)
    )
    labels = dict.fromkeys(path.partition("/")[0] for path in paths)
    what = f"give {leader} {f'the binary logs from {live} on' if live else ', '.join(labels)}"
    run_unit(node, UNIT, _GIVE, home, " ".join(paths), live, *way, after='rm -f -- "${1%/*}/line.pem"', line=line, what=what)
    return node.done()


def assemble(task: Task, *, plan: Restoration) -> Result[None]:
    """Verify, prepare and replay beside the data: what is put in place after that has run once.

    Raises Refused where binary logs do not go on from the backup, or do not reach the time that was asked for.
    """
    node = Node(task)
    stage = stage_of(node)
    labels = [one.label for one in plan.line]
    checksums = "".join(f"{one.checksum} " for one in plan.line)
    what = f"prepare {', '.join(labels)} in {stage}"
    run_unit(node, UNIT, _PREPARE, stage, checksums, *labels, what=what, diff=f"+{stage}/data")
    logs = _judged(node, plan) if plan.until else []
    what = f"start a private server on it{f', and replay the binary logs up to {plan.until}' if plan.until else ''}"
    run_unit(node, UNIT, _REPLAY, stage, str(plan.backup.offset), plan.until, *logs, what=what)
    node.write_file(f"{stage}/data/grastate.dat", _GRASTATE, mode="0660", owner="mysql:mysql")
    galera, _ = member_of(node)
    now = node.read("date", "-u", "+%Y%m%dT%H%M%SZ", independent=True).text
    mark = Mark(plan.backup.label, plan.until, plan.former, f"{galera.datadir}.before-{now}")
    node.write_file(f"{stage}/{STAGED}", mark.as_json(), mode="0600")
    return node.done()


def _judged(node: Node, plan: Restoration) -> list[str]:
    """The binary logs that were gathered, in order, once it is known that they go on from the backup and reach far enough."""
    folder = f"{stage_of(node)}/from"
    given = node.read(
        sh('cd -- "$1" && ls | grep -e "-bin\\.[0-9]*$"', folder, label="which binary logs were given"), ok=(0, 1)
    )
    logs = [*plan.sources.kept, *given.lines]
    told = node.read(sh(READ, folder, str(plan.backup.offset), *logs, label="read the binary logs"), timeout=READ_SECONDS)
    found = [replace(one, name=one.name.rpartition("/")[2]) for one in parsed(told.stdout)]
    if why := gap(plan.backup, found):
        raise Refused(f"{plan.until} cannot be reached: {why}")
    if reach(found) < moment(plan.until):
        raise Refused(f"The binary logs of {plan.backup.member} reach up to {shown(reach(found))}, not to {plan.until}.")
    return logs


def place(task: Task) -> Result[str]:
    """The prepared data become the member's; what it had is kept beside them. The value: where.

    Raises Refused where a server runs.
    """
    node = Node(task)
    galera, _ = member_of(node)
    now = look(node)
    if now.running and not node.dry_run:
        raise Refused(f"{state_of(node.name, now)}: its data are its own while it runs.")
    stage = stage_of(node)
    mark = mark_of(node.read_file(f"{stage}/{STAGED}") or "")
    if mark is None and not node.dry_run:
        raise Refused(f"{node.name}: nothing is prepared in {stage}: run this again.")
    aside = mark.aside if mark else f"{galera.datadir}.before-<now>"
    node.change(
        sh(_PLACE, stage, galera.datadir, aside, label=f"put {stage}/data in place of {galera.datadir}"),
        diff=f"--- {galera.datadir}\n+++ {aside}\n--- {stage}/data\n+++ {galera.datadir}\n",
        repeatable=True,
    )
    node.write_file(f"{galera.datadir}/grastate.dat", _GRASTATE, mode="0660", owner="mysql:mysql", independent=True)
    if mark:
        node.make_folder(STATES.rpartition("/")[0])
        node.write_file(PLACED, mark.as_json(), mode="0600")
    node.change("rm", "-rf", "--", stage, repeatable=True)
    return node.done(aside)


def settle(task: Task) -> Result[Member]:
    """The restore is complete: the history that it began is written down, so that a second run changes nothing."""
    node = Node(task)
    now = look(node)
    mark = mark_of(node.read_file(PLACED) or "")
    if mark and now.primary:
        node.write_file(PLACED, replace(mark, uuid=now.position.uuid).as_json(), mode="0600")
    return node.done(now)
