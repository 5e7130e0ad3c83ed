"""`list`: what can be run, and with which parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nornir_stack.catalogue import entries, summary
from nornir_stack.cli.output import say
from nornir_stack.errors import UsageError
from nornir_stack.parameters import parameters
from nornir_stack.select import nearest

if TYPE_CHECKING:
    from argparse import Namespace

    from nornir_stack.catalogue import Entry


def command(args: Namespace) -> int:
    """Print them. One that cannot be imported is named as such, and hides no other."""
    found = [described(entry) for entry in entries() if args.part in entry.name]
    if not found and args.part:
        raise UsageError(f"nothing that can be run has {args.part!r} in its name{nearest(args.part, _words())}")
    if args.json:
        say(json.dumps(found, indent=1))
        return 0
    for kind in ("chain", "task"):
        of_kind = [one for one in found if one["kind"] == kind]
        if args.part and not of_kind:
            continue
        say(f"{kind}s:" if of_kind else f"{kind}s: none are installed")
        for one in of_kind:
            say("\n".join(_lines(one)))
        say("")
    say("`nornir-stack run NAME --help` says more about one of them.")
    return 0


def _words() -> list[str]:
    return [word for entry in entries() for word in (entry.name, entry.name.partition(".")[0])]


def described(entry: Entry) -> dict[str, Any]:
    """One chain or task as plain data."""
    about: dict[str, Any] = {"name": entry.name, "kind": entry.kind, "target": entry.target}
    try:
        function = entry.load()
        known = parameters(function)
    except UsageError as error:
        return {**about, "error": str(error), "summary": "", "parameters": []}
    return {
        **about,
        "summary": summary(function),
        "parameters": [
            {"name": one.name, "type": one.type, "required": one.required, "default": one.shown_default} for one in known
        ],
    }


def _lines(one: dict[str, Any]) -> list[str]:
    about = f"cannot be used: {one['error']}" if "error" in one else one["summary"]
    lines = [f"  {one['name']}", f"      {about or '(it says nothing of itself)'}"]
    for parameter in one["parameters"]:
        more = "  must be given" if parameter["required"] else ""
        default = f"  default {parameter['default']}" if parameter["default"] else ""
        lines.append(f"      {parameter['name']}={parameter['type']}{more}{default}")
    return lines
