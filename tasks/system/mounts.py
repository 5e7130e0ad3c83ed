"""A server that does not start where its disk is not mounted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.node import Node

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

# systemd.unit(5): RequiresMountsFor= starts the mount first and fails with it, where a mount unit is known. The assertion
# holds where none is (a line missing in fstab, a container), and fails the start; a Condition would skip it and say ok.
DROP_IN = """\
# Written by nornir_stack: the data of {unit} are on a disk of their own.
[Unit]
RequiresMountsFor={path}
AssertPathIsMountPoint={path}
"""


def requires_mount(task: Task, *, unit: str, path: str) -> Result[None]:
    """Make `unit` start only while `path` is a mount point. It need not be installed yet.

    `path` is the mount point itself; the server's data belong into a folder below it, so that a server that finds the
    bare mount point finds no data there either.
    """
    node = Node(task)
    name = unit if "." in unit else f"{unit}.service"
    path = path.rstrip("/") or "/"
    folder = f"/etc/systemd/system/{name}.d"
    node.make_folder(folder)
    if node.write_file(f"{folder}/50-nornir-stack-mount.conf", DROP_IN.format(unit=name, path=path)):
        node.change("systemctl", "daemon-reload", repeatable=True)
    return node.done()
