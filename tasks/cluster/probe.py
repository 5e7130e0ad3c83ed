"""One look at a member's node: a shell script for everything but SQL, and the parser of what it prints."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nornir_stack.tasks.cluster.member import ZERO_UUID, Grastate, Gvwstate, Member, Position, Wsrep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONFIG = ("/etc/my.cnf", "/etc/my.cnf.d", "/etc/percona-xtradb-cluster.conf.d", "/etc/mysql/my.cnf", "/etc/mysql")
"""Files, and folders with `*.cnf` in them and one below, in the order in which servers read them."""

SCRIPT = r"""
# datadir unit bootstrap_unit mount config...
export LC_ALL=C
d=${1%/} u=$2 b=$3 m=$4 up= t=
shift 4
systemctl show -p Id,LoadState,ActiveState,SubState,MainPID,ExecMainStartTimestampMonotonic "$u" ${b:+"$b"} 2>/dev/null
echo
systemctl show-environment 2>/dev/null | while IFS= read -r l; do
    case $l in _WSREP_NEW_CLUSTER=*) echo "environment $l";; esac
done
for p in /proc/[0-9]*; do
    IFS= read -r c 2>/dev/null <"$p/comm" || continue
    case $c in
    mariadbd|mysqld|mysqld_safe|mariadbd-safe|wsrep_sst_*|garbd|debian-start|mariadb-upgrade|mysql_upgrade) ;;
    *) continue;;
    esac
    n=
    while read -r k v w; do
        case $k in NSpid:) n=$w;; State:) case $v in Z) n=zombie;; esac;; esac
    done 2>/dev/null <"$p/status"
    [ -z "$n" ] || continue
    echo "process ${p#/proc/} $c"
    case $c in *upgrade|debian-start) ;; *) up=yes;; esac
    case $c in mariadbd|mysqld) printf 'argv '; tr '\000\n' '\t ' 2>/dev/null <"$p/cmdline"; echo;; esac
done
for f in /proc/net/tcp /proc/net/tcp6; do
    [ -r "$f" ] || continue
    { read -r k; while read -r k l r s k; do [ "$s" = 0A ] || break; echo "port ${l##*:}"; done; } <"$f"
    ! grep -q '^ *[0-9]*: [0-9A-F]*:115C [0-9A-F:]* 0A ' "$f" || t=yes
done
[ -z "$t" ] || ss -H -l -t -n -p 'sport = :4444' 2>/dev/null | while IFS= read -r l; do echo "holder $l"; done
for f in /usr/sbin/mariadbd /usr/sbin/mysqld /usr/libexec/mariadbd /usr/libexec/mysqld; do
    [ -x "$f" ] || continue
    echo "binary $f"
    [ -n "$up" ] || { v=$("$f" --no-defaults --version 2>/dev/null) && echo "program ${v##*Ver }"; up=yes; }
done
if [ -n "$m" ]; then mountpoint -q -- "$m" && echo "mounted yes" || echo "mounted no"; fi
p=$d
while [ -n "$p" ] && [ ! -d "$p" ]; do p=${p%/*}; done
stat -f -c 'free %a %S' -- "${p:-/}"
[ ! -e "$d/ibdata1" ] || echo "data ibdata1"
[ ! -e "$d/sst_in_progress" ] || echo "marker sst_in_progress"
for f in /run/mysqld /run/mariadb /var/lib/mysql "$d"; do
    for f in "$f"/wsrep-new-cluster*; do [ ! -f "$f" ] || echo "leftover $f"; done
done
for f in "$d"/*/; do
    [ -d "$f" ] || continue
    f=${f%/} k=
    case $f in *[[:cntrl:]]*) f=$d/strange-name;; esac
    [ "${f##*/}" != test ] || for k in "$f"/*; do [ "${k##*/}" = db.opt ] || break; done
    case $k in "$f/*"|*/db.opt) continue;; esac
    echo "schema ${f##*/}"
done
i=$#
while [ "$i" -gt 0 ]; do
    c=$1; shift; i=$((i - 1))
    if [ -d "$c" ]; then
        for f in "$c"/*.cnf "$c"/*/*.cnf; do
            case $f in *[[:cntrl:]]*) continue;; esac
            [ ! -f "$f" ] || set -- "$@" "$f"
        done
    elif [ -f "$c" ]; then set -- "$@" "$c"; fi
