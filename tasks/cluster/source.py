"""Where a member's packages come from, if the inventory names a repository for its release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.settings import Galera
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import LOCK_SECONDS, MANAGERS
from nornir_stack.tasks.system.repositories import repository
from nornir_stack.tasks.system.transaction import Work

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

LABEL = "nornir-stack-mariadb"


def source(task: Task) -> Result[None]:
    """The repository of `galera.release` among the node's, if the inventory names one, and fresh lists of packages."""
    node = Node(task)
    release = settings_of(node.host, Galera).release
    if release is not None and (wanted := release.repository):
        repository(
            task,
            label=LABEL,
            uri=wanted.uri,
            key=wanted.key,
            suite=wanted.suite,
            components=wanted.components,
            preferred=True,
        )
    manager = MANAGERS[family(node).manager]
    forecast = manager.forecast(Work(install=("mariadb-server",)))
    if node.gate.effects or (forecast and manager.parse_forecast(node.read(forecast).stdout).stale):
        node.change(manager.refresh(LOCK_SECONDS), what="fetch the lists of packages", repeatable=True)
    return node.done()


def source_there(node: Node, galera: Galera) -> bool:
    """Whether the node has the repository that the inventory names, if it names one; as it is, in a dry run too."""
    if galera.release is None or galera.release.repository is None:
        return True
    kind = family(node)
    ending = "sources" if kind.manager == "apt" else "repo"
    path = f"{kind.path('repositories')}/{LABEL}.{ending}"
    return node.read("grep", "-qsF", galera.release.repository.uri, path, ok=None).ok
