"""A lock file on a node: scripts that the persistent shell runs, and what it holds.

The lock is a flock on a file descriptor of the shell, which commands inherit: one that outlives a killed controller still
holds it, and nothing has to be cleaned up after a crash. The file's one line names the owner.
"""

from __future__ import annotations

import shlex

from nornir_stack.errors import UsageError
from nornir_stack.undo import STATE

HELD = 75  # EX_TEMPFAIL of sysexits.h
_DESCRIPTORS = range(9, 3, -1)  # one digit: dash knows no others; 3 is the stdin of commands

# After winning, the path may be another file by now (a lock that was broken by name): then once more.
# The winner writes its name a moment after it won, hence the loser's patience with an empty file, and with the first name
# that it reads: it may be that of a run which died. Its own it knows at once.
_TAKE = """
    (umask 077; : >>{path}) || _s=1
    _t=0
    while [ "$_s" = 0 ]; do
        exec {fd}>>{path}
        if flock -n {fd}; then
            [ /proc/$$/fd/{fd} -ef {path} ] || continue
            printf '%s\\n' {owner} >{path}
            break
        fi
        _t=$((_t + 1))
        _w=$(cat {path})
        if [ "$_w" = {owner} ] || [ $_t -gt 20 ] || {{ [ "$_w" ] && [ $_t -gt 1 ]; }}; then
            printf '%s\\n' "$_w"
            _s={held}
        else
            sleep 0.05
        fi
    done
    [ "$_s" = 0 ] || exec {fd}>&-
    (exit "$_s")
"""

# The name goes first: whoever loses against the next holder must not read ours. By the descriptor: the path may be another's.
# flock -u and not only close: processes that commands left behind share the descriptor.
# Without the descriptor only such a process holds it, or another connection of this run: its file goes if it has our name,
# and no change to the network waits, for which the node itself holds the lock in that name.
_GIVE = """
    if [ -e /proc/$$/fd/{fd} ]; then
        [ /proc/$$/fd/{fd} -ef {path} ] && true >/proc/$$/fd/{fd}
        flock -u {fd}
        exec {fd}>&-
    elif [ "$(cat {path} 2>/dev/null)" = {owner} ] && ! [ -d {waiting} ]; then
        rm -f -- {path}
    fi
"""


def take(path: str, owner: str, descriptor: int) -> str:
    """Ends with 0, or with HELD after printing who holds it."""
    if not path.startswith("/") or "\n" in owner:
        raise UsageError(f"a lock is an absolute path and one line: {path!r}, {owner!r}")
    return "_s=0" + _TAKE.format(path=shlex.quote(path), owner=shlex.quote(owner), fd=descriptor, held=HELD)


def give(path: str, owner: str, descriptor: int) -> str:
    """Touches no lock but that of `owner`, whoever has the path by now."""
    return _GIVE.format(path=shlex.quote(path), owner=shlex.quote(owner), fd=descriptor, waiting=STATE)


def remove(path: str) -> str:
    """Prints who held it. A new file at the path is another lock; the old holder keeps a file without a name."""
    return f"cat {shlex.quote(path)} 2>/dev/null; rm -f -- {shlex.quote(path)}"


class Held:
    """Which locks a connection holds, on which descriptors. Loose ones must be asked for again (a new shell)."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self._descriptors: dict[str, int] = {}
        self._loose: set[str] = set()

    def descriptor(self, path: str) -> int:
        if path not in self._descriptors:
            free = [number for number in _DESCRIPTORS if number not in self._descriptors.values()]
            if not free:
                raise UsageError(f"{path}: more than {len(_DESCRIPTORS)} locks on one connection")
            self._descriptors[path] = free[0]
        return self._descriptors[path]

    def keep(self, path: str, owner: str, *, firm: bool) -> None:
        self.owners[path] = owner
        (self._loose.discard if firm else self._loose.add)(path)

    def forget(self, path: str) -> int:
        self.owners.pop(path, None)
        self._loose.discard(path)
        return self._descriptors.pop(path)

    def loosen(self) -> None:
        self._loose = set(self.owners)

    def loose(self) -> list[tuple[str, str]]:
        return [(path, self.owners[path]) for path in sorted(self._loose)]
