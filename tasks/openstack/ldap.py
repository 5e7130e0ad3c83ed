"""`openstack.ldap`: users of a directory log in at Keystone, each directory a domain of its own; it is only read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.select import nearest
from nornir_stack.tasks.config.apply import edit
from nornir_stack.tasks.config.ini import edited
from nornir_stack.tasks.config.values import texts
from nornir_stack.tasks.openstack.applied import applied
from nornir_stack.tasks.openstack.ldap_settings import Ldap
from nornir_stack.tasks.openstack.one_cloud import CLOUD, of_the_cloud
from nornir_stack.tasks.openstack.plane import CONTROLLER
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import unit_state

if TYPE_CHECKING:
    from nornir.core.inventory import Inventory
    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.config.settings import Sections, Value
    from nornir_stack.tasks.openstack.ldap_settings import Directory, Trial

CONF = "/etc/keystone/keystone.conf"
FOLDER = "/etc/keystone/domains"  # Keystone's own default (domain_config_dir)
_OWNER, _MODE = "root:keystone", "0640"
# Keystone by itself, or in the web server; the one that runs.
_UNITS = ("keystone.service", "openstack-keystone.service", "httpd.service", "apache2.service")
_PACKAGES = ("python3-ldap", "python3-ldappool")
_ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Answered:
    """What Keystone says of a domain: whether it lists its users, and whether the one of `trial` logs in (None: not tried).

    `why` is what was said instead.
    """

    users: int | None
    login: bool | None = None
    why: str = ""


def ldap() -> Chain:
    """The inventory's directories as domains of Keystone: made, their files written, Keystone restarted where one changed.

    At the end Keystone lists each one's users, and the user that the inventory names for it (`trial`) logs in.
    """
    return Chain("openstack.ldap", Plan("inventory", declared, _parts, CLOUD))


def declared(task: Task) -> Result[tuple[tuple[str, bool], ...]]:
    """Observe which directories the inventory has, and whether a user's login can prove each."""
    found = _of(task.nornir.inventory).domains
    return Node(task).done(tuple((name, one.trial is not None) for name, one in found.items()))


def ldap_domain(task: Task, *, domain: str) -> Result[str]:
    """Keystone's files for a domain whose users are a directory's (LDAP), and Keystone running with them. The value: its file.

    Raises UsageError for one that the inventory does not have, Refused where Keystone cannot read its CA's file.
    """
    node = Node(task)
    wanted = directory_of(task.nornir.inventory, domain)
    path = f"{FOLDER}/keystone.{domain}.conf"
    trusts(task, domain=domain)
    packages(task, present=_PACKAGES)
    if not node.gate.pending:
        node.make_folder(FOLDER, mode="0750", owner=_OWNER)
    now = node.read_file(path, independent=True)
    new = edited(now or "", texts(now or "", conf(wanted), dialect="oslo"), dialect="oslo")
    node.write_file(path, new, mode=_MODE, owner=_OWNER, independent=True)
    edit(node, CONF, {"identity": {"domain_specific_drivers_enabled": True, "domain_config_dir": FOLDER}})
    unit = _running(task, node) if not node.gate.pending else _UNITS[0]
    files = [CONF, path, *([wanted.ca] if wanted.ca else ())]
    node.then(applied, unit=unit, files=files)
    return node.done(path)


def trusts(task: Task, *, domain: str) -> Result[None]:
    """Observe that Keystone can read the file of a directory's CA, as the user that it runs as. Raises Refused where not."""
    node = Node(task)
    path = directory_of(task.nornir.inventory, domain).ca
    if path and node.stat(path, independent=True) is None:
        raise Refused(f"{node.name} has no {path}: put the directory's CA there (FreeIPA: /etc/ipa/ca.crt)")
    if path and not node.read("runuser", "-u", "keystone", "--", "test", "-r", path, ok=None, independent=True).ok:
        raise Refused(
            f"Keystone's user keystone cannot read {path} on {node.name}: chgrp keystone, mode 0640, and its folders open to it"
        )
    return node.done()


def domain(task: Task, *, domain: str) -> Result[str]:
    """Have Keystone have a domain of this name. The value: its id. Raises Refused for one that is disabled."""
    node = Node(task)
    cloud = Cloud(node)
    directory_of(task.nornir.inventory, domain)
    now = cloud.read(f"the domain {domain}", lambda c: _find(c, domain))
    if now is None:
        cloud.change(f"make the domain {domain}", lambda c: _identity(c).create_domain(name=domain), repeatable=True)
    elif not now.is_enabled:
        raise Refused(f"the domain {domain} is disabled: openstack domain set --enable {domain}, if that is over")
    return node.done(lambda: str(cloud.read(f"the domain {domain}", lambda c: _find(c, domain)).id))


def answered(task: Task, *, domain: str) -> Result[Answered]:
    """Observe whether Keystone lists a domain's users, and whether the user of its `trial` logs in."""
    node = Node(task)
    trial = directory_of(task.nornir.inventory, domain).trial
    return node.done(Cloud(node).read(f"the domain {domain}", lambda c: _answered(c, domain, trial)))


