"""The seed disk, read by the programs that others wrote for its formats."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from ipaddress import ip_interface
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nornir_stack.secret import Secret
from nornir_stack.tasks.hypervisor.seed import UNIT, Identity, Nic, fat, image_files, seed

if TYPE_CHECKING:
    from pathlib import Path

needs_mtools = pytest.mark.skipif(shutil.which("mcopy") is None, reason="this machine has no mtools")
needs_fsck = pytest.mark.skipif(shutil.which("fsck.fat") is None, reason="this machine has no dosfstools")
_KEY = Secret(literal="-----BEGIN KEY-----\nsecret words\n-----END KEY-----\n")
_NICS = [Nic("52:54:00:00:00:01", ip_interface("10.0.0.11/24"), "10.0.0.1"), Nic("52:54:00:00:00:02")]
IDENTITY = Identity("vm1", "0001", _NICS, ["ssh-ed25519 AAAA operator"], _KEY, "ssh-ed25519 BBBB")


def read(image: Path, name: str) -> bytes:
    return subprocess.run(["mtype", "-i", str(image), f"::{name}"], check=True, capture_output=True).stdout


@needs_fsck
@needs_mtools
def test_others_find_a_sound_file_system(tmp_path: Path) -> None:
    """fsck finds nothing, the label is the one that cloud-init looks for, files have their long names and contents."""
    image = tmp_path / "seed"
    image.write_bytes(seed(IDENTITY))
    subprocess.run(["fsck.fat", "-n", str(image)], check=True, capture_output=True)
    assert b"CIDATA" in subprocess.run(["blkid", "-p", str(image)], check=True, capture_output=True).stdout
    assert read(image, "meta-data") == b"instance-id: 0001\nlocal-hostname: vm1\n"
    config = json.loads(read(image, "user-data").partition(b"\n")[2])
    assert config["ssh_keys"]["ed25519_private"] == _KEY.reveal()
    cards = json.loads(read(image, "network-config"))["ethernets"]
    assert cards["nic0"]["addresses"] == ["10.0.0.11/24"]
    assert "addresses" not in cards["nic1"]
    assert cards["nic0"]["routes"] == [{"to": "0.0.0.0/0", "via": "10.0.0.1"}]


@needs_mtools
def test_what_is_unpacked_is_what_sshd_accepts(tmp_path: Path) -> None:
    """Private things are root's alone: sshd refuses a host key, and a login by keys, that others could read or change."""
    image = tmp_path / "seed"
    image.write_bytes(seed(IDENTITY))
    with tarfile.open(fileobj=io.BytesIO(read(image, "files.tar"))) as tar:
        modes = {entry.name: entry.mode for entry in tar}
        network = tar.extractfile("etc/systemd/network/10-nic0.network")
        assert network is not None
        assert b"\nPermanentMACAddress=52:54:00:00:00:01\n" in (text := network.read())
    assert b"Gateway=10.0.0.1\n" in text
    assert modes["etc/ssh/ssh_host_ed25519_key"] == modes["root/.ssh/authorized_keys"] == 0o600
    assert modes["root/.ssh"] == 0o700


def test_the_same_identity_makes_the_same_disk() -> None:
    """Nothing of the clock or of chance is in it."""
    assert seed(IDENTITY) == seed(IDENTITY)


def test_an_image_starts_the_reading_of_the_seed() -> None:
    """The unit is enabled by its link, before the network comes up; the script can be run."""
    with tarfile.open(fileobj=io.BytesIO(image_files())) as tar:
        entries = {entry.name: entry for entry in tar}
    assert entries[f"etc/systemd/system/sysinit.target.wants/{UNIT}"].linkname == f"../{UNIT}"
    assert entries["usr/local/sbin/nornir-stack-seed"].mode == 0o755


def test_too_much_is_refused() -> None:
    """Rather than cut off."""
    with pytest.raises(ValueError, match="larger"):
        fat("CIDATA", {"big": bytes(1 << 20)})


_NAMES = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=40).filter(lambda name: name[0] != "-")


@needs_fsck
@needs_mtools
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(_NAMES, st.binary(max_size=3000), min_size=1, max_size=5))
def test_any_files_come_back(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Whatever their names and lengths, mtools reads what was written and fsck finds nothing."""
    image = tmp_path / "disk"
    image.write_bytes(fat("CIDATA", files))
    subprocess.run(["fsck.fat", "-n", str(image)], check=True, capture_output=True)
    assert {name: read(image, name) for name in files} == files
