"""Files on a node, tried with a real `sh` on this machine: looks, atomic writes, links, full disks; and ini edits."""

from __future__ import annotations

import configparser
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_stack import files
from nornir_stack.errors import UsageError
from nornir_stack.secret import reveal

if TYPE_CHECKING:
    from pathlib import Path

    from nornir_stack.command import Command


def run(command: Command) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command.argv, input=reveal(command.stdin), capture_output=True, check=False)


def write(
    path: Path, content: bytes, *, mode: str = "", owner: str = "", backup: bool = False
) -> subprocess.CompletedProcess[bytes]:
    return run(files.write(str(path), content, mode=mode, owner=owner, backup=backup))


def test_look_gives_content_mode_and_owner(tmp_path: Path) -> None:
    """A look returns exactly the bytes of the file, whatever they are, and its attributes."""
    path = tmp_path / "odd |name"
    path.write_bytes(b"\x00a\r\n|b\xff")
    path.chmod(0o640)
    now = files.parse_look(run(files.look(str(path))).stdout)
    assert now is not None
    assert (now.content, now.mode, now.path) == (b"\x00a\r\n|b\xff", "640", str(path))


def test_look_at_nothing_and_at_a_folder(tmp_path: Path) -> None:
    """An absent file is None; a link that leads nowhere is one, a folder has no content."""
    assert files.parse_look(run(files.look(str(tmp_path / "absent"))).stdout) is None
    for number, target in enumerate((tmp_path / "absent", tmp_path / "no" / "folder", tmp_path / "link2")):
        (tmp_path / f"link{number}").symlink_to(target)
        link = files.parse_look(run(files.look(str(tmp_path / f"link{number}"))).stdout)
        assert link is not None
        assert (link.kind, link.content, link.link) == (files.LINK, None, True)
    folder = files.parse_look(run(files.look(str(tmp_path))).stdout)
    assert folder is not None
    assert (folder.kind, folder.content) == ("directory", None)


def test_write_follows_a_link_and_the_link_stays(tmp_path: Path) -> None:
    """`plugin.ini` that is a link keeps being one; its target gets the content and keeps its mode."""
    target = tmp_path / "real" / "ml2.ini"
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    link = tmp_path / "plugin.ini"
    link.symlink_to(target)
    assert write(link, b"new").returncode == 0
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_new_files_are_0644_and_leave_no_temporary_file(tmp_path: Path) -> None:
    """Without a mode a new file is 0644; nothing else is left in the folder."""
    write(tmp_path / "a", b"x")
    write(tmp_path / "b", b"y", mode="0600")
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {"a": 0o644, "b": 0o600}


def test_backup_keeps_the_old_content(tmp_path: Path) -> None:
    """With backup the former content lies beside the file."""
    path = tmp_path / "a"
    path.write_text("old")
    write(path, b"new", backup=True)
    assert [p.read_text() for p in tmp_path.glob("a.*.bak")] == ["old"]


def test_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    """On a file system that is full the old file survives whole, and the error says so."""
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() != 0:
        pytest.fail("run as root: this test mounts a small tmpfs")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount], check=True)
    try:
        (mount / "a").write_text("precious")
        done = write(mount / "a", b"x" * 200_000)
        assert done.returncode != 0
        assert b"No space left" in done.stderr
        assert [p.name for p in mount.iterdir()] == ["a"]
        assert (mount / "a").read_text() == "precious"
    finally:
        subprocess.run(["umount", mount], check=True)


def test_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    """Writing into a folder that does not exist says which."""
    done = write(tmp_path / "no" / "such" / "file", b"x")
    assert done.returncode != 0
    assert b"does not exist" in done.stderr


def test_relative_paths_are_refused() -> None:
    """A path on a node is absolute: a relative one would depend on where the shell stands."""
    with pytest.raises(UsageError, match="absolute"):
        files.look("etc/passwd")


@given(st.text(), st.text())
def test_a_diff_is_empty_only_for_equal_content(old: str, new: str) -> None:
    """Whatever changes is shown: no pair of different contents has an empty diff."""
    a, b = old.encode("utf-8", "surrogatepass"), new.encode("utf-8", "surrogatepass")
    assert (files.unified_diff("/x", a, b) == "") == (a == b)


