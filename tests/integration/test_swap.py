"""A swap file on a real node. Swap in a container is the whole machine's: each test switches it off again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.effects import RunState
from nornir_stack.errors import Refused
from nornir_stack.tasks.system.disk import data_disk
from nornir_stack.tasks.system.swap import swap_file
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Result

MOUNT, PATH = "/srv/swap", "/srv/swap/swapfile"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    lab = boot("n1", disk_mib=512)
    device = lab.enter("n1", "sh", "-c", "ls /dev/loop[0-9]*").stdout.split()[0]
    one(lab, data_disk, device=device, mount=MOUNT, label="swap")
    return lab


@pytest.fixture(autouse=True)
def off(lab: Lab) -> Iterator[None]:
    yield
    inside(lab, f"swapoff {PATH}; rm -f {PATH}; sed -i '\\,{PATH},d' /etc/fstab")


def inside(lab: Lab, script: str) -> str:
    return lab.enter("n1", "sh", "-c", script).stdout.strip()


def one(lab: Lab, task: Callable[..., Result[Any]], *, dry_run: bool = False, **words: Any) -> Any:
    nr = nornir(lab, {"db": ["n1"]})
    nr.data = RunState(dry_run=dry_run)
    with nr:
        result = nr.run(task=task, raise_on_error=False, **words)["n1"][0]
    if result.exception:
        raise result.exception
    return result


def in_use(lab: Lab) -> str:
    return inside(lab, "grep -c swapfile /proc/swaps")


def test_swap_file_is_made_once(lab: Lab) -> None:
    """It has the size and mode 0600, is in use and in fstab once; a dry run changed nothing, the second run neither."""
    plan = one(lab, swap_file, dry_run=True, size="64M", path=PATH)
    assert plan.changed
    assert "+make a swap file of 64M, mode 0600" in plan.diff
    assert inside(lab, f"ls {PATH}; grep -c swapfile /etc/fstab /proc/swaps").count(":0") == 2
    assert one(lab, swap_file, size="64M", path=PATH).changed
    assert inside(lab, f"stat -c '%a %s %U' {PATH}") == f"600 {64 << 20} root"
    assert in_use(lab) == "1"
    assert inside(lab, "grep swapfile /etc/fstab") == f"{PATH} none swap defaults 0 0"
    again = one(lab, swap_file, size="64M", path=PATH)
    assert (again.changed, again.diff) == (False, "")


def test_another_size_replaces_it(lab: Lab) -> None:
    """The file is switched off, made anew and switched on; fstab keeps one line."""
    one(lab, swap_file, size="64M", path=PATH)
    one(lab, swap_file, size="32M", path=PATH)
    assert inside(lab, f"stat -c %s {PATH}") == str(32 << 20)
    assert in_use(lab) == "1"
    assert inside(lab, "grep -c swapfile /etc/fstab") == "1"


def test_mode_and_activation_are_mended(lab: Lab) -> None:
    """A file that others may read, and that nobody switched on, gets both mended without being made anew."""
    one(lab, swap_file, size="32M", path=PATH)
    inode = inside(lab, f"stat -c %i {PATH}")
    inside(lab, f"swapoff {PATH}; chmod 644 {PATH}")
    one(lab, swap_file, size="32M", path=PATH)
    assert inside(lab, f"stat -c '%i %a' {PATH}") == f"{inode} 600"
    assert in_use(lab) == "1"


def test_a_file_with_holes_is_made_anew(lab: Lab) -> None:
    """A sparse file, which swapon would refuse, is replaced."""
    inside(lab, f"truncate -s 32M {PATH}; chmod 600 {PATH}; mkswap {PATH}")
    one(lab, swap_file, size="32M", path=PATH)
    assert in_use(lab) == "1"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/swapfile", "would lie on overlay"),
        ("/run/swapfile", "would lie on tmpfs"),
        ("/nowhere/swapfile", "the folder of /nowhere/swapfile does not exist"),
    ],
)
def test_where_it_cannot_be(lab: Lab, path: str, said: str) -> None:
    """A file system that carries no swap file, or no folder: a sentence, and nothing touched."""
    with pytest.raises(Refused, match=said):
        one(lab, swap_file, size="32M", path=path)
    assert inside(lab, f"ls {path}; grep -c swapfile /etc/fstab") == "0"


def test_too_little_room_and_somebodys_file(lab: Lab) -> None:
    """Too large a file, or one that is no swap, is refused and what is there survives."""
    with pytest.raises(Refused, match="too little for"):
        one(lab, swap_file, size="4G", path=PATH)
    inside(lab, f"echo theirs > {PATH}")
    with pytest.raises(Refused, match="a file that is no swap"):
        one(lab, swap_file, size="32M", path=PATH)
    assert inside(lab, f"cat {PATH}") == "theirs"
