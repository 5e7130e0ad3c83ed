"""Where commands write: stdout for answers, stderr for complaints, files that the user names."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path

from nornir_stack.errors import UsageError


def complain(message: str) -> None:
    """One sentence on stderr, secrets masked."""
    from nornir_stack.secret import mask  # noqa: PLC0415  not needed for --help

    with suppress(OSError):  # the terminal is gone
        sys.stderr.write(f"nornir-stack: {mask(message)}\n")


def say(text: str) -> None:
    """An answer on stdout."""
    sys.stdout.write(f"{text}\n")


def lenient() -> None:
    """From now on a character that stdout or stderr has no place for (LANG=C, a node's bytes) is escaped and not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def silence() -> None:
    """Nobody reads stdout any more (`| head`, a full disk): what is left in its buffer must not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_file(path: str, text: str) -> None:
    """Write a file for the user, in UTF-8. Raises UsageError where that cannot be done."""
    try:
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def can_write(path: str) -> None:
    """Raises UsageError where `write_file` could not write: to be asked before what takes an hour."""
    there = Path(path)
    if there.exists() and not (there.is_file() or there.is_dir()):
        return  # a pipe: opening it would end its reader
    new = not there.exists()
    try:
        with there.open("a"):
            pass
        if new:
            there.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
