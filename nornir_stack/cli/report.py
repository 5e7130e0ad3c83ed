"""`report`: what is on record of past runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack import journal
from nornir_stack.cli.output import say, write_file
from nornir_stack.errors import UsageError
from nornir_stack.select import nearest

if TYPE_CHECKING:
    from argparse import Namespace


def command(args: Namespace) -> int:
    """Show a report as asked for; exit code 0 whatever came of the run."""
    known = journal.runs()
    if args.list:
        for run in known:
            say(_line(run))
        return 0
    run = chosen(args.run, known)
    if not _reported(run):
        return _journal_only(run, args)
    report = journal.load_report(run)
    if args.json:
        say(report.to_json())
    if args.html:
        from nornir_stack.show_html import page  # noqa: PLC0415  slow

        write_file(args.html, page(report))
    if not (args.json or args.html):
        from nornir_stack.show import began, print_report  # noqa: PLC0415  slow

        say(f"{run}, begun {began(report)}\n")
        print_report(report, diffs=args.verbose)
    return 0


def chosen(name: str | None, known: list[str]) -> str:
    """The run that `name` means: the whole name, or a part that only one has; nothing is the last."""
    if not known:
        raise UsageError(f"no run is on record in {journal.state_folder()}")
    if name is None:
        return known[-1]
    fitting = [run for run in known if run == name] or [run for run in known if name in run]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(f"{len(fitting)} runs have {name!r} in their name; the last is {fitting[-1]}")
    raise UsageError(f"there is no run {name!r}{nearest(name, known)}; `nornir-stack report --list` shows them")


def _reported(run: str) -> bool:
    return (journal.state_folder() / "runs" / run / "report.json").exists()


def _line(run: str) -> str:
    if not _reported(run):
        return f"{run}  no report: it goes on, or was killed"
    try:
        report = journal.load_report(run)
    except UsageError as error:
        return f"{run}  {error}"
    from nornir_stack.show import closing  # noqa: PLC0415  slow

    return f"{run}  {closing(report).plain}"


def _journal_only(run: str, args: Namespace) -> int:
    import sys  # noqa: PLC0415

    from nornir_stack.events import Event  # noqa: PLC0415
    from nornir_stack.progress import PlainProgress  # noqa: PLC0415  slow

    if args.json or args.html:
        raise UsageError(f"run {run} has no report: it goes on, or was killed; its journal is in {journal.state_folder()}")
    say(f"{run} has no report: it goes on, or was killed. Its journal says:\n")
    with PlainProgress(sys.stdout) as listener:
        for entry in journal.load_journal(run):
            listener(Event(**entry))
    return 1
