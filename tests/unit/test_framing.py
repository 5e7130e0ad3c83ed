"""What reaches a node of a command whose connection ends in the middle of it: all of it, or nothing that counts."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nornir_stack import files
from nornir_stack.command import Command, command, sh
from nornir_stack.framing import INLINE_STDIN, PRELUDE, STDIN_END, command_script, nonce, shell_script
from nornir_stack.secret import reveal

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = (["dash"], ["bash", "--posix"])


def sent(shell: list[str], script: bytes, mark: str, stdin: bytes = b"") -> None:
    """A shell gets this much of what was to be sent to it, and then its stdin ends: the connection is lost."""
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(PRELUDE.encode() + script)
        process.stdin.flush()
        if stdin:
            assert process.stdout.readline() == f"{mark}b\n".encode()
            process.stdin.write(stdin)
        process.stdin.close()
        process.stdout.read()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
@pytest.mark.parametrize("stdin", [b"", b"what it reads\n"], ids=["no stdin", "stdin"])
def test_a_command_that_was_cut_does_not_run(shell: list[str], stdin: bytes, tmp_path: Path) -> None:
    """Cut anywhere, it is never a shorter command: `rm -r /var/lib/x-old` does not become `rm -r /var/lib/x`."""
    mark = nonce()
    script = command_script(("touch", f"{tmp_path}/a-long-name", f"{tmp_path}/another"), stdin, mark)
    for length in range(script.index(b"touch"), len(script) - 2):
        sent(shell, script[:length], mark)
        assert list(tmp_path.iterdir()) == []
    sent(shell, script, mark)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_a_script_of_our_own_that_was_cut_does_not_run(shell: list[str], tmp_path: Path) -> None:
    """The first of its lines neither."""
    mark = nonce()
    script = shell_script(f": >{tmp_path}/first\n: >{tmp_path}/second", mark)
    for length in range(len(script) - 2):
        sent(shell, script[:length], mark)
        assert list(tmp_path.iterdir()) == []
    sent(shell, script, mark)
    assert len(list(tmp_path.iterdir())) == 2


DATA = b"a line of a dump\n" * (3 * INLINE_STDIN // 17)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
@pytest.mark.parametrize("arrived", [1, 17, INLINE_STDIN, len(DATA) - 1, len(DATA)])
def test_no_command_begins_before_its_stdin_is_whole(shell: list[str], arrived: int, tmp_path: Path) -> None:
    """Of a cut stdin a command would read to the early end and think that it was all: so it does not begin."""
    mark, path = nonce(), tmp_path / "loaded"
    script = command_script(sh('cat >"$1"', str(path)).argv, DATA, mark)
    sent(shell, script, mark, DATA[:arrived])
    assert not path.exists()
    sent(shell, script, mark, DATA + STDIN_END)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("size", [100, len(DATA)])
def test_a_file_whose_content_was_cut_stays_as_it_was(size: int, tmp_path: Path) -> None:
    """Neither half a file nor a temporary one is left."""
    path, mark = tmp_path / "file", nonce()
    path.write_text("precious")
    write = files.write(str(path), DATA[:size], mode="", owner="", backup=False)
    script = command_script(write.argv, DATA[:size], mark)
    if size > INLINE_STDIN:
        sent(["dash"], script, mark, DATA[: size // 2])
    else:
        sent(["dash"], script[: script.index(b"( trap ")], mark)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "precious")]


@pytest.mark.parametrize("given", [b"", b"only ha"])
def test_a_file_is_only_replaced_by_what_has_its_length(given: bytes, tmp_path: Path) -> None:
    """Whatever passes it on between us and the file: less than was sent is an error and changes nothing."""
    path = tmp_path / "file"
    path.write_text("precious")
    write = files.write(str(path), b"only half of this", mode="", owner="", backup=False)
    done = subprocess.run(write.argv, input=given, capture_output=True, check=False)
    assert done.returncode != 0
    assert f"{len(given)} bytes arrived of 17" in done.stderr.decode()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file", "precious")]


def test_a_command_shows_no_stdin() -> None:
    """Neither for people nor in a traceback: what is written names the file and never its content."""
    write = files.write("/etc/app.conf", b"password = tr0ub4dor", mode="0600", owner="root", backup=False)
    assert write.line == "write /etc/app.conf"
    for wanted in (write, command("cat", stdin="tr0ub4dor"), Command(("cat",), b"tr0ub4dor")):
        assert b"tr0ub4dor" in reveal(wanted.stdin)
        assert "tr0ub4dor" not in repr(wanted) + wanted.line
