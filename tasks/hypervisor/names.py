"""Names on a hypervisor: whose a machine is, and the hardware addresses that follow from names. Pure."""

from __future__ import annotations

import hashlib
import re

from nornir_stack.errors import Refused
from nornir_stack.tasks.hypervisor.xml import parsed

# of a disk: virtio-blk's serial has no more than 20 characters
DISK = r"[a-z][a-z0-9-]{0,19}"
# Nova's instance_name_template is instance-%08x; its domains carry Nova's namespace in their metadata too
_NOVA_NAME = re.compile(r"instance-[0-9a-f]{8}")
_NOVA_NAMESPACE = "http://openstack.org/xmlns/libvirt/nova/"


def is_nova(name: str, xml: str = "") -> bool:
    """Whether a machine is Nova's, by its name or by what Nova wrote into it."""
    if _NOVA_NAME.fullmatch(name):
        return True
    return any(_NOVA_NAMESPACE in each.tag for each in parsed(xml).iter()) if xml else False


def refuse_nova(name: str, xml: str = "") -> None:
    """The one rule: a machine of Nova is never touched. Raises Refused."""
    if is_nova(name, xml):
        raise Refused(f"{name} is a machine of Nova, which alone may act on it: use openstack server")


def mac_of(machine: str, network: str) -> str:
    """The hardware address of a machine's NIC on a network: the same each time, in the range that QEMU's NICs have."""
    digest = hashlib.sha256(f"{machine}/{network}".encode()).hexdigest()
    return f"52:54:00:{digest[:2]}:{digest[2:4]}:{digest[4:6]}"


def volume_of(machine: str, disk: str) -> str:
    """The volume that is a machine's disk: `storage-root.qcow2`; of a logical volume without an ending."""
    return f"{machine}-{disk}"
