"""Endpoints of the catalogue: where Keystone says that a service is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.select import nearest

if TYPE_CHECKING:
    from nornir.core.task import Task
    from openstack.connection import Connection
    from openstack.identity.v3._proxy import Proxy

    from nornir_stack.results import Result

_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[^\s]*)?")


@dataclass(frozen=True)
class Service:
    """A service of the catalogue."""

    id: str
    name: str
    type: str


@dataclass(frozen=True)
class Endpoint:
    """Where one interface of a service is; `id` is Keystone's, and stays when the URL is corrected."""

    id: str
    service: str
    interface: str
    region: str
    url: str
    enabled: bool = True


@dataclass(frozen=True)
class Catalogue:
    """All services, and all their endpoints."""

    services: tuple[Service, ...]
    endpoints: tuple[Endpoint, ...]


def catalogue(task: Task) -> Result[Catalogue]:
    """Observe the whole catalogue, as an administrator sees it."""
    node = Node(task)
    return node.done(Cloud(node).read("the catalogue", _look))


def endpoint(
    task: Task, *, service: str, interface: Literal["public", "internal", "admin"], url: str, region: str = ""
) -> Result[Endpoint]:
    """Have one interface of a service (by its name or type) be at `url`, corrected in place, or made where there is none.

    In place: the same id, so there is no moment without the endpoint. `%(tenant_id)s` and `%(project_id)s` stay as written.
    Raises Refused where the service does not exist, or several endpoints answer to the description.
    """
    if not _URL.fullmatch(url):
        raise UsageError(f"{url!r} is no URL of a service, such as http://10.0.0.11:8080/v1")
    node = Node(task)
    cloud = Cloud(node)
    now = cloud.read("the catalogue", _look)
    owner = service_of(now, service)
    found = one(now, owner, interface, region)
    if found is None:
        place = region or only_region(now)
        new = Endpoint("", owner.id, interface, place, url)
        cloud.change(
            f"make the {interface} endpoint of {owner.name}: {url}",
            lambda c: _identity(c).create_endpoint(service_id=owner.id, interface=interface, region_id=place, url=url),
            diff=diff(owner, None, new),
        )
    elif (found.url, found.enabled) != (url, True):
        wanted = Endpoint(found.id, owner.id, interface, found.region, url)
        cloud.change(
            f"correct the {interface} endpoint of {owner.name}: {url}",
            lambda c: _identity(c).update_endpoint(wanted.id, url=url, is_enabled=True),
            diff=diff(owner, found, wanted),
            repeatable=True,
        )
    else:
        return node.done(found)
    if not node.dry_run:
        cloud.renew()
    return node.done(lambda: _verified(cloud, owner, interface, region, url))


def service_of(now: Catalogue, wanted: str) -> Service:
    """The service of that name, else the only one of that type. Pure; raises Refused."""
    found = [one for one in now.services if one.name == wanted] or [one for one in now.services if one.type == wanted]
    if not found:
        known = [word for one in now.services for word in (one.name, one.type)]
        hint = nearest(wanted, known) or f": it has {', '.join(one.name for one in now.services)}"
        raise Refused(f"the catalogue has no service {wanted!r}{hint}")
    if len(found) > 1:
        raise Refused(f"{len(found)} services are {wanted!r} ({', '.join(one.id for one in found)}): remove all but one")
    return found[0]


def one(now: Catalogue, owner: Service, interface: str, region: str) -> Endpoint | None:
    """The endpoint that is meant, or None. Pure; raises Refused where there are several."""
    found = [
        each
        for each in now.endpoints
        if (each.service, each.interface) == (owner.id, interface) and region in {"", each.region}
    ]
    if len(found) > 1:
        listed = "; ".join(f"{each.region} {each.url} ({each.id})" for each in found)
        raise Refused(f"{owner.name} has {len(found)} {interface} endpoints: {listed}: name the region, or remove all but one")
    return found[0] if found else None


def only_region(now: Catalogue) -> str:
    """The region of all endpoints. Pure; raises Refused where there is more than one, or none."""
    regions = sorted({each.region for each in now.endpoints})
    if len(regions) != 1:
        raise Refused(f"the regions are {', '.join(regions) or 'not known'}: name one by region=")
    return regions[0]


def diff(owner: Service, old: Endpoint | None, new: Endpoint) -> str:
    """What changes, for people. Pure."""
    where = f"endpoint {owner.name} {new.interface} {new.region}"
    before = [f"-{old.url}{'' if old.enabled else ' (disabled)'}"] if old else []
    return "\n".join([f"--- {where}", f"+++ {where}", *before, f"+{new.url}", ""])


def _identity(cloud: Connection) -> Proxy:
    return cast("Proxy", cloud.identity)  # version 2 is gone from Keystone, and is still in the types


def _look(cloud: Connection) -> Catalogue:
    services = [Service(each.id, each.name, each.type) for each in _identity(cloud).services()]
    endpoints = [
        Endpoint(each.id, each.service_id, each.interface, each.region_id, each.url, bool(each.is_enabled))
        for each in _identity(cloud).endpoints()
    ]
    return Catalogue(tuple(services), tuple(endpoints))


def _verified(cloud: Cloud, owner: Service, interface: str, region: str, url: str) -> Endpoint:
    now = one(cloud.read("the catalogue", _look), owner, interface, region)
    if now is None or (now.url, now.enabled) != (url, True):
        raise Refused(f"the {interface} endpoint of {owner.name} was set to {url} and reads {now and now.url}")
    return now
