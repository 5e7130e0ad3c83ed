"""The demo inside a virtual machine without any way out, where systemd is PID 1 and cgroups are v2. See scripts/demo."""

from __future__ import annotations

import configparser
import platform
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import nornir_stack
from nornir_stack.errors import StackError, UsageError
from nornir_stack.lab import guest, lab_of, machine, trees, vm
from nornir_stack.lab.identity import key_pair
from nornir_stack.results import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
SUITE, PYTHON = "bookworm", "3.11"
CHECKOUT, WHEELS = "opt/nornir-stack", "srv/wheels"
PACKAGES = (*machine.PACKAGES.values(), "debian-archive-keyring", "openssh-client", "python3-venv")
FREE_MIB = 6144
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist")
_CLEAN = ("HOME=/root", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")  # pip obeys this machine's PIP_* before its own configuration
_NORMAL = 'echo "$(cat /proc/1/comm) $(stat -f -c %T /sys/fs/cgroup) $(systemd-detect-virt --vm)"'
_LEFT = (
    "ip -o link show type bridge; ls -d ~/.local/state/nornir-stack/lab/*; grep nornir-stack/lab /proc/mounts; losetup -l -n"
)


def main() -> int:
    """0: both runs went well, the second changed nothing, and nothing was left after `--down`."""
    prepare()
    with TemporaryDirectory(prefix="nornir-stack-vm-", dir="/var/tmp") as name:
        wanted = build(Path(name))
        tell(
            f"booting it ({'KVM' if wanted.accelerator == 'kvm' else 'emulated: everything takes ten to twenty times as long'})"
        )
        began = time.monotonic()
        with wanted.booted() as running:
            tell(f"up in {time.monotonic() - began:.0f} s: {running.read(_NORMAL).strip()}")
            problem = prove(running)
            if problem:
                tell(f"the end of its console:\n{running.console.read_text(errors='replace')[-2000:]}")
            running.power_off()
    tell(problem or "the demo ran twice; the second run changed nothing, and nothing was left after it was taken down")
    return 1 if problem else 0


def tell(line: str) -> None:
    print(f"vm: {line}", flush=True)


def prepare() -> None:
    """The programs, on this machine."""
    if platform.machine() != "x86_64":
        raise UsageError(f"the virtual machine is made for x86_64; this machine is {platform.machine()}")
    missing = [package for program, package in vm.PACKAGES.items() if shutil.which(program) is None]
    missing += machine.missing_packages()
    if missing:
        tell(f"installing {', '.join(missing)} on this machine")
        machine.install(missing)


def build(folder: Path) -> vm.Machine:
    """The machine, with all that the demo needs on its disk: it has no way to fetch anything."""
    tree = guest.guest_tree(SUITE, PACKAGES, tell)
    wheels = fetch_wheels()
    authorized, host_key = key_pair(folder / "id_ed25519"), key_pair(folder / "host_key")
    tell("writing its disk")
    disk = folder / "disk.img"
    with guest.overlaid(tree, folder / "overlay") as root, ExitStack() as mounted:
        guest.write_guest(
            root, "demo", vm.ADDRESS, authorized=authorized, host_key=(folder / "host_key").read_text(encoding="utf-8")
        )
        shutil.copytree(ROOT, root / CHECKOUT, symlinks=True, ignore=_LEFT_OUT)
        for cached in lab_images():
            mounted.enter_context(bound(cached, root / "var/cache/nornir-stack" / cached.name))
        with bound(wheels, root / WHEELS):
            (root / "etc/pip.conf").write_text(f"[global]\nno-index = true\nfind-links = /{WHEELS}\n", encoding="utf-8")
            trees.in_tree(root, "env", "-i", *_CLEAN, f"/{CHECKOUT}/scripts/environment", "")
        guest.write_disk(root, disk, free_mib=FREE_MIB)
    kernel = tree / "vmlinuz"
    return vm.Machine(
        kernel=kernel,
        initrd=tree / "initrd.img",
        disk=disk,
        console=folder / "console.log",
        identity=folder / "id_ed25519",
        host_key=host_key,
        accelerator="kvm" if vm.kvm_works(kernel) else "tcg",
    )


def lab_images() -> list[Path]:
    """The trees and the mirror that the demo's lab boots from, as they are cached on this machine."""
    spec = lab_of(nornir_stack.open(str(ROOT / "inventory")).inventory)
    found = [trees.mirror(spec.suite, spec.mirror, tell), trees.base_tree(spec.suite, tell)]
    found += [trees.image_tree(name, spec.suite, spec.mirror, tell) for name in {node.tree for node in spec.nodes}]
    return sorted(set(found))


def fetch_wheels() -> Path:
    """Python's packages as the virtual machine's Python wants them, fetched once for what setup.cfg asks for."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = ["setuptools >= 68", *config["options"]["install_requires"].strip().splitlines()]
    platforms = [f"--platform=manylinux{each}_x86_64" for each in ("2014", "_2_28", "_2_34")]
    with trees.building("wheels", PYTHON, *wanted) as (folder, new):
        if new is not None:
            tell("fetching Python's packages for it (once)")
            only = ["--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp", *platforms]
            machine.run(sys.executable, "-m", "pip", "download", "--quiet", f"--dest={new}", *only, *wanted)
    return folder


@contextmanager
def bound(source: Path, point: Path) -> Iterator[None]:
    """`source` to be seen at `point` too."""
    point.mkdir(parents=True, exist_ok=True)
    machine.run("mount", "--bind", str(source), str(point))
    try:
        yield
    finally:
        machine.unmount(point)


def prove(running: vm.Guest) -> str:
    """Run the demo twice and take it down; what went wrong, in a sentence, or ''."""
    for number in ("first", "second"):
        began = time.monotonic()
        status = running.stream(f"cd /{CHECKOUT} && ./scripts/demo")
        tell(f"the {number} run took {time.monotonic() - began:.0f} s and ended with status {status}")
        if status:
            return f"the {number} run of the demo failed in the virtual machine"
    if changed := Report.from_json(running.read(f"/{CHECKOUT}/.venv/bin/nornir-stack report --json")).changed:
        return f"the second run changed {len(changed)} things: {', '.join(changed)}"
    if status := running.stream(f"cd /{CHECKOUT} && ./scripts/demo --down"):
        return f"taking the demo down ended with status {status}"
    left = running.read(f"{_LEFT} 2>/dev/null || true").strip()
    return f"the demo was taken down and left this behind: {left}" if left else ""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StackError as error:
        sys.exit(f"demo: {error}")
    except subprocess.TimeoutExpired as error:
        sys.exit(f"demo: {error}")
