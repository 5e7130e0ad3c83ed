"""The keys under `data:`: those of known settings, a few of every inventory, and `vars` for everything else."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from nornir_stack import schema
from nornir_stack.inventory.findings import Findings
from nornir_stack.inventory.source import Source
from nornir_stack.select import nearest
from nornir_stack.settings import Number, Text, form

FREE = "vars"
Card = Annotated[
    str,
    form(
        r"(?!host0$)[a-zA-Z][a-zA-Z0-9_-]{0,14}",
        "the name of a further card: a letter and up to 14 of a-z, A-Z, 0-9, - and _, not host0",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Common:
    """What hosts, groups and defaults may all have."""

    maintenance: Text | None = None  # why: such a host is never touched
    # how it is reached; local is this machine, and by the last two no command can be run on it
    connection: Literal["ssh", "local", "openstack", "netmiko"] | None = None
    vars: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class LabNode:
    """What a host is as a node of the lab: its image, its Debian, a disk of so many MiB, and further cards by segment."""

    tree: Text | None = None
    disk_mib: Number | None = None
    suite: Text | None = None
    nics: dict[Card, Text] | None = None


@dataclass(frozen=True, kw_only=True)
class OfHost(Common):
    """What only a host may have."""

    lab: LabNode | None = None


@dataclass(frozen=True, kw_only=True)
class Lab:
    """The lab that an inventory is booted as: its name on this machine, and the network that its nodes are on."""

    name: Annotated[str, form(r"[a-z][a-z0-9]{0,7}", "a lab's name: a small letter and up to 7 letters or digits")]
    network: Text


@dataclass(frozen=True, kw_only=True)
class Site(Common):
    """What only the defaults may have: it is one for the whole inventory. Networks are read by networks.py."""

    networks: Any = None
    lab: Lab | None = None


OWN_KEYS = schema.fields_at(Site, ()) | schema.fields_at(OfHost, ())


def check_data(findings: Findings, settings: Collection[str]) -> None:
    """Notes keys that nobody reads, and wrong values of those that every inventory has. `settings`: keys of settings."""
    inventory, sources = findings.inventory, findings.sources
    for name, host in inventory.hosts.items():
        _check(findings, sources.hosts, (name, "data"), host.data, (OfHost, settings))
    for name, group in inventory.groups.items():
        _check(findings, sources.groups, (name, "data"), group.data, (Common, settings))
    _check(findings, sources.defaults, ("data",), inventory.defaults.data, (Site, settings))
    lab = inventory.defaults.data.get("lab")
    networks = inventory.defaults.data.get("networks")
    if isinstance(lab, Mapping) and isinstance(networks, Mapping) and lab.get("network", "") not in {"", *networks}:
        text = f"{lab['network']!r} is not declared under networks{nearest(str(lab['network']), networks)}"
        findings.at(sources.defaults, ("data", "lab", "network"), text)


def _check(
    findings: Findings, source: Source, path: schema.Path, data: Mapping[str, Any], known: tuple[type, Collection[str]]
) -> None:
    cls, settings = known
    host = str(path[0]) if len(path) > 1 else ""
    own = schema.fields_at(cls, ())
    site = schema.fields_at(Site, ()) - own
    for key in data:
        if key in site:
            findings.at(source, (*path, key), "belongs into defaults.yaml: it is one for the whole inventory", host)
        elif key not in own and key not in settings:
            hint = nearest(key, [*own, *settings]) or f": what is free in form goes under {FREE}:"
            findings.at(source, (*path, key), f"unknown{hint}", host)
    for complaint in schema.read(cls, {key: value for key, value in data.items() if key in own})[1]:
        findings.at(source, (*path, *complaint.path), complaint.text, host)
