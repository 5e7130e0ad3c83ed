"""`galera.roll`: restart, new configuration or newer packages, one member after the other, under load."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Bound, Chain, Check, Plan, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster.acts import ready
from nornir_stack.tasks.cluster.certificates import look_before
from nornir_stack.tasks.cluster.judge import not_grown, not_running
from nornir_stack.tasks.cluster.observe import look, member_of, observe_member
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.release import other_release
from nornir_stack.tasks.cluster.rolling import not_back, not_safe, turns
from nornir_stack.tasks.cluster.steps import AGREE_SECONDS, proofs
from nornir_stack.tasks.cluster.unit import shut_down, start
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER, place, to_upgrade
from nornir_stack.tasks.loadbalancer.health import drain_flag
from nornir_stack.tasks.loadbalancer.runtime import backends, set_server
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import LOCK_SECONDS, MANAGERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member
    from nornir_stack.tasks.cluster.rolling import Turn
    from nornir_stack.tasks.cluster.upkeep import Place

BACK_SECONDS = 60.0  # a load balancer's health checks, until it trusts a member again
_DOWNLOAD = """
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
exec </dev/null
if command -v apt-get >/dev/null; then exec apt-get -y -q --no-install-recommends --download-only install "$@"; fi
exec dnf -y -q --downloadonly install "$@"
"""
_UPGRADE_TABLES = """
if mariadb-upgrade --check-if-upgrade-is-needed --silent >/dev/null 2>&1; then exec mariadb-upgrade --silent; fi
"""


def roll(*, members: Sequence[str] = (), upgrade: bool = False, only_changed: bool = True) -> Chain:
    """Restart the members that need it, one at a time: those whose configuration or program is newer than their server.

    First all certificates are looked at: who could not join again is not stopped. Before every step all members are looked
    at, and all load balancers: nobody is stopped while anybody is not Synced, in a transfer or a donor, while a backup runs,
    or where nobody else would serve. Each is drained first (in the load balancers, and by its flag for those that are not in
    the inventory) and put back after; the writer of a single-writer listener comes last. The first surprise ends it with the
    others serving; run again, it first finishes the member that it left drained.

    members: these and no others, whether they need it or not.
    upgrade: bring their packages to the newest that their sources have. Only within a release of the database.
    only_changed: no: all members.
    """
    decide = partial(rolled, members=tuple(members), upgrade=upgrade, only_changed=only_changed)
    look_at = Plan("look", do(place, upgrade=upgrade).within(_LOOK_SECONDS), decide, DB | LOADBALANCER)
    return Chain("galera.roll", look_before(), *([Stage("lists", [lists], DB)] if upgrade else []), look_at)


_LOOK_SECONDS = 180.0  # a package manager may be slow to say what it has


def rolled(seen: Seen[Place], *, members: Sequence[str], upgrade: bool, only_changed: bool) -> Chain:
    """The chain for what was seen: a unit for each member's turn."""
    found = turns(seen, members=members, only_changed=only_changed)
    if upgrade and (beyond := _beyond(seen)):
        raise Refused(f"Nobody is restarted: {' '.join(beyond)}")
    if not found:
        return Chain("nothing", reasons=["No member needs a restart."])
    units = [one(turn, upgrade=upgrade and bool(_upkeep_pending(seen, turn.name))) for turn in found]
    return Chain("roll", *units, *proofs(), reasons=[f"{turn.why}." for turn in found])


def _beyond(seen: Seen[Place]) -> list[str]:
    """Whose packages would bring another release of the database: that is galera.upgrade, with its own looks."""
    kept = {name: place.upkeep for name, place in seen.items() if place.upkeep}
    new = {name: other_release(one.member.version, one.pending) for name, one in kept.items()}
    return [
        f"The packages of {name} would bring {to}, another release: that is galera.upgrade." for name, to in new.items() if to
    ]


def _upkeep_pending(seen: Seen[Place], name: str) -> tuple[str, ...]:
    upkeep = seen[name].upkeep
    return upkeep.pending if upkeep else ()


