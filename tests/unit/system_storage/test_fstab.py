from __future__ import annotations

import pytest

from nornir_stack.tasks.system.fstab import Entry, entries, parse, with_mount, with_swap

DATA = Entry("UUID=F", "/srv/db", "ext4", "defaults,nofail", check="2")
LINE = "UUID=F /srv/db ext4 defaults,nofail 0 2"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], [LINE]),
        (["# a comment", "", "/dev/vda1 / ext4 defaults 0 1"], ["# a comment", "", "/dev/vda1 / ext4 defaults 0 1", LINE]),
        (["/dev/vdb5 /srv/db ext4 defaults 0 2", "proc /proc proc"], [LINE, "proc /proc proc"]),
        (["UUID=F  /srv/db  ext4  noatime 0 2"], ["UUID=F  /srv/db  ext4  noatime 0 2"]),
        (["UUID=F /srv/db ext4 noauto 0 2"], [LINE]),
        (["UUID=F /srv/db ext4", LINE], ["UUID=F /srv/db ext4"]),
        (["#/dev/vdb5 /srv/db ext4 defaults 0 2"], ["#/dev/vdb5 /srv/db ext4 defaults 0 2", LINE]),
    ],
)
def test_with_mount(before: list[str], after: list[str]) -> None:
    """A mount point stands once, by the wanted source; an operator's options for that source and all other lines stay."""
    assert after == with_mount(before, DATA)
    assert after == with_mount(after, DATA)


def test_over_the_network() -> None:
    """A device over the network is said to be one, beside the options that an operator gave."""
    wanted = Entry("UUID=F", "/srv/db", "ext4", "defaults,nofail,_netdev", check="2")
    said = [wanted.line, "UUID=F /srv/db ext4 noatime,_netdev 0 2"]
    assert [with_mount([line], wanted) for line in (LINE, "UUID=F /srv/db ext4 noatime 0 2")] == [[line] for line in said]
    assert [with_mount([line], wanted) for line in said] == [[line] for line in said]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["/swapfile none swap defaults 0 0"]),
        (["/swapfile swap swap pri=5 0 0"], ["/swapfile swap swap pri=5 0 0"]),
        (["/swapfile none swap defaults 0 0"] * 2, ["/swapfile none swap defaults 0 0"]),
        (["/swapfile none swap noauto 0 0"], ["/swapfile none swap defaults 0 0"]),
        (["/dev/vdc none swap sw 0 0"], ["/dev/vdc none swap sw 0 0", "/swapfile none swap defaults 0 0"]),
    ],
)
def test_with_swap(before: list[str], after: list[str]) -> None:
    """A swap file stands once; other swap stays."""
    assert after == with_swap(before, "/swapfile")
    assert after == with_swap(after, "/swapfile")


def test_blanks_in_names() -> None:
    """A blank in a name is written as fstab(5) says, and read back."""
    entry = Entry("LABEL=a b", "/srv/a b", "ext4")
    assert entry.line == r"LABEL=a\040b /srv/a\040b ext4 defaults 0 0"
    assert entry == parse(entry.line)
    assert entries(["# none", entry.line, "x y"]) == [entry]
