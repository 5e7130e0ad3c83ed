"""`completion`: the code for a shell, by argcomplete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from argcomplete.shell_integration import shellcode

from nornir_stack.cli.output import say

if TYPE_CHECKING:
    from argparse import Namespace


def command(args: Namespace) -> int:
    """Print it."""
    say(shellcode(["nornir-stack"], shell=args.shell))
    return 0
