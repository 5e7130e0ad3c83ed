"""Packages made present, absent or held, by apt or dnf; a service that a package brings need not start."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from nornir_stack.command import command
from nornir_stack.errors import CommandFailed, Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.tasks.system import apt, dnf
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.transaction import Forecast, State, Work, diff, not_found, refuse_collateral, work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.command import Command
    from nornir_stack.results import Result

LOCK_SECONDS = 300
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9+._-]*$")


class Manager(Protocol):
    """What the module of a package manager provides: commands, and pure readers of what they print."""

    def state(self, names: Sequence[str]) -> Command: ...
    def parse_state(self, text: str) -> State: ...
    def forecast(self, wanted: Work) -> Command | None: ...
    def parse_forecast(self, text: str) -> Forecast: ...
    def refresh(self, seconds: int) -> Command: ...
    def transaction(self, wanted: Work, seconds: int) -> Command: ...
    def upgrade(self, seconds: int) -> Command: ...
    def missing(self, said: str) -> tuple[str, ...]: ...
    def holds(self, hold: Sequence[str], release: Sequence[str], seconds: int) -> Command: ...


MANAGERS: Mapping[str, Manager] = {"apt": apt, "dnf": dnf}


def packages(
    task: Task,
    *,
    present: Sequence[str] = (),
    absent: Sequence[str] = (),
    held: Sequence[str] = (),
    released: Sequence[str] = (),
    no_start: bool = False,
) -> Result[Mapping[str, str]]:
    """Make packages present, absent, held at their version (`apt-mark hold`, `dnf versionlock`) or released from that.

    The value is the version of each of `present` and `held`. One read decides: with nothing to do that is all. Lists of
    packages are fetched anew only when a wanted one is not found in them, or they are older than the sources or a day.
    A lock that another dpkg, dnf or rpm holds is waited for, five minutes; a dpkg that was cut is finished first; conffiles
    stay as they are; nothing is taken out that is not in `absent`. Recommended packages are not brought along. On Red Hat a
    name may carry a version (`haproxy-2.4.22`), and a package takes the place of what it obsoletes.

    `no_start`: no service starts during the installation, and what the named packages bring is disabled after it, so no
    boot starts it either: Debian does both by itself, a package of Red Hat's the second at most. Raises Refused for a
    package that the node's sources do not have.
    """
    wanted = checked(present, absent, held, released)
    node = Node(task)
    manager = MANAGERS[family(node).manager]
    now = manager.parse_state(node.read(manager.state(wanted.named)).stdout)
    hold, release = to_hold(wanted, now), tuple(name for name in wanted.released if name in now.held)
    todo = work(wanted.present, wanted.absent, now, no_start=no_start)
    if todo.needed:
        _transact(node, manager, todo)
    if hold or release:
        lines = [*(f"+{name} held" for name in hold), *(f"-{name} held" for name in release)]
        node.change(
            manager.holds(hold, release, LOCK_SECONDS), what="hold or release packages", diff=diff(lines), repeatable=True
        )
    if not node.gate.effects:
        return node.done(versions(wanted, now))
    return node.done(lambda: _seen_again(node, manager, wanted))


def _transact(node: Node, manager: Manager, todo: Work) -> None:
    forecast = _forecast(node, manager, todo)
    lines = forecast.lines or todo.lines
    if todo.release:
        node.change(manager.holds((), todo.release, LOCK_SECONDS), what=f"release {' '.join(todo.release)}", repeatable=True)
    try:
        node.change(manager.transaction(todo, LOCK_SECONDS), what=todo.what, diff=diff(lines), repeatable=True)
    except CommandFailed as failure:
        unknown = manager.missing(failure.output.stdout + failure.output.stderr)
        if unknown:
            raise Refused(not_found(unknown, node.name)) from failure
        # the script is of no interest to an operator; what the package manager said is
        raise CommandFailed(replace(failure.output, command=command(*todo.what.split()))) from None


def _forecast(node: Node, manager: Manager, todo: Work) -> Forecast:
    look = manager.forecast(todo)
    if look is None:
        return Forecast()
    found = manager.parse_forecast(node.read(look).stdout)
    if todo.install and (found.unknown or found.stale):
        node.change(manager.refresh(LOCK_SECONDS), what="fetch the lists of packages", repeatable=True)
        if node.dry_run:
            return found
        found = manager.parse_forecast(node.read(look).stdout)
    if found.unknown:
        raise Refused(not_found(found.unknown, node.name))
    if found.against:
        raise Refused(f"{node.name}: {'; '.join(found.against)}")
    refuse_collateral(found, todo, node.name)
    return found


def _seen_again(node: Node, manager: Manager, wanted: Wanted) -> Mapping[str, str]:
    now = manager.parse_state(node.read(manager.state(wanted.named)).stdout)
    left = work(wanted.present, wanted.absent, now, no_start=False)
    if left.needed:
        raise Refused(f"{node.name}: the package manager ended well, and still there is to do: {left.what}: see its log")
    if loose := [name for name in wanted.held if name not in now.held]:
        raise Refused(f"{node.name}: the package manager ended well, and does not hold {' or '.join(loose)}: see its log")
    return versions(wanted, now)


@dataclass(frozen=True)
class Wanted:
    """What was asked for, checked."""

    present: tuple[str, ...]
    absent: tuple[str, ...]
    held: tuple[str, ...]
    released: tuple[str, ...]

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.present, *self.absent, *self.held, *self.released)))


def checked(present: Sequence[str], absent: Sequence[str], held: Sequence[str], released: Sequence[str]) -> Wanted:
    """What was asked for. Raises UsageError for what is no package's name, and for wishes that exclude each other."""
    wanted = Wanted(*(tuple(dict.fromkeys(names)) for names in (present, absent, held, released)))
    for name in wanted.named:
        if not _NAME.match(name):
            raise UsageError(f"{name!r} is no package's name")
    if not wanted.named:
        raise UsageError("packages: name at least one, by present, absent, held or released")
    for one, other in (("present", "absent"), ("held", "absent"), ("held", "released")):
        both = set(getattr(wanted, one)) & set(getattr(wanted, other))
        if both:
            raise UsageError(f"packages: {', '.join(sorted(both))} cannot be both {one} and {other}")
    return wanted


def to_hold(wanted: Wanted, now: State) -> tuple[str, ...]:
    """Those to hold. A package that is not installed, nor about to be, cannot be held at a version: UsageError."""
    for name in wanted.held:
        if name not in wanted.present and not now.installed(name):
            raise UsageError(f"packages: {name} is to be held and is not installed: name it in present too")
    return tuple(name for name in wanted.held if name not in now.held)


def versions(wanted: Wanted, now: State) -> dict[str, str]:
    """Package to version, of those wanted."""
    names = (name for name in wanted.named if name not in wanted.absent)
    return {name: now.packages[name].version for name in names if now.installed(name)}
