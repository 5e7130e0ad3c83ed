"""What is to be done about packages, from what dpkg, apt, rpm and dnf print."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from nornir_stack.errors import Refused, UsageError
from nornir_stack.tasks.system import apt, dnf
from nornir_stack.tasks.system.packages import MANAGERS, checked, to_hold, versions
from nornir_stack.tasks.system.transaction import Forecast, Installed, State, Work, not_found, refuse_collateral, work

CASES: dict[str, dict[str, Any]] = YAML(typ="safe").load(
    (Path(__file__).parents[2] / "cases/system/packages.yaml").read_text("utf-8")
)
FORECASTS: dict[str, dict[str, Any]] = YAML(typ="safe").load(
    (Path(__file__).parents[2] / "cases/system/forecasts.yaml").read_text("utf-8")
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_work(case: dict[str, Any]) -> None:
    """The work follows from the state, and on its result there is none left."""
    manager = MANAGERS[case["manager"]]
    wanted = (case.get("present", ()), case.get("absent", ()))
    todo = work(*wanted, manager.parse_state(case["state"]), no_start=False)
    assert list(todo.install) == case.get("install", [])
    assert list(todo.remove) == case.get("remove", [])
    assert list(todo.release) == case.get("release", [])
    assert todo.finish == case.get("finish", False)
    assert not work(*wanted, manager.parse_state(case["then"]), no_start=False).needed


def test_the_forecast_of_apt() -> None:
    """A package without a candidate, or not named at all, is unknown; what would come, go and be replaced is a diff."""
    text = textwrap.dedent("""\
        stale no
        asked socat
        asked nosuch
        asked virtual
        asked bash
        socat:
          Installed: (none)
          Candidate: 1.7.4
          Version table:
             1.7.4 500
        virtual:
          Installed: (none)
          Candidate: (none)
          Version table:
        bash:
          Installed: 5.1
          Candidate: 5.2
        simulation
        Remv mariadb-client [1:10.11.6-0] [mariadb-server:amd64 ]
        Inst socat (1.7.4 Debian:12.5/stable [amd64])
        Inst bash [5.1] (5.2 Debian:12.5/stable [amd64]) []
        Conf socat (1.7.4 Debian:12.5/stable [amd64])
        """)
    assert apt.parse_forecast(text) == Forecast(
        unknown=("nosuch", "virtual"),
        stale=False,
        lines=("-mariadb-client 1:10.11.6-0", "+socat 1.7.4", "-bash 5.1", "+bash 5.2"),
        removed=("mariadb-client",),
    )
    assert apt.parse_forecast("stale yes\nsimulation\n").stale


def test_the_forecast_of_a_removal_by_rpm() -> None:
    """Packages that would lose what they need are told by rpm's test; by dnf's those too that need those."""
    said = (
        "leaves libx 1.0-1.el9\n"
        "error: Failed dependencies:\n\tlibx.so.1()(64bit) is needed by (installed) app-tools-1.0-3.el9.x86_64\n"
    )
    assert dnf.parse_forecast(said).removed == ("app-tools",)
    by_dnf = textwrap.dedent("""\
        --> Starting dependency resolution
        --> Finding unneeded leftover dependencies
        ---> Package app-suite.noarch 1.0-1.el9 will be erased
        ---> Package app-tools.x86_64 1.0-3.el9 will be erased
        ---> Package libx.x86_64 1.0-1.el9 will be erased
        --> Finished dependency resolution
        Dependencies resolved.
        """)
    seen = dnf.parse_forecast(said + by_dnf)
    assert seen.removed == ("app-tools", "app-suite")
    assert seen.lines[0] == "-libx 1.0-1.el9"


@pytest.mark.parametrize("case", FORECASTS.values(), ids=FORECASTS)
def test_the_forecast_of_dnf(case: dict[str, Any]) -> None:
    """What dnf 4.14 printed for an installation, and what is read from it."""
    against = tuple(case.get("against", ()))
    unknown, lines = tuple(case.get("unknown", ())), tuple(case.get("lines", ()))
    assert dnf.parse_forecast(case["said"]) == Forecast(unknown, bool(case.get("stale")), lines, (), against)


def test_nothing_else_is_removed() -> None:
    """More than was named would go: refused with the names; exactly that: fine."""
    wanted = Work(remove=("a",))
    refuse_collateral(Forecast(removed=("a",)), wanted, "db1")
    with pytest.raises(Refused, match="db1: to remove a would also remove b, c: name them in absent if they may go"):
        refuse_collateral(Forecast(removed=("b", "a", "c")), wanted, "db1")


def test_words_of_the_managers_for_a_missing_package() -> None:
    """Both managers' own words are understood, and the sentence names the host and the packages."""
    assert apt.missing("x\nE: Unable to locate package foo\nE: Package 'bar' has no installation candidate\n") == ("foo", "bar")
    assert dnf.missing("No match for argument: foo\nError: Unable to find a match: foo bar\n") == ("foo", "bar")
    assert "db1: no package foo or bar in the node's sources" in not_found(("foo", "bar"), "db1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], [], [], []), "name at least one"),
        ((["a"], ["a"], [], []), "both present and absent"),
        (([], ["a"], ["a"], []), "both held and absent"),
        (([], [], ["a"], ["a"]), "both held and released"),
        ((["a b"], [], [], []), "'a b' is no package's name"),
        ((["--force"], [], [], []), "is no package's name"),
        ((["libstdc++6", "g++", "x", "lib*"], [], [], []), "'lib\\*' is no package's name"),
    ],
)
def test_wishes_that_make_no_sense(arguments: Any, said: str) -> None:
    """They are refused before anything is looked at."""
    with pytest.raises(UsageError, match=said):
        checked(*arguments)


def test_holds() -> None:
    """What is held stays so; a package that is not there can only be held if it is to come."""
    now = State({"a": Installed("1"), "b": Installed("2")}, frozenset({"a"}))
    assert to_hold(checked([], [], ["a", "b"], []), now) == ("b",)
    assert to_hold(checked(["c"], [], ["c"], []), now) == ("c",)
    with pytest.raises(UsageError, match="c is to be held and is not installed"):
        to_hold(checked([], [], ["c"], []), now)
    assert versions(checked(["a", "c"], [], ["b"], []), now) == {"a": "1", "b": "2"}


def test_names_reach_the_script_as_values() -> None:
    """No name is ever part of a script's text."""
    todo = Work(install=("g++",), remove=("socat",), no_start=True)
    for made in (
        apt.state(["g++"]),
        apt.transaction(todo, 5),
        apt.forecast(todo),
        dnf.transaction(todo, 5),
        dnf.state(["g++"]),
    ):
        assert made is not None
        assert "g++" in made.argv
        assert "g++" not in made.argv[2]
    assert apt.transaction(todo, 5).argv[-2:] == ("g++", "socat-")
