"""Which ports are to be open for whom: the value that all firewall families are made to hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from nornir_stack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Network = IPv4Network | IPv6Network
Ranges = tuple[tuple[int, int], ...]  # sorted, inclusive, neither overlapping nor touching

# Galera's manual, "Firewall settings": clients, group communication (UDP where multicast is used), IST, SST; rsync's own port.
NAMED: Mapping[str, tuple[str, ...]] = {
    "galera": ("873/tcp", "3306/tcp", "4444/tcp", "4567/tcp", "4567/udp", "4568/tcp"),
}
PROTOCOLS = ("tcp", "udp")
WHOLE: Mapping[str, int] = {"vrrp": 112}
"""Protocols without ports, by the word for them, and their numbers (IANA): a rule opens all of one."""
ALL_OF_IT: Ranges = ((0, 65535),)
FAMILIES = {4: "ip", 6: "ip6"}  # an IP version as nft calls it

_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp)")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,9}")  # firewalld's policy names, `nornir-NAME`, hold 17 characters
_LAST_PORT = 65535
IPV4, IPV6 = 4, 6


@dataclass(frozen=True)
class RuleSet:
    """A named set of ports that named sources may reach. `ports` maps a protocol to inclusive ranges."""

    name: str
    ports: Mapping[str, Ranges]
    sources: tuple[Network, ...]

    @property
    def comment(self) -> str:
        """What stands at each rule of this set, and tells whose it is."""
        return comment_of(self.name)

    def sources_of(self, version: int) -> tuple[Network, ...]:
        return tuple(source for source in self.sources if source.version == version)


@dataclass(frozen=True)
class Opened:
    """What one accepting rule opens: an IP version, a protocol, ports and sources as ranges of numbers."""

    version: int
    protocol: str
    ports: Ranges
    sources: Ranges


def comment_of(name: str) -> str:
    return f"nornir-stack {name}"


def rule_set(name: str, ports: Iterable[str], sources: Iterable[str]) -> RuleSet:
    """Read `ports` (`3306/tcp`, `5900-5999/tcp`, or a name of NAMED) and `sources` (addresses or networks).

    Raises UsageError that says how it is written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"a rule set's name has up to 10 of a-z, 0-9 and -, and begins with a letter; this is not: {name!r}")
    if isinstance(ports, str) or isinstance(sources, str):
        raise UsageError("ports and sources are lists, such as ports=['3306/tcp'] and sources=['10.0.32.0/24']")
    read = [_port(text) for word in ports if word not in WHOLE for text in NAMED.get(word, (word,))]
    by_protocol = {p: merged([(a, b) for protocol, a, b in read if protocol == p]) for p in PROTOCOLS}
    by_protocol |= {word: ALL_OF_IT for word in WHOLE if word in ports}
    return RuleSet(name, {p: ranges for p, ranges in by_protocol.items() if ranges}, _sources(sources))


def _port(text: str) -> tuple[str, int, int]:
    found = _PORT.fullmatch(text)
    if found is None:
        raise UsageError(f"{text!r} is no port: write 3306/tcp, 5900-5999/tcp, or one of {', '.join([*NAMED, *WHOLE])}")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 1 <= first <= last <= _LAST_PORT:
        raise UsageError(f"{text!r}: ports are 1 to {_LAST_PORT}, the lower one first")
    return found[3], first, last


def _sources(texts: Iterable[str]) -> tuple[Network, ...]:
    try:
        networks = {ip_network(text) for text in texts}
    except ValueError as why:
        raise UsageError(f"a source is an address or a network such as 10.0.32.0/24: {why}") from why
    kept = [n for n in networks if not any(_within(n, other) for other in networks if other != n)]
    return tuple(sorted(kept, key=lambda n: (n.version, n)))


def _within(inner: Network, outer: Network) -> bool:
    if isinstance(inner, IPv4Network) and isinstance(outer, IPv4Network):
        return inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def merged(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """The same numbers as ranges that neither overlap nor touch: two ways to write one set become equal."""
    out: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)


def addresses(networks: Iterable[Network]) -> Ranges:
    """Networks of one version as ranges of numbers."""
    return merged([(int(n.network_address), int(n.broadcast_address)) for n in networks])


def port_words(ranges: Ranges, dash: str = "-") -> list[str]:
    return [str(a) if a == b else f"{a}{dash}{b}" for a, b in ranges]


def wanted_openings(wanted: RuleSet) -> dict[str, Opened]:
    """Each source with each port range as a thing of its own, by the words that a report shows."""
    return {
        f"{protocol if protocol in WHOLE else f'{port_words((ports,))[0]}/{protocol}'} from {word(source)}": Opened(
            source.version, protocol, (ports,), addresses([source])
        )
        for source in wanted.sources
        for protocol, ranges in wanted.ports.items()
        for ports in ranges
    }


def covered(wanted: Opened, rules: Iterable[Opened]) -> bool:
    """Whether `rules` together accept all of `wanted`, which has one range of ports and one of sources."""
    same = [rule for rule in rules if (rule.version, rule.protocol) == (wanted.version, wanted.protocol)]
    sources = [r for rule in same if _holds(rule.ports, wanted.ports[0]) for r in rule.sources]
    return _holds(merged(sources), wanted.sources[0])


def everywhere(version: int) -> Ranges:
    """All addresses of an IP version."""
    return ((0, 2 ** (32 if version == IPV4 else 128) - 1),)


def word(network: Network) -> str:
    """A network for people: a single address without its length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _holds(ranges: Ranges, inner: tuple[int, int]) -> bool:
    return any(first <= inner[0] and inner[1] <= last for first, last in ranges)
