"""Compute nodes: when one may be emptied, evacuated or removed, and what is said of its instances."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Plan, Stage
from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.tasks.openstack import compute
from nornir_stack.tasks.openstack.fleet import Compute, Fleet, Instance, free, told
from nornir_stack.tasks.openstack.fleet_rules import (
    anew,
    chosen_of,
    full,
    moves,
    no_room,
    not_drainable,
    not_evacuable,
    not_removable,
    only,
)
from nornir_stack.tasks.openstack.moving import MARK, knocked
from nornir_stack.tasks.system.services import UnitState

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = {"VCPU": 1, "MEMORY_MB": 512}
LARGE = {"VCPU": 4, "MEMORY_MB": 6000}
ROOM = {"VCPU": 16, "MEMORY_MB": 8000}


def one(name: str, **words: Any) -> Instance:
    return Instance(f"id-{name}", name, **{"status": "ACTIVE", "needs": SMALL, **words})


def node(host: str, *instances: Instance, **words: Any) -> Compute:
    return Compute(host, f"s-{host}", instances=instances, **{"room": ROOM, **words})


def fleet(*computes: Compute) -> Fleet:
    return Fleet(computes, declared=("n1", "n2", "n3"))


def reason(decide: Callable[..., Chain], seen: Seen[Any], **words: Any) -> str:
    with pytest.raises(Refused) as caught:
        decide(seen, **words)
    return str(caught.value)


def names(chain: Chain) -> list[str]:
    return [part.name for part in chain.parts]


# told


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (node("n1", one("web")), "in service, up; room: VCPU 16, MEMORY_MB 8000; instances: web"),
        (
            node("n1", one("web"), one("old", status="SHUTOFF"), enabled=False, why="nornir-stack: drained", up=False),
            "out of service (nornir-stack: drained), down; room: VCPU 16, MEMORY_MB 8000; instances: web, old (SHUTOFF)",
        ),
        (
            node("n1", room={}, enabled=False, unconfirmed=(one("a"),), strangers=("7",)),
            "out of service (no reason given), up; room: unknown; instances: none; not confirmed: a; unknown in Placement: 7",
        ),
    ],
)
def test_a_node_in_words(seen: Compute, said: str) -> None:
    """What somebody wants to know who asks for the nodes."""
    assert told(seen) == said


# emptied


def test_a_node_is_emptied_onto_others_that_have_room() -> None:
    """Each instance is named with the way that it goes: as it runs, or switched off."""
    now = fleet(node("n1", one("web"), one("old", status="SHUTOFF")), node("n2"))
    assert not_drainable(now, "n1") == []
    assert moves(now.computes[0]) == ["web moves off n1 as it runs.", "old moves off n1 switched off."]
    chain = compute._draining(Seen({"cloud1": now}), node="n1")
    assert names(chain) == ["out of service", "move"]
    assert chain.reasons == ("web moves off n1 as it runs.", "old moves off n1 switched off.")


def test_a_node_that_was_emptied_is_left_alone() -> None:
    """Out of service and without instances: nothing is to be done."""
    now = fleet(node("n1", enabled=False), node("n2"))
    assert names(compute._draining(Seen({"cloud1": now}), node="n1")) == []


@pytest.mark.parametrize("wrong", [{"enabled": False}, {"up": False}])
def test_a_node_out_of_service_takes_nothing(wrong: dict[str, Any]) -> None:
    """Only others that are enabled and up count."""
    now = fleet(node("n1", one("web")), replace(node("n2"), **wrong))
    assert not_drainable(now, "n1") == ["no other compute node is in service: web cannot go anywhere"]


def test_the_rest_must_have_room_for_all_together() -> None:
    """One after the other fits in 8000 MB, both do not; a third node makes it right."""
    now = fleet(node("n1", one("a", needs=LARGE), one("b", needs=LARGE)), node("n2"))
    assert not_drainable(now, "n1") == [
        "no other compute node has room for b (4 VCPU, 6000 MEMORY_MB): n2 has 12 VCPU, 2000 MEMORY_MB"
    ]
    assert not_drainable(fleet(*now.computes, node("n3")), "n1") == []


def test_the_largest_is_placed_first() -> None:
    """A small one before it would take the only room that the large one has."""
    now = fleet(
        node("n1", one("s", needs={"MEMORY_MB": 900}), one("l", needs={"MEMORY_MB": 1000})),
        node("n2", room={"MEMORY_MB": 1000}),
        node("n3", room={"MEMORY_MB": 900}),
    )
    assert no_room(now, "n1", now.computes[0].instances) == []


def test_every_class_of_resources_counts() -> None:
    """Memory enough and no processor, or none of a class of one's own."""
    web = one("web", needs={"MEMORY_MB": 1, "CUSTOM_GPU": 1})
    assert "(1 MEMORY_MB, 1 CUSTOM_GPU): n2 has 8000 MEMORY_MB, 0 CUSTOM_GPU" in no_room(fleet(node("n2")), "n1", [web])[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"status": "ERROR"}, "web is ERROR: Nova moves none that is so"),
        ({"status": "SUSPENDED"}, "web is SUSPENDED"),
        ({"busy": "deleting"}, "web is busy (deleting)"),
        ({"status": "VERIFY_RESIZE"}, "web was resized or moved, and that is not confirmed: its owner says"),
    ],
)
def test_an_instance_that_cannot_move_stops_it_before_any_moves(words: dict[str, str], said: str) -> None:
    """With its name and what it is."""
    assert said in not_drainable(fleet(node("n1", one("web", **words)), node("n2")), "n1")[0]


