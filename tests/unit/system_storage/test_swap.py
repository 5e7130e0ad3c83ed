from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.size import Size
from nornir_stack.tasks.system.swap import _LOOK, Swap, decide, parse, swap_file
from tests.unit.fleets import fleet
from tests.unit.system_storage.cases import cases

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Swap(free=10 << 30, memory=4 << 30)


@pytest.mark.parametrize("case", cases("swap/decide.yaml"))
def test_decide(case: dict[str, Any]) -> None:
    """From what stands at the path come the steps, or a refusal that says what was seen."""
    now = replace(NOTHING, **case.get("now", {}))
    if "refused" in case:
        with pytest.raises(Refused) as refusal:
            decide(now, Size.parse("1G"), "/swapfile")
        assert case["refused"] in str(refusal.value)
    else:
        assert case["steps"] == decide(now, Size.parse("1G"), "/swapfile")


def test_parse() -> None:
    """Kibibytes of /proc and blocks of stat become bytes; free swap elsewhere is what this file does not offer."""
    now = parse(
        "filesystem=ext4\nfree=1000\nwhere=/srv\nkind=regular file\nsize=4096\nallocated=8\nmode=600\nowner=root\n"
        "signature=swap\nactive=4\nused=1\nmemory=10\nswapfree=103\n"
    )
    assert now == Swap(
        filesystem="ext4",
        where="/srv",
        free=1000,
        kind="regular file",
        size=4096,
        allocated=4096,
        mode="600",
        signature="swap",
        active=True,
        used=1024,
        memory=10240,
        other_free=100 * 1024,
    )


@pytest.mark.parametrize("size", ["1.5G", "100", "0", "1000000", "1X", ""])
def test_size_that_is_none(size: str) -> None:
    """A size that is no whole number of megabytes is refused before the node is looked at."""
    failure = fleet({"db": ["db1"]}).run(task=swap_file, size=size)["db1"][0]
    assert isinstance(failure.exception, UsageError)


def test_a_link_that_leads_nowhere_is_something(tmp_path: Path) -> None:
    """It is refused like one that leads somewhere, and not replaced."""
    path = tmp_path / "swapfile"
    path.symlink_to(tmp_path / "gone")
    said = subprocess.run(["sh", "-c", _LOOK, "sh", str(path)], capture_output=True, check=True).stdout.decode()
    with pytest.raises(Refused, match="is no file but a symbolic link"):
        decide(parse(said), Size.parse("1G"), str(path))
