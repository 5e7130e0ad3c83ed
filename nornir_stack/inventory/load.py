"""Loads an inventory folder: hosts.yaml, groups.yaml, defaults.yaml. Everything that is wrong is found in one go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nornir.core.inventory import Defaults, Groups, Hosts, Inventory

from nornir_stack.inventory.addresses import check_addresses
from nornir_stack.inventory.data import OWN_KEYS, check_data
from nornir_stack.inventory.entries import DefaultsEntry, Sources, build, read_entries, read_entry
from nornir_stack.inventory.findings import Findings
from nornir_stack.inventory.fleet import Fleet, together
from nornir_stack.inventory.names import check_names
from nornir_stack.inventory.networks import Network, read_networks
from nornir_stack.inventory.roles import Given, Roles, known_roles
from nornir_stack.inventory.source import Problem, read_source
from nornir_stack.inventory.typed import check_settings

if TYPE_CHECKING:
    from nornir.core import Nornir


def load(path: str | Path = "inventory", *, roles: Given | None = None) -> Fleet:
    """The fleet in the folder `path`, with all its problems and warnings. Raises nothing for what is in the files.

    `roles`: settings classes by role, beside those of the entry points `nornir_stack.roles`.
    """
    folder = Path(path).expanduser()
    known, broken = known_roles(roles)
    early = [Problem(str(folder), 0, text) for text in broken]
    sources = Sources(*(read_source(folder / f"{name}.yaml") for name in ("hosts", "groups", "defaults")))
    files = (sources.hosts, sources.groups, sources.defaults)
    if not (folder / "hosts.yaml").exists():
        early.append(Problem(str(folder), 0, "there is no hosts.yaml in this folder"))
    elif not sources.hosts.data and not sources.hosts.unreadable:
        early.append(Problem(sources.hosts.file, 0, "declares no host"))
    findings, networks = Findings(sources, Inventory(Hosts(), Groups(), Defaults())), dict[str, Network]()
    if not any(source.unreadable for source in files):  # else all that would be found follows from that
        findings, networks = _checked(sources, known)
    problems = [*early, *(problem for source in files for problem in source.problems), *findings.problems]
    return Fleet(str(path), findings.inventory, together(problems), together(findings.warnings), networks, known)


def _checked(sources: Sources, roles: Roles) -> tuple[Findings, dict[str, Network]]:
    """The inventory built, with every check done on it."""
    settings = {cls.key for classes in roles.values() for cls in classes}
    keys = settings | OWN_KEYS
    hosts, groups = read_entries(sources.hosts, keys), read_entries(sources.groups, keys)
    defaults = read_entry(sources.defaults, (), DefaultsEntry, sources.defaults.data, keys)
    findings = Findings(sources, build(sources, hosts, groups, defaults))
    check_names(findings)
    check_data(findings, settings)
    networks, complaints = read_networks(defaults.data)
    for complaint in complaints:
        findings.at(sources.defaults, ("data", *complaint.path), complaint.text)
    check_addresses(findings, check_settings(findings, roles), networks)
    return findings, networks


def open_inventory(path: str | Path = "inventory", *, roles: Given | None = None) -> Nornir:
    """A Nornir on the inventory folder `path`. Raises InventoryError with every problem."""
    return load(path, roles=roles).nornir()
