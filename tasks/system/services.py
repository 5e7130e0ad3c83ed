"""Services: what systemd says of a unit, and making it so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from nornir_stack.command import Output, command, sh
from nornir_stack.errors import CommandFailed, Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.secret import mask

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

SETTLE_SECONDS = 90
_START_SECONDS = 900.0
_JOURNAL_LINES = "20"
_PASSING = frozenset({"activating", "deactivating", "reloading", "refreshing", "maintenance"})

# One `systemctl show` is enough where the unit rests. $2 is how many looks, a fifth of a second apart, a unit that is
# between two states is given; one that was just started has to rest in two looks, since a simple service that dies at
# once is `active` for a moment.
_SHOW = r"""
export LC_ALL=C
looks=$2 still=$3 last=
while :; do
    now=$(systemctl show --no-pager -p Id,LoadState,ActiveState,SubState,UnitFileState,Result,MainPID,NRestarts \
-p NeedDaemonReload,CanReload,ActiveEnterTimestampMonotonic -- "$1")
    case $now in
    *ActiveState=activating*|*ActiveState=deactivating*|*ActiveState=reloading*|*ActiveState=refreshing*) ;;
    *) if [ "$still" = 0 ] || [ "$now" = "$last" ]; then break; fi ;;
    esac
    if [ "$looks" -le 0 ]; then break; fi
    looks=$((looks - 1)) last=$now
    sleep 0.2
