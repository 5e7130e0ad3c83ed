"""Images of virtual machines, as far as nothing has to be booted for them."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from nornir_stack.lab.guest import write_disk, write_guest

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAMS = ("mke2fs", "debugfs", "e2fsck")
needs_e2fsprogs = pytest.mark.skipif(not all(map(shutil.which, _PROGRAMS)), reason="this machine has no e2fsprogs")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc/ssh").mkdir(parents=True)
    write_guest(root, "vm1", "10.0.2.15/24", authorized="ssh-ed25519 AAAA operator\n", host_key="the host key\n")
    return root


def test_only_root_reads_the_keys(root: Path) -> None:
    """sshd refuses a host key, and a login by keys, that others could read or change."""
    modes = {
        path: (root / path).stat().st_mode & 0o777 for path in ("etc/ssh/ssh_host_ed25519_key", "root/.ssh", "etc/hostname")
    }
    assert modes == {"etc/ssh/ssh_host_ed25519_key": 0o600, "root/.ssh": 0o700, "etc/hostname": 0o644}
    assert (root / "root/.ssh/authorized_keys").stat().st_mode & 0o777 == 0o600


def test_two_machines_from_one_tree_are_not_one(root: Path, tmp_path: Path) -> None:
    """Each has a machine id of its own: with the same, DHCP would give them the same address."""
    (tmp_path / "etc/ssh").mkdir(parents=True)
    write_guest(tmp_path, "vm2", "10.0.2.15/24", authorized="", host_key="")
    assert (tmp_path / "etc/machine-id").read_text() != (root / "etc/machine-id").read_text()


@needs_e2fsprogs
def test_a_disk_holds_the_tree_and_has_room(root: Path, tmp_path: Path) -> None:
    """The image is a sound ext4 file system with the tree's files in it; it is sparse."""
    image = tmp_path / "disk.img"
    write_disk(root, image, free_mib=512)
    subprocess.run(["e2fsck", "-fn", str(image)], check=True, capture_output=True)
    shown = subprocess.run(["debugfs", "-R", "cat /etc/hostname", str(image)], check=True, capture_output=True, text=True)
    assert shown.stdout == "vm1\n"
    assert image.stat().st_size >= 512 << 20
    assert image.stat().st_blocks * 512 < 64 << 20