def test_one_that_is_on_its_way_is_waited_for() -> None:
    """A run that was cut goes on: its place is taken already, so the room is not counted again."""
    now = fleet(node("n1", one("web", status="MIGRATING", busy="migrating", needs=LARGE)), node("n2", room={}))
    assert not_drainable(now, "n1") == []
    assert moves(now.computes[0]) == ["web is on its way off n1."]


def test_nothing_moves_off_a_node_that_is_down() -> None:
    """Its instances cannot be migrated; what serves instead is named."""
    assert "compute.evacuate" in not_drainable(fleet(node("n1", one("web"), up=False), node("n2")), "n1")[0]


def test_a_node_that_the_cloud_does_not_know() -> None:
    """With those that it has."""
    assert not_drainable(fleet(node("n1"), node("n2")), "n9") == ["the cloud has no nova-compute on n9; it has n1, n2"]


def test_a_cold_move_that_was_not_confirmed_is_finished() -> None:
    """The node still has its disk: it is not empty, and may not be removed."""
    now = fleet(node("n1", enabled=False, unconfirmed=(one("old", status="VERIFY_RESIZE"),)), node("n2"))
    assert compute._draining(Seen({"cloud1": now}), node="n1").reasons == ("old left n1 by a cold move, which is confirmed.",)
    assert "n1 still has the disks of old" in not_removable(now, "n1")[0]


def test_a_resize_is_its_owners_to_confirm() -> None:
    """A node that it left is neither drained nor removed, and the instance is named."""
    now = fleet(node("n1", enabled=False, resized=(one("web", status="VERIFY_RESIZE"),)), node("n2"))
    assert "web was resized and left n1: its owner says which holds, openstack server resize" in not_drainable(now, "n1")[0]
    assert "n1 still has the disks of web" in not_removable(now, "n1")[0]


def test_what_is_left_is_told() -> None:
    """By name and status; with ids only those."""
    now = Seen({"cloud1": fleet(node("n1", one("web"), one("db")))})
    assert full(now, node="n1") == ["web is still on n1 (ACTIVE)", "db is still on n1 (ACTIVE)"]
    assert full(now, node="n1", instances=("id-db",)) == ["db is still on n1 (ACTIVE)"]
    assert full(now, node="n2") == []


# dead

DEAD = node("n1", one("web", local=True), up=False)


def test_a_node_that_is_up_is_not_evacuated() -> None:
    """Not even if the operator says that it is off: Nova heard of it within a minute."""
    problems = not_evacuable(fleet(node("n1", one("web")), node("n2")), "n1", fenced="n1", chosen=[one("web")])
    assert "nova-compute on n1 is up in Nova's eyes" in problems[0]


def test_a_node_that_is_only_silent_is_not_evacuated() -> None:
    """A switch that failed looks the same: the operator has to say that the power is off."""
    assert "and say fenced=n1" in reason(
        compute._evacuating, Seen({"cloud1": fleet(DEAD, node("n2"))}), node="n1", fenced="", wanted=()
    )


