"""The first answer of a WebSocket, asked of a server in this process and of pure bytes."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from nornir_stack.errors import UsageError
from nornir_stack.websocket import exchange, first_answer, frame, unframed

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "http://10.0.0.11:6082/websockify?token=t"


@contextmanager
def peer(
    answer: bytes, *, status: str = "101 Switching Protocols", proof: str = ""
) -> Iterator[tuple[socket.socket, list[bytes]]]:
    """A connection whose other end shakes hands, and then says `answer`; and what it heard."""
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []

    def serve() -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += theirs.recv(4096)
        heard.append(request)
        key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
        right = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()  # noqa: S324
        theirs.sendall(f"HTTP/1.1 {status}\r\nSec-WebSocket-Accept: {proof or right}\r\n\r\n".encode())
        if status.startswith("101") and not proof:
            heard.append(theirs.recv(4096))
            theirs.sendall(answer)
        theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield ours, heard
    finally:
        thread.join(5)
        ours.close()


def test_what_is_said_first_comes_back() -> None:
    """The request names host, path and headers; what is sent is masked; the answer unpacked, a ping passed over."""
    with peer(b"\x89\x01x" + b"\x82\x04REDQ") as (plug, heard):
        said = exchange(plug, URL, b"hello", {"Origin": "http://10.0.0.11:6082"})
    assert (said.status, said.data, said.why) == (101, b"REDQ", "")
    assert heard[0].startswith(b"GET /websockify?token=t HTTP/1.1\r\nHost: 10.0.0.11:6082\r\n")
    assert b"Origin: http://10.0.0.11:6082\r\n" in heard[0]
    sent = heard[1]
    assert sent[:2] == b"\x82\x85"
    assert bytes(byte ^ sent[2 + i % 4] for i, byte in enumerate(sent[6:])) == b"hello"


@pytest.mark.parametrize("answer", [b"", b"\x88\x02\x03\xe8"])
def test_one_that_closes_said_nothing(answer: bytes) -> None:
    """By ending the connection, or by the message that says so."""
    with peer(answer) as (plug, _):
        said = exchange(plug, URL, b"hello", {})
    assert (said.status, said.data) == (101, b"")
    assert "closed" in said.why


def test_one_that_opens_none_is_told() -> None:
    """By HTTP's status; and one that does not prove that it understood."""
    with peer(b"", status="403 Forbidden") as (plug, _):
        assert exchange(plug, URL, b"", {}).why == "it answers HTTP 403, and opens no WebSocket"
    with peer(b"", proof="bm90IHRoZSBwcm9vZg==") as (plug, _):
        assert "not what RFC 6455 wants" in exchange(plug, URL, b"", {}).why


def test_lengths_as_the_standard_has_them() -> None:
    """In the head itself, in two bytes, in eight; a message that is not whole is none."""
    assert frame(b"x" * 126, b"\0\0\0\0")[:4] == b"\x82\xfe\x00\x7e"
    for head, size in ((b"\x82\x05", 5), (b"\x82\x7e\x00\x80", 128), (b"\x82\x7f" + (70000).to_bytes(8, "big"), 70000)):
        assert unframed(head + b"y" * size + b"rest") == (2, b"y" * size, b"rest")
        assert unframed(head + b"y" * (size - 1)) is None
    assert unframed(b"\x82") is None


def test_nobody_there() -> None:
    """Told, not raised; what is no URL is the caller's fault."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "does not answer" in first_answer(f"http://127.0.0.1:{port}/", b"").why
    with pytest.raises(UsageError):
        first_answer("10.0.0.11:6082", b"")
