# PYTHON_ARGCOMPLETE_OK
"""The command `nornir-stack`: parse, call, print, exit code. Each command stands in a module that is imported when called."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from nornir_stack.cli.output import complain, lenient, say, silence
from nornir_stack.cli.parser import build
from nornir_stack.errors import Interrupted, InventoryError, Locked, StackError, UsageError
from nornir_stack.interrupt import watched

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from types import FrameType

_INTERRUPTED = 130
_MODULES = {"check": "run", "list": "listing"}
_FRAMES = -3  # of a traceback: where it happened, not how it came there


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Never raises, except SystemExit for a wrong command line."""
    parser = build()
    if "_ARGCOMPLETE" in os.environ:
        import argcomplete  # noqa: PLC0415  only while completing

        argcomplete.autocomplete(parser)
    args, extra = parser.parse_known_args(argv)
    if args.command in {"run", "check"}:
        # parameters may stand between options, where argparse does not look for them
        args.words += [word for word in extra if not word.startswith("-")]
        extra = [word for word in extra if word.startswith("-")]
    if extra:
        parser.error(f"unknown option {extra[0]}" + _hint(args, extra[0]))
    if args.version:
        say(f"nornir-stack {version()}")
        return 0
    if args.command is None:
        parser.print_help()
        return 2
    return guarded(args)


def guarded(args: Namespace) -> int:
    """Do the command; every error becomes one sentence on stderr and an exit code."""
    lenient()
    before = {number: signal.signal(number, _terminated) for number in watched() if number != signal.SIGINT}
    try:
        module = importlib.import_module(f"nornir_stack.cli.{_MODULES.get(args.command, args.command)}")
        code: int = module.command(args)
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the last door before the terminal
        return told(error)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code


def told(error: BaseException) -> int:
    """Say what went wrong, and to whom that is of use; the exit code."""
    if isinstance(error, KeyboardInterrupt):
        if not isinstance(error, Interrupted):  # else its report was printed
            complain("interrupted")
        return _INTERRUPTED
    if isinstance(error, InventoryError):
        complain(f"the inventory does not hold together:\n{error}")
    elif isinstance(error, StackError):
        complain(str(error))
    else:
        complain_of_bug(error)
    return 4 if isinstance(error, Locked) else 2 if isinstance(error, UsageError) else 1


def complain_of_bug(error: BaseException) -> None:
    """A fault of ours: where it happened, and whom to tell."""
    where = "".join(traceback.format_tb(error.__traceback__)[_FRAMES:])
    complain(
        f"{type(error).__name__}: {error}\n{where}"
        f"This is a fault in nornir-stack {version()} or in the chain that was run, not in your nodes.\n"
        "Please report it to whoever maintains them, with the lines above and what `nornir-stack report` shows."
    )


def version() -> str:
    """The version that is installed."""
    import importlib.metadata  # noqa: PLC0415  slow

    return importlib.metadata.version("nornir-stack")


def _hint(args: Namespace, option: str) -> str:
    if args.command in {"run", "check"} and option.startswith("--"):
        return f"; parameters of {args.name} are given as name=value: {option.lstrip('-').partition('=')[0]}=..."
    return ""


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
