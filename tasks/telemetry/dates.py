"""Dates as operators type them. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from nornir_stack.errors import UsageError

_FORM = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?)?(?:Z|\+00:00)?")
_AGE = re.compile(r"(\d+)d")
_MONTHS = 12


def cutoff(text: str, now: datetime) -> datetime:
    """The moment that is meant, in UTC: `2016-03-18`, `2016-03-18T19:30:07Z`, or an age, `90d`.

    >>> cutoff("90d", datetime(2026, 4, 1, tzinfo=timezone.utc)).date().isoformat()
    '2026-01-01'

    Raises UsageError for what is no date (the notebook's month 18), and for one that is still to come: it would take all.
    """
    if age := _AGE.fullmatch(text):
        return now - timedelta(days=int(age[1]))
    found = _FORM.fullmatch(text)
    if not found:
        raise UsageError(f"{text!r} is no date: write it as 2016-03-18 or 2016-03-18T19:30:07Z, in UTC, or as an age, 90d")
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    try:
        when = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError as why:
        swapped = f": did you mean {year:04}-{day:02}-{month:02}?" if month > _MONTHS and 1 <= day <= _MONTHS else ""
        raise UsageError(f"{text!r} is no date ({why}){swapped}") from None
    if when >= now:
        raise UsageError(f"{text!r} is not past: everything is older than that")
    return when
