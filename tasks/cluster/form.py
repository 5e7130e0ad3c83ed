"""`galera.form`: from prepared or empty nodes to one complete cluster, from wherever an earlier run was cut."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Plan, Stage
from nornir_stack.errors import Refused
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster.certificates import look_before
from nornir_stack.tasks.cluster.database import databases, read_probe, transfer_user, write_probe
from nornir_stack.tasks.cluster.decision import Refuse
from nornir_stack.tasks.cluster.elect import forming
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.prepare import configure, enable, install, open_ports, secrets
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.steps import Course, complete, on_one_member, planned, present
from nornir_stack.tasks.system.names import hosts_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.decision import Decision
    from nornir_stack.tasks.cluster.member import Member



def form(*, missing: Sequence[str] = ()) -> Chain:
    """Form the Galera cluster of the role `db`: prepare all, elect one, bootstrap it, join the others one by one, verify.

    Never bootstraps beside a living member, never with a member unseen that is not named as lost, never over data.
    A cluster that runs already is adopted.

    missing: members that are lost; without them the cluster is formed.
    """
    lost = tuple(missing)
    there = present(lost)
    decide = partial(_forming, lost=lost)
    return Chain(
        "galera.form",
        Plan("look", observe_member, partial(_may_begin, lost=lost), DB),
        look_before(lost),
        Stage("prepare", [observe_member, secrets, hosts_file, install, open_ports, configure], there),
        Plan("elect", observe_member, partial(planned, course=Course(decide, lost)), DB),
        Plan("databases", observe_member, partial(on_one_member, tasks=(databases, write_probe), name="databases"), DB),
        Stage("verify", [enable, read_probe], there, until=complete(lost)),
    )


def _may_begin(seen: Seen[Member], *, lost: tuple[str, ...]) -> Chain:
    """Where it can be told already that nothing may be formed (a second cluster, data that would be lost), nobody is
    prepared either: a configuration would be written under servers that are not ours to touch.

    With a member unseen nothing can be told yet: the others are prepared, and `elect` refuses.
    """
    decision = _forming(seen, lost=lost)
    if isinstance(decision, Refuse):
        if not set(seen.missing) - set(lost):
            raise Refused(decision.reason)
        return Chain("look")
    return Chain("look", *_transfer_user(seen))


def _transfer_user(seen: Seen[Member]) -> list[Stage]:
    """Where a cluster lives: whom its donors log in as, before their files and before anybody who joins says the password."""
    synced = [host for host, member in seen.items() if member.synced]
    return [Stage("transfer user", [transfer_user], hosts(synced[0]))] if synced else []


def _forming(seen: Seen[Member], *, lost: tuple[str, ...]) -> Decision:
    """The decision for members that `prepare` has gone through: one without a server is an empty one (in a dry run it is
    not installed yet).
    """
    prepared = {name: replace(member, installed=True) for name, member in seen.items()}
    return forming(replace(seen, values=prepared), missing_ok=lost)
