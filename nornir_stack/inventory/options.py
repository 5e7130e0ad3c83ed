"""The `extras` of the connection plugins that come with this library: each has the keys that its `open` takes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Annotated, Any

from nornir.core.plugins.connections import CONNECTIONS_PLUGIN_PATH, ConnectionPluginRegister
from pydantic import Field

from nornir_stack import schema
from nornir_stack.secret import Secret
from nornir_stack.select import nearest
from nornir_stack.settings import Port, Text

Seconds = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class Ssh:
    known_hosts: Text | None = None
    client_keys: tuple[Text, ...] | None = None
    config: tuple[Text, ...] | None = None
    sudo: bool | None = None
    sudo_password: Secret | None = None
    connect_timeout: Seconds | None = None


@dataclass(frozen=True, kw_only=True)
class Local:
    sudo: bool | None = None
    sudo_password: Secret | None = None


@dataclass(frozen=True, kw_only=True)
class Libvirt:
    uri: Text | None = None
    socket: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Mysql:
    username: Text | None = None
    password: Secret | None = None
    port: Port | None = None
    socket: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Mongodb:
    server: Text | None = None
    port: Port | None = None
    username: Text | None = None
    password: Secret | None = None
    auth_source: Text | None = None
    seconds: Seconds | None = None


@dataclass(frozen=True, kw_only=True)
class Openstack:
    cloud: Text | None = None
    clouds_file: Text | None = None
    password: Secret | None = None


EXTRAS: Mapping[str, type] = {
    "ssh": Ssh,
    "local": Local,
    "libvirt": Libvirt,
    "mysql": Mysql,
    "mongodb": Mongodb,
    "openstack": Openstack,
}


@dataclass(frozen=True, kw_only=True)
class _Passwords:
    """What netmiko takes of secrets; everything else there is netmiko's own."""

    password: Secret | None = None
    secret: Secret | None = None
    passphrase: Secret | None = None


def wrong_options(options: Mapping[str, Any]) -> Iterator[schema.Complaint]:
    """Complaints about connection options by plugin. Extras of plugins that are not ours are theirs to judge."""
    for name, option in options.items():
        extras = option.extras or {}
        if name in EXTRAS:
            complaints = schema.read(EXTRAS[name], extras)[1]
        elif name == "netmiko":
            passwords = {key: value for key, value in extras.items() if key in schema.fields_at(_Passwords, ())}
            complaints = schema.read(_Passwords, passwords)[1]
        else:
            complaints = []
            if name not in (known := _plugins()) and (hint := nearest(name, known)):
                yield schema.Complaint((name,), f"unknown{hint}")
        for complaint in complaints:
            yield complaint.at(name, "extras")


def _plugins() -> set[str]:
    installed = {entry.name for entry in entry_points(group=CONNECTIONS_PLUGIN_PATH)}
    return {*EXTRAS, "netmiko", *ConnectionPluginRegister.available, *installed}
