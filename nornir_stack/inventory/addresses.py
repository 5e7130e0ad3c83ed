"""Addresses: in the network that they are declared for, and taken once."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from nornir_stack.select import nearest, role
from nornir_stack.settings import Claim, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir.core.inventory import Host

    from nornir_stack.inventory.findings import Findings
    from nornir_stack.inventory.networks import Network
    from nornir_stack.inventory.typed import Read

_GATEWAYS = role("router") | role("network") | role("hypervisor")  # who may itself be a network's gateway
_HOSTNAME = ("hostname",)


@dataclass(frozen=True)
class _Taken:
    host: Host
    claim: Claim
    path: tuple[str, ...]

    @property
    def name(self) -> str:
        return dotted(*self.path)


def check_addresses(findings: Findings, settings: Read, networks: Mapping[str, Network]) -> None:
    """Notes addresses outside their network, used twice, or that of a gateway. Names of hosts are not resolved."""
    claims = [*_hostnames(findings), *_claims(findings, settings)]
    for taken in claims:
        if taken.path == _HOSTNAME:
            _check_hostname(findings, taken, networks)
        elif taken.claim.network:
            _check_network(findings, taken, networks)
    _check_twice(findings, claims)
    _check_static(findings, claims, networks)
    _check_names(findings)


def _hostnames(findings: Findings) -> Iterator[_Taken]:
    for host in findings.inventory.hosts.values():
        address = _literal(host.hostname)
        if address is not None and not address.is_loopback:
            yield _Taken(host, Claim("hostname", address), _HOSTNAME)


def _literal(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text or "")
    except ValueError:
        return None


def _claims(findings: Findings, settings: Read) -> Iterator[_Taken]:
    for cls, mine in settings.items():
        for name, value in mine.items():
            claims = getattr(value, "claims", tuple)
            for claim in claims():
                yield _Taken(findings.inventory.hosts[name], claim, (cls.key, *claim.field.split(".")))


def _say(findings: Findings, taken: _Taken, text: str, *, warning: bool = False) -> None:
    """At the line of the address, which is the hostname's where the setting was taken from that."""
    if findings.stands(taken.host, taken.path):
        findings.of(taken.host, taken.path, f"{taken.claim.address} {text}", warning=warning)
        return
    also = "" if taken.path == _HOSTNAME else f" (its {taken.name})"
    path = (taken.host.name, "hostname")
    findings.at(findings.sources.hosts, path, f"{taken.claim.address}{also} {text}", taken.host.name, warning=warning)


def _check_hostname(findings: Findings, taken: _Taken, networks: Mapping[str, Network]) -> None:
    if networks and not any(taken.claim.address in network.cidr for network in networks.values()):
        declared = ", ".join(f"{name} {network.cidr}" for name, network in networks.items())
        _say(findings, taken, f"stands in no declared network ({declared})", warning=True)


def _check_network(findings: Findings, taken: _Taken, networks: Mapping[str, Network]) -> None:
    name, address = taken.claim.network, taken.claim.address
    network = networks.get(name)
    if network is None:
        if name not in (findings.inventory.defaults.data.get("networks") or {}):
            text = f"{name!r} is not declared under networks in defaults.yaml{nearest(name, networks)}"
            findings.of(taken.host, (*taken.path[:-1], "network"), text)
        return
    if address not in network.cidr:
        _say(findings, taken, f"stands outside network {name!r} ({network.cidr})")
    elif network.cidr.num_addresses > 2 and address in {network.cidr.network_address, network.cidr.broadcast_address}:  # noqa: PLR2004
        _say(findings, taken, f"is no host's address: network {name!r} ({network.cidr}) begins or ends with it")
    elif address == network.gateway and not _GATEWAYS.holds(taken.host):
        _say(findings, taken, f"is the gateway of network {name!r}")
    elif any(address in pool for pool in (*network.pools, *network.floating)):
        _say(findings, taken, f"stands in a pool of network {name!r}: something else may hand it out", warning=True)


def _check_twice(findings: Findings, claims: list[_Taken]) -> None:
    first: dict[IPv4Address | IPv6Address, _Taken] = {}
    told: set[tuple[str, object]] = set()
    for taken in claims:
        address = taken.claim.address
        other = first.setdefault(address, taken)
        if not _clash(taken, other) or (taken.host.name, address) in told:
            continue
        told.add((taken.host.name, address))
        _say(findings, taken, f"is taken already: {other.name} of {other.host.name}")


def _check_static(findings: Findings, claims: list[_Taken], networks: Mapping[str, Network]) -> None:
    holders = {taken.claim.address: taken for taken in reversed(claims)}
    for name, network in networks.items():
        for who, address in network.static.items():
            taken = holders.get(address)
            if taken is not None and taken.host.name != who:
                text = f"{address} is taken already: {taken.name} of {taken.host.name}"
                findings.at(findings.sources.defaults, ("data", "networks", name, "static", who), text)


def _check_names(findings: Findings) -> None:
    """Hostnames that are names and not addresses: they are not resolved, only compared."""
    first: dict[tuple[str, int | None], str] = {}
    for host in findings.inventory.hosts.values():
        name = (host.hostname or "").casefold()
        if name and name != "localhost" and _literal(name) is None:
            other = first.setdefault((name, host.port), host.name)
            if other != host.name:
                text = f"{host.hostname} is taken already: hostname of {other}"
                findings.at(findings.sources.hosts, (host.name, "hostname"), text, host.name)


def _clash(one: _Taken, other: _Taken) -> bool:
    if one.host is other.host:
        return one.path != other.path and (one.claim.shared or other.claim.shared)
    if one.path == other.path == _HOSTNAME:
        return one.host.port == other.host.port  # one address may forward several ports to several nodes
    return not (one.claim.shared and other.claim.shared and one.path == other.path)
