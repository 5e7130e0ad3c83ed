"""The entries of hosts.yaml, groups.yaml and defaults.yaml, in Nornir's own form, and the Nornir objects made of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from nornir.core.inventory import ConnectionOptions, Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups

from nornir_stack import schema
from nornir_stack.inventory.options import wrong_options
from nornir_stack.inventory.source import Source
from nornir_stack.secret import Secret
from nornir_stack.select import DeclaredGroups, nearest
from nornir_stack.settings import Port, Text

E = TypeVar("E", bound="DefaultsEntry")


@dataclass(frozen=True, kw_only=True)
class Login:
    """How a host is reached."""

    hostname: Text | None = None
    port: Port | None = None
    username: Text | None = None
    password: Secret | None = None
    platform: Text | None = None


@dataclass(frozen=True, kw_only=True)
class ConnectionEntry(Login):
    """How one connection plugin reaches a host; what is left out is the host's."""

    extras: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class DefaultsEntry(Login):
    """defaults.yaml as a whole."""

    data: dict[str, Any] = field(default_factory=dict)
    connection_options: dict[str, ConnectionEntry] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Entry(DefaultsEntry):
    """A host or a group."""

    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """The three files of an inventory."""

    hosts: Source
    groups: Source
    defaults: Source


def read_entries(source: Source, data_keys: Iterable[str]) -> dict[str, Entry]:
    """The entries of hosts.yaml or groups.yaml by name. Parts with a complaint, noted in the source, are left out."""
    return {name: read_entry(source, (name,), Entry, raw, data_keys) for name, raw in source.data.items()}


def read_entry(source: Source, path: schema.Path, cls: type[E], raw: Any, data_keys: Iterable[str]) -> E:
    """One entry, `raw` at `path` of the source: nothing at all is an empty one."""
    if raw is not None and not isinstance(raw, Mapping):
        source.complain(path, "expected a mapping", _name(path))
        raw = None
    parts = {key: value for key, value in (raw or {}).items() if value is not None}
    entry, complaints = schema.read(cls, parts)
    while entry is None:
        for complaint in complaints:
            text = _hint(complaint, data_keys)
            source.complain((*path, *complaint.path), text, _name(path))
        wrong = {complaint.path[0] for complaint in complaints if complaint.path}
        parts = {key: value for key, value in parts.items() if key not in wrong}
        entry, complaints = schema.read(cls, parts)
    for complaint in wrong_options(entry.connection_options):
        told = complaint.at("connection_options")
        source.complain((*path, *told.path), _hint(told, data_keys), _name(path))
    return entry


def _name(path: schema.Path) -> str:
    return str(path[0]) if path else ""


def _hint(complaint: schema.Complaint, data_keys: Iterable[str]) -> str:
    where = ".".join(str(step) for step in complaint.path)
    if complaint.text.startswith("unknown") and len(complaint.path) == 1 and where in data_keys:
        return f"{where} belongs under data:"
    return f"{where}: {complaint.text}"


def build(sources: Sources, hosts: Mapping[str, Entry], groups: Mapping[str, Entry], defaults: DefaultsEntry) -> Inventory:
    """Nornir's inventory. Groups that do not exist and circles of groups are noted in the sources and left out."""
    made_defaults = Defaults(**_attributes(defaults))
    made_groups = DeclaredGroups({n: Group(name=n, defaults=made_defaults, **_attributes(e)) for n, e in groups.items()})
    made_hosts = Hosts({name: Host(name=name, defaults=made_defaults, **_attributes(e)) for name, e in hosts.items()})
    for name, entry in groups.items():
        made_groups[name].groups = _parents(sources.groups, name, entry, made_groups, child=name)
    for name, entry in hosts.items():
        made_hosts[name].groups = _parents(sources.hosts, name, entry, made_groups)
    made_groups.declared = tuple(made_hosts)
    return Inventory(hosts=made_hosts, groups=made_groups, defaults=made_defaults)


def _parents(source: Source, name: str, entry: Entry, groups: Groups, *, child: str | None = None) -> ParentGroups:
    parents = ParentGroups()
    for index, parent in enumerate(entry.groups):
        path = (name, "groups", index)
        if parent not in groups:
            source.complain(path, f"there is no group {parent!r} in groups.yaml{nearest(parent, groups)}", name)
        elif child is not None and _within(groups[parent], child):
            source.complain(path, f"the group would be a part of itself, by way of group {parent!r}", name)
        else:
            parents.add(groups[parent])
    return parents


def _within(group: Group, name: str) -> bool:
    return group.name == name or any(_within(parent, name) for parent in group.groups)


def _attributes(entry: DefaultsEntry) -> dict[str, Any]:
    options = {
        name: ConnectionOptions(**_login(option), extras=option.extras) for name, option in entry.connection_options.items()
    }
    return {**_login(entry), "data": entry.data, "connection_options": options}


def _login(entry: Login) -> dict[str, Any]:
    return {one.name: getattr(entry, one.name) for one in fields(Login)}
