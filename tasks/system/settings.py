"""What an inventory says about every host, whatever its role: the key `system`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from nornir_stack.settings import Address, Text, form

Url = Annotated[str, form(r"(https?|ftp|file)://\S+", "a URL such as http://mirror.example.net:3142")]


@dataclass(frozen=True, kw_only=True)
class System:
    """The base of a node. Everything may be left out: then the node keeps what it has."""

    key: ClassVar[str] = "system"

    names: Mapping[Address, tuple[Text, ...]] = field(default_factory=dict)  # more lines of the hosts file
    mirror: Url | None = None  # where packages come from instead of the distribution's own servers
    proxy: Url | None = None  # for the package manager
    time_servers: tuple[Text, ...] = ()
    sysctl: Mapping[Text, str | int] = field(default_factory=dict)
