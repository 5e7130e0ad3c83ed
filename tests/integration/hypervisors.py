"""Hypervisors for tests: libvirtds of their own, and inventories of them with machines."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import libvirt
from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import ConnectionOptions, Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups
from nornir.plugins.runners import ThreadedRunner

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.select import hosts
from tests.integration.libvirtd import libvirtd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from nornir_stack.results import Report

_UUID = "6f1c2f5e-0000-4000-8000-00000000000"
_ROLES = ("hypervisor", "machine", "storage", "network")
CIDRS = {
    "control": {"cidr": "10.77.65.0/24"},
    "external": {"cidr": "10.77.66.0/24", "kind": "public", "bridge": "br-ex"},
    "external2": {"cidr": "10.77.67.0/24", "kind": "public", "bridge": "br-ex2"},
}


@dataclass
class Site:
    """Hypervisors by name with their libvirts' sockets, and the data of their machines; changed by tests, then opened."""

    folder: Path
    sockets: Mapping[str, Path]
    hypervisors: dict[str, dict[str, Any]]
    machines: dict[str, dict[str, Any]]
    key: str = ""
    cidrs: Mapping[str, Any] = field(default_factory=lambda: CIDRS)

    def open(self) -> Nornir:
        """A Nornir object over the site as it is declared now."""
        register_connections()
        defaults = Defaults(data={"networks": dict(self.cidrs)})
        groups = Groups({name: Group(name, defaults=defaults) for name in _ROLES})
        found = Hosts()
        for name, data in self.hypervisors.items():
            options = {"libvirt": ConnectionOptions(extras={"socket": str(self.sockets[name])})}
            given = {"connection": "local", "hypervisor": data}
            mine = ParentGroups([groups["hypervisor"]])
            where = {"hostname": "127.0.0.1", "groups": mine, "defaults": defaults}
            found[name] = Host(name, data=given, connection_options=options, **where)  # type: ignore[arg-type]
        # an emulated machine takes its time to say hello
        ssh = {"known_hosts": str(self.folder / "known_hosts"), "client_keys": [self.key], "config": [], "connect_timeout": 90}
        for name, data in self.machines.items():
            roles = ParentGroups([groups["machine"], *(groups[role] for role in _ROLES if name.startswith(role))])
            address = str(data["machine"]["networks"]["control"])
            found[name] = Host(
                name,
                hostname=address,
                username="root",
                data=data,
                groups=roles,
                defaults=defaults,
                connection_options={"ssh": ConnectionOptions(extras=ssh)},
            )
        return Nornir(
            Inventory(found, groups, defaults), Config(logging=LoggingConfig(enabled=False)), runner=ThreadedRunner(20)
        )

    def run(self, chain: Chain, **more: Any) -> Report:
        """Run a chain on the site as it is declared now."""
        nr = self.open()
        try:
            return chain.run(nr, **more)
        finally:
            nr.close_connections()

    def task(self, on: str, function: Callable[..., Any], /, **arguments: Any) -> Report:
        """Run one task on one host."""
        return self.run(Chain("one", Stage("one", [do(function, **arguments)], hosts(on))))

    @contextmanager
    def libvirt(self, name: str) -> Iterator[libvirt.virConnect]:
        """A look into a hypervisor past the library."""
        link = libvirt.open(f"qemu:///system?socket={self.sockets[name]}")
        try:
            yield link
        finally:
            link.close()

    def told(self, name: str) -> str:
        """All that a libvirt says of its networks, pools and machines: the same text, if nothing was changed."""
        with self.libvirt(name) as link:
            found = [each.XMLDesc() for each in (*link.listAllNetworks(), *link.listAllDomains())]
            return "\n".join(
                sorted([*found, *(each.XMLDesc(libvirt.VIR_STORAGE_XML_INACTIVE) for each in link.listAllStoragePools())])
            )


def problem(report: Report) -> str:
    """What went wrong in a report, in the words that an operator sees."""
    said = [report.error] + [line for stage in report.stages for line in stage.problems]
    return "\n".join([*filter(None, said), *(host.error for stage in report.stages for host in stage.hosts if host.error)])


@contextmanager
def sockets(folder: Path, *names: str) -> Iterator[dict[str, Path]]:
    """A libvirtd for each name; what they ran at the end is ended, and their bridges with it."""
    with ExitStack() as stack:
        found = {name: stack.enter_context(libvirtd(folder / name, uuid=f"{_UUID}{i}")) for i, name in enumerate(names)}
        try:
            yield found
        finally:
            for socket in found.values():
                _clear(socket)


def _clear(socket: Path) -> None:
    link = libvirt.open(f"qemu:///system?socket={socket}")
    for each in (*link.listAllDomains(), *link.listAllNetworks()):
        if each.isActive():
            each.destroy()
    link.close()
