"""Projects of the cloud from a few lines of inventory: network, router, quotas, users, who may come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud as Api
from nornir_stack.select import nearest
from nornir_stack.tasks.openstack.external import of_inventory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.tasks.openstack.settings import Project

ROLES = ("member", "_member_")  # today's, and Kilo's
# What a default security group lets in: protocol, and the port.
_LET_IN: tuple[tuple[str, int | None], ...] = (("icmp", None), ("tcp", 22))
_COMPUTE = frozenset({"instances", "cores", "ram"})
_NETWORK = {"networks": "networks", "routers": "routers", "floating_ips": "floating_ips"}


@dataclass(frozen=True)
class Seen:
    """What the cloud has of a project: ids ('' for what is not there), and its quotas by the inventory's words.

    `members` are users' names; `let_in` is what its default group lets in from everywhere; `attached`: its subnet is on its
    router; `leads_to`: the external network of the router's gateway.
    """

    project: str = ""
    role: str = ""
    network: str = ""
    subnet: str = ""
    cidr: str = ""
    router: str = ""
    leads_to: str = ""
    attached: bool = False
    group: str = ""
    users: Mapping[str, str] | None = None
    members: frozenset[str] = frozenset()
    let_in: frozenset[tuple[str, int | None]] = frozenset()
    quotas: Mapping[str, int] | None = None


def project(task: Task, *, project: str) -> Result[Seen]:
    """Have one project of the inventory. What is there keeps its id; passwords of users that are there are not touched.

    Raises UsageError for one that the inventory does not have, Refused where its subnet is another, or the network that it is
    to lead to is not there.
    """
    node = Node(task)
    settings = of_inventory(task.nornir.inventory)
    if project not in settings.projects:
        raise UsageError(f"cloud.projects has no {project!r}{nearest(project, settings.projects)}")
    wanted, cloud = settings.projects[project], Api(node)
    now = cloud.read(f"the project {project}", lambda c: _look(c, project, wanted))
    if not now.role:
        raise Refused(f"Keystone has none of the roles {' and '.join(ROLES)}: members of a project need one")
    if now.subnet and now.cidr != str(wanted.cidr):
        raise Refused(
            f"the subnet of the project {project} is {now.cidr}, not {wanted.cidr}: remove it first, or correct the inventory"
        )
    outside = wanted.external if wanted.external and now.leads_to != wanted.external else ""
    if outside and cloud.read(f"the network {outside}", lambda c: _any(c).network.find_network(outside)) is None:
        raise Refused(f"the cloud has no network {outside}: run openstack.external_networks first")
    if not now.project:
        cloud.change(
            f"make the project {project}", lambda c: _any(c).identity.create_project(name=project, domain_id="default")
        )
    _users(cloud, project, wanted, now)
    _quotas(cloud, project, wanted, now)
    _network(cloud, project, wanted, now)
    _group(cloud, project, wanted, now)
    return node.done(lambda: cloud.read(f"the project {project}", lambda c: _look(c, project, wanted)))


def _users(cloud: Api, project: str, wanted: Project, now: Seen) -> None:
    for name, password in wanted.users.items():
        if name not in (now.users or {}):
            cloud.change(
                f"make the user {name}",
                lambda c, n=name, p=password: _any(c).identity.create_user(  # type: ignore[misc]
                    name=n, password=p.reveal(), domain_id="default"
                ),
            )
        if name not in now.members:
            cloud.change(
                f"make the user {name} a member of {project}",
                lambda c, n=name: _join(c, project, n, now.role),  # type: ignore[misc]
                repeatable=True,
            )


def _join(cloud: Connection, project: str, user: str, role: str) -> None:
    identity = _any(cloud).identity
    identity.assign_project_role_to_user(identity.find_project(project), identity.find_user(user, domain_id="default"), role)


def _quotas(cloud: Api, project: str, wanted: Project, now: Seen) -> None:
    have = now.quotas or {}
    new: dict[str, int] = {key: value for key, value in wanted.quotas.items() if have.get(key) != value}
    if new:
        diff = "".join(f"-{key} {have.get(key, 'default')}\n+{key} {value}\n" for key, value in new.items())
        cloud.change(f"set quotas of {project}", lambda c: _set(c, project, new), diff=diff, repeatable=True)


def _set(cloud: Connection, project: str, new: Mapping[str, int]) -> None:
    number = _any(cloud).identity.find_project(project).id
    compute = {key: value for key, value in new.items() if key in _COMPUTE}
    network = {_NETWORK[key]: value for key, value in new.items() if key in _NETWORK}
    if compute:
        cloud.set_compute_quotas(number, **compute)
    if network:
        cloud.set_network_quotas(number, **network)


def _network(cloud: Api, project: str, wanted: Project, now: Seen) -> None:
    if not now.network:
        cloud.change(
            f"make the network {project}", lambda c: _any(c).network.create_network(name=project, **_owned(c, project))
        )
    if not now.subnet:
        cloud.change(f"make the subnet {wanted.cidr} of {project}", lambda c: _make_subnet(c, project, wanted))
    if not now.router:
        cloud.change(f"make the router {project}", lambda c: _any(c).network.create_router(name=project, **_owned(c, project)))
    if wanted.external and now.leads_to != wanted.external:
        cloud.change(
            f"lead the router {project} to {wanted.external}",
            lambda c: _lead(c, project, wanted.external or ""),
            diff=f"-{now.leads_to or '(nowhere)'}\n+{wanted.external}\n",
            repeatable=True,
        )
    if not now.attached:
        cloud.change(f"put the subnet of {project} on its router", lambda c: _attach(c, project))


def _make_subnet(cloud: Connection, project: str, wanted: Project) -> None:
    network = _any(cloud).network
    network.create_subnet(
        network_id=_mine(cloud, "networks", project).id,
        name=project,
        ip_version=4,
        cidr=str(wanted.cidr),
        dns_nameservers=[str(one) for one in wanted.dns],
        **_owned(cloud, project),
    )


def _lead(cloud: Connection, project: str, external: str) -> None:
    network = _any(cloud).network
    outside = network.find_network(external)
    network.update_router(_mine(cloud, "routers", project), external_gateway_info={"network_id": outside.id})


def _attach(cloud: Connection, project: str) -> None:
    subnet = _mine(cloud, "subnets", project)
    _any(cloud).network.add_interface_to_router(_mine(cloud, "routers", project), subnet_id=subnet.id)


def _group(cloud: Api, project: str, wanted: Project, now: Seen) -> None:
    ports = tuple(("tcp", port) for port in wanted.open)
    for protocol, port in (*(_LET_IN if wanted.ssh_and_ping else ()), *ports):
        if (protocol, port) not in now.let_in:
            what = f"let in {protocol}{f' port {port}' if port else ''} by the default group of {project}"
            cloud.change(what, lambda c, p=protocol, q=port: _let_in(c, project, p, q))  # type: ignore[misc]


def _let_in(cloud: Connection, project: str, protocol: str, port: int | None) -> None:
    group = _mine(cloud, "security_groups", project, title="default")
    ports = {} if port is None else {"port_range_min": port, "port_range_max": port}
    _any(cloud).network.create_security_group_rule(
        security_group_id=group.id, direction="ingress", ether_type="IPv4", protocol=protocol, **ports, **_owned(cloud, project)
    )


def _owned(cloud: Connection, project: str) -> dict[str, str]:
    return {"project_id": _any(cloud).identity.find_project(project).id}


def _mine(cloud: Connection, kind: str, project: str, title: str = "") -> Any:
    """The project's own thing of a kind by its name; None where there is none."""
    number = _any(cloud).identity.find_project(project).id
    return next(iter(getattr(_any(cloud).network, kind)(project_id=number, name=title or project)), None)


