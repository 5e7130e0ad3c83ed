"""What a rolling change has to know of members and load balancers, in one look."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.select import role
from nornir_stack.tasks.cluster import probe
from nornir_stack.tasks.cluster.observe import look, member_of
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.loadbalancer.health import DRAIN_FLAG
from nornir_stack.tasks.loadbalancer.runtime import Backends, backends
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import MANAGERS
from nornir_stack.tasks.system.transaction import Work

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.member import Member

LOADBALANCER = role("loadbalancer")
# The start by the monotonic clock, which systemd and /proc/uptime share; the configuration by the wall clock.
_SCRIPT = r"""
export LC_ALL=C
unit=$1 flag=$2; shift 2
now=$(date +%s)
read -r up rest </proc/uptime
start=$(systemctl show -p ExecMainStartTimestampMonotonic --value "$unit")
pid=$(systemctl show -p MainPID --value "$unit")
echo "started $(( now - ${up%.*} + ${start:-0} / 1000000 ))"
exe=$(readlink "/proc/$pid/exe" 2>/dev/null)
case $exe in *' (deleted)') echo "replaced $exe";; esac
[ ! -e "$flag" ] || echo drained
for p in /proc/[0-9]*; do
    IFS= read -r c 2>/dev/null <"$p/comm" || continue
    case $c in mariadb-backup|mariabackup|xtrabackup|mariadb-dump|mysqldump|mydumper) echo "backup $c";; esac
done
! systemctl is-active --quiet nornir-stack-backup.service || echo "backup galera.backup"
for path; do
    if [ -d "$path" ]; then find "$path" -name '*.cnf' -exec stat -L -c 'config %Y %n' {} +
    elif [ -f "$path" ]; then stat -L -c 'config %Y %n' "$path"; fi
done 2>/dev/null
:
"""
CHECK_UPDATE = """
export LC_ALL=C
dnf -q check-update "$@" </dev/null
:
"""
_LIST_SECONDS = 50.0


@dataclass(frozen=True)
class Upkeep:
    """A member with what a rolling change asks beside: times are seconds since 1970.

    `started`: when its server's process began (of one that is down: the last); `configured`: the newest of its
    configuration files, which is `config`; `replaced`: its program was replaced on the disk since.
    `pending`: lines of what an upgrade would bring (`-name old`, `+name new`), if that was asked for.
    """

    member: Member
    started: int = 0
    configured: int = 0
    config: str = ""
    replaced: bool = False
    drained: bool = False
    """The drain flag is set: a rolling change, or somebody, took it out of service and has not ended."""
    backups: tuple[str, ...] = ()
    """Backups that run on its node: a member that is restarted would spoil them."""
    pending: tuple[str, ...] = ()
    held_back: tuple[str, ...] = ()
    """Packages that would be upgraded, were they not held at their version."""


@dataclass(frozen=True)
class Place:
    """What a host is to a rolling change: a member, a load balancer, or both."""

    upkeep: Upkeep | None = None
    backends: Backends | None = None


def place(task: Task, *, upgrade: bool = False) -> Result[Place]:
    """Observe a member or a load balancer. `upgrade`: and what newer packages its sources have."""
    node = Node(task)
    member = upkeep(task, upgrade=upgrade).value if node.name in DB.hosts(task.nornir.inventory) else None
    balancer = backends(task).value if node.name in LOADBALANCER.hosts(task.nornir.inventory) else None
    return node.done(Place(member, balancer))


def upkeep(task: Task, *, upgrade: bool = False) -> Result[Upkeep]:
    """Observe a member with the age of its server and configuration, backups that run, and newer packages (`upgrade`)."""
    node = Node(task)
    _, product = member_of(node)
    text = node.read(sh(_SCRIPT, product.unit, DRAIN_FLAG, *probe.CONFIG, label="look at the server's age")).stdout
    seen = parse(text, look(node))
    if not upgrade:
        return node.done(seen)
    pending, held_back = _newer(node)
    return node.done(replace(seen, pending=pending, held_back=held_back))


def parse(text: str, member: Member) -> Upkeep:
    """The value of what the script printed."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        said.setdefault(word, []).append(value)
    files = [(int(written), path) for written, _, path in (entry.partition(" ") for entry in said.get("config", ()))]
    configured, config = max(files, default=(0, ""))
    return Upkeep(
        member,
        int(said.get("started", ["0"])[0]),
        configured,
        config,
        replaced="replaced" in said,
        drained="drained" in said,
        backups=tuple(said.get("backup", ())),
    )


def to_upgrade(node: Node) -> Work:
    """The transaction that brings the member's packages to the newest that its sources have, without starting anything."""
    galera, product = member_of(node)
    names = (*product.packages, *((product.backup,) if galera.sst_method != "rsync" else ()))
    return Work(install=names, no_start=True)


def _newer(node: Node) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What an upgrade would bring, by lines; and which of these packages are held."""
    kind = family(node).manager
    manager, work = MANAGERS[kind], to_upgrade(node)
    if kind == "dnf":
        lines = newer_by_dnf(node.read(sh(CHECK_UPDATE, *work.install, label="dnf check-update"), timeout=_LIST_SECONDS).stdout)
    else:
        forecast = manager.forecast(work)
        lines = manager.parse_forecast(node.read(forecast).stdout).lines if forecast else ()
    held = manager.parse_state(node.read(manager.state(work.install)).stdout).held
    named = {line[1:].partition(" ")[0] for line in lines}
    return lines, tuple(sorted(held & named))


def newer_by_dnf(text: str) -> tuple[str, ...]:
    """From `dnf check-update`: `MariaDB-server.x86_64   10.11.9-1.el9   mariadb`.

    Indented is what one of them would replace; one that replaces may stand there twice.
    """
    rows = [line.split() for line in text.splitlines() if not line.startswith(" ")]
    packages = [row for row in rows if len(row) == 3 and "." in row[0]]  # noqa: PLR2004  columns
    return tuple(dict.fromkeys(f"+{row[0].rpartition('.')[0]} {row[1]}" for row in packages))
