"""What packstack needs of the nodes before it begins: looked at on each, and judged for all. What is wrong is a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.openstack.external import of_inventory
from nornir_stack.tasks.openstack.plane import COMPUTE, NETWORK, STORAGE, address_of, plane_of
from nornir_stack.tasks.packstack.answers import VOLUME_GROUP
from nornir_stack.tasks.packstack.settings import Packstack
from nornir_stack.tasks.storage.settings import Storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir.core.inventory import Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

# What a version wants that others do not. Kilo's manifest takes libvirt's network `default` away and fails where there is
# none; 26.0.0 asks first (puppet/modules/packstack/manifests/nova/compute/libvirt.pp).
NEEDS_DEFAULT_NETWORK = ("kilo",)
# $1: the program of packstack; "-" on nodes that it does not run on. $2: user@address of every other node, for that one.
# The options of ssh are packstack's own; without a terminal it could not ask for a password either.
_LOOK = r"""
export LC_ALL=C
program=$1; shift
systemctl is-active --quiet NetworkManager.service && echo networkmanager active
systemctl is-enabled --quiet NetworkManager.service 2>/dev/null && echo networkmanager enabled
for d in /sys/class/net/*; do echo "nic ${d##*/}"; done
echo "called $(uname -n)"
getent ahostsv4 "$(uname -n)" | sed -n 's/^\([^ ]*\) *STREAM.*/is \1/p'
if command -v vgs >/dev/null; then vgs --noheadings -o vg_name 2>/dev/null | sed 's/^ */group /'; fi
if command -v virsh >/dev/null; then virsh net-list --all --name 2>/dev/null | sed -n 's/^\(..*\)$/virtual \1/p'; fi
[ "$program" != - ] || exit 0
[ -x "$program" ] && echo "program"
[ -s /root/.ssh/id_rsa.pub ] && echo "key"
for node; do
    ssh -n -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        "root@$node" true 2>/dev/null && echo "reaches $node"
done
:
"""
_SECONDS = 300.0


@dataclass(frozen=True)
class Ready:
    """A node as packstack will find it. `addresses` are those of its own name; `reaches`, on the controller, by ssh as root."""

    network_manager: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()
    called: str = ""
    addresses: tuple[str, ...] = ()
    volume_groups: tuple[str, ...] = ()
    virtual_networks: tuple[str, ...] = ()
    program: bool = False
    key: bool = False
    reaches: tuple[str, ...] = ()


def ready(task: Task) -> Result[Ready]:
    """Observe what packstack needs of this node."""
    node = Node(task)
    inventory = task.nornir.inventory
    plane = plane_of(inventory)
    words = ["-"]
    if node.name == plane.controller:
        others = [address_of(inventory.hosts[name]) for name in nodes(inventory)]
        words = [settings_of(task.host, Packstack).program, *dict.fromkeys(others)]
    return node.done(parse(node.read(sh(_LOOK, *words, label="what packstack needs"), timeout=_SECONDS).stdout))


def nodes(inventory: Inventory) -> tuple[str, ...]:
    """The hosts that packstack works on, in declared order."""
    wanted = {plane_of(inventory).controller, *(name for one in (NETWORK, COMPUTE, STORAGE) for name in one.hosts(inventory))}
    return tuple(name for name in inventory.hosts if name in wanted)


def parse(text: str) -> Ready:
    """What the look printed. Pure."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        found.setdefault(word, []).append(rest)
    return Ready(
        network_manager=tuple(found.get("networkmanager", ())),
        nics=tuple(found.get("nic", ())),
        called="".join(found.get("called", ())),
        addresses=tuple(dict.fromkeys(found.get("is", ()))),
        volume_groups=tuple(found.get("group", ())),
        virtual_networks=tuple(found.get("virtual", ())),
        program="program" in found,
        key="key" in found,
        reaches=tuple(found.get("reaches", ())),
    )


@dataclass(frozen=True)
class Wanted:
    """What has to be so, as the inventory says it: host to address, host to the cards that it must have."""

    controller: str
    addresses: Mapping[str, str]
    nics: Mapping[str, tuple[str, ...]]
    volume_group: tuple[str, ...]
    default_network: tuple[str, ...]
    program: str


def wanted_of(inventory: Inventory) -> Wanted:
    """What has to be so. Raises UsageError as `answers` does."""
    plane = plane_of(inventory)
    own = settings_of(inventory.hosts[plane.controller], Packstack)
    network, compute = NETWORK.hosts(inventory) or (plane.controller,), COMPUTE.hosts(inventory)
    outside = [one.nic for one in of_inventory(inventory).external.values()]
    tunnel = [own.tunnel_nic] if own.tunnel_nic else []
    cards = {name: [*(outside if name in network else ()), *tunnel] for name in (*network, *compute)}
    stores = [name for name in STORAGE.hosts(inventory) if VOLUME_GROUP in _groups(inventory, name)]
    return Wanted(
        plane.controller,
        {name: address_of(inventory.hosts[name]) for name in nodes(inventory)},
        {name: tuple(dict.fromkeys(those)) for name, those in cards.items()},
        tuple(stores),
        compute if own.version in NEEDS_DEFAULT_NETWORK else (),
        own.program,
    )


def _groups(inventory: Inventory, name: str) -> tuple[str, ...]:
    return tuple(settings_of(inventory.hosts[name], Storage).volume_groups)


def unready(seen: Seen[Ready], wanted: Wanted) -> list[str]:
    """What is not as packstack needs it, with what to do. Pure."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, now in seen.items():
        problems += [f"{host}: {text}" for text in _of_node(host, now, wanted)]
    return problems


def _of_node(host: str, now: Ready, wanted: Wanted) -> Iterator[str]:
    if now.network_manager:
        state = " and ".join(now.network_manager)
        yield f"NetworkManager is {state}: Neutron does not work beside it; have another service keep the network, disable it"
    if wanted.addresses[host] not in now.addresses:
        found = ", ".join(now.addresses) or "nothing"
        yield f"its own name {now.called!r} leads to {found}, not to {wanted.addresses[host]}: system.hosts_file mends that"
    for nic in wanted.nics.get(host, ()):
        if nic not in now.nics:
            has = ", ".join(name for name in now.nics if name != "lo")
            yield f"there is no {nic} (it has {has}): packstack takes one name of a card for all nodes, so rename it here"
    if host in wanted.volume_group and VOLUME_GROUP not in now.volume_groups:
        yield f"there is no volume group {VOLUME_GROUP}: storage.volume_group makes it"
    if host in wanted.default_network and "default" not in now.virtual_networks:
        yield (
            "libvirt has no network 'default': this packstack takes it away, and fails where there is none:"
            " hypervisor.default_network makes it"
        )
    if host == wanted.controller:
        yield from _of_controller(now, wanted)


def _of_controller(now: Ready, wanted: Wanted) -> Iterator[str]:
    if not now.program:
        yield f"there is no {wanted.program}: install openstack-packstack from RDO, or say packstack.program"
    if not now.key:
        yield "there is no /root/.ssh/id_rsa.pub: packstack logs in to all nodes with that key"
        return
    for name, address in wanted.addresses.items():
        if address not in now.reaches:
            yield f"root does not get into {name} ({address}) by ssh without being asked: system.authorized_keys lets it in"
