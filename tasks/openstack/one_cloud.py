"""The one cloud of an inventory: its host, what that says, and a project's id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from nornir_stack.errors import Refused, UsageError
from nornir_stack.select import role
from nornir_stack.settings import Settings, settings_of

if TYPE_CHECKING:
    from nornir.core.inventory import Inventory
    from openstack.connection import Connection

CLOUD = role("cloud")
S = TypeVar("S", bound=Settings)


def of_the_cloud(inventory: Inventory, settings: type[S]) -> S:
    """Settings of the host that stands for the cloud. Raises UsageError where there is none, or several; InventoryError."""
    names = CLOUD.hosts(inventory)
    if len(names) != 1:
        raise UsageError(f"the inventory has {len(names)} hosts of the role cloud: this is for one")
    return settings_of(inventory.hosts[names[0]], settings)


def project_id(cloud: Connection, name: str) -> str:
    """A project's id. Raises Refused for one that the cloud lacks."""
    identity: Any = cloud.identity
    found = identity.find_project(name)
    if found is None:
        raise Refused(f"the cloud has no project {name}: make it, by openstack.projects")
    return str(found.id)
