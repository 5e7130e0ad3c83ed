"""The parameters of packstack's answer file, version by version: what there is, what each takes, its default. Pure.

The lists are data, `lists/VERSION.tsv`; each names its source in its head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.errors import UsageError
from nornir_stack.secret import Secret
from nornir_stack.select import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir_stack.tasks.packstack.settings import Answer

LISTS = Path(__file__).parent / "lists"
_HOW = "write `!secret env:NAME`, `!secret file:PATH` or `!secret cmd:COMMAND`"
_MADE = "?"
_WHOLE = re.compile(r"-?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_PORTS = range(1, 65536)


@dataclass(frozen=True)
class Parameter:
    """One parameter. `kind` is text, secret, whole, number, port, or one or some of its `options`.

    `default` is None where packstack makes one when it runs (a password, an address of its own), or the list does not know.
    """

    name: str
    kind: str
    options: tuple[str, ...] = ()
    default: str | None = None


@cache
def parameters(version: str) -> Mapping[str, Parameter]:
    """Name to parameter, in the order of the answer file. Raises UsageError for a version without a list."""
    path = LISTS / f"{version}.tsv"
    if not path.is_file():
        known = sorted(each.stem for each in LISTS.glob("*.tsv"))
        raise UsageError(f"packstack {version!r}: there is a list of parameters for {', '.join(known)}")
    return {one.name: one for one in _read(path.read_text(encoding="utf-8"))}


def _read(text: str) -> Iterator[Parameter]:
    for line in text.splitlines():
        if not line.startswith("#"):
            name, kind, default = line.split("\t")
            word, _, options = kind.partition(":")
            yield Parameter(name, word, tuple(filter(None, options.split(","))), None if default == _MADE else default)


def complaint(version: str, name: str, value: Answer) -> str:
    """What is wrong with an answer, as a sentence; nothing if it may stand. A secret's value is not looked at."""
    known = parameters(version)
    if name not in known:
        return f"packstack {version} has no such parameter{nearest(name, known)}"
    return _judged(known[name], value)


def _judged(known: Parameter, value: Answer) -> str:
    if isinstance(value, Secret):
        return "" if known.kind in {"secret", "text"} else f"is no secret: packstack takes {_takes(known)}"
    if known.kind == "secret":
        return f"stands here in plain text: {_HOW}"
    text = written(value)
    if text != text.strip() or not text.isprintable() or " ;" in text:
        return f"{text!r} would not be read back: one line, no blanks at its ends, no ` ;`"
    fits = {
        "one": lambda: text in known.options,
        "some": lambda: not text or all(word.strip() in known.options for word in text.split(",")),
        "whole": lambda: _WHOLE.fullmatch(text) is not None,
        "number": lambda: _NUMBER.fullmatch(text) is not None,
        "port": lambda: text.isdigit() and int(text) in _PORTS,
    }.get(known.kind)
    return "" if fits is None or fits() else f"{text!r} is not {_takes(known)}"


def _takes(known: Parameter) -> str:
    listed = ", ".join(known.options)
    return {
        "one": f"one of {listed}",
        "some": f"of {listed}, with commas",
        "whole": "a whole number",
        "number": "a number",
        "port": "a port",
    }.get(known.kind, known.kind)


def written(value: Answer) -> str:
    """An answer as it stands in the file. Reveals a secret."""
    return value.reveal() if isinstance(value, Secret) else str(value)
