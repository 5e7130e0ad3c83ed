"""Image trees and the package mirror: built once from Debian's packages, cached by what they hold."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack import guest_image
from nornir_stack.errors import UsageError
from nornir_stack.lab.machine import LabError, remove, run, unmount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Tell = Callable[[str], None]

RECIPE = "6"  # change it whenever what is built below changes
BASE = (
    "ca-certificates",
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libpam-systemd",
    "netcat-openbsd",
    "nftables",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)
# What the image trees hold beside the base; with `db` a node is prepared for a database and nothing of it has run.
TREES: dict[str, tuple[str, ...]] = {
    "base": (),
    "db": ("mariadb-server", "galera-4", "mariadb-backup", "rsync", "socat"),
    "horizon": ("curl", "libapache2-mod-php", "openstack-dashboard-apache", "php-fpm"),
    "keystone": ("keystone", "python3-pymysql", "curl"),
    "directory": ("ldap-utils", "openssl", "slapd"),
    "dnf": ("createrepo-c", "dnf", "dnf-plugins-core", "gpg", "gpg-agent", "rpm"),  # Red Hat's managers as Debian builds them
    "network": ("ethtool", "openvswitch-switch", "tcpdump"),
    "ifupdown": ("ethtool", "ifupdown", "openvswitch-switch", "tcpdump"),
    "managers": ("ethtool", "network-manager", "netplan.io"),
    "router": ("frr", "tcpdump"),
    "cloud": (  # every service of OpenStack that the library's tasks know; a node starts those of its roles
        "ceilometer-agent-central",
        "ceilometer-agent-notification",
        "cinder-api",
        "cinder-scheduler",
        "cinder-volume",
        "curl",
        "genisoimage",
        "glance-api",
        "gnocchi-api",
        "gnocchi-metricd",
        "keystone",
        "libvirt-daemon-system",
        "logrotate",
        "lvm2",
        "mariadb-server",
        "memcached",
        "neutron-api",
        "neutron-dhcp-agent",
        "neutron-l3-agent",
        "neutron-metadata-agent",
        "neutron-openvswitch-agent",
        "neutron-rpc-server",
        "nova-api",
        "nova-compute-qemu",
        "nova-conductor",
        "nova-consoleproxy",
        "nova-scheduler",
        "octavia-api",
        "octavia-worker",
        "openstack-dashboard-apache",
        "openvswitch-switch",
        "placement-api",
        "python3-keystonemiddleware",
        "python3-ldap",
        "python3-ldappool",
        "python3-pymysql",
        "qemu-system-x86",
        "rabbitmq-server",
        "rsync",
        "swift-account",
        "swift-container",
        "swift-object",
        "swift-proxy",
        "tcpdump",
        "tgt",
    ),
}
MIRROR_URL = "http://deb.debian.org"
POLICY = "#!/bin/sh\nexit 101\n"


def cache_folder() -> Path:
    """$NORNIR_STACK_CACHE, by default /var/cache/nornir-stack: trees and packages, used by all labs."""
    return Path(os.environ.get("NORNIR_STACK_CACHE") or "/var/cache/nornir-stack")


@contextmanager
def building(kind: str, *holds: str) -> Iterator[tuple[Path, Path | None]]:
    """The cached folder for `holds`, and a folder to build it in, or None if it is there already."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    name = f"{kind}-{hashlib.sha256(' '.join((RECIPE, *holds)).encode()).hexdigest()[:12]}"
    wanted = cache / name
    if wanted.is_dir():
        yield wanted, None
        return
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another lab may be building the same
        if wanted.is_dir():
            yield wanted, None
            return
        new = cache / f"{name}.new"
        remove(new)  # of a build that was killed
        yield wanted, new
        new.rename(wanted)


def base_tree(suite: str, tell: Tell) -> Path:
    """A Debian with systemd and sshd that was never booted; no Python in it."""
    with building("base", suite, *BASE) as (wanted, new):
        if new is not None:
            tell(f"building the base image of {suite} (once, half a minute)")
            bootstrap(new, suite, BASE)
            _as_node(new)
    return wanted


def bootstrap(new: Path, suite: str, packages: tuple[str, ...]) -> None:
    """Make a Debian of `packages` at `new`, without what must differ between machines, and with systemd-networkd."""
    run(*guest_image.bootstrap(str(new), suite, packages, f"{MIRROR_URL}/debian"))
    _as_image(new)


