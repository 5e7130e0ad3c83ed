"""What an inventory says about packstack: the key `packstack` of the host of the role `controller`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Union

from nornir.core.inventory import Inventory
from pydantic import Strict

from nornir_stack.secret import Secret
from nornir_stack.settings import AbsolutePath, Finding, Text, dotted
from nornir_stack.tasks.openstack.settings import Device
from nornir_stack.tasks.packstack.parameters import complaint

# Union: evaluated when the settings are read, on Python 3.10 too
Answer = Union[Secret, str, Annotated[int, Strict()], Annotated[float, Strict()]]  # noqa: UP007
Service = Literal[
    "aodh",
    "ceilometer",
    "cinder",
    "client",
    "glance",
    "heat",
    "horizon",
    "ironic",
    "magnum",
    "manila",
    "nagios",
    "neutron",
    "nova",
    "sahara",
    "swift",
    "trove",
]


@dataclass(frozen=True, kw_only=True)
class Packstack:
    """How packstack is to put up the cloud that the inventory describes.

    `answers` stand over what is made of the inventory, by packstack's own names of parameters.
    """

    key: ClassVar[str] = "packstack"

    version: Literal["26.0.0", "kilo"] = "26.0.0"
    services: tuple[Service, ...] = ("glance", "nova", "neutron", "horizon", "client")  # cinder and swift: by the storage host
    tunnel_nic: Device | None = None  # over which instances of different nodes reach each other; of one name on all nodes
    program: AbsolutePath = "/usr/bin/packstack"
    answers: Mapping[Text, Answer] = field(default_factory=dict)

    @staticmethod
    def judge(mine: Mapping[str, "Packstack"], inventory: Inventory) -> Iterator[Finding]:
        """Every answer is a parameter of that version, and of its kind."""
        del inventory
        for host, one in mine.items():
            for name, value in one.answers.items():
                if text := complaint(one.version, name, value):
                    yield Finding(host, dotted("answers", name), text)
