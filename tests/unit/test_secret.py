"""Secrets: resolved when used, masked everywhere, told by reference only."""

from __future__ import annotations

import copy
import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nornir_stack.command import Output, command
from nornir_stack.errors import CommandFailed, Refused, SecretError
from nornir_stack.inventory import load
from nornir_stack.results import Result
from nornir_stack.secret import MASK, Secret, mask, reveal
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from pathlib import Path

    from nornir.core.task import Task

VALUE = "correct horse battery"


def test_from_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference to the environment is resolved at each use: a rotated secret is seen."""
    monkeypatch.setenv("STACK_SECRET", VALUE)
    secret = Secret("env:STACK_SECRET")
    assert secret.reveal() == VALUE
    monkeypatch.setenv("STACK_SECRET", "rotated since")
    assert secret.reveal() == "rotated since"


def test_from_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference to a file gives its text without the last newline; ~ is the home folder."""
    (tmp_path / "app").write_text(f"{VALUE}\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Secret("file:~/app").reveal() == Secret(f"file:{tmp_path}/app").reveal() == VALUE


def test_from_command() -> None:
    """A reference to a command gives what it prints; its line is split into words, and no shell expands anything."""
    assert Secret("cmd:printf '%s\\n' 'correct horse; $HOME'").reveal() == "correct horse; $HOME"


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("env:STACK_NOT_SET", "secret env:STACK_NOT_SET: the environment variable is not set"),
        ("file:/nowhere/app", "secret file:/nowhere/app: No such file or directory"),
        ("cmd:false", "secret cmd:false: CalledProcessError"),
        ("cmd:no-such-program-here", "secret cmd:no-such-program-here: FileNotFoundError"),
        ("cmd:echo 'x", "secret cmd:echo 'x: it is no command line, or does not print UTF-8 text"),
        (r"cmd:printf '\377secret'", r"secret cmd:printf '\377secret': it is no command line, or does not print UTF-8 text"),
        ("file:/bin/true", "secret file:/bin/true: it is no path, or no file of UTF-8 text"),
    ],
)
def test_unresolved(reference: str, told: str) -> None:
    """A reference that cannot be resolved is told by itself and the cause."""
    with pytest.raises(SecretError) as caught:
        Secret(reference).reveal()
    assert str(caught.value) == told
    with pytest.raises(SecretError) as caught:
        Secret(reference, where="hosts.yaml:7").reveal()
    assert str(caught.value) == f"hosts.yaml:7: {told}"


def test_a_secret_of_the_inventory_tells_its_line(tmp_path: Path) -> None:
    """One that cannot be resolved is told with its file and line, wherever it was inherited to."""
    (tmp_path / "hosts.yaml").write_text("db1:\n  password: !secret env:STACK_NOT_SET\n")
    password = load(tmp_path).require().inventory.hosts["db1"].password
    with pytest.raises(SecretError, match=r"/hosts\.yaml:2: secret env:STACK_NOT_SET: the environment variable is not set"):
        reveal(password)


def test_what_is_no_reference_is_not_told() -> None:
    """It may be the secret itself, with a forgotten `env:`."""
    with pytest.raises(SecretError) as caught:
        Secret(VALUE)
    assert "horse" not in str(caught.value)


def test_failing_command_tells_no_output() -> None:
    """What a failing command printed may be half of the secret: it is not told, in the error or its cause."""
    with pytest.raises(SecretError) as caught:
        Secret(f"cmd:{sys.executable} -c 'import sys; print(\"correct horse\"); sys.exit(1)' x").reveal()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_too_short_to_mask() -> None:
    """A secret too short to be masked is refused when it is used."""
    with pytest.raises(SecretError, match="shorter than 4 characters"):
        Secret(literal="abc").reveal()


@pytest.mark.parametrize("reference", ["vault:x", "plain", "", "ENV:X", "cmd:", "cmd: ", "env:"])
def test_unknown_kind(reference: str) -> None:
    """A reference of an unknown kind, or one that names nothing, is refused when it is made."""
    with pytest.raises(SecretError, match="expected env:NAME"):
        Secret(reference)


