"""Chains and tasks by name."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from typing import TYPE_CHECKING

import pytest

from nornir_stack import catalogue
from nornir_stack.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "catalogue_made_up.py").write_text(
        'def form(*, size="1G"):\n    """Form it.\n\n    More."""\n\ndef swap(task, *, size): ...\n\nnumber = 3\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "catalogue_made_up", raising=False)
    points = EntryPoints(
        [
            EntryPoint("made.swap", "catalogue_made_up:swap", "nornir_stack.operations"),
            EntryPoint("made.form", "catalogue_made_up:form", "nornir_stack.chains"),
            EntryPoint("made.gone", "catalogue_made_up:gone", "nornir_stack.chains"),
        ]
    )
    monkeypatch.setattr(catalogue, "entry_points", lambda group: points.select(group=group))


@pytest.mark.usefixtures("made_up")
def test_entries_are_sorted_and_know_their_kind() -> None:
    """Both groups are read; nothing is imported for it."""
    assert [(entry.name, entry.kind) for entry in catalogue.entries()] == [
        ("made.form", "chain"),
        ("made.gone", "chain"),
        ("made.swap", "task"),
    ]
    assert "catalogue_made_up" not in sys.modules


@pytest.mark.usefixtures("made_up")
def test_a_name_or_a_python_path_finds_the_function() -> None:
    """`made.form` and `module:function` are the same function; the first argument tells a task from a chain."""
    entry = catalogue.find("made.form")
    assert catalogue.summary(entry.load()) == "Form it."
    assert entry.load() is catalogue.find("catalogue_made_up:form").load()
    assert [catalogue.find(f"catalogue_made_up:{name}").kind for name in ("form", "swap")] == ["chain", "task"]


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("made.from", "there is no chain and no task 'made.from': did you mean 'made.form'?"),
        ("zzz", "`nornir-stack list` shows what there is"),
        ("catalogue_made_up:number", "is no function but int"),
        ("catalogue_made_up:nothing", "cannot import 'catalogue_made_up:nothing'"),
        ("no_such_module_here:form", "No module named 'no_such_module_here'"),
        (":", "cannot import ':'"),
    ],
)
def test_a_wrong_name_is_told(name: str, said: str) -> None:
    """A usage error with the nearest name, never a traceback."""
    with pytest.raises(UsageError) as caught:
        catalogue.find(name)
    assert said in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [("def f(:", "SyntaxError: "), ("1 / 0", "ZeroDivisionError: division by zero")])
def test_a_module_with_a_fault_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    """The user's own module: what is wrong with it, and no fault of ours."""
    (tmp_path / "catalogue_faulty.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "catalogue_faulty", raising=False)
    with pytest.raises(UsageError, match=f"cannot import 'catalogue_faulty:f': {said}"):
        catalogue.find("catalogue_faulty:f")
