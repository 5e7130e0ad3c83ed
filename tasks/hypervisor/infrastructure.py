"""`cloud.infrastructure`: from an empty libvirt to the machines of a cloud, and what is in them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import Selector, role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.hypervisor.answering import answers, silent
from nornir_stack.tasks.hypervisor.cards import cards
from nornir_stack.tasks.hypervisor.domains import observe_machines
from nornir_stack.tasks.hypervisor.external import external_bridges
from nornir_stack.tasks.hypervisor.images import image
from nornir_stack.tasks.hypervisor.machines import machines
from nornir_stack.tasks.hypervisor.moving import Placed, astray, placed
from nornir_stack.tasks.hypervisor.networks import networks
from nornir_stack.tasks.hypervisor.pools import pools
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings
from nornir_stack.tasks.storage.groups import volume_groups
from nornir_stack.tasks.storage.nfs import exports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.hypervisor.domain_xml import Domain

HYPERVISOR, MACHINE = role("hypervisor"), role("machine")


def infrastructure(*, restart: Sequence[str] = (), within: float = 600.0) -> Chain:
    """The networks, pools, images and machines of the inventory on its hypervisors; volume groups and bridges in them.

    What is there already is adopted: run again, nothing changes.

    restart: networks that may be restarted under running machines, which cuts these off for a moment.
    within: seconds for the machines to answer by ssh after they were started.
    """
    answer = Check(answers, silent, MACHINE, within=within)
    return Chain(
        "cloud.infrastructure",
        Stage("hypervisors", [do(networks, restart=restart), pools, images], HYPERVISOR),
        Plan("machines", placed, partial(making, until=answer), HYPERVISOR),
        Plan("inside", observe_machines, inside, HYPERVISOR),
    )


def making(seen: Seen[Placed], *, until: Check[str]) -> Chain:
    """Make and start the machines. Pure; raises Refused where one is on another hypervisor than the inventory says."""
    if wrong := astray(seen):
        raise Refused("\n".join(wrong))
    return Chain("make", Stage("machines", [machines], HYPERVISOR, until=until))


def images(task: Task) -> Result[tuple[str, ...]]:
    """Have every image of the inventory on this hypervisor; the files of their disks."""
    node = Node(task)
    found = [node.then(image, image=name) for name in settings_of(task.host, HypervisorSettings).images]
    return node.done(tuple(each.disk for each in found if each))


def inside(seen: Seen[Mapping[str, Domain]]) -> Chain:
    """What is done in the machines: in a dry run, only in those that run already. Pure."""
    running = [name for domains in seen.values.values() for name, domain in domains.items() if domain.running]
    there = partial(_among, frozenset(running))
    storage, network, machine = there("storage"), there("network"), there("machine")
    return Chain(
        "inside",
        Stage("cards", [cards], machine),
        Stage("storage", [volume_groups, exports], storage),
        Stage("network", [external_bridges], network),
        reasons=[f"machines that run: {', '.join(running) or 'none'}"],
    )


def _among(running: frozenset[str], name: str) -> Selector:
    return role(name) & MACHINE & Selector("running", lambda host: host.name in running)
