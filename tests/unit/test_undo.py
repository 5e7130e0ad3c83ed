"""The scripts that go to a node: they parse, and what stands in them arrives as it was meant."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nornir_stack import undo
from nornir_stack.command import command
from nornir_stack.confirmed import File, _written
from nornir_stack.secret import Secret
from nornir_stack.undo_live import LIVE

if TYPE_CHECKING:
    from pathlib import Path

WORDS = st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)


@settings(max_examples=25, deadline=None)
@given(st.lists(WORDS, max_size=3), st.binary(max_size=200))
def test_words_and_stdin_arrive(words: list[str], stdin: bytes) -> None:
    """Each step gets its very words and bytes, whatever they hold, and the next one runs after it."""
    show = command("sh", "-c", r'for w; do printf "%s\0" "$w"; done; cat', "sh", *words, stdin=stdin)
    text = undo.script([show, command("printf", "%s", "end")])
    done = subprocess.run(["sh", "-e"], input=text.encode(), capture_output=True, check=True)
    assert done.stdout == b"".join(word.encode() + b"\0" for word in words) + stdin + b"end"


@settings(max_examples=10, deadline=None)
@given(WORDS, st.lists(WORDS.map(lambda word: f"/{word}".replace("\n", "")), max_size=3))
def test_every_script_parses(about: str, paths: list[str]) -> None:
    """Whatever the change is called and whatever files it has."""
    change = undo.Change([command("ip", "link", "set", about, "up")], paths, [command("true")], 5, about)
    for script in (undo.arm(change), undo.CONFIRM, undo.LOOK, undo.TIDY, LIVE):
        done = subprocess.run(["sh", "-n"], input=script.encode(), capture_output=True, check=False)
        assert done.stderr == b""


def test_a_step_that_fails_ends_the_script() -> None:
    """So that what depends on it is not done on a network that it did not make; also where its stdin comes by a pipe."""
    for stdin in (None, "x"):
        text = undo.script([command("sh", "-c", "cat >/dev/null; exit 3", stdin=stdin), command("echo", "on")])
        done = subprocess.run(["sh", "-e"], input=text.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (3, b"")


@pytest.mark.parametrize("content", ["", "plain\n", b"\x00\xff" * 40_000, Secret(literal="s3cret of today")])
def test_a_file_that_is_a_step_is_written_whole(content: str | bytes | Secret, tmp_path: Path) -> None:
    """With the mode and the owner that it has, where the step names none; its name is all that is shown of it."""
    path = tmp_path / "10-lan.network"
    path.write_text("old")
    path.chmod(0o640)
    step = _written(File(str(path), content))
    subprocess.run(["sh", "-e"], input=undo.script([step]).encode(), check=True)
    wanted = content.reveal() if isinstance(content, Secret) else content
    assert path.read_bytes() == (wanted if isinstance(wanted, bytes) else wanted.encode())
    assert path.stat().st_mode & 0o777 == 0o640
    assert (step.line, "s3cret" in repr(step)) == (f"write {path}", False)
