"""`swift stat`: one's own account in object storage, by every way that the catalogue names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import ApiFailed, ConnectionFailed, LoginRefused
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud

if TYPE_CHECKING:
    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen


@dataclass(frozen=True)
class Account:
    """What Swift said of the account; `why` is a sentence where it did not, and `reached` whether anything answered."""

    interface: str
    containers: int = 0
    objects: int = 0
    size: int = 0
    reached: bool = True
    why: str = ""


def stat(task: Task) -> Result[tuple[Account, ...]]:
    """Observe one's account by the public and the internal endpoint, with a token and a catalogue that are new."""
    node = Node(task)
    cloud = Cloud(node)
    cloud.renew()
    return node.done(tuple(_account(cloud, interface) for interface in ("public", "internal")))


def accounts_answer(seen: Seen[tuple[Account, ...]]) -> list[str]:
    """The public endpoint shows the account; the internal one too, where it can be reached from here."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, accounts in seen.items():
        problems += [
            f"{host}: swift stat by the {one.interface} endpoint: {one.why}"
            for one in accounts
            if one.why and (one.reached or one.interface == "public")
        ]
    return problems


def _account(cloud: Cloud, interface: str) -> Account:
    def look(c: Connection) -> Any:
        where = {"service_type": "object-store", "interface": interface, "region_name": c.config.get_region_name()}
        return c.session.head("", endpoint_filter=where).headers

    try:
        headers = cloud.read(f"the account by the {interface} endpoint", look)
    except LoginRefused as error:
        return Account(interface, why=f"the token was refused ({error}): does the proxy log in to Keystone?")
    except ConnectionFailed as error:
        return Account(interface, reached=False, why=str(error))
    except ApiFailed as error:
        return Account(interface, why=str(error))
    containers, objects, size = (
        int(headers.get(f"X-Account-{word}", 0)) for word in ("Container-Count", "Object-Count", "Bytes-Used")
    )
    return Account(interface, containers, objects, size)
