"""One look at a member: everything but SQL in one round trip, SQL only where a server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import DatabaseFailed
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster import probe
from nornir_stack.tasks.cluster.member import recovered
from nornir_stack.tasks.cluster.product import PRODUCTS, Product
from nornir_stack.tasks.cluster.settings import Galera
from nornir_stack.tasks.system.facts import facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.member import Member

_VARIABLES = (
    "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'innodb_flush_log_at_trx_commit', 'wsrep_on', "
    "'wsrep_provider', 'wsrep_node_name', 'wsrep_node_address', 'wsrep_cluster_name', 'wsrep_cluster_address')"
)
_RECOVERED = "galera.recovered"


def observe_member(task: Task) -> Result[Member]:
    """What the member of this host is and does now; changes nothing. In a dry run after a change: not known."""
    node = Node(task)
    return node.done(look(node))


def look(node: Node) -> Member:
    """The member as it is now, for tasks that decide by it."""
    galera, product = member_of(node)
    words = probe.arguments(
        galera.datadir, product.unit, bootstrap_unit=product.bootstrap_unit, mount=galera.data_mount or ""
    )
    seen = probe.parse(node.read(sh(probe.SCRIPT, *words, label="look at the member")).out)
    status, variables = _asked(node) if seen.processes else (None, None)
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
# comes back without it finds it again.


def remember_recovered(node: Node, printed: str) -> None:
    """Keep what `--wsrep-recover` printed, for later looks."""
    node.connection.facts[_RECOVERED] = printed


def forget_recovered(node: Node) -> None:
    """What was recovered is given up."""
    node.connection.facts.pop(_RECOVERED, None)


def _with_recovered(node: Node, member: Member) -> Member:
    if member.running:
        forget_recovered(node)
    printed = node.connection.facts.get(_RECOVERED)
    return recovered(member, printed) if isinstance(printed, str) else member
