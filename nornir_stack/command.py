"""Commands as values: argv quoted by default, raw shell the marked exception, secrets only through stdin."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from nornir_stack.errors import CommandFailed, SecretError
from nornir_stack.secret import MASK, Secret, mask

_TAIL = 2000


@dataclass(frozen=True)
class Command:
    """What to run on a node. `argv` is passed word by word: no shell reads it.

    Made by `command("systemctl", "start", unit)` or, where a shell is needed, by `sh('test -e "$1" && cat "$1"', path)`:
    the script is constant text and values reach it only as `$1`, `$2`..., so nothing has to be quoted.
    """

    argv: tuple[str, ...]
    stdin: str | bytes | Secret | None = field(default=None, repr=False)
    label: str = ""

    def __post_init__(self) -> None:
        words: tuple[object, ...] = self.argv
        for word in words:
            if isinstance(word, Secret):
                raise SecretError("a secret in argv is seen by everyone on the node (ps): pass it by stdin or in a file")
            if not isinstance(word, str):
                raise TypeError(f"argv takes str, not {type(word).__name__}: {word!r}")
            if "\0" in word:
                raise ValueError("argv cannot hold a NUL byte")
        if not self.argv:
            raise ValueError("a command has at least one word")

    @property
    def line(self) -> str:
        """For people and logs: its label, or the words quoted so that they could be pasted; a raw script as it stands."""
        if self.label:
            return self.label
        if self.argv[:2] == ("sh", "-c"):
            values = self.argv[4:]
            return self.argv[2].strip() + (f"  # {shlex.join(values)}" if values else "")
        return shlex.join(self.argv) + (f" < {MASK}" if isinstance(self.stdin, Secret) else "")

    def __str__(self) -> str:
        return self.line


def command(*argv: str, stdin: str | bytes | Secret | None = None) -> Command:
    """One program with its arguments."""
    return Command(argv, stdin)


def sh(script: str, *values: str, stdin: str | bytes | Secret | None = None, label: str = "") -> Command:
    """A POSIX shell script (the marked exception); `values` are its `$1`, `$2`... `label`: what people see of a long one."""
    return Command(("sh", "-c", script, "sh", *values), stdin, label)


@dataclass(frozen=True)
class Output:
    """What a command printed and how it ended. `status` is 128+N after signal N; `duration` in seconds."""

    command: Command
    status: int
    out: bytes = field(repr=False)
    err: bytes = field(repr=False)
    duration: float

    @property
    def stdout(self) -> str:
        """Decoded as UTF-8; bytes that are none survive as surrogates. `out` has the bytes."""
        return self.out.decode("utf-8", "surrogateescape")

    @property
    def stderr(self) -> str:
        return self.err.decode("utf-8", "surrogateescape")

    @property
    def text(self) -> str:
        """stdout without white space at either end."""
        return self.stdout.strip()

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()

    @property
    def ok(self) -> bool:
        return self.status == 0

    def explain(self) -> str:
        """One paragraph for an error message, secrets masked: the command, the status, the end of what it said."""
        said = mask((self.err or self.out).decode("utf-8", "replace")).strip()[-_TAIL:]  # the end of a secret is one too
        return f"`{mask(self.command.line)}` ended with status {self.status}" + (f": {said}" if said else " and said nothing")

    def require(self, *allowed: int) -> Output:
        """Itself, if the status is one of `allowed` (default: 0); raises CommandFailed."""
        if self.status not in (allowed or (0,)):
            raise CommandFailed(self)
        return self
