"""Reports: read by name, kept as JSON, never without a host."""

from __future__ import annotations

import dataclasses
import json

import pytest
from nornir.core.task import Task  # noqa: TC002  task functions are inspected

from nornir_stack.errors import UsageError
from nornir_stack.results import (
    Attempt,
    HostReport,
    Report,
    Result,
    StageReport,
    Status,
    TaskReport,
    function_name,
    masked,
    worst,
)
from nornir_stack.secret import Secret


@dataclasses.dataclass(frozen=True)
class Member:
    state: str


def observe(task: Task) -> Result[Member]:
    """Look."""
    return Result(task.host, Member("Synced"))


def task_report(status: Status = Status.OK, **more: object) -> TaskReport:
    return dataclasses.replace(TaskReport("observe", status, function=function_name(observe)), **more)  # type: ignore[arg-type]


def report_of(*statuses: Status, dry_run: bool = False, **more: object) -> Report:
    hosts = tuple(HostReport(f"db{n}", status, tasks=(task_report(status),)) for n, status in enumerate(statuses, 1))
    stage = StageReport("prepare", "stage", worst(statuses), hosts)
    return dataclasses.replace(Report("made.form", "r1", dry_run, (stage,)), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], Status.SKIPPED),
        ([Status.OK, Status.SKIPPED], Status.OK),
        ([Status.OK, Status.CHANGED], Status.CHANGED),
        ([Status.CHANGED, Status.UNKNOWN], Status.UNKNOWN),
        ([Status.UNREACHABLE, Status.FAILED, Status.OK], Status.FAILED),
    ],
)
def test_the_worst_status_stands_for_several(statuses: list[Status], expected: Status) -> None:
    """What needs attention first is what is shown."""
    assert worst(statuses) is expected


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (report_of(Status.OK), 0),
        (report_of(Status.CHANGED), 0),
        (report_of(Status.OK, Status.FAILED), 1),
        (report_of(Status.UNREACHABLE), 1),
        (report_of(Status.NOT_REACHED), 1),
        (report_of(Status.OK, error="no lock"), 1),
        (report_of(Status.OK, dry_run=True), 0),
        (report_of(Status.UNKNOWN, dry_run=True), 3),
        (report_of(Status.FAILED, dry_run=True), 1),
        (report_of(Status.OK, interrupted=True), 130),
    ],
)
def test_exit_codes(report: Report, code: int) -> None:
    """0 as wanted, 1 a host did not end well, 3 pending, 130 interrupted."""
    assert report.exit_code == code


@pytest.mark.parametrize(("kind", "code"), [("stage", 1), ("plan", 0)])
def test_a_host_that_was_tolerated_is_not_as_wanted(kind: str, code: int) -> None:
    """A stage may go on without a host; the run is not as wanted for that. Whom a plan did not see is the plan's decision."""
    stage = StageReport("prepare", kind, Status.OK, (HostReport("db1", Status.OK), HostReport("db2", Status.UNREACHABLE)))
    assert Report("c", "r", stages=(stage,)).exit_code == code


def test_a_pending_change_is_3_only_in_a_dry_run() -> None:
    """What was changed is as wanted now; what would change is not yet."""
    changed = HostReport("db1", Status.CHANGED, tasks=(task_report(Status.CHANGED, changed=True, effects=("write /a",)),))
    stage = StageReport("prepare", "stage", Status.CHANGED, (changed,))
    assert [Report("c", "r", dry, (stage,)).exit_code for dry in (False, True)] == [0, 3]
    assert Report("c", "r", stages=(stage,)).changed == ("prepare db1: write /a",)


def test_a_value_is_found_by_task_and_host() -> None:
    """The last answer counts; what never ran there is a usage error and not None."""
    hosts = tuple(HostReport("db1", Status.OK, tasks=(task_report(value=Member(state)),)) for state in ("Joined", "Synced"))
    report = Report("c", "r", stages=tuple(StageReport(f"s{n}", "stage", Status.OK, (host,)) for n, host in enumerate(hosts)))
    assert report.value(observe, "db1") == Member("Synced")
    with pytest.raises(UsageError, match="has no value for 'db2'"):
        report.value(observe, "db2")


def test_stages_and_hosts_are_read_by_name() -> None:
    """A wrong name is told with what there is."""
    report = report_of(Status.OK)
    assert report.stage("prepare").host("db1").status is Status.OK
    with pytest.raises(UsageError, match="it has: prepare"):
        report.stage("verify")
    with pytest.raises(UsageError, match="did not select host 'db9'"):
        report.stage("prepare").host("db9")


def test_json_gives_the_report_back() -> None:
    """Everything but the type of values survives; a value is plain data then."""
    attempt = Attempt(Status.FAILED, "busy", 1.0, 2.0)
    task = task_report(Status.CHANGED, changed=True, diff="-a\n+b", value=Member("Synced"), effects=("w",), attempts=(attempt,))
    stage = StageReport("prepare", "stage", Status.CHANGED, (HostReport("db1", Status.CHANGED, tasks=(task,)),), ("p",))
    report = Report("c", "r", stages=(stage,), left=("db2 is drained",), warnings=("w",), duration=float("inf"))
    back = Report.from_json(report.to_json())
    assert back.stage("prepare").host("db1").tasks[0].value == {"state": "Synced"}
    plain = dataclasses.replace(task, value={"state": "Synced"})
    hosts = (dataclasses.replace(stage.hosts[0], tasks=(plain,)),)
    assert back == dataclasses.replace(report, stages=(dataclasses.replace(stage, hosts=hosts),))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 99}', '{"version": 1, "more": 1}', "null"])
def test_what_is_no_report_is_a_usage_error(text: str) -> None:
    """Another version, or something else altogether."""
    with pytest.raises(UsageError):
        Report.from_json(text)


def test_no_secret_leaves_by_json() -> None:
    """A revealed secret is blotted out wherever a report holds it: values, errors, keys."""
    word = Secret(literal="correct horse battery").reveal()
    task = task_report(Status.FAILED, value={"password": word, word: 1}, error=f"access denied for {word}")
    stage = StageReport("s", "stage", Status.FAILED, (HostReport("db1", Status.FAILED, "", (task,)),))
    report = Report("c", "r", stages=(stage,))
    assert word not in report.to_json()
    assert json.loads(report.to_json())["stages"][0]["hosts"][0]["tasks"][0]["error"] == "access denied for ********"
    assert masked([word, {word: word}, 3]) == ["********", {"********": "********"}, 3]


def test_a_result_reads_as_its_value() -> None:
    """What print_result shows: the value, why it was skipped, or the error."""
    host: object = None
    assert str(Result(host, "Synced")) == "Synced"  # type: ignore[arg-type]
    assert str(Result(host, None, skipped="no disk")) == "skipped: no disk"  # type: ignore[arg-type]
