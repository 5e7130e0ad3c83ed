"""The lab without nodes: keys, and what is told where nothing can be done."""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path

import asyncssh
import pytest

from nornir_stack.cli.main import main
from nornir_stack.errors import UsageError
from nornir_stack.lab import Lab, LabSpec
from nornir_stack.lab.identity import key_pair


def halves(path: Path) -> tuple[bytes, bytes]:
    public = asyncssh.read_public_key(path.with_name(path.name + ".pub"))
    return asyncssh.read_private_key(path).public_data, public.public_data


def test_a_pair_is_kept(tmp_path: Path) -> None:
    """Asked for again it is the same, and the private half is for its owner alone."""
    path = tmp_path / "key"
    public = key_pair(path)
    before = path.read_bytes()
    assert key_pair(path) == public == path.with_name("key.pub").read_text()
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("lost", ["public", "private", "emptied private", "another public"])
def test_half_a_pair_becomes_a_whole(tmp_path: Path, lost: str) -> None:
    """The public half is made of the private one; without that a new pair is made."""
    path, public = tmp_path / "key", tmp_path / "key.pub"
    before = key_pair(path)
    if lost == "public":
        public.unlink()
    elif lost == "another public":
        public.write_text(key_pair(tmp_path / "other"))
    elif lost == "private":
        path.unlink()
    else:
        path.write_text("")
    after = key_pair(path)
    assert (after == before) is ("public" in lost)
    assert halves(path)[0] == halves(path)[1]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("verb", ["down", "heal"])
def test_without_root_nothing_is_said_to_be_done(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user sees none of root's nodes: refused, not `the lab is gone`."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="needs root: run it with sudo"):
        getattr(Lab(LabSpec("none", IPv4Network("10.99.0.0/24"), ())), verb)()


def test_lab_down_without_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 2, and says what it needs."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["lab", "down", "-i", str(Path(__file__).parents[2] / "inventory")]) == 2
    told = capsys.readouterr()
    assert "taking nodes down needs root: run it with sudo" in told.err
    assert "is gone" not in told.out
