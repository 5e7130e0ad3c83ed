"""`galera.adopt`: a cluster that somebody formed by hand comes under the inventory, without a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Plan, Stage
from nornir_stack.command import sh
from nornir_stack.errors import DatabaseFailed, Refused
from nornir_stack.node import Node
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster import mycnf, prepare, probe
from nornir_stack.tasks.cluster.certificates import encrypts
from nornir_stack.tasks.cluster.database import databases, read_probe, transfer_user, write_probe
from nornir_stack.tasks.cluster.observe import look_at, member_of, observe_member
from nornir_stack.tasks.cluster.product import DB, members
from nornir_stack.tasks.cluster.stance import Stance, options, overruled, reasons, refusals
from nornir_stack.tasks.cluster.steps import complete, on_one_member
from nornir_stack.tasks.system.facts import facts
from nornir_stack.tasks.system.names import hosts_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.product import Product
    from nornir_stack.tasks.cluster.settings import Galera

_DENIED = (1045, 1698)  # ER_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR
# The password of state transfers stands in [sst] of our file, but somebody's own may have it among the server's options.
_NEXT_START = "my_print_defaults --mysqld | grep -v -i '^--wsrep.sst.auth'"


def adopt() -> Chain:
    """Bring a cluster that runs, and that was formed by hand, under the inventory; nobody is restarted.

    Every member is looked at, and what differs is told in the inventory's terms. What makes it another cluster (another data
    folder, name, address or encryption) is refused: then the inventory is what has to be mended. What needs no restart is
    done: names, ports, packages kept from unattended upgrades, the configuration file, users. What is read at a restart only
    is listed, and galera.roll does it. `check galera.adopt` shows everything and changes nothing.
    """
    return Chain("galera.adopt", Plan("look", stance, adopting, DB))


def stance(task: Task) -> Result[Stance]:
    """Observe a member as it runs, beside what the inventory wants. Raises Refused where root is not let in."""
    node = Node(task)
    galera, product = member_of(node)
    try:
        runs = {name.lower(): value for name, value in Sql(node).pairs("SHOW GLOBAL VARIABLES").items()}
    except DatabaseFailed as error:
        if error.code not in _DENIED:
            raise Refused(f"{node.name}: its server answers no SQL ({error}): only a cluster that runs is adopted") from None
        raise Refused(
            f"{node.name}: root is not let in by the socket: ALTER USER root@localhost IDENTIFIED VIA unix_socket OR ... there,"
            " or give username and password in the connection options of `mysql`"
        ) from None
    where = runs.get("datadir", galera.datadir).rstrip("/")
    words = probe.arguments(where, product.unit)
    seen = probe.parse(node.read(sh(probe.SCRIPT, *words, label="look at the member's settings")).out)
    return node.done(
        Stance(
            member=look_at(node, where),
            runs=runs,
            wanted=options(rendered(task, galera, product)),
            says=probe.configured(seen),
            ours=product.config,
            encrypts=encrypts(runs.get("wsrep_provider_options", "")),
            tls=galera.tls is not None,
        )
    )


def rendered(task: Task, galera: Galera, product: Product) -> str:
    """The member's configuration file, as the inventory wants it."""
    known = facts(task).value
    return mycnf.rendered(
        galera,
        product,
        name=task.host.name,
        members=list(members(task.nornir.inventory, galera.cluster_name).values()),
        memory=known.memory,
        cpus=known.cpus,
    )


def adopting(seen: Seen[Stance]) -> Chain:
    """The chain for what was seen. Raises Refused for a cluster that is not well, or not the one of the inventory."""
    if problems := refusals(seen):
        raise Refused("Not adopted:\n" + "\n".join(problems))
    return Chain(
        "adopt",
        Stage("prepare", [prepare.secrets, hosts_file, prepare.install, prepare.open_ports, take_over, prepare.enable], DB),
        Plan("databases", observe_member, _databases, DB),
        Stage("verify", [read_probe], DB, until=complete()),
        reasons=reasons(seen) or ["The members run as the inventory says."],
    )


def _databases(seen: Seen[object]) -> Chain:
    return on_one_member(seen, tasks=(transfer_user, databases, write_probe), name="databases")  # type: ignore[arg-type]


def take_over(task: Task) -> Result[Mapping[str, str]]:
    """Write the member's configuration file, and see that the server would read it at its next start as it stands.

    Where another file overrules it, or it is not read at all, it is put back as it was: a member between two configurations
    may come up as something else. Raises Refused then, and where an earlier run wrote it and was cut before it saw that. The
    value: nothing, or in a dry run what is not known.
    """
    node = Node(task)
    galera, product = member_of(node)
    before = node.read_file(product.config)
    prepare.configure(task)
    written = bool(node.gate.effects)
    if written and node.dry_run:
        return node.done({})
    wanted = options(rendered(task, galera, product))
    lost = overruled(wanted, node.read(sh(_NEXT_START, label="what the server reads at its next start")).lines)
    if lost:
        if written and before is None:
            node.remove_file(product.config)
        elif written and before is not None:
            node.write_file(product.config, before)
        shown = ", ".join(f"{name} = {value}" for name, value in list(lost.items())[:5])
        raise Refused(
            f"{node.name}: at its next start the server would not read {product.config} as it stands, but {shown}: another file"
            " is read after it (/etc/mysql/my.cnf after its !includedir, a name that sorts later), or its folder is not read."
            f" Mend that, then run this again.{' It was put back as it was.' if written else ''}"
        )
    return node.done(lost)
