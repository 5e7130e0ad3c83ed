"""The grammar of `nornir-stack`. Imports nothing heavy: `--help` must come at once."""

from __future__ import annotations

import argparse
import os


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=24)


LAB_VERBS = {
    "up": "boot the nodes of the inventory; those that run already are left alone",
    "down": "end them and remove every trace",
    "status": "which nodes run, and where",
    "ssh": "a shell on a node",
    "kill": "end a node at once, as if its power failed",
    "stop": "shut a node down in order",
    "start": "boot a node that was killed or stopped",
    "cut": "cut a node off the network",
    "heal": "give every node its network back",
    "reset": "boot a node afresh, without the files that it wrote",
}


def build() -> argparse.ArgumentParser:
    """The whole parser; `command` of what it parses names the module of nornir_stack.cli that does it."""
    parser = argparse.ArgumentParser(
        "nornir-stack",
        description="Run your own cloud on few machines, safely.",
        epilog="""\
examples:
  nornir-stack list                                  what can be run, with its parameters
  nornir-stack run galera.form --help                the parameters of one chain
  nornir-stack run galera.form buffer_pool=4G        run it on the inventory in ./inventory
  nornir-stack check galera.form || mail -s drift me from cron: 0 as wanted, 3 changes pending
  nornir-stack report --html report.html             the last run as a page

exit codes: 0 as wanted, 1 a host did not end well, 2 usage or inventory error, 3 changes pending (dry run),
4 locked by another run, 130 interrupted""",
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and end")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    _run(commands)
    _list(commands)
    _inventory(commands)
    _report(commands)
    _lab(commands)
    _lock(commands)
    completion = _command(commands, "completion", "print the code that makes a shell complete nornir-stack", _COMPLETION)
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


_COMPLETION = """\
examples:
  nornir-stack completion bash > /etc/bash_completion.d/nornir-stack
  nornir-stack completion zsh > ~/.zfunc/_nornir-stack      (with `fpath+=~/.zfunc` before compinit)
  nornir-stack completion fish > ~/.config/fish/completions/nornir-stack.fish"""


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    epilog: str = "",
    *,
    add_help: bool = True,
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=epilog,
        formatter_class=_formatter,
        allow_abbrev=False,
        add_help=add_help,
    )


def _add_inventory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-i",
        "--inventory",
        metavar="DIR",
        default=os.environ.get("NORNIR_STACK_INVENTORY", "inventory"),
        help="folder with hosts.yaml, groups.yaml, defaults.yaml (default: $NORNIR_STACK_INVENTORY, or ./inventory)",
    )


def _run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = _command(
        commands,
        "run",
        "run a chain, or one task, on the hosts of the inventory",
        """\
Parameters are those of the chain's Python function: `nornir-stack run CHAIN --help` shows them. A list is given with
commas, or by repeating its name; a secret as a reference, name=env:VARIABLE or name=file:PATH.
Ctrl-C once: nothing new begins. Twice: what runs is cut. Both end in a report.

examples:
  nornir-stack run galera.form buffer_pool=4G
  nornir-stack run galera.form --dry-run             what would change, with diffs; exit code 3 if anything
  nornir-stack run system.swap_file --on db size=2G  one task, on the hosts of a role
  nornir-stack run my_package.chains:nightly --on=-db3 --json night.json""",
        add_help=False,
    )
    _running(run)
    run.add_argument("--dry-run", action="store_true", help="change nothing; show what would change, with diffs")
    run.add_argument("--wait", type=float, default=10.0, metavar="SECONDS", help="how long to wait for another run's lock")
    run.add_argument("-v", "--verbose", action="store_true", help="show the diffs of what was changed")
    check = _command(
        commands,
        "check",
        "dry run for cron: exit code 0 as wanted, 3 changes pending",
        """\
examples:
  nornir-stack check galera.form
  nornir-stack check galera.form --json drift.json > drift.txt || mail -s "galera drifts" ops < drift.txt""",
        add_help=False,
    )
    _running(check)
    check.set_defaults(dry_run=True, wait=0.0, verbose=True)


