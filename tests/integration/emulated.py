"""Machines in QEMU on a lab's bridge, with Debian's own kernel: what a container cannot be, a host of LVM, iSCSI and Nova.

Its packages are put into its disk on this machine: dpkg in an emulated one would take an hour.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from nornir.core.inventory import ConnectionOptions, Group, Host, ParentGroups

from nornir_stack.lab import guest, vm
from nornir_stack.lab.identity import key_pair
from nornir_stack.lab.machine import run, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from nornir.core import Nornir

    from nornir_stack.lab import Lab

_OWN = frozenset({"ssh.service", "systemd-networkd.service"})
_ALIEN = "qemu-system-*"
_KEPT = "qemu-system-x86_64"
_FREE_MIB = 2048
_BOOT_SECONDS = 900.0
_PATIENT = {"etc/cinder/cinder.conf": ("backend_stats_polling_interval = 3600",), "etc/nova/nova.conf": ()}


@dataclass(frozen=True)
class Emulated:
    """A machine: its number in the lab, name, address, the file with its host key, and what it wrote on its serial port."""

    number: int
    name: str
    address: str
    known_hosts: Path
    console: Path


@dataclass(frozen=True)
class Disks:
    """What it boots, and a second disk; by their serial numbers (`/dev/disk/by-id/virtio-NAME`)."""

    kernel: Path
    initrd: Path
    root: Path
    more: Mapping[str, Path]


def made(
    lab: Lab,
    folder: Path,
    name: str,
    packages: Sequence[str],
    more_mib: Mapping[str, int],
    *,
    number: int = 0,
    files: Mapping[str, Path] = MappingProxyType({}),
) -> tuple[Emulated, Disks]:
    """The machine's disks in `folder`: a Debian with `packages`, of which nothing runs yet, and empty ones by name and MiB.

    `files` are put into it, by their paths there.
    """
    tree = guest.guest_tree("bookworm", tuple(packages), print)
    host_key = key_pair(folder / "host_key")
    machine = Emulated(number, name, str(lab.spec.network[100 + number]), folder / "known_hosts", folder / "console")
    machine.known_hosts.write_text(f"{machine.address} {' '.join(host_key.split()[:2])}\n")
    with guest.overlaid(tree, folder / "overlay") as root:
        guest.write_guest(
            root,
            name,
            f"{machine.address}/{lab.spec.network.prefixlen}",
            authorized=(lab.spec.state / "id_ed25519.pub").read_text(),
            host_key=(folder / "host_key").read_text(),
        )
        _quiet(root)
        for where, source in files.items():
            place = root / where.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
        guest.write_disk(root, folder / "root.img", free_mib=_FREE_MIB)
    disks = {each: folder / f"{each}.img" for each in more_mib}
    for each, path in disks.items():
        with path.open("wb") as file:
            file.truncate(more_mib[each] << 20)
    return machine, Disks(tree / "vmlinuz", tree / "initrd.img", folder / "root.img", disks)


def _quiet(root: Path) -> None:
    """Services wait for whoever sets them up; and it is one of many machines that were made of one image."""
    system = root / "etc/systemd/system"
    for unit in (*(system / "multi-user.target.wants").iterdir(), *(system / "sockets.target.wants").glob("*iscsi*")):
        if unit.name not in _OWN:
            unit.unlink(missing_ok=True)
    (root / "etc/iscsi/initiatorname.iscsi").unlink(missing_ok=True)
    for path, more in _PATIENT.items():
        if (root / path).exists():
            _patient(root / path, *more)
    # libvirt starts every emulator that it finds, to ask it what it can
    for program in (root / "usr/bin").glob(_ALIEN):
        if program.name != _KEPT:
            program.unlink()


def _patient(path: Path, *more: str) -> None:
    """A command of Cinder's is a Python of its own (rootwrap), which takes seconds here, and its look at the room five."""
    lines = "\n".join(("[DEFAULT]", "rpc_response_timeout = 900", *more))
    path.write_text(path.read_text().replace("[DEFAULT]", lines, 1))


@contextmanager
def running(lab: Lab, machine: Emulated, disks: Disks, *, memory_mib: int = 4096) -> Iterator[None]:
    """The machine up, and reached by ssh; killed at the end."""
    tap = f"tap-{lab.spec.name}-{machine.number}"
    run("ip", "tuntap", "add", tap, "mode", "tap")
    try:
        run("ip", "link", "set", tap, "master", lab.spec.bridge, "up")
        argv = vm.command_line(
            "emulated",
            disks.kernel,
            disks.initrd,
            machine.console,
            {"root": disks.root, **disks.more},
            net=f"tap,ifname={tap},script=no,downscript=no",
            cpus=2,
            memory_mib=memory_mib,
            mac=f"52:54:00:77:00:{machine.number + 1:02x}",
        )
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
            try:
                wait_for(
                    lambda: process.poll() is not None or vm.says_hello(machine.address, 22),
                    _BOOT_SECONDS,
                    f"sshd of {machine.name}",
                )
                assert process.poll() is None, machine.console.read_text(errors="replace")[-2000:]
                yield
            finally:
                process.kill()
    finally:
        run("ip", "link", "delete", tap, check=False)


def known(nr: Nornir, lab: Lab, machine: Emulated, roles: Sequence[str], data: Mapping[str, Any]) -> None:
    """The machine as a host of these roles."""
    groups = [nr.inventory.groups.setdefault(role, Group(role, defaults=nr.inventory.defaults)) for role in roles]
    extras = {
        "known_hosts": str(machine.known_hosts),
        "client_keys": [str(lab.spec.state / "id_ed25519")],
        "config": [],
        "connect_timeout": 90,
    }
    nr.inventory.hosts[machine.name] = Host(
        machine.name,
        hostname=machine.address,
        username="root",
        groups=ParentGroups(groups),
        data=dict(data),
        connection_options={"ssh": ConnectionOptions(None, None, None, None, None, extras)},
        defaults=nr.inventory.defaults,
    )
