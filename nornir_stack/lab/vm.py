"""A virtual machine in QEMU, as a child of this process: booted, reached by ssh over the loopback only, powered off."""

from __future__ import annotations

import socket
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.guest_image import EMULATED_WORDS, KERNEL_WORDS, KVM_SECONDS, kvm_probe
from nornir_stack.lab.machine import LabError, run, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGES = {"qemu-system-x86_64": "qemu-system-x86", "ssh": "openssh-client", "mke2fs": "e2fsprogs", "setpriv": "util-linux"}
ADDRESS = "10.0.2.15/24"  # what QEMU's user-mode network forwards to
_BOOT_SECONDS, _STOP_SECONDS = 900.0, 300.0


def kvm_works(kernel: Path) -> bool:
    """Whether KVM boots this kernel: it is started without a root file system, must say so and end.

    That /dev/kvm can be opened proves nothing: there are machines on which a guest then hangs.
    """
    if not Path("/dev/kvm").exists():
        return False
    try:
        done = subprocess.run(
            kvm_probe(str(kernel)),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=KVM_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False
    return b"Kernel panic" in done.stdout


def command_line(
    accelerator: str,
    kernel: Path,
    initrd: Path,
    console: Path,
    disks: Mapping[str, Path],
    *,
    net: str,
    cpus: int,
    memory_mib: int,
    cache: str = "unsafe",
    more: str = "",
    mac: str = "52:54:00:12:34:56",
) -> list[str]:
    """QEMU's command line: a kernel booted directly, its root on the first of the disks, which the guest sees by their names
    (/dev/disk/by-id/virtio-NAME). `net` is the backend of its card, an option of -netdev; `more` is for the kernel. `mac` is
    QEMU's own by default: two machines on one bridge need two.

    The process dies with the one that started it.
    """
    # without what Linux would only lose time with in an emulation: KVM within it, and a fifth level of page tables
    how = ("kvm", "max") if accelerator == "kvm" else ("tcg,thread=multi,tb-size=1024", "max,svm=off,la57=off")
    drives = [
        word
        for name, path in disks.items()
        for word in (
            *("-drive", f"file={path},format=raw,if=none,id={name},cache={cache},discard=unmap"),
            *("-device", f"virtio-blk-pci,drive={name},serial={name}"),
        )
    ]
    return [
        *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", how[0], "-cpu", how[1]),
        *("-no-reboot", "-nodefaults", "-display", "none", "-smp", str(cpus), "-m", str(memory_mib)),
        *("-serial", f"file:{console}", "-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", f"root=/dev/vda rw {KERNEL_WORDS} {EMULATED_WORDS} {more}".strip(), *drives),
        *("-netdev", f"{net},id=net", "-device", f"virtio-net-pci,netdev=net,mac={mac},romfile=", "-device", "virtio-rng-pci"),
    ]


@dataclass(frozen=True)
class Machine:
    """What a machine boots: a kernel directly, and one disk.

    `identity` is the private key that logs in as root, `host_key` the public key of its sshd. `words` are more for the kernel.
    `cache` is QEMU's: with `unsafe` what the guest flushes is flushed nowhere, with `writeback` it is on the disk image.
    """

    kernel: Path
    initrd: Path
    disk: Path
    console: Path
    identity: Path
    host_key: str
    accelerator: str
    cpus: int = 2
    memory_mib: int = 4096
    words: str = ""
    cache: str = "unsafe"

    @contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """Its process, from the first instruction; killed at the end, which is a power cut for what runs in it."""
        with subprocess.Popen(self._argv(_free_port()), stdin=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def booted(self) -> Iterator[Guest]:
        """The machine, answering ssh; killed at the end if it still runs, and when this process dies."""
        port = _free_port()
        known = self.console.with_name("known_hosts")
        known.write_text(f"[127.0.0.1]:{port} {' '.join(self.host_key.split()[:2])}\n")
        with subprocess.Popen(self._argv(port), stdin=subprocess.DEVNULL) as process:
            guest = Guest(process, port, self.identity, known, self.console)
            try:
                guest.wait_ready()
                yield guest
            finally:
                process.kill()

    def _argv(self, port: int) -> list[str]:
        return command_line(
            self.accelerator,
            self.kernel,
            self.initrd,
            self.console,
            {"root": self.disk},
            net=f"user,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
            cpus=self.cpus,
            memory_mib=self.memory_mib,
            cache=self.cache,
            more=self.words,
        )


@dataclass(frozen=True)
class Guest:
    """A machine that runs."""

    process: subprocess.Popen[bytes]
    port: int
    identity: Path
    known_hosts: Path
    console: Path

    def ssh(self, command: str) -> list[str]:
        """The words that run a shell command in it as root."""
        options = [
            "User=root",
            f"IdentityFile={self.identity}",
            "IdentitiesOnly=yes",
            f"UserKnownHostsFile={self.known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            "ConnectTimeout=120",
            "LogLevel=ERROR",
        ]
        return ["ssh", "-F", "/dev/null", *(f"-o{each}" for each in options), "-p", str(self.port), "127.0.0.1", command]

    def read(self, command: str) -> str:
        """What a shell command prints. Raises LabError if it fails."""
        return run(*self.ssh(command))

    def stream(self, command: str) -> int:
        """Run a shell command with this process's own output; its exit status."""
        return subprocess.run(self.ssh(command), check=False, stdin=subprocess.DEVNULL).returncode

    def wait_ready(self) -> None:
        """Wait until its sshd answers. Raises LabError with the end of its console."""

        def ready() -> bool:
            if self.process.poll() is not None:
                tail = self.console.read_text(errors="replace")[-800:] if self.console.exists() else ""
                raise LabError(f"the virtual machine died while booting: {tail}")
            return says_hello("127.0.0.1", self.port)

        wait_for(ready, _BOOT_SECONDS, f"sshd of the virtual machine; its console is in {self.console}")

    def power_off(self) -> None:
        """Power it off cleanly, and wait until it is off."""
        subprocess.run(self.ssh("systemctl poweroff"), check=False, stdin=subprocess.DEVNULL)
        wait_for(lambda: self.process.poll() is not None, _STOP_SECONDS, "the virtual machine to power off")


def says_hello(address: str, port: int) -> bool:
    """Whether sshd answers. QEMU itself accepts at once; only sshd says SSH."""
    try:
        with socket.create_connection((address, port), timeout=60) as plug:
            plug.settimeout(60)
            return plug.recv(4) == b"SSH-"
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as plug:
        plug.bind(("127.0.0.1", 0))
        return int(plug.getsockname()[1])