def test_either_reference_or_literal() -> None:
    """A secret is one or the other."""
    with pytest.raises(SecretError):
        Secret()
    with pytest.raises(SecretError):
        Secret("env:X", literal=VALUE)


def test_never_in_text() -> None:
    """Neither repr, nor str, nor a format, nor a container's repr has the value; JSON refuses it."""
    secret = Secret(literal=VALUE)
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]}", repr({"password": secret})):
        assert VALUE not in text
    assert repr(Secret("env:X")) == "Secret('env:X')"
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_not_text() -> None:
    """A secret is no str: it cannot be joined into a command line or written as one by accident."""
    secret = Secret(literal=VALUE)
    words = ["mysql", secret]
    with pytest.raises(TypeError):
        "mysql -p" + secret  # type: ignore[operator]
    with pytest.raises(TypeError):
        ",".join(words)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        subprocess.run(words, check=True)  # type: ignore[arg-type]


def test_same_reference_is_equal() -> None:
    """Secrets are equal by reference or literal, so settings that hold them compare and hash."""
    assert Secret("env:A") == Secret("env:A") != Secret("env:B")
    assert Secret(literal=VALUE) == copy.deepcopy(Secret(literal=VALUE)) != Secret("env:A")
    assert len({Secret("env:A"), Secret("env:A"), Secret("file:A")}) == 2


def test_mask_blots_out_what_was_revealed() -> None:
    """Text that holds a secret which was used has it blotted out, each line of one with several lines too."""
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----"
    Secret(literal=key).reveal()
    Secret(literal="MIIEvQIBADANBgkqh").reveal()
    assert mask(f"before\n{key}\nafter") == f"before\n{MASK}\nafter"
    assert mask("got MIIEvQIBADANBg here") == f"got {MASK} here"
    assert mask("got MIIEvQIBADANBgkqh here") == f"got {MASK} here"


def test_reveal_of_anything() -> None:
    """Text, bytes, secrets and nothing become bytes; undecodable bytes in text survive."""
    assert reveal(Secret(literal=VALUE)) == VALUE.encode()
    assert (reveal("ä"), reveal(b"\xff"), reveal(None)) == ("ä".encode(), b"\xff", b"")
    assert reveal(os.fsdecode(b"\xff")) == b"\xff"


@pytest.mark.parametrize("stream", ["out", "err"])
def test_a_command_that_prints_a_secret(stream: str) -> None:
    """Its error has it masked, in str, repr and args, also where only the end of what it said is told."""
    Secret(literal=VALUE).reveal()
    said = {"out": b"", "err": b"", stream: f"{VALUE} is wrong{'.' * (2000 - len(VALUE))}".encode()}
    output = Output(command("mysql", VALUE), 1, duration=0.0, **said)
    failure = CommandFailed(output)
    for text in (str(failure), repr(failure), str(failure.args), output.explain()):
        assert not [word for word in VALUE.split() if word in text]
    assert getattr(failure.output, stream) == said[stream]
    assert "is wrong" not in repr(output)


def test_every_error_of_ours_is_masked() -> None:
    """Whoever catches, logs or prints it."""
    Secret(literal=VALUE).reveal()
    assert str(Refused(f"the user said {VALUE}")) == f"the user said {MASK}"


def test_a_result_as_text_is_masked() -> None:
    """As nornir_utils prints it."""
    Secret(literal=VALUE).reveal()
    host = fleet({"db": ["one"]}).inventory.hosts["one"]
    assert str(Result(host, {"password": VALUE})) == f"{{'password': '{MASK}'}}"


def test_what_nornir_logs_of_a_task_that_failed_is_masked(caplog: pytest.LogCaptureFixture) -> None:
    """Its log has the traceback of whatever was raised."""
    Secret(literal=VALUE).reveal()

    def fail(task: Task) -> None:
        raise ValueError(f"{task.host}: {VALUE}")

    with caplog.at_level(logging.ERROR):
        fleet({"db": ["one"]}).run(task=fail)
    assert f"ValueError: one: {MASK}" in caplog.text
    assert VALUE not in caplog.text
