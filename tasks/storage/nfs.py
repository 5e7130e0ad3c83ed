"""Folders that NFS gives to others, each in a file of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.storage.settings import Export, Storage
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result

FILE = "/etc/exports.d/nornir-stack.exports"


def exports(task: Task) -> Result[tuple[str, ...]]:
    """Have NFS export the folders of the inventory (`storage: exports`), which must be there, and no others of ours.

    What /etc/exports says stays.
    """
    node = Node(task)
    declared = settings_of(task.host, Storage).exports
    text = file_of(declared)
    if not declared and node.stat(FILE) is None:
        return node.done(())
    for path in declared:
        found = node.stat(path)
        if found is None or found.kind != "directory":
            raise Refused(f"{node.name}: {path} is no folder, so it cannot be exported: mount or make it first")
    kind = family(node)
    packages(task, present=kind.package("nfs-server"))
    node.make_folder(FILE.rpartition("/")[0])
    changed = node.write_file(FILE, text, independent=True)
    node.then(service, unit=kind.unit("nfs-server"), state="started", enabled=True)
    if changed:
        node.change("exportfs", "-ra", repeatable=True)
    return node.done(tuple(declared))


def file_of(declared: Mapping[str, Export]) -> str:
    """A file of exports(5): a path with white space is written in quotes. Pure."""
    lines = ["# written by nornir-stack"]
    for path, export in declared.items():
        where = f'"{path}"' if " " in path else path
        lines.append(" ".join([where, *(f"{client}({export.options})" for client in export.clients)]))
    return "\n".join(lines) + "\n"