def _running(parser: argparse.ArgumentParser) -> None:
    name = parser.add_argument("name", nargs="?", metavar="CHAIN|TASK", help="a name that `list` shows, or module:function")
    name.completer = _names  # type: ignore[attr-defined]  # argcomplete's interface
    words = parser.add_argument("words", nargs="*", metavar="name=value", help="parameters of the chain or task")
    words.completer = _words  # type: ignore[attr-defined]  # argcomplete's interface
    parser.set_defaults(parser=parser)
    parser.add_argument("-h", "--help", action="store_true", dest="wants_help", help="this, or the help of CHAIN|TASK")
    _add_inventory(parser)
    parser.add_argument(
        "--on",
        metavar="FILTER",
        help="act only on these hosts and roles: db,lb1 or, to leave out, --on=-db3 (a chain still looks at all)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON too (`-`: to stdout, instead of the tables)")


def _list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    listing = _command(commands, "list", "chains and tasks, with their parameters")
    part = listing.add_argument("part", nargs="?", default="", metavar="PART", help="only what has this in its name: galera")
    part.completer = _names  # type: ignore[attr-defined]
    listing.add_argument("--json", action="store_true", help="as JSON")


def _inventory(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inventory = _command(commands, "inventory", "check the inventory, or show what it says")
    verbs = inventory.add_subparsers(dest="verb", metavar="VERB", required=True)
    check = _command(verbs, "check", "check every key, type and address; no host is contacted")
    show = _command(verbs, "show", "hosts with their roles and addresses, or all of one host")
    show.add_argument("host", nargs="?", metavar="HOST")
    show.add_argument("--network", action="store_true", help="who has which address, and which public ones are lost")
    show.add_argument("--svg", metavar="FILE", help="write the networks as a picture instead")
    show.add_argument("--observe", action="store_true", help="look at the nodes too, and mark what differs from the plan")
    for one in (check, show):
        _add_inventory(one)


def _report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    report = _command(
        commands,
        "report",
        "show the report of a run, by default of the last one",
        """\
examples:
  nornir-stack report --list
  nornir-stack report 20260131T0300 -v              a run by the beginning of its name
  nornir-stack report --html report.html""",
    )
    run = report.add_argument("run", nargs="?", metavar="RUN", help="the name of a run or a part of it (default: the last)")
    run.completer = _runs  # type: ignore[attr-defined]  # argcomplete's interface
    report.add_argument("--list", action="store_true", help="the runs that are on record")
    report.add_argument("--html", metavar="FILE", help="write a self-contained page")
    report.add_argument("--json", action="store_true", help="as JSON")
    report.add_argument("-v", "--verbose", action="store_true", help="with the diffs")


def _lab(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    lab = _command(
        commands,
        "lab",
        "boot the inventory's hosts as containers on this machine (needs root)",
        """\
examples:
  nornir-stack lab up
  nornir-stack lab ssh db1 systemctl status mariadb
  nornir-stack lab kill db2
  nornir-stack lab down""",
    )
    verbs = lab.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in LAB_VERBS.items():
        verb = _command(verbs, name, text)
        _add_inventory(verb)
        if name == "down":
            verb.add_argument("--cache", action="store_true", help="remove the cached trees too, which take minutes to build")
        if name not in {"up", "down", "status", "heal"}:
            verb.add_argument("host", metavar="HOST")
        if name == "ssh":
            verb.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="run this instead of a shell")


def _lock(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    lock = _command(commands, "lock", "who holds a host's lock; break one that is stale")
    verbs = lock.add_subparsers(dest="verb", metavar="VERB", required=True)
    show = _command(verbs, "show", "who holds the locks of the hosts")
    show.add_argument("host", nargs="?", metavar="HOST", help="this host only")
    broken = _command(verbs, "break", "break a host's lock; only when the run that holds it is known to be dead")
    broken.add_argument("host", metavar="HOST")
    for one in (show, broken):
        _add_inventory(one)


# Completion: argcomplete calls these when a person presses the tabulator key


def _names(**_: object) -> list[str]:
    from nornir_stack.catalogue import entries  # noqa: PLC0415

    return [entry.name for entry in entries()]


def _words(parsed_args: argparse.Namespace, **_: object) -> list[str]:
    from nornir_stack.catalogue import find  # noqa: PLC0415
    from nornir_stack.errors import StackError  # noqa: PLC0415
    from nornir_stack.parameters import parameters  # noqa: PLC0415

    try:
        return [f"{one.name}=" for one in parameters(find(parsed_args.name).load())]
    except StackError:
        return []


def _runs(**_: object) -> list[str]:
    from nornir_stack.journal import runs  # noqa: PLC0415

    return runs()
