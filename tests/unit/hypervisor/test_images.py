"""What is fetched is an image by itself, and whole; a card is found by its hardware address. By a real shell."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.hypervisor import external, images

if TYPE_CHECKING:
    from pathlib import Path


def header(version: int = 3, backing: int = 0, features: int = 0) -> bytes:
    """A qcow2 image's first bytes (QEMU's docs/interop/qcow2.txt)."""
    return struct.pack(">4sIQI", b"QFI\xfb", version, backing, 0).ljust(72, b"\0") + struct.pack(">Q", features) + bytes(24)


def fetched(folder: Path, content: bytes, digest: str = "") -> tuple[int, str]:
    source = folder / "source image"
    source.write_bytes(content)
    words = [str(folder / "image"), str(source), digest or hashlib.sha256(content).hexdigest()]
    ended = subprocess.run(["sh", "-c", images._FETCH, "sh", *words], check=False, capture_output=True, text=True)
    assert sorted(each.name for each in folder.iterdir()) == ["image.qcow2"] * (not ended.returncode) + ["source image"]
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (header(), ""),
        (header(2), ""),
        (header(features=1), ""),
        (header(backing=104), "stands on another file: not taken"),
        (header(2, backing=104), "stands on another file: not taken"),
        (header(features=4), "keeps its data in another file: not taken"),
        (header(features=5), "keeps its data in another file: not taken"),
        (bytes(512), "is no qcow2 image: not taken"),
        (b"", "is no qcow2 image: not taken"),
    ],
)
def test_an_image_names_no_file_of_the_hypervisor(tmp_path: Path, content: bytes, said: str) -> None:
    """A machine would read it, /etc/shadow too; nothing is left behind of what is refused."""
    status, error = fetched(tmp_path, content)
    assert (bool(status), said in error) == (bool(said), True)


def test_what_is_not_whole_is_not_taken(tmp_path: Path) -> None:
    """By its sum."""
    status, error = fetched(tmp_path, header(), "a" * 64)
    assert (status, "not taken" in error) == (1, True)


def test_a_card_is_no_bridge_over_it(tmp_path: Path) -> None:
    """A bridge and a VLAN have their card's hardware address; only a card is a device of the machine."""
    for name in ("eth2", "eth2.100", "public"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "address").write_text("52:54:00:00:00:01\n")
    (tmp_path / "eth2" / "device").mkdir()
    ended = subprocess.run(["sh", "-c", external._LOOK, "sh", str(tmp_path)], check=True, capture_output=True, text=True)
    assert ended.stdout == "52:54:00:00:00:01 eth2\n"
