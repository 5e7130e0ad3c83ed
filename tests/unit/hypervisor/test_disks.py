"""Whose a disk is, and that none is lost: against libvirt's own test driver, and a real shell."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from nornir_stack.errors import Refused
from nornir_stack.size import Size
from nornir_stack.tasks.hypervisor.arriving import _PLACE
from nornir_stack.tasks.hypervisor.devices import free_ports, refuse_foreign, refuse_full, refuse_mac
from nornir_stack.tasks.hypervisor.domain_xml import Domain, free_target
from nornir_stack.tasks.hypervisor.domains import _runs, beside, domains, own_disks
from nornir_stack.tasks.hypervisor.machines import refuse_cut
from nornir_stack.tasks.hypervisor.movable import ASIDE
from nornir_stack.tasks.hypervisor.names import mac_of
from nornir_stack.tasks.hypervisor.teardown import _no_pool
from nornir_stack.tasks.hypervisor.volumes import Disk, Volume, _holders, grows, of_each, stood_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from libvirt import virConnect, virStorageVol

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


@pytest.mark.parametrize(
    ("size", "now", "extent", "more"),
    [("1G", 1 << 30, 512, False), ("2G", 1 << 30, 512, True), ("10M", 12 << 20, 4 << 20, False), ("1000", 1024, 512, False)],
)
def test_a_disk_grows_by_whole_extents(size: str, now: int, extent: int, more: bool) -> None:
    """A logical volume that was rounded up is as wanted; compared are bytes."""
    assert grows(Disk("p", "vm1-data", Size.parse(size)), now, "vm1", extent) == more


def test_a_disk_never_shrinks() -> None:
    """Not by a whole extent, nor by a byte of a file's sectors."""
    with pytest.raises(Refused, match="has 16M and the inventory says 10M: a disk is never made smaller"):
        grows(Disk("p", "vm1-data", Size.parse("10M"), logical=True), 16 << 20, "vm1", 4 << 20)
    with pytest.raises(Refused, match="never made smaller"):
        grows(Disk("p", "vm1-data", Size(1 << 20)), (1 << 20) + 512, "vm1")


def test_a_disk_is_no_smaller_than_its_image() -> None:
    """What lies behind its end would be cut off, the file system with it."""
    image = Volume("/i/debian.qcow2", Size.parse("2G"))
    refuse_cut("vm1", Disk("p", "vm1-root", Size.parse("2G"), backing=image.path), [image])
    refuse_cut("vm1", Disk("p", "vm1-data", Size.parse("1G")), [image])
    with pytest.raises(Refused, match="is to have 1G, and its image has 2G"):
        refuse_cut("vm1", Disk("p", "vm1-root", Size.parse("1G"), backing=image.path), [image])
    with pytest.raises(Refused, match="is to have 1G, and its image has 2G"):
        refuse_cut("vm1", Disk("p", "vm1-root", Size.parse("1G"), logical=True, copy_of=image.path), [image])


def test_a_pool_of_logical_volumes_that_others_use_is_left_alone() -> None:
    """libvirt stops one by vgchange -an, which takes every volume of the group from whoever has it."""
    link = Mock()
    pool = link.storagePoolLookupByName.return_value
    pool.XMLDesc.return_value = "<pool type='logical'>\n</pool>"
    pool.listAllVolumes.return_value = ["swap"]
    _no_pool("vg")(link)
    assert not pool.destroy.called
    pool.listAllVolumes.return_value = []
    _no_pool("vg")(link)
    assert (pool.destroy.called, pool.undefine.called, pool.delete.called) == (True, True, False)


def test_who_has_a_disk_open_is_who_runs_with_it(link: virConnect) -> None:
    """A machine that runs without the disk does not: then the file itself is enlarged."""
    machine(link, "vm1", disk("vm1-root", "vda"))
    link.lookupByName("vm1").create()
    machine(link, "off", disk("vm1-data", "vda"))
    assert (_holders(link, f"{_POOL}/vm1-root"), _holders(link, f"{_POOL}/vm1-data")) == (["vm1"], [])


def test_a_machine_that_is_gone_does_not_run(link: virConnect) -> None:
    """One that was started without a definition is nowhere when it has ended."""
    link.createXML(_VM.format(name="brief", disks=""))
    assert _runs(link, "brief")
    link.lookupByName("brief").destroy()
    assert not _runs(link, "brief")


