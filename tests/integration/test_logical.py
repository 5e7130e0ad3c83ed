"""A machine on logical volumes, where the kernel has device mapper: made of an image, enlarged, moved to another hypervisor.

The hypervisors are two emulated machines with Debian's kernel, reached by ssh and by qemu+ssh. The machine is emulated in them,
where a Linux needs a quarter hour to boot: it has a program of one sector, which writes to its disk that it ran.
"""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from nornir.core.inventory import ConnectionOptions, Group, Host, ParentGroups

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import sh
from nornir_stack.lab.machine import run, wait_for
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.tasks.hypervisor.domains import delete, stop
from nornir_stack.tasks.hypervisor.images import image
from nornir_stack.tasks.hypervisor.machines import machines
from nornir_stack.tasks.hypervisor.moving import move
from nornir_stack.tasks.hypervisor.networks import networks
from nornir_stack.tasks.hypervisor.pools import pools
from nornir_stack.tasks.storage.groups import volume_groups
from tests.integration import boot_sector, emulated
from tests.integration.conftest import nornir
from tests.integration.hypervisors import problem
from tests.integration.libvirtd import reason_against

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
WITHIN = 300.0
IMAGE = "/srv/sector.qcow2"
# What a second run leaves as it is.
STATE = "virsh dumpxml vm1; lvs --noheadings -o vg_name,lv_name,lv_size,lv_uuid; virsh net-dumpxml inner"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("n1")  # for its bridge and its keys


@pytest.fixture(scope="module")
def nr(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nornir]:
    """Two hypervisors with a volume group each, and a machine that is to be on the first."""
    folder = tmp_path_factory.mktemp("logical")
    (folder / "sector.raw").write_bytes(boot_sector.disk())
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(folder / "sector.raw"), str(folder / "sector.qcow2"))
    digest = hashlib.sha256((folder / "sector.qcow2").read_bytes()).hexdigest()
    plan = {"inner": {"cidr": "10.77.81.0/24"}}
    with ExitStack() as stack:
        nr = stack.enter_context(nornir(lab, {}, {"defaults": {"networks": plan}}))
        for number, (name, group) in enumerate(GROUPS.items()):
            own = folder / name
            own.mkdir()
            files = {IMAGE: folder / "sector.qcow2"}
            machine, disks = emulated.made(lab, own, name, PACKAGES, {"group": 1024}, number=number, files=files)
            stack.enter_context(emulated.running(lab, machine, disks, memory_mib=2048))
            emulated.known(nr, lab, machine, ["hypervisor"], hypervisor(group, digest))
        there(nr, folder)
        stack.callback(nr.close_connections)
        yield nr


def hypervisor(group: str, digest: str) -> dict[str, Any]:
    return {
        "hypervisor": {
            "networks": {"inner": {"bridge": "vb-inner"}},
            "pools": {"disks": {"volume_group": group}, "images": {"path": FOLDER}},
            "images": {"sector": {"source": IMAGE, "sha256": digest}},
            "image_pool": "images",
            "accelerator": "emulated",
            "reserved": "512M",
        },
        "storage": {"volume_groups": {group: {"devices": ["/dev/disk/by-id/virtio-group"]}}},
    }


def there(nr: Nornir, folder: Path) -> None:
    """The machine as a host of the inventory."""
    machine = {"cpus": 1, "memory": "64M", "disk": "64M", "disks": {"data": "32M"}, "pool": "disks", "image": "sector"}
    machine |= {"networks": {"inner": ADDRESS}, "authorized_keys": ["none"], "hypervisor": "hv1", "console": "none"}
    extras = {"known_hosts": str(folder / "known_hosts"), "config": [], "connect_timeout": 5}
    defaults = nr.inventory.defaults
    nr.inventory.hosts["vm1"] = Host(
        "vm1",
        hostname=ADDRESS,
        username="root",
        groups=ParentGroups([nr.inventory.groups.setdefault("machine", Group("machine", defaults=defaults))]),
        data={"machine": machine},
        connection_options={"ssh": ConnectionOptions(extras=extras)},
        defaults=defaults,
    )


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