@pytest.mark.parametrize(
    ("mode", "owner", "differs"),
    [
        ("", "", False),
        ("0644", "root", False),
        ("644", "root:root", False),
        ("0600", "", True),
        ("", "mysql", True),
        ("", "root:adm", True),
    ],
)
def test_attributes(mode: str, owner: str, differs: bool) -> None:
    """Modes are compared as numbers; an empty wish accepts what is."""
    now = files.FileState("/x", "regular file", "644", "root", "root", 0, b"")
    assert files.attributes_differ(now, mode=mode, owner=owner) is differs


NOVA = """[DEFAULT]
# comment stays
#debug = false
transport_url = rabbit://a
  continued

[spice]
# enabled = true
enabled=false
enabled = maybe

[other]
x = 1
"""


def test_ini_edits_keep_everything_else() -> None:
    """Comments, order and other sections stay; the last of several values is the one changed; the others go."""
    text = files.edited_ini(NOVA, "spice", {"enabled": "true", "keymap": "en-us"})
    assert text == NOVA.replace("enabled=false\nenabled = maybe\n", "enabled = true\nkeymap = en-us\n")


def test_ini_value_goes_after_its_commented_example() -> None:
    """A key that stands as a commented example is written right after it."""
    text = files.edited_ini(NOVA, "DEFAULT", {"debug": "true"})
    assert "#debug = false\ndebug = true\ntransport_url" in text


def test_ini_removal_takes_the_continuation_lines_too() -> None:
    """A removed key takes its indented continuation with it."""
    text = files.edited_ini(NOVA, "DEFAULT", {"transport_url": None})
    assert "continued" not in text
    assert "# comment stays" in text


def test_ini_new_section_at_the_end() -> None:
    """A missing section is added at the end; removing from a missing section changes nothing."""
    assert files.edited_ini("[a]\nx = 1\n", "b", {"y": "2"}) == "[a]\nx = 1\n\n[b]\ny = 2\n"
    assert files.edited_ini("[a]\nx = 1\n", "b", {"y": None}) == "[a]\nx = 1\n"


def test_an_ini_value_is_the_one_that_programs_read() -> None:
    """Of the named section, the last of several; not a commented example, nor a line that goes on."""
    text = "[a]\nx = 1\n[b]\n#y = 0\ny = 1\n  z = 5\ny=2 = 3\n[a]\n"
    assert files.ini_value(text, "b", "y") == "2 = 3"
    assert files.ini_value(text, "a", "y") is None
    assert files.ini_value(text, "b", "z") is None
    assert files.ini_value(files.edited_ini(text, "b", {"y": "9"}), "b", "y") == "9"


names = st.text("abcdefgh_", min_size=1, max_size=5)
values = st.text("abc123 /:,", max_size=8).map(str.strip)


@given(
    st.dictionaries(names, st.dictionaries(names, values, max_size=4), max_size=4),
    names,
    st.dictionaries(names, values, min_size=1, max_size=3),
)
def test_ini_edit_twice_is_the_same_and_is_read_back(
    config: dict[str, dict[str, str]], section: str, wanted: dict[str, str]
) -> None:
    """A second edit changes nothing, a real parser reads what was asked for, and all else as before."""
    text = "\n".join(line for name, keys in config.items() for line in (f"[{name}]", *(f"{k} = {v}" for k, v in keys.items())))
    once = files.edited_ini(text, section, wanted)
    assert files.edited_ini(once, section, wanted) == once
    parser = configparser.RawConfigParser(strict=False, default_section="no default section")
    parser.read_string(once)
    expected = {**config, section: {**config.get(section, {}), **wanted}}
    assert {name: dict(parser[name]) for name in parser.sections()} == expected


def test_new_content_is_never_readable_by_more_than_may_read_the_file(tmp_path: Path) -> None:
    """A secret that takes the place of something public: no moment at which its temporary file has the old, wider mode."""
    path, seen = tmp_path / "app.conf", tmp_path / "seen"
    path.write_text("public")
    path.chmod(0o644)
    for program in ("chown", "chmod", "sync", "mv"):
        spy = tmp_path / "bin" / program
        spy.parent.mkdir(exist_ok=True)
        spy.write_text(f'#!/bin/sh\nstat -c %a {tmp_path}/.nornir-stack.* >>{seen} 2>/dev/null\nexec /bin/{program} "$@"\n')
        spy.chmod(0o755)
    command = files.write(str(path), b"secret", mode="0600", owner="", backup=False)
    with_spies = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    subprocess.run(command.argv, input=b"secret", check=True, env=with_spies)
    assert set(seen.read_text().split()) == {"600"}
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("secret", 0o600)
