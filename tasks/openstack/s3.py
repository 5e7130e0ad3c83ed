"""S3 on Swift: the proxies' filters, keys for a user, and the proof that signed requests are served and false ones refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.secret import Secret
from nornir_stack.select import hosts
from nornir_stack.tasks.openstack.ask import base_of
from nornir_stack.tasks.openstack.correct import keystone_of, only, proxies_with
from nornir_stack.tasks.openstack.endpoint import catalogue
from nornir_stack.tasks.openstack.misplaced import places
from nornir_stack.tasks.openstack.one_cloud import CLOUD
from nornir_stack.tasks.openstack.s3_sign import signed
from nornir_stack.tasks.openstack.sight import NODES, services_seen
from nornir_stack.tasks.openstack.swift_proxy import proxy_s3

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.endpoint import Catalogue
    from nornir_stack.tasks.openstack.sight import View

LOCATION = "us-east-1"  # what s3api answers to unless it is told otherwise
_ELSEWHERE = re.compile(r"<Region>([\w-]+)</Region>")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_OK, _FORBIDDEN = 200, 403


@dataclass(frozen=True)
class Keys:
    """Keys to S3 of one user in one project, as S3's clients want them."""

    access: str
    secret: Secret


@dataclass(frozen=True)
class S3Proof:
    """What a request with the right secret, and one with a false one, came to: HTTP's status and S3's own code."""

    url: str
    right: int
    right_code: str
    wrong: int
    wrong_code: str


def s3(*, user: str = "", project: str = "", region: str = "", missing: Sequence[str] = ()) -> Chain:
    """S3 served by Swift's proxies, keys made once for a user, and a signed request that proves both.

    user, project: whose keys; the cloud's own login if not given. region: needed where there are several.
    missing: nodes that are lost, and are not asked. Swift's endpoints have to be right: `swift.endpoint`.
    """

    def look(seen: Seen[Catalogue]) -> Chain:
        cloud, now = only(seen)
        keystone = do(services_seen, places=places(now, ("identity",), region))
        proof = do(s3_proof, user=user, project=project)
        return Chain(
            "in order",
            Plan("keystone", keystone, partial(_proxies, now=now, region=region, missing=missing), NODES),
            Stage("keys", [do(s3_keys, user=user, project=project)], hosts(cloud)),
            Stage("proof", [proof], hosts(cloud), until=Check(proof, told_apart, hosts(cloud), within=30)),
        )

    return Chain("swift.s3", Plan("catalogue", catalogue, look, CLOUD))


def s3_keys(task: Task, *, user: str = "", project: str = "") -> Result[Keys]:
    """Have a user (name or id; default: the cloud's own login) have keys to S3 in a project; made once, then kept."""
    node = Node(task)
    cloud = Cloud(node)
    who, where = cloud.read("user and project", lambda c: _whose(c, user, project))
    found = cloud.read("the user's keys", lambda c: _keys(c, who, where))
    if found is None:
        cloud.change(
            f"make keys to S3 for {_named(user, project)}",
            lambda c: _checked(_identity(c).post(f"/users/{who}/credentials/OS-EC2", json={"tenant_id": where})),
        )
    return node.done(lambda: found or _made(cloud, who, where))


def _named(user: str, project: str) -> str:
    whom = f"the user {user}" if user else "the cloud's own login"
    return f"{whom} in {f'the project {project}' if project else 'its own project'}"


def s3_proof(task: Task, *, user: str = "", project: str = "") -> Result[S3Proof]:
    """Observe: list the buckets by a signed request, and the same signed with a false secret. Raises Refused without keys."""
    node = Node(task)
    cloud = Cloud(node)
    who, where = cloud.read("user and project", lambda c: _whose(c, user, project))
    keys = cloud.read("the user's keys", lambda c: _keys(c, who, where))
    if keys is None:
        raise Refused(f"there are no keys to S3 for {_named(user, project)}: swift.s3 makes them")
    url = cloud.read("S3's place", _place)
    right, code = cloud.read("list the buckets", lambda c: _list(c, url, keys.access, keys.secret.reveal()))
    false = keys.secret.reveal()[::-1] + "x"
    wrong, wrong_code = cloud.read("list them with a false secret", lambda c: _list(c, url, keys.access, false))
    return node.done(S3Proof(url, right, code, wrong, wrong_code))


def told_apart(seen: Seen[S3Proof]) -> list[str]:
    """The right secret is served, a false one refused for its signature."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, proof in seen.items():
        if proof.right != _OK:
            problems.append(f"{host}: {proof.url} answered a signed request with {proof.right} {proof.right_code}")
        if (proof.wrong, proof.wrong_code) != (_FORBIDDEN, "SignatureDoesNotMatch"):
            problems.append(f"{host}: {proof.url} answered a false secret with {proof.wrong} {proof.wrong_code}")
    return problems


def _proxies(seen: Seen[View], *, now: Catalogue, region: str, missing: Sequence[str]) -> Chain:
    keystone, _ = keystone_of(now, seen, region, missing)
    return proxies_with(do(proxy_s3, keystone=keystone))


def _whose(cloud: Connection, user: str, project: str) -> tuple[str, str]:
    identity = _identity(cloud)
    who = identity.find_user(user, ignore_missing=False).id if user else cloud.session.get_user_id()
    where = identity.find_project(project, ignore_missing=False).id if project else cloud.session.get_project_id()
    return str(who), str(where)


def _keys(cloud: Connection, user: str, project: str) -> Keys | None:
    answer = _checked(_identity(cloud).get(f"/users/{user}/credentials/OS-EC2"))
    mine = [one for one in answer.json()["credentials"] if one["tenant_id"] == project]
    return Keys(mine[0]["access"], Secret(literal=mine[0]["secret"])) if mine else None


def _made(cloud: Cloud, user: str, project: str) -> Keys:
    found = cloud.read("the user's keys", lambda c: _keys(c, user, project))
    if found is None:
        raise Refused("keys to S3 were made, and Keystone does not list them: look into its log")
    return found


def _place(cloud: Connection) -> str:
    """Where S3 is: its own endpoint, else Swift's without the account."""
    for type_ in ("s3", "object-store"):
        url = cloud.session.get_endpoint(service_type=type_, interface="public", region_name=cloud.config.get_region_name())
        if url:
            return str(base_of(url))
    raise Refused("the catalogue has no public endpoint of Swift: run swift.endpoint first")


def _list(cloud: Connection, url: str, access: str, secret: str) -> tuple[int, str]:
    status, text = _get(cloud, url, access, secret, LOCATION)
    if status != _OK and (elsewhere := _ELSEWHERE.search(text)):
        status, text = _get(cloud, url, access, secret, elsewhere[1])
    code = _CODE.search(text)
    return status, code[1] if code else ""


def _get(cloud: Connection, url: str, access: str, secret: str, region: str) -> tuple[int, str]:
    headers = signed("GET", f"{url}/", access=access, secret=secret, region=region, now=datetime.now(timezone.utc))
    answer = cloud.session.get(f"{url}/", headers=headers, authenticated=False, raise_exc=False)
    return answer.status_code, answer.text


def _checked(answer: Any) -> Any:
    from openstack.exceptions import raise_from_response  # noqa: PLC0415  an extra

    raise_from_response(answer)
    return answer


def _identity(cloud: Connection) -> Any:
    return cloud.identity
