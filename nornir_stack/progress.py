"""Events of a run to a live terminal, or to plain lines where there is none."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from nornir_stack.results import Status, worst
from nornir_stack.secret import mask
from nornir_stack.words import count_words, elapsed, mark_of, style_of, writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from nornir_stack.events import Event, Listener

STOPPING = "stopping: nothing new begins, what has begun is finished (Ctrl-C again cuts it)"
CUTTING = "cutting: what runs on the nodes is ended"
_REFRESH = 8  # times a second
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass
class HostLine:
    """What a host is doing in a running part, or how it ended."""

    task: str = ""
    doing: str = ""
    since: float = 0.0
    status: Status | None = None
    error: str = ""


@dataclass
class PartLine:
    """A running stage or plan."""

    path: str
    kind: str
    since: float
    hosts: dict[str, HostLine]
    waiting: tuple[str, ...] = ()
    waiting_since: float = 0.0

    @property
    def statuses(self) -> dict[str, Status]:
        return {name: line.status for name, line in self.hosts.items() if line.status}


@dataclass
class Board:
    """What is going on now; `tell` brings it up to date and gives the lines that are now history."""

    parts: dict[str, PartLine] = field(default_factory=dict)
    chain: str = ""
    since: float = 0.0
    dry_run: bool = False
    blocked: tuple[str, ...] = ()
    stopping: str = ""

    def tell(self, event: Event, encoding: str = "utf-8") -> list[Text]:
        handler = getattr(self, "_on_" + event.kind.replace("-", "_"), None)
        return [] if handler is None else handler(event, encoding) or []

    def _on_run(self, event: Event, _: str) -> None:
        self.chain, self.dry_run, self.since = event.data["chain"], event.data["dry_run"], event.at

    def _on_part(self, event: Event, _: str) -> None:
        hosts = {name: HostLine() for name in event.data["hosts"]}
        self.blocked = ()
        self.parts[event.path] = PartLine(event.path, event.data["kind"], event.at, hosts)

    def _on_task(self, event: Event, _: str) -> None:
        if part := self.parts.get(event.path):
            part.waiting = ()
            part.hosts[event.host] = HostLine(event.data["task"], "", event.at, part.hosts[event.host].status)

    def _on_effect(self, event: Event, _: str) -> None:
        if part := self.parts.get(event.path):
            part.hosts[event.host].doing = event.data["what"].replace("\n", " ")

    def _on_task_end(self, event: Event, _: str) -> None:
        if part := self.parts.get(event.path):
            line, status = part.hosts[event.host], Status(event.data["status"])
            line.task = line.doing = ""
            # a retry that went well is not a failure any more
            line.status = status if line.status is None or line.status.bad else worst([line.status, status])
            line.error = event.data["error"]

    def _on_waiting(self, event: Event, _: str) -> None:
        problems = tuple(map(mask, event.data["problems"]))
        part = self.parts.get(event.path)
        if part is None:
            self.blocked = problems
            return
        part.waiting_since = part.waiting_since if part.waiting else event.at
        part.waiting = problems

    def _on_barrier(self, event: Event, _: str) -> None:
        if part := self.parts.get(event.path):
            part.waiting = ()

    def _on_decided(self, event: Event, _: str) -> list[Text]:
        nothing = not event.data["parts"] and not event.data["unseen"]  # of whom nobody knows what is to be done there
        reasons = event.data["reasons"] or ["nothing is to be done here"] * nothing
        return [Text.assemble(("  " + event.path, "bold"), " decided: ", mask(reason)) for reason in reasons]

    def _on_part_end(self, event: Event, encoding: str) -> list[Text]:
        status = Status(event.data["status"])
        part = self.parts.pop(event.path, None) or PartLine(event.path, "stage", event.at, {})
        if status is Status.NOT_REACHED and not part.hosts:
            return []  # it never began: the report has it
        statuses = {name: Status(found) for name, found in event.data["hosts"].items()} or part.statuses
        counts = count_words(list(statuses.values()), dry_run=self.dry_run)
        head = Text.assemble((f"{mark_of(status, encoding)} ", style_of(status)), (event.path, "bold"))
        head.append(f"  {counts or status}  {elapsed(event.at - part.since)}", style_of(status) if status.bad else "")
        bad = [(name, line) for name, line in part.hosts.items() if line.status and line.status.bad]
        more = [
            Text.assemble(("    " + name, "bold"), (f" {line.status}: ", "red"), mask(line.error).removeprefix(f"{name}: "))
            for name, line in bad
        ]
        if not more:
            more = [Text.assemble("    ", (mask(problem), "red")) for problem in event.data["problems"]]
        return [head, *more]


def render(board: Board, now: float, width: int, rows: int) -> RenderableType:
    """The live part of the screen: what runs, host by host, and what is waited for; at most `rows` lines for hosts."""
    blocks: list[RenderableType] = []
    for part in board.parts.values():
        done = sum(1 for line in part.hosts.values() if line.status and not line.task)
        spin = _SPINNER[int(now * _REFRESH) % len(_SPINNER)]
        blocks.append(_between(f"{spin} {part.path}", f"{done}/{len(part.hosts)} hosts  {elapsed(now - part.since)}", width))
        if part.kind == "plan":
            blocks.append(Text(f"    looks at {', '.join(part.hosts)}", style="dim"))
        else:
            blocks.append(_hosts(part, now, width, rows))
        if part.waiting:
            blocks.append(Text(f"    waits {elapsed(now - part.waiting_since)} for:", style="cyan"))
            blocks += [Text(f"      {problem}", style="cyan") for problem in part.waiting]
    blocks += [Text(f"  waits for the lock: {problem}", style="cyan") for problem in board.blocked]
    if board.stopping:
        blocks.append(Text(board.stopping, style="bold yellow"))
    return Group(*blocks)


def _between(left: str, right: str, width: int) -> RenderableType:
    table = Table.grid(expand=True)
    table.add_column(ratio=1, overflow="ellipsis", no_wrap=True, style="bold")
    table.add_column(justify="right", no_wrap=True)
    table.add_row(left, right)
    table.width = width
    return table


def _hosts(part: PartLine, now: float, width: int, rows: int) -> RenderableType:
    table = Table.grid(padding=(0, 1), expand=True)
    table.width = width
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    at_work = [(name, line) for name, line in part.hosts.items() if line.task]
    for name, line in at_work[:rows]:
        what = f"{line.task}: {line.doing}" if line.doing else line.task
        table.add_row(f"    {name}", mask(what), elapsed(now - line.since))
    if len(at_work) > rows:
        table.add_row("", f"and {len(at_work) - rows} more at work", "")
    ended = [(name, line) for name, line in part.hosts.items() if line.status and not line.task]
    words = Text(" ").join(Text(f"{name} {line.status}", style=style_of(line.status or Status.OK)) for name, line in ended)
    return Group(table, Text("    ").append_text(words)) if ended else table


class LiveProgress:
    """A listener for a terminal: finished stages scroll up, below them what runs now."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._board = Board()
        self._live = Live(console=console, refresh_per_second=_REFRESH, transient=True, get_renderable=self._render)

    def __enter__(self) -> Listener:
        self._live.start()
        return self._listen

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # the terminal is gone; what came of the run is not
            self._live.stop()

    def _listen(self, event: Event) -> None:
        if event.kind == "interrupt":
            # told from a signal handler, whose thread may hold the lock: only a value is set
            self._board.stopping = CUTTING if event.data["cut"] else STOPPING
            return
        with self._lock:
            history = self._board.tell(event, self._console.encoding)
        for line in history:
            self._console.print(line, highlight=False)

    def _render(self) -> RenderableType:
        with self._lock:
            # narrower than the screen: where the terminal echoes ^C, no line may break
            return render(self._board, time.time(), self._console.width - 4, max(3, self._console.height - 8))


