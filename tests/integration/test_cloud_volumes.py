"""Volumes on a real `cinder-volumes`, where the kernel has device mapper: made, given away by iSCSI, taken, and deleted.

The controller is a node of the lab. One emulated machine with Debian's kernel has the volume group, tgt and cinder-volume, and
open-iscsi, by which it takes what it gives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.select import hosts, role
from nornir_stack.tasks.openstack import programs
from nornir_stack.tasks.openstack.block_storage import TARGETS
from nornir_stack.tasks.openstack.control_plane import control_plane
from nornir_stack.tasks.openstack.initiator import NAME_FILE, initiator
from nornir_stack.tasks.storage.groups import volume_groups
from tests.integration import emulated
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
    pytest.mark.skipif("not config.getoption('--campaign', default=False)", reason="half an hour: only with --campaign"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]
GROUP = "cinder-volumes"
EMPTY = [f"lv {GROUP}-pool"]  # Cinder's own choice in a group with nothing in it: volumes take room as they are written
PACKAGES = tuple(sorted({*programs.VOLUMES, *programs.COMPUTE}))
WITHIN = 1800.0
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
LOGIN = r"""
set -e
iscsiadm -m node -T "$2" -p "$1" -o new >/dev/null
set_() { iscsiadm -m node -T "$target" -p "$portal" -o update -n "node.session.auth.$1" -v "$2"; }
portal=$1 target=$2
set_ authmethod CHAP; set_ username "$3"; set_ password "$4"
iscsiadm -m node -T "$2" -p "$1" --login >/dev/null
udevadm settle
"""
LOGOUT = 'iscsiadm -m node -T "$2" -p "$1" --logout >/dev/null && iscsiadm -m node -T "$2" -p "$1" -o delete'


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
    """The cloud: a controller, and the machine that keeps volumes."""
    data: dict[str, Any] = {"openstack": {**SETTINGS, "compute_driver": "qemu"}}
    nr = cloud(lab, folder, {"controller": ["c1"]}, {"defaults": data})
    storage = {
        "storage": {"volume_groups": {GROUP: {"devices": ["/dev/disk/by-id/virtio-cinder"]}}},
        "cinder": {"volume_group": GROUP},
        "swift": {"devices": []},
    }
    emulated.known(nr, lab, machine, ["storage"], storage)
    return nr


def printed(task: Task, *, script: str, words: tuple[str, ...]) -> Result[str]:
    """What a script prints."""
    node = Node(task)
    return node.done(node.read(sh(script, *words), timeout=600).text)


def on_v1(nr: Nornir, script: str, *words: str) -> list[str]:
    """The lines that a script prints on the machine."""
    look = do(printed, script=script, words=words)
    return well(Chain("look", Stage("look", [look], hosts("v1"))).run(nr)).value(printed, "v1").splitlines()


def twice(nr: Nornir, chain: Chain) -> None:
    """It ends well, and changes nothing when it is run again."""
    well(chain.run(nr))
    assert well(chain.run(nr)).changed == ()


def volume(nr: Nornir, name: str) -> str:
    """A volume of 1 GiB, made; its id."""

    def make(c: Any) -> str:
        made = c.block_storage.create_volume(name=name, size=1)
        return str(c.block_storage.wait_for_status(made, "available", ["error"], wait=WITHIN).id)

    return str(asked(nr, make))


def exported(nr: Nornir, number: str, connector: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """What Nova asks of Cinder: the volume for this initiator. The attachment's id; portal, target, and the words of CHAP."""
    made = asked(nr, lambda c: c.block_storage.create_attachment(number, connector=connector, mode="rw"))
    info = made.connection_info
    return str(made.id), tuple(info[key] for key in ("target_portal", "target_iqn", "auth_username", "auth_password"))


def gone(nr: Nornir, number: str) -> None:
    """Delete a volume, and wait until nothing is left of it in the books."""

    def delete(c: Any) -> None:
        one = c.block_storage.get_volume(number)
        c.block_storage.delete_volume(one)
        c.block_storage.wait_for_delete(one, wait=WITHIN)

    asked(nr, delete)


def test_made_exported_taken_and_deleted(nr: Nornir, machine: Emulated) -> None:
    """What is on the logical volume comes by iSCSI; without the attachment there is no target, and at the end no volume."""
    twice(nr, Chain("group", Stage("group", [volume_groups], role("storage"))))
    twice(nr, control_plane(horizon=False, within=WITHIN))
    twice(nr, Chain("initiator", Stage("initiator", [initiator], hosts("v1"))))
    assert on_v1(nr, 'dpkg-query -S "$1"', TARGETS) == [f"cinder-volume: {TARGETS}"]
    assert on_v1(nr, LOOK, GROUP) == EMPTY
    number = volume(nr, "data")
    assert on_v1(nr, LOOK, GROUP) == [*EMPTY, f"lv volume-{number}"]

    (name,) = on_v1(nr, 'sed -n s/^InitiatorName=//p "$1"', NAME_FILE)
    connector = {"initiator": name, "ip": machine.address, "host": "v1", "os_type": "linux", "platform": "x86_64"}
    attachment, words = exported(nr, number, {**connector, "multipath": False})
    on_v1(nr, LOGIN, *words)
    assert {f"{kind} volume-{number}" for kind in ("lv", "target", "session", "written")} <= {*on_v1(nr, LOOK, GROUP)}
    assert on_v1(nr, SAME, GROUP, number)[0].startswith("/dev/sd")

    on_v1(nr, LOGOUT, *words[:2])
    asked(nr, lambda c: c.block_storage.delete_attachment(attachment))
    assert on_v1(nr, LOOK, GROUP) == [*EMPTY, f"lv volume-{number}"]
    gone(nr, number)
    assert on_v1(nr, LOOK, GROUP) == EMPTY
