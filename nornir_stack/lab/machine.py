"""This machine, as the lab uses it: programs, mounts, control groups. Nothing of a lab's own shape here."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.errors import StackError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "apt-ftparchive": "apt-utils",
    "nft": "nftables",
    "losetup": "mount",
    "nsenter": "util-linux",
}
_CGROUPS = Path("/sys/fs/cgroup")


class LabError(StackError):
    """This machine did not do what the lab asked of it."""


def run(*argv: str, check: bool = True, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
    """Run a program; its stdout. Raises LabError with what it said."""
    done = subprocess.run(
        argv, check=False, capture_output=True, text=True, input=stdin, env=None if env is None else {**os.environ, **env}
    )
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise LabError(f"`{' '.join(argv[:6])}` ended with status {done.returncode}: {said}")
    return done.stdout


def missing_packages() -> list[str]:
    """Debian packages of the programs that the lab needs and this machine lacks."""
    found = [package for program, package in PACKAGES.items() if shutil.which(program, path=_path()) is None]
    if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
        found.append("debian-archive-keyring")
    return sorted(set(found))


def install(packages: list[str]) -> None:
    """Install Debian packages on this machine; services that they bring are not asked for."""
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-q", env=env, check=False)
    run("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages, env=env)


def reason_against() -> str | None:
    """Why nodes cannot be booted here, in a sentence; None where they can."""
    if os.geteuid() != 0:
        return "booting nodes needs root: run it with sudo"
    if missing := missing_packages():
        if shutil.which("apt-get") is None:
            return f"this machine lacks {', '.join(missing)}, and has no apt-get to install them"
        return None
    if not Path("/proc/self/ns/pid").exists() or not os.access("/sys/fs/cgroup", os.R_OK):
        return "this kernel shows no namespaces or control groups: containers cannot be booted here"
    return None


def need_root(what: str) -> None:
    """Raise UsageError unless this process is root: it would see no node of root's, and find nothing to do."""
    if os.geteuid() != 0:
        raise UsageError(f"{what} needs root: run it with sudo")


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
_ENOUGH = 1024


def raise_limits(tell: Callable[[str], None]) -> None:
    """Let more than a dozen nodes run: each takes about nine inotify instances of root's, and the kernel's default is 128.

    Without that the next node's systemd ends with "Failed to allocate manager object". It holds until this machine's next boot.
    """
    if int(_INSTANCES.read_text()) < _ENOUGH:
        with suppress(OSError):  # where it may not be written, few nodes still run
            _INSTANCES.write_text(str(_ENOUGH))
            tell(f"raised this machine's fs.inotify.max_user_instances to {_ENOUGH}, until its next boot")


def systemd_runs() -> bool:
    """Whether this machine's PID 1 is systemd."""
    return Path("/run/systemd/system").is_dir() and Path("/proc/1/comm").read_text().strip() == "systemd"


def mounts_below(path: Path) -> list[str]:
    """What is mounted at `path` and below it, the latest first."""
    wanted = str(path.resolve())
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    # proc(5): blank, tab, newline and backslash stand there in octal
    plain = [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point) for point in points]
    return [point for point in reversed(plain) if point == wanted or point.startswith(f"{wanted}/")]


def mounted(path: Path) -> bool:
    return str(path.resolve()) in mounts_below(path)


def unmount(path: Path) -> None:
    """Unmount `path` and all below it, however often it is mounted. Raises LabError if something holds it."""
    for point in mounts_below(path):
        run("umount", point)


def remove(path: Path) -> None:
    """Remove a folder. What is mounted in it (this machine's /dev, in a build that was killed) is unmounted, never emptied."""
    unmount(path)
    if path.exists():
        shutil.rmtree(path)


# Where PID 1 is not systemd, several containers started from one place would share a control group, and services
# die with 219/CGROUP: each gets its own, in every hierarchy that systemd uses.


def cgroup_folders(name: str) -> list[Path]:
    roots = [_CGROUPS / "systemd", _CGROUPS / "unified"]
    if not roots[0].exists():
        roots = [_CGROUPS]
    return [root / name for root in roots if root.exists()]


# It notes itself before it becomes the program: whoever started it may be killed at any moment. Field 22 is its start time.
_DAEMON = """
log=$1; note=$2; shift 2
read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ started _ </proc/$$/stat
echo "$$ $started" >"$note.new" && mv "$note.new" "$note" || exit 1
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done
shift
exec "$@" </dev/null >>"$log" 2>&1
"""


def start_daemon(name: str, argv: list[str], *, log: Path, note: Path) -> None:
    """Start a program that outlives this one, in a session and a control group of its own.

    `note` then holds its process id and its `start_time`.
    """
    folders = cgroup_folders(name)
    for folder in folders:
        folder.mkdir(exist_ok=True)
    freeze(name, frozen=False)  # a group that a killed lab left frozen would swallow the new process
    note.unlink(missing_ok=True)
    run("setsid", "--fork", "sh", "-c", _DAEMON, "sh", str(log), str(note), *map(str, folders), "--", *argv)
    wait_for(note.exists, 10, f"{argv[0]} to start")


@cache
def patience() -> float:
    """By how much waits are longer than on a common machine: where QEMU emulates the processor all is that slow."""
    return 15.0 if run("systemd-detect-virt", "--vm", check=False).strip() == "qemu" else 1.0


def wait_for(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait until `holds()`, in an emulated machine longer; raises LabError that says what was waited for."""
    seconds *= patience()
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise LabError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.02 * patience())  # looking more often would itself take an emulated processor's time


def remove_cgroup(name: str) -> None:
    """Kill whatever is left in a group, and remove it in every hierarchy."""
    folders = cgroup_folders(name)
    freeze(name, frozen=False)

    def gone() -> bool:
        for inner in sorted((path for folder in folders for path, _, _ in os.walk(folder)), key=len, reverse=True):
            with suppress(OSError):
                for pid in (Path(inner) / "cgroup.procs").read_text().split():
                    if pid != "0":  # so it shows what this process cannot see; kill(0) would be ourselves
                        os.kill(int(pid), signal.SIGKILL)
            with suppress(OSError):  # busy while its last process is going
                Path(inner).rmdir()
        return not any(folder.exists() for folder in folders)

    wait_for(gone, 20, f"the processes of {name} to die")


def freeze(name: str, *, frozen: bool) -> None:
    """Stop or go on with every process of a group."""
    for folder in cgroup_folders(name):
        if (folder / "cgroup.freeze").exists():
            (folder / "cgroup.freeze").write_text("1" if frozen else "0")
            return
    if frozen:
        raise LabError("this machine has no cgroup v2: a node cannot be paused")


def children(pid: int) -> Iterator[int]:
    """The direct child processes of `pid`."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    yield int(entry.name)


def start_time(pid: int) -> str:
    """When a process started (clock ticks), to tell it from a later one of the same number; '' if it is gone."""
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def memory(pid: int) -> int:
    """Bytes that a process and its descendants hold for themselves (Pss)."""
    total, todo = 0, [pid]
    while todo:
        current = todo.pop()
        with suppress(OSError, IndexError, ValueError):
            text = (Path("/proc") / str(current) / "smaps_rollup").read_text()
            total += int(text.partition("\nPss:")[2].split()[0]) * 1024
        todo += children(current)
    return total
