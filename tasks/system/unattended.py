"""Upgrades that nobody asked for are kept away from what must not be restarted behind the operator's back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import UsageError
from nornir_stack.files import ini_value
from nornir_stack.node import Node
from nornir_stack.tasks.system.facts import family

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result

CLUSTER_PACKAGES = ("mariadb", "MariaDB", "galera", "percona", "mysql")
CLUSTER_UNITS = ("mariadb", "mysql")
BLACKLIST = "/etc/apt/apt.conf.d/52nornir-stack-unattended"
NEEDRESTART = "/etc/needrestart/conf.d/90-nornir-stack.conf"
AUTOMATIC = "/etc/dnf/automatic.conf"
_LOOK = 'for path; do if [ -e "$path" ]; then echo "$path"; fi; done'


def hands_off(
    task: Task, *, packages: Sequence[str] = CLUSTER_PACKAGES, units: Sequence[str] = CLUSTER_UNITS
) -> Result[tuple[str, ...]]:
    """Keep unattended upgrades from packages whose names begin with one of `packages`, and restarts from `units`.

    Debian: a blacklist for unattended-upgrades, there before that is installed, and for needrestart, which on Ubuntu restarts
    whatever uses an upgraded library. Red Hat: the excludes of dnf-automatic, where that is, beside those that an operator
    wrote there. The value is the files.
    """
    for word in (*packages, *units):
        if not re.fullmatch(r"[A-Za-z0-9@._+-]+", word):
            raise UsageError(f"{word!r} is no package's or unit's name")
    node = Node(task)
    if family(node).manager == "apt":
        files = [BLACKLIST]
        node.write_file(BLACKLIST, blacklist(packages))
        if node.read(sh(_LOOK, "/etc/needrestart/conf.d"), independent=True).lines:
            node.write_file(NEEDRESTART, no_restart(units))
            files.append(NEEDRESTART)
        return node.done(tuple(files))
    if not node.read(sh(_LOOK, AUTOMATIC)).lines:
        return node.done(())
    now = ini_value(node.read_file(AUTOMATIC) or "", "base", "exclude") or ""
    node.edit_ini(AUTOMATIC, "base", {"exclude": excludes(now, packages)})
    return node.done((AUTOMATIC,))


def excludes(now: str, packages: Sequence[str]) -> str:
    """dnf's list, dnf.conf(5): by blanks or commas; what stands there stays."""
    return " ".join(dict.fromkeys((*now.replace(",", " ").split(), *(f"{name}*" for name in packages))))


def blacklist(packages: Sequence[str]) -> str:
    """apt's configuration: unattended-upgrades matches each as a regular expression at the beginning of a name."""
    names = "".join(f'    "{re.escape(name)}";\n' for name in packages)
    return f"// written by nornir-stack\nUnattended-Upgrade::Package-Blacklist {{\n{names}}};\n".replace("\\-", "-")


def no_restart(units: Sequence[str]) -> str:
    """needrestart's configuration, which is Perl."""
    rules = "".join(f"$nrconf{{override_rc}}{{qr(^{re.escape(unit)}(@.*)?\\.service$)}} = 0;\n" for unit in units)
    return f"# written by nornir-stack\n{rules}"