def answers(seen: Seen[Answered], *, domain: str) -> list[str]:
    """Keystone reaches the directory, and its user logs in. Pure."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for one in (one for _, one in seen.items()):
        if one.users is None:
            problems.append(f"Keystone does not list the users of {domain}: {one.why}")
        elif not one.users:
            problems.append(f"Keystone finds no user in {domain}: its users stand elsewhere, or are of another class")
        elif one.login is False:
            problems.append(f"the user that proves {domain} does not log in: {one.why}")
    return problems


def conf(wanted: Directory) -> Sections:
    """What the domain's file holds (Keystone's configuration reference, [ldap]). Pure.

    Nothing says that it is not written to: Keystone only reads directories since its release Ocata.
    """
    known = wanted.locked is not None
    locked: dict[str, Value] = {
        "user_enabled_attribute": wanted.locked,
        "user_enabled_default": "False" if known else None,
        "user_enabled_invert": True if known else None,
    }
    start_tls = bool(wanted.ca) and not wanted.url.startswith("ldaps:")
    return {
        "identity": {"driver": "ldap"},
        "ldap": {
            "url": wanted.url,
            "suffix": wanted.suffix,
            "user": wanted.user,
            "password": wanted.password,
            "user_tree_dn": wanted.users or f"cn=users,cn=accounts,{wanted.suffix}",
            "user_objectclass": wanted.user_class,
            "user_id_attribute": wanted.user_id,
            "user_name_attribute": wanted.user_name,
            "user_filter": wanted.user_filter,
            **locked,
            "group_tree_dn": wanted.groups or f"cn=groups,cn=accounts,{wanted.suffix}",
            "group_objectclass": wanted.group_class,
            "group_id_attribute": wanted.group_name,
            "group_name_attribute": wanted.group_name,
            "group_member_attribute": "member",
            "use_tls": start_tls,
            "tls_cacertfile": wanted.ca,
            "tls_req_cert": "demand",
            # a directory that is gone must not hold Keystone's processes for ever
            "connection_timeout": 10,
            "pool_connection_timeout": 10,
        },
    }


def directory_of(inventory: Inventory, name: str) -> Directory:
    """A directory's settings. Raises UsageError for one that the inventory does not have."""
    known = _of(inventory).domains
    if name not in known:
        raise UsageError(f"ldap.domains has no {name!r}{nearest(name, known)}")
    return known[name]


def _of(inventory: Inventory) -> Ldap:
    return of_the_cloud(inventory, Ldap)


def _parts(seen: Seen[tuple[tuple[str, bool], ...]]) -> Chain:
    for host, why in seen.missing.items():
        raise Refused(f"{host}: {why}")
    found = [one for _, ones in seen.items() for one in ones]
    if not found:
        raise Refused("the inventory has no directory: say ldap: domains: ... of the host of the role cloud")
    wanted = [name for name, _ in found]
    proofs = [
        Stage(
            f"proof {name}",
            [],
            CLOUD,
            until=Check(do(answered, domain=name), partial(answers, domain=name), CLOUD, within=_ANSWER_SECONDS),
        )
        for name in wanted
    ]
    return Chain(
        "in order",
        Stage("trust", [do(trusts, domain=name) for name in wanted], CONTROLLER),
        # a file of a domain that is not there is passed over when Keystone starts
        Stage("domains", [do(domain, domain=name) for name in wanted], CLOUD),
        Stage("keystone", [do(ldap_domain, domain=name) for name in wanted], CONTROLLER, serial=1),
        *proofs,
        reasons=[f"Nobody logs in to prove {name}: it has no trial." for name, tried in found if not tried],
    )


def _running(task: Task, node: Node) -> str:
    for unit in _UNITS:
        if unit_state(task, unit=unit).value.running:
            return unit
    raise Refused(f"no Keystone runs on {node.name} (none of {', '.join(_UNITS)})")


def _answered(cloud: Connection, name: str, trial: Trial | None) -> Answered:
    from openstack.exceptions import HttpException  # noqa: PLC0415  an extra

    found = _find(cloud, name)
    if found is None:
        return Answered(None, why="the domain is not there")
    try:
        users = len(list(_identity(cloud).users(domain_id=found.id)))
    except HttpException as error:
        return Answered(None, why=f"HTTP {error.status_code}; the cause stands in Keystone's log")
    if trial is None:
        return Answered(users)
    why = login(cloud, name, trial)
    return Answered(users, not why, why)


def login(cloud: Connection, domain: str, trial: Trial) -> str:
    """Log a user of a domain in, for nothing: '' if Keystone takes the password, else what it says."""
    from keystoneauth1.exceptions import HttpError  # noqa: PLC0415  an extra
    from keystoneauth1.identity.v3 import Password  # noqa: PLC0415  an extra

    at = str(cloud.config.config["auth"]["auth_url"]).rstrip("/").removesuffix("/v3")
    way = Password(
        f"{at}/v3",
        username=trial.user,
        user_domain_name=domain,
        password=trial.password.reveal(),
        unscoped=True,
    )
    try:
        way.get_token(cloud.session)
    except HttpError as error:
        return f"HTTP {error.http_status}"
    return ""


def _find(cloud: Connection, name: str) -> Any:
    return next(iter(_identity(cloud).domains(name=name)), None)


def _identity(cloud: Connection) -> Any:
    return cloud.identity
