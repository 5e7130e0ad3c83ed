"""Every combination of member states, UUIDs and ranks of seqno, for clusters of 2, 3 and 5: what must never be decided.

The expectations are read from the short forms, not from the code under test. Members are interchangeable but for the
declared order, so 3 and 5 members are taken as combinations, each in an order of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import chain, combinations_with_replacement, islice, product
from typing import TYPE_CHECKING

import pytest

from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.classify import Kind, classify
from nornir_stack.tasks.cluster.decision import Decision, Form, Mandate, Nothing, Promote, RecoverPositions, Refuse, Stop, Wait
from nornir_stack.tasks.cluster.elect import forming
from nornir_stack.tasks.cluster.judge import not_complete
from nornir_stack.tasks.cluster.recovery import recovery
from tests.unit.cluster.shorthand import LIVE, member, sentences, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nornir_stack.tasks.cluster.member import Member

WITH_POSITION: tuple[str, ...] = (
    "synced",
    "synced new",
    "synced upgrading",
    "alone",
    "donor",
    "joined",
    "unready",
    "outside",
    "outside v=11.8.2",
    "down",
    "down flag",
)
WITH_POSITION += ("recovered", "recovered xa=1", "standalone")
WITH_UUID = ("starting", "receiving", "silent", "crashing", "crashed", "recovered -1")
OTHERS: tuple[str, ...] = (
    "unsafe",
    "unsafe recovered=A:3",
    "unsafe schemas=app",
    "unsafe schemas=app recovered=A:3",
    "never",
    "never schemas=app",
    "empty",
    "empty flag",
)
OTHERS += ("never schemas=own recovered=0:-1", "standalone", "standalone schemas=own", "outside 0")
OTHERS += ("empty unmounted", "empty uninstalled", "gone", "lost")
SIDES = ("A", "B")
RANKS = (1, 2, 3)


@dataclass(frozen=True)
class Variant:
    """One member's short form, and what a person would read from it."""

    line: str
    state: str
    letter: str = "0"
    seqno: int = -1

    @property
    def primary(self) -> bool:
        return self.state in LIVE and self.state != "outside"

    @property
    def up(self) -> bool:
        return self.state in LIVE or self.state in {"starting", "receiving", "silent", "crashing", "standalone"}

    @property
    def hidden(self) -> bool:
        """Not known well enough to act on anyone."""
        foreign = self.state == "standalone" and (self.letter != "0" or "schemas" in self.line)
        return self.state in {"gone", "silent", "crashing"} or "unmounted" in self.line or "uninstalled" in self.line or foreign

    @property
    def busy(self) -> bool:
        return self.state in {"starting", "receiving", "joined", "joining", "donor"} or "upgrading" in self.line

    @property
    def unread(self) -> bool:
        """Only --wsrep-recover knows its position."""
        marked = self.line == "unsafe schemas=app"
        return (self.state == "crashed" and "recovered" not in self.line) or self.line == "never schemas=app" or marked

    @property
    def databases(self) -> frozenset[str]:
        own = self.line.partition("schemas=")[2].split(" ")[0]
        return frozenset([own] if own else ["app"] if self.letter != "0" else [])


def variant(word: str, letter: str = "0", seqno: int = -1) -> Variant:
    state, _, more = word.partition(" ")
    if state == "recovered":
        seqno = -1 if more == "-1" else seqno
        line = f"crashed {letter} recovered={letter}:{seqno} {'' if more == '-1' else more}".strip()
        return Variant(line, "crashed", letter, seqno)
    if state == "alone":
        return Variant(f"synced {letter} {seqno} lists=ME", "synced", letter, seqno)
    where = "" if letter == "0" else f" {letter}" if seqno < 0 else f" {letter} {seqno}"
    return Variant(f"{state}{where} {more}".strip(), state, letter, seqno)


def variants(letters: Sequence[str], ranks: Sequence[int], positioned: Iterable[str] = WITH_POSITION) -> list[Variant]:
    return [
        *(variant(word, letter, rank) for word in positioned for letter in letters for rank in ranks),
        *(variant(word, letter) for word in WITH_UUID for letter in letters),
        *(variant(word) for word in OTHERS),
    ]


def seen_as(names: Sequence[str], fleet: Sequence[Variant]) -> Seen[Member]:
    values: dict[str, Member] = {}
    for host, one in zip(names, fleet, strict=True):
        if one.state not in {"gone", "lost"}:
            together = tuple(
                name
                for name, other in zip(names, fleet, strict=True)
                if other.primary and other.letter == one.letter and "ME" not in other.line
            )
            values[host] = member(host, one.line.replace("ME", host), together)
    return Seen(values, {name: "unreachable" for name in names if name not in values}, tuple(names))


