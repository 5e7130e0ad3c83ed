"""What an operator is told, how bad it is, and in which words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nornir_stack.errors import Refused
from nornir_stack.results import Report, StageReport, Status
from nornir_stack.seen import Seen
from nornir_stack.tasks.maintenance.condition import (
    Array,
    BackupSeen,
    Certificate,
    Condition,
    Disk,
    Drive,
    FailedUnit,
    Kernel,
    Keys,
    Log,
    Memory,
    Namespace,
    Queue,
    Rabbit,
    Updates,
)
from nornir_stack.tasks.maintenance.history import DAY, Sample
from nornir_stack.tasks.maintenance.judging import troubles
from nornir_stack.tasks.maintenance.metrics import exposition
from nornir_stack.tasks.maintenance.settings import Backup, Care
from nornir_stack.tasks.maintenance.survey import Surveyed, judged, table
from nornir_stack.tasks.maintenance.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_700_000_000.0
GIB = 1 << 30
WELL = Condition(NOW, clock_keeper="chrony", updates=Updates(lists=int(NOW)))
DEAD = Namespace("qdhcp-1", 2, 0)
CARE = Care(backups={"db": Backup(files="/b/*.gz")})


def told(seen: Condition, care: Care | None = None, history: Sequence[Sample] = ()) -> list[tuple[str, str, str]]:
    return [(one.severity, one.subject, one.text) for one in troubles(seen, care or Care(), history)]


def disk(percent: int) -> Disk:
    return Disk("/var", "/dev/vdb", "ext4", 100 * GIB, percent * GIB, (100 - percent) * GIB, 1000, 10)


@pytest.mark.parametrize(
    ("seen", "severity", "subject", "words"),
    [
        (replace(WELL, disks=(disk(85),)), "look", "disk /var", "85 % full, 15G left."),
        (replace(WELL, disks=(disk(97),)), "severe", "disk /var", "97 % full, 3G left."),
        (replace(WELL, disks=(replace(disk(1), inodes_used=960),)), "severe", "inodes /var", "96 % used"),
        (replace(WELL, memory=Memory(100 * GIB, 8 * GIB)), "look", "memory", "8G of 100G are available"),
        (replace(WELL, memory=Memory(pressure=45.0)), "severe", "memory", "In 45 % of the last five minutes"),
        (replace(WELL, memory=Memory(swap=4 * GIB, swap_free=GIB)), "look", "swap", "3G of 4G are used"),
        (replace(WELL, arrays=(Array("md0", "1 of 2 disks"), Array("md1"))), "severe", "RAID md0", "1 of 2 disks"),
        (replace(WELL, drives=(Drive("sda", notes=("8 reallocated sectors",)),)), "look", "disk sda", "8 reallocated"),
        (replace(WELL, drives=(Drive("sda", "FAILED!"),)), "severe", "disk sda", "replace it"),
        (replace(WELL, failed=(FailedUnit("x.service", "failed", "exit-code", 0, 5),)), "severe", "x.service", "It failed"),
        (replace(WELL, failed=(FailedUnit("x.service", "auto-restart", "", 9, 5),)), "severe", "x.service", "9 times"),
        (replace(WELL, certificates=(Certificate("/c", "db", int(NOW + 20 * DAY)),)), "look", "certificate", "in 20 days"),
        (replace(WELL, certificates=(Certificate("/c", "db", int(NOW - DAY)),)), "severe", "certificate", "ended on"),
        (replace(WELL, keys=(Keys("/k/fernet-keys", 3, int(NOW - 40 * DAY), exposed=False),)), "look", "keys", "40 days ago"),
        (replace(WELL, keys=(Keys("/k/credential-keys", 1, 0, exposed=True),)), "severe", "keys", "chmod 600"),
        (replace(WELL, clock_offset=-7.0, clock_doubt=0.1), "severe", "clock", "7.0 s behind"),
        (replace(WELL, clock_keeper=""), "look", "clock", "No service keeps it"),
        (replace(WELL, synchronised=False), "look", "clock", "chrony runs"),
        (replace(WELL, logs=(Log("/var/log/a", 2 * GIB, 0),)), "look", "log", "/var/log/a has 2G"),
        (replace(WELL, updates=Updates(("openssl",), 3, int(NOW))), "look", "packages", "A security update is"),
        (replace(WELL, updates=Updates((), 0, int(NOW - 10 * DAY))), "look", "packages", "10 days ago"),
        (replace(WELL, kernel=Kernel("6.1.0-9", "6.1.0-18")), "look", "kernel", "a boot is due"),
        (replace(WELL, kernel=Kernel(replaced=("cron.service",))), "look", "services", "cron.service"),
        (replace(WELL, rabbit=Rabbit("no answer")), "severe", "rabbitmq", "no answer"),
        (replace(WELL, rabbit=Rabbit(partitions=("a does not see b",))), "severe", "rabbitmq", "in parts"),
        (replace(WELL, rabbit=Rabbit(alarms=("disk on a",))), "severe", "rabbitmq", "blocked"),
        (replace(WELL, rabbit=Rabbit(queues=(Queue("q", 5000, 0),))), "look", "rabbitmq", "nobody takes them"),
        (
            replace(WELL, namespaces=(Namespace("qdhcp-1", 2, 0), Namespace("qrouter-1", 3, 0))),
            "look",
            "namespaces",
            "in qdhcp-1 (",
        ),
        (replace(WELL, ports=("tap1",)), "look", "ports", "tap1"),
        (replace(WELL, hung=("df",)), "look", "look", "df did not answer"),
    ],
)
def test_what_is_told(seen: Condition, severity: str, subject: str, words: str) -> None:
    """One thing is wrong, and that one thing is told."""
    found = told(seen)
    assert [(one[0], one[1]) for one in found] == [(severity, subject)]
    assert words in found[0][2]


def test_a_node_that_is_well() -> None:
    """Nothing is told, and limits are the inventory's."""
    assert told(replace(WELL, disks=(disk(84),))) == []
    assert len(told(replace(WELL, disks=(disk(84),)), Care(disk_used=(50, 60)))) == 1


