"""`cloud.infrastructure` as a whole, on a real libvirt: two machines with Debian's kernel, and what is in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.lab.identity import key_pair
from nornir_stack.lab.machine import patience
from nornir_stack.node import Node
from nornir_stack.tasks.hypervisor.infrastructure import infrastructure
from nornir_stack.tasks.hypervisor.moving import move
from nornir_stack.tasks.hypervisor.names import mac_of
from nornir_stack.tasks.hypervisor.teardown import teardown
from tests.integration.hypervisors import Site, problem, sockets
from tests.integration.libvirtd import reason_against

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

pytestmark = pytest.mark.skipif(bool(reason_against()), reason=reason_against())
# made once and kept, as the lab's trees are
IMAGES = Path(os.environ.get("NORNIR_STACK_CACHE") or "/var/cache/nornir-stack") / "images"
WITHIN = 1500.0 * patience()


def declared(folder: Path, sockets_: dict[str, Path]) -> Site:
    """Two hypervisors; a storage and a network machine of 384 MiB on the first, on two networks."""
    images = {"debian": {"packages": ["lvm2", "nfs-kernel-server", "openvswitch-switch"]}}
    own: dict[str, dict[str, Any]] = {
        "control": {"bridge": "hvi-control", "address": "10.77.65.1", "dhcp": True},
        "external": {"mode": "nat", "bridge": "hvi-ext", "address": "10.77.66.1"},
        "external2": {"bridge": "hvi-ext2"},
    }
    shared = {name: {"mode": "bridged", "bridge": each["bridge"]} for name, each in own.items()}
    hypervisors = {
        name: {
            "networks": networks,
            "pools": {"default": {"path": str(folder / f"{name}-pool")}, "images": {"path": str(IMAGES)}},
            "images": images,
            "image_pool": "images",
        }
        for name, networks in (("hv1", own), ("hv2", shared))
    }
    authorized = key_pair(folder / "id").strip()
    common = {"hypervisor": "hv1", "cpus": 1, "memory": "384M", "disk": "2G", "authorized_keys": [authorized]}
    group = {"devices": ["/dev/disk/by-id/virtio-cinder"], "volumes": {"glance": "200M"}}
    machines = {
        "storage1": {
            "machine": {
                **common,
                "disks": {"cinder": "1G"},
                "networks": {"control": "10.77.65.11", "external": "10.77.66.11"},
            },
            "storage": {"volume_groups": {"cinder-volumes": group}, "exports": {"/srv": {"clients": ["10.77.65.0/24"]}}},
        },
        "network1": {"machine": {**common, "networks": {"control": "10.77.65.12", "external": "10.77.66.12"}}},
    }
    return Site(folder, sockets_, hypervisors, machines, key=str(folder / "id"))


def looked(task: Task, *, line: str) -> Result[str]:
    """What a command line prints in a machine."""
    node = Node(task)
    return node.done(node.read(*line.split()).text)


def in_machine(site: Site, name: str, line: str) -> str:
    report = site.task(name, looked, line=line)
    assert not report.exit_code, problem(report)
    return str(report.value(looked, name))


def test_from_an_empty_libvirt_to_a_cloud_s_machines_and_back(tmp_path: Path) -> None:
    """Run again, it changes nothing; a card is plugged in while it runs; a moved machine has its addresses; nothing is left."""
    with sockets(tmp_path / "libvirt", "hv1", "hv2") as found:
        site = declared(tmp_path, found)
        first = site.run(infrastructure(within=WITHIN))
        assert not first.exit_code, problem(first)
        before = site.told("hv1")
        second = site.run(infrastructure(within=WITHIN))
        assert (second.changed, site.told("hv1")) == ((), before), problem(second)
        assert in_machine(site, "storage1", "vgs --noheadings -o vg_name") == "cinder-volumes"

        assert "/srv  10.77.65.0/24(sync,wdelay,hide,no_subtree_check" in in_machine(site, "storage1", "exportfs -s")
        in_machine(site, "network1", "mount -t nfs 10.77.65.11:/srv /mnt")
        assert in_machine(site, "network1", "findmnt -n -o FSTYPE,SOURCE /mnt").split() == ["nfs4", "10.77.65.11:/srv"]
        in_machine(site, "network1", "umount /mnt")

        boot = in_machine(site, "network1", "cat /proc/sys/kernel/random/boot_id")
        site.machines["network1"]["machine"]["networks"]["external2"] = None
        third = site.run(infrastructure(within=WITHIN))
        assert not third.exit_code, problem(third)
        assert in_machine(site, "network1", "cat /proc/sys/kernel/random/boot_id") == boot
        assert in_machine(site, "network1", "ovs-vsctl list-ports br-ex2") == "eth2"
        assert mac_of("network1", "external2") in in_machine(site, "network1", "cat /etc/systemd/network/20-external2.network")
        assert in_machine(site, "network1", "ovs-appctl dpif/show").startswith("system@ovs-system")
        assert not site.run(infrastructure(within=WITHIN)).changed

        site.machines["network1"]["machine"]["hypervisor"] = "hv2"
        moved = site.run(move(machine="network1", within=WITHIN))
        assert not moved.exit_code, problem(moved)
        assert in_machine(site, "network1", "cat /proc/sys/kernel/random/boot_id") != boot
        assert "10.77.66.12/24" in in_machine(site, "network1", "ip -br address")
        gone = site.run(move(machine="network1", within=WITHIN, confirm="network1"))
        assert gone.changed, problem(gone)

        report = site.run(teardown(confirm="storage1+network1"))
        assert not report.exit_code, problem(report)
        assert (site.told("hv1"), site.told("hv2")) == ("", "")
        assert not [*tmp_path.glob("hv?-pool/*")]
