"""Swift's rings: where in the cluster an object is. Every storage node has the same, made there of the inventory alone.

A ring is the same to the byte wherever Swift makes it of the same devices in the same order with the same seed
(`RingData.save`: "the same ring data creates the same bytes on disk"), so nothing is copied, and it is looked at afterwards.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Stage
from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.settings import settings_of
from nornir_stack.tasks.openstack.plane import STORAGE, address_of
from nornir_stack.tasks.openstack.settings import Swift

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.inventory import Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

SERVERS = {"account": 6202, "container": 6201, "object": 6200}
_POWER = "10"  # 1024 partitions: some ten disks, in the years to come
_REPLICAS = 3
_MAGIC = struct.Struct("!4sHI")  # swift/common/ring/ring.py, RingData.serialize_v1: R1NG, version, length of the JSON
_LOOK = r"""
set -e
for n in account container object; do
    f=/etc/swift/$n.ring.gz
    if [ -s "$f" ]; then
        sum=$(sha256sum <"$f")
        echo "$n ${sum%% *} $(gzip -dc "$f" | head -c 262144 | base64 | tr -d '\n')"
    fi
done
if [ -e /etc/swift/swift.conf ]; then
    echo "words $(grep -E '^swift_hash_path_(suffix|prefix)' /etc/swift/swift.conf | tr -d ' ' | sort | sha256sum)"
fi
"""
# Sets of Python's are gone through in the order of their hashes, and those of strings are random unless told.
_MAKE = r"""
set -e
export PYTHONHASHSEED=0
cd /etc/swift
n=$1 replicas=$2 power=$3
shift 3
rm -f "$n.builder"
swift-ring-builder "$n.builder" create "$power" "$replicas" 1 >/dev/null
swift-ring-builder "$n.builder" add "$@" >/dev/null
swift-ring-builder "$n.builder" rebalance nornir_stack >/dev/null || [ $? -eq 1 ]
chown swift:swift "$n.builder" "$n.ring.gz"
"""


@dataclass(frozen=True)
class Ring:
    """A ring's file: its checksum, and its devices as `10.0.0.5:6200/d1`."""

    sum: str
    devices: frozenset[str]


@dataclass(frozen=True)
class Rings:
    """The rings of a node by kind, and a checksum of Swift's two secret words ('' without a file of them)."""

    have: Mapping[str, Ring]
    words: str = ""


@dataclass(frozen=True)
class Layout:
    """What the inventory says: zone, address and name of every device, in declared order; a node is a zone.

    `nodes` are the hosts that have one: others of the role storage have to do with volumes only.
    """

    devices: tuple[tuple[int, str, str], ...]
    replicas: int
    nodes: tuple[str, ...]

    def of(self, kind: str) -> frozenset[str]:
        return frozenset(f"{address}:{SERVERS[kind]}/{name}" for _, address, name in self.devices)

    def words(self, kind: str) -> tuple[str, ...]:
        """As `swift-ring-builder add` takes them, each with its weight."""
        hosts = [(zone, f"[{address}]" if ":" in address else address, name) for zone, address, name in self.devices]
        return tuple(word for zone, host, name in hosts for word in (f"r1z{zone}-{host}:{SERVERS[kind]}/{name}", "100"))


def layout(inventory: Inventory) -> Layout:
    """Of all hosts of the role storage. Raises UsageError where they do not agree on how often an object is kept. Pure."""
    names = STORAGE.hosts(inventory)
    said = {name: settings_of(inventory.hosts[name], Swift) for name in names}
    devices = tuple(
        (zone, address_of(inventory.hosts[name]), device) for zone, name in enumerate(names, 1) for device in said[name].devices
    )
    nodes = tuple(name for name in names if said[name].devices)
    wishes = {said[name].replicas for name in nodes}
    if len(wishes) > 1:
        told = ", ".join(f"{name}: {said[name].replicas or 'not said'}" for name in nodes)
        raise UsageError(f"swift.replicas is one number for all storage nodes, and not {told}")
    return Layout(devices, next(iter(wishes), None) or min(_REPLICAS, len(devices)), nodes)


