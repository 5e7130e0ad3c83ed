"""The control plane as the inventory describes it: who runs what, where the databases are, and every password. Pure."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.errors import UsageError
from nornir_stack.secret import Secret
from nornir_stack.select import nearest, role
from nornir_stack.settings import settings_of
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.openstack.files import Console
from nornir_stack.tasks.openstack.programs import CINDER, GNOCCHI, KEYSTONE, OCTAVIA, ON_CONTROLLER
from nornir_stack.tasks.openstack.settings import Cinder, OpenStack

if TYPE_CHECKING:
    from nornir.core.inventory import Host, Inventory

    from nornir_stack.tasks.openstack.programs import Program

CONTROLLER, STORAGE = role("controller"), role("storage")
NETWORK, COMPUTE = role("network"), role("compute")
DATABASE_PORT = 3306


@dataclass(frozen=True)
class Plane:
    """One control plane. `database` is where its services reach their databases; `members` are the cluster that holds them.

    `instances`: there are nodes that run or connect them. Else it is a cloud that keeps objects, and Keystone for those.
    """

    controller: str
    address: str
    region: str
    database: tuple[str, int]
    members: tuple[str, ...]
    secret: Secret
    admin: Secret
    workers: int | None
    compute_driver: str
    instances: bool
    console: Console
    volumes: tuple[str, ...] = ()  # hosts that give a volume group away
    telemetry: bool = False
    balancers: bool = False

    @property
    def programs(self) -> tuple[Program, ...]:
        """The controller's services."""
        more = ((CINDER, bool(self.volumes)), (GNOCCHI, self.telemetry), (OCTAVIA, self.balancers))
        return (*(ON_CONTROLLER if self.instances else (KEYSTONE,)), *(one for one, wanted in more if wanted))

    @property
    def initiators(self) -> bool:
        """Compute nodes reach volumes by iSCSI."""
        return bool(self.volumes) and self.compute_driver != "fake"

    @property
    def keystone(self) -> str:
        return f"http://{self.address}:5000"

    def password(self, what: str) -> Secret:
        """The password of one service for one purpose, such as `database nova`: another for each, the same at each call."""
        return Secret(literal=hmac.new(self.secret.reveal().encode(), what.encode(), hashlib.sha256).hexdigest()[:32])

    def database_url(self, schema: str) -> Secret:
        """As oslo.db takes it. The port is always said: Nova's templates of cells would write None."""
        host, port = self.database
        user = user_of(schema)
        return Secret(literal=f"mysql+pymysql://{user}:{self.password(f'database {user}').reveal()}@{host}:{port}/{schema}")

    @property
    def transport_url(self) -> Secret:
        return Secret(literal=f"rabbit://openstack:{self.password('messages').reveal()}@{self.address}:5672/")


def user_of(schema: str) -> str:
    """The database's user that has a schema: Nova's three have one."""
    return schema.partition("_")[0]


def plane_of(inventory: Inventory) -> Plane:
    """What the inventory describes. Raises UsageError where there is not one controller, or no way to the databases."""
    controllers = CONTROLLER.hosts(inventory)
    if len(controllers) != 1:
        found = ", ".join(controllers) or "none"
        raise UsageError(f"this control plane has one host of the role controller, and the inventory has {found}")
    own = settings_of(inventory.hosts[controllers[0]], OpenStack)
    if own.secret is None or own.admin_password is None:
        raise UsageError(
            f"{controllers[0]}: openstack.secret and openstack.admin_password are missing: all passwords come of them"
        )
    address = address_of(inventory.hosts[controllers[0]])
    members = role("db").hosts(inventory)
    database = _listener(inventory, own.listener) if members else (address, DATABASE_PORT)
    return Plane(
        controllers[0],
        address,
        own.region,
        database,
        members,
        own.secret,
        own.admin_password,
        own.workers,
        own.compute_driver,
        bool((NETWORK | COMPUTE).hosts(inventory)),
        console_at(inventory.hosts[controllers[0]]),
        tuple(name for name in STORAGE.hosts(inventory) if settings_of(inventory.hosts[name], Cinder).volume_group),
        own.telemetry,
        own.balancer_driver is not None,
    )


def address_of(host: Host) -> str:
    """Where the other hosts reach this one. Raises UsageError where neither its settings nor its hostname are an address."""
    own = settings_of(host, OpenStack).address
    if own is None:
        raise UsageError(f"{host.name}: openstack.address is missing, and its hostname {host.hostname!r} is no address")
    return str(own)


def console_at(host: Host) -> Console:
    """How screens are reached by the proxy on this controller."""
    own = settings_of(host, OpenStack)
    return Console(address_of(host), own.console_certificate, own.console_key, own.keymap)


def _listener(inventory: Inventory, name: str) -> tuple[str, int]:
    balancers = role("loadbalancer").hosts(inventory)
    if not balancers:
        raise UsageError("there is a Galera cluster and no load balancer: the services need one address that stays")
    balancer = settings_of(inventory.hosts[balancers[0]], LoadBalancer)
    if name not in balancer.listeners:
        hint = nearest(name, balancer.listeners) or f": it has {', '.join(balancer.listeners)}"
        raise UsageError(f"openstack.listener: {balancers[0]} has no listener {name!r}{hint}")
    listener = balancer.listeners[name]
    if listener.mode != "single-writer":
        raise UsageError(
            f"openstack.listener: {name!r} of {balancers[0]} is {listener.mode}, and OpenStack's services do not bear the"
            " conflicts of several writers: give it mode single-writer, or name one that has it"
        )
    return str(balancer.virtual_address), listener.port
