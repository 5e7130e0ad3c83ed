"""What was loaded: the inventory with everything that is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nornir.core import Nornir
from nornir.core.configuration import Config
from nornir.core.state import GlobalState
from nornir.plugins.runners import ThreadedRunner

from nornir_stack.errors import InventoryError
from nornir_stack.inventory.plugins import register_connections

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nornir.core.inventory import Inventory

    from nornir_stack.inventory.networks import Network
    from nornir_stack.inventory.roles import Roles
    from nornir_stack.inventory.source import Problem

WORKERS = 20
_NAMES = 3
_ORDER = {"hosts.yaml": 1, "groups.yaml": 2, "defaults.yaml": 3}


@dataclass(frozen=True)
class Fleet:
    """An inventory folder as loaded. With `problems` it is incomplete, and `require()` refuses it; `warnings` stop nothing."""

    path: str
    inventory: Inventory
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    networks: Mapping[str, Network]
    roles: Roles

    def require(self) -> Fleet:
        """Itself. Raises InventoryError with all problems if there are any."""
        if self.problems:
            raise InventoryError([str(problem) for problem in self.problems])
        return self

    def nornir(self, *, workers: int = WORKERS) -> Nornir:
        """What InitNornir gives, without its files and logging. Raises InventoryError as `require` does."""
        self.require()
        register_connections()
        config = Config.from_dict(
            inventory={"plugin": "StackInventory", "options": {"path": self.path}},
            runner={"plugin": "threaded", "options": {"num_workers": workers}},
            logging={"enabled": False},
        )
        return Nornir(self.inventory, config, GlobalState(), runner=ThreadedRunner(workers))


def together(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Each complaint once, with all hosts that inherit it, in the order of files (hosts, groups, defaults) and lines."""
    hosts: dict[tuple[str, int, str], list[str]] = {}
    found: dict[tuple[str, int, str], Problem] = {}
    for problem in problems:
        key = (problem.file, problem.line, problem.text)
        found.setdefault(key, problem)
        if problem.host and problem.host not in hosts.setdefault(key, []):
            hosts[key].append(problem.host)
    merged = [_of(problem, hosts.get(key, [])) for key, problem in found.items()]
    return tuple(sorted(merged, key=lambda problem: (_ORDER.get(Path(problem.file).name, 0), problem.line)))


def _of(problem: Problem, hosts: list[str]) -> Problem:
    more = len(hosts) - _NAMES
    names = ", ".join(hosts) if more <= 0 else f"{', '.join(hosts[:_NAMES])} and {more} more"
    return type(problem)(problem.file, problem.line, problem.text, names)
