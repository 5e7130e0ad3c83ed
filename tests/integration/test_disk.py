"""A data disk on a real node: a loop device, in a kernel that parses no partition tables and a container without udev."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.effects import RunState
from nornir_stack.errors import CommandFailed, Refused
from nornir_stack.node import Node
from nornir_stack.tasks.system import disk as disk_tasks
from nornir_stack.tasks.system.disk import data_disk
from nornir_stack.tasks.system.mounts import requires_mount
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir.core import Nornir
    from nornir.core.task import Task

    from nornir_stack.lab import Lab
    from nornir_stack.results import Result

MOUNT = "/srv/db"
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("n1", disk_mib=400)


@pytest.fixture
def device(lab: Lab) -> Iterator[str]:
    """The node's disk, empty; what a test made of it is taken off afterwards."""
    device = lab.enter("n1", "sh", "-c", "ls /dev/loop[0-9]*").stdout.split()[0]
    yield device
    inside(lab, f"umount {MOUNT}; partx -d {device}; rm -f {device}p*; wipefs -qaf {device}; blkdiscard -f {device}")
    inside(lab, "sed -i '\\,/srv/db,d' /etc/fstab; rm -rf /etc/systemd/system/served*; systemctl daemon-reload")


def inside(lab: Lab, script: str) -> str:
    return lab.enter("n1", "sh", "-c", script).stdout.strip()


def one(lab: Lab, task: Callable[..., Result[Any]], *, dry_run: bool = False, **words: Any) -> Any:
    """The task's result on the node; raises what it raised."""
    nr: Nornir = nornir(lab, {"db": ["n1"]})
    nr.data = RunState(dry_run=dry_run)
    with nr:
        result = nr.run(task=task, raise_on_error=False, **words)["n1"][0]
    if result.exception:
        raise result.exception
    return result


@pytest.mark.parametrize("filesystem", ["ext4", "xfs"])
def test_disk_is_made_once(lab: Lab, device: str, filesystem: str) -> None:
    """An empty disk is partitioned, formatted, in fstab by UUID and mounted; the second time nothing changes."""
    words: dict[str, Any] = {
        "device": device,
        "mount": MOUNT,
        "filesystem": filesystem,
        "label": "dbdata",
        "owner": "daemon:daemon",
    }
    plan = one(lab, data_disk, dry_run=True, **words)
    assert plan.changed
    assert f"+partition {device}" in plan.diff
    assert inside(lab, f"blkid -p {device}; grep -c {MOUNT} /etc/fstab") == "0"
    uuid = one(lab, data_disk, **words).value
    assert inside(lab, f"findmnt -n -o SOURCE,FSTYPE {MOUNT}").split() == [f"{device}p1", filesystem]
    assert inside(lab, f"blkid -p -o value -s UUID -s LABEL {device}p1").splitlines() == ["dbdata", uuid]
    assert inside(lab, f"grep {MOUNT} /etc/fstab").split()[:3] == [f"UUID={uuid}", MOUNT, filesystem]
    assert inside(lab, f"stat -c %U:%G {MOUNT}") == "daemon:daemon"
    again = one(lab, data_disk, **words)
    assert (again.changed, again.value) == (False, uuid)
    inside(lab, f"umount {MOUNT}")
    mounted = one(lab, data_disk, **words)
    assert (mounted.changed, mounted.value) == (True, uuid)


def test_a_reboot_keeps_the_data(lab: Lab, device: str) -> None:
    """After a stop and start (the kernel's partition has another number by then) the same file system is mounted again."""
    words: dict[str, Any] = {"device": device, "mount": MOUNT, "label": "dbdata"}
    uuid = one(lab, data_disk, **words).value
    inside(lab, f"echo kept > {MOUNT}/kept")
    lab.stop("n1")
    lab.start("n1")
    device = inside(lab, "ls /dev/loop[0-9]* | head -n 1")
    assert one(lab, data_disk, **{**words, "device": device}).value == uuid
    assert inside(lab, f"cat {MOUNT}/kept") == "kept"


