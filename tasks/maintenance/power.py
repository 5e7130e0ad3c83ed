"""`site.shutdown` and `site.start`: everything down and up again in the right order, for a power cut announced or survived."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.node import CHANGE_SECONDS, Node
from nornir_stack.select import hosts, role
from nornir_stack.tasks.cluster.judge import state_of
from nornir_stack.tasks.cluster.observe import look as look_at_member
from nornir_stack.tasks.cluster.observe import member_of, observe_member
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.recover import recover
from nornir_stack.tasks.cluster.rolling import in_order, members_of
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER, place
from nornir_stack.tasks.cluster.views import words
from nornir_stack.tasks.maintenance.standing import GROUPS, NOTE, Group, Standing, look, noted, standing, to_json
from nornir_stack.tasks.maintenance.survey import NODES, on_purpose
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member
    from nornir_stack.tasks.cluster.upkeep import Place

HYPERVISORS = role("hypervisor")


def shutdown(*, off: bool = False) -> Chain:
    """Lay the whole site to rest for a power cut: services, web, messages, the database member by member, load balancers.

    What ran is noted on each node, so that site.start brings up exactly that. The database's writer is stopped last, and
    Galera's own mark of the last member is seen to be on it. Cut anywhere, it goes on when run again.
    Instances of the cloud are not stopped by it: libvirt-guests of their compute node does that when that is switched off.

    off: switch the nodes off afterwards, hypervisors last; not the machine that this runs on.
    """
    parts: list[Stage | Plan[Place] | Plan[Member] | Plan[Standing]] = [
        Plan("look", standing, first_look, NODES),
        Plan("look at the database", place, may_go_down, DB | LOADBALANCER),
    ]
    parts += [Stage(f"stop {group}", [do(rest, group=group)], NODES) for group in GROUPS if group != "balancer"]
    parts += [
        Plan("database", place, members_down, DB | LOADBALANCER),
        Plan("last member", observe_member, last_noted, DB),
        Stage("stop balancer", [do(rest, group="balancer")], NODES),
    ]
    if off:
        parts += [Stage("off", [power_off], NODES - HYPERVISORS), Stage("off hypervisors", [power_off], NODES & HYPERVISORS)]
    return Chain("site.shutdown", *parts)


def start() -> Chain:
    """Bring the site up: the database cluster from its most advanced member (galera.recover), balancers, messages, services.

    What site.shutdown noted is started, in the reverse order. After a power cut that nobody announced there is no note: then
    the database is recovered, and what of the rest systemd has not started by itself is shown by maintenance.survey.
    """
    return Chain("site.start", Plan("look", standing, going_up, NODES))


# decisions


def first_look(seen: Seen[Standing]) -> Chain:
    """Nobody is stopped while a node was not seen: what runs there would lose its database. Pure."""
    if unseen := lost(seen.missing):
        raise Refused(f"Nothing is stopped, since not all nodes were seen ({unseen}): maintenance: leaves one out.")
    running = {host: sum(map(len, one.running.values())) for host, one in seen.items()}
    return Chain("seen", reasons=[f"{count} units run on {host}." for host, count in running.items() if count])


def may_go_down(seen: Seen[Place]) -> Chain:
    """The database's own refusals, before anything that needs it is stopped. Pure."""
    members = members_of(seen)
    if members and (problems := not_to_be_stopped(seen)):
        raise Refused(f"Nothing is stopped: {' '.join(problems)}")
    if members and not any(member.running for _, member in members.items()):
        return last_noted(members)
    return Chain("database")


def members_down(seen: Seen[Place]) -> Chain:
    """The members that run, one after the other, whoever takes the writes last. Raises Refused while a backup or a
    transfer runs, or where the members are not one cluster. Pure."""
    if not members_of(seen):
        return Chain("no database", reasons=["No host is a member of a database cluster."])
    if problems := not_to_be_stopped(seen):
        raise Refused(f"No member is stopped: {' '.join(problems)}")
    members = members_of(seen)
    order = in_order(seen, [host for host, member in members.items() if member.running])
    if not order:
        return Chain("down", reasons=["All members are down already."])
    stages = [
        Stage(f"stop {name}", [stop_member], hosts(name), until=Check(observe_member, partial(still_up, name=name), DB))
        for name in order
    ]
    return Chain("members", *stages, reasons=[f"{words(order)} are stopped in this order; {order[-1]} is the last."])


def not_to_be_stopped(seen: Seen[Place]) -> list[str]:
    """Why no member may be stopped now, a sentence each. Pure."""
    members = members_of(seen)
    problems = [f"{host} was not seen ({why})." for host, why in seen.missing.items()]
    problems += [
        f"A backup runs on {host} ({words(one.upkeep.backups)})."
        for host, one in seen.items()
        if one.upkeep and one.upkeep.backups
    ]
    running = {host: member for host, member in members.items() if member.running}
    problems += [f"{state_of(host, member)}." for host, member in running.items() if not member.synced]
    clusters = {member.wsrep.position.uuid for member in running.values() if member.wsrep}
    if len(clusters) > 1:
        problems.append("The members are of different clusters: galera.recover first.")
    return problems