class PlainProgress:
    """A listener for logs and mail: lines with the time, without colour; a stage's begin, waits, failures and end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._board = Board()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Listener:
        return self._listen

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()

    def _listen(self, event: Event) -> None:
        if event.kind == "interrupt":
            # told from a signal handler, whose thread may hold the lock or be writing: another thread writes
            thread = threading.Thread(target=self._say, args=(event.at, CUTTING if event.data["cut"] else STOPPING))
            self._threads.append(thread)
            thread.start()
            return
        for line in self._lines(event):
            self._say(event.at, line)

    def _lines(self, event: Event) -> list[str]:
        with self._lock:
            lines = [text.plain for text in self._board.tell(event, "ascii")]
        data: dict[str, Any] = event.data
        if event.kind == "run":
            lines.append(f"{data['chain']} begins{', a dry run' * data['dry_run']} (run {data['run']})")
        elif event.kind == "part" and data["kind"] == "stage":
            lines.append(f"> {event.path}  on {', '.join(data['hosts'])}")
        elif event.kind == "waiting":
            lines += [f"  {event.path or 'the lock'} waits: {mask(problem)}" for problem in data["problems"]]
        return lines

    def _say(self, at: float, line: str) -> None:
        stamp = time.strftime("%H:%M:%S", time.localtime(at))
        with self._lock:
            self._stream.write(writable(f"{stamp} {line}\n", getattr(self._stream, "encoding", None)))
            self._stream.flush()


@contextmanager
def watching(stream: TextIO | None = None) -> Iterator[Listener]:
    """Shows a run on `stream` (default: stderr), live on a terminal and as plain lines elsewhere.

    with watching() as listener:
        chain.run(nr, listeners=[listener])
    """
    stream = stream or sys.stderr
    console = Console(file=stream, highlight=False)
    live = stream.isatty() and not console.is_dumb_terminal
    shown = LiveProgress(console) if live else PlainProgress(stream)
    with shown as listener:
        yield listener
