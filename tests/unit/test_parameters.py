"""The signature is the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
from nornir.core.task import Task  # noqa: TC002  task functions are inspected

from nornir_stack.errors import UsageError
from nornir_stack.parameters import arguments, parameters
from nornir_stack.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path as Folder


def form(
    *,
    size: str = "1G",
    count: int = 3,
    ratio: float = 0.5,
    force: bool = False,
    mode: Literal["soft", "hard"] = "soft",
    missing: Sequence[str] = (),
    ports: tuple[int, ...] = (3306,),
    password: Secret | None = None,
    folder: Folder | None = None,
    settings: Mapping[str, int] | None = None,
    judge: Callable[[str], str] | None = None,
) -> None:
    """Form it."""


def needy(task: Task, device: str, *, label: str = "") -> None:
    """Needs a device."""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["size=4G"], {"size": "4G"}),
        (["size="], {"size": ""}),
        (["size=a=b"], {"size": "a=b"}),
        (["count=5"], {"count": 5}),
        (["ratio=0.25"], {"ratio": 0.25}),
        (["force=yes"], {"force": True}),
        (["force=false"], {"force": False}),
        (["mode=hard"], {"mode": "hard"}),
        (["missing=db1"], {"missing": ("db1",)}),
        (["missing=db1, db2,"], {"missing": ("db1", "db2")}),
        (["missing=db1", "missing=db2,db3"], {"missing": ("db1", "db2", "db3")}),
        (["missing="], {"missing": ()}),
        (["ports=3306,4567"], {"ports": (3306, 4567)}),
        (["password="], {"password": None}),
        (["password=env:PW"], {"password": Secret("env:PW")}),
        (["password=file:/etc/pw"], {"password": Secret("file:/etc/pw")}),
        (['settings={"a": 1}'], {"settings": {"a": 1}}),
    ],
)
def test_words_become_values_of_the_annotated_types(words: list[str], expected: dict[str, Any]) -> None:
    """Every `name=value` is read by the parameter's annotation, those under TYPE_CHECKING too."""
    assert expected == arguments(form, words)


def test_types_keep_their_kind() -> None:
    """5 for an int is an int, not the text, and not a float."""
    assert int is type(arguments(form, ["count=5"])["count"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sice=1"], "form has no parameter 'sice': did you mean 'size'?"),
        (["zzz=1"], "form has no parameter 'zzz'; it takes: size, count,"),
        (["size"], "'size' is no parameter: parameters of form are given as name=value"),
        (["count=many"], "count=many: input should be a valid integer, unable to parse string as an integer (wanted: int)"),
        (["force=perhaps"], "force=perhaps: input should be a valid boolean"),
        (["mode=hardd"], "mode=hardd: input should be 'soft' or 'hard' (wanted: soft|hard)"),
        (["ports=1,x"], "ports=x: input should be a valid integer"),
        (["size=1", "size=2"], "size is given 2 times, and takes one value"),
        (["password=hunter22"], "password is a secret and never given as it is"),
        (["password=cmd:"], "password: a secret's reference: expected env:NAME, file:PATH or cmd:COMMAND"),
        (["judge=len"], "judge is a Callable, which only Python code can give"),
    ],
)
def test_a_wrong_word_is_told_in_a_sentence(words: list[str], said: str) -> None:
    """Unknown names get the nearest, wrong types what was wanted; nothing is guessed."""
    with pytest.raises(UsageError) as caught:
        arguments(form, words)
    assert said in str(caught.value)


def test_a_literal_secret_is_not_repeated() -> None:
    """The refusal of a literal secret does not show it again."""
    with pytest.raises(UsageError) as caught:
        arguments(form, ["password=hunter22"])
    assert "hunter22" not in str(caught.value)


def test_the_task_is_no_parameter_and_what_has_no_default_must_be_given() -> None:
    """A task's first argument comes from Nornir; `device` has to be typed."""
    assert [one.name for one in parameters(needy)] == ["device", "label"]
    with pytest.raises(UsageError, match="needy needs device="):
        arguments(needy, [])


def test_types_and_defaults_read_as_they_are_typed() -> None:
    """What help shows can be typed back."""
    shown = {one.name: (one.type, one.shown_default) for one in parameters(form)}
    assert shown["size"] == ("str", "1G")
    assert shown["force"] == ("yes|no", "no")
    assert shown["mode"] == ("soft|hard", "soft")
    assert shown["missing"] == ("str,...", "")
    assert shown["ports"] == ("int,...", "3306")
    assert shown["password"] == ("secret", "")


def test_hyphens_in_names_are_underscores() -> None:
    """`buffer-pool=4G` is what some type."""

    def tuned(*, buffer_pool: str = "") -> None: ...

    assert arguments(tuned, ["buffer-pool=4G"]) == {"buffer_pool": "4G"}
