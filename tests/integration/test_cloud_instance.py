"""An instance that is a whole machine: Debian of packages, started by Nova under emulation, reached from outside by ssh."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack import guest_image
from nornir_stack.tasks.openstack.control_plane import control_plane
from nornir_stack.tasks.openstack.external_chain import external_networks, projects
from nornir_stack.tasks.openstack.instances import instances
from tests.integration.cloud_lab import asked, cloud, enter, well
from tests.integration.cloud_site import PUBLIC, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nornir.core import Nornir

    from nornir_stack.lab import Lab

pytestmark = [
    pytest.mark.cloud,
    pytest.mark.campaign,
    pytest.mark.skipif("not config.getoption('--campaign', default=False)", reason="minutes: only with --campaign"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]
ROLES = {"controller": ["c1"], "network": ["c1"], "compute": ["c1"]}
# Where a container may do less than a machine: neither control groups nor namespaces of QEMU's own.
LIBVIRT = "printf '%s\n' 'security_driver = \"none\"' 'cgroup_controllers = [ ]' 'namespaces = [ ]' >>/etc/libvirt/qemu.conf"
OUTSIDE = """
ip address replace 203.0.113.1/24 dev ex1 && ip link set ex1 up && ethtool -K ex1 tx off >/dev/null
[ -e /root/.ssh/id_ed25519 ] || ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cat /root/.ssh/id_ed25519.pub
"""
SSH = 'ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=60 "debian@$1" cat /etc/hostname'
WHY = "grep -E ' ERROR |libvirt' /var/log/nova/nova-compute.log | tail -n 60; tail -n 30 /var/log/libvirt/qemu/*.log || :"
# Nobody here needs a locale, a package index or a word of the vendor's; a card writes its checksums itself, since Open
# vSwitch in userspace does not; of several sources of cloud-init only the config drive is there.
CLOUD_INIT = """datasource_list: [ConfigDrive]
locale: false
package_update: false
"""
NO_OFFLOAD = """[Match]
OriginalName=eth*
[Link]
TransmitChecksumOffload=no
TCPSegmentationOffload=no
GenericSegmentationOffload=no
"""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Image, kernel and initrd of a Debian with cloud-init."""
    folder = tmp_path_factory.mktemp("image")
    tree, image = folder / "tree", folder / "debian.raw"
    words = (*guest_image.KERNEL, *guest_image.SYSTEM, "cloud-init")
    subprocess.run(guest_image.bootstrap(str(tree), "bookworm", words), check=True, stdin=subprocess.DEVNULL, timeout=900)
    (tree / "etc/cloud/cloud.cfg.d/99-trial.cfg").write_text(CLOUD_INIT)
    (tree / "etc/systemd/network/10-plain.link").write_text(NO_OFFLOAD)
    for key in tree.glob("etc/ssh/ssh_host_*"):
        key.unlink()
    (tree / "etc/machine-id").write_text("")
    wants = tree / "etc/systemd/system/multi-user.target.wants"
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    found = {"kernel": str(folder / "vmlinuz"), "initrd": str(folder / "initrd"), "file": str(image)}
    shutil.copy(tree / "vmlinuz", found["kernel"])
    shutil.copy(tree / "initrd.img", found["initrd"])
    subprocess.run(guest_image.ext4(str(tree), str(image), 1400), check=True, timeout=300)
    shutil.rmtree(tree)
    return found


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    cards = {"ex1": "outside"}
    lab = boot("c1", "out1", tree={"c1": "cloud", "out1": "network"}, nics={"c1": cards, "out1": cards})
    enter(lab, "c1", LIBVIRT)
    return lab


@pytest.fixture(scope="module")
def nr(lab: Lab, disk: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Nornir:
    words = f"root=/dev/vda rw {guest_image.KERNEL_WORDS} {guest_image.EMULATED_WORDS}"
    wanted = {
        "images": {"debian": {**disk, "format": "raw", "kernel_words": words}},
        "flavors": {"small": {"vcpus": 2, "ram": 768, "disk": 2}},
        "keys": {"ops": enter(lab, "out1", OUTSIDE).strip()},
        "servers": {
            "web": {
                "project": "test",
                "image": "debian",
                "flavor": "small",
                "key": "ops",
                "external": "public",
                "reached_from": "out1",
            }
        },
    }
    data: dict[str, Any] = {
        "openstack": {**SETTINGS, "compute_driver": "qemu"},
        "cloud": {
            "external": {"public": PUBLIC},
            "projects": {"test": {"cidr": "10.1.0.0/24", "external": "public", "open": [3306]}},
        },
        "instances": wanted,
    }
    return cloud(lab, tmp_path_factory.mktemp("site"), {**ROLES, "outside": ["out1"]}, {"defaults": data})


def test_open_for_business(lab: Lab, nr: Nornir) -> None:
    """From three lines of inventory to a login by the injected key from outside, and not by another's host key; twice."""
    well(control_plane().run(nr))
    well(external_networks().run(nr))
    well(projects().run(nr))
    plan = instances().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    report = instances().run(nr)
    assert report.ok, report.to_json()[:3000] + enter(lab, "c1", WHY)
    assert [each for each in report.changed if "boot the instance web" in each]
    at = asked(nr, lambda c: next(iter(c.network.ips())).floating_ip_address)
    assert enter(lab, "out1", SSH, at).strip() == "web"
    number = asked(nr, lambda c: c.compute.find_server("web", all_projects=True).id)
    assert well(instances().run(nr)).changed == ()
    assert asked(nr, lambda c: c.compute.find_server("web", all_projects=True).id) == number
