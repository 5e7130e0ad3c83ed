"""Who may log in by which key."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result

_LOOK = """
getent passwd "$1" || exit 0
home=$(getent passwd "$1" | cut -d: -f6)
group=$(id -gn "$1"); echo "group $group"
for path in "$home/.ssh" "$home/.ssh/authorized_keys"; do
    if [ -L "$path" ]; then echo "link $path"; fi
done
"""
_KIND = re.compile(r"(?:^|\s)((?:ssh-|ecdsa-|sk-)[A-Za-z0-9@.-]+)\s+([A-Za-z0-9+/]{16,}={0,3})(?:\s|$)")


def authorized_keys(task: Task, *, user: str, keys: Sequence[str], exclusive: bool = False) -> Result[tuple[str, ...]]:
    """Let these public keys (lines as in authorized_keys, options before them if wanted) log in as `user`.

    A key that is there with other options or another comment gets those given. Other keys stay, unless `exclusive`. The
    value is all keys that are allowed then. Raises Refused for a user that the node does not have.
    """
    for key in keys:
        identity(key)
    if exclusive and not keys:
        raise UsageError(f"authorized_keys: exclusive without a key would lock {user} out")
    node = Node(task)
    seen = node.read(sh(_LOOK, user)).lines
    if not seen:
        raise Refused(f"{node.name}: there is no user {user}: make the user first")
    home = seen[0].split(":")[5]
    group = seen[1].removeprefix("group ")
    links = [line.removeprefix("link ") for line in seen[2:]]
    if links and user != "root":
        # whoever owns the link would have root write wherever it points to
        raise Refused(f"{node.name}: {links[0]} is a symbolic link, which {user} could point anywhere: replace it")
    owner, path = f"{user}:{group}", f"{home}/.ssh/authorized_keys"
    lines = merged((node.read_file(path) or "").splitlines(), keys, exclusive=exclusive)
    node.make_folder(f"{home}/.ssh", mode="0700", owner=owner)
    node.write_file(path, "".join(f"{line}\n" for line in lines), mode="0600", owner=owner)
    return node.done(tuple(line for line in lines if _KIND.search(line)))


def identity(line: str) -> tuple[str, str]:
    """Kind and key, which are what tells one key from another. Raises UsageError for what is no public key."""
    found = _KIND.search(line)
    if found is None or "\n" in line.strip():
        raise UsageError(f"this is no public key, `ssh-ed25519 AAAA... name`: {line[:40]!r}")
    return found[1], found[2]


def merged(lines: Sequence[str], keys: Sequence[str], *, exclusive: bool) -> list[str]:
    """The lines of authorized_keys with `keys` in them; where a key stands already its line is replaced, once."""
    wanted = {identity(key): key.strip() for key in keys}
    result, placed = [], set()
    for line in lines:
        found = None if line.lstrip().startswith("#") else _KIND.search(line)
        mine = (found[1], found[2]) if found else None
        if mine in wanted:
            if mine not in placed:
                result.append(wanted[mine])
                placed.add(mine)
        elif not (exclusive and line.strip() and not line.lstrip().startswith("#")):
            result.append(line)
    return result + [line for mine, line in wanted.items() if mine not in placed]
