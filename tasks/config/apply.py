"""Configuration files of services set as wanted, and the services restarted that a change concerns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import Selector
from nornir_stack.settings import raw_settings, settings_of
from nornir_stack.tasks.config.ini import edited, unreadable
from nornir_stack.tasks.config.services import Running, candidates, concerned, dialect_of
from nornir_stack.tasks.config.settings import Config
from nornir_stack.tasks.config.values import texts
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.services import restart as restarted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.inventory import Host
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.config.settings import Plain, Sections

# $1: how many files; they, then units. The start by the monotonic clock, which systemd and /proc/uptime share.
_LOOK = r"""
export LC_ALL=C
n=$1; shift
while [ "$n" -gt 0 ]; do
    printf 'file %s %s\n' "$(stat -L -c %Y -- "$1" 2>/dev/null || echo 0)" "$1"
    n=$((n - 1)); shift
done
now=$(date +%s)
read -r up rest </proc/uptime
echo "boot $((now - ${up%.*}))"
[ $# -eq 0 ] || systemctl show --no-pager -p Id,ActiveState,ExecMainStartTimestampMonotonic -- "$@"
:
"""


@dataclass(frozen=True)
class Applied:
    """What came of it: the files that were changed, and the units that were restarted (in a dry run: would be)."""

    changed: tuple[str, ...]
    restarted: tuple[str, ...]


def settings(task: Task, *, path: str, values: Mapping[str, Mapping[str, Plain]], restart: bool = True) -> Result[Applied]:
    """Have a configuration file hold these values, and restart the services that read it, if it changed since they started.

    values: section to key to value; a list for a key that may stand several times; null takes a key out.
    restart: let the running services of the table (docs/config.md) read it; each is restarted once.
    Raises Refused where there is no such file, or none that oslo.config would read; UsageError for a value that would not.
    """
    return apply(task, files={path: values}, restart=restart)


def declared(task: Task, *, restart: bool = True) -> Result[Applied]:
    """The same for all files that the inventory declares for the host (`config: files:`)."""
    return apply(task, files=settings_of(task.host, Config).files, restart=restart)


def apply(task: Task, *, files: Mapping[str, Sections], restart: bool = True) -> Result[Applied]:
    """The same for several files: a service that reads two of them is restarted once."""
    node = Node(task)
    kind = family(node).name
    times, running = look(node, list(files), candidates(files, kind))
    changed = tuple(path for path, sections in files.items() if edit(node, path, sections))
    written = {path: None if path in changed else times[path] for path in files}
    due = concerned(written, running, kind) if restart else ()
    for unit in due:
        node.then(restarted, unit=unit)
    return node.done(Applied(changed, due))


def edit(node: Node, path: str, sections: Sections, *, owner: str = "", mode: str = "") -> bool:
    """Set values in one file and restart nothing; True if that changed anything. For other tasks.

    A link stays a link, mode and owner are kept unless given, secrets are blotted out in the diff (those that stood there
    too). Raises Refused for a file that is not there or that its program would not read.
    """
    now = node.read_file(path, independent=True)
    if now is None:
        raise Refused(f"{node.name} has no {path}: install what it belongs to first, or take it out of the inventory")
    dialect = dialect_of(path)
    if problems := unreadable(now, dialect=dialect):
        raise Refused(f"{path} is not a file that its service would read: {'; '.join(problems)}: mend that by hand")
    new = edited(now, texts(now, sections, dialect=dialect), dialect=dialect)
    return node.write_file(path, new, owner=owner, mode=mode, independent=True)


def look(node: Node, paths: Sequence[str], units: Sequence[str]) -> tuple[dict[str, int], dict[str, Running]]:
    """When the files were written last (0: not there), and which of the units run since when: seconds since 1970."""
    text = node.read(sh(_LOOK, str(len(paths)), *paths, *units, label="look at files and their services")).stdout
    return parse(text)


def parse(text: str) -> tuple[dict[str, int], dict[str, Running]]:
    """What the look printed. Pure."""
    head, boot, shown = text.partition("boot ")
    rows = (line.split(" ", 2) for line in head.splitlines())
    times = {path: int(when) for _, when, path in rows}
    first, _, units = shown.partition("\n")
    running = {}
    for block in units.split("\n\n") if boot else ():
        at = dict(line.partition("=")[::2] for line in block.splitlines())
        if at.get("ActiveState") == "active":
            since = int(at.get("ExecMainStartTimestampMonotonic") or 0) // 1_000_000
            running[at["Id"]] = Running(at["Id"], int(first) + since)
    return times, running


def _has_files(host: Host) -> bool:
    return bool(raw_settings(host, Config).get("files"))


CONFIGURED = Selector("hosts with declared configuration files", _has_files)


def declare(*, serial: int = 1, restart: bool = True) -> Chain:
    """All configuration files that the inventory declares, as it declares them; what they concern is restarted.

    `nornir-stack check config.apply` shows the drift: exit code 3 and the diff, secrets masked.

    serial: hosts at a time, so that of several controllers one is restarted after the other; a failure ends it.
    restart: let running services read what changed.
    """
    return Chain("config.apply", Stage("configuration", [do(declared, restart=restart)], CONFIGURED, serial=serial))
