"""What a node sees of the cloud's services: which of them listen on it, and who answers it at given places."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_interface
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.select import role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.openstack.ask import Answer, Base, ask, base_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result

NODES = role("controller") | role("storage") | role("network") | role("compute") | role("loadbalancer")
# Where the services listen unless they are told otherwise (OpenStack's install guide, "Firewalls and default ports").
PORTS = {
    5000: "identity",
    8004: "orchestration",
    8041: "metric",
    8080: "object-store",
    8774: "compute",
    8776: "volume",
    8778: "placement",
    9292: "image",
    9696: "network",
    9876: "load-balancer",
}
_LOOK = r"""
for f in /proc/net/tcp /proc/net/tcp6; do if [ -e $f ]; then cat $f; fi; done
echo ----
ip -o address show up scope global
"""
_LISTEN = "0A"  # proc(5), /proc/net/tcp: TCP_LISTEN
_EVERY = frozenset({"0.0.0.0", "::", "::ffff:0.0.0.0"})  # noqa: S104  compared, not bound


@dataclass(frozen=True)
class Heard:
    """A service that listens on a node: at `address` ('' for every one that the node has) and `port`."""

    kind: str
    address: str
    port: int
    scheme: str = "http"


@dataclass(frozen=True)
class View:
    """One node's view. `addresses` are its own, with their prefix; `balancer` is the virtual address that it carries.

    `answers` are by place, `http://10.0.0.11:8080`.
    """

    addresses: tuple[str, ...] = ()
    heard: tuple[Heard, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    balancer: str = ""


def services_seen(task: Task, *, places: Sequence[str] = (), ports: Sequence[int] = ()) -> Result[View]:
    """Observe which services listen here (on the usual ports, and `ports`), and who answers at `places` (URLs) from here."""
    node = Node(task)
    said, _, own = node.read(sh(_LOOK, label="look at ports and addresses")).stdout.partition("----\n")
    addresses = tuple(line.split()[3] for line in own.splitlines())
    wanted = {*PORTS, *ports}
    heard = [one for address, port in listening(said) if port in wanted and (one := _hear(node, address, port))]
    bases = dict.fromkeys(base_of(place) for place in places)
    answers = {str(base): ask(node, base) for base in bases}
    balancer = ""
    if node.host.has_parent_group("loadbalancer"):
        balancer = str(settings_of(node.host, LoadBalancer).virtual_address)
    return node.done(View(addresses, tuple(dict.fromkeys(heard)), answers, balancer))


def listening(text: str) -> tuple[tuple[str, int], ...]:
    """Address and port of every TCP listener, of what /proc/net/tcp and tcp6 hold. The address is '' for every one. Pure."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and words[3] == _LISTEN:  # noqa: PLR2004  the number of the column
            raw, _, port = words[1].partition(":")
            address = _address(raw)
            found.append(("" if address in _EVERY else address, int(port, 16)))
    return tuple(dict.fromkeys(found))


def _address(raw: str) -> str:
    """The address that the kernel writes as 32 bit words in the machine's byte order (little endian where OpenStack runs)."""
    packed = b"".join(bytes.fromhex(raw[i : i + 8])[::-1] for i in range(0, len(raw), 8))
    if len(packed) == 4:  # noqa: PLR2004  bytes
        return str(IPv4Address(packed))
    long = IPv6Address(packed)
    return str(long.ipv4_mapped or long)


def _hear(node: Node, address: str, port: int) -> Heard | None:
    for scheme in ("http", "https"):
        kind = ask(node, Base(scheme, address or "127.0.0.1", port)).kind
        if kind:
            return Heard(kind, address, port, scheme)
    return None


def own_addresses(view: View, one: Heard) -> tuple[str, ...]:
    """The addresses, with prefix, at which others reach a service that listens on a node. Pure."""
    if not one.address:
        return view.addresses
    return tuple(own for own in view.addresses if str(ip_interface(own).ip) == one.address)