def still_up(seen: Seen[Member], *, name: str) -> list[str]:
    """That a member is down, seen to be so. Pure."""
    if name not in seen:
        return [f"{name} was not seen."]
    return [f"{name} still runs."] if seen[name].running else []


def last_noted(seen: Seen[Member]) -> Chain:
    """Which member was the last, by Galera's own mark (`safe_to_bootstrap: 1`). Raises Refused where there is not one. Pure."""
    if not seen.hosts:
        return Chain("no database")
    running = [host for host, member in seen.items() if member.running]
    if running:
        raise Refused(f"{words(running)} still run.")
    marked = [host for host, member in seen.items() if member.grastate and member.grastate.safe_to_bootstrap]
    if len(marked) != 1:
        who = f"{words(marked)} are" if marked else "nobody is"
        raise Refused(f"{who} marked as the last member (safe_to_bootstrap): site.start will look for the most advanced one.")
    return Chain(
        "last", reasons=[f"{marked[0]} was the last member, at {seen[marked[0]].position}: site.start begins with it."]
    )


def going_up(seen: Seen[Standing]) -> Chain:
    """The database first, then what was noted, the last stopped first. Raises Refused for a node that was not seen. Pure."""
    if unseen := lost(seen.missing):
        raise Refused(f"Not all nodes were seen ({unseen}): switch them on first, or leave them out by maintenance:.")
    parts: list[Chain | Stage] = []
    members = [host for host, one in seen.items() if one.db]
    if members:
        parts.append(recover())
    for group in reversed(GROUPS):
        having = [host for host, one in seen.items() if one.noted.get(group)]
        if having:
            parts.append(Stage(f"start {group}", [do(rise, group=group)], hosts(*having)))
    having = [host for host, one in seen.items() if any(one.noted.values())]
    if having:
        parts.append(Stage("forget", [forget], hosts(*having)))
    reasons = [f"{words(members)}: their cluster is recovered first."] if members else []
    reasons += [f"{len(having)} nodes have notes of what ran."] if having else ["No node has a note of what ran."]
    return Chain("up", *parts, reasons=reasons)


def lost(missing: Mapping[str, str]) -> str:
    """Nodes that were not seen, and why, but for those that are left out on purpose. Pure."""
    return "; ".join(f"{host}: {why}" for host, why in missing.items() if not on_purpose(why))


# acts


def rest(task: Task, *, group: Group) -> Result[tuple[str, ...]]:
    """Stop what runs of a group, after it is noted on the node. The value: what is noted."""
    node = Node(task)
    now = look(node)
    note = noted(now, group)
    if now.running[group]:
        node.make_folder(NOTE.rpartition("/")[0])
        node.write_file(NOTE, to_json(note))
    for unit in now.running[group]:
        node.then(service, unit=unit, state="stopped")
    return node.done(tuple(note[group]))


def rise(task: Task, *, group: Group) -> Result[tuple[str, ...]]:
    """Start what was noted of a group, the last stopped first. The value: those units."""
    node = Node(task)
    units = tuple(reversed(look(node).noted.get(group, ())))
    for unit in units:
        node.then(service, unit=unit, state="started")
    return node.done(units)


def forget(task: Task) -> Result[None]:
    """Take the note away: all that it held runs."""
    node = Node(task)
    now = look(node)
    down = [unit for group, those in now.noted.items() for unit in those if unit not in now.running.get(group, ())]
    if down and not node.dry_run:
        raise Refused(f"{', '.join(down)} do not run: the note is kept, run site.start again")
    node.remove_file(NOTE)
    return node.done()


def stop_member(task: Task) -> Result[Member]:
    """Stop a member that is Synced, or leave one that is down. Raises Refused for one that is under way."""
    node = Node(task)
    now = look_at_member(node)
    if not now.running:
        return node.done(now)
    if not now.synced:
        raise Refused(f"{state_of(node.name, now)}: it is not stopped. Look again when it has settled.")
    _, product = member_of(node)
    units = filter(None, (product.unit, product.bootstrap_unit))
    node.change("systemctl", "stop", *units, timeout=CHANGE_SECONDS, diff=f"-{node.name} serves")
    return node.done(lambda: _stopped_cleanly(node))


def _stopped_cleanly(node: Node) -> Member:
    now = look_at_member(node)
    if now.running or not now.position.known:
        raise Refused(f"{state_of(node.name, now)}: it did not stop cleanly; look at its log before the next is stopped.")
    return now


def power_off(task: Task) -> Result[None]:
    """Switch the node off, once nobody waits for an answer any more. The one that this runs on is left."""
    node = Node(task)
    if task.host.get("connection") == "local":
        return node.skipped("this runs here, and has others to switch off: do it by hand")
    node.change(
        "systemd-run", "--quiet", "--on-active=3", "systemctl", "poweroff", what="switch it off", diff=f"-{node.name} is on"
    )
    return node.done()
