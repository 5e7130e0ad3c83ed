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


def members(inventory: Inventory, cluster_name: str) -> dict[str, str]:
    """The declared members of a cluster, host to its own address, in declared order. Raises UsageError for a filtered copy."""
    whole(inventory)
    mine = {name: _galera(inventory.hosts[name]) for name in DB.hosts(inventory)}
    return {name: str(galera.address) for name, galera in mine.items() if galera.cluster_name == cluster_name}


def _galera(host: Host) -> Galera:
    return settings_of(host, Galera)
