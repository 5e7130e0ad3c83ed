"""Chains over several domains: what a site needs together, in one run with one report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.chain import Chain
from nornir_stack.tasks.cluster.form import form
from nornir_stack.tasks.loadbalancer.deploy import deploy as loadbalancer
from nornir_stack.tasks.web.deploy import deploy as web

if TYPE_CHECKING:
    from collections.abc import Sequence


def database_site(*, missing: Sequence[str] = ()) -> Chain:
    """A Galera cluster, the load balancer before it, and the page that shows which member answered.

    missing: members that are lost; without them the cluster is formed.
    """
    return Chain("site.database", form(missing=missing), loadbalancer(), web())
