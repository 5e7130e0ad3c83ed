"""Three Galera members in one emulated machine whose power is cut: what they acknowledged is counted outside of it.

QEMU is killed. Its disk has cache=writeback: what the guest wrote to its disk is in the image (this machine's page cache
survives), what was only in the guest's memory, its page cache and the servers' own buffers, is gone. So a commit is lost
exactly if nothing made the guest write it. A disk that loses what it has taken and not flushed is not shown.
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from nornir_stack.lab import guest, trees, vm
from nornir_stack.lab.identity import key_pair
from nornir_stack.size import Size
from nornir_stack.tasks.cluster import mycnf
from nornir_stack.tasks.cluster.product import PRODUCTS
from nornir_stack.tasks.cluster.settings import Galera

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

PACKAGES = ("galera-4", "mariadb-server", "rsync", "socat")
FREE_MIB = 2048
MEMORY_MIB = 1536
LOAD_SECONDS, LOOK_SECONDS = 1200.0, 1200.0
# One script is both halves: `prepare` runs in the tree on this machine, the others are the machine's first and only process.
SCRIPT = r"""#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
serve() {  # number, then more words
    n=$1; shift
    exec runuser -u mysql -- mariadbd --datadir=/srv/m$n --socket=/run/mysqld/m$n --pid-file=/run/mysqld/m$n.pid --port=330$n \
        --bind-address=127.0.0.1 --log-error=/srv/m$n/log.err --wsrep-node-name=m$n --wsrep-node-address=127.0.0.1:45${n}7 \
        --wsrep-provider-options="gcache.size=16M;base_port=45${n}7;gmcast.listen_addr=tcp://127.0.0.1:45${n}7" "$@"
}
ask() { n=$1; shift; mariadb -N -u root -S /run/mysqld/m$n "$@" 2>/dev/null; }
until_synced() {
    until [ "$(ask $1 -e "SHOW STATUS LIKE 'wsrep_local_state_comment'" | cut -f2)" = Synced ]; do sleep 0.2; done
}
three() {  # more words for the servers
    serve 1 --wsrep-new-cluster "$@" & until_synced 1
    serve 2 "$@" & until_synced 2
    serve 3 "$@" & until_synced 3
}
begin() {
    mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp; chmod 1777 /tmp
    ip link set lo up
    mkdir -p /run/mysqld; chown mysql: /run/mysqld
}
prepare() {
    mkdir -p /run/mysqld; chown mysql: /run/mysqld; ip link set lo up
    mariadb-install-db --user=mysql --datadir=/srv/m1 --skip-test-db --auth-root-authentication-method=socket >/dev/null || exit
    serve 1 --wsrep-new-cluster & until_synced 1
    ask 1 -e 'CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY)' || exit
    mariadb-admin -S /run/mysqld/m1 shutdown; wait
    sed -i 's/^safe_to_bootstrap:.*/safe_to_bootstrap: 1/' /srv/m1/grastate.dat
    mkdir /srv/new; mv /srv/m1 /srv/new/m1; rm -f /srv/new/m1/log.err
}
load() {
    rm -rf /srv/m[123]; for n in 1 2 3; do cp -a /srv/new/m1 /srv/m$n; done; sync
    three --innodb-flush-log-at-trx-commit=$1
    echo "says $(ask 1 -e "SELECT CONCAT_WS(' ', @@innodb_flush_log_at_trx_commit, @@sync_binlog, VERSION())")"
    echo "size $(ask 1 -e "SHOW STATUS LIKE 'wsrep_cluster_size'" | cut -f2)"
    i=0
    while :; do i=$((i + 1)); echo "INSERT INTO d.t VALUES ($i); SELECT $i;"; done | ask 1 -n --unbuffered | sed -u 's/^/ack /'
    grep ERROR /srv/m1/log.err
}
look() {
    for n in 1 2 3; do
        runuser -u mysql -- mariadbd --datadir=/srv/m$n --wsrep-recover --log-error=/srv/m$n/rec.log \
            --pid-file=/run/mysqld/rec.pid --skip-networking
        echo "position $n $(sed -n 's/.*Recovered position: *//p' /srv/m$n/rec.log | tail -n 1)"
        serve $n --wsrep-on=OFF --wsrep-provider=none &
        until ask $n -e 'SELECT 1' >/dev/null; do sleep 0.2; done
        echo "rows $n $(ask $n -e 'SELECT COUNT(*), COALESCE(MAX(i), 0) FROM d.t')"
        mariadb-admin -S /run/mysqld/m$n shutdown; wait
    done
    echo "end of look"
}
case $1 in
prepare) prepare;;
*)
    begin
    set -- $(sed -n 's/.*measure=\([^ ]*\).*/\1/p' /proc/cmdline | tr : ' ')
    "$@"
    sync; echo o >/proc/sysrq-trigger; sleep 60
