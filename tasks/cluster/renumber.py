"""`galera.renumber`: a member gets another address or another name, and everybody who knows it learns that first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.seen import Seen
from nornir_stack.select import hosts
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.adopt import rendered
from nornir_stack.tasks.cluster.arbitrator import ARBITRATOR, acquaint
from nornir_stack.tasks.cluster.certificates import look_before
from nornir_stack.tasks.cluster.change import readdress
from nornir_stack.tasks.cluster.judge import not_grown
from nornir_stack.tasks.cluster.observe import look, member_of, observe_member
from nornir_stack.tasks.cluster.prepare import configure, open_ports
from nornir_stack.tasks.cluster.product import DB, members
from nornir_stack.tasks.cluster.roll import back, gate
from nornir_stack.tasks.cluster.rolling import left_drained, not_safe
from nornir_stack.tasks.cluster.steps import AGREE_SECONDS, proofs
from nornir_stack.tasks.cluster.unit import shut_down, start
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER, Place, place
from nornir_stack.tasks.cluster.views import words
from nornir_stack.tasks.loadbalancer.haproxy import haproxy
from nornir_stack.tasks.loadbalancer.health import drain_flag, health_endpoint
from nornir_stack.tasks.loadbalancer.runtime import set_server
from nornir_stack.tasks.networking.links import links
from nornir_stack.tasks.networking.settings import Links
from nornir_stack.tasks.system.facts import facts
from nornir_stack.tasks.system.firewall import firewall
from nornir_stack.tasks.system.names import hosts_file

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.member import Member


@dataclass(frozen=True)
class Whereabouts:
    """A host as the inventory wants it and as it is. Addresses are without their prefix; empty for a load balancer.

    `address`: the inventory's; `runs`: that of its server, if it runs; `named`: the name that others know it by.
    `has`: those of its network cards; `declared`: those that the inventory's `network` gives them.
    `current`: its configuration file is as the inventory wants it.
    """

    place: Place
    address: str = ""
    runs: str = ""
    named: str = ""
    has: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    current: bool = True


def renumber(*, member: str) -> Chain:
    """Give a member the address (`galera.address`) or the name that the inventory has for it now; the others serve all along.

    The new address must be on the node beside the old one, or in the inventory's `network` for it: then it is put there, and
    taken back by the node itself if that cuts it off (network.links). A certificate must be for the new address already,
    where copies go by mariabackup. All others, the arbitrators and the load balancers learn of it, old and new are let through
    the firewalls, then the member is drained, restarted with its new configuration, and back in service; at the end the old
    address is forgotten. Run again after any interruption, it goes on from what it finds.

    member: its host, by the name that it has in the inventory now.
    """
    look_at = Plan("look", whereabouts, partial(renumbering, name=member), DB | LOADBALANCER | ARBITRATOR)
    return Chain("galera.renumber", look_before(), look_at)


def whereabouts(task: Task) -> Result[Whereabouts]:
    """Observe where a member is, beside where the inventory has it; or a load balancer; or only that an arbitrator answers."""
    node = Node(task)
    seen = place(task).value
    if seen.upkeep is None:
        return node.done(Whereabouts(seen))
    galera, product = member_of(node)
    cards = facts(task, fresh=True).value.addresses.values()
    declared = settings_of(node.host, Links).links.values()
    return node.done(
        Whereabouts(
            seen,
            address=str(galera.address),
            runs=seen.upkeep.member.node_address if seen.upkeep.member.wsrep else "",
            named=seen.upkeep.member.node_name,
            has=tuple(address.partition("/")[0] for card in cards for address in card),
            declared=tuple(str(address.ip) for link in declared for address in link.addresses),
            current=node.read_file(product.config) == rendered(task, galera, product),
        )
    )


def renumbering(seen: Seen[Whereabouts], *, name: str) -> Chain:
    """The chain for what was seen. Raises Refused where the others are not well, or the new address is nowhere."""
    if name not in seen or seen[name].place.upkeep is None:
        raise Refused(
            f"{name} is no member of the cluster that could be looked at ({seen.missing.get(name, 'not in role db')})."
        )
    places = Seen({host: one.place for host, one in seen.items()}, seen.missing, seen.hosts)
    if others := [host for host in left_drained(places) if host != name]:
        raise Refused(f"{words(others)} are drained: run galera.roll first, which puts them back.")
    if problems := not_safe(places, name):
        raise Refused(f"{name} is not renumbered: {' '.join(problems)}")
    mine = seen[name]
    if elsewhere := [host for host, one in seen.items() if host != name and mine.address in one.has]:
        raise Refused(f"{words(elsewhere)} already has {mine.address}: it cannot be that of {name}.")
    if mine.address not in (*mine.has, *mine.declared):
        raise Refused(
            f"{name} has no address {mine.address}: put it there beside the old one, or into its `network` in the inventory."
        )
    old = tuple(dict.fromkeys(filter(None, (mine.runs,))))
    before = [
        *([Stage("address", [links], hosts(name))] if mine.address not in mine.has else []),
        Stage("names", [hosts_file], DB | LOADBALANCER),
        Stage("let in", [do(let_in, also=old)], DB),
        Stage("tell the others", [do(readdress, without="")], DB - hosts(name)),
        Stage("tell arbitrators", [do(acquaint, also=old)], ARBITRATOR),
    ]
    drained = name in left_drained(places)
    settled = mine.current and mine.runs == mine.address and mine.named == name and not drained
    turn = [] if settled else [_turn(name, mine)]
    after = [Stage("old address", [open_ports], DB), Stage("and at arbitrators", [acquaint], ARBITRATOR)]
    return Chain("renumber", *before, *turn, *after, *proofs(), reasons=_reasons(name, mine))


def _reasons(name: str, mine: Whereabouts) -> list[str]:
    found = []
    if mine.runs != mine.address:
        found.append(f"{name} is at {mine.runs or 'no address'} and will be at {mine.address}.")
    if mine.named and mine.named != name:
        found.append(f"{mine.named} will be called {name}.")
    found = found or [f"{name} is at {mine.address}: what others know of it is looked at."]
    return [*found, "Clients that name it by themselves are yours to tell."]


def _turn(name: str, mine: Whereabouts) -> Chain:
    """Drained under the name that load balancers know, moved, known to them under the new one, back in service."""
    joined = Check(observe_member, partial(not_grown, name=name), DB, within=AGREE_SECONDS)
    return Chain(
        name,
        Stage("drain", [do(drained_as, server=mine.named or name)], LOADBALANCER, before=gate(name)),
        Stage("flag", [do(drain_flag, drained=True)], hosts(name), before=gate(name)),
        Stage("move", [move], hosts(name), before=gate(name), until=joined),
        Stage("health", [health_endpoint], hosts(name)),
        Stage("balancers", [haproxy, do(drained_as, server=name)], LOADBALANCER, serial=1),
        *back(name),
        unit=True,
        left=f"{name} may be left drained: run galera.renumber again",
    )


def drained_as(task: Task, *, server: str) -> Result[None]:
    """Drain a server, if this load balancer has one of that name: its name may be the old one still, or the new one."""
    node = Node(task)
    known = place(task).value.backends
    if known is None or server not in {one.name for one in known.servers}:
        return node.skipped(f"it has no server {server}")
    set_server(task, server=server, state="drain")
    return node.done()


def let_in(task: Task, *, also: tuple[str, ...]) -> Result[None]:
    """Galera's ports open for all members, and for addresses that one has still."""
    node = Node(task)
    galera, _ = member_of(node)
    sources = [*members(task.nornir.inventory, galera.cluster_name).values(), *also]
    opened = firewall(task, purpose="galera", ports=["galera"], sources=list(dict.fromkeys(sources)))
    return node.skipped(opened.skipped) if opened.skipped else node.done()


def move(task: Task) -> Result[Member]:
    """Stop this member, give it its new configuration, and start it. Raises Refused where it would bootstrap."""
    node = Node(task)
    galera, product = member_of(node)
    now = look(node)
    if now.residue:
        raise Refused(f"{node.name} would bootstrap a second cluster: {'; '.join(now.residue)}. Run galera.recover first.")
    if not now.running or now.node_address != str(galera.address) or now.node_name != node.name:
        if now.running:
            shut_down(node, product.unit, diff=f"-{node.name} serves")
        node.then(configure)
        start(node, product.unit, diff=f"+{node.name} joins at {galera.address}")
    return node.done(lambda: look(node))