def _as_image(tree: Path) -> None:
    """Take out what must differ between nodes, and what would work behind a test's back."""
    for path in (tree / "etc/ssh").glob("ssh_host_*"):
        path.unlink()
    (tree / "etc/hostname").unlink(missing_ok=True)
    (tree / "etc/machine-id").write_text("")
    # the builder's name servers cannot be reached from a node; with none a look-up fails at once
    (tree / "etc/resolv.conf").write_text("# no name server: a lab has no way out\n")
    (tree / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    wants = tree / "etc/systemd/system/timers.target.wants"
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer", "e2scrub_all.timer"):
        (wants / timer).unlink(missing_ok=True)
    network = tree / "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    network.unlink(missing_ok=True)
    network.symlink_to("/lib/systemd/system/systemd-networkd.service")


def _as_node(tree: Path) -> None:
    """Packages come from the lab's mirror only."""
    for path in (tree / "etc/apt/sources.list.d").glob("*"):
        path.unlink()
    (tree / "etc/apt/sources.list").write_text("deb [trusted=yes] file:/srv/mirror ./\n")
    (tree / "srv/mirror").mkdir(parents=True, exist_ok=True)


def mirror(suite: str, packages: tuple[str, ...], tell: Tell) -> Path:
    """A small apt repository of `packages` and of all that they need beside the base tree."""
    base = base_tree(suite, tell)
    wanted_names = sorted(set(packages))
    with building("mirror", suite, base.name, *wanted_names) as (wanted, new):
        if new is not None:
            tell(f"fetching {len(wanted_names)} packages and what they need for the nodes (once)")
            _fetch(base, new, suite, wanted_names)
    return wanted


def _fetch(base: Path, new: Path, suite: str, names: list[str]) -> None:
    scratch = new.with_name(new.name + "-root")
    remove(scratch)
    run("cp", "-a", "--reflink=auto", str(base), str(scratch))
    try:
        (scratch / "etc/apt/sources.list").write_text("\n".join(guest_image.sources(suite, f"{MIRROR_URL}/debian")) + "\n")
        shutil.copy("/etc/resolv.conf", scratch / "etc/resolv.conf")
        in_tree(scratch, "apt-get", "update", "-q")
        for name in names:  # one at a time: some conflict with each other, and a node wants only one of those
            in_tree(scratch, "apt-get", "install", "-y", "-q", "--download-only", "--no-install-recommends", name)
        new.mkdir()
        for path in (scratch / "var/cache/apt/archives").glob("*.deb"):
            shutil.move(path, new / path.name)
        listing = run("sh", "-c", 'cd "$1" && apt-ftparchive packages .', "sh", str(new))
        (new / "Packages").write_text(listing)
    finally:
        remove(scratch)


def in_tree(tree: Path, *argv: str) -> None:
    """Run a program in a tree that is not booted."""
    run("mount", "--bind", "/dev", str(tree / "dev"))
    run("mount", "-t", "proc", "proc", str(tree / "proc"))
    try:
        run("chroot", str(tree), *argv, env={"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"})
    finally:
        unmount(tree / "proc")
        unmount(tree / "dev")


def image_tree(name: str, suite: str, packages: tuple[str, ...], tell: Tell) -> Path:
    """The tree for nodes that say `tree: NAME`: the packages of TREES, none of which was ever started."""
    if name not in TREES:
        raise UsageError(f"there is no image tree {name!r}: {', '.join(TREES)}")
    base = base_tree(suite, tell)
    if name == "base":
        return base
    # what the common mirror does not hold, only those fetch who use the tree
    repository = mirror(suite, packages if set(TREES[name]) <= set(packages) else TREES[name], tell)
    with building(name, suite, base.name, repository.name, *TREES[name]) as (wanted, new):
        if new is not None:
            tell(f"building the image {name!r} (once)")
            run("cp", "-a", "--reflink=auto", str(base), str(new))
            _install(new, repository, TREES[name])
    return wanted


def _install(tree: Path, repository: Path, packages: tuple[str, ...]) -> None:
    before = {unit.name for unit in (tree / "etc/systemd/system/multi-user.target.wants").iterdir()}
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text(POLICY)
    policy.chmod(0o755)
    run("mount", "--bind", str(repository), str(tree / "srv/mirror"))
    try:
        in_tree(tree, "apt-get", "update", "-q")
        install = ("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages)
        try:
            in_tree(tree, *install)
        except LabError:  # Horizon's postinst failed now and then where it compresses its pages, and not when it ran again
            in_tree(tree, *install)
        in_tree(tree, "apt-get", "clean")
    finally:
        unmount(tree / "srv/mirror")
    policy.unlink()
    # Debian enables the services, and would start them alone at the first boot
    for unit in (tree / "etc/systemd/system/multi-user.target.wants").iterdir():
        if unit.name not in before:
            unit.unlink()


def drop_cache() -> None:
    """Remove every cached tree and mirror; refuses while a node runs on one of them."""
    cache = cache_folder()
    if not cache.exists():
        return
    if f"lowerdir={cache}/" in Path("/proc/self/mounts").read_text():
        raise LabError("nodes of a lab run on the cached trees: take that lab down first")
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # nobody may be building
        remove(cache)