done
for f in grastate.dat gvwstate.dat mysqld-auto.cnf; do [ ! -f "$d/$f" ] || set -- "$@" "$d/$f"; done
echo files
if [ $# -gt 0 ]; then
    stat -L -c '%s %Y %n' -- "$@" 2>/dev/null
    echo contents
    tail -q -v -c +1 -- "$@" 2>/dev/null
fi
echo
echo "end of look"
"""
"""POSIX sh, coreutils, util-linux, systemctl, and ss where something listens for state transfers; it changes nothing.

`arguments()` gives its `$1`...
"""

_SYSTEM_SCHEMAS = frozenset({"mysql", "sys", "performance_schema", "information_schema", "lost+found"})
_NO = frozenset({"", "0", "no", "off", "false"})
_SERVERS = frozenset({"mariadbd", "mysqld", "mysqld_safe", "mariadbd-safe"})
_PROPERTIES = frozenset({"Id", "LoadState", "ActiveState", "SubState", "MainPID", "ExecMainStartTimestampMonotonic"})
_UPGRADES = frozenset({"debian-start", "mariadb-upgrade", "mysql_upgrade"})
_HOLDER = re.compile(r'\("([^"]+)",pid=(\d+)')
_UNKNOWN = 2**64 - 1
"""How wsrep prints -1."""


def arguments(
    datadir: str, unit: str, *, bootstrap_unit: str = "", mount: str = "", config: Sequence[str] = CONFIG
) -> tuple[str, ...]:
    """The words after `sh -c SCRIPT sh`. `mount`: where the data disk has to be mounted, if it is one of its own."""
    return (datadir, unit, bootstrap_unit, mount, *config)


@dataclass(frozen=True)
class File:
    content: bytes
    written: int

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace").replace("\0", "")


@dataclass(frozen=True)
class Facts:
    """What the script saw, before anything is made of it."""

    units: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    environment: tuple[str, ...] = ()
    processes: tuple[tuple[int, str], ...] = ()
    argv: tuple[tuple[str, ...], ...] = ()
    ports: frozenset[int] = frozenset()
    holders: tuple[tuple[int, str], ...] = ()
    installed: bool = False
    program: str = ""
    mounted: bool = True
    free_bytes: int | None = None
    data: bool = False
    sst_marker: bool = False
    leftovers: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()
    files: Mapping[str, File] = field(default_factory=dict)

    def named(self, name: str) -> File | None:
        return next((file for path, file in self.files.items() if path.rpartition("/")[2] == name), None)


def parse(output: bytes) -> Facts:
    """The facts in the script's output. Raises ValueError if its end is missing."""
    ending = b"\nend of look\n"
    if not output.endswith(ending):
        raise ValueError("the look at the member was cut short")
    head, _, tail = output[: -len(ending)].partition(b"\nfiles\n")
    units, lines = _units(head.decode("utf-8", "surrogateescape"))
    said: dict[str, list[str]] = {}
    for line in lines:
        word, _, value = line.partition(" ")
        said.setdefault(word, []).append(value)
    free = said.get("free", [""])[0].split()
    return Facts(
        units=units,
        environment=tuple(said.get("environment", ())),
        processes=tuple((int(pid), name) for pid, _, name in (entry.partition(" ") for entry in said.get("process", ()))),
        argv=tuple(tuple(entry.rstrip("\t").split("\t")) for entry in said.get("argv", ())),
        ports=frozenset(int(port, 16) for port in said.get("port", ())),
        holders=tuple((int(pid), name) for line in said.get("holder", ()) for name, pid in _HOLDER.findall(line)),
        installed="binary" in said,
        program=said.get("program", [""])[0],
        mounted=said.get("mounted", ["yes"])[0] == "yes",
        free_bytes=int(free[0]) * int(free[1]) if len(free) == 2 else None,  # noqa: PLR2004  blocks and their size
        data="data" in said,
        sst_marker="marker" in said,
        leftovers=tuple(said.get("leftover", ())),
        schemas=tuple(name for name in said.get("schema", ()) if name not in _SYSTEM_SCHEMAS and not name.startswith("#")),
        files=_files(tail),
    )


def _units(text: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """systemd's blocks come first, apart by empty lines; every other line of the head has a word and a space."""
    units: dict[str, dict[str, str]] = {}
    block: dict[str, str] = {}
    lines: list[str] = []
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if equals and key in _PROPERTIES and not lines:
            block[key] = value
        elif line:
            lines.append(line)
        if not line and block:
            units[block.get("Id", "")] = block
            block = {}
    return units, lines


def _files(text: bytes) -> dict[str, File]:
    """Sizes first, then `tail -v`: a size says where the next header stands, so content may look like a header.

    A file that changed in between moves the header: then it is searched for.
    """
    listing, _, contents = text.partition(b"contents\n")
    entries = [line.decode("utf-8", "surrogateescape").split(" ", 2) for line in listing.splitlines()]
    files: dict[str, File] = {}
    headers = [f"==> {path} <==\n".encode("utf-8", "surrogateescape") for _, _, path in entries]
    at = 0
    for number, (size, written, path) in enumerate(entries):
        if not contents.startswith(headers[number], at):
            continue
        start = at + len(headers[number])
        end = start + int(size)
        following = b"\n" + headers[number + 1] if number + 1 < len(headers) else b""
        if following and not contents.startswith(following, end):
            end = contents.find(following, start)
            end = len(contents) if end < 0 else end
        elif not following:
            end = len(contents)
        files[path] = File(contents[start:end], int(written))
        at = end + 1
    return files


def grastate(file: File) -> Grastate:
    """`grastate.dat`; without a UUID it counts as empty, as for Galera."""
    uuid = re.search(r"^uuid:\s*([0-9a-fA-F-]{36})\s*$", file.text, re.MULTILINE)
    seqno = re.search(r"^seqno:\s*(-?\d+)\s*$", file.text, re.MULTILINE)
    safe = re.search(r"^safe_to_bootstrap:\s*(\d+)\s*$", file.text, re.MULTILINE)
    return Grastate(
        position=Position(uuid[1].lower() if uuid else ZERO_UUID, int(seqno[1]) if seqno else -1),
        safe_to_bootstrap=safe[1] != "0" if safe else True,
        empty=uuid is None,
        written=file.written,
    )


def gvwstate(file: File) -> Gvwstate:
    """`gvwstate.dat`. Members of other segments count too."""
    mine = re.search(r"^my_uuid:\s*([0-9a-fA-F-]{36})\s*$", file.text, re.MULTILINE)
    view = re.search(r"^view_id:\s*(\S.*?)\s*$", file.text, re.MULTILINE)
    members = re.findall(r"^member:\s*([0-9a-fA-F-]{36})\b", file.text, re.MULTILINE)
    return Gvwstate(len(file.content), mine[1].lower() if mine else "", view[1] if view else "", tuple(members))


def configured(facts: Facts) -> dict[str, tuple[str, str]]:
    """Option (with underscores) to its value and the file that says it last."""
    options: dict[str, tuple[str, str]] = {}
    for path, file in facts.files.items():
        if not path.endswith(".cnf") or path.endswith("/mysqld-auto.cnf"):
            continue
        for line in file.text.splitlines():
            key, equals, value = line.strip().partition("=")
            if not key or key[0] in "#;[!":
                continue
            text = re.sub(r"\s+#.*$", "", value.strip()) if equals else "on"
            options[key.strip().replace("-", "_").lower()] = (text.strip("\"'"), path)
    return options


def leftovers(facts: Facts, options: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """Everything that would make the next start of the server bootstrap, one sentence each."""
    found = [f"systemd's environment holds {line}" for line in facts.environment if line.partition("=")[2].strip("\"'$")]
    found += [f"the file {path} is left over" for path in facts.leftovers]
    address, path = options.get("wsrep_cluster_address", ("-", ""))
    if address.partition("?")[0] in {"", "gcomm://"}:
        found.append(f"{path}: wsrep_cluster_address names nobody")
    provider, path = options.get("wsrep_provider_options", ("", ""))
    bootstrap = re.search(r"pc\.bootstrap\s*=\s*(\w+)", provider)
    if bootstrap and bootstrap[1].lower() not in _NO:
        found.append(f"{path}: wsrep_provider_options holds pc.bootstrap")
    own, path = options.get("wsrep_provider_pc_bootstrap", ("no", ""))  # the same, of the wsrep-provider plugin (11.8)
    if own.lower() not in _NO:
        found.append(f"{path}: wsrep_provider_pc_bootstrap is set")
    new, path = options.get("wsrep_new_cluster", ("no", ""))
    if new.lower() not in _NO:
        found.append(f"{path}: wsrep_new_cluster is set")
    persisted = facts.named("mysqld-auto.cnf")
    if persisted and re.search(r'"wsrep_new_cluster"[^}]*"Value"\s*:\s*"(ON|1)"', persisted.text):
        found.append("mysqld-auto.cnf: wsrep_new_cluster is persisted")
    return tuple(found)


def member(
    facts: Facts,
    status: Mapping[str, str] | None,
    variables: Mapping[str, str] | None = None,
    *,
    unit: str,
    bootstrap_unit: str = "",
) -> Member:
    """The member that script and SQL saw. `status`: `SHOW GLOBAL STATUS LIKE 'wsrep%'`, None if no server answered.

    `variables`: version, innodb_flush_log_at_trx_commit and wsrep_ on, provider, node_name, node_address, cluster_name,
    cluster_address.
    """
    live = variables or {}
    options = configured(facts)
    systemd = _unit(facts, unit)
    bootstrapping = _unit(facts, bootstrap_unit) if bootstrap_unit else {}
    other_up = bootstrapping.get("ActiveState", "inactive") not in {"", "inactive", "failed"}
    shown = bootstrapping if other_up else systemd
    saved, view = facts.named("grastate.dat"), facts.named("gvwstate.dat")

    def setting(name: str) -> str:
        return live.get(name) or options.get(name, ("", ""))[0]

    flush = setting("innodb_flush_log_at_trx_commit")
    return Member(
        unit=shown.get("ActiveState", ""),
        sub_state=shown.get("SubState", ""),
        masked=systemd.get("LoadState") == "masked",
        main_pid=int(shown.get("MainPID") or 0),
        starts=tuple(block.get("ExecMainStartTimestampMonotonic", "") for block in facts.units.values()),
        pids=tuple(pid for pid, name in facts.processes if name in _SERVERS),
        ports=facts.ports,
        holders=facts.holders,
        wsrep=None if status is None else wsrep(status, live),
        node_name=setting("wsrep_node_name"),
        node_address=setting("wsrep_node_address"),
        cluster_name=setting("wsrep_cluster_name"),
        cluster_address=options.get("wsrep_cluster_address", (live.get("wsrep_cluster_address", ""), ""))[0],
        grastate=grastate(saved) if saved else None,
        gvwstate=gvwstate(view) if view else None,
        data=facts.data,
        schemas=facts.schemas,
        new_cluster=other_up or any("--wsrep-new-cluster" in argv or "--wsrep_new_cluster" in argv for argv in facts.argv),
        residue=leftovers(facts, options),
        flush_log_at_commit=int(flush) if flush.isdigit() else None,
        version=live.get("version") or facts.program.partition(" ")[0] or None,
        own_options="wsrep_provider_pc_bootstrap" in live,
        provider=None if status is None else status.get("wsrep_provider_version"),
        installed=facts.installed,
        mounted=facts.mounted,
        free_bytes=facts.free_bytes,
        sst=tuple(name for _, name in facts.processes if name.startswith("wsrep_sst_")),
        sst_marker=facts.sst_marker,
        upgrading=any(name in _UPGRADES for _, name in facts.processes),
    )


def _unit(facts: Facts, name: str) -> Mapping[str, str]:
    """systemctl prints an alias's target as Id (`mysql` is `mariadb`): then the first block is meant."""
    full = name if name.endswith(".service") else f"{name}.service"
    blocks = list(facts.units.values())
    return facts.units.get(full) or next((block for block in blocks if "@" not in block.get("Id", "")), {})


def wsrep(status: Mapping[str, str], variables: Mapping[str, str]) -> Wsrep:
    """The status as values. An answer without any wsrep line is a server without Galera."""
    off = variables.get("wsrep_on", "ON").upper() in {"OFF", "0"} or variables.get("wsrep_provider", "") == "none"
    incoming = status.get("wsrep_incoming_addresses", "")
    return Wsrep(
        on=bool(status) and not off,
        primary=status.get("wsrep_cluster_status", "").lower() == "primary",
        size=_number(status, "wsrep_cluster_size", 0),
        state=_number(status, "wsrep_local_state", 0),
        comment=status.get("wsrep_local_state_comment", ""),
        ready=status.get("wsrep_ready", "").upper() == "ON",
        connected=status.get("wsrep_connected", "").upper() == "ON",
        conf_id=_number(status, "wsrep_cluster_conf_id", -1),
        position=Position(status.get("wsrep_cluster_state_uuid") or ZERO_UUID, _number(status, "wsrep_last_committed", -1)),
        incoming=tuple(entry.strip() for entry in incoming.split(",")) if incoming else (),
        local_index=_number(status, "wsrep_local_index", -1),
        evs_state=status.get("wsrep_evs_state", ""),
        flow_control_paused=float(status.get("wsrep_flow_control_paused") or 0),
        receive_queue=_number(status, "wsrep_local_recv_queue", 0),
        receive_queue_average=float(status.get("wsrep_local_recv_queue_avg") or 0),
        send_queue=_number(status, "wsrep_local_send_queue", 0),
        certification_failures=_number(status, "wsrep_local_cert_failures", 0),
        cached_from=_number(status, "wsrep_local_cached_downto", 0),
    )


def _number(status: Mapping[str, str], name: str, otherwise: int) -> int:
    text = status.get(name, "")
    if not text.lstrip("-").isdigit():
        return otherwise
    return -1 if int(text) == _UNKNOWN else int(text)
