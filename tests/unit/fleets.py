"""Small inventories without nodes, for tests of the engine itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups
from nornir.plugins.runners import ThreadedRunner

if TYPE_CHECKING:
    from collections.abc import Mapping


def fleet(roles: Mapping[str, list[str]], data: Mapping[str, dict[str, Any]] | None = None) -> Nornir:
    """A Nornir object over hosts by role, `{"db": ["db1", "db2"]}`; every host is `platform: local`."""
    groups = Groups({name: Group(name) for name in roles})
    hosts = Hosts()
    for role, names in roles.items():
        for name in names:
            host = hosts.setdefault(name, Host(name, hostname=name, platform="local", groups=ParentGroups()))
            host.groups.append(groups[role])
            host.data.update((data or {}).get(name, {}))
    config = Config(logging=LoggingConfig(enabled=False))
    return Nornir(Inventory(hosts, groups, Defaults()), config, runner=ThreadedRunner())
