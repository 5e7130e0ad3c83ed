from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.errors import Refused
from nornir_stack.tasks.system import disk_facts, fstab
from nornir_stack.tasks.system.disk_facts import Disk, Partition, Place, Signature, parse, partition_path
from nornir_stack.tasks.system.disk_plan import Step, Wanted, decide, entry_of
from tests.unit.system_storage.cases import CASES, cases

if TYPE_CHECKING:
    from pathlib import Path

WANTED = Wanted("/dev/vdb", "/srv/db", "ext4", "db")
EMPTY = Disk("/dev/vdb", size=10 << 30)


def disk(data: dict[str, Any]) -> Disk:
    read = dict(data)
    if "holds" in read:
        read["holds"] = Signature(**read["holds"])
    parts = [{**p, "holds": Signature(**p.get("holds", {}))} for p in read.get("partitions", [])]
    read["partitions"] = tuple(Partition(**p) for p in parts)
    for key in ("more", "uses"):
        read[key] = tuple(read.get(key, ()))
    read["mounts"] = tuple((mount, source) for mount, source in read.get("mounts", ()))
    return replace(EMPTY, **read)


def place(data: dict[str, Any]) -> Place:
    return Place(**{**data, "fstab": tuple(data.get("fstab", ()))})


def said(step: Step) -> str:
    return " ".join([step.do, step.target, *step.words])


@pytest.mark.parametrize("case", cases("disk/decide.yaml"))
def test_decide(case: dict[str, Any]) -> None:
    """From what is seen of a disk come the steps, or a refusal that says what was seen."""
    wanted = replace(WANTED, **case.get("wanted", {}))
    seen, around = disk(case.get("disk", {})), place(case.get("place", {}))
    if "refused" in case:
        with pytest.raises(Refused) as refusal:
            decide(seen, around, wanted, uuid="U", confirm=case.get("confirm", ""))
        assert case["refused"] in str(refusal.value)
    else:
        steps = decide(seen, around, wanted, uuid="U", confirm=case.get("confirm", ""))
        assert case["steps"] == [said(step) for step in steps]


@pytest.mark.parametrize("case", [c for c in cases("disk/decide.yaml") if "steps" in c.values[0]])
def test_what_was_made_is_left_alone(case: dict[str, Any]) -> None:
    """After the steps of any case, the same decision finds nothing to do, and asks for no confirmation."""
    wanted = replace(WANTED, **case.get("wanted", {}))
    seen, around = disk(case.get("disk", {})), place(case.get("place", {}))
    for step in decide(seen, around, wanted, uuid="U", confirm=case.get("confirm", "")):
        seen, around = done(step, seen, around, wanted)
    assert decide(seen, around, wanted, uuid="V") == []


def done(step: Step, seen: Disk, around: Place, wanted: Wanted) -> tuple[Disk, Place]:  # noqa: PLR0911  one case a step
    """What a look would see after one step."""
    if step.do == "wipe":
        return replace(seen, holds=Signature(), partitions=(), more=(), data=""), around
    if step.do == "partition":
        made = Partition(1, partition_path(seen.path, 1), step.words[0])
        return replace(seen, holds=Signature(table="gpt", uuid="T2"), partitions=(made,)), around
    if step.do in {"mkfs", "label"}:
        old = next((p.holds for p in seen.partitions if p.path == step.target), seen.holds)
        label = step.words[1]
        holds = Signature(step.words[0], label, step.words[2]) if step.do == "mkfs" else replace(old, label=label)
        if step.target == seen.path:
            return replace(seen, holds=holds), around
        parts = tuple(replace(p, holds=holds) if p.path == step.target else p for p in seen.partitions)
        return replace(seen, partitions=parts), around
    if step.do == "node":
        return replace(seen, partitions=tuple(replace(p, node=True) for p in seen.partitions)), around
    if step.do == "fstab":
        lines = fstab.with_mount(list(around.fstab), entry_of(wanted, *step.words))
        return seen, replace(around, fstab=tuple(lines))
    if step.do == "mount":
        mounts = (*seen.mounts, (wanted.mount, step.target))
        return replace(seen, mounts=mounts), replace(around, mounted=step.target, owner=step.words[1])
    assert step.do == "owner"
    return seen, replace(around, owner=f"{step.words[0]}:root")


def test_look_of_a_finished_disk() -> None:
    """What the look prints on a node reads as the disk, its partition, the file system in it and the mount."""
    seen, around = parse((CASES / "disk" / "finished.look").read_text(), "/srv/db")
    part = Partition(1, "/dev/loop0p1", "nornir-stack:dbdata", node=True, holds=Signature("ext4", "dbdata", "F", "gpt"))
    assert seen.partitions[0].path == part.path
    assert (seen.partitions[0].holds.kind, seen.partitions[0].holds.label) == ("ext4", "dbdata")
    assert seen.partitions[0].name == part.name
    assert seen.mounts == (("/srv/db", "/dev/loop0p1"),)
    assert (seen.holds.table, seen.holds.kind, seen.size) == ("gpt", "", 64 << 20)
    assert (around.mounted, around.owner) == ("/dev/loop0p1", "root:root")
    assert decide(seen, around, Wanted("/dev/loop0", "/srv/db", "ext4", "dbdata"), uuid="U") == []


def test_what_a_disk_is_reached_by(tmp_path: Path) -> None:
    """A disk below an iSCSI session is one over the network, and so is what stands on it; one of the machine's own is not."""
    far, near = tmp_path / "host2/session1/target2:0:0/block/sda", tmp_path / "pci0000:00/virtio1/block/vda"
    volume = tmp_path / "virtual/block/dm-0"
    for folder in (far, near, volume / "slaves"):
        folder.mkdir(parents=True)
    (volume / "slaves/sda").symlink_to(far)
    function = disk_facts._LOOK[disk_facts._LOOK.index("beneath() {") : disk_facts._LOOK.index("say device")]
    for path, told in ((far, "network=1\n"), (near, ""), (volume, "network=1\n")):
        script = f'{function}\nbeneath "$1"'
        done = subprocess.run(["sh", "-c", script, "sh", str(path)], capture_output=True, text=True, check=True)
        assert done.stdout == told
    text = (CASES / "disk" / "finished.look").read_text()
    assert not parse(text, "/srv/db")[0].network
    seen, _ = parse(text.replace("\nserial=", "\nnetwork=1\nunopened=iqn.2026-01.example:data\nserial="), "/srv/db")
    assert (seen.network, seen.unopened) == (True, "iqn.2026-01.example:data")
