"""`lab`: the inventory's hosts as containers on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nornir_stack.cli.output import complain, say
from nornir_stack.inventory import load
from nornir_stack.lab import Lab, lab_of

if TYPE_CHECKING:
    from argparse import Namespace

_MIB = 1 << 20


def command(args: Namespace) -> int:
    """Do one verb of the lab. `status` is 1 while a node does not answer, for scripts that wait."""
    lab = Lab(lab_of(load(args.inventory).require().inventory), complain)
    if args.verb == "up":
        booted = lab.up()
        say(f"the lab {lab.spec.name} is up" if booted else f"the lab {lab.spec.name} was up already")
        return _status(lab)
    if args.verb == "down":
        lab.down(cache=args.cache)
        say(f"the lab {lab.spec.name} is gone")
    elif args.verb == "status":
        return _status(lab)
    elif args.verb == "heal":
        lab.heal()
    elif args.verb == "ssh":
        words = lab.ssh_command(args.host) + args.words
        os.execvp(words[0], words)  # noqa: S606  this process becomes the shell
    else:
        getattr(lab, args.verb)(args.host)
    return 0


def _status(lab: Lab) -> int:
    nodes = lab.status()
    width = max((len(node.name) for node in nodes), default=0)
    for node in nodes:
        state = "answers" if node.answers else "runs, and does not answer" if node.running else "does not run"
        memory = f"  {node.memory // _MIB} MiB" if node.memory else ""
        say(f"{node.name:{width}}  {node.address:18}  {state}{memory}")
    return 0 if all(node.answers for node in nodes) else 1
