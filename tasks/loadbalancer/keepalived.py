"""The virtual address of balancers that share it: keepalived, which moves it to one whose haproxy answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.seen import Seen
from nornir_stack.select import role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer.config import template_text
from nornir_stack.tasks.loadbalancer.pair import (
    ANSWERS,
    CONFIG,
    GONE,
    LOADED,
    OURS,
    conf,
    pair_of,
    parse,
    refuse,
    understood,
)
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.firewall import firewall
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import service
from nornir_stack.tasks.system.templates import render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.loadbalancer.pair import Pair, Sight

_DROP_IN = "/etc/systemd/system/keepalived.service.d/nornir-stack.conf"
_LOOK_SECONDS = 150.0
# $1 own address, $2 virtual address, $3 configuration, $4 checksum of the loaded one, then the peers. An address at which a
# machine answers ARP has a hardware address in the kernel's table once it was pinged, even where ping itself is dropped. An
# entry of a machine that left stays for up to a minute: it is given that time to be proved or to fail.
_LOOK = r"""
own=$1 virtual=$2 config=$3 loaded=$4
shift 4
card=$(ip -o -4 address show to "$own" | { read -r _ name _; echo "$name"; })
[ -z "$card" ] || echo "interface $card"
[ ! -e "$config" ] || { IFS= read -r line <"$config"; echo "config $line"; }
[ ! -e "$loaded" ] || { read -r sum _ <"$loaded"; echo "loaded $sum"; }
if ip -o -4 address show to "$virtual" | grep -q .; then echo here; else set -- "$virtual" "$@"; fi
if [ -n "$card" ]; then
    for address; do ping -c 1 -W 1 "$address" >/dev/null 2>&1 & done
    wait
    if [ "$1" = "$virtual" ]; then
        turns=60
        while [ "$turns" -gt 0 ]; do
            case $(ip -4 neighbour show "$virtual" dev "$card") in
            *REACHABLE*|*STALE*|*DELAY*|*PROBE*) ping -c 1 -W 1 "$virtual" >/dev/null 2>&1 && break ;;
            *) break ;;
            esac
            turns=$((turns - 1))
        done
    fi
    for address; do
        ip -4 neighbour show "$address" dev "$card" | sed -n 's/.*lladdr \([0-9a-f:]*\) .*/\1/p' | {
            read -r hardware && echo "neighbour $address $hardware"
        }
    done
    ip -4 neighbour show dev "$card" | sed -n 's/^\([^ ]*\) .*lladdr 00:00:5e:00:01:\(..\) .*/router \2 \1/p'
fi
:
"""
_HELD = r"""
ip -o -4 address show to "$1" | grep -q . && echo here
for unit in keepalived haproxy; do systemctl -q is-active "$unit" && echo "$unit"; done
:
"""


def keepalived(task: Task, *, join: bool = True) -> Result[str | None]:
    """Have keepalived share the virtual address with the other balancers that name it; the value is this one's priority.

    It speaks VRRP to those balancers alone, and gives the address up as soon as haproxy does not answer. A change is a
    reload, which leaves the address where it is. After one of the number or the secret the others are not understood: who
    stands by is stopped until the next call, else both would take the address. Before it is first taken one looks whether
    anybody answers there. Raises Refused where somebody does, for a keepalived.conf of somebody else, and for a virtual
    router of the same number. Skipped where the inventory does not ask for it.

    join: no: a keepalived that does not run is not started yet.
    """
    node = Node(task)
    mine = settings_of(task.host, LoadBalancer)
    if mine.keepalived is None:
        return cast("Result[str | None]", node.skipped("the virtual address is not shared: no loadbalancer.keepalived"))
    pair = pair_of(node.name, task.nornir.inventory)
    seen = look(node, pair)
    refuse(pair, seen)
    text = conf(pair, seen.interface)
    unit = family(node).unit("keepalived")
    node.make_folder(_DROP_IN.rpartition("/")[0])
    if pair.peers:
        node.then(open_to_peers, peers=sorted(pair.peers.values()))
    node.then(packages, present=[*family(node).package("keepalived"), "socat"], no_start=True)
    about = {"stats_socket": mine.stats_socket, "unit": family(node).unit("haproxy")}
    for path, name in ((ANSWERS, "haproxy-answers"), (GONE, "haproxy-lets-go")):
        node.write_file(path, _text(name, about), mode="0755", independent=True)
    told = {"config": CONFIG, "loaded": LOADED, "virtual": pair.virtual, "interface": seen.interface, "gone": GONE}
    if node.write_file(_DROP_IN, _text("keepalived-unit.conf", told), independent=True):
        node.change("systemctl", "daemon-reload", repeatable=True)
    before = node.read_file(CONFIG, independent=True)
    node.write_file(CONFIG, text, mode="0600", independent=True)
    stale = bool(seen.loaded) and seen.loaded != hashlib.sha256(text.encode()).hexdigest()
    aside = stale and not seen.here and not understood(before, text)
    if aside:
        node.change("systemctl", "stop", unit, what="stand aside until the other speaks so too", repeatable=True)
    elif stale:
        node.change("systemctl", "try-reload-or-restart", unit, repeatable=True)
    if join and not aside:
        node.then(service, unit=unit, state="started", enabled=True)
    return node.done(str(pair.priority))


def open_to_peers(task: Task, *, peers: Sequence[str]) -> Result[None]:
    """VRRP (IP protocol 112) open for the other balancers, where a firewall is."""
    node = Node(task)
    opened = firewall(task, purpose="vrrp", ports=["vrrp"], sources=peers)
    return node.skipped(opened.skipped) if opened.skipped else node.done()


def look(node: Node, pair: Pair) -> Sight:
    """One read: cards, files, and who answers at which address."""
    script = sh(_LOOK, pair.own, pair.virtual, CONFIG, LOADED, *pair.peers.values(), label=f"who has {pair.virtual}")
    return parse(node.read(script, independent=True, timeout=_LOOK_SECONDS).stdout)


def _text(name: str, values: Mapping[str, str]) -> str:
    return render(f"{name}.j2", template_text(f"{name}.j2"), values)


def retire(node: Node) -> None:
    """End a keepalived that these tasks set up: the address is one balancer's alone from now on."""
    written = node.read_file(CONFIG, independent=True)
    if written is None or not written.startswith(OURS):
        return
    unit = family(node).unit("keepalived")
    node.change("systemctl", "disable", "--now", unit, repeatable=True)
    for path in (CONFIG, _DROP_IN, ANSWERS, GONE):
        node.remove_file(path)
    node.change("systemctl", "daemon-reload", repeatable=True)


