"""A look at a member before a new release: its packages, settings, users and tables. Changes nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster import probe
from nornir_stack.tasks.cluster.observe import look, member_of
from nornir_stack.tasks.cluster.release import Fitness, version
from nornir_stack.tasks.cluster.schema import schema_of
from nornir_stack.tasks.cluster.source import source_there
from nornir_stack.tasks.cluster.upkeep import CHECK_UPDATE, newer_by_dnf
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import MANAGERS
from nornir_stack.tasks.system.transaction import Forecast, Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.probe import File

_LIST_SECONDS = 90.0
_LOOK = r"""
export LC_ALL=C
server=$(command -v mariadbd || command -v mysqld) &&
    echo "server $("$server" --no-defaults --version | sed 's/^.*Ver //')"
# while one runs (Debian starts one at each start of the server) another would wait for it
busy=no
for p in /proc/[0-9]*; do IFS= read -r c 2>/dev/null <"$p/comm" && [ "$c" = mariadb-upgrade ] && busy=yes; done
if [ "$busy" = yes ] || mariadb-upgrade --check-if-upgrade-is-needed --silent >/dev/null 2>&1; then echo due; fi
stat -f -c 'free %a %S' /usr
"""
_PACKAGES = r"""
export LC_ALL=C
if command -v dpkg-query >/dev/null; then
    dpkg-query -W -f '${db:Status-Abbrev}|${source:Package}|${Package}\n' |
        sed -n 's/^.[^nc] *|\(mariadb\|galera\)[^|]*|/package /p'
else
    rpm -qa --qf 'package %{NAME}\n' | grep -i -E '^package (mariadb|galera)'
fi
"""
# What apt would fetch and unpack: Size in bytes, Installed-Size in KiB.
_SIZES = r"""
export LC_ALL=C
apt-cache show --no-all-versions "$@" 2>/dev/null |
    while read -r key value rest; do
        case $key in Size:) n=$((n + value));; Installed-Size:) n=$((n + value * 1024));; esac
        echo "${n:-0}"
    done | tail -n 1
"""
_USERS = """
SELECT DISTINCT COALESCE(JSON_VALUE(Priv, '$.plugin'), '') AS plugin FROM mysql.global_priv
WHERE COALESCE(JSON_VALUE(Priv, '$.is_role'), '') = '' AND JSON_VALUE(Priv, '$.plugin') IS NOT NULL
"""
_REPLICAS = "SELECT HOST AS place FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'"
_GROUP = re.compile(
    r"^\s*\[((?:mariadb|mariadbd|mysqld|server)-\d+\.\d+)\]\s*\n(?:\s*(?:[#;].*)?\n)*\s*[^\s#;\[]", re.MULTILINE
)
_VARIABLES = "SHOW GLOBAL VARIABLES LIKE 'innodb_change_buffering'"
_STATUS = "SHOW GLOBAL STATUS LIKE 'wsrep_provider_version'"


def fitness(task: Task) -> Result[Fitness]:
    """Observe what a member is and has, for a new release. Of one that is down, what its server would say is left out."""
    node = Node(task)
    galera, product = member_of(node)
    member = look(node)
    manager = MANAGERS[family(node).manager]
    said = _said(node.read(sh(_LOOK, label="look at the database's program")).stdout)
    todo, ahead, lost = transaction(node)
    new = {line[1:].split()[0]: line.split()[-1] for line in ahead.lines if line.startswith("+")}
    packages = manager.parse_state(node.read(manager.state(todo.install)).stdout)
    installed = packages.packages.get(product.packages[0])
    words = probe.arguments(galera.datadir, product.unit)
    seen = probe.parse(node.read(sh(probe.SCRIPT, *words, label="look at the member's settings")).out)
    free = said.get("free", [""])[0].split()
    sizes = node.read(sh(_SIZES, *new, label="size of the packages"), ok=None).text if new else "0"
    found = Fitness(
        running=version(member.version) if member.wsrep else None,
        on_disk=version(said.get("server", [""])[0]),
        candidate=version(new.get(product.packages[0], installed.version if installed else "")),
        install=todo.install,
        removed=lost,
        held=tuple(sorted(packages.held & set(new))),
        options=probe.configured(seen),
        groups=settings(seen.files),
        due="due" in said,
        need_bytes=int(sizes or 0),
        free_bytes=int(free[0]) * int(free[1]) if len(free) == 2 else None,  # noqa: PLR2004  blocks and their size
        source_there=source_there(node, galera),
    )
    return node.done(_asked(node, found) if member.serves else found)


def _asked(node: Node, found: Fitness) -> Fitness:
    """What only the server knows."""
    sql = Sql(node)
    tables = schema_of(node.task).value
    return replace(
        found,
        plugins=tuple(str(row["plugin"]) for row in sql.read(_USERS)),
        keyless=tables.keyless,
        replicas=tuple(str(row["place"]).partition(":")[0] for row in sql.read(_REPLICAS)),
        prepared=len(sql.read("XA RECOVER")),
        change_buffering=sql.pairs(_VARIABLES).get("innodb_change_buffering", "none"),
        provider=sql.pairs(_STATUS).get("wsrep_provider_version", ""),
    )


def _said(text: str) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        said.setdefault(word, []).append(value)
    return said


def work(install: Sequence[str], lines: Sequence[str], removed: Sequence[str]) -> tuple[Work, tuple[str, ...]]:
    """The transaction, and what would be removed by it that nothing stands in for.

    A library that only got another name (Debian's 64-bit time: libssl3, libssl3t64) may go when the new one comes.
    """
    new = {line[1:].split()[0] for line in lines if line.startswith("+")}
    renamed = tuple(name for name in removed if f"{name}t64" in new)
    return Work(install=tuple(install), remove=renamed), tuple(name for name in removed if name not in renamed)


def transaction(node: Node) -> tuple[Work, Forecast, tuple[str, ...]]:
    """What brings all of the database's packages to the newest that the sources have; and what would be lost by it."""
    _, product = member_of(node)
    said = _said(node.read(sh(_PACKAGES, label="look at the database's packages")).stdout)
    install = tuple(dict.fromkeys((*said.get("package", ()), *product.packages)))
    kind = family(node).manager
    manager = MANAGERS[kind]
    ahead = Forecast()
    if kind == "dnf":
        ahead = Forecast(lines=newer_by_dnf(node.read(sh(CHECK_UPDATE, *install), timeout=_LIST_SECONDS).stdout))
    elif look_ahead := manager.forecast(Work(install=install)):
        ahead = manager.parse_forecast(node.read(look_ahead, timeout=_LIST_SECONDS).stdout)
    todo, lost = work(install, ahead.lines, ahead.removed)
    return todo, ahead, lost


def settings(files: Mapping[str, File]) -> tuple[tuple[str, str], ...]:
    """Groups of options for one release only, `mariadb-10.11`, with the file. Empty ones, as Debian has, do not count."""
    return tuple((group, path) for path, file in files.items() if path.endswith(".cnf") for group in _GROUP.findall(file.text))
