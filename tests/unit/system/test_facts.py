"""Families and facts, from what nodes say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from nornir_stack.errors import Refused
from nornir_stack.tasks.system.facts import Facts, Mount, parse
from nornir_stack.tasks.system.family import DEBIAN, REDHAT, family_of, os_release

CASES: dict[str, dict[str, str]] = YAML(typ="safe").load(
    (Path(__file__).parents[2] / "cases/system/os_release.yaml").read_text("utf-8")
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_family(case: dict[str, str]) -> None:
    """The family follows from ID, else from ID_LIKE; others are refused by their name."""
    if "refused" in case:
        with pytest.raises(Refused, match=case["refused"]):
            family_of(os_release(case["text"]))
    else:
        assert family_of(os_release(case["text"])).name == case["family"]


def test_both_families_know_the_same_words() -> None:
    """The table has no hole: what one family has a name for, the other has too."""
    for table in ("units", "packages", "paths"):
        assert set(getattr(DEBIAN, table)) == set(getattr(REDHAT, table))
    with pytest.raises(LookupError, match="did you mean 'apache'"):
        DEBIAN.unit("apach")


def said(**changed: str) -> str:
    sections: dict[str, Any] = {
        "os": "ID=rocky\nVERSION_ID=9.4\n",
        "kernel": "5.14.0\n",
        "machine": "x86_64\n",
        "hostname": "db1\n",
        "init": "systemd\n",
        "cpus": "4\n",
        "memory": "MemTotal:        2048000 kB\nMemFree: 1 kB\nSwapTotal:       1024 kB\n",
        "limit": "max\n",
        "addresses": "1: lo    inet 127.0.0.1/8 scope host lo\n"
        "2: eth0    inet 10.0.0.1/24 brd x\n2: eth0    inet6 fe80::1/64 x\n",
        "mounts": 'TARGET="/" SOURCE="/dev/vda1" FSTYPE="xfs" SIZE="1000" AVAIL="400" UUID="u-1"\n'
        'TARGET="/proc" SOURCE="proc" FSTYPE="proc" SIZE="0" AVAIL="0" UUID=""\n'
        'TARGET="/srv/my\\x20data" SOURCE="/dev/vdb" FSTYPE="ext4" SIZE="50" AVAIL="5" UUID="u-2"\n',
        "selinux": "1\n",
        "virtualization": "kvm\n",
        "machine-id": "abc\n",
        "boot-id": "def\n",
    } | {name.replace("_", "-"): text for name, text in changed.items()}
    return "".join(f"\x1e{name}\n{text}" for name, text in sections.items())


def test_facts() -> None:
    """Sizes are bytes; file systems that hold nothing are left out; a path belongs to the nearest mount."""
    seen = parse(said())
    data = Mount("/srv/my data", "/dev/vdb", "ext4", 50, 5, "u-2")
    assert isinstance(seen, Facts)
    assert (seen.os, seen.version, seen.family, seen.differences) == ("rocky", "9.4", "redhat", REDHAT)
    assert (seen.memory, seen.swap, seen.cpus) == (2048000 * 1024, 1024 * 1024, 4)
    assert seen.addresses == {"lo": ("127.0.0.1/8",), "eth0": ("10.0.0.1/24", "fe80::1/64")}
    assert seen.mounts == (Mount("/", "/dev/vda1", "xfs", 1000, 400, "u-1"), data)
    assert seen.mount_of("/srv/my data/mysql") == data
    assert seen.mount_of("/srv/my database") == seen.mounts[0]
    assert (seen.selinux, seen.machine_id, seen.boot_id) == ("enforcing", "abc", "def")


def test_memory_is_what_the_cgroup_allows() -> None:
    """A container with a limit has that much memory, whatever the machine has; cgroup v1's `no limit` counts for nothing."""
    assert parse(said(limit="536870912\n")).memory == 536870912
    assert parse(said(limit="9223372036854771712\n")).memory == 2048000 * 1024


@pytest.mark.parametrize(("text", "mode"), [("1\n", "enforcing"), ("0", "permissive"), ("off\n", "disabled"), ("", "absent")])
def test_selinux(text: str, mode: str) -> None:
    """The four states of SELinux."""
    assert parse(said(selinux=text)).selinux == mode
