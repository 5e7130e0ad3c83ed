"""The services in Keystone: their project, users with their passwords, and where each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from nornir_stack.errors import ConnectionFailed, Undecidable
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.tasks.openstack.misplaced import INTERFACES
from nornir_stack.tasks.openstack.plane import plane_of
from nornir_stack.tasks.openstack.programs import CEILOMETER, SWIFT_URL
from nornir_stack.tasks.openstack.swift_rings import layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core.inventory import Inventory
    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.tasks.openstack.plane import Plane

T = TypeVar("T")
PROJECT, ROLE = "service", "admin"


@dataclass(frozen=True)
class Entry:
    """A service as Keystone is to know it: its name, type and URL ('' for one that nobody asks), and the user it logs in as."""

    name: str
    type: str
    url: str
    user: str


@dataclass(frozen=True)
class Known:
    """What Keystone has. `users` and `services` are name to id, `urls` (service, interface) to (endpoint, URL).

    `right` are the users whose password is the wanted one, `admins` those with their role in the services' project.
    """

    project: str
    users: dict[str, str]
    right: frozenset[str]
    admins: frozenset[str]
    services: dict[str, str]
    urls: dict[tuple[str, str], tuple[str, str]]


def entries(inventory: Inventory) -> tuple[Entry, ...]:
    """The services of the inventory's control plane; Keystone itself has its entry from its bootstrap. Pure.

    Of several storage nodes with devices of Swift's the first one's proxy is the way in; the others' serve the same.
    """
    plane = plane_of(inventory)
    found = [Entry(one.name, one.type, one.url.format(plane.address), one.name) for one in plane.programs]
    for _, address, _ in layout(inventory).devices[:1]:
        found.append(Entry("swift", "object-store", SWIFT_URL.format(address), "swift"))
    if plane.telemetry:
        found.append(Entry(CEILOMETER, "", "", CEILOMETER))
    return tuple(one for one in found if one.name != "keystone")


def registered(task: Task) -> Result[tuple[str, ...]]:
    """Have Keystone know the control plane's services: users with their passwords, entries, endpoints. The value: names.

    What is right keeps its id. Endpoints with another URL are corrected in place.
    """
    node = Node(task)
    cloud = Cloud(node)
    plane, wanted = plane_of(task.nornir.inventory), entries(task.nornir.inventory)
    now = seen_if_there(node, "services, users and endpoints", lambda c: _look(c, plane, wanted))
    if not now.project:
        cloud.change(f"make the project {PROJECT}", lambda c: _identity(c).create_project(name=PROJECT, domain_id="default"))
    for one in wanted:
        _user(cloud, plane, now, one.user)
        if one.url:
            _service(cloud, plane, now, one)
    if node.gate.effects and not node.dry_run:
        cloud.renew()
    return node.done(tuple(one.name for one in wanted))


def seen_if_there(node: Node, what: str, look: Callable[[Connection], T]) -> T:
    """What a cloud says; in a dry run one that is yet to be put up says nothing that anybody could know."""
    try:
        return Cloud(node).read(what, look)
    except ConnectionFailed:
        if not node.dry_run:
            raise
        raise Undecidable(what, "a Keystone that answers") from None


def _user(cloud: Cloud, plane: Plane, now: Known, name: str) -> None:
    password = plane.password(f"keystone {name}").reveal()
    if name not in now.users:
        cloud.change(
            f"make the user {name}",
            lambda c: _identity(c).create_user(name=name, password=password, domain_id="default"),
        )
    elif name not in now.right:
        cloud.change(
            f"set the password of the user {name}",
            lambda c: _identity(c).update_user(now.users[name], password=password),
            repeatable=True,
        )
    if name not in now.admins:
        cloud.change(
            f"give the user {name} the role {ROLE} in the project {PROJECT}", lambda c: _grant(c, name), repeatable=True
        )


def _grant(cloud: Connection, name: str) -> None:
    identity = _identity(cloud)
    project, role = identity.find_project(PROJECT), identity.find_role(ROLE)
    identity.assign_project_role_to_user(project, identity.find_user(name), role)


def _service(cloud: Cloud, plane: Plane, now: Known, one: Entry) -> None:
    if one.name not in now.services:
        cloud.change(f"make the service {one.name}", lambda c: _identity(c).create_service(name=one.name, type=one.type))
    for interface in INTERFACES:
        number, url = now.urls.get((one.name, interface), ("", ""))
        what = f"the {interface} endpoint of {one.name}: {one.url}"
        if not number:
            cloud.change(f"make {what}", lambda c, i=interface: _endpoint(c, plane, one, i))  # type: ignore[misc]
        elif url != one.url:
            cloud.change(
                f"correct {what}",
                lambda c, n=number: _identity(c).update_endpoint(n, url=one.url),  # type: ignore[misc]
                diff=f"-{url}\n+{one.url}\n",
                repeatable=True,
            )


def _endpoint(cloud: Connection, plane: Plane, one: Entry, interface: str) -> None:
    identity = _identity(cloud)
    service = identity.find_service(one.name)
    identity.create_endpoint(service_id=service.id, interface=interface, region_id=plane.region, url=one.url)


def _look(cloud: Connection, plane: Plane, wanted: tuple[Entry, ...]) -> Known:
    identity = _identity(cloud)
    project = identity.find_project(PROJECT)
    users = {each.name: each.id for each in identity.users() if each.domain_id == "default"}
    services = {each.id: each.name for each in identity.services()}
    admins: frozenset[str] = frozenset()
    if project:
        role = identity.find_role(ROLE)
        given = identity.role_assignments(scope_project_id=project.id, role_id=role.id)
        ids = {each.user["id"] for each in given if each.user}
        admins = frozenset(name for name, number in users.items() if number in ids)
    urls = {
        (services[each.service_id], each.interface): (each.id, each.url)
        for each in identity.endpoints()
        if each.region_id == plane.region and each.service_id in services
    }
    right = frozenset(one.user for one in wanted if one.user in users and _logs_in(cloud, plane, one.user))
    return Known(project.id if project else "", users, right, admins, {name: number for number, name in services.items()}, urls)


def _logs_in(cloud: Connection, plane: Plane, user: str) -> bool:
    """Whether Keystone takes the password that the services have: it tells nobody which one it holds."""
    from keystoneauth1.exceptions import Unauthorized  # noqa: PLC0415  an extra
    from keystoneauth1.identity.v3 import Password  # noqa: PLC0415  an extra

    login = Password(
        f"{plane.keystone}/v3",
        username=user,
        user_domain_name="Default",
        password=plane.password(f"keystone {user}").reveal(),
        unscoped=True,
    )
    try:
        return bool(login.get_token(cloud.session))
    except Unauthorized:
        return False


def _identity(cloud: Connection) -> Any:
    return cloud.identity
