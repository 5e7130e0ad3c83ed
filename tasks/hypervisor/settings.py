"""What an inventory says about hypervisors (the key `hypervisor`) and about their virtual machines (the key `machine`)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from nornir.core.inventory import Inventory

from nornir_stack.select import nearest
from nornir_stack.settings import AbsolutePath, Address, Claim, Count, Finding, Text, form
from nornir_stack.size import Size
from nornir_stack.tasks.hypervisor.names import DISK, is_nova, mac_of, volume_of

Device = Annotated[str, form(r"[A-Za-z0-9_.-]{1,15}", "the name of a device: up to 15 letters, digits, dots, - and _")]
Name = Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "a name: letters, digits, dots, - and _")]
Checksum = Annotated[str, form(r"[0-9a-f]{64}", "a SHA-256 sum: 64 digits 0-9 and a-f")]
DiskName = Annotated[str, form(DISK, "a disk's name: a small letter and up to 19 of them, digits and -")]
Url = Annotated[str, form(r"(https?|ftp|file)://\S+|/\S+", "a URL, or an absolute path on the hypervisor")]


@dataclass(frozen=True, kw_only=True)
class VirtualNetwork:
    """A network of libvirt, under its name; its addresses are those of the inventory's network of that name (or `network`).

    `isolated`: guests and the hypervisor only. `nat`, `routed`: out by `uplink`, or by any device. `bridged`: guests are on
    `bridge`, which somebody else has made; of the others libvirt makes it, under the name given.
    `address`: the hypervisor's own on it. `dhcp`: machines get their addresses of the inventory by their MAC too.
    """

    mode: Literal["isolated", "nat", "routed", "bridged"] = "isolated"
    bridge: Device | None = None
    network: Text | None = None
    address: Address | None = None
    uplink: Device | None = None
    dhcp: bool = False
    autostart: bool = True

    def __post_init__(self) -> None:
        if self.mode == "bridged":
            if self.bridge is None:
                raise ValueError("a bridged network names the bridge that is there")
            if self.address or self.uplink or self.dhcp:
                raise ValueError("of a bridged network libvirt gives no address, uplink or DHCP: whoever made the bridge does")
        if self.mode in {"nat", "routed"} and self.address is None:
            raise ValueError(f"a {self.mode} network needs the hypervisor's own address on it: `address`")
        if self.dhcp and self.address is None:
            raise ValueError("dhcp needs the hypervisor's own address on the network: `address`")
        if self.uplink and self.mode == "isolated":
            raise ValueError("an isolated network has no uplink")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Where disks lie: in the folder `path`, or as logical volumes of `volume_group`, which is there."""

    path: AbsolutePath | None = None
    volume_group: Name | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.volume_group is None):
            raise ValueError("a pool has either a path or a volume_group")


@dataclass(frozen=True, kw_only=True)
class Image:
    """What machines start from: a Debian made of packages, or a finished cloud image (qcow2) at `source`, with its checksum.

    `packages` beside the base (a kernel, systemd, sshd) are in an image that is made. A finished one needs cloud-init in it.
    """

    suite: Name = "bookworm"
    packages: tuple[Name, ...] = ()
    source: Url | None = None
    sha256: Checksum | None = None

    def __post_init__(self) -> None:
        if (self.source is None) != (self.sha256 is None):
            raise ValueError("a finished image has both a source and its sha256")
        if self.source and self.packages:
            raise ValueError("packages are of an image that is made, not of a finished one")


@dataclass(frozen=True, kw_only=True)
class HypervisorSettings:
    """A hypervisor: its virtual networks, pools and images by name. `reserved`: memory that no machine is promised."""

    key: ClassVar[str] = "hypervisor"

    networks: Mapping[Name, VirtualNetwork] = field(default_factory=dict)
    pools: Mapping[Name, Pool] = field(default_factory=dict)
    images: Mapping[Name, Image] = field(default_factory=dict)
    image_pool: Name = "default"
    accelerator: Literal["auto", "kvm", "emulated"] = "auto"
    reserved: Size = field(default=Size(1 << 30))

    def __post_init__(self) -> None:
        if self.images:
            pool = self.pools.get(self.image_pool)
            if pool is None:
                raise ValueError(f"image_pool {self.image_pool!r} is no pool{nearest(self.image_pool, self.pools)}")
            if pool.path is None:
                raise ValueError(f"image_pool {self.image_pool!r}: images are files, and need a pool with a path")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A virtual machine: a host of the inventory, on the hypervisor that it names.

    `networks`: its NICs in order, each the name of a virtual network, with its address there or null. `disks`: further disks
    by name and size, found in the machine as /dev/disk/by-id/virtio-NAME. What is left out of `cpus`, `memory`, `disk` comes
    of its role.
    """

    key: ClassVar[str] = "machine"

    hypervisor: Name
    image: Name = "debian"
    pool: Name = "default"
    cpus: Count | None = None
    memory: Size | None = None
    disk: Size | None = None
    disks: Mapping[DiskName, Size] = field(default_factory=dict)
    networks: Mapping[Name, Address | None]
    authorized_keys: tuple[Text, ...]
    console: Literal["spice", "vnc", "none"] = "spice"
    autostart: bool = True

    def __post_init__(self) -> None:
        if not self.networks:
            raise ValueError("a machine without a network cannot be reached: name one")
        if reserved := {"root", "seed"} & set(self.disks):
            raise ValueError(f"disks cannot be called {min(reserved)}: every machine has one of its own")

    def claims(self) -> Iterator[Claim]:
        for name, address in self.networks.items():
            if address is not None:
                yield Claim(f"networks.{name}", address, name)

    @staticmethod
    def judge(mine: Mapping[str, "Machine"], inventory: Inventory) -> Iterator[Finding]:
        """Each is on a hypervisor of the inventory, none is called as Nova calls its own, nothing of it is another's too."""
        hypervisors = [name for name, host in inventory.hosts.items() if host.has_parent_group("hypervisor")]
        yield from _collisions(mine)
        for name, machine in mine.items():
            if machine.hypervisor not in hypervisors:
                text = f"{machine.hypervisor} is no host of the role hypervisor{nearest(machine.hypervisor, hypervisors)}"
                yield Finding(name, "hypervisor", text)
            if is_nova(name):
                yield Finding(name, "hypervisor", f"machines called {name} are Nova's: choose another name")


def _collisions(mine: Mapping[str, Machine]) -> Iterator[Finding]:
    """Hardware addresses and disks of which two machines would have the same: `web` with a disk `data-root`, and `web-data`."""
    cards: dict[str, str] = {}
    disks: dict[tuple[str, str], str] = {}
    for name, machine in mine.items():
        for network in machine.networks:
            if (other := cards.setdefault(mac := mac_of(name, network), name)) != name:
                yield Finding(name, f"networks.{network}", f"the hardware address {mac} is {other}'s too: choose another name")
        for disk in ("root", "seed", *machine.disks):
            volume = volume_of(name, disk)
            if (other := disks.setdefault((machine.hypervisor, volume), name)) != name:
                yield Finding(name, "hypervisor", f"its disk {disk} would be {volume}, as one of {other}: choose another name")
