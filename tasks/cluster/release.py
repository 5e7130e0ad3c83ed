"""What a newer release of MariaDB changes for a member: facts, and judgements on what was seen. Pure.

Measured: Debian's 10.11.19 and 11.8.9 were asked for their variables (`mariadbd --no-defaults --verbose --help`), and each
name that only the older one has was given to the newer one at its start. The rest is from MariaDB's manual, "Upgrading from
MariaDB 10.11 to MariaDB 11.4" and "... 11.4 to 11.8", and of its Galera part "Upgrading Between Major Versions".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from nornir_stack.errors import Refused
from nornir_stack.tasks.cluster.views import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Version(NamedTuple):
    """A version of MariaDB; the first two numbers are its release."""

    major: int
    minor: int
    patch: int = 0

    @property
    def release(self) -> tuple[int, int]:
        return self.major, self.minor

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


ROUTES: Mapping[tuple[int, int], tuple[tuple[int, int], ...]] = {(11, 8): ((10, 11), (11, 4))}
"""Release to those from which the way to it is known here."""

# A member whose configuration has one of these does not start with 11.8: "unknown variable".
UNKNOWN: Mapping[str, str] = {
    "debug_no_thread_alarm": "it had no effect: take it out",
    "innodb_change_buffer_max_size": "there is no change buffer since 11.0: take it out",
    "max_tmp_tables": "it had no effect: take it out",
    "old_alter_table": "it is called alter_algorithm",
    "tx_isolation": "it is called transaction_isolation",
    "tx_read_only": "it is called transaction_read_only",
    "storage_engine": "it is called default_storage_engine",
}
# These start, and do nothing: "was removed. It does nothing now".
VOID: Mapping[str, str] = {
    "date_format": "",
    "datetime_format": "",
    "time_format": "",
    "innodb_change_buffering": "there is no change buffer since 11.0",
    "wsrep_causal_reads": "wsrep_sync_wait = 1 is what it did",
    "wsrep_load_data_splitting": "LOAD DATA is one write set now: a large file may be more than wsrep_max_ws_size",
    **{
        f"innodb_defragment{rest}": "there is no defragmentation since 11.1"
        for rest in ("", "_fill_factor", "_fill_factor_n_recs", "_frequency", "_n_pages", "_stats_accuracy")
    },
}
# Another default, which applications notice: name, old, new, what it means.
DEFAULTS: Sequence[tuple[str, str, str, str]] = (
    (
        "innodb_snapshot_isolation",
        "OFF",
        "ON",
        "a transaction that writes a row which changed since its snapshot fails with error 1020 instead of overwriting it",
    ),
    (
        "character_set_server",
        "latin1",
        "utf8mb4",
        "new schemas get it, with the collation utf8mb4_uca1400_ai_ci, and compare badly with columns of the old one",
    ),
)
PLUGINS = frozenset({"", "mysql_native_password", "mysql_old_password", "unix_socket", "ed25519", "pam", "gssapi", "parsec"})
"""Ways to log in that 11.8 has; those beyond the first four in packages of their own."""

_MOVED = "/usr/share/mysql"
"""Debian's 11.8 has its messages and character sets in /usr/share/mariadb, and nothing here."""
_SPARE = 1.2
_GALERA = re.compile(r"(26\.)?4\.")  # Debian leaves the 26 out