def test_a_node_that_answers_is_not_evacuated() -> None:
    """From here, or from the controller; and a controller that cannot tell is no proof."""
    state = UnitState("nova-compute.service", "loaded", "inactive", "dead", "enabled")
    assert "it answers, so its instances may run" in reason(compute._from_here, Seen({"n1": state}), node="n1", chosen=())
    said = "it refuses connections to ssh"
    assert f"seen from c1, {said}" in reason(compute._from_controller, Seen({"c1": said}), node="n1", chosen=())
    assert "no host of the role controller" in reason(compute._from_controller, Seen({}), node="n1", chosen=())
    lost: Seen[str] = Seen({}, {"c1": "no answer"})
    assert "cannot tell whether n1 answers" in reason(compute._from_controller, lost, node="n1", chosen=())


def test_only_silence_is_no_answer() -> None:
    """A kernel that refuses is one that runs; an sshd that does not forward has not asked."""
    assert knocked("c1: nothing answers at 10.0.0.3:22 there: No route to host", "c1") == ""
    assert knocked("c1: nothing answers at 10.0.0.3:22 there: timed out", "c1") == ""
    assert knocked("c1: nothing answers at 10.0.0.3:22 there: Connection refused", "c1") == "it refuses connections to ssh"
    with pytest.raises(Refused, match="cannot tell"):
        knocked("c1: nothing answers at 10.0.0.3:22 there: administratively prohibited", "c1")


def test_a_dead_node_is_evacuated_by_a_mandate_for_exactly_its_instances() -> None:
    """Down, silent everywhere, said to be off. What is lost is said before."""
    chain = compute._evacuating(Seen({"cloud1": fleet(DEAD, node("n2"))}), node="n1", fenced="n1", wanted=())
    (said,) = chain.reasons
    assert said.startswith("web (ACTIVE) is built anew on another node than n1. Its own disk begins again from its image")
    (plan,) = chain.parts
    assert isinstance(plan, Plan)
    (plan,) = plan.decide(Seen({}, {"n1": "no answer within 10 s"})).parts
    assert isinstance(plan, Plan)
    (stage,) = plan.decide(Seen({"c1": ""})).parts
    assert isinstance(stage, Stage)
    mandate = stage.bound[0].arguments["mandate"]
    assert (mandate.node, mandate.instances) == ("n1", ("id-web",))


def test_a_dead_node_needs_room_elsewhere_too() -> None:
    """Some may be chosen, then."""
    now = fleet(node("n1", one("a", needs=LARGE), one("b", needs=LARGE), up=False), node("n2"))
    assert "no room" not in str(not_evacuable(now, "n1", fenced="n1", chosen=chosen_of(now, "n1", ["a"])))
    assert "has room for b" in not_evacuable(now, "n1", fenced="n1", chosen=chosen_of(now, "n1", []))[0]
    with pytest.raises(Refused, match="the cloud has no instance c; on n1 are a, b"):
        chosen_of(now, "n1", ["c"])


def test_what_nova_does_not_evacuate_is_told() -> None:
    """Its API takes what runs, is switched off, or broken."""
    assert "web is PAUSED" in not_evacuable(fleet(DEAD, node("n2")), "n1", fenced="n1", chosen=[one("web", status="PAUSED")])[0]
    assert not_evacuable(fleet(DEAD, node("n2")), "n1", fenced="n1", chosen=[one("web", status="ERROR")]) == []


@pytest.mark.parametrize("busy", ["rebuilding", "rebuild_block_device_mapping", "rebuild_spawning"])
def test_an_instance_that_is_being_built_anew_is_under_way(busy: str) -> None:
    """A run that was cut goes on: it is no reason to refuse, its place is taken already, and it is told so."""
    web = one("web", status="REBUILD", busy=busy, needs=LARGE)
    now = fleet(node("n1", web, up=False), node("n2", room={}))
    assert not_evacuable(now, "n1", fenced="n1", chosen=[web]) == []
    assert anew(now.computes[0], [web]) == ["web is being built anew already, which is waited for."]


