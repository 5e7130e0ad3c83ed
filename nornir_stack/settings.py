"""Typed settings of a role, read from a host's data.

    @dataclass(frozen=True, kw_only=True)
    class Galera:
        key: ClassVar[str] = "galera"           # where it stands in the data of hosts, groups and defaults
        cluster_name: str
        buffer_pool: Literal["auto"] | Size = "auto"

    settings_of(task.host, Galera).buffer_pool

A settings class may have more, all of it optional:
`from_host(host) -> Mapping`, what the host itself knows, used where the data are silent;
`claims(self) -> Iterable[Claim]`, the addresses it takes (the name of their network stands in a field `network`);
`judge(mine, inventory) -> Iterable[Finding]` (a static method), what shows only when all hosts of the role are seen.
The types of its fields are looked up at run time: import them outside `if TYPE_CHECKING`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, TypeVar, Union

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StringConstraints

from nornir_stack import schema
from nornir_stack.errors import InventoryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir.core.inventory import Host


class Settings(Protocol):
    """A frozen dataclass with the key under which its data stand."""

    key: ClassVar[str]


S = TypeVar("S", bound=Settings)


def _address(value: Any) -> Any:
    return ip_address(value) if isinstance(value, str) else value


def form(pattern: str, what: str) -> AfterValidator:
    """For `Annotated[str, form(...)]`: text that matches the pattern as a whole; `what` tells people how it looks."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value!r} is not {what}")
        return value

    return AfterValidator(check)


# One error for an address that is none, not one for each family (Union: these are evaluated, on Python 3.10 too).
Address = Annotated[Union[IPv4Address, IPv6Address], BeforeValidator(_address)]  # noqa: UP007
Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[int, Strict(), Field(ge=0)]
Port = Annotated[int, Strict(), Field(ge=1, le=65535)]
Text = Annotated[str, StringConstraints(min_length=1), form(r"[^\x00-\x1f]*", "one line of text")]
AbsolutePath = Annotated[str, form(r"/.*", "an absolute path")]
# IFNAMSIZ of the kernel is 16, with the NUL
Device = Annotated[str, form(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", "a device's name: up to 15 letters, digits, dots, - and _")]


@dataclass(frozen=True)
class Claim:
    """An address that a host takes by its settings (`field`, such as `address`), in a network of the inventory.

    `shared`: other hosts may take it by the same field too, such as the virtual address of two load balancers.
    """

    field: str
    address: IPv4Address | IPv6Address
    network: str = ""
    shared: bool = False


@dataclass(frozen=True)
class Finding:
    """What is wrong with a host's settings as seen beside those of the others. A warning does not stop anything."""

    host: str
    field: str
    text: str
    warning: bool = False


def settings_of(host: Host, cls: type[S]) -> S:
    """The settings of `host` under `cls.key`: of the host over its groups over the defaults, mappings merged deeply.

    Raises InventoryError, `db1: galera.buffer_pool: ...`. Read anew at each call (some ten microseconds), so data that
    a script changed are seen.
    """
    value, complaints = schema.read(cls, raw_settings(host, cls))
    if value is None:
        raise InventoryError([f"{host.name}: {dotted(cls.key, *c.path)}: {c.text}" for c in complaints])
    return value


def raw_settings(host: Host, cls: type[Settings]) -> Any:
    """The merged data of `host` under `cls.key`, not checked: a mapping, if they are in order."""
    merged: Any = {}
    known = getattr(cls, "from_host", None)
    if known is not None:
        merged = dict(known(host))
    for layer in reversed(list(layers(host))):
        if cls.key in layer:
            merged = merge(merged, layer[cls.key])
    return merged


def layers(host: Host) -> Iterator[Mapping[str, Any]]:
    """The data of a host, of its groups (nearest first) and of the defaults: what stands first wins."""
    yield host.data
    for group in host.extended_groups():
        yield group.data
    yield host.defaults.data


def merge(below: Any, above: Any) -> Any:
    """`above` over `below`: mappings key by key, anything else (a list, a null) replaces what was there."""
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {**below, **{key: merge(below[key], value) if key in below else value for key, value in above.items()}}
    return above


def dotted(*path: str | int) -> str:
    """A path as people write it: `galera.users.0.name`."""
    return ".".join(str(step) for step in path)
