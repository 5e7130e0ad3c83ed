"""Archives of nodes' small things on real nodes: sent, proved, kept for root, not made again where nothing changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.maintenance.backup import backup
from nornir_stack.tasks.maintenance.survey import survey
from tests.integration.cloud_lab import enter, well
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

KEY = "a-fernet-key-of-the-node"
CARE = {
    "disk_used": [99.5, 100],
    "memory_free": [0.2, 0.1],
    "swap_used": [100, 100],
    "memory_pressure": [100, 100],
    "lists_days": [100000, 100000],
    "security_updates": [10000, 10000],
    "archive": {"keeper": "keep1", "keep": 2},
}
# Keystone's keys, Swift's rings, a machine of libvirt by a stand-in of virsh that knows one.
NODE = r"""
mkdir -p -m 700 /etc/keystone/fernet-keys /etc/swift
printf '%s' "$1" >/etc/keystone/fernet-keys/0
printf ring >/etc/swift/account.ring.gz; printf builder >/etc/swift/account.builder
cat >/usr/bin/virsh <<'X'
#!/bin/sh
case "$*" in
    "-q list --all --name") echo ctl;;
    "-q dumpxml --inactive --security-info ctl") echo "<domain type='kvm'><name>ctl</name></domain>";;
esac
X
chmod 755 /usr/bin/virsh
"""
SHELF = "cd /var/backups/site && stat -c '%a %U %Y %n' . */ */*.tar.gz; ls -A"
NEWEST = "ls -d /var/backups/site/node1/*.tar.gz | tail -n 1"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    made = boot("node1", "keep1")
    enter(made, "node1", NODE, KEY)
    return made


def run(lab: Lab, *, dry_run: bool = False) -> Report:
    with nornir(lab, {"node": ["node1", "keep1"]}, {"node": {"care": CARE}}) as nr:
        return backup().run(nr, dry_run=dry_run)


def looked(lab: Lab) -> str:
    with nornir(lab, {"node": ["node1", "keep1"]}, {"node": {"care": CARE}}) as nr:
        return survey().run(nr).to_json()


def archives(lab: Lab, node: str = "node1") -> list[str]:
    return enter(lab, "keep1", f"ls -d /var/backups/site/{node}/*.tar.gz || :").split()


def test_a_night_and_another(lab: Lab) -> None:
    """Made once, the same night nothing; a change makes one more, the oldest goes; the survey sees ages; a file comes back."""
    plan = run(lab, dry_run=True)
    assert plan.exit_code == 3
    assert archives(lab) == []
    assert "There is none: no /var/backups/site/node1/*.tar.gz" in looked(lab)
    report = well(run(lab))
    assert KEY not in report.to_json()
    assert (len(archives(lab)), len(archives(lab, "keep1"))) == (1, 1)
    before = enter(lab, "keep1", SHELF)
    modes = {line.split()[3]: line.split()[:2] for line in before.splitlines() if " root " in line}
    assert {tuple(mode) for name, mode in modes.items() if name.endswith(".tar.gz")} == {("600", "root")}
    assert modes["node1/"] == modes["."] == ["700", "root"]
    assert ".coming" not in before
    again = well(run(lab))
    assert (again.changed, again.exit_code) == ((), 0)
    assert enter(lab, "keep1", SHELF) == before
    assert "backup of node1" not in looked(lab)
    for number in range(2):
        enter(lab, "node1", 'echo "$1" >/etc/changed', str(number))
        well(run(lab))
    assert len(archives(lab)) == 2
    assert len(archives(lab, "keep1")) == 1
    enter(lab, "keep1", "touch -d '4 days ago' /var/backups/site/node1/*")
    assert "is 4 days old" in looked(lab)
    confirmed = well(run(lab))
    assert [text for text in confirmed.changed if "confirm" in text]
    assert len(archives(lab)) == 2
    assert "is 4 days old" not in looked(lab)
    one = enter(lab, "keep1", f'tar -xzOf "$({NEWEST})" etc/keystone/fernet-keys/0')
    assert one == KEY
    machine = enter(lab, "keep1", f'tar -xzOf "$({NEWEST})" extra/libvirt/machine-ctl.xml')
    assert machine == "<domain type='kvm'><name>ctl</name></domain>\n"
    for node in ("node1", "keep1"):
        assert lab.enter(node, "sh", "-c", "ls /run/nornir-stack-look* /var/lib/nornir-stack/archive").stdout == ""


def test_what_does_not_arrive_is_told(lab: Lab) -> None:
    """A keeper that cannot write: the node's archive is missing, the run says so, nothing is left over; then it is made."""
    enter(lab, "keep1", "mount -t tmpfs -o ro none /var/backups/site/node1")
    enter(lab, "node1", "echo anew >/etc/changed")
    report = run(lab)
    enter(lab, "keep1", "umount /var/backups/site/node1")
    assert report.exit_code == 1
    assert "node1 has no archive of tonight on keep1" in report.to_json()
    assert lab.enter("keep1", "test", "-e", "/var/backups/site/.coming").returncode == 1
    well(run(lab))