def test_the_disk_of_another_is_not_plugged_in(link: virConnect) -> None:
    """Though its volume has the name: `web` with a disk `data-root`, and the machine `web-data`."""
    machine(link, "web-data", disk("web-data-root.qcow2", "vda"))
    path = f"{_POOL}/web-data-root.qcow2"
    refuse_foreign("web-data", [path], domains(link))
    with pytest.raises(Refused, match="which is web-data's"):
        refuse_foreign("web", [path], domains(link))
    volume(link, "base")
    volume(link, "over", on="base")
    assert stood_on(link) == {f"{_POOL}/base"}


def test_a_volume_that_goes_while_all_are_looked_at_is_left_out(link: virConnect) -> None:
    """An image that is just being built has a folder in the pool, and then none."""
    volume(link, "stays")
    volume(link, "goes")

    def ask(each: virStorageVol) -> str:
        if each.name() == "goes":
            each.delete()
        return str(each.info() and each.name())

    found = of_each(link, ask)
    assert ("stays" in found, "goes" in found) == (True, False)


def test_a_hardware_address_is_one_machine_s() -> None:
    """Another with the same would take its packets."""
    card = f"<interface><mac address='{mac_of('vm1', 'a').upper()}'/><source network='b'/></interface>"
    there = {"web": Domain("web", f"<domain><devices>{card}</devices></domain>")}
    refuse_mac("vm1", ["c"], there)
    refuse_mac("web", ["a"], there)
    with pytest.raises(Refused, match="web has the hardware address"):
        refuse_mac("vm1", ["c", "a"], there)


def _q35(ports: int, devices: int) -> str:
    made = ["<controller type='pci' index='0' model='pcie-root'/>", "<controller type='usb'/>"]
    port = "<controller type='pci' index='{}' model='pcie-root-port'><address type='pci' bus='0x00'/></controller>"
    made += [port.format(i + 1) for i in range(ports)]
    made += [f"<interface><address type='pci' bus='{i + 1:#04x}'/></interface>" for i in range(devices)]
    return f"<domain><devices>{''.join(made)}</devices></domain>"


def test_a_machine_without_a_free_port_says_so() -> None:
    """In words, and before it is asked; one of another type has slots instead, which libvirt counts."""
    assert (free_ports(_q35(12, 10)), free_ports(_q35(12, 12)), free_ports("<domain/>")) == (2, 0, None)
    refuse_full("vm1", _q35(12, 10), "a card")
    with pytest.raises(Refused, match="has no PCI port left for a card while it runs: shut it down"):
        refuse_full("vm1", _q35(12, 12), "a card")


def test_a_27th_disk_is_refused() -> None:
    """In words; two disks without serials of their own count as two."""
    full = "".join(disk(f"d{i}", f"vd{chr(ord('a') + i)}", "<serial>same</serial>") for i in range(26))
    with pytest.raises(Refused, match="vda to vdz"):
        free_target(f"<domain><devices>{full}</devices></domain>")


def test_snapshots_are_told_before_they_go(link: virConnect) -> None:
    """What a machine has beside its disks is named."""
    machine(link, "vm1", disk("vm1-root", "vda"))
    link.lookupByName("vm1").snapshotCreateXML("<domainsnapshot><name>before</name></domainsnapshot>")
    assert beside(link, "vm1") == ["snapshot before"]


def test_a_copy_takes_its_place_once_and_over_nothing(tmp_path: Path) -> None:
    """A run after one that was cut finds the rest; without a copy it fails and says so."""
    here, there = tmp_path / "a b", tmp_path / "c"
    (tmp_path / f"a b{ASIDE}").write_text("new")
    there.write_text("placed")
    run = ["sh", "-c", f"ASIDE={ASIDE}; {_PLACE}", "sh", str(here), str(there)]
    for _ in range(2):
        subprocess.run(run, check=True)
        assert (here.read_text(), there.read_text()) == ("new", "placed")
    (tmp_path / f"c{ASIDE}").write_text("other")
    assert subprocess.run(run, check=False, capture_output=True).returncode
    assert there.read_text() == "placed"
    assert subprocess.run([*run, str(tmp_path / "nowhere")], check=False, capture_output=True).returncode