@dataclass(frozen=True)
class Fitness:
    """What a member is and has, for a new release. Sizes are bytes; versions are None where nobody could tell.

    `running`: of its server; `on_disk`: of its program; `candidate`: the newest that its package sources have.
    `install`: its packages of the database; `removed`: what would go with them; `held`: those at a fixed version.
    `options`: name to value and the file that says it last. `groups`: option groups for one release only, with their file.
    `plugins`: ways to log in that its users have. `prepared`: XA transactions that wait. `due`: mariadb-upgrade is needed.
    """

    running: Version | None = None
    on_disk: Version | None = None
    candidate: Version | None = None
    install: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    options: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    groups: tuple[tuple[str, str], ...] = ()
    plugins: tuple[str, ...] = ()
    keyless: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()
    prepared: int = 0
    change_buffering: str = "none"
    provider: str = ""
    due: bool = False
    need_bytes: int = 0
    free_bytes: int | None = None
    source_there: bool = True
    """False: the repository that the inventory names is not on the node, or not read yet, so `candidate` says nothing."""

    @property
    def newest(self) -> Version | None:
        """The newest of what it runs and has."""
        return max(filter(None, (self.running, self.on_disk)), default=None)


@cache
def version(text: str | None) -> Version | None:
    """From `10.11.19-MariaDB-log`, `1:11.8.9+ds-0+deb13u1` or `11.8`."""
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)(?:\.(\d+))?", text or "")
    return Version(int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def named(release: tuple[int, int]) -> str:
    return f"{release[0]}.{release[1]}"


def there(fit: Fitness, release: tuple[int, int]) -> bool:
    """Whether a member runs the release, and its system tables are of it."""
    runs = [one for one in (fit.running, fit.on_disk) if one]
    return bool(fit.running) and all(one.release == release for one in runs) and not fit.due


def going_back(seen: Mapping[str, Fitness], release: tuple[int, int]) -> list[str]:
    """Who would have to go back: MariaDB cannot."""
    newer = {host: fit.newest for host, fit in seen.items() if fit.newest and fit.newest.release > release}
    return [
        f"{host} has MariaDB {now}, and the inventory wants {named(release)}: an older release does not understand its"
        " tables of users, so there is no way back. Set galera.release to what runs, or restore a backup into a new cluster."
        for host, now in newer.items()
    ]


def not_known(seen: Mapping[str, Fitness], release: tuple[int, int]) -> list[str]:
    """Who runs a release from which no way is known."""
    known = ROUTES.get(release, ())
    ways = "; ".join(f"{words(map(named, sources))} to {named(to)}" for to, sources in ROUTES.items())
    return [
        f"{host} has MariaDB {fit.newest or 'of an unknown version'}: the way from there to {named(release)} is not known here"
        f" (known: {ways})."
        for host, fit in seen.items()
        if fit.newest is None or fit.newest.release not in (*known, release)
    ]


def obstacles(seen: Mapping[str, Fitness], release: tuple[int, int]) -> list[str]:
    """Why members cannot take the release, a sentence each; looked at on all before the first is touched."""
    problems = []
    for host, fit in seen.items():
        if not there(fit, release):
            problems += [
                f"{host}: {sentence}" for sentence in (*_packages(fit, release), *_settings(fit, release), *_data(fit))
            ]
    return problems


def _packages(fit: Fitness, release: tuple[int, int]) -> list[str]:
    problems = []
    newest = max(filter(None, (fit.candidate, fit.on_disk)), default=None)
    if fit.source_there and (newest is None or newest.release < release):
        problems.append(
            f"its sources have MariaDB {newest or 'not at all'}, not {named(release)}: name a repository (galera.release)."
        )
    elif fit.source_there and newest and newest.release > release:
        problems.append(f"its sources have MariaDB {newest}, beyond {named(release)}: pin it, or set galera.release.")
    if fit.removed:
        problems.append(f"{words(fit.removed)} would be removed by that.")
    if fit.held:
        problems.append(f"{words(fit.held)} are held at their version: release them (apt-mark unhold) first.")
    if fit.free_bytes is not None and fit.free_bytes < fit.need_bytes * _SPARE:
        need, have = (f"{size / (1 << 20):.0f} MiB" for size in (fit.need_bytes * _SPARE, fit.free_bytes))
        problems.append(f"the packages need {need} on the system's disk and it has {have}.")
    if fit.provider and not _GALERA.match(fit.provider):
        problems.append(f"its Galera library is {fit.provider}: only 26.4.x goes with both releases.")
    return problems


def _settings(fit: Fitness, release: tuple[int, int]) -> list[str]:
    problems = []
    for option, (value, path) in fit.options.items():
        plain = option.lower().replace("-", "_")
        if plain in UNKNOWN:
            problems.append(f"{path}: {plain}: {named(release)} does not start with it: {UNKNOWN[plain]}.")
        elif value.rstrip("/").startswith(_MOVED) and plain in {"lc_messages_dir", "character_sets_dir"}:
            problems.append(f"{path}: {plain} = {value}: {named(release)} has nothing there: take it out.")
    problems += [
        f"{path}: the group [{group}] is not read by {named(release)}: move what it says to [mariadb]."
        for group, path in fit.groups
        if version(group.rpartition("-")[2]) not in (None, Version(*release))
    ]
    return problems


def _data(fit: Fitness) -> list[str]:
    problems = []
    if fit.prepared:
        problems.append(f"{fit.prepared} prepared XA transactions wait (XA RECOVER): commit them or roll them back first.")
    if strange := sorted(set(fit.plugins) - PLUGINS):
        problems.append(f"users log in by {words(strange)}: look whether the new release has that, they would be locked out.")
    return problems


def remarks(seen: Mapping[str, Fitness], release: tuple[int, int]) -> list[str]:
    """What changes and stops nobody: told before."""
    found: dict[str, list[str]] = {}
    for host, fit in seen.items():
        if there(fit, release):
            continue
        options = {option.lower().replace("-", "_"): value for option, (value, _) in fit.options.items()}
        for option in options:
            if option in VOID:
                found.setdefault(f"{option} does nothing any more{'; ' * bool(VOID[option])}{VOID[option]}.", []).append(host)
        for option, old, new, means in DEFAULTS:
            if option not in options:
                found.setdefault(f"{option} is {new} by default, it was {old}: {means}.", []).append(host)
        for table in fit.keyless:
            found.setdefault(
                f"{table} has no primary key: while members of both releases run, deletes on it may fail.", []
            ).append(host)
        for replica in fit.replicas:
            found.setdefault(f"{replica} replicates from here: it must be of the new release before its source is.", []).append(
                host
            )
    return [f"{words(hosts)}: {text}" for text, hosts in found.items()]


def other_release(running: str | None, pending: Sequence[str]) -> str:
    """What a plain upgrade of packages would bring that is another release; empty if it stays within one."""
    now = version(running)
    found = [version(line.split()[1]) for line in pending if line.lower().startswith("+mariadb-server ")]
    new = found[0] if found else None
    return str(new) if now and new and new.release != now.release else ""


def newer_among(mine: Version | None, donors: Mapping[str, Version | None]) -> dict[str, Version]:
    """Who of those that may give a full copy has a newer release. Which of them does give it, Galera chooses."""
    return {host: one for host, one in donors.items() if mine and one and one.release > mine.release}


def no_copy(name: str, mine: Version | None, donors: Mapping[str, Version | None], *, first: str = "") -> list[str]:
    """Why `name` may take no full copy, and what to do instead, `first` before galera.upgrade.

    Measured, a copy of 11.8.9 by rsync on 10.11.19: it starts, and says "Access denied for user 'root'@'localhost'". Writes
    that it missed (IST) it can take from a newer one.
    """
    newer = newer_among(mine, donors)
    if not newer:
        return []
    to = max(newer.values())
    why = f"{name} has MariaDB {mine} and {words(newer)} {to}: the older server does not understand the users in a full copy"
    run = f"{first} Then run" if first else "Run"
    then = f"{run} galera.upgrade, which brings it to {named(to.release)} and lets it join."
    return [f"{why} of theirs, root is denied access. {then}"]


def refuse(problems: Sequence[str]) -> None:
    """Raise Refused with all of them, if there are any."""
    if problems:
        raise Refused("Nobody is upgraded:\n" + "\n".join(problems))