done
printf '%s\n' "$now"
"""
_WHY = r"""
export LC_ALL=C SYSTEMD_COLORS=0
systemctl status --no-pager --full --lines=0 -- "$1" 2>&1
journalctl --no-pager --quiet -o cat -n "$2" -u "$1" 2>&1
:
"""


@dataclass(frozen=True)
class UnitState:
    """A unit as systemd sees it, systemctl(1) `show`. `since` is in microseconds after boot: it moves with a restart."""

    name: str
    load: str
    active: str
    sub: str
    file: str
    result: str = "success"
    pid: int = 0
    restarts: int = 0
    since: int = 0
    stale: bool = False
    can_reload: bool = False

    @property
    def known(self) -> bool:
        return self.load != "not-found"

    @property
    def running(self) -> bool:
        return self.active in {"active", "reloading", "refreshing"}

    @property
    def enabled(self) -> bool:
        return self.file in {"enabled", "enabled-runtime"}

    @property
    def masked(self) -> bool:
        return self.load == "masked" or self.file in {"masked", "masked-runtime"}

    @property
    def settled(self) -> bool:
        return self.active not in _PASSING


def unit_state(task: Task, *, unit: str) -> Result[UnitState]:
    """Observe a unit, one that does not exist too (`known` is False)."""
    node = Node(task)
    return node.done(_look(node, unit))


def service(
    task: Task,
    *,
    unit: str,
    state: Literal["started", "stopped"] | None = None,
    enabled: bool | None = None,
    masked: bool | None = None,
) -> Result[UnitState]:
    """Make a unit started or stopped, enabled or not at boot, masked or not; what is left out stays as it is.

    A unit between two states is waited for. Never restarts: see `restart`. Raises Refused where there is no such unit,
    CommandFailed with the unit's status and the end of its journal where it does not start.
    """
    node = Node(task)
    now = _look(node, unit, seconds=SETTLE_SECONDS)
    if not now.known and not node.dry_run:
        if state != "started" and not enabled and masked is None:
            return node.done(now)
        raise Refused(f"{node.name}: systemd knows no unit {unit}: install what brings it, or check the name")
    for verb in decide(now, state=state, enabled=enabled, masked=masked):
        _act(node, verb, now)
    if not now.known:  # a dry run: an earlier part of the chain may be about to install it
        return node.done(lambda: _look(node, unit))
    if not node.gate.effects:
        return node.done(now)
    return node.done(lambda: _as_wanted(node, unit, state))


def restart(task: Task, *, unit: str) -> Result[UnitState]:
    """Restart a unit, always; returns when it rests again. Raises Refused, CommandFailed as `service` does."""
    node = Node(task)
    now = _look(node, unit)
    _refuse_unknown(node, now)
    _act(node, "restart", now)
    return node.done(lambda: _as_wanted(node, unit, "started"))


def reload(task: Task, *, unit: str) -> Result[UnitState]:
    """Let a running unit read its configuration again, always. Raises Refused for one that cannot, or does not run."""
    node = Node(task)
    now = _look(node, unit)
    _refuse_unknown(node, now)
    if now.known and not (now.running and now.can_reload):
        why = "cannot reload" if now.running else f"is {now.active}"
        raise Refused(f"{node.name}: {unit} {why}: restart it instead")
    _act(node, "reload", now)
    return node.done(lambda: _as_wanted(node, unit, "started"))


def decide(
    now: UnitState, *, state: Literal["started", "stopped"] | None, enabled: bool | None, masked: bool | None
) -> tuple[str, ...]:
    """The verbs of systemctl that are needed, in order. Raises UsageError for wishes that exclude each other."""
    if masked and (state == "started" or enabled):
        raise UsageError(f"{now.name} cannot be masked and started or enabled")
    masked_then = now.masked if masked is None else masked
    if masked_then and not masked and (state == "started" or enabled):
        raise Refused(f"{now.name} is masked: somebody said that it must not start; say masked=no if it may")
    verbs = []
    if masked is False and now.masked:
        verbs.append("unmask")
    if state == "stopped" and (now.running or now.active == "activating"):
        verbs.append("stop")
    if masked and not now.masked:
        verbs.append("mask")
    # A unit under a mask hides whether it is enabled, and cannot be disabled; static ones are as enabled as they get.
    if enabled and not now.enabled and now.file not in {"static", "indirect", "generated", "alias"}:
        verbs.append("enable")
    if enabled is False and not masked_then and (now.enabled or now.masked):
        verbs.append("disable")
    if state == "started" and not now.running:
        verbs.append("start")
    return tuple(verbs)


def parse(text: str) -> UnitState:
    """The state from what `systemctl show` printed."""
    at = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    return UnitState(
        name=at["Id"],
        load=at["LoadState"],
        active=at["ActiveState"],
        sub=at["SubState"],
        file=at.get("UnitFileState", ""),
        result=at.get("Result", "success"),
        pid=int(at.get("MainPID") or 0),
        restarts=int(at.get("NRestarts") or 0),
        since=int(at.get("ActiveEnterTimestampMonotonic") or 0),
        stale=at.get("NeedDaemonReload") == "yes",
        can_reload=at.get("CanReload") == "yes",
    )


def _look(node: Node, name: str, *, seconds: int = 0, twice: bool = False) -> UnitState:
    show = sh(_SHOW, name, str(seconds * 5), "1" if twice else "0")
    return parse(node.read(show, timeout=seconds + 60.0).stdout)


def _act(node: Node, verb: str, now: UnitState) -> None:
    if verb in {"start", "restart", "reload", "enable"} and now.stale:
        node.change("systemctl", "daemon-reload", repeatable=True)
    done = node.change("systemctl", verb, "--", now.name, ok=None, timeout=_START_SECONDS, repeatable=verb != "restart")
    if not node.dry_run and not done.ok:
        raise _failure(node, now.name, done)


def _as_wanted(node: Node, name: str, state: str | None) -> UnitState:
    now = _look(node, name, seconds=SETTLE_SECONDS, twice=state == "started")
    if state == "started" and not (now.running and now.settled):
        said = f"{name} was started and is {now.active} ({now.sub}, {now.result})"
        raise _failure(node, name, Output(command("systemctl", "start", name), 1, b"", said.encode(), 0.0))
    return now


def _failure(node: Node, name: str, done: Output) -> CommandFailed:
    """The failed command, and why: the unit's status and the end of its journal."""
    why = node.read(sh(_WHY, name, _JOURNAL_LINES), ok=None).stdout
    text = mask(f"{done.stderr.strip()}\n{why}")
    return CommandFailed(replace(done, err=text.encode("utf-8", "surrogateescape")))


def _refuse_unknown(node: Node, now: UnitState) -> None:
    if not now.known and not node.dry_run:
        raise Refused(f"{node.name}: systemd knows no unit {now.name}: install what brings it, or check the name")