def test_an_evacuated_node_is_left_alone() -> None:
    """Told to be down, out of service, nothing on it."""
    now = fleet(node("n1", up=False, forced=True, enabled=False), node("n2"))
    assert names(compute._evacuating(Seen({"cloud1": now}), node="n1", fenced="n1", wanted=())) == []


def test_fenced_names_the_same_node() -> None:
    """Another one is a slip of the operator's, told before anything is asked."""
    for chain in (compute.evacuate, compute.remove):
        with pytest.raises(UsageError, match="fenced=n2 is another node than node=n1"):
            chain(node="n1", fenced="n2")


# records


@pytest.mark.parametrize(
    ("now", "fenced", "said"),
    [
        (node("n1", one("web"), enabled=False), False, "n1 has instances: web"),
        (node("n1"), False, "n1 is in service"),
        (node("n1", enabled=False), True, "n1 is up in Nova's eyes, so it is not off"),
        (node("n1", enabled=False, strangers=("x-1",)), False, "that no instance there explains: x-1"),
    ],
)
def test_records_stay_while_they_are_needed(now: Compute, fenced: bool, said: str) -> None:
    """An instance whose service is gone from the books is nobody's."""
    assert said in reason(compute._removing, Seen({"cloud1": fleet(now)}), node="n1", fenced=fenced)


def test_a_node_that_nova_calls_otherwise_keeps_its_services() -> None:
    """It is not gone from the books: its services would stop under its instances."""
    seen = Seen({"cloud1": fleet(node("n1.example.org", one("web")))})
    assert "the cloud has n1.example.org, not n1" in reason(compute._removing, seen, node="n1", fenced=False)


def test_services_stop_before_the_records_go() -> None:
    """Else they enter themselves again; on a node that is off there is nothing to stop."""
    seen = Seen({"cloud1": fleet(node("n1", enabled=False, up=False))})
    assert names(compute._removing(seen, node="n1", fenced=False)) == ["stop", "records"]
    assert names(compute._removing(seen, node="n1", fenced=True)) == ["records"]


# back


def test_a_node_that_was_evacuated_begins_anew() -> None:
    """It has to forget what runs elsewhere now; one that was only drained keeps running."""
    forced = fleet(node("n1", up=False, forced=True, enabled=False, why=f"{MARK}dead"))
    assert "begin anew" in names(compute._adding(Seen({"cloud1": forced}), node="n1"))
    drained = fleet(node("n1", enabled=False, why=f"{MARK}drained"))
    assert "begin anew" not in names(compute._adding(Seen({"cloud1": drained}), node="n1"))


def test_what_somebody_else_disabled_stays_so() -> None:
    """With the reason that they gave."""
    now = Seen({"cloud1": fleet(node("n1", enabled=False, why="fan broken"))})
    assert "by somebody else (fan broken)" in reason(compute._adding, now, node="n1")


def test_only_a_host_of_the_role_is_added() -> None:
    """With those that are."""
    said = reason(compute._adding, Seen({"cloud1": fleet()}), node="c1")
    assert said == "c1 is no host of the role compute; those are n1, n2, n3"


def test_a_node_does_not_replace_itself() -> None:
    """The old one would be removed after it was added."""
    with pytest.raises(UsageError):
        compute.replace(old="n1", new="n1")
    assert names(compute.replace(old="n1", new="n2")) == ["compute.add", "compute.drain", "compute.remove"]
    assert names(compute.replace(old="n1", new="n2", fenced="n1")) == ["compute.add", "compute.evacuate", "compute.remove"]


def test_the_cloud_has_to_be_seen() -> None:
    """Nobody decides on what was not seen."""
    lost: Seen[Fleet] = Seen({}, {"cloud1": "the login was refused"})
    with pytest.raises(Refused, match="cloud1 was not seen: the login was refused"):
        only(lost)


def test_room_is_counted_as_placement_does() -> None:
    """Reserved first, then the ratio, then what is used; nothing of a class that nobody used."""
    stock = {
        "MEMORY_MB": {"total": 1000, "reserved": 200, "allocation_ratio": 1.5},
        "VCPU": {"total": 2, "reserved": 0, "allocation_ratio": 4.0},
    }
    assert free(stock, {"MEMORY_MB": 300}) == {"MEMORY_MB": 900, "VCPU": 8}
