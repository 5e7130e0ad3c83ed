"""Loads an inventory folder: hosts.yaml, groups.yaml, defaults.yaml. Everything that is wrong is found in one go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nornir.core.inventory import Inventory

from nornir_stack.inventory.addresses import check_addresses
from nornir_stack.inventory.data import check_data
from nornir_stack.inventory.entries import DefaultsEntry, Sources, build, read_entries, read_entry
from nornir_stack.inventory.findings import Findings
from nornir_stack.inventory.fleet import Fleet, together
from nornir_stack.inventory.names import check_names
from nornir_stack.inventory.networks import read_networks
from nornir_stack.inventory.roles import Given, known_roles
from nornir_stack.inventory.source import Problem, read_source
from nornir_stack.inventory.typed import check_settings

if TYPE_CHECKING:
    from nornir.core import Nornir

FREE = "vars"
COMMON = ("connection", "maintenance", FREE)
SITE = ("networks", "lab")


def load(path: str | Path = "inventory", *, roles: Given | None = None) -> Fleet:
    """The fleet in the folder `path`, with all its problems and warnings. Raises nothing for what is in the files.

    `roles`: settings classes by role, beside those of the entry points `nornir_stack.roles`.
    """
    folder = Path(path).expanduser()
    known, broken = known_roles(roles)
    sources = Sources(*(read_source(folder / f"{name}.yaml") for name in ("hosts", "groups", "defaults")))
    files = (sources.hosts, sources.groups, sources.defaults)
    early = [Problem(str(folder), 0, text) for text in broken]
    if not (folder / "hosts.yaml").exists():
        early.append(Problem(str(folder), 0, "there is no hosts.yaml in this folder"))
    elif not sources.hosts.data and not sources.hosts.unreadable:
        early.append(Problem(sources.hosts.file, 0, "declares no host"))
    if any(source.unreadable for source in files):  # what else would be found follows from what could not be read
        problems = [problem for source in files for problem in source.problems]
        return Fleet(str(path), Inventory({}, {}, None), together([*early, *problems]), (), {}, known)  # type: ignore[arg-type]

    keys = {cls.key for classes in known.values() for cls in classes} | {*COMMON, *SITE}
    hosts, groups = read_entries(sources.hosts, keys), read_entries(sources.groups, keys)
    defaults = read_entry(sources.defaults, (), DefaultsEntry, sources.defaults.data, keys)
    inventory = build(sources, hosts, groups, defaults)
    findings = Findings(sources, inventory)
    check_names(findings)
    check_data(findings, keys)
    networks, complaints = read_networks(defaults.data)
    for complaint in complaints:
        findings.at(sources.defaults, ("data", *complaint.path), complaint.text)
    settings = check_settings(findings, known)
    check_addresses(findings, settings, networks)
    problems = [*early, *(problem for source in files for problem in source.problems), *findings.problems]
    return Fleet(str(path), inventory, together(problems), together(findings.warnings), networks, known)


def open_inventory(path: str | Path = "inventory", *, roles: Given | None = None) -> Nornir:
    """A Nornir on the inventory folder `path`. Raises InventoryError with every problem."""
    return load(path, roles=roles).nornir()
