"""A member's way to another address or name: decided on plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage
from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.renumber import Whereabouts, renumbering
from nornir_stack.tasks.cluster.upkeep import Place, Upkeep
from tests.unit.cluster.shorthand import cluster

if TYPE_CHECKING:
    from collections.abc import Mapping

WELL = {"db1": "synced A 9", "db2": "synced A 9", "db3": "synced A 9"}
NEW = "10.0.0.99"
LEARN = ("names", "let in", "tell the others", "tell arbitrators")
FORGET = ("old address", "and at arbitrators", "probe", "verify")


def seen(rows: Mapping[str, str] = WELL, *, drained: str = "", **words: Any) -> Seen[Whereabouts]:
    """Three members that are where they should be, but for db2, which differs by `words`."""
    members = cluster(rows)
    found = {}
    for number, (name, member) in enumerate(members.items(), 1):
        address = f"10.0.0.{number}"
        upkeep = Upkeep(member, drained=name == drained)
        found[name] = Whereabouts(Place(upkeep), address, address, name, ("127.0.0.1", address))
    if words and "db2" in found:
        found["db2"] = replace(found["db2"], **words)
    return Seen(found, members.missing, members.hosts)


def parts(chain: Chain) -> list[str]:
    return [part.name for part in chain.parts]


def test_where_it_should_be() -> None:
    """Nobody is drained; what others know of it is looked at all the same, for an earlier run may have been cut."""
    chain = renumbering(seen(), name="db2")
    assert parts(chain) == [*LEARN, *FORGET]
    assert chain.reasons[0] == "db2 is at 10.0.0.2: what others know of it is looked at."


def test_another_address() -> None:
    """The others learn of it first; then it moves, drained; the old address is forgotten last."""
    chain = renumbering(seen(address=NEW, has=("10.0.0.2", NEW)), name="db2")
    assert parts(chain) == [*LEARN, "db2", *FORGET]
    assert chain.reasons[0] == "db2 is at 10.0.0.2 and will be at 10.0.0.99."
    turn = next(part for part in chain.parts if isinstance(part, Chain))
    assert parts(turn) == ["drain", "flag", "move", "health", "balancers", "unflag", "undrain"]


def test_an_address_that_is_only_declared() -> None:
    """The node gets it first, by network.links."""
    assert parts(renumbering(seen(address=NEW, declared=(NEW,)), name="db2"))[0] == "address"


def test_another_name() -> None:
    """Load balancers know it under the old one."""
    chain = renumbering(seen(named="old2"), name="db2")
    assert chain.reasons[0] == "old2 will be called db2."
    assert "db2" in parts(chain)


def test_arbitrators() -> None:
    """Each learns the new address before the move, beside the old one; one that does not answer could not: refused."""
    here = seen(address=NEW, has=("10.0.0.2", NEW))
    with_one = Seen({**here.values, "arb1": Whereabouts(Place())}, {}, (*here.hosts, "arb1"))
    told = {part.name: part for part in renumbering(with_one, name="db2").parts if isinstance(part, Stage)}
    assert told["tell arbitrators"].bound[0].arguments == {"also": ("10.0.0.2",)}
    assert told["and at arbitrators"].bound[0].arguments == {}
    with pytest.raises(Refused, match="arb1 was not seen"):
        renumbering(Seen(here.values, {"arb1": "unreachable"}, (*here.hosts, "arb1")), name="db2")


@pytest.mark.parametrize("words", [{"current": False}, {"runs": ""}])
def test_one_that_was_cut(words: dict[str, Any]) -> None:
    """A member that stopped with its new configuration, or has not got it yet, still has its turn."""
    assert "db2" in parts(renumbering(seen(WELL, **words), name="db2"))


def test_one_that_was_left_drained() -> None:
    """It has moved already and is put back."""
    assert "db2" in parts(renumbering(seen(drained="db2"), name="db2"))
    down = seen({**WELL, "db2": "down A 8"}, drained="db2", address=NEW, has=(NEW,), runs="")
    assert "db2" in parts(renumbering(down, name="db2"))


@pytest.mark.parametrize(
    ("now", "part"),
    [
        (seen(address=NEW), "db2 has no address 10.0.0.99"),
        (seen(address="10.0.0.3", has=("10.0.0.2", "10.0.0.3")), "db3 already has 10.0.0.3"),
        (seen({**WELL, "db3": "down A 9"}), "db3 is down"),
        (seen({**WELL, "db3": "gone"}), "db3 was not seen"),
        (seen({**WELL, "db2": "gone"}), "unreachable"),
        (seen(drained="db1"), "db1 are drained: run galera.roll first"),
        (seen({"db2": "synced A 9"}), "Nobody else would be left to serve"),
    ],
)
def test_refused(now: Seen[Whereabouts], part: str) -> None:
    """Nothing is done where the others are not well, or where the new address is nowhere or somebody else's."""
    with pytest.raises(Refused) as refused:
        renumbering(now, name="db2")
    assert part in str(refused.value)
