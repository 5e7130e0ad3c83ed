"""A lab of three database nodes with an inventory folder of its own, and looks at its members that trust no report."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.inventory import open_inventory
from nornir_stack.tasks.cluster.form import form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

DB = ("db1", "db2", "db3")
CONFIG = "/etc/mysql/mariadb.conf.d/zz-nornir-stack-galera.cnf"
DATADIR = "/var/lib/mysql/mysql_data"
PASSWORD = "it's a \\ secret"
WAIT_SECONDS = 120.0
NO_CLUSTER = ("", "00000000-0000-0000-0000-000000000000")
_STATUS = """
systemctl show -p ActiveState --value mariadb
mariadb -N -e "SHOW GLOBAL STATUS WHERE Variable_name LIKE 'wsrep\\_%' OR Variable_name = 'Uptime'" 2>/dev/null
"""
# Whatever would make a later start bootstrap, by the means of MariaDB's own scripts (galera_new_cluster).
_RESIDUE = f"""
systemctl show-environment | grep _WSREP_NEW_CLUSTER=.
ls {DATADIR}/wsrep-new-cluster* /var/lib/mysql/wsrep-new-cluster* /run/mysqld/wsrep-new-cluster* 2>/dev/null
tr '\\0' ' ' <"/proc/$(pidof mariadbd)/cmdline" | grep wsrep.new.cluster
true
"""
# What a node writes while it is only looked at: systemd's journal, who logged in when, what package managers keep.
WRITTEN = ("/var/log/journal", "/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/var/cache/apt", "/var/lib/apt/lists")
# Content of every file, and kind, mode, owner and target of everything; /proc, /sys, /run and /dev are other file systems.
_TREE = """
find "$@" -xdev ! -type f -printf '%p\\t%y %m %U %G %l\\n'
find "$@" -xdev -type f -printf '%p\\t%m %U %G\\n'
find "$@" -xdev -type f -print0 | xargs -0r sha256sum | sed 's/^\\([0-9a-f]*\\)  \\(.*\\)$/content of \\2\\t\\1/'
"""


def tell(text: str) -> None:
    """A line for whoever reads the test's output."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def inside(lab: Lab, name: str, script: str) -> str:
    """What a script prints on a node, run there without ssh."""
    done = lab.enter(name, "sh", "-c", script)
    assert done.returncode == 0, f"{name}: {script}\n{done.stdout}{done.stderr}"
    return done.stdout


def status(lab: Lab, name: str) -> dict[str, str]:
    """What the server itself says (SHOW GLOBAL STATUS), and its unit's state as `unit`; nothing more from one that is down."""
    if not lab.container(name).init:
        return {"unit": "off"}
    unit, *rows = lab.enter(name, "sh", "-c", _STATUS).stdout.splitlines() or [""]
    return {"unit": unit} | dict(row.split("\t", 1) for row in rows)


def primaries(seen: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, said in seen.items() if said.get("wsrep_cluster_status") == "Primary"]


def split(one: dict[str, str], other: dict[str, str]) -> bool:
    """Two Primary components: other histories, or neither lists the other. Looks that are not simultaneous show none of it."""
    if one["wsrep_cluster_state_uuid"] != other["wsrep_cluster_state_uuid"]:
        return True
    listed, others = (set(said["wsrep_incoming_addresses"].split(",")) for said in (one, other))
    return not listed & others


