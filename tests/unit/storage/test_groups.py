"""Volume groups: decided from what is seen, never over data."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused
from nornir_stack.size import Size
from nornir_stack.tasks.storage.group_plan import Groups, Step, decide, parse, volume_step
from nornir_stack.tasks.storage.nfs import file_of
from nornir_stack.tasks.storage.settings import Export
from nornir_stack.tasks.system.disk_facts import Disk, Signature

EMPTY = Groups({}, {}, {})
BLANK = Disk("/dev/vdb", size=1 << 30)


def test_what_lvm_prints_is_read() -> None:
    """A physical volume without a group has an empty field."""
    out = "pv|/dev/vdb|cinder-volumes\npv|/dev/vdc|\nvg|cinder-volumes|859832320\nlv|cinder-volumes|glance|209715200\n"
    assert parse(out) == Groups(
        {"/dev/vdb": "cinder-volumes", "/dev/vdc": ""},
        {"cinder-volumes": 859832320},
        {"cinder-volumes/glance": Size(209715200)},
    )


def test_an_empty_disk_becomes_a_group() -> None:
    """A second one joins it; one that is in it already is left alone."""
    assert decide("g", [BLANK], EMPTY) == [Step("create", ("/dev/vdb",))]
    assert decide("g", [BLANK, Disk("/dev/vdc")], Groups({"/dev/vdb": "g"}, {"g": 0}, {})) == [Step("extend", ("/dev/vdc",))]
    assert decide("g", [BLANK], Groups({"/dev/vdb": "g"}, {"g": 0}, {})) == []


def test_a_run_that_was_cut_goes_on() -> None:
    """A physical volume that is in no group holds nothing."""
    holds = Disk("/dev/vdb", holds=Signature("LVM2_member"))
    assert decide("g", [holds], Groups({"/dev/vdb": ""}, {}, {})) == [Step("create", ("/dev/vdb",))]


@pytest.mark.parametrize(
    ("disk", "now", "said"),
    [
        (Disk("/dev/vdb", kind=""), EMPTY, "does not exist"),
        (Disk("/dev/vdb", kind="regular file"), EMPTY, "no block device"),
        (Disk("/dev/vda", mounts=(("/", "/dev/vda"),)), EMPTY, "carries the system"),
        (Disk("/dev/vdb", mounts=(("/srv", "/dev/vdb"),), holds=Signature("ext4")), EMPTY, "is in use"),
        (Disk("/dev/vdb", holds=Signature("ext4", "data", "77")), EMPTY, "confirm='ext4:77'"),
        (Disk("/dev/vdb", data="123"), EMPTY, "confirm='data:123'"),
        (Disk("/dev/vdb", holds=Signature("LVM2_member")), Groups({"/dev/vdb": "other"}, {"other": 0}, {}), "group other"),
        (Disk("/dev/vdb", read_only=True), EMPTY, "read-only"),
    ],
)
def test_nothing_that_holds_anything_is_taken(disk: Disk, now: Groups, said: str) -> None:
    """Nor what is in use, or another group's."""
    with pytest.raises(Refused, match=said):
        decide("g", [disk], now)


def test_what_was_confirmed_is_wiped_first() -> None:
    """By the very words of the refusal; a disk in use is refused all the same."""
    disk = Disk("/dev/vdb", holds=Signature("ext4", "data", "77"))
    assert [step.do for step in decide("g", [disk], EMPTY, "ext4:77")] == ["wipe", "create"]
    with pytest.raises(Refused, match="in use"):
        decide("g", [Disk("/dev/vdb", holds=disk.holds, mounts=(("/srv", "/dev/vdb"),))], EMPTY, "ext4:77")


def test_a_volume_is_made_enlarged_or_left() -> None:
    """In whole extents; never made smaller, and not without room."""
    now = Groups({}, {"g": 1 << 30}, {"g/v": Size.parse("100M")})
    assert volume_step("g", "new", Size.parse("99M"), now) == "create"
    assert volume_step("g", "v", Size.parse("98M"), now) == ""
    assert volume_step("g", "v", Size.parse("200M"), now) == "extend"
    with pytest.raises(Refused, match="never made smaller"):
        volume_step("g", "v", Size.parse("50M"), now)
    with pytest.raises(Refused, match="g has 1G left"):
        volume_step("g", "new", Size.parse("2G"), now)


def test_exports_are_a_file_of_nfs() -> None:
    """One line a folder, with each client's options."""
    text = file_of({"/srv/a b": Export(clients=("10.0.0.0/24", "vm1"), options="rw")})
    assert text.splitlines()[1] == '"/srv/a b" 10.0.0.0/24(rw) vm1(rw)'