def problems(names: Sequence[str], fleet: Sequence[Variant], decision: Decision, keep: str | None) -> Iterator[str]:
    """What of the decision may never be."""
    by = dict(zip(names, fleet, strict=True))
    present = {host: one for host, one in by.items() if one.state != "lost"}
    primary = [host for host, one in present.items() if one.primary]
    if not isinstance(decision, Refuse) and (any(one.hidden for one in present.values()) or not present):
        yield "acts although something is hidden"
    if not isinstance(decision, (Refuse, Wait)) and any(one.busy for one in present.values()):
        yield "acts although someone is busy"
    histories = {one.letter for one in present.values() if one.letter != "0"}
    if keep is None and len(histories) > 1 and not isinstance(decision, (Refuse, Wait)):
        yield "acts on diverged histories"
    if isinstance(decision, Stop) and (primary or any(present[host].state != "outside" for host in decision.members)):
        yield "stops a member beside a Primary one, or one that does not run"
    if isinstance(decision, RecoverPositions) and any(present[host].up for host in decision.members):
        yield "runs --wsrep-recover under a running server"
    if isinstance(decision, RecoverPositions) and primary:
        yield "looks for a leader although one lives"
    if isinstance(decision, (Form, Promote)) and decision.mandate:
        yield from bad_leader(present, decision.mandate, keep)
    if isinstance(decision, Form):
        yield from bad_form(present, decision, primary, keep)


def bad_leader(present: dict[str, Variant], mandate: Mandate, keep: str | None) -> Iterator[str]:
    leader = present[mandate.host]
    others = [one for host, one in present.items() if host != mandate.host]
    if any(one.primary for one in present.values()):
        yield "leads beside a Primary component"
    kept_unmarked = keep == mandate.host and (leader.state in {"unsafe", "never"})
    if leader.letter == "0" and not kept_unmarked and any(one.letter != "0" or one.databases for one in (leader, *others)):
        yield "a member without history leads over someone's data"
    if mandate.fresh and any(one.letter != "0" or one.databases for one in (leader, *others)):
        yield "called fresh, but there is data"
    if any(one.unread for one in (leader, *others)):
        yield "leads while a position is not known"
    if not kept_unmarked and any(one.letter == leader.letter and one.seqno > leader.seqno for one in others):
        yield "leads behind another"
    if leader.letter != "0" and leader.seqno < 0 and not kept_unmarked and leader.databases:
        yield "leads without a seqno over databases"


def bad_form(present: dict[str, Variant], form: Form, primary: list[str], keep: str | None) -> Iterator[str]:
    leader = form.bootstrap
    if leader is None and not primary:
        yield "has neither a leader nor a living cluster"
    served = [host for host in form.stop_first if host in primary]
    if served and keep is None:
        yield "stops who serves"
    if keep in served or keep in form.discard:
        yield "stops or discards the one to keep"
    if any(not present[host].up for host in form.stop_first):
        yield "stops who is down"
    staying = [host for host in primary if host not in form.joiners]
    if sorted([*staying, *form.joiners, *([leader] if leader else [])]) != sorted(present):
        yield "does not end with everyone"
    yield from bad_joins(present, form, staying, keep)
    if form.discard and (keep is None or len(form.losses) < len(form.discard)):
        yield "discards without a word"
    new = [host for host in staying if "new" in present[host].line]
    if sorted(form.restart_normally) != sorted(new if not leader else [leader] if form.joiners else []):
        yield "restarts the wrong ones"


def bad_joins(present: dict[str, Variant], form: Form, staying: list[str], keep: str | None) -> Iterator[str]:
    leader = form.bootstrap
    if any(host in form.joiners and host not in form.stop_first for host, one in present.items() if one.up):
        yield "starts who runs"
    heads = [leader] if leader else staying
    head = present[heads[0]] if heads else None
    if head and keep is None:
        for host in form.joiners:
            one = present[host]
            beyond = one.letter == head.letter and one.seqno > max(present[name].seqno for name in heads)
            if one.letter not in {"0", head.letter} or beyond:
                yield f"{host} loses its history"
            if one.letter == "0" and one.databases - head.databases:
                yield f"{host} loses databases"
    if leader and any(
        "flag" in one.line and one.state == "down" and host not in (*form.clear_flags, leader) for host, one in present.items()
    ):
        yield "leaves a second flag"
    newer = [host for host in form.joiners if "v=11.8.2" in present[host].line]  # of those that are down nobody knows: as new
    way = [present[host] for host in form.joiners if present[host].state in {"down", "outside"}]
    gaps = [(bool(newer) and (one.state == "down" or "v=11.8.2" in one.line), -one.seqno) for one in way]
    if gaps != sorted(gaps):
        yield "does not take the older release first, and then the nearest"