@pytest.mark.parametrize(
    ("backup", "found"),
    [
        (BackupSeen("db", int(NOW - DAY), 10, 3, "/b/1.gz"), []),
        (BackupSeen("db", int(NOW - 2 * DAY), 10, 3, "/b/1.gz"), [("look", "The newest, /b/1.gz, is 2 days old.")]),
        (BackupSeen("db", int(NOW - 4 * DAY), 10, 3, "/b/1.gz"), [("severe", "The newest, /b/1.gz, is 4 days old.")]),
        (BackupSeen("db", int(NOW), 0, 1, "/b/1.gz"), [("severe", "The newest, /b/1.gz, has only 0 bytes: it is cut short.")]),
        (BackupSeen("db"), [("severe", "There is none: no /b/*.gz.")]),
    ],
)
def test_backups(backup: BackupSeen, found: list[tuple[str, str]]) -> None:
    """Too old, cut short, none at all."""
    assert [(one[0], one[2]) for one in told(replace(WELL, backups=(backup,)), CARE)] == found


def test_a_backup_that_was_not_looked_for_is_none() -> None:
    """What the inventory declares has to be there."""
    assert told(WELL, CARE)[0][2] == "There is none: no /b/*.gz."


def test_a_forecast_is_told_before_the_disk_is_full() -> None:
    """A disk that is half full and grows by 5G a day is full in ten days; the largest logs on it are named."""
    history = [Sample(NOW - (10 - i) * DAY, disks={"/var": (5 * i) * GIB}) for i in range(11)]
    seen = replace(WELL, disks=(disk(50),), logs=(Log("/var/log/nova.log", 1 << 20, 0),))
    ((severity, subject, text),) = told(seen, history=history)
    assert (severity, subject) == ("look", "disk /var")
    assert text.startswith("50 % full, 50G left; full in 10 days: it grows by 5G a day since ")
    assert text.endswith("; largest logs: /var/log/nova.log (1M).")


def test_killed_for_want_of_memory_since_the_last_look() -> None:
    """Kills of before the last look are known already; after a boot the count begins anew."""
    before, now = Sample(NOW - DAY, "b1", oom_kills=4), Sample(NOW, "b1", oom_kills=6)
    assert "2 processes were killed" in told(WELL, history=[before, now])[0][2]
    assert told(WELL, history=[before, replace(now, oom_kills=4)]) == []
    assert "A process was killed" in told(WELL, history=[before, replace(now, boot="b2", oom_kills=1)])[0][2]


SEVERE = Trouble("severe", "disk /", "Full.")
LOOK = Trouble("look", "kernel", "Old.")


def test_severe_things_fail_the_survey_worst_first() -> None:
    """Exit code 1, as for a node that was not seen, unless it is known to be lost."""
    seen = Seen({"n1": Surveyed(WELL, (LOOK,)), "node2": Surveyed(WELL, (SEVERE, LOOK))}, {"n3": "unreachable"})
    with pytest.raises(Refused) as caught:
        judged(seen, missing_ok=["n3"])
    assert str(caught.value).splitlines() == [
        "1 severe, 2 worth a look",
        "severe  node2  disk /  Full.",
        "look    n1     kernel  Old.",
        "look    node2  kernel  Old.",
    ]
    with pytest.raises(Refused, match="n3     node    It was not seen: unreachable"):
        judged(seen)


def test_things_worth_a_look_are_due() -> None:
    """Exit code 3 comes of what is due; nothing is due where all is well."""
    assert judged(Seen({"n1": Surveyed(WELL, (LOOK,))})).due == ("look  n1  kernel  Old.",)
    well = judged(Seen({"n1": Surveyed(WELL, ())}))
    assert (well.due, well.reasons) == ((), ("1 nodes, nothing to be seen to.",))
    assert table([]) == []


def test_numbers_for_prometheus() -> None:
    """One head a metric, labels escaped."""
    text = exposition(replace(WELL, disks=(disk(50), replace(disk(25), mount='/a"b'))), [SEVERE], name="n1")
    assert 'care_troubles{host="n1",severity="severe"} 1\n' in text
    assert 'care_disk_used_ratio{host="n1",mount="/a\\"b"} 0.25\n' in text
    assert text.count("# TYPE care_disk_used_ratio gauge\n") == 1


def test_what_is_due_is_exit_code_3() -> None:
    """Of a run as of a check; a report from before there was such a thing is read all the same."""
    stage = StageReport("nodes", "plan", Status.OK, due=("look  n1  kernel  Old.",))
    report = Report("maintenance.survey", "r", stages=(stage,))
    assert (report.exit_code, replace(report, stages=(replace(stage, due=()),)).exit_code) == (3, 0)
    assert Report.from_json(report.to_json()) == report
    old = json.loads(report.to_json())
    del old["stages"][0]["due"]
    assert Report.from_json(json.dumps(old)).exit_code == 0


def test_a_node_under_maintenance_is_left_out_on_purpose() -> None:
    """It is not severe that it was not seen."""
    assert judged(Seen({"n1": Surveyed(WELL, ())}, {"n2": "under maintenance: a new disk"})).due == ()
