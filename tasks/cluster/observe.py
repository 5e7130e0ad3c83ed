"""One look at a member: everything but SQL in one round trip, SQL only where a server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import DatabaseFailed, Refused
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster import probe
from nornir_stack.tasks.cluster.member import ZERO_UUID, recovered
from nornir_stack.tasks.cluster.product import PRODUCTS, Product
from nornir_stack.tasks.cluster.settings import Galera
from nornir_stack.tasks.system.facts import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.member import Member

_VARIABLES = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'datadir', 'innodb_flush_log_at_trx_commit', 'wsrep_on', "
    "'wsrep_provider', 'wsrep_provider_pc_bootstrap', 'wsrep_node_name', 'wsrep_node_address', "
    "'wsrep_cluster_name', 'wsrep_cluster_address')"
)
_RECOVERED = "galera.recovered"


def observe_member(task: Task) -> Result[Member]:
    """What the member of this host is and does now; changes nothing. In a dry run after a change: not known."""
    node = Node(task)
    return node.done(look(node))


def look(node: Node) -> Member:
    """The member as it is now, for tasks that decide by it.

    Raises Refused where the server of a cluster runs on another data folder than the inventory says: then files were looked
    at that are not its own.
    """
    return look_at(node, member_of(node)[0].datadir)


def look_at(node: Node, datadir: str) -> Member:
    """The member as it is now, with its data in `datadir`."""
    galera, product = member_of(node)
    words = probe.arguments(datadir, product.unit, bootstrap_unit=product.bootstrap_unit, mount=galera.data_mount or "")
    seen = probe.parse(node.read(sh(probe.SCRIPT, *words, label="look at the member")).out)
    status, variables = _asked(node) if seen.processes else (None, None)
    runs = (variables or {}).get("datadir", datadir)
    if runs.rstrip("/") != datadir.rstrip("/") and (status or {}).get("wsrep_cluster_state_uuid", ZERO_UUID) != ZERO_UUID:
        raise Refused(f"its server has its data in {runs}, and the inventory says {datadir}: set galera.datadir to that")
    member = probe.member(seen, status, variables, unit=product.unit, bootstrap_unit=product.bootstrap_unit)
    return _with_recovered(node, member)


def member_of(node: Node) -> tuple[Galera, Product]:
    """The member's settings, and how its product is laid out on this node."""
    galera = settings_of(node.host, Galera)
    return galera, PRODUCTS[galera.product, facts(node.task).value.family]


def _asked(node: Node) -> tuple[Mapping[str, str] | None, Mapping[str, str] | None]:
    sql = Sql(node)
    try:
        return sql.pairs("SHOW GLOBAL STATUS LIKE 'wsrep%'"), sql.pairs(_VARIABLES)
    except DatabaseFailed:
        return None, None  # no server answers, or it is just starting or stopping: the member says so itself


# What --wsrep-recover found is kept beside the connection: it is true until the server runs again, and a controller that
# comes back without it finds it again. Connections outlive runs (a notebook), so whether it ran since is looked at.


def remember_recovered(node: Node, now: Member, printed: str) -> None:
    """Keep what `--wsrep-recover` printed of a member that is as `now`, for later looks."""
    node.connection.facts[_RECOVERED] = printed, now.starts


def forget_recovered(node: Node) -> None:
    """What was recovered is given up."""
    node.connection.facts.pop(_RECOVERED, None)


def _with_recovered(node: Node, member: Member) -> Member:
    kept = node.connection.facts.get(_RECOVERED)
    if not isinstance(kept, tuple):
        return member
    printed, starts = kept
    since = member.starts != starts or (member.grastate is not None and member.grastate.position.known)
    if member.running or since:
        forget_recovered(node)
        return member
    return recovered(member, printed)
