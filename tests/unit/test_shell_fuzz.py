"""Fuzz of the shell protocol: any bytes, in any pieces, from commands that do as they like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nornir_stack.command import Command, command, sh
from nornir_stack.framing import INLINE_STDIN, Reply, nonce
from tests.unit.shells import KINDS, shell_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_stack.shell import ShellConnection

MARK = nonce()
LIVE = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=False)


@pytest.fixture(scope="module", params=KINDS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShellConnection]:
    with shell_by(request.param, tmp_path_factory.mktemp("ssh")) as opened:
        yield opened


# bytes that look like the frame's own, beside any others
near_marks = st.sampled_from([b"", b"\n", b"b1\n", b"e0 0\n", MARK[:-1].encode(), MARK[5:].encode(), MARK.encode()[:1] * 40])
any_bytes = st.lists(st.one_of(st.binary(max_size=200), near_marks), max_size=6).map(b"".join)


@settings(max_examples=60, deadline=None)
@given(streamed=st.booleans(), out=any_bytes, err=any_bytes, status=st.integers(0, 255), left=st.booleans(), data=st.data())
def test_decoder_finds_the_output_in_any_pieces(
    *, streamed: bool, out: bytes, err: bytes, status: int, left: bool, data: st.DataObject
) -> None:
    """Whatever stands in it, wherever the pieces are cut, behind the mark that asks for stdin or without one."""
    mark = MARK.encode()
    streams = [
        (mark + b"b\n") * streamed + out + mark + b"e%d %d\n" % (status, left) + b"late",
        err + mark + b"e\n" + b"late",
    ]
    reply, done = Reply(MARK, streamed=streamed), False
    while streams[0] or streams[1]:
        stream = data.draw(st.sampled_from([number for number in (0, 1) if streams[number]]))
        size = data.draw(st.integers(1, len(streams[stream])))
        done = reply.feed(streams[stream][:size], stderr=bool(stream)) or done
        streams[stream] = streams[stream][size:]
    assert done
    assert (reply.began, reply.out, reply.err, reply.status, reply.left) == (True, out, err, status, left)


@LIVE
@given(out=any_bytes, err=any_bytes, status=st.integers(0, 255))
def test_any_output_comes_back(shell: ShellConnection, out: bytes, err: bytes, status: int) -> None:
    """Both streams byte for byte and the status, with no line's end needed."""
    script = f'head -c {len(out)}; cat >&2; exit "$1"'
    output = shell.run(sh(script, str(status), stdin=out + err), timeout=20)
    if out:  # head -c of a pipe reads no further than it is told
        assert (output.out, output.err, output.status) == (out, err, status)
    else:
        assert (output.err, output.status) == (err, status)


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@LIVE
@given(
    st.lists(st.one_of(words, st.binary(max_size=8).map(lambda b: b.replace(b"\0", b"").decode("utf-8", "surrogateescape"))))
)
def test_any_words_arrive(shell: ShellConnection, argv: list[str]) -> None:
    """argv is passed word by word."""
    output = shell.run(command("printf", "%s\\0", *argv), timeout=20)
    assert output.out == b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in argv or [""])


@LIVE
@given(size=st.integers(0, 4 * INLINE_STDIN), seed=st.binary(min_size=1, max_size=50), taken=st.integers(0, INLINE_STDIN * 5))
def test_any_part_of_stdin_may_be_read(shell: ShellConnection, size: int, seed: bytes, taken: int) -> None:
    """A command that reads some of its stdin leaves nothing of the rest to the shell."""
    data = (seed * (size // len(seed) + 1))[:size]
    assert shell.run(Command(("head", "-c", str(taken)), data), timeout=20).out == data[:taken]
    assert shell.run(command("echo", "probe"), timeout=20).out == b"probe\n"


DEEDS = [
    "printf x",
    "printf x >&2",
    "echo line",
    "(sleep 0.02; echo late) &",
    "(sleep 0.02; echo late >&2) &",
    "setsid sh -c 'sleep 0.02; echo late' &",
    "sleep 0.1 >/dev/null 2>&1 &",
    "cat >/dev/null",
    "trap '' TERM HUP INT PIPE",
    "exec 3>&1 4>&2",
    "exec 1>&2",
    "exec 2>/dev/null",
    "head -c 100000 /dev/zero",
    "cd /tmp",
    "umask 0",
    "set -m",
    "ulimit -n 20",
    "kill -TERM 0",
    "kill -KILL $$",
    "exec true",
    "exit 3",
]


@LIVE
@given(st.lists(st.sampled_from(DEEDS), min_size=1, max_size=5))
def test_probe_is_right_after_any_deeds(shell: ShellConnection, deeds: list[str]) -> None:
    """Whatever a command did, alone or one after the other, the next one has its own output and status."""
    shell.run(sh("\n".join(deeds)), timeout=20)
    for _ in range(2):
        probe = shell.run(sh("printf out; printf err >&2; exit 7"), timeout=20)
        assert (probe.out, probe.err, probe.status) == (b"out", b"err", 7)
