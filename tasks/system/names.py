"""What a node is called, and by which names it knows the others."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.system.settings import System

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nornir.core.inventory import Host
    from nornir.core.task import Task

    from nornir_stack.results import Result

BEGIN = "# BEGIN nornir-stack: names of the inventory"
END = "# END nornir-stack"
_NAME = re.compile(r"^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*$")


def hostname(task: Task, *, to: str) -> Result[str]:
    """Call the node `to`, now and after a boot; its own line of the hosts file (127.0.1.1) follows."""
    if not _NAME.match(to) or to.replace(".", "").isdigit():
        raise UsageError(f"{to!r} is no host name")
    node = Node(task)
    was = node.read("uname", "-n").text
    node.write_file("/etc/hostname", f"{to}\n")
    node.edit_lines("/etc/hosts", lambda lines: renamed(lines, was, to))
    if was != to:
        node.change("hostname", to, diff=f"--- host name\n+++ host name\n-{was}\n+{to}\n", repeatable=True)
    return node.done(to)


def hosts_file(task: Task, *, entries: Mapping[str, Sequence[str]] | None = None) -> Result[Mapping[str, tuple[str, ...]]]:
    """Make the node know names (address to names; left out: those of the whole inventory) by a marked block of /etc/hosts.

    Everything else in the file stays; only from lines of the loopback (Debian's 127.0.1.1) names of the block are taken
    out, since a cluster member must not find itself there. Raises Refused where a line outside gives one of the names
    another address.
    """
    node = Node(task)
    known = task.nornir.inventory.hosts.values()
    wanted = checked(entries) if entries is not None else from_inventory(known, settings_of(task.host, System).names)
    node.edit_lines("/etc/hosts", lambda lines: edited(lines, wanted, node.name))
    return node.done(wanted)


def from_inventory(hosts: Iterable[Host], more: Mapping[Any, Sequence[str]] | None = None) -> dict[str, tuple[str, ...]]:
    """Address to names: of each host whose hostname is an address (a loopback excepted), then `more` of them."""
    found: dict[str, list[str]] = {}
    for host in hosts:
        try:
            address = ip_address(str(host.hostname))
        except ValueError:
            continue
        if not address.is_loopback:
            found.setdefault(str(address), []).append(host.name)
    for key, names in (more or {}).items():
        found.setdefault(str(key), []).extend(names)
    return checked(found)


def checked(entries: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The entries. Raises UsageError for what is no address or name, and for a name with two addresses of one kind."""
    found: dict[str, tuple[str, ...]] = {}
    taken: dict[tuple[str, int], str] = {}
    for text, names in entries.items():
        try:
            address = ip_address(text)
        except ValueError:
            raise UsageError(f"hosts file: {text!r} is no address") from None
        for name in names:
            if not _NAME.match(name):
                raise UsageError(f"hosts file: {name!r} is no host name")
            other = taken.setdefault((name, address.version), str(address))
            if other != str(address):
                raise UsageError(f"hosts file: {name} is to have two addresses, {other} and {address}")
        if names:
            found[str(address)] = tuple(dict.fromkeys(names))
    return found


def edited(lines: Sequence[str], entries: Mapping[str, Sequence[str]], host: str = "") -> list[str]:
    """The hosts file with our block at its end, or where it stood. Raises Refused for a name that another line has too."""
    before, after = _around(lines)
    mine = {name: address for address, names in entries.items() for name in names}
    kept = [[new for line in part if (new := _without(line, mine, host)) is not None] for part in (before, after)]
    block = [BEGIN, *(f"{address} {' '.join(names)}" for address, names in entries.items()), END] if entries else []
    return [*kept[0], *block, *kept[1]]


def renamed(lines: Sequence[str], was: str, name: str) -> list[str]:
    """The hosts file with the line of 127.0.1.1, where there is one, following the new name (a full name gives both)."""
    short = name.partition(".")[0]
    old = {was, was.partition(".")[0]}
    result = []
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["127.0.1.1"] and (old & set(words[1:]) or {name, short} & set(words[1:])):
            others = [word for word in words[1:] if word not in old | {name, short}]
            new = [*dict.fromkeys((name, short)), *others]
            result.append(line if new == words[1:] else "\t".join(["127.0.1.1", " ".join(new)]))
        else:
            result.append(line)
    return result


def _around(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before and after our block. A block whose end was cut off by hand is its lines up to a blank one."""
    if BEGIN not in lines:
        return list(lines), []
    start = list(lines).index(BEGIN)
    rest = list(lines)[start + 1 :]
    end = rest.index(END) + 1 if END in rest else next((i for i, line in enumerate(rest) if not line.strip()), len(rest))
    return list(lines)[:start], rest[end:]


def _without(line: str, mine: Mapping[str, str], host: str) -> str | None:
    words = line.partition("#")[0].split()
    both = [word for word in words[1:] if word in mine]
    if not both or words[0] == mine[both[0]]:
        return line
    if not (words[0].startswith("127.") or words[0] == "::1"):
        if (":" in words[0]) != (":" in mine[both[0]]):
            return line
        raise Refused(
            f"{host}: /etc/hosts has `{line.strip()}`, and {both[0]} is to be {mine[both[0]]}: take that line out, or mend it"
        )
    rest = [word for word in words[1:] if word not in mine]
    return f"{words[0]}\t{' '.join(rest)}" if rest else None
