"""Endpoints that lead nowhere, or to the wrong service: what the services themselves say against the catalogue. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.tasks.openstack.ask import Base, base_of, path_of
from nornir_stack.tasks.openstack.sight import PORTS
from nornir_stack.tasks.openstack.whereabouts import is_loopback, is_url, joined, place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.endpoint import Catalogue, Endpoint, Service
    from nornir_stack.tasks.openstack.sight import View

INTERFACES = ("public", "internal", "admin")
# The types under which a catalogue lists a service, and the kind that answers there (service-types-authority, aliases).
KINDS = {
    "block-storage": "volume",
    "compute_legacy": "compute",
    "computev21": "compute",
    "s3": "object-store",
    "volumev2": "volume",
    "volumev3": "volume",
}
KNOWN = frozenset(PORTS.values())
ACCOUNT = "v1/AUTH_%(project_id)s"
# What Keystone fills in by itself (its code: keystone/common/utils.py, WHITELISTED_PROPERTIES).
_FILLED = frozenset(
    {
        "tenant_id",
        "project_id",
        "user_id",
        "public_bind_host",
        "admin_bind_host",
        "compute_host",
        "admin_port",
        "public_port",
        "public_endpoint",
    }
)
_HOLE = re.compile(r"[%$]\((\w+)\)s?")


@dataclass(frozen=True)
class Misplaced:
    """An endpoint that is not as it should be. `old` is '' where there is none, `new` where nobody knows what is right."""

    service: str
    interface: str
    region: str
    old: str
    new: str
    why: str

    def __str__(self) -> str:
        what = f"{self.service} {self.interface} {self.old or '(none)'}: {self.why}"
        return f"{what}: {self.new} is right" if self.new else what


def kind(type_: str) -> str:
    """What answers for a service of this type in the catalogue; '' for one that is not known here."""
    name = KINDS.get(type_, type_)
    return name if name in KNOWN else ""


def places(now: Catalogue, types: Collection[str], region: str) -> tuple[str, ...]:
    """Where the catalogue says that the services of these types (none: all) are, each place once."""
    urls = [each.url for _, each in _endpoints(now, types, region)]
    return tuple(dict.fromkeys(str(base_of(url)) for url in urls if is_url(url)))


def misplaced(
    now: Catalogue,
    seen: Seen[View],
    *,
    types: Collection[str] = (),
    complete: Collection[str] = (),
    region: str = "",
    address: str = "",
) -> tuple[Misplaced, ...]:
    """What is wrong with the endpoints of the services of `types` (none: all), each with what is right, where that is known.

    `complete`: types that must have all three interfaces. `address`: where the service is, if several nodes or none of them
    can be told by asking. Raises Refused where more than one region has endpoints and none is named.
    """
    regions = sorted({each.region for _, each in _endpoints(now, types, region)})
    if len(regions) > 1:
        raise Refused(f"the endpoints are in {len(regions)} regions ({', '.join(regions)}): name one by region=")
    found = []
    for service, each in _endpoints(now, types, region):
        why, new = _judged(service, each, seen, address)
        if why:
            found.append(Misplaced(service.name, each.interface, each.region, each.url, new, why))
    for service in now.services:
        if service.type in complete:
            found += _missing(now, service, seen, regions[0] if regions else region, address)
    return tuple(found)


def _endpoints(now: Catalogue, types: Collection[str], region: str) -> list[tuple[Service, Endpoint]]:
    services = {each.id: each for each in now.services if not types or each.type in types}
    return [
        (services[each.service], each) for each in now.endpoints if each.service in services and region in {"", each.region}
    ]


def _judged(service: Service, each: Endpoint, seen: Seen[View], address: str) -> tuple[str, str]:
    """Why an endpoint is wrong ('' if it is not), and what is right ('' if nobody knows)."""
    if not is_url(each.url):
        return _with_place("it is no URL", service, each, seen, address)
    base = base_of(each.url)
    wrong_path, path = path_wrong(service.type, each.interface, path_of(each.url))
    why = _nobody(base, kind(service.type), seen)
    if why:
        return _with_place(why, service, each, seen, address)
    if wrong_path:
        return wrong_path, joined(base, path)
    if not each.enabled:
        return "it is disabled", each.url
    deaf = _deaf(base, kind(service.type), seen)
    if deaf and each.interface != "public":  # nodes need not reach what is for users
        return f"{', '.join(deaf)} cannot reach it: a firewall or a route on the way", ""
    return "", ""


def _nobody(base: Base, wanted: str, seen: Seen[View]) -> str:
    """Why a place is not where the service is, or ''."""
    if is_loopback(base.host):
        return f"on every node {base.host} is the node itself"
    answers = [view.answers[str(base)] for _, view in seen.items() if str(base) in view.answers]
    if any(one.kind == wanted if wanted else one.status for one in answers):
        return ""
    other = sorted({one.kind for one in answers if one.kind})
    if other:
        return f"what answers there is {' and '.join(other)}"
    status = sorted({one.status for one in answers if one.status})
    if status:
        return f"what answers there is no {wanted} service (HTTP {status[0]})"
    return next((one.why for one in answers if one.why), "no node was there to ask it")


def _deaf(base: Base, wanted: str, seen: Seen[View]) -> list[str]:
    return [
        host
        for host, view in seen.items()
        if (one := view.answers.get(str(base))) and not (one.kind == wanted if wanted else one.status)
    ]


def _with_place(why: str, service: Service, each: Endpoint, seen: Seen[View], address: str) -> tuple[str, str]:
    try:
        right = place(kind(service.type), each.url, seen, address)
    except Refused as error:
        return f"{why}; {error}", ""
    _, path = path_wrong(service.type, each.interface, path_of(each.url) if is_url(each.url) else "")
    return why, joined(right, path)


def _missing(now: Catalogue, service: Service, seen: Seen[View], region: str, address: str) -> Iterable[Misplaced]:
    have = {each.interface: each for each in now.endpoints if each.service == service.id and region in {"", each.region}}
    model = next(iter(have.values()), None)
    for interface in INTERFACES:
        if interface in have:
            continue
        why, new = "there is none", ""
        try:
            _, path = path_wrong(service.type, interface, "")
            new = joined(place(kind(service.type), model.url if model else "", seen, address), path)
        except Refused as error:
            why = f"{why}; {error}"
        yield Misplaced(service.name, interface, region, "", new, why)


def path_wrong(type_: str, interface: str, path: str) -> tuple[str, str]:
    """Why the path of an endpoint's URL is wrong ('' if it is not), and the right one."""
    if type_ == "s3":
        return ("S3 has no account in its path" if path.strip("/") else "", "")
    unknown = [name for name in _HOLE.findall(path) if name not in _FILLED]
    if unknown:
        right = _HOLE.sub(lambda hole: hole[0] if hole[1] in _FILLED else "%(project_id)s", path)
        return f"Keystone cannot fill in {unknown[0]!r}, and leaves the endpoint out", right
    if type_ == "object-store" and interface != "admin" and not re.search(r"v1(\.0)?/\S+", path):
        return "the account is missing from its path", ACCOUNT
    return "", path