@dataclass(frozen=True)
class Held:
    """A balancer and its virtual address: `here` (it has it), `shared`, and whether keepalived and haproxy run.

    `peers` are the others that the inventory gives the same address.
    """

    address: str
    shared: bool
    here: bool
    keepalived: bool
    haproxy: bool
    peers: tuple[str, ...] = ()


def holder(task: Task) -> Result[Held]:
    """Observe whether this balancer has the virtual address now."""
    node = Node(task)
    mine = settings_of(task.host, LoadBalancer)
    said = set(node.read(sh(_HELD, str(mine.virtual_address))).lines)
    shared = mine.keepalived is not None
    inventory = task.nornir.inventory
    peers = tuple(
        other
        for other in role("loadbalancer").hosts(inventory)
        if other != node.name and settings_of(inventory.hosts[other], LoadBalancer).virtual_address == mine.virtual_address
    )
    return node.done(Held(str(mine.virtual_address), shared, "here" in said, "keepalived" in said, "haproxy" in said, peers))


def one_holds(seen: Seen[Held]) -> list[str]:
    """Each virtual address is on exactly one balancer, and keepalived runs on all that share one."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    problems += [f"{host}: keepalived does not run" for host, held in seen.items() if held.shared and not held.keepalived]
    for address in dict.fromkeys(held.address for _, held in seen.items()):
        holders = [host for host, held in seen.items() if held.address == address and held.here]
        if not holders:
            problems.append(f"nobody has the virtual address {address}")
        if len(holders) > 1:
            problems.append(f"{' and '.join(holders)} have the virtual address {address} at once: they do not hear each other")
    return problems


def nobody_else(seen: Seen[Held], host: str) -> list[str]:
    """Why `host` may not give its shared address away: none of those that share it would take it."""
    if host not in seen:
        return [f"{host} was not seen: {seen.missing.get(host, '')}"]
    mine = seen[host]
    if not mine.shared or not mine.peers or any(_serves(seen, peer) for peer in mine.peers):
        return []
    whys = (f"{peer} {'does not run both haproxy and keepalived' if peer in seen else 'was not seen'}" for peer in mine.peers)
    return [f"nobody would take the virtual address {mine.address} from {host}: {', '.join(whys)}"]


def _serves(seen: Seen[Held], host: str) -> bool:
    return host in seen and seen[host].keepalived and seen[host].haproxy


def given_away(seen: Seen[Held], host: str) -> list[str]:
    """That the address which `host` shares is on exactly one other."""
    if host not in seen:
        return [f"{host} was not seen: {seen.missing.get(host, '')}"]
    holders = [other for other in (host, *seen[host].peers) if other in seen and seen[other].here]
    if len(holders) == 1 and holders[0] != host:
        return []
    who = " and ".join(holders) or "nobody"
    return [f"the virtual address {seen[host].address} is on {who}, and not on another than {host}"]


def one_of_them_holds(seen: Seen[Held], host: str) -> list[str]:
    """`one_holds`, of those alone that share an address with `host`."""
    if host not in seen:
        return [f"{host} was not seen: {seen.missing.get(host, '')}"]
    return one_holds(Seen({other: held for other, held in seen.items() if other in {host, *seen[host].peers}}))


def in_turn(seen: Seen[Held]) -> list[str]:
    """Balancers in the order in which they are changed: those that do not serve, the others, who has a shared address last."""

    def place(host: str) -> int:
        held = seen.values.get(host)
        if held is None or not held.haproxy:
            return 0
        return 2 if held.shared and held.here else 1

    return sorted(seen.hosts, key=place)


def others_serve(seen: Seen[Held], host: str, before: Seen[Held]) -> list[str]:
    """Why `host` may not be changed now: another balancer that served at the beginning no longer does."""
    return [
        f"haproxy on {other} {'does not run any more' if other in seen else 'was not seen'}: {host} is left alone"
        for other, held in before.items()
        if other != host and held.haproxy and not (other in seen and seen[other].haproxy)
    ]
