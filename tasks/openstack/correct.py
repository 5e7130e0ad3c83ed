"""The chains that put endpoints right by asking the services: all of the catalogue, and Swift's with its proxy."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.errors import Refused, UsageError
from nornir_stack.select import hosts
from nornir_stack.tasks.openstack.ask import base_of
from nornir_stack.tasks.openstack.endpoint import catalogue, endpoint
from nornir_stack.tasks.openstack.misplaced import INTERFACES, found_at, misplaced, places, proven
from nornir_stack.tasks.openstack.one_cloud import CLOUD
from nornir_stack.tasks.openstack.sight import NODES, services_seen
from nornir_stack.tasks.openstack.stat import accounts_answer, stat
from nornir_stack.tasks.openstack.swift_proxy import Proxy, proxy, proxy_keystone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.chain import Bound
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.endpoint import Catalogue
    from nornir_stack.tasks.openstack.misplaced import Misplaced
    from nornir_stack.tasks.openstack.sight import View

SWIFT = ("object-store", "s3")
_ANSWERS_SECONDS = 90.0


def endpoints(
    *, correct: bool = False, service: str = "", region: str = "", address: str = "", missing: Sequence[str] = ()
) -> Chain:
    """Ask every service of the catalogue whether it is where its endpoints say, and fail with a sentence for each that is not.

    correct: have those endpoints corrected in place whose right place was found, and answered from every node.
    service: look at this one only (its type). region: needed where there are several.
    address: where `service` is, if several nodes have it. missing: nodes that are lost, and are not asked.
    """
    types = (service,) if service else ()
    if address and not service:
        raise UsageError("address= says where one service is: name it by service=")

    def look(seen: Seen[Catalogue]) -> Chain:
        cloud, now = only(seen)
        if service and not any(each.type == service for each in now.services):
            raise Refused(
                f"the catalogue has no service of type {service!r}: {', '.join(sorted({s.type for s in now.services}))}"
            )
        asking = do(services_seen, places=places(now, types, region), ports=_ports(now, types))
        decide = partial(
            _judged, cloud=cloud, now=now, types=types, region=region, address=address, missing=missing, correct=correct
        )
        return Chain("asked", Plan("ask", asking, decide, NODES))

    return Chain("openstack.endpoints", Plan("catalogue", catalogue, look, CLOUD))


def swift_endpoint(*, region: str = "", address: str = "", missing: Sequence[str] = ()) -> Chain:
    """Swift's proxies with today's keys for Keystone, then its endpoints where the proxies answer, then `swift stat`.

    Endpoints are corrected in place, each after its new place was asked: there is no moment without one. Those of S3 too.
    region: needed where there are several. address: of the proxy that is meant, if there are several and no load balancer.
    missing: nodes that are lost, and are not asked.
    """

    def look(seen: Seen[Catalogue]) -> Chain:
        cloud, now = only(seen)
        if not any(each.type == "object-store" for each in now.services):
            raise Refused("the catalogue has no service of type 'object-store': Swift was not installed, or not registered")
        keystone = do(services_seen, places=places(now, ("identity",), region))
        asking = do(services_seen, places=places(now, SWIFT, region), ports=_ports(now, SWIFT))
        decide = partial(
            _judged, cloud=cloud, now=now, types=SWIFT, region=region, address=address, missing=missing, correct=True
        )
        return Chain(
            "in order",
            Plan("keystone", keystone, partial(_proxies, now=now, region=region, missing=missing), NODES),
            Plan("ask", asking, decide, NODES),
            Stage("stat", [stat], hosts(cloud), until=Check(stat, accounts_answer, hosts(cloud), within=30)),
        )

    return Chain("swift.endpoint", Plan("catalogue", catalogue, look, CLOUD))


def only(seen: Seen[Catalogue]) -> tuple[str, Catalogue]:
    """The one cloud and its catalogue. Raises Refused where there is none, or several."""
    for host, why in seen.missing.items():
        raise Refused(f"{host} was not seen: {why}")
    if len(seen) != 1:
        raise Refused(f"the inventory has {len(seen)} hosts of the role cloud: this is for one (connection: openstack)")
    ((host, now),) = seen.items()
    return host, now


def keystone_of(now: Catalogue, seen: Seen[View], region: str, missing: Sequence[str]) -> tuple[str, str]:
    """Keystone's URL for services, and that for users. Raises Refused where it answers nowhere, or a node was not asked."""
    all_seen(seen, missing)
    internal = found_at(now, "identity", ("internal", "public", "admin"), region, seen)
    public = found_at(now, "identity", ("public", "internal"), region, seen)
    return internal, public