@dataclass
class Cluster:
    """Three declared members, prepared or empty nodes of `lab`, by the inventory in `folder`."""

    lab: Lab
    folder: Path
    names: Sequence[str] = DB

    def __post_init__(self) -> None:
        self.write()

    def address(self, name: str) -> str:
        return self.lab.spec.node(name).address.partition("/")[0]

    def write(self, *, galera: str = "", known_hosts: str = "") -> None:
        """The inventory. `galera`: more lines of the members' settings; `known_hosts`: another file than the lab's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "password").write_text(PASSWORD)
        (self.folder / "hosts.yaml").write_text(
            "".join(f"{name}:\n  hostname: {self.address(name)}\n  groups: [db]\n" for name in self.names)
        )
        users = "".join(
            f"        - name: {name}\n          password: !secret file:{self.folder}/password\n          grants: [{grant}]\n"
            for name, grant in (("app", "ALL ON my_test_db.*"), ("page", "SELECT ON my_test_db.*"))
        )
        sizes = "buffer_pool: 128M\n      log_file_size: 16M\n      gcache_size: 16M\n      max_connections: 100\n"
        (self.folder / "groups.yaml").write_text(
            f"db:\n  data:\n    galera:\n      cluster_name: t\n      {sizes}"
            f"      root_password: !secret file:{self.folder}/password\n      schemas: [my_test_db]\n      users:\n{users}"
            f"{galera}"
        )
        state = self.lab.spec.state
        (self.folder / "defaults.yaml").write_text(
            f"username: root\nconnection_options:\n  ssh:\n    extras:\n"
            f"      known_hosts: {known_hosts or state / 'known_hosts'}\n      client_keys: [{state}/id_ed25519]\n"
            f"data:\n  networks:\n    data:\n      cidr: {self.lab.spec.network}\n"
        )

    # the two ways to run the chain

    def form(self, *, dry_run: bool = False, wait: float = WAIT_SECONDS, missing: Sequence[str] = ()) -> Report:
        """galera.form by Python, by connections of its own."""
        nr = open_inventory(self.folder)
        try:
            return form(missing=missing).run(nr, dry_run=dry_run, wait=wait)
        finally:
            nr.close_connections()

    def start_cli(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """nornir-stack as a process of its own, on this inventory."""
        env = {**os.environ, "NORNIR_STACK_INVENTORY": str(self.folder), "COLUMNS": "200", **environment}
        argv = [sys.executable, "-m", "nornir_stack.cli.main", *words]
        return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def cli(self, *words: str, **environment: str) -> Ran:
        process = self.start_cli(*words, **environment)
        out, err = process.communicate(timeout=300)
        return Ran(process.returncode, out, err)

    # looks

    def seen(self) -> dict[str, dict[str, str]]:
        with ThreadPoolExecutor(len(self.names)) as pool:
            return dict(zip(self.names, pool.map(lambda name: status(self.lab, name), self.names), strict=True))

    def uuid(self) -> str:
        """The cluster's UUID, once all members are seen to be one cluster of exactly `names`, complete and clean."""
        return self.one_of(*self.names)

    def one_of(self, *names: str) -> str:
        seen = {name: said for name, said in self.seen().items() if name in names}
        keys = ("wsrep_cluster_status", "wsrep_local_state_comment", "wsrep_ready", "wsrep_connected", "wsrep_cluster_size")
        states = {name: tuple(said.get(key) for key in keys) for name, said in seen.items()}
        assert states == dict.fromkeys(names, ("Primary", "Synced", "ON", "ON", str(len(names)))), states
        for key in ("wsrep_cluster_state_uuid", "wsrep_cluster_conf_id"):
            assert len({said[key] for said in seen.values()}) == 1, (key, seen)
        addresses = {f"{self.address(name)}:3306" for name in names}
        assert [set(said["wsrep_incoming_addresses"].split(",")) for said in seen.values()] == [addresses] * len(names)
        assert {name: inside(self.lab, name, _RESIDUE) for name in names} == dict.fromkeys(names, "")
        return seen[names[0]]["wsrep_cluster_state_uuid"]

    def rows(self, sql: str) -> dict[str, str]:
        """What each member answers to one statement."""
        return {name: inside(self.lab, name, f'mariadb -N -e "{sql}"') for name in self.names}

    def tree(self, *roots: str) -> dict[str, dict[str, str]]:
        """Everything on the nodes' disks below `roots`: path to what it is, and to its checksum."""

        def one(name: str) -> dict[str, str]:
            printed = self.lab.enter(name, "sh", "-c", _TREE, "sh", *roots).stdout
            return dict(line.split("\t", 1) for line in printed.splitlines() if "\t" in line)

        with ThreadPoolExecutor(len(self.names)) as pool:
            return dict(zip(self.names, pool.map(one, self.names), strict=True))

    def stamps(self, *roots: str) -> dict[str, dict[str, str]]:
        """When anything below `roots` was last written or renamed, by path: much cheaper than `tree`."""
        find = ("find", *roots, "-xdev", "-printf", r"%p\t%C@\n")
        return {
            name: dict(line.split("\t", 1) for line in self.lab.enter(name, *find).stdout.splitlines() if "\t" in line)
            for name in self.names
        }

    def started(self) -> dict[str, str]:
        """When systemd started the server of each member, and its process."""
        show = "systemctl show -p ActiveEnterTimestampMonotonic -p ExecMainPID -p NRestarts mariadb"
        return {name: inside(self.lab, name, show) for name in self.names}

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """While it is entered, members are looked at again and again for two Primary components."""
        watch = Watch(self)
        watch.thread.start()
        try:
            yield watch
        finally:
            watch.end.set()
            watch.thread.join()


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Watch:
    """Looks at all members until it is ended; `splits` are the moments with two Primary components."""

    def __init__(self, cluster: Cluster) -> None:
        self.looks = 0
        self.splits: list[dict[str, dict[str, str]]] = []
        self.end = threading.Event()
        self._cluster = cluster
        self.thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self.end.wait(0.5):
            seen = self._cluster.seen()
            self.looks += 1
            whole = [said for said in seen.values() if said.get("wsrep_cluster_status") == "Primary"]
            if any(split(one, other) for one, other in itertools.combinations(whole, 2)):
                self.splits.append(seen)


def changed_between(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Of two trees, what differs on each node, but for what nodes write by themselves."""
    differ = {name: {path for path, _ in before[name].items() ^ after[name].items()} for name in before}
    told = {name: sorted(path for path in paths if not _written(path)) for name, paths in differ.items()}
    return {name: paths for name, paths in told.items() if paths}


def _written(path: str) -> bool:
    return path.removeprefix("content of ").startswith(WRITTEN)


def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        pause.wait(0.05)
