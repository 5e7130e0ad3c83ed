"""A report for people: tables and lines on a terminal or in a mail. Pure but for `print_report`."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nornir_stack.results import Status, undone
from nornir_stack.show_values import value_rows
from nornir_stack.words import count_words, elapsed, mark_of, style_of, word_of, writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from nornir_stack.results import HostReport, Report, StageReport, TaskReport

_UNWRAPPED = 4000  # columns
_DIFF_STYLES = (("+++", "bold"), ("---", "bold"), ("@@", "cyan"), ("+", "green"), ("-", "red"))


def print_report(report: Report, console: Console | None = None, *, diffs: bool = False) -> None:
    """Print a report: stages, hosts that are not ok with their errors, what was changed, and one closing line.

    `diffs`: with the diffs of a real run too; a dry run always has them.
    """
    console = console or Console(highlight=False)
    wanted = rendered(report, console.encoding, diffs=diffs)
    if console.is_terminal:
        with console.capture() as captured:
            console.print(wanted)
        text = captured.get()
    else:
        # in files, mails and pipes lines are as long as what they say
        wide = Console(file=io.StringIO(), width=_UNWRAPPED, no_color=True, force_terminal=False, highlight=False)
        with wide.capture() as captured:
            wide.print(wanted)
        text = "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
    console.file.write(writable(text, console.encoding))


def rendered(report: Report, encoding: str = "utf-8", *, diffs: bool = False) -> RenderableType:
    """The whole report as one thing that rich can print or export."""
    blocks: list[RenderableType] = []
    if report.stages:
        blocks.append(_stages(report, encoding))
    before, after = sections(report)[:4], sections(report)[4:]
    for title, lines in before:
        blocks += _section(title, lines)
    blocks += _effects(report, diffs=diffs or report.dry_run)
    blocks += _values(report)
    for title, lines in after:
        blocks += _section(title, lines)
    return Group(*blocks, "", closing(report))


def sections(report: Report) -> list[tuple[str, list[Text]]]:
    """What is said of a run in lines, with titles; those without lines are there too."""
    return [
        ("Decided", _decided(report)),
        ("Not as wanted", _troubles(report)),
        ("To be seen to", [Text(line, style="yellow") for stage in report.stages for line in stage.due]),
        ("Left out", _left_out(report)),
        ("Assumed, for want of the changes before it", [Text(line) for line in _assumed(report)]),
        ("Left undone", _left_undone(report)),
        ("Warnings", [Text(line, style="yellow") for line in report.warnings]),
    ]


def effect_count(stage: StageReport) -> int:
    """How many effects a stage had, or in a dry run would have."""
    return sum(len(task.effects) or 1 for host in stage.hosts for task in host.tasks if task.changed)


def closing(report: Report) -> Text:
    """`galera.form: 12 changed on 3 hosts in 41.2 s`; with 0 changed plainly said."""
    count = len(report.changed)
    hosts = len({host.host for stage in report.stages for host in stage.hosts if host.changed})
    verb = ("change pending" if count == 1 else "changes pending") if report.dry_run else "changed"
    where = f" on {hosts} {'host' if hosts == 1 else 'hosts'}" if count else ""
    bad = [status for status in report.hosts.values() if status.bad]
    words = Text.assemble((report.chain, "bold"), ": ")
    if report.interrupted:
        words.append("interrupted, ", "bold red")
    elif not report.ok:
        words.append(f"failed ({count_words(bad, dry_run=report.dry_run)}), " if bad else "failed, ", "bold red")
    unknown = sum(1 for status in report.hosts.values() if status is Status.UNKNOWN)
    words.append(f"{count} {verb}{where}", "bold yellow" if count else "bold green" if report.ok else "")
    if unknown:
        words.append(f", unknown on {unknown} until then", "magenta")
    return words.append(f" in {elapsed(report.duration)}")


# Stages


def _stages(report: Report, encoding: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold dim")
    table.add_column("stage", overflow="fold")
    table.add_column("status", overflow="fold")
    table.add_column("hosts", overflow="fold")
    table.add_column("pending" if report.dry_run else "changed", justify="right")
    table.add_column("time", justify="right", no_wrap=True)
    for stage in report.stages:
        effects = effect_count(stage)
        word = word_of(stage.status, dry_run=report.dry_run)
        status = Text(f"{mark_of(stage.status, encoding)} {word}", style=style_of(stage.status))
        counts = count_words([host.status for host in stage.hosts], dry_run=report.dry_run) or "none"
        spent = elapsed(stage.duration) if stage.duration else ""
        table.add_row(stage.name, status, counts, str(effects) if effects else "", spent)
    return table


def _section(title: str, lines: list[Text]) -> Iterator[RenderableType]:
    if lines:
        yield Text(f"\n{title}", style="bold")
        for line in lines:
            yield Padding(line, (0, 0, 0, 2))


def _decided(report: Report) -> list[Text]:
    return [Text.assemble((stage.name, "bold"), f": {reason}") for stage in report.stages for reason in stage.decided]


def _assumed(report: Report) -> list[str]:
    return [f"{stage.name}: {line}" for stage in report.stages for line in stage.assumed]


def _left_undone(report: Report) -> list[Text]:
    hosts = undone(report.stages)
    units = [Text(line, style="bold red") for line in report.left if line not in hosts]
    return [*units, *map(Text, hosts)]


# Hosts


def _troubles(report: Report) -> list[Text]:
    lines = [Text(report.error, style="red")] if report.error else []
    for stage in report.stages:
        told = [_trouble(stage, host) for host in stage.hosts if host.status.bad and host.status is not Status.NOT_REACHED]
        lines += told
        shown = "\n".join(line.plain for line in lines)
        lines += [
            Text.assemble((stage.name, "bold"), f": {problem}")
            for problem in stage.problems
            if stage.status is not Status.NOT_REACHED and not (told and _said(problem, shown))
        ]
    unknown = [line for stage in report.stages for line in _together(stage, Status.UNKNOWN)]
    return lines + unknown


def _trouble(stage: StageReport, host: HostReport) -> Text:
    task = next((task for task in host.tasks if task.status.bad), None)
    where = f"{stage.name}, {task.task}" if task else stage.name
    line = Text.assemble((host.host, "bold"), " ", (str(host.status), style_of(host.status)), f" in {where}: ")
    said = host.error or host.reason or "it said nothing"
    line.append(said.removeprefix(f"{host.host}: "))
    if task and len(task.attempts) > 1:
        line.append(f" (after {len(task.attempts)} attempts)", "dim")
    return line


def _said(problem: str, shown: str) -> bool:
    # a stage's problem that only repeats a host's error: `db2 failed: ...`
    name = problem.partition(" ")[0]
    return problem.partition(": ")[2].removeprefix(f"{name}: ") in shown


def _left_out(report: Report) -> list[Text]:
    reasons: dict[str, dict[str, None]] = {}
    for stage in report.stages:
        for host in stage.hosts:
            if host.status is Status.SKIPPED and host.reason:
                reasons.setdefault(host.reason, {})[host.host] = None
    return [Text.assemble((", ".join(hosts), "bold"), f": {reason}") for reason, hosts in reasons.items()]


def _together(stage: StageReport, status: Status) -> list[Text]:
    reasons: dict[str, list[str]] = {}
    for host in stage.hosts:
        if host.status is status:
            reasons.setdefault(_reason(host), []).append(host.host)
    return [
        Text.assemble((", ".join(hosts), "bold"), " ", (str(status), style_of(status)), f" in {stage.name}: {reason}")
        for reason, hosts in reasons.items()
    ]


def _reason(host: HostReport) -> str:
    return host.reason or next((task.reason for task in host.tasks if task.reason), "") or "no reason was given"


# Effects and what was seen


def _effects(report: Report, *, diffs: bool) -> Iterator[RenderableType]:
    done = [(s, h, t) for s in report.stages for h in s.hosts for t in h.tasks if t.changed]
    if done:
        yield Text("\nWould change" if report.dry_run else "\nChanged", style="bold")
    for stage, host, task in done:
        yield from _effect(stage, host, task, diffs=diffs)


def _effect(stage: StageReport, host: HostReport, task: TaskReport, *, diffs: bool) -> Iterator[RenderableType]:
    for what in task.effects or ("(it does not say what)",):
        line = Text.assemble((host.host, "bold"), f" {stage.name}, {task.task}: ", (what, "yellow"))
        yield Padding(line, (0, 0, 0, 2))
    if diffs and task.diff:
        yield Padding(coloured_diff(task.diff), (0, 0, 0, 6))


def coloured_diff(diff: str) -> Text:
    """A unified diff with its colours."""
    text = Text()
    for line in diff.rstrip("\n").split("\n"):
        style = next((style for start, style in _DIFF_STYLES if line.startswith(start)), "dim")
        text.append(line + "\n", style)
    text.rstrip()
    return text


def _values(report: Report) -> Iterator[RenderableType]:
    rows = value_rows(report)
    if not rows:
        return
    yield Text("\nSeen at the end", style="bold")
    table = Table.grid(padding=(0, 2, 0, 0))
    shown = ""
    for field, text, hosts in rows:
        table.add_row(Text("" if field == shown else f"  {field}", style="dim"), Text(hosts, style="bold"), Text(text))
        shown = field
    yield table


def began(report: Report) -> str:
    """The local time when a run began."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report.started))
