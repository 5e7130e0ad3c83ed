"""A member's configuration file, from its settings. Pure."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from nornir_stack.errors import UsageError
from nornir_stack.tasks.cluster import dangers
from nornir_stack.tasks.system.templates import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.tasks.cluster.product import Product
    from nornir_stack.tasks.cluster.settings import Galera

_MIB = 1 << 20
_MOST_THREADS = 16
_SECONDS_A_DAY = 86_400


def buffer_pool(memory: int) -> int:
    """Bytes for InnoDB's buffer pool on a node of `memory` bytes that serves the database alone.

    Half of what is left beside 512 MiB for the system up to 4 GiB of memory, then 70 %; a multiple of 128 MiB, at least one
    (InnoDB resizes in such chunks: innodb_buffer_pool_chunk_size).
    """
    left = max(memory - 512 * _MIB, 0)
    share = left // 2 if memory < 4096 * _MIB else left * 7 // 10
    return max(share // (128 * _MIB), 1) * 128 * _MIB


def applier_threads(cpus: int) -> int:
    """Twice the processors, at most 16: more only wait for each other (Galera manual, "wsrep_slave_threads")."""
    return max(1, min(2 * cpus, _MOST_THREADS))


def rendered(galera: Galera, product: Product, *, name: str, members: Sequence[str], memory: int, cpus: int) -> str:
    """The file for the member `name`. `members`: addresses in declared order; `memory` in bytes.

    Raises UsageError for settings that cannot be taken, all of them at once.
    """
    if refused := dangers.refusals(galera.extra):
        raise UsageError("\n".join(refused))
    expire = galera.binlog_expire_days
    seconds = f"{'binlog_expire_logs_seconds':<30} = {expire * _SECONDS_A_DAY}"
    password = galera.sst_password.reveal() if galera.sst_method != "rsync" and galera.sst_password else ""
    values = {
        "product": galera.product,
        "datadir": galera.datadir,
        "bind_address": f"127.0.0.1,{galera.address}",
        "max_connections": galera.max_connections,
        "innodb_flush_log_at_trx_commit": galera.innodb_flush_log_at_trx_commit,
        "innodb_flush_method": galera.flush_method,
        "innodb_buffer_pool_size": int(buffer_pool(memory) if galera.buffer_pool == "auto" else galera.buffer_pool),
        "innodb_log_file_size": int(galera.log_file_size),
        "binlog_expire": seconds,
        "wsrep_provider": product.provider,
        "wsrep_cluster_name": f'"{galera.cluster_name}"' if " " in galera.cluster_name else galera.cluster_name,
        "members": list(members),
        "wsrep_node_name": name,
        "wsrep_node_address": str(galera.address),
        "threads_name": product.threads,
        "threads": applier_threads(cpus) if galera.slave_threads == "auto" else galera.slave_threads,
        "wsrep_sst_method": galera.sst_method,
        "provider_options": provider_options(galera),
        "ssl": None if galera.tls is None else {"ca": galera.tls.ca, "cert": galera.tls.cert, "key": galera.tls.private_key},
        "extra": sorted(galera.extra.items()),
        "sst_auth": f"{galera.sst_user}:{password}" if password else "",
    }
    text = files("nornir_stack.tasks.cluster").joinpath("templates/galera.cnf.j2").read_text()
    return render("galera.cnf.j2", text, values)


def provider_options(galera: Galera) -> list[str]:
    """`wsrep_provider_options`, one by one. With tls the members encrypt what they send each other (socket.ssl_*)."""
    options = [f"gcache.size={int(galera.gcache_size)}"]
    if galera.tls is not None:
        options += [
            f"socket.ssl_ca={galera.tls.ca}",
            f"socket.ssl_cert={galera.tls.cert}",
            f"socket.ssl_key={galera.tls.private_key}",
        ]
    return options
