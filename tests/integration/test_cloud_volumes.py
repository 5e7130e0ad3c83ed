"""Volumes on a real `cinder-volumes`, where the kernel has device mapper: made, attached, and booted from.

The controller is a node of the lab. One emulated machine with Debian's kernel has the volume group, tgt and cinder-volume, and
nova-compute with open-iscsi beside them; its instances are emulated within it, so they boot a disk of one sector.
"""

from __future__ import annotations

import hashlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.select import hosts, role
from nornir_stack.tasks.openstack import programs
from nornir_stack.tasks.openstack.block_storage import TARGETS
from nornir_stack.tasks.openstack.control_plane import control_plane
from nornir_stack.tasks.openstack.initiator import NAME_FILE
from nornir_stack.tasks.openstack.instance_parts import flavor, image
from nornir_stack.tasks.storage.groups import volume_groups
from tests.integration import boot_sector, emulated
from tests.integration.cloud_lab import asked, cloud, enter, well
from tests.integration.cloud_site import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nornir.core import Nornir
    from nornir.core.task import Task

    from nornir_stack.lab import Lab
    from nornir_stack.results import Result
    from tests.integration.emulated import Emulated

pytestmark = [
    pytest.mark.cloud,
    pytest.mark.campaign,
    pytest.mark.skipif("not config.getoption('--campaign', default=False)", reason="a quarter hour: only with --campaign"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]
CLOUD = role("cloud")
GROUP = "cinder-volumes"
EMPTY = [f"lv {GROUP}-pool"]  # Cinder's own choice in a group with nothing in it: volumes take room as they are written
PACKAGES = tuple(sorted({*programs.VOLUMES, *programs.COMPUTE}))
WITHIN = 1800.0
_PAUSE = 3.0
# One service waits a minute for another's answer, and here each command of LVM takes seconds.
PATIENT = r"""
for f; do [ ! -e "$f" ] || sed -i 's/^\[DEFAULT\]$/&\nrpc_response_timeout = 900/' "$f"; done
"""
PATIENT_FILES = ("/etc/nova/nova.conf", "/etc/cinder/cinder.conf")
LOOK = r"""
lvs --noheadings -o lv_name "$1" | sed 's/^ */lv /; s/ *$//'
tgtadm --lld iscsi --op show --mode target | sed -n 's/^Target [0-9]*: .*:/target /p'
iscsiadm -m session 2>/dev/null | sed -n 's/.*:\(volume-[^ ]*\).*/session \1/p'
ls /var/lib/cinder/volumes | sed 's/^/written /'
"""
# The first sectors of a volume, each as its checksum.
SECTORS = r"""
for n in 0 1; do dd if="$1" bs=512 skip=$n count=1 iflag=fullblock status=none | sha256sum | cut -d' ' -f1; done
"""
# What stands on the logical volume is what comes by iSCSI; the disk by which it comes.
SAME = r"""
set -e
lv=/dev/$1/volume-$2
by_iscsi=$(ls /dev/disk/by-path/*-iscsi-*:volume-"$2"-lun-1)
head -c 4096 /dev/urandom | dd of="$lv" bs=4096 count=1 oflag=direct conv=notrunc iflag=fullblock status=none
read_at() { dd if="$1" bs=4096 count=1 iflag=direct status=none | sha256sum; }
[ "$(read_at "$lv")" = "$(read_at "$by_iscsi")" ]
readlink -f "$by_iscsi"
"""


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    lab = boot("c1", tree="cloud")
    enter(lab, "c1", PATIENT, *PATIENT_FILES)
    return lab


@pytest.fixture(scope="module")
def machine(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    found, disks = emulated.made(lab, tmp_path_factory.mktemp("v1"), "v1", PACKAGES, {"cinder": 4096})
    with emulated.running(lab, found, disks):
        yield found


@pytest.fixture(scope="module")
def nr(lab: Lab, machine: Emulated, tmp_path_factory: pytest.TempPathFactory) -> Nornir:
    return site(lab, machine, tmp_path_factory.mktemp("site"))


def site(lab: Lab, machine: Emulated, folder: Path) -> Nornir:
    """The cloud: a controller, and the machine that keeps volumes and runs instances."""
    (folder / "sector.raw").write_bytes(boot_sector.disk())
    # a disk of this kind is unplugged without a word of the instance's, which has no system that could say it
    disks = {"hw_disk_bus": "scsi", "hw_scsi_model": "virtio-scsi"}
    wanted = {
        "images": {"sector": {"file": str(folder / "sector.raw"), "format": "raw", "properties": disks}},
        "flavors": {"tiny": {"vcpus": 1, "ram": 64, "disk": 1}},
    }
    own = {**SETTINGS, "compute_driver": "qemu", "telemetry": False, "balancer_driver": None}
    data: dict[str, Any] = {"openstack": own, "instances": wanted}
    nr = cloud(lab, folder, {"controller": ["c1"]}, {"defaults": data})
    storage = {
        "storage": {"volume_groups": {GROUP: {"devices": ["/dev/disk/by-id/virtio-cinder"]}}},
        "cinder": {"volume_group": GROUP},
        "swift": {"devices": []},
    }
    emulated.known(nr, lab, machine, ["storage", "compute"], storage)
    return nr


def printed(task: Task, *, script: str, words: tuple[str, ...]) -> Result[str]:
    """What a script prints."""
    node = Node(task)
    return node.done(node.read(sh(script, *words), timeout=600).text)


def on_v1(nr: Nornir, script: str, *words: str) -> list[str]:
    """The lines that a script prints on the machine."""
    look = do(printed, script=script, words=words)
    return well(Chain("look", Stage("look", [look], hosts("v1"))).run(nr)).value(printed, "v1").splitlines()


def volume(nr: Nornir, name: str, **more: Any) -> str:
    """A volume of 1 GiB, made; its id."""

    def make(c: Any) -> str:
        made = c.block_storage.create_volume(name=name, size=1, **more)
        return str(c.block_storage.wait_for_status(made, "available", ["error"], wait=WITHIN).id)

    return str(asked(nr, make))


def becomes(nr: Nornir, number: str, status: str) -> None:
    """Wait until a volume is in use, or available."""
    failed = ["error", "error_attaching", "error_detaching", "error_deleting"]

    def look(c: Any) -> None:
        c.block_storage.wait_for_status(c.block_storage.get_volume(number), status, failed, wait=WITHIN)

    asked(nr, look)


def started(nr: Nornir, name: str, root: str) -> str:
    """An instance that boots from a volume, and has no card; its id, once it runs."""

    def make(c: Any) -> str:
        disk = {"uuid": root, "source_type": "volume", "destination_type": "volume", "boot_index": 0}
        tiny = c.compute.find_flavor("tiny").id
        one = c.compute.create_server(name=name, flavor_id=tiny, networks="none", block_device_mapping=[disk])
        return str(c.compute.wait_for_server(one, wait=WITHIN).id)

    return str(asked(nr, make))


def console(nr: Nornir, server: str, wanted: str) -> str:
    """The instance's console, once it has these words."""
    end, pause = time.monotonic() + WITHIN, threading.Event()
    while True:
        said = str(asked(nr, lambda c: c.compute.get_server_console_output(server)["output"]))
        if wanted in said:
            return said
        assert time.monotonic() < end, f"no {wanted!r} on the console: {said[-2000:]!r}"
        pause.wait(_PAUSE)


def gone(nr: Nornir, servers: list[str], volumes: list[str]) -> None:
    """Delete instances and volumes, and wait until nothing is left of them in the books."""

    def delete(c: Any) -> None:
        for number in servers:
            one = c.compute.get_server(number)
            c.compute.delete_server(one)
            c.compute.wait_for_delete(one, wait=WITHIN)
        for number in volumes:
            one = c.block_storage.get_volume(number)
            c.block_storage.delete_volume(one)
            c.block_storage.wait_for_delete(one, wait=WITHIN)

    asked(nr, delete)


def put_up(nr: Nornir) -> None:
    """The volume group, and the cloud; the initiator has a name, and tgt's file is the package's."""
    well(Chain("group", Stage("group", [volume_groups], role("storage"))).run(nr))
    well(control_plane(horizon=False, within=WITHIN).run(nr))
    assert on_v1(nr, 'cat "$1"', NAME_FILE)[0].startswith("InitiatorName=iqn.1993-08.org.debian:01:")
    assert on_v1(nr, 'dpkg-query -S "$1"', TARGETS) == [f"cinder-volume: {TARGETS}"]
    assert on_v1(nr, LOOK, GROUP) == EMPTY


def boots(nr: Nornir) -> tuple[str, str]:
    """A volume made of an image, and an instance that boots from it and writes on it; their ids."""
    well(Chain("parts", Stage("parts", [do(image, image="sector"), do(flavor, flavor="tiny")], CLOUD)).run(nr))
    sector = hashlib.sha256(boot_sector.disk()[:512]).hexdigest()
    nothing = hashlib.sha256(bytes(512)).hexdigest()
    root = volume(nr, "root", image_id=asked(nr, lambda c: c.image.find_image("sector").id))
    assert on_v1(nr, SECTORS, f"/dev/{GROUP}/volume-{root}") == [sector, nothing]
    server = started(nr, "boots", root)
    console(nr, server, boot_sector.SENTENCE)
    assert on_v1(nr, SECTORS, f"/dev/{GROUP}/volume-{root}") == [sector, sector]
    return server, root


def comes_and_goes(nr: Nornir, server: str, root: str) -> str:
    """Another volume, attached to the instance and taken off; its id."""
    data = volume(nr, "data")
    asked(nr, lambda c: c.compute.create_volume_attachment(server, volume_id=data))
    becomes(nr, data, "in-use")
    assert {f"{kind} volume-{one}" for kind in ("lv", "target", "session") for one in (root, data)} <= {*on_v1(nr, LOOK, GROUP)}
    device = on_v1(nr, SAME, GROUP, data)[0]
    assert device in "".join(on_v1(nr, "virsh -q domblklist --details $(virsh -q list --name)"))
    assert well(control_plane(horizon=False, within=WITHIN).run(nr)).changed == ()

    asked(nr, lambda c: c.compute.delete_volume_attachment(server, data))
    becomes(nr, data, "available")
    seen = on_v1(nr, LOOK, GROUP)
    assert {f"{kind} volume-{root}" for kind in ("lv", "target", "session")} <= {*seen}
    assert [line for line in seen if data in line] == [f"lv volume-{data}"]
    return data


def test_made_booted_from_attached_and_deleted(nr: Nornir) -> None:
    """An instance's first words come from the logical volume, and what it writes is there; nothing is left of it at the end."""
    put_up(nr)
    server, root = boots(nr)
    data = comes_and_goes(nr, server, root)
    gone(nr, [server], [root, data])
    assert on_v1(nr, LOOK, GROUP) == EMPTY
