"""Tasks on hypervisors that are libvirt's own test driver: what they refuse before they change anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import ConnectionOptions, Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups
from nornir.plugins.runners import SerialRunner

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.select import hosts
from nornir_stack.tasks.hypervisor.arriving import start_there
from nornir_stack.tasks.hypervisor.devices import attach_disk, detach_nic
from nornir_stack.tasks.hypervisor.domains import delete
from nornir_stack.tasks.hypervisor.machines import machines
from nornir_stack.tasks.hypervisor.names import mac_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_stack.results import Report

pytest.importorskip("libvirt")
_CARD = f"<interface type='network'><mac address='{mac_of('vm1', 'control')}'/><source network='control'/></interface>"
_VM = f"""<domain type='test'><name>vm1</name><memory>65536</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>
<disk type='file' device='disk'><source file='/p/vm1-root.qcow2'/><target dev='vda' bus='virtio'/><serial>root</serial></disk>
<disk type='file' device='disk'><source file='/p/alone'/><target dev='vdb' bus='virtio'/></disk>{_CARD}</devices></domain>"""
_POOL = """<pool type='dir'><name>default</name><target><path>/p</path></target>
<volume><name>vm1-root.qcow2</name><capacity>1</capacity></volume></pool>"""
_MACHINE = {"hypervisor": "hv1", "networks": {"control": "10.0.0.11"}, "authorized_keys": ["ssh-ed25519 AAAA"]}
_HYPERVISOR = {
    "networks": {"control": {}},
    "pools": {"default": {"path": "/p"}},
    "images": {"debian": {"source": "/i", "sha256": "a" * 64}},
}


@pytest.fixture(autouse=True)
def _journal_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def dry(folder: Path, on: str, function: Callable[..., Any], has: dict[str, str], **arguments: Any) -> Report:
    """A dry run of a task on a hypervisor, of which two have these machines and pools."""
    register_connections()
    defaults = Defaults(data={"networks": {"control": {"cidr": "10.0.0.0/24"}}})
    groups = Groups({name: Group(name, defaults=defaults) for name in ("hypervisor", "machine")})
    found = Hosts()
    for name in ("hv1", "hv2"):
        path = folder / f"{name}.xml"
        path.write_text(f"<node><memory>8388608</memory>{has.get(name, '')}</node>")
        options = {"libvirt": ConnectionOptions(extras={"uri": f"test://{path}"})}
        data = {"connection": "local", "hypervisor": _HYPERVISOR}
        mine = ParentGroups([groups["hypervisor"]])
        found[name] = Host(name, hostname=name, data=data, connection_options=options, groups=mine, defaults=defaults)
    mine = ParentGroups([groups["machine"]])
    found["vm1"] = Host("vm1", hostname="10.0.0.11", data={"machine": _MACHINE}, groups=mine, defaults=defaults)
    nr = Nornir(Inventory(found, groups, defaults), Config(logging=LoggingConfig(enabled=False)), runner=SerialRunner())
    try:
        chain = Chain("one", Stage("one", [do(function, **arguments)], hosts(on)))
        return chain.run(nr, dry_run=True)  # which takes no lock on this machine
    finally:
        nr.close_connections()


@pytest.mark.parametrize(
    ("on", "function", "has", "arguments", "said"),
    [
        ("hv1", machines, {"hv2": _VM}, {}, "vm1 is on hv2: cloud.move machine=vm1 takes it to hv1"),
        ("hv1", detach_nic, {"hv1": _VM}, {"machine": "vm1", "network": "control"}, "is reached by 10.0.0.11"),
        ("hv1", attach_disk, {"hv1": _VM}, {"machine": "vm1", "disk": "Data", "size": "1G"}, "is no name of a disk"),
        ("hv1", attach_disk, {"hv1": _VM}, {"machine": "vm1", "disk": "data", "size": "much"}, "size=much"),
        ("hv1", delete, {"hv1": _VM + _POOL}, {"machine": "vm1"}, "/p/alone stays: it is others' too"),
        ("hv1", delete, {"hv1": _VM + _POOL}, {"machine": "vm1"}, "confirm='vm1+vm1-root.qcow2'"),
    ],
)
def test_what_is_refused(  # noqa: PLR0917
    tmp_path: Path, on: str, function: Callable[..., Any], has: dict[str, str], arguments: dict[str, Any], said: str
) -> None:
    """In words that say what was seen, with nothing changed."""
    report = dry(tmp_path, on, function, has, **arguments)
    assert report.changed == ()
    assert said in "\n".join(host.error for stage in report.stages for host in stage.hosts if host.error)


def test_a_dry_run_of_a_move_tells_the_start_too(tmp_path: Path) -> None:
    """Of a machine that is not there yet, as its copy was not made; where the old one runs, it is refused."""
    report = dry(tmp_path, "hv1", start_there, {}, machine="vm1", source="hv2")
    assert [each for each in report.changed if "start vm1" in str(each)]
    assert not dry(tmp_path, "hv1", start_there, {"hv2": _VM}, machine="vm1", source="hv2").changed
