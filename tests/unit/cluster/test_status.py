"""The watch: what is counted, what an operator is woken for, and what Prometheus reads; and the check of schemas."""

from __future__ import annotations

import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Stage
from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.schema import Schema, dangers
from nornir_stack.tasks.cluster.status import _judged, exposition, status
from nornir_stack.tasks.cluster.vitals import _NODE, Limits, Rates, Vitals, rates, under_way, unwell
from tests.unit.cluster.shorthand import cluster
from tests.unit.cluster.test_recover import HELD
from tests.unit.cluster.test_roll import WELL
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits(flow_control=0.1, receive_queue=100, certification_failures=10, disk_free=0.1, clock=1.0)
FINE = Rates(2.0, uptime=7)


def watched(rows: dict[str, str] | None = None, **more: Vitals) -> Seen[Vitals]:
    members = cluster(rows or WELL)
    fine = {name: Vitals(member, 100, 50, 0.0, FINE if member.wsrep else None) for name, member in members.items()}
    return Seen({**fine, **more}, members.missing, members.hosts)


def strained(**words: float) -> Vitals:
    return Vitals(cluster(WELL)["db2"], 100, 50, 0.0, replace(FINE, **words))  # type: ignore[arg-type]


def joining(line: str, seconds: int, **words: Any) -> Vitals:
    return Vitals(replace(cluster({**WELL, "db2": line})["db2"], **words), 100, 50, 0.0, under_way=seconds)


def test_a_cluster_that_is_well() -> None:
    """No sentence, and a reason that says so."""
    assert unwell(watched(), limits=LIMITS) == []
    assert _judged(watched(), limits=LIMITS, missing_ok=()).reasons == ("3 members, one cluster, complete and Synced.",)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (watched({**WELL, "db3": "down A 8"}), "db3 is down"),
        (watched({**WELL, "db3": "gone"}), "db3 was not seen"),
        (watched(db2=strained(flow_control=0.11)), "paused for 11% of the time"),
        (watched(db2=strained(receive_queue=101)), "101 write sets waiting"),
        (watched(db2=strained(certification_failures=11)), "11 transactions failed certification in 2 s"),
        (watched(db2=replace(strained(), disk_free=9)), "db2 has 9% of the disk"),
        (watched(db2=replace(strained(), clock_offset=-1.5)), "1.5 s ahead of db2's"),
        (watched(db2=replace(strained(), drained=True)), "db2 is drained"),
        (watched({**WELL, "db2": "receiving 0"}, db2=joining("receiving 0", 1801)), "receives a state transfer for 30 minutes"),
        (watched({**WELL, "db2": "donor A 9"}, db2=joining("donor A 9", 7200)), "is a donor (wsrep_local_state 2) for 120 min"),
        (watched({**WELL, "db2": "down A 9"}, db2=joining("down A 9", 0, **HELD)), "socat (process 71) listens on port 4444"),
    ],
)
def test_what_an_operator_is_woken_for(seen: Seen[Vitals], said: str) -> None:
    """Each limit, just beyond; the run fails with the sentence."""
    assert said in " ".join(unwell(seen, limits=LIMITS))
    with pytest.raises(Refused, match="db"):
        _judged(seen, limits=LIMITS, missing_ok=())


@pytest.mark.parametrize(
    "seen",
    [
        watched(db2=strained(flow_control=0.1)),
        watched(db2=strained(receive_queue=100)),
        watched(db2=strained(certification_failures=10)),
        watched(db2=replace(strained(), disk_free=10)),
        watched(db2=replace(strained(), clock_offset=-1.0)),
    ],
)
def test_at_the_limit_nobody_is_woken(seen: Seen[Vitals]) -> None:
    """Each limit, exactly."""
    assert unwell(seen, limits=LIMITS) == []


@pytest.mark.parametrize("seconds", [0, 1800])
def test_a_join_may_take_its_time(seconds: int) -> None:
    """Until the limit it is only told that the member is not Synced yet."""
    found = unwell(watched({**WELL, "db2": "receiving 0"}, db2=joining("receiving 0", seconds)), limits=LIMITS)
    assert found
    assert "minutes" not in " ".join(found)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [("receiving 0", 9), ("joined A 9", 7), ("starting 0", 9), ("donor A 9", 7), ("synced A 9", 0), ("down A 9", 0)],
)
def test_since_when_a_member_is_under_way(line: str, seconds: int) -> None:
    """A joiner since its unit began to start, else since the program of its transfer did, as a donor; others are not."""
    assert under_way(cluster({"db1": line})["db1"], 9, 7) == seconds


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_how_long_a_transfer_runs(shell: str, tmp_path: Path) -> None:
    """By the age of its script, as the node has it: the third line of the look; then the flag."""
    (program := tmp_path / "wsrep_sst_rsync").write_text("#!/bin/sh\nread -r line\n")
    program.chmod(0o755)
    with subprocess.Popen([program], stdin=subprocess.PIPE) as running:
        time.sleep(1.2)
        words = (str(tmp_path), "mariadb", str(program))
        done = subprocess.run([shell, "-c", _NODE, "sh", *words], capture_output=True, text=True, check=True)
        running.communicate(b"\n")
    blocks, now, ages, flag = done.stdout.splitlines()
    assert flag == "drained"
    assert (len(blocks.split()), float(now) > 0, done.stderr) == (3, True, "")
    assert int(ages.split()[1]) >= 1