def judged(fleet: Sequence[Variant], *, keeping: bool) -> Iterator[str]:
    names = [f"db{number}" for number in range(1, len(fleet) + 1)]
    seen = seen_as(names, fleet)
    lost = [host for host, one in zip(names, fleet, strict=True) if one.state == "lost"]
    klass = classify(seen, missing_ok=lost)
    complete = not not_complete(seen, missing_ok=lost)
    if complete != (klass.kind is Kind.HEALTHY):
        yield f"{lines(fleet)}: {klass.kind} but complete is {complete}"
    decisions: list[tuple[str, str | None, Decision]] = [
        ("form", None, forming(seen, missing_ok=lost)),
        ("recover", None, recovery(seen, missing_ok=lost)),
    ]
    decisions += [("recover", name, recovery(seen, missing_ok=lost, keep=name)) for name in names if keeping]
    for verb, keep, decision in decisions:
        if isinstance(decision, Nothing) and not complete:
            yield f"{lines(fleet)}: {verb} leaves it as it is"
        if not sentences(decision):
            yield f"{lines(fleet)}: {verb} says nothing"
        for problem in problems(names, fleet, decision, keep):
            yield f"{lines(fleet)}: {verb} keep={keep} {problem}: {told(decision)}"


def lines(fleet: Sequence[Variant]) -> str:
    return " | ".join(one.line for one in fleet)


def turned(fleets: Iterable[tuple[Variant, ...]]) -> Iterator[tuple[Variant, ...]]:
    """Each combination in an order of its own."""
    for number, fleet in enumerate(fleets):
        turn = number % len(fleet)
        yield (*fleet[turn:], *fleet[:turn]) if number % 2 else (*fleet[turn:], *fleet[:turn])[::-1]


PAIRS = product(variants(SIDES, RANKS), repeat=2)
SYMMETRIC = [one for one in variants(SIDES, RANKS) if one.letter != "B" or one.seqno in {-1, 2}]
"""UUIDs are names: what ranks within B could say, those within A do."""
TRIPLES = turned(combinations_with_replacement(SYMMETRIC, 3))
FEW = (
    variant("synced", "A", 3), variant("synced new", "A", 3), variant("alone", "A", 2), variant("outside", "A", 3),
    variant("outside", "A", 2), variant("down", "A", 3), variant("down flag", "A", 2), variant("down", "B", 3),
    variant("recovered", "A", 3), variant("recovered", "A", 2), variant("crashed", "A"), variant("starting", "A"),
    variant("unsafe"), variant("empty"), variant("gone"), variant("lost"),
)  # fmt: skip
FIVES = turned(combinations_with_replacement(FEW, 5))


@pytest.mark.parametrize(("fleets", "keeping"), [(PAIRS, True), (TRIPLES, False), (FIVES, False)], ids=["two", "three", "five"])
def test_no_decision_breaks_a_rule(fleets: Iterable[tuple[Variant, ...]], keeping: bool) -> None:
    """In every combination of states the invariants hold, and exactly a complete cluster is healthy and left alone."""
    broken = chain.from_iterable(judged(fleet, keeping=keeping) for fleet in fleets)
    first = [sentence for sentence, _ in zip(broken, range(20), strict=False)]
    assert first == []


FIVE_POSITIONED = ("synced", "synced new", "alone", "outside", "down", "down flag", "recovered")
FIVE_WITH_UUID = ("starting", "silent", "crashed")
FIVE_OTHERS = ("unsafe", "never schemas=app", "empty", "gone", "lost")
OF_FIVE = [
    *(variant(word, letter, rank) for word in FIVE_POSITIONED for letter, rank in (("A", 1), ("A", 2), ("A", 3), ("B", 2))),
    *(variant(word, letter) for word in FIVE_WITH_UUID for letter in SIDES),
    *map(variant, FIVE_OTHERS),
]
PARTS = 8  # so that several processes share them


@pytest.mark.parametrize("part", range(PARTS))
def test_five_members_in_fifteen_states(part: int, campaign: bool, seed: int) -> None:
    """Every five of 15 sorts, crossed with the histories and their ranks, by --campaign; else some, and some of all sorts."""
    if campaign:
        fleets: Iterable[tuple[Variant, ...]] = islice(combinations_with_replacement(OF_FIVE, 5), part, None, PARTS)
    else:
        draw = random.Random(f"{seed} {part}")  # noqa: S311  a sample, no secret
        fleets = (tuple(draw.choices(sorts, k=5)) for sorts in (OF_FIVE, SYMMETRIC) for _ in range(500))
    broken = chain.from_iterable(judged(fleet, keeping=False) for fleet in turned(fleets))
    first = [sentence for sentence, _ in zip(broken, range(20), strict=False)]
    assert first == []


def test_keeping_a_member_of_three() -> None:
    """With keep= the invariants hold for three members too; states without UUID B."""
    fleets = turned(
        combinations_with_replacement(list(variants(SIDES, (2, 3), ("synced", "alone", "outside", "down", "recovered"))), 3)
    )
    broken = chain.from_iterable(judged(fleet, keeping=True) for fleet in fleets)
    first = [sentence for sentence, _ in zip(broken, range(20), strict=False)]
    assert first == []
