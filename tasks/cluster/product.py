"""The one table of differences between database products, by the node's family; and a cluster's members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.select import role, whole
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.settings import Galera

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.inventory import Host, Inventory

DB = role("db")


@dataclass(frozen=True)
class Product:
    """How a database product is called and laid out on a family of systems. `threads`: its name of the applier threads."""

    packages: tuple[str, ...]
    unit: str
    config: str
    provider: str
    threads: str
    bootstrap: tuple[str, ...]
    bootstrap_unit: str = ""
    backup: str = "mariadb-backup"


@dataclass(frozen=True)
class Tool:
    """What takes backups of a product, and what goes with it: its program, the client, the stream's program.

    `increments`: on a base that is prepared already. xtrabackup wants --apply-log-only for a base (Percona's manual, "Prepare
    an incremental backup"), and such a one is not proved.
    """

    name: str
    client: str
    stream: str
    increments: bool

    @property
    def words(self) -> str:
        """A line of sh, for the beginning of a script: its `$tool`, `$client` and `$stream`."""
        return f"tool={self.name} client={self.client} stream={self.stream}\n"


TOOLS: Mapping[str, Tool] = {
    "mariadb": Tool("mariadb-backup", "mariadb", "mbstream", increments=True),
    "percona": Tool("xtrabackup", "mysql", "xbstream", increments=False),
}
_CONFIG_NAME = "zz-nornir-stack-galera.cnf"  # read last, so that it wins over the package's own files
PRODUCTS: Mapping[tuple[str, str], Product] = {
    ("mariadb", "debian"): Product(
        ("mariadb-server", "galera-4", "rsync", "socat"),
        "mariadb.service",
        f"/etc/mysql/mariadb.conf.d/{_CONFIG_NAME}",
        "/usr/lib/galera/libgalera_smm.so",
        "wsrep_slave_threads",
        ("galera_new_cluster",),
    ),
    ("mariadb", "redhat"): Product(
        ("MariaDB-server", "galera-4", "rsync", "socat"),
        "mariadb.service",
        f"/etc/my.cnf.d/{_CONFIG_NAME}",
        "/usr/lib64/galera-4/libgalera_smm.so",
        "wsrep_slave_threads",
        ("galera_new_cluster",),
        backup="MariaDB-backup",
    ),
    ("percona", "debian"): Product(
        ("percona-xtradb-cluster", "socat"),
        "mysql.service",
        f"/etc/mysql/mysql.conf.d/{_CONFIG_NAME}",
        "/usr/lib/galera4/libgalera_smm.so",
        "wsrep_applier_threads",
        ("systemctl", "start", "mysql@bootstrap.service"),
        "mysql@bootstrap.service",
        backup="percona-xtrabackup-80",
    ),
    ("percona", "redhat"): Product(
        ("percona-xtradb-cluster", "socat"),
        "mysqld.service",
        f"/etc/percona-xtradb-cluster.conf.d/{_CONFIG_NAME}",
        "/usr/lib64/galera4/libgalera_smm.so",
        "wsrep_applier_threads",
        ("systemctl", "start", "mysql@bootstrap.service"),
        "mysql@bootstrap.service",
        backup="percona-xtrabackup-80",
    ),
}


def product_of(inventory: Inventory) -> str:
    """The product of the declared members; MariaDB where there are none."""
    names = DB.hosts(whole(inventory))
    return _galera(inventory.hosts[names[0]]).product if names else "mariadb"


def members(inventory: Inventory, cluster_name: str) -> dict[str, str]:
    """The declared members of a cluster, host to its own address, in declared order. Raises UsageError for a filtered copy."""
    whole(inventory)
    mine = {name: _galera(inventory.hosts[name]) for name in DB.hosts(inventory)}
    return {name: str(galera.address) for name, galera in mine.items() if galera.cluster_name == cluster_name}


def _galera(host: Host) -> Galera:
    return settings_of(host, Galera)
