"""`run` and `check`: a chain, or one task as a chain of one stage."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nornir_stack import catalogue
from nornir_stack.cli.fleet import opened
from nornir_stack.cli.output import can_write, complain, say, silence, write_file
from nornir_stack.errors import Interrupted, UsageError
from nornir_stack.parameters import arguments, parameters

if TYPE_CHECKING:
    from argparse import Namespace

    from nornir.core import Nornir

    from nornir_stack.catalogue import Entry
    from nornir_stack.chain import Chain
    from nornir_stack.results import Report


def command(args: Namespace) -> int:
    """Run it, print its report; the report's exit code."""
    if not args.name:
        return _general_help(args)
    entry = catalogue.find(args.name)
    if args.wants_help:
        say(help_of(entry))
        return 0
    # before the inventory is read: a wrong parameter is told at once
    given = arguments(entry.load(), args.words, name=entry.name)
    if args.json and args.json != "-":
        can_write(args.json)
    with opened(args.inventory) as nr:
        chain = _chain(entry, given, args, nr)
        try:
            report = _run(chain, args, nr)
        except Interrupted as interrupted:
            _tell(interrupted.report, args)
            raise
        return _tell(report, args)


def help_of(entry: Entry) -> str:
    """The docstring and the parameters of a chain or task."""
    import inspect  # noqa: PLC0415

    function = entry.load()
    known = parameters(function)
    words = [f"{one.name}={one.type}" if one.required else f"[{one.name}={one.type}]" for one in known]
    lines = [f"usage: nornir-stack run {entry.name} {' '.join(words)}".rstrip(), "", inspect.getdoc(function) or ""]
    if known:
        width = max(len(one.name) for one in known)
        lines += ["", "parameters:"]
        for one in known:
            more = "must be given" if one.required else f"default {one.shown_default}" if one.shown_default else ""
            lines.append(f"  {one.name:{width}}  {one.type}" + (f"  ({more})" if more else ""))
    return "\n".join([*lines, "", f"A {entry.kind}; its Python name is {entry.target}. Options: nornir-stack run --help"])


def _general_help(args: Namespace) -> int:
    if not args.wants_help:
        raise UsageError(f"{args.command} what? `nornir-stack list` shows the chains and tasks")
    args.parser.print_help()
    return 0


def _chain(entry: Entry, given: dict[str, object], args: Namespace, nr: Nornir) -> Chain:
    from nornir_stack.chain import Chain, Stage, do  # noqa: PLC0415
    from nornir_stack.select import everyone, parse  # noqa: PLC0415

    if entry.kind == "task":
        on = parse(args.on, nr.inventory) if args.on else everyone
        return Chain(entry.name, Stage(entry.name.rpartition(":")[2], [do(entry.load(), **given)], on))
    chain = entry.load()(**given)
    if not isinstance(chain, Chain):
        raise UsageError(f"{entry.target} gave no Chain but {type(chain).__name__}: it cannot be run as a chain")
    return chain


def _run(chain: Chain, args: Namespace, nr: Nornir) -> Report:
    from nornir_stack.progress import watching  # noqa: PLC0415

    with watching() as listener:
        return chain.run(nr, dry_run=args.dry_run, limit=args.on, wait=args.wait, listeners=[listener])


def _tell(report: Report, args: Namespace) -> int:
    """Write and print it. The exit code is the run's, or 1 where it is 0 and the report did not come out."""
    from nornir_stack.show import print_report  # noqa: PLC0415

    lost = False
    if args.json and args.json != "-":
        try:
            write_file(args.json, report.to_json() + "\n")
        except UsageError as error:
            complain(f"{error}: the report is printed all the same, and `nornir-stack report {report.run} --json` has it")
            lost = True
    try:
        if args.json == "-":
            sys.stdout.write(report.to_json() + "\n")
        else:
            print_report(report, diffs=args.verbose)
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
    except OSError as error:
        silence()
        complain(f"the report cannot be printed: {error.strerror}; `nornir-stack report {report.run}` shows it")
        lost = True
    return report.exit_code or int(lost)
