"""How statuses and times read: the same words, marks and colours in progress and reports."""

from __future__ import annotations

from collections import Counter

from nornir_stack.results import Status

_STYLES = {
    Status.OK: "green",
    Status.CHANGED: "yellow",
    Status.SKIPPED: "dim",
    Status.UNKNOWN: "magenta",
    Status.NOT_REACHED: "dim red",
}
_MARKS = {Status.OK: "✔", Status.CHANGED: "✔", Status.SKIPPED: "-", Status.UNKNOWN: "?"}
_PLAIN_MARKS = {Status.OK: "+", Status.CHANGED: "+", Status.SKIPPED: "-", Status.UNKNOWN: "?"}


def style_of(status: Status) -> str:
    """The colour of a status."""
    return _STYLES.get(status, "bold red")


def mark_of(status: Status, encoding: str) -> str:
    """One character for a status that the terminal can show."""
    return _MARKS.get(status, "✘") if encoding.lower().startswith("utf") else _PLAIN_MARKS.get(status, "x")


def writable(text: str, encoding: str | None) -> str:
    """The text as a stream can write it: what has no place in its encoding (and bytes of a node that are no text) escaped.

    >>> writable("naïve \\udce9", "ascii")
    'na\\\\xefve \\\\udce9'
    """
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def elapsed(seconds: float) -> str:
    """Wall time for people: `0.4 s`, `41.2 s`, `3 min 05 s`, `1 h 02 min`.

    >>> elapsed(185.2)
    '3 min 05 s'
    """
    if seconds < 59.95:  # noqa: PLR2004  what would be shown as 60.0 s
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"  # noqa: PLR2004


def word_of(status: Status, *, dry_run: bool) -> str:
    """A status as people read it: in a dry run nothing changed, it would."""
    return "would change" if dry_run and status is Status.CHANGED else str(status)


def count_words(statuses: list[Status], *, dry_run: bool) -> str:
    """`1 ok, 2 changed`."""
    counted = Counter(statuses)
    return ", ".join(f"{counted[status]} {word_of(status, dry_run=dry_run)}" for status in Status if counted[status])
