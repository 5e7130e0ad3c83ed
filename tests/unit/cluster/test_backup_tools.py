"""The tools that take backups, by product: what is run of them, and what is read of what they leave. With tools that only say
what they were called with: Percona's are not to be had on the test machines.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.backup_choice import Choice, Sight, choose
from nornir_stack.tasks.cluster.backup_prove import _PROVE, _TOLD, described
from nornir_stack.tasks.cluster.backup_sight import _SIZE, sizes
from nornir_stack.tasks.cluster.backup_take import _AFTER_TAKE, _TAKE
from nornir_stack.tasks.cluster.product import PRODUCTS, TOOLS
from tests.unit.cluster.shorthand import uuid
from tests.unit.cluster.test_backup import MIB, NOW, seen

if TYPE_CHECKING:
    from pathlib import Path

FAKE = """#!/bin/sh
echo "${0##*/} $*" >>"$LOG"
case "$*" in
*--version*) cat "$VERSION" >&2;;
*'SHOW MASTER STATUS'*) printf 'bin.000002\\t157\\n';;
*'SHOW BINARY LOGS'*) printf 'bin.000001\\t10\\tNo\\nbin.000002\\t157\\tNo\\n';;
*log_bin_basename*) echo /var/lib/mysql/bin;;
*@@wsrep_desync*) echo 1;;
*--stream=*) echo data;;
*-c*) echo logs;;
esac
"""
VERSIONS = {
    "mariadb": "mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu (x86_64)",
    "percona": "xtrabackup version 8.0.35-30 based on MySQL server 8.0.35 Linux (x86_64) (revision id: 6beb4b49)",
}
RELEASES = {"mariadb": "10.11.19-MariaDB", "percona": "8.0.35-30"}


class Bench:
    """A folder with the tools of one product."""

    def __init__(self, folder: Path, product: str) -> None:
        self.folder, self.tool = folder, TOOLS[product]
        self.log = folder / "log"
        (folder / "version").write_text(VERSIONS[product])
        (folder / "bin").mkdir()
        for name in (self.tool.name, self.tool.client, self.tool.stream):
            (folder / "bin" / name).write_text(FAKE)
            (folder / "bin" / name).chmod(0o755)

    def run(self, script: str, *words: object) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "LOG": str(self.log), "VERSION": f"{self.folder}/version"}
        argv = ["sh", "-c", self.tool.words + script, "sh", *map(str, words)]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    def called(self) -> list[str]:
        """What was called, with the folder's own name left out."""
        return [line.replace(str(self.folder), "") for line in self.log.read_text().splitlines()]


@pytest.fixture(params=["mariadb", "percona"])
def product(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_backup_is_taken(product: str, tmp_path: Path) -> None:
    """Desynced meanwhile, in one stream with the binary logs before the present one; afterwards back in step."""
    bench = Bench(tmp_path, product)
    run = tmp_path / "run"
    run.mkdir()
    done = bench.run(_TAKE, run, "", "", "yes", "sh", "-c", 'cat >"$1"', "sh", tmp_path / "got")
    assert (done.returncode, (tmp_path / "got").read_text()) == (0, "data\nlogs\n"), done
    client = f"{bench.tool.client} --user=root -N -B -e"
    assert bench.called() == [
        f"{client} SET GLOBAL wsrep_desync = ON",
        f"{client} SHOW MASTER STATUS",
        f"{bench.tool.name} --backup --user=root --stream={bench.tool.stream} --galera-info --target-dir=/run/tmp",
        f"{client} FLUSH LOCAL BINARY LOGS",
        f"{client} SHOW BINARY LOGS",
        f"{client} SELECT @@log_bin_basename",
        f"{bench.tool.stream} -c binlogs.d/*",
    ]
    bench.log.write_text("")
    assert bench.run(_AFTER_TAKE, run).returncode == 0
    assert bench.called()[-1] == f"{bench.tool.client} --user=root -e SET GLOBAL wsrep_desync = OFF"


def test_a_backup_is_proved(product: str, tmp_path: Path) -> None:
    """By the release that took it, or not at all; the manifest is made of what the tool wrote beside the data."""
    bench = Bench(tmp_path, product)
    data = tmp_path / "home" / "data"
    data.mkdir(parents=True)
    files = {
        "checkpoints": "backup_type = full-backuped\nfrom_lsn = 0\nto_lsn = 18003243\nlast_lsn = 18003243\n",
        "galera_info": f"{uuid('A')}:23\n",
        "binlog_info": f"bin.000002\t157\t{uuid('B')}:1-5\n",
        "info": f"tool_name = {bench.tool.name}\ntool_version = {RELEASES[product]}\nserver_version = {RELEASES[product]}\n",
    }
    for name, text in files.items():
        (data / f"xtrabackup_{name}").write_text(text)
    done = bench.run(_PROVE, tmp_path / "home")
    assert done.returncode == 0, done
    assert bench.called()[-1] == f"{bench.tool.name} --prepare --target-dir=data"
    choice = Choice("db3", "db3", None, "x-full", NOW, desync=True, logs="", needed=1, reasons=(), product=product)
    made = described(bench.run(_TOLD, tmp_path / "home").stdout, choice, cluster="t", life="")
    assert (made.uuid, made.seqno, made.server, made.to_lsn) == (uuid("A"), 23, RELEASES[product], 18003243)
    assert (made.binlog, made.offset) == ("bin.000002", 157)
    (tmp_path / "version").write_text("based on something server 9.9.9")
    refused = bench.run(_PROVE, tmp_path / "home")
    assert refused.returncode != 0
    assert f"it was taken by {bench.tool.name} {RELEASES[product].rpartition('.')[0]}, 9.9 is here" in refused.stderr


def test_what_a_copy_takes(product: str, tmp_path: Path) -> None:
    """Without redo log, temporary files and binary logs, which are counted each by itself."""
    data = tmp_path / "data"
    (data / "#innodb_redo").mkdir(parents=True)
    for name in ("#innodb_redo/ib_redo7", "ib_logfile0", "galera.cache", "binlog.000001", "mysql-bin.000001"):
        (data / name).write_bytes(b"x" * MIB)
    size, login, logs = sizes(Bench(tmp_path, product).run(_SIZE, data).stdout)
    assert size < MIB
    assert login
    assert logs == (("bin.000001", 10), ("bin.000002", 157))


def test_full_ones_of_percona() -> None:
    """An increment would need a base that was not prepared, and so not proved: a full one is taken, and why is said."""
    sight = Sight(data=MIB, life="boot:7", product="percona")
    choice = choose(seen(db1=sight, db2=sight, db3=sight), incremental=True)
    assert (choice.base, choice.product) == (None, "percona")
    assert "Not an increment: xtrabackup continues only" in choice.reasons[-1]
    assert {PRODUCTS["percona", family].backup for family in ("debian", "redhat")} == {"percona-xtrabackup-80"}
