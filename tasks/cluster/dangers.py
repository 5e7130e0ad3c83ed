"""Settings of a database server that are known to hurt, and what to say of them. Pure.

Tried on MariaDB 10.11.19: options that it removed are warned about and do nothing there; MySQL 8 and Percona XtraDB
Cluster 8 do not start with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# These would make the file contradict itself, or the cluster unsafe: they have a setting of their own or no use at all.
REFUSED: Mapping[str, str] = {
    "innodb_locks_unsafe_for_binlog": (
        "was removed: MariaDB since 10.5 ignores it, MySQL 8 and Percona 8 do not start with it; "
        "use transaction_isolation = READ-COMMITTED where gap locks hurt"
    ),
    "innodb_log_files_in_group": "was removed: there is one redo log since MariaDB 10.5; set log_file_size instead",
    "wsrep_cluster_address": "is made from the members in the inventory: an empty gcomm:// starts a second cluster",
    "wsrep_new_cluster": "starts a second cluster at every restart: galera.form bootstraps, once",
    "wsrep_on": "is always on in a member",
    "wsrep_provider_options": "is made from gcache_size and tls, and the members' addresses",
    "wsrep_sst_auth": "is made from sst_user, so that its password is a secret",
    "binlog_format": "must be ROW: Galera replicates row events only",
    "innodb_autoinc_lock_mode": "must be 2: parallel appliers deadlock with other modes",
    "default_storage_engine": "must be InnoDB: Galera replicates no other",
    "datadir": "is `datadir` of the settings",
    "wsrep_node_name": "is the host's name",
    "wsrep_node_address": "is `address` of the settings",
    "wsrep_cluster_name": "is `cluster_name` of the settings",
}

WARNED: Mapping[str, str] = {
    "innodb_doublewrite": "switched off, a torn page after a power cut makes this member's data useless",
    "sync_binlog": "above 0 costs a disk flush a commit, and Galera does not need it for its own safety",
    "wsrep_osu_method": "RSU lets members differ while a schema change runs; TOI is the safe default",
    "query_cache_type": "the query cache is not consistent over members",
    "wsrep_sync_wait": "makes every read wait for the cluster: better set by the session that needs it",
    "pxc_strict_mode": "below ENFORCING lets through tables that cannot be replicated",
}


def refusals(extra: Mapping[str, object]) -> list[str]:
    """Why some of these settings cannot be taken, as sentences."""
    return [f"galera.extra.{name}: {name} {REFUSED[_known(name)]}" for name in extra if _known(name) in REFUSED]


def warnings(extra: Mapping[str, object], *, flush_log_at_trx_commit: int, sst_method: str) -> list[str]:
    """What an operator should know about the settings chosen, as sentences."""
    found = [f"{name}: {WARNED[_known(name)]}" for name in extra if _known(name) in WARNED]
    if flush_log_at_trx_commit != 1:
        found.append(
            f"innodb_flush_log_at_trx_commit = {flush_log_at_trx_commit}: if all members lose power at once, the last "
            "second of acknowledged commits is lost; one member that crashes gets it back from the others"
        )
    if sst_method == "rsync":
        found.append("wsrep_sst_method = rsync: the donor is read-only while a joiner copies; mariabackup is not")
    return found


def _known(name: str) -> str:
    return name.lower().replace("-", "_").removeprefix("loose_")
