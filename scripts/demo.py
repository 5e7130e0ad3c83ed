"""The demo: a user of the library like any other. See scripts/demo."""

from __future__ import annotations

import secrets
import sys
import time
from typing import TYPE_CHECKING

import nornir_stack
from nornir_stack.errors import Interrupted, StackError
from nornir_stack.lab import Lab, lab_of
from nornir_stack.progress import watching
from nornir_stack.show import print_report
from nornir_stack.tasks.site import database_site

if TYPE_CHECKING:
    from pathlib import Path

INVENTORY = "inventory"
SECRETS = ("root", "page", "app")
_BYTES = 24


def main(words: list[str]) -> int:
    """0: all as wanted."""
    nr = nornir_stack.open(INVENTORY)
    lab = Lab(lab_of(nr.inventory), tell=lambda line: print(f"lab: {line}", flush=True))
    if words == ["--down"]:
        lab.down()
        print("lab: down, nothing is left")
        return 0
    started = time.monotonic()
    booted = lab.up()
    make_secrets(lab.spec.state / "secrets")
    print(f"lab: {len(lab.nodes)} nodes {'up' if booted else 'were up'} ({time.monotonic() - started:.1f} s)", flush=True)
    with nr, watching() as listener:
        report = database_site().run(nr, listeners=[listener])
    print_report(report)
    return report.exit_code


def make_secrets(folder: Path) -> None:
    """The demo's passwords, random, once; the inventory refers to these files."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in SECRETS:
        path = folder / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(_BYTES))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Interrupted as interrupted:
        print_report(interrupted.report)
        sys.exit(130)
    except StackError as error:
        sys.exit(f"demo: {error}")
