"""How a member that runs differs from what the inventory says of it: pure, in the inventory's own terms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.judge import unhealthy
from nornir_stack.tasks.cluster.views import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir_stack.tasks.cluster.member import Member

# A setting of the inventory to the server's variable, where their names differ.
_FIELDS: Mapping[str, str] = {
    "innodb_buffer_pool_size": "buffer_pool",
    "innodb_log_file_size": "log_file_size",
    "innodb_flush_method": "flush_method",
    "wsrep_slave_threads": "slave_threads",
    "wsrep_applier_threads": "slave_threads",
    "wsrep_sst_method": "sst_method",
    "wsrep_cluster_name": "cluster_name",
    "wsrep_node_address": "address",
    "binlog_expire_logs_seconds": "binlog_expire_days",
}
_OWN = frozenset({"datadir", "max_connections", "innodb_flush_log_at_trx_commit", *_FIELDS})
# What a member is: another value is not brought in line by a restart, it is another member, or none.
_IDENTITY = ("datadir", "wsrep_cluster_name", "wsrep_node_address")
# Not compared: secret, no variable, said in another form by the server, or of the address list (which is another line).
_LEFT_OUT = frozenset(
    {"user", "wsrep_provider_options", "wsrep_cluster_address", "wsrep_node_incoming_address", "wsrep_sst_auth", "bind_address"}
)
_WORDS: Mapping[str, str] = {"on": "1", "off": "0", "true": "1", "false": "0", "yes": "1", "no": "0"}
_UNITS: Mapping[str, int] = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_CACHE = re.compile(r"gcache\.size\s*=\s*(\w+)")


@dataclass(frozen=True)
class Stance:
    """A member as it runs, and as the inventory wants it.

    `runs`: the server's variables. `wanted`: options of the file that would be written. `says`: option to value and the file
    that says it last, of all its configuration. `ours`: that file; `read`: whether the server reads it, as far as files say.
    """

    member: Member
    runs: Mapping[str, str] = field(default_factory=dict)
    wanted: Mapping[str, str] = field(default_factory=dict)
    says: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    ours: str = ""
    encrypts: bool = False
    tls: bool = False


def _bare(value: str) -> str:
    return value.strip().strip("\"'").rstrip("/")


def plain(value: str) -> str:
    """A value, so that `ON` and `1`, `128M` and `134217728`, `"/a/"` and `/a` are the same."""
    text = _bare(value).lower()
    if text in _WORDS:
        return _WORDS[text]
    if found := re.fullmatch(r"(\d+)([kmg])", text):
        return str(int(found[1]) * _UNITS[found[2]])
    if re.fullmatch(r"\d+\.0+", text):
        return text.partition(".")[0]
    return text


def options(text: str) -> dict[str, str]:
    """The options of `[mysqld]` in a configuration that we write."""
    section = re.split(r"(?m)^\[", text)
    mine = next((part for part in section if part.startswith("mysqld]")), "")
    pairs = (line.partition("=") for line in mine.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def refusals(seen: Seen[Stance]) -> list[str]:
    """Why this cluster cannot be adopted as the inventory has it: it is not well, or another one."""
    problems = unhealthy(members(seen))
    for host, one in seen.items():
        for name in _IDENTITY:
            runs, wanted = one.runs.get(name, ""), one.wanted.get(name, "")
            if runs and wanted and _bare(runs) != _bare(wanted):  # a cluster's name and a path differ by case, too
                problems.append(
                    f"{host}: {_named(name)} is {wanted} in the inventory, its server runs with {_shown(name, runs)}: set that."
                )
        if one.encrypts != one.tls:
            how = ("encrypts what it sends the others", "has no tls") if one.encrypts else ("encrypts nothing", "has tls")
            problems.append(f"{host}: its server {how[0]}, and the inventory {how[1]}: set galera.tls as it runs.")
        if one.runs.get("port", "3306") != "3306":
            problems.append(f"{host}: its server listens on port {one.runs['port']}: only 3306 is known here.")
    return problems


def members(seen: Seen[Stance]) -> Seen[Member]:
    """The members alone."""
    return Seen({name: one.member for name, one in seen.items()}, seen.missing, seen.hosts)


def differences(one: Stance) -> list[tuple[str, str, str]]:
    """Setting, value that runs, value that is wanted: of those that a restart would bring in line."""
    found = []
    for name, wanted in one.wanted.items():
        runs = one.runs.get(name)
        if name in _LEFT_OUT or name in _IDENTITY or runs is None or plain(runs) == plain(wanted):
            continue
        if name != "log_bin" or plain(runs) != "1":  # which says ON, and not where
            found.append((_named(name), _shown(name, runs), _shown(name, wanted)))
    cache, now = (_CACHE.search(values.get("wsrep_provider_options", "")) for values in (one.wanted, one.runs))
    if cache and now and plain(cache[1]) != plain(now[1]):
        found.append(("galera.gcache_size", now[1], cache[1]))
    return found


def _named(name: str) -> str:
    if name not in _OWN:
        return f"galera.extra.{name}"
    return f"galera.{_FIELDS.get(name, name)}"


def _shown(name: str, value: str) -> str:
    """As the inventory would have it."""
    if name == "binlog_expire_logs_seconds":
        return f"{float(value) / 86400:g}"
    return value.rstrip("/") or "nothing"


def reasons(seen: Seen[Stance]) -> list[str]:
    """What an operator is told: as a diff in the inventory's terms, the same lines of several members once."""
    found: dict[str, list[str]] = {}
    for host, one in seen.items():
        for name, runs, wanted in differences(one):
            text = f"{name}: {runs} runs, {wanted} is wanted: set in the file now, and read at a restart (galera.roll)."
            found.setdefault(text, []).append(host)
        for text in given_up(one):
            found.setdefault(text, []).append(host)
        for path, names in others(one).items():
            text = f"{path} also sets {words(names)}: ours is read after it and wins; take them out there."
            found.setdefault(text, []).append(host)
    return [f"{words(hosts)}: {text}" for text, hosts in found.items()]


def given_up(one: Stance) -> list[str]:
    """Provider options that somebody set in a file, such as pc.weight, and that ours, which replaces them, has not."""
    value, path = one.says.get("wsrep_provider_options", ("", one.ours))
    if path == one.ours:
        return []
    ours, theirs = (
        dict(part.strip().partition("=")[::2] for part in _bare(text).split(";") if part.strip())
        for text in (one.wanted.get("wsrep_provider_options", ""), value)
    )
    return [f"{path}: the provider's option {name.strip()} is given up at a restart." for name in theirs if name not in ours]


def others(one: Stance) -> dict[str, list[str]]:
    """Other files that set what ours sets, with the options. (One that is not read before ours is seen after the writing.)"""
    found: dict[str, list[str]] = {}
    for name, (_, path) in one.says.items():
        if name in one.wanted and path != one.ours and name.startswith("wsrep_"):
            found.setdefault(path, []).append(name)
    return {path: sorted(names) for path, names in found.items()}


def overruled(wanted: Mapping[str, str], effective: Sequence[str]) -> dict[str, str]:
    """Of what our file says: what the server would read instead at its next start, by `my_print_defaults --mysqld`."""
    said: dict[str, str] = {}
    for line in effective:
        name, _, value = line.removeprefix("--").partition("=")
        said[name.replace("-", "_").lower()] = value
    return {name: said.get(name, "nothing") for name, value in wanted.items() if plain(said.get(name, "")) != plain(value)}