def _look(cloud: Connection, name: str, wanted: Project) -> Seen:
    identity, network = _any(cloud).identity, _any(cloud).network
    role = next((found.id for one in ROLES if (found := identity.find_role(one))), "")
    users = {each.name: each.id for each in identity.users() if each.domain_id == "default"}  # a directory may have one too
    found = identity.find_project(name)
    if found is None:
        return Seen(role=role, users=users)
    given = identity.role_assignments(scope_project_id=found.id, role_id=role)
    ids = {each.user["id"] for each in given if each.user}
    mine: dict[str, Any] = {
        kind: next(iter(getattr(network, kind)(project_id=found.id, name=title)), None)
        for kind, title in (("networks", name), ("subnets", name), ("routers", name), ("security_groups", "default"))
    }
    router, subnet, group = mine["routers"], mine["subnets"], mine["security_groups"]
    ports = list(network.ports(device_id=router.id)) if router else []
    leads = (router.external_gateway_info or {}).get("network_id") if router else None
    rules = network.security_group_rules(security_group_id=group.id, direction="ingress") if group else ()
    return Seen(
        found.id,
        role,
        mine["networks"].id if mine["networks"] else "",
        subnet.id if subnet else "",
        subnet.cidr if subnet else "",
        router.id if router else "",
        network.get_network(leads).name if leads else "",
        bool(subnet) and any(ip["subnet_id"] == subnet.id for port in ports for ip in port.fixed_ips),
        group.id if group else "",
        users,
        frozenset(user for user, number in users.items() if number in ids),
        frozenset((one.protocol, one.port_range_min) for one in rules if not one.remote_group_id and one.ether_type == "IPv4"),
        _have(cloud, found.id, wanted),
    )


def _have(cloud: Connection, project: str, wanted: Project) -> dict[str, int]:
    found: dict[str, int] = {}
    if _COMPUTE & set(wanted.quotas):
        limits = cloud.get_compute_quotas(project)
        found |= {key: int(limits[key]) for key in _COMPUTE if key in wanted.quotas}
    if set(_NETWORK) & set(wanted.quotas):
        ours = cloud.get_network_quotas(project)
        found |= {key: int(ours[word]) for key, word in _NETWORK.items() if key in wanted.quotas}
    return found


def _any(cloud: Connection) -> Any:
    return cloud
