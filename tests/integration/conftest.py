"""Real nodes for tests: one lab a session, with a name and a network of its own, taken down at the end."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import ConnectionOptions, Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups
from nornir.plugins.runners import ThreadedRunner

from nornir_stack.inventory.plugins import register_connections
from nornir_stack.lab import Lab, LabSpec, NodeSpec, reason_against

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_NUMBERS = range(200, 250)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder boots real nodes."""
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.nodes)


@pytest.fixture(scope="session", autouse=True)
def state_folder() -> Iterator[Path]:
    """Runs, keys and nodes' disks of the tests lie apart from the user's own, and where pytest does not tidy up mounts."""
    with TemporaryDirectory(prefix="nornir-stack-tests-", dir="/var/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", folder)
        yield Path(folder)


@pytest.fixture(scope="session")
def boot(state_folder: Path) -> Iterator[Callable[..., Lab]]:
    """`boot("db1", "db2", tree="db", disk_mib=0)`: a lab of these nodes, up; gone at the end of the session."""
    del state_folder  # must be set before a lab is made
    labs: list[Lab] = []

    def make(*names: str, tree: str = "base", disk_mib: int = 0) -> Lab:
        reason = reason_against()
        if reason:
            pytest.fail(f"nodes cannot be booted: {reason}")
        number = next(n for n in _NUMBERS if not Path(f"/sys/class/net/ns-t{n}").exists())
        network = ip_network(f"10.77.{number}.0/24")
        nodes = tuple(NodeSpec(name, f"10.77.{number}.{11 + i}/24", tree, disk_mib) for i, name in enumerate(names))
        lab = Lab(LabSpec(f"t{number}", network, nodes))  # type: ignore[arg-type]
        labs.append(lab)
        lab.up()
        return lab

    yield make
    for lab in labs:
        lab.down()


def nornir(lab: Lab, roles: Mapping[str, list[str]], data: Mapping[str, Mapping[str, Any]] | None = None) -> Nornir:
    """A Nornir object over a lab's nodes by role; `data` by role or host name."""
    register_connections()
    extras = {"known_hosts": str(lab.spec.state / "known_hosts"), "client_keys": [str(lab.spec.state / "id_ed25519")]}
    data = data or {}
    groups = Groups({role: Group(role, data=dict(data.get(role, {}))) for role in roles})
    hosts = Hosts()
    for role, names in roles.items():
        for name in names:
            address = lab.spec.node(name).address.partition("/")[0]
            host = hosts.setdefault(
                name,
                Host(
                    name,
                    hostname=address,
                    username="root",
                    groups=ParentGroups(),
                    data=dict(data.get(name, {})),
                    connection_options={"ssh": ConnectionOptions(None, None, None, None, None, extras)},
                ),
            )
            host.groups.append(groups[role])
    config = Config(logging=LoggingConfig(enabled=False))
    return Nornir(Inventory(hosts, groups, Defaults(data=dict(data.get("defaults", {})))), config, runner=ThreadedRunner(20))
