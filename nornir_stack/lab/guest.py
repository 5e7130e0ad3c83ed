"""Images of virtual machines, made from Debian's packages: a tree built once, and a disk from it for one machine."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nornir_stack.guest_image import KERNEL, ext4
from nornir_stack.lab import machine
from nornir_stack.lab.machine import run
from nornir_stack.lab.trees import BASE, bootstrap, building

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Tell = Callable[[str], None]


def guest_tree(suite: str, packages: tuple[str, ...], tell: Tell) -> Path:
    """A Debian with a kernel, systemd, sshd and `packages`, never booted; its kernel and initrd stand at its top."""
    wanted_names = tuple(sorted({*BASE, *KERNEL, *packages}))
    with building("guest", suite, *wanted_names) as (wanted, new):
        if new is not None:
            tell(f"building the image of a virtual machine, {suite} (once, two minutes)")
            bootstrap(new, suite, wanted_names)
    return wanted


@contextmanager
def overlaid(tree: Path, folder: Path) -> Iterator[Path]:
    """`tree` to be written in without being changed: an overlay with its files in `folder`, unmounted at the end."""
    upper, work, merged = (folder / name for name in ("upper", "work", "merged"))
    for each in (upper, work, merged):
        each.mkdir(parents=True)
    layers = f"lowerdir={tree},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "overlay", "-o", layers, str(merged))
    try:
        yield merged
    finally:
        machine.unmount(merged)


def write_guest(root: Path, name: str, address: str, *, authorized: str, host_key: str) -> None:
    """Make the tree at `root` the machine `name`, before its first boot.

    `address` with its prefix is that of eth0 (the kernel is to be told `net.ifnames=0`); `authorized` is the public key
    that may log in as root, `host_key` the private key of its sshd.
    """
    files: Mapping[str, tuple[int, str]] = {
        "etc/hostname": (0o644, f"{name}\n"),
        "etc/hosts": (0o644, f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n"),
        "etc/machine-id": (0o444, uuid.uuid4().hex + "\n"),
        "root/.ssh/authorized_keys": (0o600, authorized),
        "etc/ssh/ssh_host_ed25519_key": (0o600, host_key),
        "etc/systemd/network/10-eth0.network": (
            0o644,
            f"[Match]\nName=eth0\n\n[Network]\nAddress={address}\nLinkLocalAddressing=no\n",
        ),
    }
    for relative, (mode, text) in files.items():
        path = root / relative
        path.parent.mkdir(mode=0o700 if path.parent.name == ".ssh" else 0o755, parents=True, exist_ok=True)
        path.touch(mode=mode)
        path.chmod(mode)
        path.write_text(text)


def write_disk(root: Path, image: Path, *, free_mib: int) -> None:
    """All that is in `root` (file systems mounted in it too) as an ext4 file system in `image`, a sparse file, with room."""
    used = int(run("du", "--summarize", "--block-size=1M", str(root)).split()[0])
    size = used + used // 8 + free_mib  # inodes, journal and bitmaps take some
    run(*ext4(str(root), str(image), size))