def found_at(now: Catalogue, type_: str, interfaces: Sequence[str], region: str, seen: Seen[View]) -> str:
    """The URL, without a path, of the first of `interfaces` that leads every node to the service; else where it was heard.

    Raises Refused where it was heard nowhere, or on several nodes.
    """
    urls = {each.interface: each.url for _, each in _endpoints(now, (type_,), region) if is_url(each.url)}
    for interface in interfaces:
        if interface in urls:
            base = base_of(urls[interface])
            if not _nobody(base, kind(type_), seen) and not _deaf(base, kind(type_), seen):
                return str(base)
    return str(place(kind(type_), next(iter(urls.values()), ""), seen, ""))


def proven(wanted: Sequence[Misplaced], now: Catalogue, seen: Seen[View]) -> tuple[Misplaced, ...]:
    """Those corrections whose new place was asked and answered rightly from every node; a reason instead of it in the rest."""
    types = {each.name: each.type for each in now.services}
    found = []
    for each in wanted:
        if not each.new:
            found.append(each)
            continue
        base, right = base_of(each.new), kind(types[each.service])
        why = _nobody(base, right, seen)
        deaf = [] if why else _deaf(base, right, seen)
        if why or deaf:
            said = why or f"{', '.join(deaf)} cannot reach it"
            found.append(replace(each, new="", why=f"{each.why}; {each.new} would be no better: {said}"))
        else:
            found.append(each)
    return tuple(found)
