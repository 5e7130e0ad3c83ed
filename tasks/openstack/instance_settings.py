"""What an inventory says of the instances of a cloud: the key `instances` of the host of the role cloud."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from nornir_stack.select import nearest
from nornir_stack.settings import AbsolutePath, Address, Count, Number, Text, form

Sha256 = Annotated[str, form(r"[0-9a-f]{64}", "the 64 digits that sha256sum prints")]
BOOT = "disk"  # the name of the volume that an instance boots from
PublicKey = Annotated[str, form(r"(ssh|ecdsa|sk)-\S+ [A-Za-z0-9+/=]+( .*)?", "a public key, as in an authorized_keys file")]


@dataclass(frozen=True, kw_only=True)
class GlanceImage:
    """A disk to start from, from a file of the machine that runs this; with `kernel` and `initrd` it is started by those.

    `properties` are Glance's, such as hw_vif_model. An image is never changed: another content is another name.
    """

    file: AbsolutePath
    format: Literal["qcow2", "raw"] = "qcow2"
    sha256: Sha256 | None = None  # of the file; judged before it is sent
    kernel: AbsolutePath | None = None
    initrd: AbsolutePath | None = None
    kernel_words: Text | None = None
    properties: Mapping[Text, Text] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.initrd or self.kernel_words) and not self.kernel:
            raise ValueError("initrd and kernel_words are for an image with a kernel of its own: say kernel, too")


@dataclass(frozen=True, kw_only=True)
class Flavor:
    """A size: virtual processors, memory in MiB, disk in GiB (0: as large as the image)."""

    vcpus: Count
    ram: Count
    disk: Number = 0


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A machine of a project, on the project's own network unless `network` says another of its networks.

    With `disk` it boots from a volume of Cinder, made of its image and as large as that says, instead of its node's disk.
    `external` gives it a floating address of that network. `reached_from` is a host of the inventory from which its ssh
    has to answer, with a host key that stands on its console. It learns its keys from a config drive, or by the metadata
    service where that is false.
    """

    project: Text
    image: Text
    flavor: Text
    key: Text | None = None
    network: Text | None = None
    address: Address | None = None  # in that network; any if not given
    external: Text | None = None
    config_drive: bool = True
    disk: Count | None = None  # GiB
    volumes: Mapping[Text, Count] = field(default_factory=dict)  # of Cinder, named SERVER-NAME: name to GiB
    reached_from: Text | None = None

    def __post_init__(self) -> None:
        if BOOT in self.volumes:
            raise ValueError(f"volumes.{BOOT} is the one that it boots from: say `disk: {self.volumes[BOOT]}`")

    @property
    def sizes(self) -> Mapping[str, int]:
        """All its volumes, the one that it boots from included: name to GiB."""
        return {**({BOOT: self.disk} if self.disk else {}), **self.volumes}


@dataclass(frozen=True, kw_only=True)
class Instances:
    """Images, flavors, keys and instances by their names."""

    key: ClassVar[str] = "instances"

    images: Mapping[Text, GlanceImage] = field(default_factory=dict)  # those that are in Glance already need no word here
    flavors: Mapping[Text, Flavor] = field(default_factory=dict)
    keys: Mapping[Text, PublicKey] = field(default_factory=dict)
    servers: Mapping[Text, Instance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, one in self.servers.items():
            if one.key is not None and one.key not in self.keys:
                hint = nearest(one.key, self.keys) or f": there is {', '.join(self.keys) or 'none'}"
                raise ValueError(f"servers.{name}.key: no key {one.key!r}{hint}")
