"""A card that came while the machine ran is in a file of it, by its hardware address."""

from __future__ import annotations

import subprocess
from ipaddress import ip_interface
from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.hypervisor.cards import _LOOK, unrecorded
from nornir_stack.tasks.hypervisor.seed import MARK, Nic, networkd

if TYPE_CHECKING:
    from pathlib import Path

_MAC = "52:54:00:00:00:01"


@pytest.mark.parametrize(
    ("lines", "new"),
    [
        ([f"card {_MAC} eth1"], ["data"]),
        ([f"card {_MAC} eth1", f"MACAddress={_MAC.upper()}"], []),
        ([f"card {_MAC} eth1", f"MACAddress=52:54:00:00:00:02 {_MAC}"], []),
        ([f"card {_MAC} eth1", "Name=eth1"], []),
        ([f"card {_MAC} eth1", "Name=eth10", "MACAddress=52:54:00:00:00:02"], ["data"]),
        (["card 52:54:00:00:00:09 eth1"], []),
        ([], []),
    ],
)
def test_a_card_without_a_file_is_a_new_one(lines: list[str], new: list[str]) -> None:
    """One that is not there yet is not, nor one that somebody's file names, by its address or its device."""
    assert unrecorded([("data", _MAC)], lines) == new


def test_a_machine_is_asked_for_its_cards_and_files(tmp_path: Path) -> None:
    """By a real shell: cards only, no bridge; nothing of a machine that was not made of packages."""
    for name in ("eth1", "br-ex"):
        (tmp_path / "sys/class/net" / name).mkdir(parents=True)
        (tmp_path / "sys/class/net" / name / "address").write_text(f"{_MAC}\n")
    (tmp_path / "sys/class/net/eth1/device").mkdir()

    def said() -> list[str]:
        run = ["sh", "-c", _LOOK, "sh", str(tmp_path)]
        return subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()

    assert said() == []
    (tmp_path / MARK).parent.mkdir(parents=True)
    (tmp_path / MARK).touch()
    assert said() == [f"card {_MAC} eth1"]
    folder = tmp_path / "etc/systemd/network"
    folder.mkdir(parents=True)
    (folder / "10-nic0.network").write_text(networkd(Nic(_MAC)))
    assert said() == [f"card {_MAC} eth1", f"PermanentMACAddress={_MAC}"]
    (folder / "10-nic0.network").write_text(f"[Match]\nMACAddress={_MAC}\n")  # of a machine that was made before
    assert said() == [f"card {_MAC} eth1", f"MACAddress={_MAC}"]


def test_a_card_that_came_later_is_no_second_way_out() -> None:
    """Its gateway would be beside that of the first."""
    nic = Nic(_MAC, ip_interface("10.0.1.5/24"), "10.0.1.1")
    assert "Gateway=10.0.1.1" in networkd(nic)
    assert "Gateway" not in networkd(nic, out=False)
