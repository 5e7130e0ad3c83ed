"""Balancers that share a virtual address: who they are, what keepalived is told, when the address may not be taken. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused, UsageError
from nornir_stack.select import role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer.config import template_text
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.system.templates import render

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.inventory import Inventory

    from nornir_stack.tasks.loadbalancer.settings import Keepalived

CONFIG = "/etc/keepalived/keepalived.conf"
LOADED = "/run/nornir-stack-keepalived.loaded"
ANSWERS = "/usr/local/sbin/haproxy-answers"
GONE = "/usr/local/sbin/haproxy-lets-go"
OURS = "# Written by nornir_stack"
_SECRET = re.compile(r"[A-Za-z0-9._-]{4,8}", re.ASCII)
# VRRP's priorities are 1 to 254. Steps of 50 let each later balancer listen 0.2 seconds longer, so that two that begin
# together do not both take the address.
_FIRST, _STEP = 250, 50


@dataclass(frozen=True)
class Pair:
    """This balancer among those that share its virtual address: addresses as text, `peers` by name."""

    name: str
    own: str
    virtual: str
    peers: Mapping[str, str]
    priority: int
    vrrp: Keepalived


@dataclass(frozen=True)
class Sight:
    """What one look at a balancer saw.

    `interface` has the balancer's own address ('': none has). `here`: it has the virtual one. `config` is the file's first
    line (None: there is none), `loaded` the checksum of what keepalived read last. `neighbours`: address to the hardware
    address that answered there; `routers`: numbers of virtual routers among the neighbours, and the address of each.
    """

    interface: str = ""
    here: bool = False
    config: str | None = None
    loaded: str = ""
    neighbours: Mapping[str, str] = field(default_factory=dict)
    routers: Mapping[int, str] = field(default_factory=dict)


def pair_of(name: str, inventory: Inventory) -> Pair:
    """The balancers that share the address of `name`. Raises UsageError where they do not agree, or one has no address."""
    mine = settings_of(inventory.hosts[name], LoadBalancer)
    all_of_them = {
        other: settings
        for other in role("loadbalancer").hosts(inventory)
        if (settings := settings_of(inventory.hosts[other], LoadBalancer)).virtual_address == mine.virtual_address
    }
    for finding in LoadBalancer.judge(all_of_them, inventory):
        if not finding.warning:
            raise UsageError(f"{finding.host}: loadbalancer.{finding.field}: {finding.text}")
    if mine.keepalived is None:
        raise UsageError(f"{name}: loadbalancer.keepalived is not set")
    addresses = {other: str(settings.address) for other, settings in all_of_them.items()}
    peers = {other: address for other, address in addresses.items() if other != name}
    priority = _FIRST - list(addresses).index(name) * min(_STEP, (_FIRST - 1) // len(addresses))
    return Pair(name, addresses[name], str(mine.virtual_address), peers, priority, mine.keepalived)


def conf(pair: Pair, interface: str) -> str:
    """keepalived.conf, with the secret in it. Raises UsageError for a secret that VRRP would cut or misread."""
    secret = pair.vrrp.secret.reveal()
    if not _SECRET.fullmatch(secret):
        raise UsageError(
            f"{pair.name}: loadbalancer.keepalived.secret: VRRP takes 4 to 8 letters, digits, dots, _ and -, not this one"
        )
    values = {
        "name": pair.name,
        "script": ANSWERS,
        "gone": GONE,
        "interface": interface,
        "router": pair.vrrp.virtual_router_id,
        "priority": pair.priority,
        "preempt": pair.vrrp.preempt,
        "own": pair.own,
        "peers": list(pair.peers.values()),
        "secret": secret,
        "virtual": pair.virtual,
    }
    return render("keepalived.conf.j2", template_text("keepalived.conf.j2"), values)


def understood(before: str | None, text: str) -> bool:
    """Whether who speaks as `text` says is understood by who speaks as the file did that was there before.

    A file that is as wanted already, and was not read yet, replaced one that nobody knows any more.
    """
    return before is not None and before != text and _words(before) == _words(text)


def _words(text: str) -> list[str]:
    spoken = ("virtual_router_id ", "auth_type ", "auth_pass ", "advert_int ", "unicast_src_ip ")
    return [line.strip() for line in text.splitlines() if line.strip().startswith(spoken)]


def parse(text: str) -> Sight:
    """What the look printed, a word and its values a line."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        said.setdefault(word, []).append(value)
    neighbours = dict(value.split(" ", 1) for value in said.get("neighbour", ()))
    routers = dict(value.split(" ", 1) for value in said.get("router", ()))
    return Sight(
        interface=said.get("interface", [""])[0],
        here="here" in said,
        config=said["config"][0] if "config" in said else None,
        loaded=said.get("loaded", [""])[0],
        neighbours=neighbours,
        routers={int(number, 16): address for number, address in routers.items()},
    )


def refuse(pair: Pair, seen: Sight) -> None:
    """Raise Refused where keepalived is somebody else's, or another machine has the address or the number."""
    if not seen.interface:
        raise Refused(
            f"{pair.name}: no network card has {pair.own}, its address among the balancers:"
            " set loadbalancer.address to the one that this node has in the network"
        )
    if seen.config is not None and not seen.config.startswith(OURS):
        raise Refused(f"{pair.name}: {CONFIG} was written by somebody else: move it away first, if nothing needs it")
    peers = {seen.neighbours[address] for address in pair.peers.values() if address in seen.neighbours}
    holder = seen.neighbours.get(pair.virtual)
    if not seen.here and holder and holder not in peers:
        raise Refused(
            f"{pair.name}: another machine ({holder}) already answers at {pair.virtual}:"
            " take it from there, or choose a free address"
        )
    number = pair.vrrp.virtual_router_id
    if number in seen.routers:
        raise Refused(
            f"{pair.name}: {seen.routers[number]} is a virtual router of the number {number} in this network:"
            " choose another loadbalancer.keepalived.virtual_router_id"
        )
