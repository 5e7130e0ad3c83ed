"""What systemctl has to do, and what clocks say: decisions on literals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.tasks.system.clock import Clock, parse, unsynchronised
from nornir_stack.tasks.system.services import UnitState, decide
from nornir_stack.tasks.system.services import parse as parse_unit

DOWN = UnitState("x.service", "loaded", "inactive", "dead", "disabled")
UP = replace(DOWN, active="active", sub="running", file="enabled")
MASKED = replace(DOWN, load="masked", file="masked")


@pytest.mark.parametrize(
    ("now", "wanted", "verbs"),
    [
        (DOWN, {}, ()),
        (DOWN, {"state": "started", "enabled": True}, ("enable", "start")),
        (UP, {"state": "started", "enabled": True}, ()),
        (UP, {"state": "stopped", "enabled": False}, ("stop", "disable")),
        (DOWN, {"state": "stopped", "enabled": False}, ()),
        (UP, {"state": "stopped", "masked": True}, ("stop", "mask")),
        (MASKED, {"masked": True, "enabled": False}, ()),
        (MASKED, {"masked": False, "state": "started", "enabled": True}, ("unmask", "enable", "start")),
        (replace(DOWN, active="failed", sub="failed"), {"state": "started"}, ("start",)),
        (replace(DOWN, active="failed", sub="failed"), {"state": "stopped"}, ()),
        (replace(DOWN, active="activating", sub="auto-restart"), {"state": "stopped"}, ("stop",)),
        (replace(DOWN, file="static"), {"enabled": True}, ()),
        (replace(UP, active="reloading"), {"state": "started"}, ()),
    ],
)
def test_verbs(now: UnitState, wanted: dict[str, Any], verbs: tuple[str, ...]) -> None:
    """Only what is missing is done, in an order that works."""
    assert decide(now, **{"state": None, "enabled": None, "masked": None, **wanted}) == verbs


def test_a_mask_is_somebodys_word() -> None:
    """A masked unit is started only if the mask is taken off by name; masked and started exclude each other."""
    with pytest.raises(Refused, match=r"x\.service is masked"):
        decide(MASKED, state="started", enabled=None, masked=None)
    with pytest.raises(UsageError, match="cannot be masked and started"):
        decide(DOWN, state="started", enabled=None, masked=True)


def test_systemctl_show() -> None:
    """Properties as systemd prints them, those of a unit that does not exist too."""
    text = (
        "Id=mariadb.service\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nResult=success\n"
        "MainPID=77\nNRestarts=1\nNeedDaemonReload=yes\nCanReload=no\nActiveEnterTimestampMonotonic=123\n"
    )
    assert parse_unit(text) == UnitState(
        "mariadb.service", "loaded", "active", "running", "enabled", "success", 77, 1, 123, stale=True, can_reload=False
    )
    gone = parse_unit("MainPID=0\nId=no.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\n")
    assert not gone.known


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("service the host\n", ("the host", True)),
        ("service chrony\nsynchronised yes\nleap Normal\n", ("chrony", True)),
        ("service chrony\nsynchronised yes\nleap Not synchronised\n", ("chrony", False)),
        ("service systemd-timesyncd\nsynchronised no\n", ("systemd-timesyncd", False)),
        ("synchronised yes\n", ("", False)),
    ],
)
def test_who_keeps_the_clock(text: str, said: tuple[str, bool]) -> None:
    """chrony's own word counts before the kernel's; without a service nothing keeps it."""
    assert parse(text) == said


def test_clocks() -> None:
    """Those that are kept and agree are no problem; what may be the network's delay is not held against them."""
    good = Clock(0.01, 0.005, "chrony", synchronised=True)
    assert unsynchronised(Seen({"db1": good, "db2": replace(good, offset=-0.3)})) == []
    assert unsynchronised(Seen({"db1": good, "db2": replace(good, offset=0.7, doubt=0.3)})) == []
    assert unsynchronised(Seen({"db1": good, "db2": replace(good, offset=2.0)})) == [
        "the clock of db2 is 2.0 s ahead of that of db1, and 0.5 s are allowed"
    ]
    assert unsynchronised(Seen({"db1": replace(good, service="", synchronised=False)}, {"db2": "unreachable"})) == [
        "db2 could not be asked for its time: unreachable",
        "db1: no service keeps its clock: install and start chrony",
    ]
    assert "chrony runs and is not synchronised" in unsynchronised(Seen({"db1": replace(good, synchronised=False)}))[0]
