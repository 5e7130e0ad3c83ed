"""What every member needs before anything starts: packages whose server never ran, configuration, an empty data folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster import dangers, mycnf
from nornir_stack.tasks.cluster.observe import member_of
from nornir_stack.tasks.cluster.product import members
from nornir_stack.tasks.cluster.settings import Galera
from nornir_stack.tasks.cluster.source import source
from nornir_stack.tasks.system.facts import facts
from nornir_stack.tasks.system.firewall import firewall
from nornir_stack.tasks.system.mounts import requires_mount
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import service
from nornir_stack.tasks.system.unattended import hands_off

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result


def secrets(task: Task) -> Result[None]:
    """Every secret of the member's settings can be had: told before anything is touched, not when a cluster half stands.

    Raises SecretError, which names the reference.
    """
    node = Node(task)
    galera = settings_of(node.host, Galera)
    for secret in (galera.root_password, galera.sst_password, *(user.password for user in galera.users)):
        if secret is not None:
            secret.reveal()
    return node.done()


def install(task: Task) -> Result[Mapping[str, str]]:
    """The database's packages, without its server ever starting, and kept from unattended upgrades. The value: versions."""
    node = Node(task)
    galera, product = member_of(node)
    hands_off(task)
    if galera.release and galera.release.repository:
        source(task)
    if galera.data_mount:
        requires_mount(task, unit=product.unit, path=galera.data_mount)
    wanted = (*product.packages, *((product.backup,) if galera.sst_method != "rsync" else ()))
    versions = packages(task, present=wanted, no_start=True)
    return node.done(lambda: versions.value)


def open_ports(task: Task) -> Result[None]:
    """Galera's ports open for the members, where a firewall is: 873, 3306, 4444, 4567 tcp and udp, 4568."""
    node = Node(task)
    galera, _ = member_of(node)
    others = list(members(task.nornir.inventory, galera.cluster_name).values())
    opened = firewall(task, purpose="galera", ports=["galera"], sources=others)
    return node.skipped(opened.skipped) if opened.skipped else node.done()


def configure(task: Task) -> Result[tuple[str, ...]]:
    """The member's configuration file and its data folder. The value: what an operator should know about the settings.

    A member that runs goes on with what it read at its start: galera.roll restarts members one by one.
    """
    node = Node(task)
    galera, product = member_of(node)
    known = facts(task).value
    text = mycnf.rendered(
        galera,
        product,
        name=node.name,
        members=list(members(task.nornir.inventory, galera.cluster_name).values()),
        memory=known.memory,
        cpus=known.cpus,
    )
    node.make_folder(product.config.rpartition("/")[0])
    secret = galera.sst_method != "rsync"
    node.write_file(product.config, text, mode="0640" if secret else "0644", owner="root:mysql" if secret else "root:root")
    folder = node.stat(galera.datadir, independent=True)
    if folder is None or folder.owner != "mysql":  # one that a server has stays: clients may look for its socket in there
        node.make_folder(galera.datadir, mode="0750", owner="mysql:mysql")
    found = dangers.warnings(
        galera.extra, flush_log_at_trx_commit=galera.innodb_flush_log_at_trx_commit, sst_method=galera.sst_method
    )
    return node.done(tuple(found))


def enable(task: Task) -> Result[None]:
    """The server starts at boot, now that it has a cluster to join."""
    node = Node(task)
    _, product = member_of(node)
    service(task, unit=product.unit, enabled=True)
    return node.done()
