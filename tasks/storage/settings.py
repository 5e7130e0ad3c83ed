"""What an inventory says about a storage node: the key `storage` of hosts of the role `storage`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from nornir_stack.settings import AbsolutePath, form
from nornir_stack.size import Size

GroupName = Annotated[str, form(r"[A-Za-z0-9_+.][A-Za-z0-9_+.-]*", "a name as LVM takes it: letters, digits, _ + . and -")]
Client = Annotated[str, form(r"[A-Za-z0-9_.:/*@?-]+", "a client of NFS: an address, a network such as 10.0.0.0/24, a name")]
Options = Annotated[str, form(r"[a-z0-9_=,:-]+", "options of an export, such as rw,no_root_squash")]


@dataclass(frozen=True, kw_only=True)
class VolumeGroup:
    """A volume group on these devices, and the logical volumes that are to be in it, by name and size."""

    devices: tuple[AbsolutePath, ...]
    volumes: Mapping[GroupName, Size] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.devices:
            raise ValueError("a volume group stands on one device at least")


@dataclass(frozen=True, kw_only=True)
class Export:
    """A folder that NFS gives to these clients."""

    clients: tuple[Client, ...]
    options: Options = "rw,sync,no_subtree_check"


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The volume groups of a node by name (`cinder-volumes`), and the folders that it exports by path."""

    key: ClassVar[str] = "storage"

    volume_groups: Mapping[GroupName, VolumeGroup] = field(default_factory=dict)
    exports: Mapping[AbsolutePath, Export] = field(default_factory=dict)
