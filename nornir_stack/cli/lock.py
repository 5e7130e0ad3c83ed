"""`lock show` and `lock break`: who holds the hosts, and the way out when nobody does any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack import locks
from nornir_stack.cli.fleet import opened
from nornir_stack.cli.output import say
from nornir_stack.connections import has_shell, shell_of
from nornir_stack.dispatch import Dispatcher
from nornir_stack.effects import RunState
from nornir_stack.errors import Locked, StackError
from nornir_stack.select import hosts

if TYPE_CHECKING:
    from argparse import Namespace

    from nornir.core import Nornir
    from nornir.core.inventory import Host

_FREE = "free"


def command(args: Namespace) -> int:
    """Show who holds what (1 if a host could not be asked), or take a lock away and say whose it was."""
    with opened(args.inventory) as nr:
        names = hosts(args.host).hosts(nr.inventory) if args.host else tuple(nr.inventory.hosts)
        if args.verb == "break":
            holder = shell_of(nr.inventory.hosts[args.host], nr.config).break_lock(locks.NODE_LOCK)
            say(f"{args.host}: the lock of {holder} was broken" if holder else f"{args.host}: nobody held the lock")
            return 0
        return _show(nr, tuple(name for name in names if has_shell(nr.inventory.hosts[name])))


def _show(nr: Nornir, names: tuple[str, ...]) -> int:
    failed = 0
    answers = Dispatcher(nr, RunState()).each(names, lambda host: _holder(host, nr))
    for name in names:
        answer = answers.get(name, StackError("it gave no answer"))
        failed += isinstance(answer, StackError)
        say(f"{name}: {f'not known: {answer}' if isinstance(answer, StackError) else answer}")
    return 1 if failed else 0


def _holder(host: Host, nr: Nornir) -> str | StackError:
    # whoever can take the lock knows that nobody has it
    try:
        shell = shell_of(host, nr.config)
        shell.lock(locks.NODE_LOCK, locks.owner("none", "lock show"))
        shell.unlock(locks.NODE_LOCK)
    except Locked as locked:
        return f"held by {locked.holder}"
    except StackError as error:
        return error
    return _FREE
