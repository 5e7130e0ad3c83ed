"""How long an old Ceilometer keeps its samples, and whether it records each change of an alarm."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.config.apply import apply
from nornir_stack.tasks.config.ini import parsed
from nornir_stack.tasks.telemetry.settings import Telemetry

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.config.apply import Applied
    from nornir_stack.tasks.config.settings import Value

_DAY = 86400
# [database] of ceilometer.conf. Juno renamed the first to the second and reads both; Kilo added the others.
_SAMPLES = ("metering_time_to_live", "time_to_live")
_MORE = ("event_time_to_live", "alarm_history_time_to_live")


def retention(task: Task, *, days: float, history: bool = False) -> Result[Applied]:
    """Have Ceilometer keep samples (and events, where it can) for so many days, and record changes of alarms or not.

    The notebook's `time_to_live` and `record_history`; restarts Ceilometer's services if the file changed since they began.
    MongoDB takes old samples out by itself then; of SQL `ceilometer-expirer` does, by cron.
    Raises Refused for a Ceilometer of today, which keeps nothing itself: `telemetry.archive_policy` is for Gnocchi.
    """
    path = settings_of(task.host, Telemetry).config
    text = Node(task).read_file(path)
    if text is None:
        raise Refused(f"there is no {path}: is Ceilometer installed here?")
    return apply(task, files={path: sections(text, days=days, history=history)})


def sections(text: str, *, days: float, history: bool) -> dict[str, dict[str, Value]]:
    """What to set in this ceilometer.conf, by the names that its release knows (as the file's comments have them). Pure."""
    if days <= 0:
        raise UsageError("days has to be above 0: a time to live of 0 or less means for ever")
    known = {key for key in (*_SAMPLES, *_MORE) if _mentioned(text, key)}
    if not known:
        raise Refused(
            "this ceilometer.conf knows no time_to_live, not as a comment either: today's Ceilometer (since Queens) keeps no "
            "samples itself; see telemetry.archive_policy for Gnocchi"
        )
    seconds = int(days * _DAY)
    samples = next((key for key in _SAMPLES if key in known), _SAMPLES[1])
    values: dict[str, Value] = {key: seconds for key in (samples, *_MORE) if key in known or key == samples}
    if samples == _SAMPLES[0] and _SAMPLES[1] in parsed(text).get("database", {}):
        values[_SAMPLES[1]] = None  # the old name of the same, which would say something else
    return {"database": values, "alarm": {"record_history": history}}


def _mentioned(text: str, key: str) -> bool:
    return bool(re.search(rf"^\s*[#;]?\s*{key}\s*[=:]", text, re.MULTILINE))
