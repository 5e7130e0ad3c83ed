"""The append-only record of a run on disk, for people and audits. No run ever reads it to decide anything."""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from nornir_stack.errors import UsageError
from nornir_stack.results import Report, masked

if TYPE_CHECKING:
    from nornir_stack.events import Event


def state_folder() -> Path:
    """$XDG_STATE_HOME/nornir-stack, by default ~/.local/state/nornir-stack."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "nornir-stack"


@dataclass
class Record:
    """One run's folder: `journal.jsonl`, a line an event, written through as it happens, and `report.json` at the end."""

    run: str
    folder: Path

    def listener(self, event: Event) -> None:
        line = json.dumps(masked(to_jsonable_python(asdict(event), fallback=repr)))
        with (self.folder / "journal.jsonl").open("a") as journal:
            journal.write(line + "\n")

    def close(self, report: Report) -> None:
        (self.folder / "report.json").write_text(report.to_json())


def new_run(chain: str) -> Record:
    """A new record; its name sorts by time and says which chain."""
    now = time.time()
    stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}"
    name = f"{stamp}-{chain}-{secrets.token_hex(2)}".replace("/", "-")
    folder = state_folder() / "runs" / name
    folder.mkdir(parents=True, mode=0o700)
    return Record(name, folder)


def runs() -> list[str]:
    """The names of all recorded runs, the oldest first."""
    folder = state_folder() / "runs"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def load_report(run: str) -> Report:
    """The report of a recorded run. Raises UsageError where there is none."""
    path = state_folder() / "runs" / run / "report.json"
    try:
        return Report.from_json(path.read_text())
    except OSError as error:
        raise UsageError(f"run {run!r} has no report ({error.strerror}): `nornir-stack report --list` shows the runs") from None


def load_journal(run: str) -> list[dict[str, Any]]:
    """The events of a recorded run; a last line that was cut short by a crash is left out."""
    path = state_folder() / "runs" / run / "journal.jsonl"
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found
