"""One thing that an operator should know, how bad it is, and the words for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Severity: TypeAlias = Literal["severe", "look"]

_UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))
_TEN = 10


@dataclass(frozen=True)
class Trouble:
    """`subject` is a word or two (`disk /var`), `text` a sentence: what is, and where it leads."""

    severity: Severity
    subject: str
    text: str


def above(value: float, limits: Sequence[float]) -> Severity | None:
    """How bad a value is of which less is better."""
    return "severe" if value >= limits[1] else "look" if value >= limits[0] else None


def below(value: float, limits: Sequence[float]) -> Severity | None:
    """How bad a value is of which more is better."""
    return "severe" if value <= limits[1] else "look" if value <= limits[0] else None


def worse(*severities: Severity | None) -> Severity | None:
    """The worst of them."""
    return "severe" if "severe" in severities else "look" if "look" in severities else None


def size(count: float) -> str:
    """Bytes for people.

    >>> size(1536), size(40 << 30), size(12)
    ('1.5K', '40G', '12 bytes')
    """
    for factor, unit in _UNITS:
        if count >= factor:
            number = count / factor
            return f"{number:.1f}{unit}" if number < _TEN and number % 1 else f"{number:.0f}{unit}"
    return f"{count:.0f} bytes"


def days(count: float) -> str:
    """A time for people.

    >>> days(12.2), days(1), days(0.2)
    ('12 days', '1 day', '5 hours')
    """
    if count < 1:
        hours = max(round(count * 24), 1)
        return f"{hours} hour{'s' if hours > 1 else ''}"
    number = round(count)
    return f"{number} day{'s' if number > 1 else ''}"


def few(names: Iterable[str], most: int = 4) -> str:
    """Names, and how many more there are.

    >>> few(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more
