"""What may be decided about a cluster: plain values that say what to do, in which order, why, and what would be lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from nornir_stack.tasks.cluster.member import NOWHERE, Position


@dataclass(frozen=True)
class Refuse:
    """Nothing may be done. `reason` says what was seen and what the operator can do."""

    reason: str


@dataclass(frozen=True)
class Nothing:
    """All is as wanted."""

    reason: str


@dataclass(frozen=True)
class Wait:
    """`members` are under way: touch nobody, wait until `judge.unsettled` is empty, look and decide again."""

    members: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class RecoverPositions:
    """Run `--wsrep-recover` on `members` (all of them are down), keep what it prints, decide again.

    `branches`: what each outcome would mean, for a dry run, which cannot run it (it writes).
    """

    members: tuple[str, ...]
    reasons: tuple[str, ...]
    branches: tuple[str, ...]


@dataclass(frozen=True)
class Stop:
    """Stop `members`, none of which is in a Primary component, then look and decide again."""

    members: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Mandate:
    """The right to make `host` the Primary component, as long as it stands where it was seen (`position`)."""

    host: str
    position: Position = NOWHERE
    fresh: bool = False
    """There is no history and no database anywhere: a new cluster is made."""


@dataclass(frozen=True)
class Promote:
    """Turn the running component of `mandate.host` Primary (pc.bootstrap), then decide again."""

    mandate: Mandate
    reasons: tuple[str, ...]
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """Steps in the order of the fields; each joiner alone, Synced and seen by all before the next (`judge.not_grown`)."""

    clear_residue: tuple[str, ...] = ()
    """Take away what would make the next start bootstrap."""
    stop_first: tuple[str, ...] = ()
    """They run outside of the cluster: stop them before they join."""
    discard: tuple[str, ...] = ()
    """The operator gave up their history: save state files, then make them take a full copy (no grastate.dat)."""
    set_aside: tuple[str, ...] = ()
    """Move gvwstate.dat away, keeping a copy."""
    clear_flags: tuple[str, ...] = ()
    """Set `safe_to_bootstrap: 0`, before anyone is bootstrapped. The bootstrapped member gets 1."""
    mandate: Mandate | None = None
    """Whom to bootstrap; None: a Primary component lives, nobody is bootstrapped."""
    joiners: tuple[str, ...] = ()
    restart_normally: tuple[str, ...] = ()
    """After all have joined, one at a time: they were started to bootstrap."""
    reasons: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()

    @property
    def bootstrap(self) -> str | None:
        return self.mandate.host if self.mandate else None


Decision: TypeAlias = "Refuse | Nothing | Wait | RecoverPositions | Stop | Promote | Form"
