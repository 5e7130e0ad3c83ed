"""Where a service is, by who was heard to listen. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused, UsageError
from nornir_stack.tasks.openstack.ask import Base, base_of
from nornir_stack.tasks.openstack.sight import own_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.sight import Heard, View


def place(wanted: str, old: str, seen: Seen[View], address: str) -> Base:
    """Where the service is, by who was heard. Raises Refused where that is nobody, or several and no load balancer."""
    heard = {host: [one for one in view.heard if one.kind == wanted] for host, view in seen.items() if wanted}
    heard = {host: several for host, several in heard.items() if several}
    if not wanted:
        raise Refused("nobody here knows how such a service answers")
    if address:
        return _at(address, heard, seen)
    if not heard:
        raise Refused(f"no node listens as {wanted} ({', '.join(seen) or 'none was seen'}): start it")
    balancers = [host for host in heard if seen[host].balancer]
    if balancers:
        one = heard[balancers[0]][0]
        return Base(one.scheme, seen[balancers[0]].balancer, one.port)
    if len(heard) > 1:
        raise Refused(f"{wanted} listens on {' and '.join(heard)}: name the right one by address=")
    ((host, several),) = heard.items()
    return _base(host, several[0], seen[host], old)


def _at(address: str, heard: Mapping[str, Sequence[Heard]], seen: Seen[View]) -> Base:
    for host, several in heard.items():
        for one in several:
            if address in {str(ip_interface(own).ip) for own in own_addresses(seen[host], one)} | {seen[host].balancer}:
                return Base(one.scheme, address, one.port)
    places_ = ", ".join(f"{host} port {one.port}" for host, several in heard.items() for one in several)
    raise Refused(f"{address} is not where it listens ({places_ or 'nowhere'})")


def _base(host: str, one: Heard, view: View, old: str) -> Base:
    own = own_addresses(view, one)
    if not own:
        raise Refused(f"on {host} it listens on {one.address}:{one.port}, where no other node reaches it: correct its bind_ip")
    old_host = base_of(old).host if is_url(old) else ""
    same = [each for each in own if is_address(old_host) and ip_address(old_host) in ip_interface(each).network]
    return Base(one.scheme, str(ip_interface((same or own)[0]).ip), one.port)


def joined(base: Base, path: str) -> str:
    return f"{base}/{path}" if path else str(base)


def is_url(text: str) -> bool:
    try:
        base_of(text)
    except UsageError:
        return False
    return True


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)
