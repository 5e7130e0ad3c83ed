"""The survey on real nodes: each trouble made for real, found in one round trip, the worst first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.tasks.maintenance.history import recall, sample_of
from nornir_stack.tasks.maintenance.survey import condition, metrics, survey
from tests.integration import care_repo
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report
    from nornir_stack.tasks.maintenance.survey import Surveyed

CARE = {
    "certificates": ["/etc/survey/*.pem"],
    "disk_used": [99.5, 100],
    "memory_free": [0.2, 0.1],
    "swap_used": [100, 100],
    "memory_pressure": [100, 100],
    "lists_days": [100000, 100000],
    "backups": {"rings": {"files": "/var/backups/ring s/*.gz", "days": 1, "least": "1K"}},
}


# all but the large log
MENDED = """
systemctl stop loops broken; systemctl reset-failed; rm -rf /etc/survey /etc/keystone; ip netns delete qdhcp-dead
[ ! -d /var/backups/away ] || mv /var/backups/away '/var/backups/ring s'
"""


@pytest.fixture(autouse=True)
def mended(lab: Lab) -> Iterator[None]:
    """However a test ends."""
    yield
    inside(lab, f"{MENDED}; rm -rf /var/log/huge.log")
    care_repo.take(lab, "look1")


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    made = boot("look1", "look2")
    for name in ("look1", "look2"):
        made.enter(name, "sh", "-c", "mkdir -p '/var/backups/ring s'; head -c 5000 /dev/zero >'/var/backups/ring s/1.gz'")
    return made


def inside(lab: Lab, script: str) -> str:
    return lab.enter("look1", "sh", "-c", script).stdout.strip()


def run(lab: Lab, care: dict[str, Any] | None = None, **arguments: Any) -> Report:
    with nornir(lab, {"node": ["look1", "look2"]}, {"node": {"care": {**CARE, **(care or {})}}}) as nr:
        return survey(**arguments).run(nr)


def seen(report: Report) -> Surveyed:
    return report.value(condition, "look1")


def test_nodes_that_are_well(lab: Lab) -> None:
    """Nothing is told, exit code 0; the numbers are the node's own, and a sample of them is kept here."""
    report = run(lab)
    assert report.exit_code == 0, report
    found = seen(report).condition
    assert found.disks[0].mount == "/"
    assert found.disks[0].size == int(inside(lab, "df -B1 --output=size / | tail -n 1"))
    assert found.memory.total > 1 << 28
    assert abs(found.clock_offset) <= found.clock_doubt + 0.1
    assert found.clock_keeper == "the host"
    assert found.backups[0].size == 5000
    assert found.hung == ()
    assert recall("look1", found.machine)[-1] == sample_of(found)
    assert len(report.stage("nodes").hosts) == 2


def test_what_is_wrong_is_found_and_the_worst_comes_first(lab: Lab) -> None:
    """A failed unit, one that dies again and again, a certificate, a backup that is missing, a dead namespace: exit code 1."""
    inside(
        lab,
        r"""
        printf '[Service]\nExecStart=/bin/false\n' >/run/systemd/system/broken.service
        printf '[Service]\nExecStart=/bin/false\nRestart=always\nRestartSec=3\n[Unit]\nStartLimitIntervalSec=0\n' \
            >/run/systemd/system/loops.service
        systemctl daemon-reload; systemctl start broken loops
        mkdir -p /etc/survey /etc/keystone/fernet-keys; echo key >/etc/keystone/fernet-keys/0
        touch -d '50 days ago' /etc/keystone/fernet-keys/0; chmod 644 /etc/keystone/fernet-keys/0
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj /CN=old.lab \
            -keyout /etc/survey/key.pem -out /etc/survey/old.pem 2>/dev/null
        ip netns add qdhcp-dead; mv '/var/backups/ring s' /var/backups/away
        head -c 12000000 /dev/zero >/var/log/huge.log
        """,
    )
    report = run(lab, {"log_size": ["9M", "1G"]})
    assert report.exit_code == 1
    (text,) = report.stage("nodes").problems
    lines = text.splitlines()
    assert lines[0] == "5 severe, 4 worth a look", text
    assert [line.split()[0] for line in lines[1:]] == ["severe"] * 5 + ["look"] * 4
    told = {one.subject: one.text for one in seen(report).troubles}
    assert told["broken.service"].startswith("It failed (exit-code) on ")
    assert "dies and is started again and again" in told["loops.service"]
    assert "old.lab) ends in 3 days" in told["certificate"]
    assert told["backup rings"] == "There is none: no /var/backups/ring s/*.gz."
    assert "qdhcp-dead" in told["namespaces"]
    assert told["log"].startswith("/var/log/huge.log has 11M")
    assert [one.severity for one in seen(report).troubles if one.subject == "keys"] == ["severe", "look", "look"]

    inside(lab, MENDED)
    report = run(lab, {"log_size": ["9M", "1G"]})
    assert report.exit_code == 3, report
    assert [line.split()[:3] for line in report.stage("nodes").due] == [["look", "look1", "log"]]


def test_security_updates_by_a_repository(lab: Lab) -> None:
    """apt itself says what it would install, and that it comes from a security archive; the node is not changed."""
    care_repo.make(lab, "look1")
    report = run(lab)
    updates = seen(report).condition.updates
    assert updates is not None
    assert updates.security == ("iputils-ping",)
    assert report.exit_code == 3
    assert "A security update is not installed: iputils-ping." in report.stage("nodes").due[0]


def test_numbers_for_prometheus(lab: Lab) -> None:
    """The file appears in the collector's folder, and a check writes nothing."""
    inside(lab, "mkdir -p /var/lib/node_exporter")
    lab.enter("look2", "mkdir", "-p", "/var/lib/node_exporter")
    report = run(lab, textfile="/var/lib/node_exporter")
    assert report.ok, report
    text = inside(lab, "cat /var/lib/node_exporter/maintenance.prom")
    assert text + "\n" == report.value(metrics, "look1")
    assert 'care_troubles{host="look1",severity="severe"} 0' in text


def test_a_node_that_does_not_answer_is_severe(lab: Lab) -> None:
    """It is in the table; named as missing it is not."""
    with nornir(lab, {"node": ["look1", "look2"]}, {"node": {"care": CARE}}) as nr:
        nr.inventory.hosts["look2"].hostname = lab.spec.gateway
        nr.inventory.hosts["look2"].port = 1
        report = survey().run(nr)
        assert report.exit_code == 1
        assert "look2  node  It was not seen" in report.stage("nodes").problems[0]
        assert survey(missing=["look2"]).run(nr).exit_code == 0
