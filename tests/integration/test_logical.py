"""A machine on logical volumes, where the kernel has device mapper: made of an image, enlarged, moved to another hypervisor.

The hypervisors are two emulated machines with Debian's kernel, reached by ssh and by qemu+ssh; the machine is emulated in them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from nornir.core.inventory import ConnectionOptions, Group, Host, ParentGroups

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import sh
from nornir_stack.lab.identity import key_pair
from nornir_stack.lab.machine import run
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.tasks.hypervisor.images import made
from nornir_stack.tasks.hypervisor.infrastructure import infrastructure
from nornir_stack.tasks.hypervisor.moving import move
from nornir_stack.tasks.hypervisor.settings import Image
from nornir_stack.tasks.storage.groups import volume_groups
from tests.integration import emulated
from tests.integration.conftest import nornir
from tests.integration.hypervisors import Site, problem, sockets
from tests.integration.libvirtd import reason_against
from tests.integration.test_infrastructure import IMAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nornir.core import Nornir
    from nornir.core.task import Task

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report, Result

pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(bool(reason_against()), reason=reason_against()),
    pytest.mark.skipif(
        "not config.getoption('--campaign', default=False)",
        reason="a machine emulated in an emulated one: only with --campaign",
    ),
]
PACKAGES = ("dnsmasq-base", "iptables", "libvirt-daemon-system", "lvm2", "netcat-openbsd", "qemu-system-x86", "qemu-utils")
GROUPS = {"hv1": "vg-one", "hv2": "vg-two"}
FOLDER = "/var/lib/libvirt/images"
ADDRESS = "10.77.81.11"
WITHIN = 2400.0
# What a second run leaves as it is.
STATE = "virsh dumpxml vm1; lvs --noheadings -o vg_name,lv_name,lv_size,lv_uuid; virsh net-dumpxml inner"


@pytest.fixture(scope="module")
def image_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The image that machines start from, made on this machine as it would be on a hypervisor: its files by name."""
    folder = tmp_path_factory.mktemp("image")
    with sockets(folder / "libvirt", "hv0") as found:
        pools = {"images": {"path": str(IMAGES)}}
        site = Site(folder, found, {"hv0": {"pools": pools, "images": {"debian": {}}, "image_pool": "images"}}, {})
        report = site.run(infrastructure(within=WITHIN))
        assert not report.exit_code, problem(report)
    there = made(Image(), str(IMAGES))
    return {path.rpartition("/")[2]: IMAGES / path.rpartition("/")[2] for path in (there.disk, there.kernel, there.initrd)}


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("n1")  # for its bridge and its keys


@pytest.fixture(scope="module")
def nr(lab: Lab, image_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nornir]:
    """Two hypervisors with a volume group each, and a machine that is to be on the first."""
    folder = tmp_path_factory.mktemp("logical")
    files = {f"{FOLDER}/{name}": path for name, path in image_files.items()}
    plan = {"inner": {"cidr": "10.77.81.0/24", "gateway": "10.77.81.1"}}
    with ExitStack() as stack:
        nr = stack.enter_context(nornir(lab, {}, {"defaults": {"networks": plan}}))
        for number, (name, group) in enumerate(GROUPS.items()):
            own = folder / name
            own.mkdir()
            machine, disks = emulated.made(lab, own, name, PACKAGES, {"group": 4096}, number=number, files=files)
            stack.enter_context(emulated.running(lab, machine, disks, memory_mib=2048))
            emulated.known(nr, lab, machine, ["hypervisor"], hypervisor(group))
        key = key_pair(folder / "id").strip()
        there(nr, folder, key)
        on(lab, nr, "hv1")
        yield nr


def hypervisor(group: str) -> dict[str, Any]:
    return {
        "hypervisor": {
            "networks": {"inner": {"mode": "routed", "bridge": "vb-inner", "address": "10.77.81.1"}},
            "pools": {"disks": {"volume_group": group}, "images": {"path": FOLDER}},
            "images": {"debian": {}},
            "image_pool": "images",
            "accelerator": "emulated",
            "reserved": "512M",
        },
        "storage": {"volume_groups": {group: {"devices": ["/dev/disk/by-id/virtio-group"]}}},
    }