def all_seen(seen: Seen[View], missing: Sequence[str]) -> None:
    """Raises Refused for a node that was not asked and is not known to be lost: the service may well be there."""
    for host, why in seen.missing.items():
        if host not in missing:
            raise Refused(f"{host} was not asked ({why}): bring it back, or name it by missing=")


def _proxies(seen: Seen[View], *, now: Catalogue, region: str, missing: Sequence[str]) -> Chain:
    keystone, public = keystone_of(now, seen, region, missing)
    return proxies_with(do(proxy_keystone, keystone=keystone, public=public))


def proxies_with(setting: Bound) -> Chain:
    """Swift's proxies by the task `setting`, one after the other; each has to answer again before the next."""
    return Chain("proxies", Plan("proxies", proxy, partial(_set_up, setting=setting), NODES))


def _set_up(seen: Seen[Proxy], *, setting: Bound) -> Chain:
    have = [host for host, one in seen.items() if one]
    if not have:
        raise Refused(f"Swift's proxy is enabled on none of {', '.join(seen)}: install it, or enable its service")
    return Chain("set up", *(_one(host, seen[host], setting) for host in have))


def _one(host: str, one: Proxy, setting: Bound) -> Stage:
    until = Check(do(services_seen, ports=[one.port]), partial(listens, port=one.port), hosts(host), within=_ANSWERS_SECONDS)
    return Stage(f"proxy on {host}", [setting], hosts(host), until=until)


def listens(seen: Seen[View], *, port: int) -> list[str]:
    """A Swift answers on that port of every node that was asked."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, view in seen.items():
        if not any((one.kind, one.port) == ("object-store", port) for one in view.heard):
            problems.append(f"{host}: Swift's proxy does not answer on port {port}")
    return problems


def _judged(
    seen: Seen[View],
    *,
    cloud: str,
    now: Catalogue,
    types: Sequence[str],
    region: str,
    address: str,
    missing: Sequence[str],
    correct: bool,
) -> Chain:
    all_seen(seen, missing)
    complete = tuple(each for each in types if each == "object-store")
    found = misplaced(now, seen, types=types, complete=complete, region=region, address=address)
    wrong = sorted(found, key=lambda each: (each.service, each.region, INTERFACES.index(each.interface)))
    if not wrong:
        return Chain("right", reasons=["Every endpoint that was asked leads to its service."])
    if not correct:
        way_out = ["correct=yes corrects each whose right place is named"] if any(each.new for each in wrong) else []
        raise Refused("\n".join([*map(str, wrong), *way_out]))
    news = tuple(dict.fromkeys(each.new for each in wrong if each.new))
    prove = partial(_corrected, wrong=wrong, cloud=cloud, now=now)
    return Chain("wrong", Plan("prove", do(services_seen, places=news), prove, NODES), reasons=[str(each) for each in wrong])


def _corrected(seen: Seen[View], *, wrong: Sequence[Misplaced], cloud: str, now: Catalogue) -> Chain:
    sure = proven(wrong, now, seen)
    tasks = [
        do(endpoint, service=each.service, interface=each.interface, url=each.new, region=each.region)
        for each in sure
        if each.new
    ]
    left = [str(each) for each in sure if not each.new]
    parts: list[Stage | Plan[Catalogue]] = [Stage("endpoints", tasks, hosts(cloud))] if tasks else []
    if left:
        parts.append(Plan("left", catalogue, partial(_left, problems=left), hosts(cloud)))
    return Chain("corrected", *parts)


def _left(_: Seen[Catalogue], *, problems: Sequence[str]) -> Chain:
    raise Refused("\n".join(problems))


def _ports(now: Catalogue, types: Sequence[str]) -> list[int]:
    """The ports that the catalogue names for these services, beside the usual ones."""
    return sorted({base_of(place).port for place in places(now, types, "")})
