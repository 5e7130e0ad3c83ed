"""Where commands write: stdout for answers, stderr for complaints, files that the user names."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nornir_stack.errors import UsageError


def complain(message: str) -> None:
    """One sentence on stderr, secrets masked."""
    from nornir_stack.secret import mask  # noqa: PLC0415  not needed for --help

    sys.stderr.write(f"nornir-stack: {mask(message)}\n")


def say(text: str) -> None:
    """An answer on stdout."""
    sys.stdout.write(f"{text}\n")


def silence() -> None:
    """Whoever read stdout has seen enough (`| head`): what is left in its buffer must not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_file(path: str, text: str) -> None:
    """Write a file for the user. Raises UsageError where that cannot be done."""
    try:
        Path(path).write_text(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
