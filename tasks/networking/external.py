"""Public networks brought to the instances behind a physical host: bridged, routed, or by proxy ARP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Stage
from nornir_stack.command import command, sh
from nornir_stack.confirmed import File, Network, confirmed
from nornir_stack.errors import Refused
from nornir_stack.inventory.networks import networks_of
from nornir_stack.node import Node
from nornir_stack.select import role
from nornir_stack.settings import dotted, settings_of
from nornir_stack.tasks.networking.citizen import FAMILIES, TABLE, Guarded, answered, rules
from nornir_stack.tasks.networking.links import links
from nornir_stack.tasks.networking.observe import look
from nornir_stack.tasks.networking.router import static_routes
from nornir_stack.tasks.networking.uplink import External, leases, own_ranges, wrong

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.command import Command
    from nornir_stack.inventory.networks import Network as PlannedNetwork
    from nornir_stack.results import Result
    from nornir_stack.tasks.networking.observe import NodeNetwork

RULES = "/etc/nornir-stack/external.nft"
UNIT = "nornir-stack-external.service"
PATH = f"/etc/systemd/system/{UNIT}"
_FORWARD = "/proc/sys/net/ipv4/ip_forward"
_EARLY = "/etc/sysctl.d/90-nornir-stack-external.conf"  # of releases that forwarded before the rules stood, at a boot
_TARGETS = ("multi-user.target", "nftables.service")
_HOST = role("hypervisor")

# As the kernel prints them: the file's rules out of a network namespace of its own, then those that are loaded.
_LOOK = r"""
command -v nft >/dev/null || { echo missing; exit; }
list='for f in ip arp bridge; do nft -s list table $f "$1" 2>/dev/null; done; :'
unshare --net sh -c "nft -f - || exit 3; $list" sh "$1" || exit
printf '\036'
eval "$list"
"""
# No answer is given before the rules stand, and none after they went: both are of one unit. nftables.service flushes all
# tables when it stops, starts or reloads: these go with it and come again with it. firewalld touches its own table only.
_UNIT = """[Unit]
Description=Rules for public networks behind this host, and proxy ARP by them
After=network.target nftables.service firewalld.service
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec '{start}'
ExecReload=/bin/sh -ec '{start}'
ExecStop=/bin/sh -c '{stop}'
[Install]
WantedBy=multi-user.target nftables.service
"""


@dataclass(frozen=True)
class Answers:
    """By network the ranges that are let through; `kept_back` are routes for which proxy ARP would answer without the rules."""

    own: Mapping[str, tuple[str, ...]]
    kept_back: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """The rules, the cards that answer by them, and whether anything is forwarded."""

    rules: str
    cards: Sequence[str]
    forward: bool


def good_citizen(task: Task, *, within: float = 60) -> Result[Answers]:
    """Have packets of the host's public networks forwarded, by the rules of `citizen`, and answered for where it is proxy ARP.

    The routes that will be answered for are compared with the own ranges first. Raises Refused where a network has no
    route to its bridge, or nft is not there; Undone where the rules cut the node off.
    """
    node = Node(task)
    external = settings_of(task.host, External)
    if not external.networks and node.stat(RULES) is None:
        return node.done(Answers({}))
    networks = networks_of(task.host.defaults)
    complaints = [
        f"{node.name}: {dotted(External.key, 'networks', name)}: {text}"
        for name, uplink in external.networks.items()
        for text in wrong(name, uplink, networks, external)
    ]
    if complaints:
        raise Refused("\n".join(complaints))
    now = look(node)
    guarded = {name: _guarded(networks[name], external, name, now) for name in external.networks}
    kept = [route for name in guarded for route in compared(guarded[name], now, node.name)]
    wanted = rules(list(guarded.values()))
    cards = sorted({one.card for one in guarded.values() if one.mode == "proxy_arp"})
    forward = any(one.mode != "bridged" for one in guarded.values())
    _apply(node, Wanted(wanted, cards, forward), now, within)
    return node.done(Answers({name: one.own for name, one in guarded.items()}, tuple(dict.fromkeys(kept))))


def _guarded(network: PlannedNetwork, external: External, name: str, now: NodeNetwork) -> Guarded:
    uplink = external.networks[name]
    mine = now.links[uplink.card].addresses if uplink.card in now.links else ()
    addresses = tuple(str(address.ip) for address in mine if address.version == 4)  # noqa: PLR2004
    gateway = "" if uplink.mode == "bridged" else str(network.gateway)
    return Guarded(uplink.mode, uplink.card, uplink.bridge, own_ranges(network, uplink), gateway, addresses)


def compared(one: Guarded, now: NodeNetwork, host: str) -> list[str]:
    """The routes, as text, that proxy ARP on the card would answer for beside the own range, and the rules keep back.

    Raises Refused where the own range does not go to the bridge (it would be answered for and lead nowhere), and where the
    card that answers has its address by DHCP. Pure.
    """
    if one.card not in now.links:
        raise Refused(f"{host}: there is no network device {one.card}: check its name (ip link)")
    if one.mode == "bridged":
        return []
    own = [ip_network(word) for word in one.own]
    ways = [route for route in now.routes if route.table == "main" and route.target.version == 4]  # noqa: PLR2004
    for mine in own:
        best = max((way for way in ways if mine.subnet_of(way.target)), key=lambda way: way.target.prefixlen, default=None)  # type: ignore[arg-type]
        if best is None or best.link != one.bridge:
            where = f"to {best.link}" if best else "nowhere"
            raise Refused(f"{host}: the route of {mine} goes {where}, not to {one.bridge}: run network.links first")
    if one.mode != "proxy_arp":
        return []
    if held := leases(now.links[one.card]):
        raise Refused(
            f"{host}: {one.card} has {held[0]} by DHCP: the rules name the addresses that the card may answer for, and the next"
            " lease would be cut off by them: give it a static address (network.links), or take another way than proxy_arp"
        )
    foreign = [route for route in answered(now, one.card) if not any(route.target.subnet_of(mine) for mine in own)]  # type: ignore[arg-type]
    return [f"{route.target} by {route.link}" for route in foreign]


def unit(cards: Sequence[str], *, forward: bool = False) -> str:
    """The unit that loads the rules, then has packets forwarded, then the cards answer. Others may forward too: it stays."""
    start = [f"nft -f {RULES}", *([f"echo 1 >{_FORWARD}"] if forward else [])]
    start += [f"echo 1 >/proc/sys/net/ipv4/conf/{card}/proxy_arp" for card in cards]
    stop = [f"echo 0 >/proc/sys/net/ipv4/conf/{card}/proxy_arp" for card in cards]
    stop += [f"nft delete table {family} {TABLE} 2>/dev/null" for family in FAMILIES]
    return _UNIT.format(start="; ".join(start), stop="; ".join([*stop, ":"]))


def cards_of(unit_file: str) -> list[str]:
    """The cards that a unit of ours has answer. Pure."""
    return re.findall(r"echo 1 >/proc/sys/net/ipv4/conf/([^/\s]+)/proxy_arp", unit_file.partition("ExecReload")[0])


def _apply(node: Node, wanted: Wanted, now: NodeNetwork, within: float) -> None:
    canonical, live = _loaded(node, wanted.rules)
    cards = wanted.cards
    files = ((RULES, wanted.rules), (PATH, unit(cards, forward=wanted.forward)))
    steps: list[Command | File] = [File(path, text) for path, text in files if node.read_file(path) != text]
    off = [card for card in cards_of(node.read_file(PATH) or "") if card not in cards and card in now.proxy_arp]
    silent = [card for card in cards if card not in now.proxy_arp]
    early = node.stat(_EARLY) is not None
    if early:
        steps.append(command("rm", "-f", "--", _EARLY))
    if not steps and canonical == live and not silent and now.forwarding >= wanted.forward:
        return
    if node.stat(RULES.rpartition("/")[0]) is None:
        steps.insert(0, command("mkdir", "-p", RULES.rpartition("/")[0]))
    steps += [_answer(card, on=False) for card in off]  # the unit that knew of them is no more
    steps += [
        command("systemctl", "daemon-reload"),
        command("systemctl", "enable", UNIT),
        command("systemctl", "restart", UNIT),
    ]
    back = [command("systemctl", "daemon-reload"), *(_answer(card, on=card in now.proxy_arp) for card in (*cards, *off))]
    if wanted.forward and not now.forwarding:
        back.append(sh('echo 0 >"$1"', _FORWARD))

    def check(node: Node) -> Sequence[str]:
        canonical, live = _loaded(node, wanted.rules)
        left = [] if canonical == live else ["the rules that are loaded are not those of the file"]
        seen = look(node)
        on = seen.proxy_arp
        left += ["nothing is forwarded"] if wanted.forward > seen.forwarding else []
        return [*left, *(f"{card} does not answer by proxy ARP" for card in cards if card not in on)]

    confirmed(
        node,
        steps,
        undo=Network([RULES, PATH, _EARLY, *(f"/etc/systemd/system/{target}.wants/{UNIT}" for target in _TARGETS)], back),
        check=check,
        within=within,
    )


def _answer(card: str, *, on: bool) -> Command:
    return sh('echo "$2" >"/proc/sys/net/ipv4/conf/$1/proxy_arp"', card, str(int(on)))


def _loaded(node: Node, wanted: str) -> tuple[str, str]:
    """The rules of a file as the kernel prints them, and those that are loaded."""
    found = node.read(sh(_LOOK, TABLE, stdin=wanted, label="look at the rules for public networks"), ok=(0, 3))
    if found.status:
        raise Refused(f"{node.name}: nft does not take the rules: {found.stderr.strip()}")
    if found.text == "missing":
        raise Refused(f"{node.name}: nftables is not installed, and without its rules it would answer for others: install it")
    canonical, _, live = found.stdout.partition("\x1e")
    return canonical, live


def external() -> Chain:
    """Public networks reach their instances, each as the inventory's `external` says: bridged, routed or by proxy ARP.

    The network nodes get their links, the physical hosts theirs, with rules; then the upstream routers their static routes.
    """
    return Chain(
        "network.external",
        Stage("network nodes", [links], role("network"), serial=1),
        Stage("physical hosts", [links, good_citizen], _HOST, serial=1),
        Stage("upstream routers", [static_routes], role("router"), serial=1),
    )