@pytest.mark.parametrize("cut_before", ["mkfs", "fstab", "mount"])
def test_a_cut_run_goes_on(lab: Lab, device: str, cut_before: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started again after a cut before any step, the task ends with one mounted file system and asks for nothing."""
    whole = disk_tasks._act

    def cut(node: Node, disk: str, wanted: Any, step: Any) -> None:
        if step.do == cut_before:
            raise Refused("cut here")
        whole(node, disk, wanted, step)

    words: dict[str, Any] = {"device": device, "mount": MOUNT, "label": "dbdata"}
    monkeypatch.setattr(disk_tasks, "_act", cut)
    with pytest.raises(Refused, match="cut here"):
        one(lab, data_disk, **words)
    monkeypatch.setattr(disk_tasks, "_act", whole)
    one(lab, data_disk, **words)
    assert inside(lab, f"findmnt -n -o SOURCE {MOUNT}") == f"{device}p1"
    assert not one(lab, data_disk, **words).changed


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("mkfs.ext4 -q -F -L theirs {}", "ext4 labelled 'theirs'"),
        ("mkswap {}", "swap"),
        ("printf 'label: dos\\n,,\\n' | sfdisk -q --no-reread {}", "a dos partition table"),
        ("printf hello | dd of={} bs=1M seek=200 conv=notrunc", "data without a known signature"),
    ],
)
def test_what_holds_something_is_not_formatted(lab: Lab, device: str, before: str, said: str) -> None:
    """A signature, a table or bare data are refused and stay byte for byte; the printed confirmation makes it go."""
    one(lab, tool)
    inside(lab, before.format(device))
    checksum = inside(lab, f"cksum < {device}")
    words: dict[str, Any] = {"device": device, "mount": MOUNT, "label": "dbdata"}
    with pytest.raises(Refused, match=said) as refusal:
        one(lab, data_disk, **words)
    assert inside(lab, f"cksum < {device}") == checksum
    confirm = str(refusal.value).rpartition("confirm=")[2].strip("'")
    with pytest.raises(Refused, match="names something else"):
        one(lab, data_disk, **words, confirm=f"{confirm}x")
    assert inside(lab, f"cksum < {device}") == checksum
    one(lab, data_disk, **words, confirm=confirm)
    assert inside(lab, f"findmnt -n -o FSTYPE {MOUNT}") == "ext4"


def tool(task: Task) -> Result[None]:
    """sfdisk, which the node's image need not have."""
    node = Node(task)
    if not node.read("sh", "-c", "command -v sfdisk", ok=None).ok:
        node.change("sh", "-c", "apt-get update -q && apt-get install -qy fdisk")
    return node.done()


def test_a_disk_in_use_is_refused(lab: Lab, device: str) -> None:
    """A mounted file system is not formatted even where its own signature is confirmed."""
    inside(lab, f"mkfs.ext4 -q -F {device}; mkdir -p /mnt/theirs; mount {device} /mnt/theirs")
    try:
        uuid = inside(lab, f"blkid -p -o value -s UUID {device}")
        with pytest.raises(Refused, match="is mounted on /mnt/theirs"):
            one(lab, data_disk, device=device, mount=MOUNT, label="dbdata", confirm=f"ext4:{uuid}")
    finally:
        inside(lab, "umount /mnt/theirs")


def test_a_server_does_not_start_without_its_disk(lab: Lab, device: str) -> None:
    """With `requires_mount` a unit fails to start on the bare mount point, and starts when the disk is mounted."""
    inside(lab, f"mkdir -p {MOUNT}; printf '{UNIT}' > /etc/systemd/system/served.service; systemctl daemon-reload")
    first = one(lab, requires_mount, unit="served", path=MOUNT)
    assert first.changed
    assert not one(lab, requires_mount, unit="served", path=MOUNT).changed
    assert lab.enter("n1", "systemctl", "start", "served").returncode != 0
    assert inside(lab, "systemctl is-active served") == "inactive"
    one(lab, data_disk, device=device, mount=MOUNT, label="dbdata")
    assert lab.enter("n1", "systemctl", "start", "served").returncode == 0
    inside(lab, "systemctl stop served")


def test_a_full_story_needs_no_command_that_fails(lab: Lab, device: str) -> None:
    """A mount point that cannot be made is told as the command that failed, and the disk is recognised the next time."""
    inside(lab, "touch /srv/file")
    with pytest.raises(CommandFailed):
        one(lab, data_disk, device=device, mount="/srv/file/below", label="dbdata")
    inside(lab, "rm /srv/file; sed -i '\\,/srv/file,d' /etc/fstab")
    one(lab, data_disk, device=device, mount=MOUNT, label="dbdata")
    assert inside(lab, f"findmnt -n -o SOURCE {MOUNT}") == f"{device}p1"
