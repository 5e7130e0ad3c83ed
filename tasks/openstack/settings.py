"""What an inventory says about the services of a cloud."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Annotated, Any, ClassVar, Literal

from nornir.core.inventory import Host
from pydantic import Field, Strict

from nornir_stack.secret import Secret
from nornir_stack.select import nearest
from nornir_stack.settings import AbsolutePath, Address, Claim, Count, Port, Text, form

Keymap = Annotated[str, form(r"[a-z]{2}(-[a-z]{2})?", "a keymap of QEMU, such as de or en-us")]


@dataclass(frozen=True, kw_only=True)
class Swift:
    """Object storage: the key `swift` of hosts of the role `storage`.

    `password` is that of Swift's own user in Keystone; without one the proxy keeps what it has, or the control plane's.
    """

    key: ClassVar[str] = "swift"

    password: Secret | None = None
    devices: tuple[Text, ...] = ("d1",)  # folders of /srv/node, each a file system of its own in production
    replicas: Count | None = None  # None: three, or as many as there are devices


@dataclass(frozen=True, kw_only=True)
class Cinder:
    """Volumes for instances: the key `cinder` of hosts of the role `storage` that give a volume group away, by iSCSI.

    `backend: fake` makes volumes that only stand in the books: for labs whose kernel has no device mapper.
    """

    key: ClassVar[str] = "cinder"

    volume_group: Text | None = None  # such as cinder-volumes; without one the host has no part in it
    backend: Literal["lvm", "fake"] = "lvm"


@dataclass(frozen=True, kw_only=True)
class OpenStack:
    """A host of the control plane: the key `openstack` of the roles controller, network, compute and storage.

    Every password of a service (Keystone, database, messages) is derived from the one `secret`: whoever has it has all.
    Nothing must be said of hosts whose services were put up otherwise.
    """

    key: ClassVar[str] = "openstack"

    address: Address | None = None  # at which the other hosts reach this one, by default its hostname
    network: Text | None = None  # of the inventory, in which the address has to be
    secret: Secret | None = None
    admin_password: Secret | None = None
    region: Text = "RegionOne"
    listener: Text = "writes"  # of the load balancer, for the databases; used where the inventory has a Galera cluster
    workers: Count | None = None  # processes of each API; None: as the packages have it
    compute_driver: Literal["kvm", "qemu", "fake"] = "kvm"
    telemetry: bool = False  # Gnocchi, and Ceilometer's agents, on the controller
    balancer_driver: Literal["fake"] | None = None  # Octavia, whose balancers stand in the books alone; None: no Octavia
    keymap: Keymap | None = None  # of the instances' screens; None: as QEMU has it
    console_certificate: AbsolutePath | None = None  # on the controller, readable for nova; with its key, screens go by https
    console_key: AbsolutePath | None = None

    def __post_init__(self) -> None:
        if (self.console_certificate is None) != (self.console_key is None):
            raise ValueError("console_certificate and console_key go together: the one is worth nothing without the other")

    @staticmethod
    def from_host(host: Host) -> Mapping[str, Any]:
        """A hostname that is an address is the host's own, unless the data say otherwise."""
        try:
            return {"address": ip_address(host.hostname or "")}
        except ValueError:
            return {}

    def claims(self) -> Iterator[Claim]:
        if self.address is not None and self.network is not None:
            yield Claim("address", self.address, self.network)


PhysicalNetwork = Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", "the name of a physical network, such as physnet1")]
Device = Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", "the name of a device, such as br-ex")]
Vlan = Annotated[int, Strict(), Field(ge=1, le=4094)]


@dataclass(frozen=True, kw_only=True)
class External:
    """A network of the cloud that leads outside: over a NIC and a bridge of the network nodes, with addresses to give away.

    With `vlan` it is that VLAN of the physical network, else the physical network as it is.
    """

    physical_network: PhysicalNetwork
    bridge: Device
    nic: Device
    vlan: Vlan | None = None
    cidr: IPv4Network
    gateway: IPv4Address
    first: IPv4Address  # of the pool that routers and floating addresses are taken from
    last: IPv4Address
    dns: tuple[IPv4Address, ...] = ()

    def __post_init__(self) -> None:
        if self.first not in self.cidr or self.last not in self.cidr:
            raise ValueError(f"the pool {self.first} to {self.last} stands outside {self.cidr}")
        if self.first > self.last:
            raise ValueError(f"the pool begins at {self.first} and ends before it, at {self.last}")
        if self.gateway not in self.cidr:
            raise ValueError(f"the gateway {self.gateway} stands outside {self.cidr}")
        for what, address in (
            ("the gateway", self.gateway),
            ("the network's own address", self.cidr.network_address),
            ("the broadcast address", self.cidr.broadcast_address),
        ):
            if self.first <= address <= self.last:
                raise ValueError(f"the pool {self.first} to {self.last} holds {what} {address}: an instance would get it")


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project of the cloud: its own network behind a router, its users, how much it may take, and who may come in."""

    cidr: IPv4Network
    external: Text | None = None  # which external network its router leads to
    dns: tuple[IPv4Address, ...] = ()
    users: Mapping[Text, Secret] = field(default_factory=dict)  # name to password; members of the project
    quotas: Mapping[Literal["instances", "cores", "ram", "networks", "routers", "floating_ips"], Count] = field(
        default_factory=dict
    )
    ssh_and_ping: bool = True  # let in by the project's default security group
    open: tuple[Port, ...] = ()  # more TCP ports that it lets in, such as 3306


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """What there is in a cloud: the key `cloud` of the host of the role `cloud`."""

    key: ClassVar[str] = "cloud"

    external: Mapping[Text, External] = field(default_factory=dict)
    projects: Mapping[Text, Project] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, project in self.projects.items():
            if project.external is not None and project.external not in self.external:
                hint = nearest(project.external, self.external) or f": there is {', '.join(self.external) or 'none'}"
                raise ValueError(f"projects.{name}.external: no external network {project.external!r}{hint}")
        taken: dict[str, str] = {}
        for name, one in self.external.items():
            if taken.setdefault(one.bridge, one.physical_network) != one.physical_network:
                raise ValueError(f"external.{name}: the bridge {one.bridge} is that of {taken[one.bridge]} already")