def test_a_donor_may_have_a_queue() -> None:
    """A donor's receive queue grows by design, and it is reported as a donor anyway."""
    donor = Vitals(cluster({**WELL, "db2": "donor A 9"})["db2"], 100, 50, 0.0, replace(FINE, receive_queue=5000))
    said = " ".join(unwell(watched(db2=donor), limits=LIMITS))
    assert "donor" in said
    assert "waiting" not in said


def test_what_is_counted() -> None:
    """Differences between two looks; a server that was restarted in between counts nothing."""
    first = {"wsrep_flow_control_paused_ns": "1000000000", "wsrep_local_cert_failures": "3", "wsrep_replicated": "10"}
    last = {"wsrep_flow_control_paused_ns": "1500000000", "wsrep_local_cert_failures": "5", "wsrep_replicated": "30"}
    assert rates(first, last | {"Uptime": "9"}, 2.0) == Rates(2.0, 0.25, 2, 20, 0, 0, 9)
    assert rates(last, first, 2.0) == Rates(2.0)


def test_what_prometheus_reads() -> None:
    """Whole numbers as such; a member that is down has galera_up 0 and its disk."""
    text = exposition(strained(flow_control=0.25), cluster="t", name="db2")
    assert 'galera_flow_control_paused_ratio{cluster="t",member="db2"} 0.25\n' in text
    assert 'galera_synced{cluster="t",member="db2"} 1\n' in text
    down = exposition(Vitals(cluster({"db1": "down A 9"})["db1"], 10**12, 1, 0.0), cluster="t", name="db1")
    assert 'galera_up{cluster="t",member="db1"} 0\n' in down
    assert 'galera_disk_size_bytes{cluster="t",member="db1"} 1000000000000\n' in down
    assert "galera_primary" not in down


def test_metrics_are_written_however_the_cluster_is() -> None:
    """The file is written by a stage that always runs."""
    assert [part.name for part in status().parts] == ["members"]
    stage = status(textfile="/srv/metrics", missing=["db3"]).parts[1]
    assert isinstance(stage, Stage)
    assert stage.always
    # one that is known to be lost is not asked: it would fail each time
    assert stage.on.hosts(fleet({"db": ["db1", "db2", "db3"]}).inventory) == ("db1", "db2")


GOOD = {"binlog_format": "ROW", "innodb_autoinc_lock_mode": "2", "event_scheduler": "OFF", "wsrep_osu_method": "TOI"}


def test_schemas() -> None:
    """Each danger is one sentence, said once however many members show it; what is accepted is not said."""
    fine = Schema((), (), (), GOOD)
    assert dangers(Seen({"db1": fine, "db2": fine})) == []
    bad = Schema(("s.k", "s.m"), (("s.m", "MyISAM"),), ("s.e",), {**GOOD, "event_scheduler": "ON"})
    said = dangers(Seen({"db1": bad, "db2": bad}))
    assert [sentence.split(" ")[0] for sentence in said] == ["s.k", "s.m", "The"]
    assert len(dangers(Seen({"db1": bad, "db2": fine}), frozenset({"s.k", "s.m"}))) == 0
    assert dangers(Seen({}, {"db1": "unreachable"})) == ["db1 was not seen (unreachable)."]


@pytest.mark.parametrize(
    "setting",
    [
        {"binlog_format": "MIXED"},
        {"innodb_autoinc_lock_mode": "1"},
        {"default_storage_engine": "Aria"},
        {"wsrep_osu_method": "RSU"},
        {"binlog_ignore_db": "shop"},
    ],
)
def test_settings_that_do_not_replicate(setting: dict[str, str]) -> None:
    """Named with its value."""
    (said,) = dangers(Seen({"db1": Schema((), (), (), {**GOOD, **setting})}))
    assert next(iter(setting.values())) in said
