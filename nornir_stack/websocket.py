"""The first answer of a WebSocket (RFC 6455): opened, one message sent, and what comes back. For looking, not for talking."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nornir_stack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SWITCHING = 101
_MOST = 1 << 16
_SHORT, _TWO_BYTES, _EIGHT_BYTES = 125, 126, 127  # RFC 6455, 5.2: the length itself, or in how many bytes it follows
_DATA = frozenset({0, 1, 2})
_CLOSE = 8


@dataclass(frozen=True)
class Heard:
    """`status` is HTTP's, 0 for no answer; `data` what came through the WebSocket; `why` what went wrong instead."""

    status: int
    data: bytes = b""
    why: str = ""


def first_answer(url: str, first: bytes, *, headers: Mapping[str, str] | None = None, seconds: float = 10.0) -> Heard:
    """What a WebSocket at a URL answers to its first message, asked from this machine. A certificate is not judged.

    Raises UsageError for no URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise UsageError(f"{url!r} is no URL of a WebSocket, such as http://10.0.0.11:6082/websockify")
    where = (parts.hostname, parts.port or _PORTS[parts.scheme])
    try:
        with socket.create_connection(where, seconds) as plain:
            if parts.scheme not in {"https", "wss"}:
                return exchange(plain, url, first, headers or {})
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain, server_hostname=parts.hostname) as plug:
                return exchange(plug, url, first, headers or {})
    except OSError as error:
        return Heard(0, why=f"{where[0]}:{where[1]} does not answer: {error}")


def exchange(plug: socket.socket, url: str, first: bytes, headers: Mapping[str, str]) -> Heard:
    """The same over a connection that is there."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    key = base64.b64encode(os.urandom(16)).decode()
    words = {
        "Host": parts.netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "binary",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in words.items())
    plug.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    head, rest = _head(plug)
    status = _status(head)
    if status != _SWITCHING:
        return Heard(status, why=f"it answers HTTP {status}, and opens no WebSocket" if status else "it closes at once")
    proof = base64.b64encode(hashlib.sha1(f"{key}{_GUID}".encode(), usedforsecurity=False).digest())
    if proof not in head:
        return Heard(status, why="what it answers to the key is not what RFC 6455 wants")
    try:
        plug.sendall(frame(first, os.urandom(4)))
        data = _payload(plug, rest)
    except OSError as error:
        return Heard(status, why=f"it is closed at once ({str(error) or type(error).__name__})")
    return Heard(status, data, "" if data else "it is closed without a word")


def frame(payload: bytes, mask: bytes) -> bytes:
    """One binary message of a client (which masks what it sends). Pure."""
    size = len(payload)
    length = bytes([0x80 | size]) if size <= _SHORT else bytes([0x80 | _TWO_BYTES]) + size.to_bytes(2, "big")
    return b"\x82" + length + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def unframed(data: bytes) -> tuple[int, bytes, bytes] | None:
    """Opcode and payload of the first message of a server, and what follows; None where it is not whole yet. Pure."""
    if len(data) < 2:  # noqa: PLR2004  the shortest head
        return None
    size, start = data[1] & 0x7F, 2
    if size >= _TWO_BYTES:
        start += 2 if size == _TWO_BYTES else 8
        size = int.from_bytes(data[2:start], "big") if len(data) >= start else _MOST
    if len(data) < start + size:
        return None
    return data[0] & 0x0F, data[start : start + size], data[start + size :]


def _head(plug: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _MOST:
        piece = plug.recv(4096)
        if not piece:
            break
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _status(head: bytes) -> int:
    words = head.split(None, 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _payload(plug: socket.socket, data: bytes) -> bytes:
    """The first data that comes; b'' where it is closed before."""
    while len(data) < _MOST:
        found = unframed(data)
        if found is not None:
            kind, payload, data = found
            if kind == _CLOSE:
                return b""
            if kind in _DATA and payload:
                return payload
            continue
        piece = plug.recv(4096)
        if not piece:
            return b""
        data += piece
    return b""
