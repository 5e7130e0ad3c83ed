"""Binary logs that carry a backup on to a point in time: which there are, whether they go on from it, how far they reach.

A member's logs go on from its own backups only: others number theirs differently. That one file follows another is proved by
the GTIDs with which it begins (MariaDB's Gtid_list event: the state of the whole log before this file).
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from nornir_stack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir_stack.tasks.cluster.backups import Backup

# In UTC, whatever the node's clock shows. A domain that is silent for a file's last hundred transactions is not noticed.
READ = r"""
export LC_ALL=C TZ=UTC0
cd -- "$1" || exit
offset=$2 ending="--stop-position=$2"; shift 2
for name; do
    echo "log $name"
    mariadb-binlog -- "$name" 2>/dev/null | sed -n '/	Gtid list \[/,/\]/{p;/\]/q;}' | tr -d '\n'
    echo
    if [ -n "$ending" ]; then
        echo "before $(mariadb-binlog "$ending" -- "$name" 2>/dev/null | grep -a '	GTID ' | tail -n 100 | tr '\n' ' ')"
        ending=
    fi
    echo "after $(mariadb-binlog -- "$name" 2>/dev/null | grep -a '	GTID ' | tail -n 100 | tr '\n' ' ')"
    mariadb-binlog -- "$name" 2>/dev/null | grep -a '^#[0-9]\{6\} .* end_log_pos ' | tail -n 1
done
"""
_TIME = re.compile(r"^#(\d{6}) +(\d+:\d+:\d+) ", re.MULTILINE)
_GTID = re.compile(r"(\d+)-\d+-(\d+)")
State = dict[int, int]
"""GTID domain to the last sequence number in it."""


@dataclass(frozen=True)
class Log:
    """A binary log: the GTIDs before it and after it, where it is cut (`offset`), and when its last event was."""

    name: str
    begins: Mapping[int, int]
    ends: Mapping[int, int]
    cut: Mapping[int, int]
    last: int


def state(text: str) -> State:
    """GTIDs as a backup or a Gtid_list names them.

    >>> state("0-1-18,1-2-3")
    {0: 18, 1: 3}
    """
    found: State = {}
    for domain, number in _GTID.findall(text):
        found[int(domain)] = max(found.get(int(domain), 0), int(number))
    return found


def parsed(text: str) -> tuple[Log, ...]:
    """What `READ` printed."""
    logs = []
    for block in re.split(r"^log ", text, flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("\n")
        before, after = _said(rest, "before"), _said(rest, "after")
        begins = state("".join(re.findall(r"\tGtid list \[(.*?)\]", rest)))
        times = _TIME.findall(rest)
        last = (
            int(datetime.strptime(" ".join(times[-1]), "%y%m%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp())
            if times
            else 0
        )
        logs.append(Log(name, begins, begins | _passed(after), begins | _passed(before), last))
    return tuple(logs)


def _said(text: str, word: str) -> str:
    found = re.search(rf"^{word} (.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _passed(text: str) -> State:
    return state(" ".join(re.findall(r"\tGTID (\d+-\d+-\d+)", text)))


def number(name: str) -> int:
    """Of `mysql-bin.000013`: 13."""
    return int(name.rpartition(".")[2])


def numbered(name: str, value: int) -> str:
    """The log with this number."""
    base, _, digits = name.rpartition(".")
    return f"{base}.{value:0{len(digits)}d}"


def gap(backup: Backup, logs: Sequence[Log]) -> str:
    """Why these logs do not go on from the backup; empty where they do."""
    if not logs or logs[0].name != backup.binlog:
        return f"the binary log {backup.binlog or '(there was none)'}, at which {backup.label} stands, is not there."
    if dict(logs[0].cut) != state(backup.gtid):
        return f"{backup.binlog} is another log than the one at which {backup.label} stands (GTID {backup.gtid or 'none'})."
    for one, other in itertools.pairwise(logs):
        if number(other.name) != number(one.name) + 1 or dict(one.ends) != dict(other.begins):
            return f"{other.name} does not go on from {one.name}."
    return ""


def reach(logs: Sequence[Log]) -> int:
    """Up to when the logs tell everything, in seconds since 1970: their last event (of a closed file: its closing)."""
    return max((one.last for one in logs), default=0)


def moment(text: str) -> int:
    """`2026-11-24 18:00:00`, in UTC unless it ends in an offset such as +01:00: seconds since 1970. Raises UsageError."""
    try:
        when = datetime.fromisoformat(text.removesuffix("Z") + ("+00:00" if text.endswith("Z") else ""))
    except ValueError:
        raise UsageError(f"{text!r} is no time: write it as 2026-11-24 18:00:00, in UTC, or with an offset (+01:00)") from None
    return int((when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp())


def shown(when: int) -> str:
    """Seconds since 1970, as servers write it.

    >>> shown(0)
    '1970-01-01 00:00:00'
    """
    return datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


@dataclass(frozen=True)
class Sources:
    """Where the logs are: paths on the shelf, and from which one on they are taken from the member itself."""

    kept: tuple[str, ...] = ()
    live: str = ""


def sources(backup: Backup, all_: Sequence[Backup], live: Sequence[str], folder: str) -> Sources:
    """The logs from the backup on, as far as they are known: those that came along with later backups of the same history,
    then the member's own (`live`: what it has now). `folder` is that of a backup's logs.
    """
    if not backup.binlog:
        return Sources()
    along = {
        name: f"{one.label}/{folder}/{name}"
        for one in reversed(all_)
        if (one.member, one.uuid) == (backup.member, backup.uuid) and one.label >= backup.label
        for name in one.logs
    }
    kept: list[str] = []
    for value in itertools.count(number(backup.binlog)):
        name = numbered(backup.binlog, value)
        if name not in along:
            return Sources(tuple(kept), name if name in live else "")
        kept.append(along[name])
    raise AssertionError("logs are numbered without end")  # pragma: no cover