def one(turn: Turn, *, upgrade: bool) -> Chain:
    """One member's turn: drained, restarted, Synced and listed by all, back in service."""
    name = turn.name
    parts = [*_out(name, upgrade=upgrade), _restart(name, upgrade=upgrade)] if turn.restart else []
    return Chain(name, *parts, *back(name), unit=True, left=f"{name} may be left drained: run galera.roll again")


def gate(name: str, waiting: Sequence[str] = ()) -> Check[Place]:
    """Nobody is stopped, drained or restarted unless all others are well, but for those who wait for their own turn."""
    return Check(place, partial(not_safe, name=name, waiting=tuple(waiting)), DB | LOADBALANCER)


def _out(name: str, *, upgrade: bool) -> list[Stage]:
    download = [Stage("download", [fetch], hosts(name), before=gate(name))] if upgrade else []
    return [
        *download,
        Stage("drain", [do(set_server, server=name, state="drain")], LOADBALANCER, before=gate(name)),
        Stage("flag", [do(drain_flag, drained=True)], hosts(name), before=gate(name)),
    ]


def _restart(name: str, *, upgrade: bool) -> Stage:
    joined = Check(observe_member, partial(not_grown, name=name), DB, within=AGREE_SECONDS)
    task: Bound = do(upgraded) if upgrade else do(restarted)
    return Stage("upgrade" if upgrade else "restart", [task], hosts(name), before=gate(name), until=joined)


def back(name: str) -> list[Stage]:
    """Back into service, whatever happened before, unless the member itself is not well: then it stays drained."""
    well = Check(observe_member, partial(not_running, name=name), DB)
    trusted = Check(backends, partial(not_back, name=name), LOADBALANCER, within=BACK_SECONDS)
    return [
        Stage("unflag", [do(drain_flag, drained=False)], hosts(name), before=well, always=True),
        Stage("undrain", [do(set_server, server=name, state="ready")], LOADBALANCER, before=well, until=trusted, always=True),
    ]


def restarted(task: Task) -> Result[Member]:
    """Restart this member, or start it where it is down; it returns when its server says that it is ready."""
    node = Node(task)
    _, product = member_of(node)
    now = _refuse_residue(node)
    if not now.running:
        ready(node, now)
    start(node, product.unit, verb="restart", diff=f"+{node.name} restarts")
    return node.done(lambda: look(node))


def upgraded(task: Task) -> Result[Member]:
    """Stop this member, install its packages' newest versions, start it, and mend its system tables if that is needed."""
    node = Node(task)
    _, product = member_of(node)
    now = _refuse_residue(node)
    if not now.running:
        ready(node, now)
    manager = MANAGERS[family(node).manager]
    shut_down(node, product.unit, diff=f"-{node.name} serves")
    work = to_upgrade(node)
    node.change(manager.transaction(work, LOCK_SECONDS), what=f"upgrade {' '.join(work.install)}", repeatable=True)
    node.change("systemctl", "daemon-reload", repeatable=True)
    start(node, product.unit, diff=f"+{node.name} joins")
    node.change(sh(_UPGRADE_TABLES, label="mariadb-upgrade, if it is needed"), repeatable=True)
    return node.done(lambda: look(node))


def fetch(task: Task) -> Result[None]:
    """Download the packages, while the member still serves."""
    node = Node(task)
    names = to_upgrade(node).install
    node.change(sh(_DOWNLOAD, *names, label=f"download {' '.join(names)}"), repeatable=True)
    return node.done()


def lists(task: Task) -> Result[None]:
    """Fetch the lists of packages where they are older than a day or than the sources."""
    node = Node(task)
    manager = MANAGERS[family(node).manager]
    forecast = manager.forecast(to_upgrade(node))
    if forecast and manager.parse_forecast(node.read(forecast).stdout).stale:
        node.change(manager.refresh(LOCK_SECONDS), what="fetch the lists of packages", repeatable=True)
    return node.done()


def _refuse_residue(node: Node) -> Member:
    now = look(node)
    if now.residue:
        raise Refused(f"{node.name} would bootstrap a second cluster: {'; '.join(now.residue)}. Run galera.recover first.")
    return now