esac
"""


@dataclass(frozen=True)
class Loss:
    """What one power cut did. `flush`: innodb_flush_log_at_trx_commit; `rows`: what each member still has."""

    flush: int
    acknowledged: int
    per_second: float
    rows: tuple[int, ...]
    positions: tuple[str, ...]
    gaps: int
    """Rows that a member lacks although it has later ones."""

    @property
    def lost(self) -> int:
        """Acknowledged commits that no member has, so that no recovery could bring them back."""
        return max(self.acknowledged - max(self.rows), 0)

    @property
    def lost_by_each(self) -> tuple[int, ...]:
        return tuple(max(self.acknowledged - rows, 0) for rows in self.rows)


@dataclass
class Box:
    """The machine, in `folder`."""

    folder: Path
    tell: Callable[[str], None]
    machine: vm.Machine = field(init=False)

    def __post_init__(self) -> None:
        tree = guest.guest_tree("bookworm", PACKAGES, self.tell)
        authorized, host_key = key_pair(self.folder / "id_ed25519"), key_pair(self.folder / "host_key")
        disk = self.folder / "disk.img"
        with guest.overlaid(tree, self.folder / "overlay") as root:
            private = (self.folder / "host_key").read_text()
            guest.write_guest(root, "power", vm.ADDRESS, authorized=authorized, host_key=private)
            (root / "measure").write_text(SCRIPT)
            (root / "measure").chmod(0o755)
            config = root / PRODUCTS["mariadb", "debian"].config.lstrip("/")
            config.write_text(configuration())
            trees.in_tree(root, "unshare", "--net", "--pid", "--fork", "--kill-child", "/measure", "prepare")
            guest.write_disk(root, disk, free_mib=FREE_MIB)
        kernel = tree / "vmlinuz"
        self.machine = vm.Machine(
            kernel=kernel,
            initrd=tree / "initrd.img",
            disk=disk,
            console=self.folder / "console",
            identity=self.folder / "id_ed25519",
            host_key=host_key,
            accelerator="kvm" if vm.kvm_works(kernel) else "tcg",
            memory_mib=MEMORY_MIB,
            cache="writeback",
        )

    def cut(self, flush: int, commits: int, moment: float) -> Loss:
        """Cut the power `moment` seconds after so many commits were acknowledged, boot again, and see what is left."""
        wanted = replace(self.machine, words=f"init=/measure measure=load:{flush}", console=self.folder / "load")
        with wanted.started() as process:
            said_by(process, wanted.console, r"(?m)^ack 1\r?$", LOAD_SECONDS)
            began = time.monotonic()
            said_by(process, wanted.console, rf"(?m)^ack {commits}\r?$", LOAD_SECONDS)
            rate = commits / (time.monotonic() - began)
            threading.Event().wait(moment)
            process.kill()
            process.wait()
        said = wanted.console.read_text(errors="replace")
        assert f"says {flush} " in said, said
        assert re.search(r"^size 3\r?$", said, re.MULTILINE), said
        acked = max(int(number) for number in re.findall(r"^ack (\d+)\r?\n", said, re.MULTILINE))
        wanted = replace(self.machine, words="init=/measure measure=look", console=self.folder / "look")
        with wanted.started() as process:
            looked = said_by(process, wanted.console, "end of look", LOOK_SECONDS)
        rows = [(int(count), int(most)) for count, most in re.findall(r"rows \d (\d+)\s+(\d+)", looked)]
        positions = tuple(re.findall(r"position \d (\S+)", looked))
        return Loss(flush, acked, rate, tuple(count for count, _ in rows), positions, sum(most - count for count, most in rows))


def said_by(process: subprocess.Popen[bytes], console: Path, pattern: str, seconds: float) -> str:
    """The console's text, once it holds the pattern."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while True:
        text = console.read_text(errors="replace") if console.exists() else ""
        if re.search(pattern, text):
            return text
        assert process.poll() is None, f"the machine ended: {text[-2000:]}"
        assert time.monotonic() < end, f"waited {seconds} s for {pattern}: {text[-2000:]}"
        pause.wait(0.1)


def configuration() -> str:
    """The members' file, as the library writes it."""
    member = Galera(
        cluster_name="t", address=ip_address("127.0.0.1"), buffer_pool=Size(128 << 20), log_file_size=Size(16 << 20)
    )
    ends = [f"127.0.0.1:45{number}7" for number in (1, 2, 3)]
    return mycnf.rendered(member, PRODUCTS["mariadb", "debian"], name="m", members=ends, memory=MEMORY_MIB << 20, cpus=2)
