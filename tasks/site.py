"""Chains over several domains: what a site needs together, in one run with one report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Stage
from nornir_stack.node import Node
from nornir_stack.select import role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.form import form
from nornir_stack.tasks.cluster.judge import state_of
from nornir_stack.tasks.cluster.observe import look
from nornir_stack.tasks.loadbalancer.deploy import deploy as loadbalancer
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.loadbalancer.through import members_through
from nornir_stack.tasks.web.deploy import deploy as web
from nornir_stack.tasks.web.page import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result

DB, LOADBALANCER, WEB = role("db"), role("loadbalancer"), role("web")


def database_site(*, missing: Sequence[str] = ()) -> Chain:
    """A Galera cluster, the load balancer before it, and the page that shows which member answered.

    missing: members that are lost; without them the cluster is formed.
    """
    return Chain(
        "site.database", form(missing=missing), loadbalancer(), web(), Stage("standing", [standing], DB | LOADBALANCER | WEB)
    )


def standing(task: Task) -> Result[str]:
    """Observe what a host of the site does now, in a few words: a member's state, who answers through a balancer, on a page."""
    node = Node(task)
    host = task.host
    if host.has_parent_group("db"):
        now = look(node)
        size = now.wsrep.size if now.wsrep else 0
        text = f"{now.wsrep.comment}, size {size}" if now.wsrep and now.synced else state_of(host.name, now)
    elif host.has_parent_group("loadbalancer"):
        turns = [members_through(task, listener=name).value for name in settings_of(host, LoadBalancer).listeners]
        text = "; ".join(f"{turn.listener}: {_who(turn.answered)}" for turn in turns)
    else:
        text = f"page: {_who([view.member for view in page(task).value])}"
    return node.done(text)


def _who(answered: Sequence[str]) -> str:
    """Those who answered, each once."""
    names = sorted(set(filter(None, answered)))
    return f"{', '.join(names)} answered" if names else "nobody answered"
