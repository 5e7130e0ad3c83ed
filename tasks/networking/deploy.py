"""The network of all nodes from one declaration: names, links, addresses, routes and rules."""

from __future__ import annotations

from nornir_stack.chain import Chain, Stage
from nornir_stack.select import Selector
from nornir_stack.tasks.networking.links import links
from nornir_stack.tasks.system.names import hosts_file

# devices with a prompt and APIs have no files of ours
_NODES = Selector("nodes", lambda host: host.get("connection") not in {"netmiko", "openstack"})


def deploy() -> Chain:
    """Every node has the names of the inventory, and its links, routes and rules as `network` declares them.

    One node first, then the rest: each undoes its change by itself where it cuts it off, and the chain ends there.
    """
    return Chain(
        "network.deploy",
        Stage("names", [hosts_file], _NODES),
        Stage("links", [links], _NODES, serial=[1, "100%"]),
    )
