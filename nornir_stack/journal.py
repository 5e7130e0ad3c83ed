"""The append-only record of a run on disk, for people and audits. No run ever reads it to decide anything."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import UsageError
from nornir_stack.results import Report, masked, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_stack.events import Event

KEPT = 500  # runs, and as many dry ones
_DRY = "-dry"


def state_folder() -> Path:
    """$XDG_STATE_HOME/nornir-stack, by default ~/.local/state/nornir-stack."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "nornir-stack"


@dataclass
class Record:
    """One run's folder: `journal.jsonl`, a line an event, written through as it happens, and `report.json` at the end.

    What cannot be written ends no run, and is in `problems`, once.
    """

    run: str
    folder: Path
    problems: dict[str, None] = field(default_factory=dict)
    # reentrant: a signal handler tells of an interruption in the thread that may be writing just now
    _turn: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    def listener(self, event: Event) -> None:
        """Called from any thread; a line is one write."""
        line = json.dumps(masked(plain(asdict(event))))
        with self.keeping("the journal"), self._turn, (self.folder / "journal.jsonl").open("ab", buffering=0) as journal:
            journal.write(f"{line}\n".encode())

    def close(self, report: Report) -> None:
        """Write the report, whole or not at all."""
        part = self.folder / "report.json.part"
        with self.keeping("the report"):
            part.write_text(report.to_json(), encoding="utf-8")
            part.replace(self.folder / "report.json")

    @contextmanager
    def keeping(self, what: str) -> Iterator[None]:
        """Around what writes: an error of the disk is a problem that is told, not raised."""
        try:
            yield
        except OSError as error:
            self.problems[f"{what} of this run could not be kept in {self.folder}: {error.strerror}"] = None


def new_run(chain: str, *, dry_run: bool = False) -> Record:
    """A new record; its name sorts by time and says which chain. Of the records before it the newest are kept.

    Dry runs push out dry runs only: a check from cron every few minutes leaves what was changed last year on record.
    """
    now = time.time()
    stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}"
    name = f"{stamp}-{chain}-{secrets.token_hex(2)}".replace("/", "-") + (_DRY if dry_run else "")
    record = Record(name, state_folder() / "runs" / name)
    with record.keeping("the record"):
        record.folder.mkdir(parents=True, mode=0o700)
        for old in [name for name in runs() if name.endswith(_DRY) == dry_run][:-KEPT]:
            shutil.rmtree(record.folder.parent / old, ignore_errors=True)
    return record


def runs() -> list[str]:
    """The names of all recorded runs, the oldest first."""
    folder = state_folder() / "runs"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def load_report(run: str) -> Report:
    """The report of a recorded run. Raises UsageError where there is none."""
    path = state_folder() / "runs" / run / "report.json"
    try:
        return Report.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"run {run!r} has no report ({error.strerror}): `nornir-stack report --list` shows the runs") from None


def load_journal(run: str) -> list[dict[str, Any]]:
    """The events of a recorded run; a last line that was cut short by a crash is left out."""
    path = state_folder() / "runs" / run / "journal.jsonl"
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
