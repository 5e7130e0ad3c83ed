"""Decisions about logs, on what a node printed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nornir_stack.errors import UsageError
from nornir_stack.seen import Seen
from nornir_stack.size import Size
from nornir_stack.tasks.maintenance.fills import Fills, parse_fills, too_full
from nornir_stack.tasks.maintenance.history import Growth
from nornir_stack.tasks.maintenance.rotation import LogFile, config, config_path, judge, parse_files

BIG = LogFile("/var/log/a.log", 7, 3000)


@pytest.mark.parametrize(
    ("after", "rotated"),
    [
        (LogFile("/var/log/a.log", 8, 0), True),  # a new file
        (LogFile("/var/log/a.log", 7, 10), True),  # copied and truncated, and written again
        (LogFile("/var/log/b.log", 9, 5), True),  # nobody wrote to it again
        (BIG, False),
        (LogFile("/var/log/a.log", 7, 3001), False),
    ],
)
def test_a_rotation_shows_in_inode_or_size(after: LogFile, *, rotated: bool) -> None:
    """A new inode, a smaller file, or none."""
    assert (judge([BIG], [after]) == []) is rotated


def test_files_are_read_with_spaces_in_names() -> None:
    """And whether logrotate is there."""
    text = "installed\nlog 7 3000 /var/log/a b.log\nroom   90\n"
    assert parse_files(text) == (True, (LogFile("/var/log/a b.log", 7, 3000, 90),))
    assert parse_files("") == (False, ())


def test_what_fills_is_read() -> None:
    """The disk, the largest files, and the deleted ones that are open; by lines of their own."""
    text = "machine 5\ndisk 1000 50 /var\nfile 900 /var/log/a b\ngone 30 77 /var/log/c (deleted)\n"
    assert parse_fills(text) == Fills("/var", 1000, 50, (("/var/log/a b", 900),), (("/var/log/c (deleted)", 30),))


def test_a_full_disk_is_a_problem_with_names() -> None:
    """At 90 %, or what was asked; a host that was not seen is a problem too."""
    full = Fills("/var", 1000 << 20, 50 << 20, (("/var/log/a", 900 << 20),))
    seen = Seen({"n1": full, "n2": Fills("/", 100, 50)}, {"n3": "unreachable"})
    assert too_full(seen) == ["n3 was not seen: unreachable", "n1: /var is 95 % full; largest: /var/log/a (900M)"]
    assert len(too_full(seen, percent=50)) == 3
    grows = {"/var/log/a": Growth(5 << 20, 1_700_000_000.0)}
    (told,) = too_full(Seen({"n1": replace(full, grows=grows, deleted=(("/x (deleted)", 7 << 20),))}))
    assert told.endswith("largest: /x (deleted) (7M), /var/log/a (900M, 5M a day since 2023-11-14)")


def test_a_rotation_as_logrotate_reads_it() -> None:
    """Sizes are bytes: logrotate knows no capital K."""
    text = config(["/var/log/a.log", "/var/log/b/*.log"], 3, Size.parse("512K"))
    assert text.splitlines()[:5] == ["/var/log/a.log", "/var/log/b/*.log", "{", "    size 524288", "    rotate 3"]


@pytest.mark.parametrize("paths", [[], ["relative.log"], ["/a b"], ['/a"b'], ["/a{b"]])
def test_paths_that_would_mean_something_else(paths: list[str]) -> None:
    """They are refused before anything is written."""
    with pytest.raises(UsageError):
        config(paths, 3, Size(1))


def test_labels_are_file_names_that_logrotate_reads() -> None:
    """It passes over names with a dot, and a slash would lead elsewhere."""
    assert config_path("nova-api") == "/etc/nornir-stack/logrotate.d/nova-api"
    for label in ("", "a.b", "../x", "A"):
        with pytest.raises(UsageError):
            config_path(label)
