"""Which settings a role has: by entry points of the group `nornir_stack.roles`, or handed in by a program.

In a package's setup.cfg: `db = mypackage.settings:Galera`, and for more than one class of a role
`db.backup = mypackage.settings:Backup`. The role `everyone` is every host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Union

from nornir_stack.settings import Settings

if TYPE_CHECKING:
    from nornir.core.inventory import Host

GROUP = "nornir_stack.roles"
EVERYONE = "everyone"
Given = Mapping[str, Union[type[Settings], Sequence[type[Settings]]]]  # noqa: UP007  evaluated, on Python 3.10 too
Roles = dict[str, tuple[type[Settings], ...]]


def known_roles(given: Given | None = None) -> tuple[Roles, list[str]]:
    """Role to its settings classes, those `given` added to the installed ones; and what could not be imported."""
    roles: Roles = {}
    broken: list[str] = []
    for entry in sorted(entry_points(group=GROUP)):
        try:
            _add(roles, entry.name.partition(".")[0], entry.load())
        except Exception as error:  # noqa: BLE001  a broken plugin costs its own role, and says so
            broken.append(f"the settings of role {entry.name!r} ({entry.value}) cannot be imported: {error}")
    for role, classes in (given or {}).items():
        for cls in classes if isinstance(classes, Sequence) else (classes,):
            _add(roles, role, cls)
    return roles, broken


def _add(roles: Roles, role: str, cls: type[Settings]) -> None:
    if not isinstance(getattr(cls, "key", None), str):
        raise TypeError(f"{cls!r} has no `key`, the name under which its settings stand")
    if cls not in roles.get(role, ()):
        roles[role] = (*roles.get(role, ()), cls)


def classes_of(host: Host, roles: Roles) -> list[tuple[str, type[Settings]]]:
    """The settings that a host has, with the role that it has them by."""
    return [
        (role, cls) for role, classes in roles.items() if role == EVERYONE or host.has_parent_group(role) for cls in classes
    ]
