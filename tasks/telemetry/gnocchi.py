"""Gnocchi's archive policies: how long and how finely it keeps what it measures, by its API."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import ApiFailed, Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.tasks.maintenance.trouble import days

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result

_METRIC = {"service_type": "metric"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_ERROR = 400
# The most that one point of one aggregate takes (Gnocchi's manual, "How to plan for Gnocchi's storage"); packed it is less.
POINT = 8.04


@dataclass(frozen=True)
class Step:
    """One row of a policy: a point each `granularity` seconds, kept for `timespan` seconds."""

    granularity: int
    timespan: int

    @property
    def points(self) -> int:
        return self.timespan // self.granularity


@dataclass(frozen=True)
class Policy:
    """An archive policy; `methods` are its aggregations (mean, max...)."""

    label: str
    steps: tuple[Step, ...]
    methods: tuple[str, ...] = ()

    @property
    def bytes_per_metric(self) -> int:
        """The most that a metric comes to take, in bytes."""
        return int(sum(step.points for step in self.steps) * len(self.methods or ("mean",)) * POINT)


def archive_policies(task: Task) -> Result[tuple[Policy, ...]]:
    """Observe all archive policies."""
    node = Node(task)
    return node.done(_policies(node))


def archive_policy(task: Task, *, label: str, steps: Sequence[str], methods: Sequence[str] = ()) -> Result[Policy]:
    """Have an archive policy of this name keep points as said: `steps=5m:30d,1h:365d` (granularity:timespan).

    Of one that is there only timespans can be changed (Gnocchi's rule): metrics are cut or go on growing accordingly.
    methods: aggregations of a new one; by default Gnocchi's own.
    Raises Refused where a granularity would have to change, UsageError for a step that is none.
    """
    wanted = tuple(sorted({parse_step(text) for text in steps}, key=lambda step: step.granularity))
    node = Node(task)
    now = next((policy for policy in _policies(node) if policy.label == label), None)
    definition = [{"granularity": step.granularity, "timespan": step.timespan} for step in wanted]
    if now is None:
        body: dict[str, Any] = {"name": label, "definition": definition}
        if methods:
            body["aggregation_methods"] = list(methods)
        Cloud(node).change(f"make the archive policy {label}", lambda cloud: _post(cloud, body), diff=diff(label, (), wanted))
    elif changed(now, wanted):
        what = f"change the archive policy {label}"
        patch = {"definition": definition}
        Cloud(node).change(
            what, lambda cloud: _patch(cloud, label, patch), diff=diff(label, now.steps, wanted), repeatable=True
        )
    return node.done(lambda: next(policy for policy in _policies(node) if policy.label == label))


def changed(now: Policy, wanted: tuple[Step, ...]) -> bool:
    """Whether timespans differ. Raises Refused where granularities do: no finer points can be made of coarse ones. Pure."""
    if [step.granularity for step in now.steps] != [step.granularity for step in wanted]:
        shown = ", ".join(f"{step.granularity} s" for step in now.steps)
        raise Refused(
            f"the archive policy {now.label} has points each {shown}, and Gnocchi does not change that: "
            "keep these and change the timespans, or make another policy"
        )
    return now.steps != wanted


def parse_step(text: str) -> Step:
    """`5m:30d` as seconds. Pure.

    >>> parse_step("5m:30d")
    Step(granularity=300, timespan=2592000)
    """
    found = re.fullmatch(r"(\d+)([smhdw]):(\d+)([smhdw])", text.strip())
    if not found or not int(found[1]):
        raise UsageError(f"{text!r} is no step of a policy: write granularity:timespan, such as 5m:30d")
    granularity, timespan = int(found[1]) * _UNITS[found[2]], int(found[3]) * _UNITS[found[4]]
    if timespan < granularity or timespan % granularity:
        raise UsageError(f"{text!r}: the timespan has to be a multiple of the granularity")
    return Step(granularity, timespan)


def parse_policy(body: dict[str, Any]) -> Policy:
    """From the API, where spans are `0:05:00`, `30 days, 0:00:00` or seconds. Pure."""
    rows = [Step(seconds(row["granularity"]), seconds(row["timespan"])) for row in body["definition"]]
    return Policy(
        body["name"], tuple(sorted(rows, key=lambda step: step.granularity)), tuple(sorted(body["aggregation_methods"]))
    )


def seconds(span: str | float) -> int:
    """A span of the API in seconds. Pure.

    >>> seconds("30 days, 1:00:05"), seconds(60.0)
    (2595605, 60)
    """
    if isinstance(span, int | float):
        return int(span)
    found = re.fullmatch(r"(?:(\d+) days?, )?(\d+):(\d+):(\d+)(?:\.\d+)?", span)
    if not found:
        raise UsageError(f"Gnocchi gave a span that is not understood: {span!r}")
    whole, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((whole * 24 + hours) * 60 + minutes) * 60 + rest


def diff(label: str, old: Sequence[Step], new: Sequence[Step]) -> str:
    """For people: points in seconds, kept for days. Pure."""
    gone = [f"-each {step.granularity} s for {days(step.timespan / 86400)}" for step in old if step not in new]
    come = [f"+each {step.granularity} s for {days(step.timespan / 86400)}" for step in new if step not in old]
    return "\n".join([f"--- archive policy {label}", f"+++ archive policy {label}", *gone, *come, ""])


def _policies(node: Node) -> tuple[Policy, ...]:
    return Cloud(node).read("archive policies", lambda cloud: tuple(map(parse_policy, _get(cloud))))


def _get(cloud: Connection) -> Any:
    return _judged(cloud.session.get("/v1/archive_policy", endpoint_filter=_METRIC, raise_exc=False))


def _post(cloud: Connection, body: dict[str, Any]) -> Any:
    return _judged(cloud.session.post("/v1/archive_policy", json=body, endpoint_filter=_METRIC, raise_exc=False))


def _patch(cloud: Connection, label: str, body: dict[str, Any]) -> Any:
    return _judged(cloud.session.patch(f"/v1/archive_policy/{label}", json=body, endpoint_filter=_METRIC, raise_exc=False))


def _judged(answer: Any) -> Any:
    if answer.status_code >= _ERROR:
        raise ApiFailed("gnocchi", answer.status_code, str(answer.text)[:300])
    return answer.json()