def rings(task: Task) -> Result[Rings]:
    """Observe this node's rings."""
    node = Node(task)
    return node.done(parse(node.read(sh(_LOOK, label="look at Swift's rings")).stdout))


def parse(said: str) -> Rings:
    """Of what the look printed. Raises Refused for a ring in a form that is not known. Pure."""
    have: dict[str, Ring] = {}
    words = ""
    for line in said.splitlines():
        kind, check, *rest = line.split()
        if kind == "words":
            words = check
        else:
            have[kind] = Ring(check, _devices(kind, base64.b64decode("".join(rest))))
    return Rings(have, words)


def _devices(kind: str, head: bytes) -> frozenset[str]:
    magic, version, length = _MAGIC.unpack_from(head.ljust(_MAGIC.size, b"\0"))
    if (magic, version) != (b"R1NG", 1):
        raise Refused(f"{kind}.ring.gz is not a ring of Swift's version 1")
    found: list[Any] = json.loads(head[_MAGIC.size : _MAGIC.size + length])["devs"]
    return frozenset(f"{one['ip']}:{one['port']}/{one['device']}" for one in found if one)


def make_rings(task: Task) -> Result[None]:
    """Those rings that this node lacks. The plan of `openstack.control_plane` says on which nodes this may be done."""
    node = Node(task)
    wanted = layout(task.nornir.inventory)
    have = parse(node.read(sh(_LOOK, label="look at Swift's rings"), independent=True).stdout).have
    for kind in SERVERS:
        if kind not in have:
            ring = sh(_MAKE, kind, str(wanted.replicas), _POWER, *wanted.words(kind), label=f"the ring of {kind}")
            devices = " ".join(sorted(wanted.of(kind)))
            node.change(ring, diff=f"+ring {kind}: {devices}, {wanted.replicas} replicas\n")
    return node.done()


def to_make(seen: Seen[Rings], *, wanted: Layout) -> Chain:
    """The rings on the nodes that lack one. Raises Refused where those that are there are not what would be made."""
    for host, why in seen.missing.items():
        raise Refused(f"{host} was not seen ({why}): its rings may be others")
    if problems := differing(seen):
        raise Refused("; ".join(problems))
    lacking = {host: [kind for kind in SERVERS if kind not in one.have] for host, one in seen.items()}
    lacking = {host: kinds for host, kinds in lacking.items() if kinds}
    for kind in SERVERS:
        for host, one in seen.items():
            if (
                kind in one.have
                and one.have[kind].devices != wanted.of(kind)
                and any(kind in each for each in lacking.values())
            ):
                others = ", ".join(each for each, kinds in lacking.items() if kind in kinds)
                raise Refused(
                    f"the ring of {kind} on {host} has {', '.join(sorted(one.have[kind].devices))}, and the inventory"
                    f" {', '.join(sorted(wanted.of(kind)))}; {others} has none: rings are made once here, so change them with"
                    f" swift-ring-builder on {host}, and copy its builders and rings to {others}"
                )
    if not lacking:
        return Chain("rings")
    until = Check(rings, differing, hosts(*seen))
    return Chain("rings", Stage("made", [make_rings], hosts(*lacking), until=until))


def differing(seen: Seen[Rings]) -> list[str]:
    """The rings that are there, and the words that Swift finds places by, are the same on all nodes."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for kind in SERVERS:
        sums = {host: one.have[kind].sum for host, one in seen.items() if kind in one.have}
        if len(set(sums.values())) > 1:
            told = ", ".join(f"{host} {check[:8]}" for host, check in sums.items())
            problems.append(f"the rings of {kind} differ ({told}): copy the right ones, builders too, to the other nodes")
    words = {host: one.words for host, one in seen.items() if one.words and one.have}
    if len(set(words.values())) > 1:
        problems.append(f"swift_hash_path_suffix and _prefix differ between {', '.join(words)}: each finds objects elsewhere")
    return problems
