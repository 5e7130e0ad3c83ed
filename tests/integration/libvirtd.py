"""A libvirtd for tests, started by hand with folders of its own: nothing of the machine's libvirt is seen or touched."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.lab.machine import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = ("libvirtd", "qemu-system-x86_64", "qemu-img", "dnsmasq", "mmdebstrap")
# what libvirt was built to use, and what lies there for this one
_FOLDERS = ("etc/libvirt", "run/libvirt", "var/lib/libvirt", "var/log/libvirt", "var/cache/libvirt")
# stdio_handler: without virtlogd; no namespaces and control groups: those of this machine may be of any form
_QEMU_CONF = """user = "root"
group = "root"
security_driver = "none"
stdio_handler = "file"
namespaces = []
cgroup_controllers = []
"""
# Everything that it starts lives in its process namespace, and dies with it. The shell is the init there: it reaps machines
# that ended, for which libvirtd would wait in vain.
_START = """
root=$1; shift
hostname "${root##*/}"  # libvirt takes two of one name for one machine, and migrates nothing between them
for folder; do mount --bind "$root/$folder" "/$folder" || exit; done
for each in passwd group; do mount --bind "$root/etc/$each" "/etc/$each" || exit; done
libvirtd --config "$root/etc/libvirt/libvirtd.conf" --pid-file "$root/libvirtd.pid" &
wait $!
"""


def reason_against() -> str:
    """Why none can be started here, or ''."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(missing)} cannot be found" if missing else ""


@contextmanager
def libvirtd(root: Path, *, uuid: str) -> Iterator[Path]:
    """One that keeps all it has under `root`; the path of its socket. `uuid` is the host's as it tells others."""
    made = []
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
        point = Path("/", folder)
        if not point.exists():
            point.mkdir(parents=True)
            made.append(point)
    # Debian's libvirt wants these to exist, though another user is configured; its package libvirt-daemon-system makes them
    (root / "etc/passwd").write_text(Path("/etc/passwd").read_text() + "libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin\n")
    (root / "etc/group").write_text(Path("/etc/group").read_text() + "kvm:x:64054:\nlibvirt-qemu:x:64055:\n")
    (root / "etc/libvirt/qemu.conf").write_text(_QEMU_CONF)
    conf = f'host_uuid = "{uuid}"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\nunix_sock_group = "root"\n'
    (root / "etc/libvirt/libvirtd.conf").write_text(conf)
    apart = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation=private")
    argv = ["setpriv", "--pdeathsig", "KILL", *apart, "sh", "-c", _START, "sh", str(root), *_FOLDERS]
    socket = root / "run/libvirt/libvirt-sock"
    with (root / "log").open("wb") as log, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
        try:
            wait_for(lambda: socket.exists() or process.poll() is not None, 30, "libvirtd to listen")
            if process.poll() is not None:
                raise AssertionError(f"libvirtd did not start: {(root / 'log').read_text()[-1500:]}")
            yield socket
        finally:
            process.kill()
    for point in made:
        with suppress(OSError):  # the machine's own by now
            point.rmdir()
