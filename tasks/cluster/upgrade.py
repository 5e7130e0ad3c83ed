"""`galera.upgrade`: to a new release of MariaDB, one member after the other, under load."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.acts import ready
from nornir_stack.tasks.cluster.backup import backup_first as backed_up
from nornir_stack.tasks.cluster.backups import FOLDER
from nornir_stack.tasks.cluster.certificates import look_before
from nornir_stack.tasks.cluster.fitness import fitness, transaction
from nornir_stack.tasks.cluster.judge import not_grown
from nornir_stack.tasks.cluster.observe import look, member_of, observe_member
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.release import Fitness, going_back, named, not_known, obstacles, refuse, remarks
from nornir_stack.tasks.cluster.roll import back, gate
from nornir_stack.tasks.cluster.source import source
from nornir_stack.tasks.cluster.steps import AGREE_SECONDS, proofs
from nornir_stack.tasks.cluster.unit import shut_down, start
from nornir_stack.tasks.cluster.upgrading import NO_RELEASE, Standing, before_sources, down, fits, nobody_yet, turns
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER, place
from nornir_stack.tasks.loadbalancer.health import drain_flag
from nornir_stack.tasks.loadbalancer.runtime import set_server
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import LOCK_SECONDS, MANAGERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member
    from nornir_stack.tasks.cluster.rolling import Turn
    from nornir_stack.tasks.system.transaction import Forecast, Work

_LOOK_SECONDS = 300.0  # package managers may be slow to say what they have
_MERGED, _QUICK = 0, 1  # innodb_fast_shutdown: purge and merge everything first; write all pages
_DOWNLOAD = """
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
exec </dev/null
if command -v apt-get >/dev/null; then exec apt-get -y -q --no-install-recommends --download-only install "$@"; fi
exec dnf -y -q --downloadonly upgrade "$@"
"""
# The packages start their server by themselves: then it would join before its configuration was looked at. Everything else
# that they bring along (sshd among it, whose old process cannot start the new program) is to be restarted as they want.
_UNSTARTED = """
unit=$1; shift
systemctl mask --runtime --quiet "$unit" || exit
trap 'systemctl unmask --runtime --quiet "$unit"; systemctl daemon-reload' EXIT
trap 'exit 143' TERM INT HUP
"$@"
"""
_ACCEPTS = """
server=$(command -v mariadbd || command -v mysqld) || exit 1
said=$(runuser -u mysql -- "$server" --verbose --help 2>&1 >/dev/null) && exit
printf '%s\\n' "$said" | grep -F '[ERROR]' | sed 's/^.*\\[ERROR\\] //' | head -n 5
exit 1
"""
# What Debian's start script began by itself has ended by now (`unit.start`): two at once would hinder each other.
_TABLES = """
export LC_ALL=C
if mariadb-upgrade --check-if-upgrade-is-needed --silent >/dev/null 2>&1; then
    mariadb-upgrade --skip-write-binlog --silent || exit
fi
! mariadb-upgrade --check-if-upgrade-is-needed --silent >/dev/null 2>&1
"""


def upgrade(*, backup_first: bool = True, folder: str = FOLDER, keeper: str = "") -> Chain:
    """Bring the members to the release that the inventory names (`galera: release: {version: '11.8'}`), one at a time.

    All members are looked at before the first is touched: what the new release refuses of their settings, what would be
    locked out or cannot be read, packages, room. Then each in its turn, as in galera.roll: drained, stopped cleanly, new
    packages, started, joined, its system tables brought up, back in service; the writer last. The first surprise ends it
    with the others serving. Run again, it goes on where it stopped: a cluster of two releases works. There is no way back, so
    a full backup is taken before the first member.

    backup_first: no: without a backup.
    folder: where that goes.
    keeper: the host that keeps it; by default the member that it is taken from.
    """
    first = [backed_up(folder=folder, keeper=keeper)] if backup_first else []
    look_at = do(standing).within(_LOOK_SECONDS)
    return Chain("galera.upgrade", look_before(), Plan("look", look_at, partial(_prepared, first=first), DB | LOADBALANCER))


def standing(task: Task) -> Result[Standing]:
    """Observe a member or a load balancer, for an upgrade; of a member for which the inventory names no release no more."""
    node = Node(task)
    if node.name not in DB.hosts(task.nornir.inventory) or member_of(node)[0].release is None:
        return node.done(Standing(place(task).value))
    release = release_of(node)
    return node.done(Standing(place(task).value, fitness(task).value, release))


def release_of(node: Node) -> tuple[int, int]:
    """The release that the inventory names for this member."""
    galera, _ = member_of(node)
    if galera.product != "mariadb":
        raise UsageError(f"{node.name}: only MariaDB's way to a new release is known here, not {galera.product}'s")
    if galera.release is None:
        raise UsageError(f"{node.name}: {NO_RELEASE}")
    major, minor = galera.release.version.split(".")
    return int(major), int(minor)


def _prepared(seen: Seen[Standing], *, first: Sequence[Plan[Any]]) -> Chain:
    """A first judgement before anything is touched; then the backup, by the tools of the release that is there; then the
    repository on all, and a second judgement with what that has.
    """
    early = before_sources(seen)
    if not turns(early):
        return upgraded(seen)
    kept = first if nobody_yet(seen) else ()
    if all(fit.source_there for fit in fits(early).values()):
        return upgraded(seen, first=kept)
    again = Plan("look again", do(standing).within(_LOOK_SECONDS), upgraded, DB | LOADBALANCER)
    return Chain("source", *kept, Stage("source", [source], DB), again, reasons=["The packages' sources come first."])


def upgraded(seen: Seen[Standing], *, first: Sequence[Plan[Any]] = ()) -> Chain:
    """The chain for what was seen: a unit for each member's turn."""
    found = turns(seen)
    if not found:
        return Chain("nothing", reasons=["All members run the release that the inventory names."])
    said = remarks(fits(seen), next(one.release for one in seen.values.values() if one.release))
    units = [one(turn, waiting=down(found[place + 1 :], seen)) for place, turn in enumerate(found)]
    return Chain("upgrade", *first, *units, *proofs(), reasons=[*(f"{turn.why}." for turn in found), *said])


