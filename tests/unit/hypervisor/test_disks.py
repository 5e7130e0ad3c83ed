"""Whose a disk is, and that none is lost: against libvirt's own test driver, and a real shell."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.hypervisor.arriving import _PLACE
from nornir_stack.tasks.hypervisor.domains import beside, domains, own_disks
from nornir_stack.tasks.hypervisor.movable import ASIDE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from libvirt import virConnect

libvirt = pytest.importorskip("libvirt")
_VM = """<domain type='test'><name>{name}</name><memory>65536</memory><os><type>hvm</type></os>
<devices>{disks}</devices></domain>"""
_POOL = "/default-pool"


@pytest.fixture
def link() -> Iterator[virConnect]:
    """A libvirt within the process: its API is the real one, its machines are pretended."""
    link = libvirt.open("test:///default")
    yield link
    link.close()


def machine(link: virConnect, name: str, *disks: str) -> None:
    link.defineXML(_VM.format(name=name, disks="".join(disks)))


def disk(title: str, target: str, more: str = "", device: str = "disk") -> str:
    return f"<disk type='file' device='{device}'><source file='{_POOL}/{title}'/><target dev='{target}'/>{more}</disk>"


def volume(link: virConnect, title: str, on: str = "") -> None:
    backing = f"<backingStore><path>{_POOL}/{on}</path></backingStore>" if on else ""
    xml = f"<volume><name>{title}</name><capacity>1024</capacity>{backing}</volume>"
    link.storagePoolLookupByName("default-pool").createXML(xml)


def test_only_what_is_nobody_else_s_is_deleted_with_a_machine(link: virConnect) -> None:
    """Not what another has or stands on, not a medium, not what it shares or only reads; its seed is its own."""
    for title in ("vm1-root", "vm1-seed.raw", "shared", "theirs", "cd.iso", "base", "tools", "elsewhere"):
        volume(link, title)
    volume(link, "clone", on="base")
    machine(link, "web", disk("theirs", "vda"))
    machine(
        link,
        "vm1",
        disk("vm1-root", "vda"),
        disk("vm1-seed.raw", "vdb", "<readonly/>"),
        disk("shared", "vdc", "<shareable/>"),
        disk("theirs", "vdd"),
        disk("cd.iso", "hdc", device="cdrom"),
        disk("base", "vde"),
        disk("tools", "vdf", "<readonly/>"),
        disk("in-no-pool", "vdg"),
    )
    there = domains(link)
    assert own_disks(link, there["vm1"], there) == [f"{_POOL}/vm1-root", f"{_POOL}/vm1-seed.raw"]


def test_snapshots_are_told_before_they_go(link: virConnect) -> None:
    """What a machine has beside its disks is named."""
    machine(link, "vm1", disk("vm1-root", "vda"))
    link.lookupByName("vm1").snapshotCreateXML("<domainsnapshot><name>before</name></domainsnapshot>")
    assert beside(link, "vm1") == ["snapshot before"]


def test_a_copy_takes_its_place_once_and_over_nothing(tmp_path: Path) -> None:
    """A run after one that was cut finds the rest; without a copy it fails and says so."""
    here, there = tmp_path / "a b", tmp_path / "c"
    (tmp_path / f"a b{ASIDE}").write_text("new")
    there.write_text("old")
    (tmp_path / f"c{ASIDE}").write_text("other")
    run = ["sh", "-c", f"ASIDE={ASIDE}; {_PLACE}", "sh", str(here), str(there)]
    for _ in range(2):
        subprocess.run(run, check=True)
        assert (here.read_text(), there.read_text()) == ("new", "old")
    assert subprocess.run([*run, str(tmp_path / "nowhere")], check=False, capture_output=True).returncode
