"""Which hosts: selectors are values, resolved against the declared inventory, in declared order."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir.core.inventory import Groups

from nornir_stack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nornir.core.inventory import Host, Inventory


@dataclass(frozen=True)
class Selector:
    """A named set of hosts. Combined with `|`, `&` and `-`; `on.hosts(inventory)` gives names in declared order."""

    text: str
    holds: Callable[[Host], bool]
    names: frozenset[str] = frozenset()

    def hosts(self, inventory: Inventory) -> tuple[str, ...]:
        """The hosts in declared order. Raises UsageError for a host that the inventory does not declare."""
        for name in sorted(self.names - set(inventory.hosts)):
            raise UsageError(f"there is no host {name!r} in the inventory{nearest(name, inventory.hosts)}")
        return tuple(name for name, host in inventory.hosts.items() if self.holds(host))

    def __or__(self, other: Selector) -> Selector:
        return Selector(f"{self} | {other}", lambda h: self.holds(h) or other.holds(h), self.names | other.names)

    def __and__(self, other: Selector) -> Selector:
        return Selector(f"{self} & {other}", lambda h: self.holds(h) and other.holds(h), self.names | other.names)

    def __sub__(self, other: Selector) -> Selector:
        return Selector(f"{self} - {other}", lambda h: self.holds(h) and not other.holds(h), self.names | other.names)

    def __str__(self) -> str:
        return self.text


def role(name: str) -> Selector:
    """The hosts of a role: a group of that name, inherited groups too."""
    return Selector(name, lambda host: host.has_parent_group(name))


def hosts(*names: str) -> Selector:
    """These hosts and no others."""
    return Selector(",".join(names) or "nobody", lambda host: host.name in names, frozenset(names))


everyone = Selector("everyone", lambda _: True)


class DeclaredGroups(Groups):
    """An inventory's groups, which also remember every host that was declared: all filtered copies share them."""

    declared: tuple[str, ...] = ()


def whole(inventory: Inventory) -> Inventory:
    """The inventory, if it forgot no host. Raises UsageError for a filtered copy: who is left in would judge for all."""
    lost = [name for name in getattr(inventory.groups, "declared", ()) if name not in inventory.hosts]
    if lost:
        raise UsageError(
            f"this Nornir object was filtered and knows nothing of {', '.join(lost)}: "
            "use the whole inventory, with limit= (or --on) for the hosts to act on"
        )
    return inventory


def parse(text: str, inventory: Inventory) -> Selector:
    """What a person typed: host and role names with commas, `db,lb1`; a leading `-` takes out, `db,-db3`."""
    chosen: Selector | None = None
    for word in filter(None, (part.strip() for part in text.split(","))):
        name = word.removeprefix("-")
        if name not in inventory.hosts and name not in inventory.groups:
            raise UsageError(f"there is no host and no role {name!r}{nearest(name, [*inventory.hosts, *inventory.groups])}")
        one = hosts(name) if name in inventory.hosts else role(name)
        out = word.startswith("-")
        chosen = (chosen or everyone) - one if out else one if chosen is None else chosen | one
    if chosen is None:
        raise UsageError("an empty selection: name hosts or roles, such as db,lb1")
    return chosen


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an error message: `: did you mean 'db1'?`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {found[0]!r}?" if found else ""
