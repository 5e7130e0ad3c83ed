"""The virtual address on the one load balancer that has it; shared ones are keepalived's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer.config import template_text
from nornir_stack.tasks.loadbalancer.keepalived import retire
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.system.kernel import sysctl
from nornir_stack.tasks.system.services import service
from nornir_stack.tasks.system.templates import render

if TYPE_CHECKING:
    from nornir.core.inventory import Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result

UNIT = "nornir-stack-virtual-address.service"
_FILE = f"/etc/systemd/system/{UNIT}"

# Who has the address, whether the kernel would answer for one on the loopback, and whether another machine answers.
_LOOK = r"""
if ip -o address show to "$1" | grep -q .; then echo here; fi
cat /proc/sys/net/ipv4/conf/*/arp_ignore | sort -n | tail -n 1 | sed 's/^/arp_ignore /'
if ! ip -o address show to "$1" | grep -q . && command -v ping >/dev/null && ping -c 1 -W 1 "$1" >/dev/null 2>&1; then
    echo elsewhere
fi
"""


def virtual_address(task: Task) -> Result[str]:
    """Have the load balancer's virtual address on this node, now and after a boot; the value is the address.

    A unit of systemd puts it on the loopback interface, where nothing of the node's own network is touched; the kernel
    answers for it on all interfaces. Raises Refused where another machine answers at it, where the kernel is told not to
    answer (arp_ignore), for an IPv6 address, and where two load balancers share it without keepalived.
    """
    address = settings_of(task.host, LoadBalancer).virtual_address
    refuse_what_needs_more(task.host.name, task.nornir.inventory)
    node = Node(task)
    retire(node)
    seen = set(node.read(sh(_LOOK, str(address)), independent=True).lines)
    refuse_conflict(node.name, str(address), seen)
    text = render("virtual-address.service.j2", template_text("virtual-address.service.j2"), {"address": address})
    before = node.read_file(_FILE, independent=True)
    if before is not None and before != text:
        # with the file replaced, systemd would no longer know which address to take away
        node.change("systemctl", "stop", UNIT, repeatable=True)
    if node.write_file(_FILE, text, independent=True):
        node.change("systemctl", "daemon-reload", repeatable=True)
    elif "here" not in seen:
        node.change("systemctl", "restart", UNIT, what=f"put {address} back", repeatable=True)
    node.then(service, unit=UNIT, state="started", enabled=True)
    return node.done(str(address))


def may_be_elsewhere(task: Task) -> Result[None]:
    """Prepare this node for an address that it shares: haproxy may listen there before it has it, and no unit keeps it."""
    node = Node(task)
    if node.read_file(_FILE, independent=True) is not None:
        node.change("systemctl", "disable", "--now", UNIT, repeatable=True)
        node.remove_file(_FILE)
        node.change("systemctl", "daemon-reload", repeatable=True)
    node.then(sysctl, values={"net.ipv4.ip_nonlocal_bind": 1}, label="virtual-address")
    return node.done()


def refuse_what_needs_more(name: str, inventory: Inventory) -> None:
    """Raise Refused for an address that one unit on one node cannot give."""
    address = settings_of(inventory.hosts[name], LoadBalancer).virtual_address
    if address.version == 6:  # noqa: PLR2004  IP version 6
        raise Refused(f"{name}: the virtual address {address} is IPv6, which is not answered for from the loopback: take IPv4")
    for other in role("loadbalancer").hosts(inventory):
        if other != name and settings_of(inventory.hosts[other], LoadBalancer).virtual_address == address:
            raise Refused(
                f"{name} and {other} share the virtual address {address}: both would answer at once;"
                " set loadbalancer.keepalived, which moves it between them, or give it to one"
            )


def refuse_conflict(name: str, address: str, seen: set[str]) -> None:
    """Raise Refused where another machine has the address, or the kernel would not answer for it."""
    if "elsewhere" in seen:
        raise Refused(f"{name}: another machine already answers at {address}: take it from there, or choose a free address")
    if "arp_ignore 0" not in seen:
        raise Refused(f"{name}: net.ipv4.conf.*.arp_ignore is not 0, so nobody would find {address} here: set it to 0")
