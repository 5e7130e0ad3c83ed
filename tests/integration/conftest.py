"""Real nodes for tests: labs of a module, with a name and a network of its own, taken down when it ends."""

from __future__ import annotations

import os
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
from tests.integration.killed import shares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# the third number of a lab's network; tests that run side by side (pytest-xdist) have their own
_FIRST = 200 + 12 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_NUMBERS = range(_FIRST, _FIRST + 12)
_NOT_RUN = "nodes cannot be booted"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a `share` of its cases is one per part of the campaign: `pytest -n 3 --campaign` runs them at once."""
    if "share" in metafunc.fixturenames:
        metafunc.parametrize("share", shares(campaign=metafunc.config.getoption("campaign")), ids=str)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder boots real nodes; where they cannot be booted it is not run, and the summary shouts it."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    reason = reason_against() if ours else None
    for item in ours:
        item.add_marker(pytest.mark.nodes)
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"{_NOT_RUN}: {reason}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not run where nobody can miss it."""
    missed = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", []) if _NOT_RUN in str(report.longrepr)]
    if missed:
        reason = missed[0].partition(f"{_NOT_RUN}: ")[2].rstrip("')")
        terminalreporter.write_sep("!", f"NOT RUN: {len(missed)} tests on real nodes", red=True, bold=True)
        terminalreporter.write_line(f"Nodes cannot be booted here: {reason}", red=True, bold=True)


@pytest.fixture(scope="session", autouse=True)
def state_folder() -> Iterator[Path]:
    """Runs, keys and nodes' disks of the tests lie apart from the user's own, and where pytest does not tidy up mounts."""
    with TemporaryDirectory(prefix="nornir-stack-tests-", dir="/var/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", folder)
        yield Path(folder)


@pytest.fixture(scope="module")
def boot(state_folder: Path) -> Iterator[Callable[..., Lab]]:
    """`boot("db1", "db2", tree="db", disk_mib=0)`: a lab of these nodes, up; gone when the module has ended.

    `tree` and `suite` for all, or by node; `nics` by node: the name of each further card and the segment it is plugged into.
    """
    del state_folder  # must be set before a lab is made
    labs: list[Lab] = []

    def make(
        *names: str,
        tree: str | Mapping[str, str] = "base",
        disk_mib: int = 0,
        suite: str | Mapping[str, str] = "",
        nics: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Lab:
        number = next(n for n in _NUMBERS if not Path(f"/sys/class/net/ns-t{n}").exists())
        network = ip_network(f"10.77.{number}.0/24")
        trees = dict.fromkeys(names, tree) if isinstance(tree, str) else {**dict.fromkeys(names, "base"), **tree}
        suites = dict.fromkeys(names, suite) if isinstance(suite, str) else {**dict.fromkeys(names, ""), **suite}
        cards = {name: tuple((nics or {}).get(name, {}).items()) for name in names}
        nodes = tuple(
            NodeSpec(name, f"10.77.{number}.{11 + i}/24", trees[name], disk_mib, suites[name], cards[name])
            for i, name in enumerate(names)
        )
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
    defaults = Defaults(data=dict(data.get("defaults", {})))
    groups = Groups({role: Group(role, data=dict(data.get(role, {})), defaults=defaults) for role in roles})
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
                    defaults=defaults,
                    groups=ParentGroups(),
                    data=dict(data.get(name, {})),
                    connection_options={"ssh": ConnectionOptions(None, None, None, None, None, extras)},
                ),
            )
            host.groups.append(groups[role])
    config = Config(logging=LoggingConfig(enabled=False))
    return Nornir(Inventory(hosts, groups, defaults), config, runner=ThreadedRunner(20))
