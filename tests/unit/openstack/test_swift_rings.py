"""Swift's rings on several nodes: what is made where, and what is refused."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.tasks.openstack.control_plane import Described, _parts
from nornir_stack.tasks.openstack.registered import entries
from nornir_stack.tasks.openstack.swift_rings import SERVERS, Layout, Ring, Rings, differing, layout, parse, to_make
from nornir_stack.tasks.openstack.swift_storage import modules
from tests.unit.openstack.test_plane import inventory

TWO = {"storage": ["st1", "st2"]}
WANTED = Layout(((1, "10.0.0.14", "d1"), (2, "10.0.0.15", "d1")), 2, ("st1", "st2"))
DEVICES = {kind: WANTED.of(kind) for kind in SERVERS}


def ring(check: str = "aa", **devices: frozenset[str]) -> dict[str, Ring]:
    return {kind: Ring(check, {**DEVICES, **devices}[kind]) for kind in SERVERS}


def test_a_node_is_a_zone_and_replicas_are_one_number() -> None:
    """Two nodes of a device each keep two copies; a wish that only one of them has is refused."""
    both = inventory(TWO)
    assert layout(both) == WANTED
    assert WANTED.words("object") == ("r1z1-10.0.0.14:6200/d1", "100", "r1z2-10.0.0.15:6200/d1", "100")
    both.hosts["st1"].data = {"swift": {"devices": ["d1", "d2"], "replicas": 2}}
    with pytest.raises(UsageError, match=r"not st1: 2, st2: not said"):
        layout(both)
    both.hosts["st2"].data = {"swift": {"replicas": 2}}
    assert [device[:1] + device[2:] for device in layout(both).devices] == [(1, "d1"), (1, "d2"), (2, "d1")]


def test_a_storage_node_without_devices_is_none_of_swifts() -> None:
    """It keeps volumes, say: no server and no proxy is put on it, and its wishes count for nothing."""
    both = inventory(TWO)
    both.hosts["st2"].data = {"swift": {"devices": [], "replicas": 3}}
    assert layout(both) == Layout(((1, "10.0.0.14", "d1"),), 1, ("st1",))
    parts = _parts(Seen({"c1": Described((), (), (), layout(both))}), horizon=False, within=1.0).parts
    swift = [part for part in parts if part.name in {"storage", "rings", "object storage"}]
    assert [str(part.on) for part in swift] == ["st1"] * 3  # type: ignore[union-attr]


def test_of_several_proxies_the_first_is_the_way_in() -> None:
    """One endpoint, of the first storage node."""
    assert [one.url for one in entries(inventory(TWO)) if one.name == "swift"] == [
        "http://10.0.0.14:8080/v1/AUTH_%(project_id)s"
    ]


def header(devices: list[Any]) -> str:
    """A ring's file as Swift writes it, up to its tables."""
    text = json.dumps({"devs": devices, "part_shift": 22, "replica_count": 2, "byteorder": "little"}).encode()
    return base64.b64encode(struct.pack("!4sHI", b"R1NG", 1, len(text)) + text + b"\0" * 4096).decode()


def test_a_rings_devices_are_read_from_its_file() -> None:
    """A device that was removed leaves a gap; the tables behind the header are not looked at; another form is refused."""
    devices = [{"ip": "10.0.0.14", "port": 6202, "device": "d1"}, None]
    seen = parse(f"account abc {header(devices)}\nwords 123  -\n")
    assert seen == Rings({"account": Ring("abc", frozenset({"10.0.0.14:6202/d1"}))}, "123")
    assert parse("") == Rings({})
    with pytest.raises(Refused, match="not a ring of Swift's version 1"):
        parse(f"account abc {base64.b64encode(b'R2NG').decode()}\n")


def test_rings_are_made_where_none_is() -> None:
    """On both, on the one that an interrupted run did not reach, and on none where both have them."""
    for have, lacking in (({}, "st1,st2"), (ring(), "st2")):
        seen = Seen({"st1": Rings(have, "w"), "st2": Rings({}, "w")})
        (stage,) = to_make(seen, wanted=WANTED).parts
        assert str(stage.on) == lacking  # type: ignore[union-attr]
    assert to_make(Seen({"st1": Rings(ring(), "w"), "st2": Rings(ring(), "w")}), wanted=WANTED).parts == ()


def test_a_ring_of_other_devices_is_nobodys_business_until_a_node_lacks_it() -> None:
    """Disks that were added by hand stay; a node that has no ring would make another one, and is refused with what to do."""
    more = ring(object=frozenset({"10.0.0.14:6200/d9"}))
    assert to_make(Seen({"st1": Rings(more), "st2": Rings(more)}), wanted=WANTED).parts == ()
    with pytest.raises(
        Refused, match=r"ring of object on st1 has 10\.0\.0\.14:6200/d9, and .* copy its builders and rings to st2"
    ):
        to_make(Seen({"st1": Rings(more), "st2": Rings({})}), wanted=WANTED)


def test_rings_that_differ_are_refused() -> None:
    """So are other secret words, and a node that was not seen: each would look for objects elsewhere."""
    with pytest.raises(Refused, match=r"rings of account differ \(st1 aa, st2 bb\).*rings of object differ"):
        to_make(Seen({"st1": Rings(ring()), "st2": Rings(ring("bb"))}), wanted=WANTED)
    assert differing(Seen({"st1": Rings(ring(), "w"), "st2": Rings(ring(), "v")})) == [
        "swift_hash_path_suffix and _prefix differ between st1, st2: each finds objects elsewhere"
    ]
    with pytest.raises(Refused, match=r"st2 was not seen \(unreachable\)"):
        to_make(Seen({"st1": Rings(ring())}, {"st2": "unreachable"}), wanted=WANTED)


def test_copies_are_taken_of_storage_nodes_only() -> None:
    """A module for each kind, the devices' folder, and nobody else's address."""
    text = modules(["10.0.0.14", "10.0.0.15"])
    assert [line for line in text.splitlines() if line.startswith("[")] == ["[account]", "[container]", "[object]"]
    assert text.count("hosts allow = 10.0.0.14 10.0.0.15\n") == 3
