"""An instance: what the cloud has of it, and what is to be done that it is as wanted; who it is by its console. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused
from nornir_stack.tasks.openstack.instance_settings import BOOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nornir_stack.tasks.openstack.instance_settings import Instance

_BEGIN, _END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
_MOVING = {"creating", "downloading", "attaching", "detaching", "reserved"}
_KEY = re.compile(r"(?:ssh|ecdsa)-\S+ [A-Za-z0-9+/=]+")


@dataclass(frozen=True)
class Volume:
    """A volume of an instance: its size in GiB, Cinder's status, the instance that has it, the image that it was made of.

    '' for no instance, and for no image.
    """

    id: str
    size: int
    status: str
    server: str = ""
    image: str = ""


@dataclass(frozen=True)
class Started:
    """What the cloud has of an instance: '' for what is not there.

    `status` is Nova's (ACTIVE, BUILD, ERROR, SHUTOFF...), `task` what it is doing; `fault` Nova's own words for an ERROR.
    `image` and `flavor` are names; `port` is Neutron's of its first card, `address` there, `floating` its floating one.
    """

    id: str = ""
    status: str = ""
    task: str = ""
    fault: str = ""
    image: str = ""
    flavor: str = ""
    port: str = ""
    address: str = ""
    floating: str = ""
    leads_to: str = ""
    volumes: Mapping[str, Volume] = field(default_factory=dict)

    @property
    def under_way(self) -> bool:
        """Nova or Cinder is at it."""
        moving = any(one.status in _MOVING for one in self.volumes.values())
        return self.status == "BUILD" or bool(self.task) or moving


def todo(name: str, now: Started, wanted: Instance) -> tuple[str, ...]:
    """`boot`, `start`, `float`, `volume NAME` and `attach NAME`, in order; `volume disk` is what it boots from.

    Raises Refused for what can only be had by deleting what is there.
    """
    if why := amiss(name, now, wanted):
        raise Refused(why)
    return tuple(_todo(now, wanted))


def amiss(name: str, now: Started, wanted: Instance) -> str:
    """Why what is there, or was just made, cannot become what is wanted; or nothing."""
    return broken(name, now) or _another(name, now, wanted)


def broken(name: str, now: Started) -> str:
    """That Nova could not make it, or keeps it in a state which nobody but the operator ends; or nothing."""
    if now.status == "ERROR":
        return f"the instance {name} is in ERROR: {now.fault or 'Nova does not say why'}: openstack server delete {now.id}"
    if now.status not in {"", "ACTIVE", "BUILD", "SHUTOFF", "REBOOT", "HARD_REBOOT"}:
        return f"the instance {name} is {now.status}: bring it back first, or take it out of the inventory"
    return ""


def _another(name: str, now: Started, wanted: Instance) -> str:
    have = f"the instance {name} is there, and"
    if now.id and now.image and now.image != wanted.image:
        return f"{have} it was made of the image {now.image}, not {wanted.image}: delete it first, or correct the inventory"
    if now.id and now.flavor != wanted.flavor:
        return f"{have} its flavor is {now.flavor}, not {wanted.flavor}: resize it first, or correct the inventory"
    if now.address and wanted.address and now.address != str(wanted.address):
        return f"{have} its address is {now.address}, not {wanted.address}: delete it first, or correct the inventory"
    if now.floating and wanted.external and now.leads_to != wanted.external:
        return f"{have} its floating address {now.floating} is of {now.leads_to}, not of {wanted.external}: take that off first"
    if now.id and wanted.disk and not (BOOT in now.volumes and now.volumes[BOOT].server):
        return f"{have} it does not boot from a volume {name}-{BOOT}: delete it first, or take `disk` out of the inventory"
    return next((why for each, one in now.volumes.items() if (why := _another_volume(name, each, one, now, wanted))), "")


def _another_volume(name: str, volume: str, one: Volume, now: Started, wanted: Instance) -> str:
    have = f"the volume {name}-{volume} is there, and"
    if one.size != wanted.sizes[volume]:
        return f"{have} has {one.size} GiB, not {wanted.sizes[volume]}: extend it first, or correct the inventory"
    if volume == BOOT and one.image != wanted.image:
        made = f"was made of the image {one.image}" if one.image else "was made of no image"
        return f"{have} {made}, not of {wanted.image}: delete it first, or correct the inventory"
    if one.server and one.server != now.id:
        return f"{have} another instance has it ({one.server}): take it off there first"
    if one.status.startswith("error"):
        return f"{have} it is in {one.status}: openstack.volumes says why; then openstack volume delete {one.id}"
    return ""


def _todo(now: Started, wanted: Instance) -> Iterator[str]:
    if wanted.disk and BOOT not in now.volumes:
        yield f"volume {BOOT}"
    if not now.id:
        yield "boot"
    elif now.status == "SHUTOFF" and not now.task:
        yield "start"
    if wanted.external and not now.floating:
        yield "float"
    for name in wanted.volumes:
        if name not in now.volumes:
            yield f"volume {name}"
        if name not in now.volumes or not now.volumes[name].server:
            yield f"attach {name}"


def host_keys(console: str) -> tuple[str, ...]:
    """The public host keys that cloud-init wrote on a console (its manual, "ssh_authkey_fingerprints", "keys to console")."""
    _, begun, rest = console.rpartition(_BEGIN)
    block, ended, _ = rest.partition(_END)
    return tuple(_KEY.findall(block)) if begun and ended else ()


def stranger(server: str, address: str, offered: tuple[str, ...], shown: tuple[str, ...]) -> str:
    """That who answers at an address is not the instance whose console shows these keys; or nothing, where it shows none."""
    if not shown or set(offered) & set(shown):
        return ""
    return f"who answers by ssh at {address} has none of the host keys that stand on the console of {server}: it is another"
