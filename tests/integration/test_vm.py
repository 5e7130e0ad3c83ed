"""The demo in a virtual machine where systemd is PID 1 and cgroups are v2. Slow where it is emulated: only with --campaign."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SECONDS = 3 * 3600


@pytest.mark.campaign
@pytest.mark.skipif(
    "not config.getoption('--campaign', default=False)", reason="the demo in a virtual machine: only with --campaign"
)
def test_the_demo_runs_where_systemd_is_pid_1() -> None:
    """Without a network the demo ends well there, changes nothing the second time, and `--down` leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, "scripts/demo_vm.py"], cwd=ROOT, check=False, capture_output=True, text=True, timeout=_SECONDS
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert ": systemd cgroup2fs " in done.stdout
