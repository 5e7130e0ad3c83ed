"""Virtual machines made of Debian's packages: what an image is made of and by, and what a machine is told. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

KERNEL = ("initramfs-tools", "linux-image-cloud-amd64")
# Without libpam-systemd: each login would start a whole service manager for its user.
SYSTEM = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "nftables",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)
MIRROR = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# An emulated machine may take longer than the 90 s that systemd gives a unit.
KERNEL_WORDS = "console=ttyS0 net.ifnames=0 panic=-1 systemd.default_timeout_start_sec=900"
# What guards against a real processor's side channels only slows an emulated one.
EMULATED_WORDS = "mitigations=off"
KVM_SECONDS = 20


def sources(suite: str, mirror: str = MIRROR) -> list[str]:
    """The lines of sources.list for a Debian and its updates; `mirror` is the URL that ends with /debian."""
    security = mirror.removesuffix("/").removesuffix("/debian") + "/debian-security"
    return [
        f"deb {mirror} {suite} main",
        f"deb {mirror} {suite}-updates main",
        f"deb {security} {suite}-security main",
    ]


def bootstrap(target: str, suite: str, packages: Sequence[str], mirror: str = MIRROR) -> list[str]:
    """The words that make a Debian of `packages` in the folder `target`, without manuals and translations (mmdebstrap(1))."""
    return [
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--mode=root",
        f"--include={','.join(packages)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--keyring={KEYRING}",
        suite,
        target,
        *sources(suite, mirror),
    ]


def ext4(root: str, image: str, mib: int, *, label: str = "") -> list[str]:
    """The words that write all in the folder `root` as an ext4 file system of `mib` MiB into the file `image` (mke2fs(8))."""
    named = ["-L", label] if label else []
    return [
        *("mke2fs", "-q", "-t", "ext4", *named, "-E", "lazy_itable_init=1", "-m", "0", "-d", root, image, f"{mib}M"),
    ]


def kvm_probe(kernel: str) -> list[str]:
    """The words that start a kernel by KVM without a root file system: where KVM works it says `Kernel panic` and ends.

    That /dev/kvm can be opened proves nothing: there are machines on which a guest then hangs. Give it KVM_SECONDS.
    """
    machine = ["-accel", "kvm", "-cpu", "max", "-no-reboot", "-nodefaults", "-display", "none", "-m", "512"]
    return ["qemu-system-x86_64", *machine, "-kernel", kernel, "-append", KERNEL_WORDS, "-serial", "stdio"]
