"""One node as a systemd-nspawn container: its disk (an overlay over a cached tree), its processes, its network link."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.lab import machine
from nornir_stack.lab.identity import write_identity
from nornir_stack.lab.machine import LabError, run, wait_for

if TYPE_CHECKING:
    from nornir_stack.lab.spec import LabSpec, NodeSpec

_POWEROFF = signal.SIGRTMIN + 4  # systemd(1): the signal that powers off
_BOOT_SECONDS, _STOP_SECONDS = 60.0, 60.0


@dataclass(frozen=True)
class Container:
    """A node of a lab. It may be running or not; everything is found on the machine, nothing is remembered."""

    spec: LabSpec
    node: NodeSpec

    @property
    def folder(self) -> Path:
        return self.spec.state / "nodes" / self.node.name

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def name(self) -> str:
        """Its name on this machine: of the container and its control group."""
        return f"{self.spec.name}-{self.node.name}"

    @property
    def unit(self) -> str:
        """Its unit where this machine's PID 1 is systemd."""
        return f"nornir-stack-{self.name}.service"

    @property
    def log(self) -> Path:
        return self.folder / "console.log"

    @property
    def address(self) -> str:
        return self.node.address.partition("/")[0]

    # processes

    @property
    def supervisor(self) -> int:
        """The process id of systemd-nspawn; 0 if it does not run."""
        try:
            pid, started = (self.folder / "pid").read_text().split()
        except (OSError, ValueError):
            return 0
        return int(pid) if machine.start_time(int(pid)) == started else 0

    @property
    def init(self) -> int:
        """The process id, as seen from this machine, of the node's PID 1; 0 if it does not run."""
        supervisor = self.supervisor
        return next(machine.children(supervisor), 0) if supervisor else 0

    @property
    def running(self) -> bool:
        return self.supervisor != 0

    def answers(self) -> bool:
        """Whether its sshd says hello."""
        seconds = machine.patience()  # giving up early and asking again would start one sshd after the other in a slow node
        try:
            with socket.create_connection((self.address, 22), timeout=seconds) as plug:
                plug.settimeout(seconds)
                return plug.recv(4) == b"SSH-"
        except OSError:
            return False

    def start(self, tree: Path, mirror: Path) -> None:
        """Boot it; returns at once. A node that runs is left alone."""
        if self.running:
            return
        self._clear("")
        self._mount(tree)
        argv = self._argv(mirror)
        if machine.systemd_runs():
            self._start_unit(argv)
        else:
            machine.start_daemon(self.name, argv, log=self.log, note=self.folder / "pid")
        self._plug()

    def _start_unit(self, argv: list[str]) -> None:
        """Where PID 1 is systemd, a unit keeps it: with a control group of its own, apart from the caller's session."""
        properties = ["Delegate=yes", "KillMode=mixed", "TasksMax=16384"]
        properties += [f"{stream}=append:{self.log}" for stream in ("StandardOutput", "StandardError")]
        options = [f"--property={each}" for each in properties]
        run("systemd-run", f"--unit={self.unit}", "--collect", "--quiet", "--service-type=exec", *options, "--", *argv)
        pid = int(run("systemctl", "show", "--property=MainPID", "--value", self.unit))
        (self.folder / "pid").write_text(f"{pid} {machine.start_time(pid)}\n")

    def _argv(self, mirror: Path) -> list[str]:
        argv = [
            "systemd-nspawn",
            f"--directory={self.root}",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--quiet",
            f"--network-bridge={self.spec.bridge}",
            f"--machine={self.name}",
            f"--hostname={self.node.name}",
            "--console=passive",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            "--system-call-filter=@swap",
            f"--bind-ro={mirror}:/srv/mirror",
        ]
        argv += [f"--network-veth-extra={self._outer(card)}:{card}" for card, _ in self.node.nics]
        if disk := self.disk():
            argv.append(f"--bind={disk}")
        if Path("/dev/net/tun").exists():
            argv.append("--bind=/dev/net/tun")  # Open vSwitch's userspace datapath, tunnels and QEMU ask for it
        return argv

    def wait_ready(self) -> None:
        """Wait until its sshd answers. Raises LabError with the end of its console."""

        def ready() -> bool:
            if not self.running:
                tail = self.log.read_text(errors="replace")[-800:] if self.log.exists() else ""
                raise LabError(f"{self.node.name} died while booting: {tail}")
            return self.answers()

        wait_for(ready, _BOOT_SECONDS, f"sshd on {self.node.name} ({self.address}); its console is in {self.log}")

    def stop(self) -> None:
        """Power it off cleanly."""
        self._end(_POWEROFF, "power off")

    def kill(self) -> None:
        """SIGKILL to everything in it, at once, as a power cut does to processes (the page cache survives)."""
        self._end(signal.SIGKILL, "die")

    def _end(self, number: int, what: str) -> None:
        """A signal to its PID 1; systemd-nspawn sees it go and cleans up."""
        link, init = self.link, self.init
        with suppress(ProcessLookupError):
            if init:
                os.kill(init, number)
            elif supervisor := self.supervisor:
                os.kill(supervisor, signal.SIGKILL)
        if self.running:
            self.resume()  # a frozen systemd-nspawn would never see it go
        wait_for(lambda: not self.running, _STOP_SECONDS, f"{self.node.name} to {what}")
        self._clear(link)
        (self.folder / "pid").unlink(missing_ok=True)

    def _clear(self, link: str) -> None:
        """Take away what a dead node leaves on this machine, and what one of the same name left that was never taken down."""
        if machine.systemd_runs():
            run("systemctl", "stop", self.unit, check=False)  # returns when the unit's name is free again
        else:
            machine.remove_cgroup(self.name)
        for name in {link, f"vb-{self.name}"[:15], *(self._outer(card) for card, _ in self.node.nics)} - {""}:
            run("ip", "link", "delete", name, check=False)  # else it goes a moment later, and a new boot trips over it
        for kind in ("propagate", "unix-export"):  # left by a systemd-nspawn that was killed itself
            machine.remove(Path("/run/systemd/nspawn") / kind / self.name)

    def pause(self) -> None:
        """Stop every process of it (the freezer of its control group)."""
        if machine.systemd_runs():
            run("systemctl", "freeze", self.unit)
        else:
            machine.freeze(self.name, frozen=True)

    def resume(self) -> None:
        if machine.systemd_runs():
            run("systemctl", "thaw", self.unit, check=False)
        else:
            machine.freeze(self.name, frozen=False)

    def enter(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program inside without ssh, as root."""
        if not self.init:
            raise LabError(f"{self.node.name} is not running")
        inside = ("nsenter", "-t", str(self.init), "-m", "-u", "-i", "-n", "-p", "-C", "--", *argv)
        return subprocess.run(inside, check=False, capture_output=True, text=True)

    # disk

    def _mount(self, tree: Path) -> None:
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not machine.mounted(self.root):
            layers = f"lowerdir={self._lower(tree)},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
            run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        if not self._prepared.exists():  # its last line: an `up` that was killed before it does it again
            write_identity(self.root, self.spec, self.node)
            self._prepared.touch()

    @property
    def _prepared(self) -> Path:
        return self.folder / "prepared"

    def _lower(self, tree: Path) -> Path:
        """The tree that its disk was made over: what it wrote fits no other, even if a newer one would be taken now."""
        note = self.folder / "tree"
        if not (self._prepared.exists() and note.exists()):
            note.write_text(f"{tree}\n")
        lower = Path(note.read_text().strip())
        if not lower.is_dir():
            raise LabError(f"the image {lower} that {self.node.name} was made from is gone: take the lab down, and up again")
        return lower

    def disk(self) -> str:
        """The loop device of its disk, attached if it has one; '' if it has none."""
        if not self.node.disk_mib:
            return ""
        image = self.folder / "disk.img"
        if not image.exists():
            with image.open("wb") as file:
                file.truncate(self.node.disk_mib << 20)
        attached = run("losetup", "--list", "--noheadings", "--output=NAME", f"--associated={image}").split()
        return attached[0] if attached else run("losetup", "--find", "--show", str(image)).strip()

    def wipe(self) -> None:
        """A node that does not run loses all that it ever wrote, its disk too."""
        machine.unmount(self.root)
        image = self.folder / "disk.img"
        if image.exists():
            for device in run("losetup", "--list", "--noheadings", "--output=NAME", f"--associated={image}").split():
                run("partx", "--delete", device, check=False)  # partitions that a node announced hold the device
                run("losetup", "--detach", device)
        machine.remove(self.folder)

    # network

    def _outer(self, card: str) -> str:
        """The name on this machine of the other end of a card: at most 15 letters, whatever the node is called."""
        return f"nx-{zlib.crc32(f'{self.name}/{card}'.encode()):08x}"

    def _plug(self) -> None:
        """Each card into its segment, as soon as systemd-nspawn has made it."""
        for card, segment in self.node.nics:
            outer = self._outer(card)
            wait_for(lambda outer=outer: self._made(outer), 20, f"the card {card} of {self.node.name}; see {self.log}")  # type: ignore[misc]
            run("ip", "link", "set", outer, "master", self.spec.segments[segment], "up")

    def _made(self, outer: str) -> bool:
        if not self.running:
            raise LabError(f"{self.node.name} died while booting; its console is in {self.log}")
        return (Path("/sys/class/net") / outer).exists()

    @property
    def link(self) -> str:
        """The name of its link on this machine's side of the bridge; '' if it has none."""
        init = self.init
        if not init:
            return ""
        inside = run("nsenter", "-t", str(init), "-n", "ip", "-o", "link", "show", "host0", check=False)
        index = inside.partition("@if")[2].partition(":")[0]
        for line in run("ip", "-o", "link", "show", "master", self.spec.bridge).splitlines():
            number, name = line.split(": ")[:2]
            if number == index:
                return name.partition("@")[0]
        return ""
