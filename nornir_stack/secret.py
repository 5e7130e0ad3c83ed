"""Secrets: references that are resolved when used, and values that are masked everywhere."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from nornir_stack.errors import SecretError

MASK = "********"
_COMMAND_SECONDS = 30
_SHORTEST = 4  # a shorter one could not be masked without blotting out half of every text
_revealed: set[str] = set()


class Secret:
    """A value that is read only by `reveal()`. Not a `str`: it cannot slip into argv, a log or a diff.

    `reference` is `env:NAME`, `file:PATH`, `cmd:COMMAND LINE`, or None for a literal made in code.
    `where` is the file and line that it stands at, `` for one that was made in code.
    A reference is resolved at each `reveal()`, so a rotated secret is seen by a long-living notebook.
    """

    __slots__ = ("_literal", "reference", "where")

    def __init__(self, reference: str | None = None, *, literal: str | None = None, where: str = "") -> None:
        if (reference is None) == (literal is None):
            raise SecretError("a secret is either a reference (env:NAME, file:PATH, cmd:...) or a literal")
        kind, _, rest = (reference or "").partition(":")
        if reference is not None and (kind not in _RESOLVERS or not rest.strip()):
            # what is no reference may be the secret itself: only the form is told
            raise SecretError("a secret's reference: expected env:NAME, file:PATH or cmd:COMMAND")
        self.reference = reference
        self.where = where
        self._literal = literal

    def reveal(self) -> str:
        """The secret itself. Raises SecretError, which names the reference and where it stands, never a value."""
        name = ": ".join(filter(None, (self.where, f"secret {self.reference or '(literal)'}")))
        value = self._literal
        if value is None:
            kind, _, rest = str(self.reference).partition(":")
            try:
                value = _RESOLVERS[kind](rest)
            except SecretError as error:
                raise SecretError(f"{name}: {error}") from None
        if len(value) < _SHORTEST:
            raise SecretError(f"{name} is shorter than {_SHORTEST} characters: it could not be masked")
        _revealed.add(value)
        return value

    def __repr__(self) -> str:
        return f"Secret({self.reference or MASK!r})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and (self.reference, self._literal) == (other.reference, other._literal)

    def __hash__(self) -> int:
        return hash((self.reference, self._literal))


# What they raise says only why; of an output or a text that cannot be decoded nothing is told: it may be half of the secret.


def _from_env(name: str) -> str:
    try:
        return os.environ[name]
    except (KeyError, ValueError):
        raise SecretError("the environment variable is not set") from None


def _from_file(path: str) -> str:
    try:
        return Path(path).expanduser().read_text("utf-8").rstrip("\n")
    except OSError as error:
        raise SecretError(str(error.strerror)) from None
    except (ValueError, RuntimeError):
        raise SecretError("it is no path, or no file of UTF-8 text") from None


def _from_command(line: str) -> str:
    try:
        done = subprocess.run(shlex.split(line), capture_output=True, encoding="utf-8", check=True, timeout=_COMMAND_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise SecretError(type(error).__name__) from None
    except (ValueError, IndexError):
        raise SecretError("it is no command line, or does not print UTF-8 text") from None
    return done.stdout.rstrip("\n")


_RESOLVERS = {"env": _from_env, "file": _from_file, "cmd": _from_command}


def reveal(value: str | bytes | Secret | None) -> bytes:
    """The bytes of a value that may be secret; nothing is b''."""
    if isinstance(value, Secret):
        value = value.reveal()
    if value is None:
        return b""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def mask(text: str) -> str:
    """`text` with every secret that this process ever revealed blotted out, line by line for those of several lines.

    What leaves the process for people or disk (reports, journals, errors, progress) goes through here.
    """
    values = {line for value in _revealed.copy() for line in (value, *value.splitlines()) if len(line) >= _SHORTEST}
    for value in sorted(values, key=len, reverse=True):
        if value in text:
            text = text.replace(value, MASK)
    return text
