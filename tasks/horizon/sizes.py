"""How many workers a node can bear. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nornir_stack.errors import Refused

# A Horizon process takes 150 to 200 MB once it has served pages (measured: Pss 216 MB with Apache's own).
PROCESS = 200 << 20
_SHARE = 4  # a quarter of the memory: control nodes run much else
_LEAST, _THREADS = 2, 10
_THREADS_PER_CHILD = 25
_MOST_CHILDREN = 16
_CHILD = 30 << 20

_DAEMON = re.compile(r"^([ \t]*WSGIDaemonProcess[ \t]+\S+)(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Sizes:
    """`processes` and `threads` of Horizon's WSGI; `children` of Apache's event MPM with 25 threads each."""

    processes: int
    threads: int
    children: int

    @property
    def workers(self) -> int:
        """MaxRequestWorkers."""
        return self.children * _THREADS_PER_CHILD


def sizes(memory: int, cpus: int) -> Sizes:
    """For a node with so many bytes of memory and processors.

    >>> sizes(2 << 30, 4), sizes(16 << 30, 8)
    (Sizes(processes=2, threads=10, children=4), Sizes(processes=16, threads=10, children=16))
    """
    share = memory // _SHARE
    processes = max(_LEAST, min(share // PROCESS, 2 * cpus))
    left = max(share - processes * PROCESS, share // _SHARE)
    return Sizes(processes, _THREADS, max(_LEAST * 2, min(left // _CHILD, _MOST_CHILDREN)))


def event_config(wanted: Sizes) -> str:
    """Apache's part, mpm_common(5)."""
    return (
        "<IfModule mpm_event_module>\n"
        f"    ServerLimit {wanted.children}\n"
        f"    ThreadsPerChild {_THREADS_PER_CHILD}\n"
        f"    MaxRequestWorkers {wanted.workers}\n"
        "    MaxConnectionsPerChild 10000\n"
        "</IfModule>\n"
    )


def with_sizes(text: str, wanted: Sizes) -> str:
    """The dashboard's own file with the processes and threads of its WSGIDaemonProcess; all else as it was.

    >>> with_sizes("WSGIDaemonProcess horizon user=horizon processes=3 threads=10\\n", Sizes(5, 10, 4))
    'WSGIDaemonProcess horizon user=horizon processes=5 threads=10\\n'

    Raises Refused for a file without one.
    """
    if not _DAEMON.search(text):
        raise Refused("the dashboard's file has no WSGIDaemonProcess: it runs embedded in Apache, and cannot be given workers")

    def line(match: re.Match[str]) -> str:
        rest = match[2]
        for key, value in (("processes", wanted.processes), ("threads", wanted.threads)):
            rest, found = re.subn(rf"\b{key}=\d+", f"{key}={value}", rest)
            if not found:
                rest = f"{rest.rstrip()} {key}={value}"
        return match[1] + rest

    return _DAEMON.sub(line, text)
