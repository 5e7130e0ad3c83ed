"""`galera.arbitrator`: a vote without data (garbd), for a cluster of two members or of two halves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import hosts, role, whole
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.judge import disagreement
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.product import DB, members
from nornir_stack.tasks.cluster.settings import Galera
from nornir_stack.tasks.cluster.steps import AGREE_SECONDS
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.firewall import firewall
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from nornir.core.inventory import Host, Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member

ARBITRATOR = role("arbitrator")
_PORT = "4567/tcp"
_UNIT = "garb.service"
_OURS = "# Written by nornir_stack (galera.arbitrator)."
# where garb-systemd looks; Red Hat's galera-4 brings garbd along
_WHERE = {"debian": ("galera-arbitrator-4", "/etc/default/garb"), "redhat": ("galera-4", "/etc/sysconfig/garb")}


def arbitrator() -> Chain:
    """Run garbd on the hosts of the role `arbitrator`: it votes and holds no data, so that one of two members may fail.

    It belongs on a machine that fails with neither of them. Each of its hostnames is an address that members reach.
    """
    return Chain("galera.arbitrator", Stage("let it in", [let_in], DB), Plan("run it", garbd, one_by_one, ARBITRATOR))


def garbd(task: Task) -> Result[bool]:
    """Observe whether garbd runs on this host."""
    node = Node(task)
    return node.done(node.read("systemctl", "is-active", _UNIT, ok=None).text == "active")


def one_by_one(seen: Seen[bool]) -> Chain:
    """A stage for each arbitrator, after which the members count it beside those that ran before."""
    stages = []
    votes = {name for name, runs in seen.items() if runs}
    for name in seen.hosts:
        votes.add(name)
        counted = Check(observe_member, partial(not_counted, votes=len(votes)), DB, within=AGREE_SECONDS)
        stages.append(Stage(name, [arbitrate], hosts(name), until=counted))
    return Chain("arbitrators", *stages)


def let_in(task: Task) -> Result[None]:
    """As `let_declared_in`; raises Refused where the inventory has no arbitrator."""
    if not ARBITRATOR.hosts(task.nornir.inventory):
        raise Refused("no host has the role arbitrator: name one in the inventory")
    return let_declared_in(task)


def let_declared_in(task: Task) -> Result[None]:
    """This member's firewall lets the arbitrators reach Galera's port. Skipped where the inventory has none."""
    node = Node(task)
    known = task.nornir.inventory.hosts
    sources = [str(known[name].hostname) for name in ARBITRATOR.hosts(task.nornir.inventory)]
    if not sources:
        return node.skipped("no host has the role arbitrator")
    opened = firewall(task, purpose="arbitrator", ports=[_PORT], sources=sources)
    return node.skipped(opened.skipped) if opened.skipped else node.done()


def arbitrate(task: Task) -> Result[str]:
    """garbd on this host, for the cluster of the role `db`. The value: the members that it reaches."""
    node = Node(task)
    galera = settings_of(_first(task.nornir.inventory), Galera)
    addresses = list(members(task.nornir.inventory, galera.cluster_name).values())
    package, path = _WHERE[family(node).name]
    packages(task, present=[package], no_start=True)
    firewall(task, purpose="arbitrator", ports=[_PORT], sources=addresses)
    written = node.write_file(path, configuration(galera, addresses))
    if written:
        node.change("systemctl", "try-restart", _UNIT, repeatable=True)
    if node.gate.pending is None:  # in a dry run a unit that is not installed yet cannot be looked at
        service(task, unit=_UNIT, state="started", enabled=True)
    return node.done(",".join(addresses))


def acquaint(task: Task, *, also: tuple[str, ...] = (), without: str = "") -> Result[None]:
    """The members' addresses, as the inventory has them now, in the configuration of garbd on this host; its firewall lets them
    in, and those in `also`. `without`: a member that has left and still stands in the inventory.

    No restart: it reads them at a start only, and one that runs hears of a member that moves from the others. Skipped where
    galera.arbitrator has not set it up.
    """
    node = Node(task)
    galera = settings_of(_first(task.nornir.inventory), Galera)
    addresses = [address for name, address in members(task.nornir.inventory, galera.cluster_name).items() if name != without]
    _, path = _WHERE[family(node).name]
    if _OURS not in (node.read_file(path) or ""):
        return node.skipped(f"galera.arbitrator has not set up garbd ({path}): run that first")
    firewall(task, purpose="arbitrator", ports=[_PORT], sources=list(dict.fromkeys([*addresses, *also])))
    node.write_file(path, configuration(galera, addresses))
    return node.done()


def _first(inventory: Inventory) -> Host:
    names = DB.hosts(whole(inventory))
    if not names:
        raise Refused("no host has the role db: there is no cluster to vote in")
    return inventory.hosts[names[0]]


def configuration(galera: Galera, addresses: list[str]) -> str:
    """What garb-systemd reads."""
    options = "" if galera.tls is None else f"socket.ssl_ca={galera.tls.ca};socket.ssl_cert={galera.tls.cert};"
    options += "" if galera.tls is None else f"socket.ssl_key={galera.tls.private_key}"
    return (
        f"{_OURS}\n"
        f'GALERA_NODES="{" ".join(f"{address}:4567" for address in addresses)}"\n'
        f'GALERA_GROUP="{galera.cluster_name}"\nGALERA_OPTIONS="{options}"\n'
    )


def not_counted(seen: Seen[Member], votes: int) -> list[str]:
    """Which members do not list so many arbitrators, at least."""
    found = [
        f"{host} lists {wsrep.arbitrators} arbitrators (empty entries of wsrep_incoming_addresses)."
        for host, member in seen.items()
        if (wsrep := member.wsrep) and member.primary and wsrep.arbitrators < votes
    ]
    return found + disagreement(seen)
