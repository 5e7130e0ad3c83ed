"""Dates, times to live, archive policies: decisions."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.tasks.config.ini import edited, values
from nornir_stack.tasks.config.values import texts
from nornir_stack.tasks.telemetry.ceilometer import sections
from nornir_stack.tasks.telemetry.dates import cutoff
from nornir_stack.tasks.telemetry.gnocchi import Policy, Step, changed, diff, parse_policy, parse_step, seconds

NOW = datetime(2016, 6, 1, tzinfo=timezone.utc)
KILO = """\
[DEFAULT]
#verbose = false

[alarm]
# Record alarm change events. (boolean value)
#record_history=true

[database]
# Number of seconds that samples are kept in the database for
# Deprecated group/name - [database]/time_to_live
#metering_time_to_live=-1
#event_time_to_live=-1
time_to_live=99
"""
JUNO = "[database]\n# (<= 0 means forever). (integer value)\n#time_to_live=-1\n"
ZED = "[DEFAULT]\n#debug = false\n[database]\n#connection = <None>\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-03-18", "2016-03-18T00:00:00+00:00"),
        ("2016-03-18T19:30:07.805Z", "2016-03-18T19:30:07+00:00"),
        ("2016-03-18 19:30", "2016-03-18T19:30:00+00:00"),
        ("31d", "2016-05-01T00:00:00+00:00"),
    ],
)
def test_dates(text: str, expected: str) -> None:
    """A day, a moment in UTC, an age."""
    assert cutoff(text, NOW).isoformat() == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2016-18-03T19:30:07.805Z", r"no date .*did you mean 2016-03-18\?"),
        ("2016-02-30", "no date"),
        ("2016-02-30T25:00", "no date"),
        ("2017-01-01", "not past"),
        ("2016-06-01", "not past"),
        ("18.03.2016", "is no date: write it as"),
        ("2016-03-18T19:30:07+02:00", "in UTC"),
        ("", "is no date"),
    ],
)
def test_what_is_no_date(text: str, words: str) -> None:
    """The notebook's month 18 with what was meant; a moment to come, which would take everything."""
    with pytest.raises(UsageError, match=words):
        cutoff(text, NOW)


def test_time_to_live_by_the_names_of_the_release() -> None:
    """Kilo's new names, with the old one taken out; below their comments. History in [alarm], as wanted and not as typed."""
    wanted = sections(KILO, days=7, history=False)
    assert wanted == {
        "database": {"metering_time_to_live": 604800, "event_time_to_live": 604800, "time_to_live": None},
        "alarm": {"record_history": False},
    }
    new = edited(KILO, texts(KILO, wanted, dialect="oslo"))
    assert "#record_history=true\nrecord_history=false\n" in new
    assert "#metering_time_to_live=-1\nmetering_time_to_live=604800\n" in new
    assert values(new, "database", "time_to_live") == ()
    assert sections(new, days=7, history=False)["database"]["metering_time_to_live"] == 604800
    assert sections(JUNO, days=0.5, history=True) == {
        "database": {"time_to_live": 43200},
        "alarm": {"record_history": True},
    }


def test_todays_ceilometer_keeps_nothing() -> None:
    """The key would be written and read by nobody: refused, with what serves. 0 days would mean for ever."""
    with pytest.raises(Refused, match="archive_policy"):
        sections(ZED, days=7, history=False)
    with pytest.raises(UsageError, match="for ever"):
        sections(KILO, days=0, history=False)


API: dict[str, Any] = {
    "name": "low",
    "aggregation_methods": ["mean", "max"],
    "definition": [
        {"granularity": "1:00:00", "timespan": "365 days, 0:00:00", "points": 8760},
        {"granularity": "0:05:00", "timespan": "30 days, 0:00:00", "points": 8640},
    ],
}
LOW = Policy("low", (Step(300, 30 * 86400), Step(3600, 365 * 86400)), ("max", "mean"))


def test_policies_as_the_api_has_them() -> None:
    """Spans in words; what a metric comes to take: points, by aggregations, by 8.04 bytes."""
    assert parse_policy(API) == LOW
    assert LOW.bytes_per_metric == int((8640 + 8760) * 2 * 8.04)
    assert (seconds("0:00:30"), seconds(300.0)) == (30, 300)
    with pytest.raises(UsageError):
        seconds("a while")


@pytest.mark.parametrize("text", ["5m", "0s:1d", "5m:7s", "7m:1h", "1x:1d", ""])
def test_what_is_no_step(text: str) -> None:
    """A timespan that is no multiple, none at all, another unit."""
    with pytest.raises(UsageError):
        parse_step(text)


def test_only_timespans_change() -> None:
    """Other granularities are refused; the difference in words."""
    shorter = (Step(300, 10 * 86400), LOW.steps[1])
    assert changed(LOW, shorter)
    assert not changed(LOW, LOW.steps)
    with pytest.raises(Refused, match=r"points each 300 s, 3600 s"):
        changed(LOW, (Step(60, 86400),))
    assert diff("low", LOW.steps, shorter).splitlines()[2:] == ["-each 300 s for 30 days", "+each 300 s for 10 days"]