def there(nr: Nornir, folder: Path, key: str) -> None:
    """The machine as a host of the inventory."""
    machine = {"cpus": 1, "memory": "384M", "disk": "1G", "disks": {"data": "64M"}, "pool": "disks", "console": "none"}
    machine |= {"networks": {"inner": ADDRESS}, "authorized_keys": [key], "hypervisor": "hv1"}
    extras = {"known_hosts": str(folder / "known_hosts"), "client_keys": [str(folder / "id")], "config": []}
    defaults = nr.inventory.defaults
    nr.inventory.hosts["vm1"] = Host(
        "vm1",
        hostname=ADDRESS,
        username="root",
        groups=ParentGroups([nr.inventory.groups.setdefault("machine", Group("machine", defaults=defaults))]),
        data={"machine": machine},
        connection_options={"ssh": ConnectionOptions(extras={**extras, "connect_timeout": 90})},
        defaults=defaults,
    )


def on(lab: Lab, nr: Nornir, name: str) -> None:
    """The machine is to be on this hypervisor, which leads to it."""
    nr.inventory.hosts["vm1"].data["machine"]["hypervisor"] = name
    run("ip", "route", "replace", f"{ADDRESS}/32", "via", str(nr.inventory.hosts[name].hostname), "dev", lab.spec.bridge)


def said(task: Task, *, script: str) -> Result[str]:
    node = Node(task)
    return node.done(node.read(sh(script, label="a script of the test"), timeout=600).text)


def good(report: Report) -> Report:
    assert not report.exit_code, problem(report)
    return report


def inside(nr: Nornir, name: str, script: str) -> str:
    return str(good(Chain("look", Stage("look", [do(said, script=script)], hosts(name))).run(nr)).value(said, name))


def volumes(nr: Nornir, name: str) -> list[str]:
    return inside(nr, name, f"lvs --noheadings -o lv_name {GROUPS[name]} | sort").split()


def test_a_machine_s_disks_are_logical_volumes(nr: Nornir) -> None:
    """Its system starts from a copy of the image; a second run changes nothing; more room is there while it runs."""
    groups = Chain("groups", Stage("groups", [volume_groups], hosts(*GROUPS)))
    assert good(groups.run(nr)).changed
    assert not good(groups.run(nr)).changed
    assert good(infrastructure(within=WITHIN).run(nr)).changed
    before = inside(nr, "hv1", STATE)
    assert "<source dev='/dev/vg-one/vm1-root'" in before
    assert not good(infrastructure(within=WITHIN).run(nr)).changed
    assert inside(nr, "hv1", STATE) == before
    assert inside(nr, "vm1", "findmnt -n -o SOURCE /; lsblk -bdno SIZE /dev/vda").split() == ["/dev/vda", str(1 << 30)]

    nr.inventory.hosts["vm1"].data["machine"]["disk"] = "1100M"
    report = good(infrastructure(within=WITHIN).run(nr))
    assert any("enlarge" in line for line in report.changed)
    assert inside(nr, "vm1", "lsblk -bdno SIZE /dev/vda") == str(1100 << 20)
    assert not good(infrastructure(within=WITHIN).run(nr)).changed


MARK = "echo moved | dd of=/dev/disk/by-id/virtio-data bs=512 conv=sync,fsync status=none; echo moved >/root/mark; sync"
MARKED = "head -c 5 /dev/disk/by-id/virtio-data; echo; cat /root/mark; cat /sys/class/net/eth0/address; findmnt -n -o SOURCE /"


def test_it_moves_to_another_hypervisor_s_group(lab: Lab, nr: Nornir) -> None:
    """Its volumes arrive with the same sums and contents, its card with the same address; the old ones go when confirmed."""
    inside(nr, "vm1", MARK)
    before = inside(nr, "vm1", MARKED)
    on(lab, nr, "hv2")
    nr.close_connections()
    assert good(move(machine="vm1", within=WITHIN).run(nr)).changed
    assert inside(nr, "vm1", MARKED) == before
    assert (volumes(nr, "hv1"), volumes(nr, "hv2")) == (["vm1-data", "vm1-root"], ["vm1-data", "vm1-root"])
    assert "<source dev='/dev/vg-two/vm1-root'" in inside(nr, "hv2", "virsh dumpxml vm1")
    assert not good(infrastructure(within=WITHIN).run(nr)).changed

    assert good(move(machine="vm1", within=WITHIN, confirm="vm1").run(nr)).changed
    assert (volumes(nr, "hv1"), volumes(nr, "hv2")) == ([], ["vm1-data", "vm1-root"])
    assert not good(move(machine="vm1", within=WITHIN).run(nr)).changed