def one(turn: Turn, *, waiting: Sequence[str] = ()) -> Chain:
    """One member's turn: packages fetched while it serves, drained, upgraded, Synced and listed by all, back in service.

    waiting: members that are down, whose turn comes later.
    """
    name = turn.name
    well = gate(name, waiting)
    joined = Check(observe_member, partial(not_grown, name=name), DB, within=AGREE_SECONDS)
    out = [
        Stage("download", [fetch], hosts(name), before=well),
        Stage("drain", [do(set_server, server=name, state="drain")], LOADBALANCER, before=well),
        Stage("flag", [do(drain_flag, drained=True)], hosts(name), before=well),
        Stage("upgrade", [renew], hosts(name), before=well, until=joined),
        Stage("tables", [tables], hosts(name), before=well),
    ]
    parts = out if turn.restart else []
    return Chain(name, *parts, *back(name), unit=True, left=f"{name} may be left drained: run galera.upgrade again")


def fetch(task: Task) -> Result[None]:
    """Download the packages, while the member still serves."""
    node = Node(task)
    todo, ahead, _ = transaction(node)
    if ahead.lines:
        specs = (*todo.install, *(f"{name}-" for name in todo.remove))
        node.change(sh(_DOWNLOAD, *specs, label="download the new packages"), repeatable=True)
    return node.done()


def renew(task: Task) -> Result[Member]:
    """Stop this member cleanly, install the release, see that it takes the configuration, start it. One that crashed replays
    its log by the release that it has, first.

    The shutdown writes all pages (innodb_fast_shutdown 1, never 2: the new release cannot read the old redo log), and merges
    the change buffer where there may be one (0): 11.0 and later have none. Raises Refused where it would bootstrap, where XA
    transactions wait, where more would be removed than is replaced, or where the new server refuses the configuration.
    """
    node = Node(task)
    _, product = member_of(node)
    now = look(node)
    refuse([f"{node.name} would bootstrap a second cluster: {sentence}." for sentence in now.residue])
    fit = fitness(task).value
    fit = replace(fit, source_there=fit.source_there or not node.dry_run)
    release = release_of(node)
    seen = {node.name: fit}
    refuse(going_back(seen, release) or not_known(seen, release) or obstacles(seen, release))
    done = fit.on_disk and fit.on_disk.release == release
    if done and fit.running and fit.running.release == release:
        return node.done(now)
    todo, ahead, _ = transaction(node)
    if now.running:
        _stop(node, product.unit, fit)
    else:
        ready(node, now)  # by the release that wrote its log
    _install(node, product.unit, named(release), todo, ahead)
    start(node, product.unit, diff=f"+{node.name} joins with {named(release)}")
    return node.done(lambda: look(node))


def _stop(node: Node, unit: str, fit: Fitness) -> None:
    mode = _QUICK if fit.change_buffering == "none" else _MERGED
    Sql(node).change("SET GLOBAL innodb_fast_shutdown = %s", mode, what=f"innodb_fast_shutdown = {mode}", repeatable=True)
    shut_down(node, unit, diff=f"-{node.name} serves")


def _install(node: Node, unit: str, release: str, todo: Work, ahead: Forecast) -> None:
    command = MANAGERS[family(node).manager].transaction(todo, LOCK_SECONDS)
    diff = "\n".join(["--- packages", "+++ packages", *ahead.lines, ""])
    node.change(sh(_UNSTARTED, unit, *command.argv, label=f"upgrade to {release}"), diff=diff, repeatable=True)
    if node.dry_run:
        return
    said = node.read(sh(_ACCEPTS, label="ask the new server for its settings"), ok=None)
    if not said.ok:
        raise Refused(
            f"{node.name}: MariaDB {release} does not start with this configuration: {'; '.join(said.lines)}. Mend it (an"
            " `extra` of the inventory, or a file on the node), then run this again: it goes on from here."
        )


def tables(task: Task) -> Result[None]:
    """Bring the system tables up to the server's release, on this member alone (mariadb-upgrade --skip-write-binlog)."""
    node = Node(task)
    if fitness(task).value.due:
        node.change(sh(_TABLES, label="mariadb-upgrade --skip-write-binlog"), repeatable=True)
    return node.done()
