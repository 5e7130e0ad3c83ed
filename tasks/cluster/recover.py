"""`galera.recover`: a cluster that is down, cut in two, degraded or without a Primary component, back to one complete one."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Plan
from nornir_stack.tasks.cluster.certificates import look_before
from nornir_stack.tasks.cluster.decision import Decision, Form, Refuse
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.recovery import recovery
from nornir_stack.tasks.cluster.steps import Course, planned, proofs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member


def recover(*, missing: Sequence[str] = (), keep: str | None = None, backup_first: bool = True) -> Chain:
    """Bring the declared members back to one complete cluster, from whatever happened to them, losing nothing unsaid.

    Looks at all members and their certificates, decides (docs/galera.md), saves what each member knows of itself on its node,
    acts, and proves at the end that all members are one cluster that replicates. A dry run says what would be done, and the
    branches of what only `--wsrep-recover` can tell, which writes. Run again after any interruption, it goes on from what it
    finds.

    Load balancers are not told: a member that is not Synced answers 503 to their health checks by itself, and a recovery
    stops nobody who serves but a side that the operator gave up, and a member that still runs in bootstrap mode, which says
    by its flag that it is drained before it is restarted. One that was bootstrapped serves before the others have joined.

    missing: members that are lost; what only they have is given up.
    keep: a member whose history is kept where histories differ; the others' is given up, and they take a full copy.
    backup_first: no: that copy replaces their data. Else those are kept beside it, for which there must be room.
    """
    lost = tuple(missing)
    decide = partial(recovering, lost=lost, keep=keep)
    course = Course(decide, lost, save=True, keep=backup_first, proofs=proofs(lost))
    return Chain("galera.recover", look_before(lost), Plan("recover", observe_member, partial(planned, course=course), DB))


def recovering(seen: Seen[Member], *, lost: tuple[str, ...], keep: str | None) -> Decision:
    """The decision, but that a cluster which never was is not made here: its members are not even prepared."""
    decision = recovery(seen, missing_ok=lost, keep=keep)
    if isinstance(decision, Form) and decision.mandate and decision.mandate.fresh:
        return Refuse("No member has a history or a database: there is nothing to recover. galera.form makes a new cluster.")
    return decision