def made() -> Chain:
    """What `cloud.infrastructure` does on a hypervisor, without asking the machine by ssh: nobody would answer."""
    tasks: list[Any] = [networks, pools, do(image, image="sector"), machines]
    return Chain("made", *(Stage(f"{number}", [each], hosts(*GROUPS)) for number, each in enumerate(tasks)))


# The first two sectors of a disk, each as its checksum.
SECTORS = r"""
for n in 0 1; do dd if="$1" bs=512 skip=$n count=1 iflag=fullblock,direct status=none | sha256sum | cut -d' ' -f1; done
"""


def ran_from(nr: Nornir, name: str) -> bool:
    """Whether the program has written itself to the second sector of the disk that it stands on."""
    disk = f"/dev/{GROUPS[name]}/vm1-root"
    sector = hashlib.sha256(boot_sector.disk()[:512]).hexdigest()
    return inside(nr, name, SECTORS.replace('"$1"', disk)).split() == [sector, sector]


def test_a_machine_s_disks_are_logical_volumes(nr: Nornir) -> None:
    """Its system starts from a copy of the image; a second run changes nothing; more room is there while it runs."""
    groups = Chain("groups", Stage("groups", [volume_groups], hosts(*GROUPS)))
    assert good(groups.run(nr)).changed
    assert not good(groups.run(nr)).changed
    assert good(made().run(nr)).changed
    wait_for(lambda: ran_from(nr, "hv1"), WITHIN, "the machine's program")
    before = inside(nr, "hv1", STATE)
    assert "<source dev='/dev/vg-one/vm1-root'" in before
    assert not good(made().run(nr)).changed
    assert inside(nr, "hv1", STATE) == before

    nr.inventory.hosts["vm1"].data["machine"]["disk"] = "70M"
    report = good(made().run(nr))
    assert any("enlarge" in line for line in report.changed)
    assert inside(nr, "hv1", "virsh domblkinfo vm1 vda | sed -n 's/^Capacity: *//p'") == str(72 << 20)  # whole extents
    assert not good(made().run(nr)).changed


MARK = "echo moved | dd of=/dev/vg-one/vm1-data bs=512 conv=sync,fsync status=none"


def test_it_moves_to_another_hypervisor_s_group(nr: Nornir) -> None:
    """Its volumes arrive with the same sums and it runs from them, its card with the same address; the old ones are kept."""
    off = Chain("off", Stage("off", [do(stop, machine="vm1", within=1.0, force=True)], hosts("hv1")))
    assert good(off.run(nr)).changed
    inside(nr, "hv1", f"{MARK}; dd if=/dev/zero of=/dev/vg-one/vm1-root bs=512 seek=1 count=1 conv=fsync status=none")
    mac = inside(nr, "hv1", "virsh domiflist vm1 | grep -o '..:..:..:..:..:..'")
    nr.inventory.hosts["vm1"].data["machine"]["hypervisor"] = "hv2"
    wrong = problem(move(machine="vm1", within=5.0).run(nr))
    assert "vm1 does not answer by ssh yet" in wrong
    wait_for(lambda: ran_from(nr, "hv2"), WITHIN, "the machine's program there")
    assert not ran_from(nr, "hv1")
    assert (
        inside(nr, "hv2", "head -c 5 /dev/vg-two/vm1-data; echo; virsh domiflist vm1 | grep -o '..:..:..:..:..:..'")
        == f"moved\n{mac}"
    )
    assert (volumes(nr, "hv1"), volumes(nr, "hv2")) == (["vm1-data", "vm1-root"], ["vm1-data", "vm1-root"])
    assert inside(nr, "hv1", "virsh domstate vm1") == "shut off"
    assert "<source dev='/dev/vg-two/vm1-root'" in inside(nr, "hv2", "virsh dumpxml vm1")
    assert not good(made().run(nr)).changed

    away = Chain("away", Stage("away", [do(delete, machine="vm1")], hosts("hv1")))
    word = problem(away.run(nr)).partition("confirm='")[2].partition("'")[0]
    away = Chain("away", Stage("away", [do(delete, machine="vm1", confirm=word)], hosts("hv1")))
    assert good(away.run(nr)).changed
    assert (volumes(nr, "hv1"), volumes(nr, "hv2")) == ([], ["vm1-data", "vm1-root"])
