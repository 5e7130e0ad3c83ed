"""What instances are made of: images in Glance, flavors and keys in Nova, from the inventory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.select import nearest
from nornir_stack.tasks.openstack.instance_settings import Instances
from nornir_stack.tasks.openstack.one_cloud import of_the_cloud

if TYPE_CHECKING:
    from nornir.core.inventory import Inventory
    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result

_CHUNK = 1 << 20
# What openstacksdk writes on an image that it uploads.
_SHA256 = "owner_specified.openstack.sha256"


def image(task: Task, *, image: str) -> Result[str]:
    """Have an image of the inventory in Glance, from its file; the value is its id.

    Raises UsageError for one that the inventory lacks or whose file is not there, Refused where the file is not what the
    inventory says, or Glance has another by this name.
    """
    node = Node(task)
    known = of_inventory(task.nornir.inventory).images
    if image not in known:
        raise UsageError(f"instances.images has no {image!r}{nearest(image, known)}")
    wanted, cloud = known[image], Cloud(node)
    files = {f"{image}-kernel": wanted.kernel, f"{image}-initrd": wanted.initrd, image: wanted.file}
    numbers: dict[str, str] = {}
    for name, path in ((name, path) for name, path in files.items() if path):
        number, has = cloud.read(f"the image {name}", lambda c, n=name: _image(c, n), independent=True)  # type: ignore[misc]
        sent = digest(path)
        if name == image and wanted.sha256 not in {None, sent}:
            raise Refused(f"{path} is not what the inventory says: its sha256 is {sent}")
        if number and has != sent:
            raise Refused(f"Glance has another image {name} than {path}: images are not changed, give this one another name")
        words: dict[str, Any] = {"disk_format": "raw", "container_format": "bare"}
        if name == image:
            words = {**words, "disk_format": wanted.format, **wanted.properties}
            words |= _booting(wanted.kernel_words, numbers, image)
        numbers[name] = number or _upload(cloud, name, path, sent, words)
    return node.done(lambda: cloud.read(f"the image {image}", lambda c: _image(c, image)[0]))


def _upload(cloud: Cloud, name: str, path: str, sent: str, words: dict[str, Any]) -> str:
    def send(c: Connection) -> Any:
        with Path(path).open("rb") as file:
            return _any(c).image.create_image(name=name, data=file, wait=True, sha256=sent, visibility="public", **words)

    made = cloud.change(
        f"upload the image {name} from {path}",
        send,
        diff=f"+{name} {words['disk_format']} sha256 {sent}\n",
    )
    return made.id if made else ""


def _booting(words: str | None, numbers: dict[str, str], image: str) -> dict[str, str]:
    """Glance's properties of an image that is started by a kernel beside it (Nova, "Image metadata")."""
    kernel, initrd = numbers.get(f"{image}-kernel"), numbers.get(f"{image}-initrd")
    given = {"kernel_id": kernel, "ramdisk_id": initrd, "os_command_line": words}
    return {name: value for name, value in given.items() if value}


def digest(path: str) -> str:
    """The sha256 of a file of this machine, in hexadecimal digits. Raises UsageError."""
    total = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
    except OSError as error:
        raise UsageError(f"the image's file {path}: {error.strerror}") from None
    return total.hexdigest()


def flavor(task: Task, *, flavor: str) -> Result[None]:
    """Have a flavor of the inventory in Nova. Raises UsageError, and Refused where Nova has another by this name."""
    node = Node(task)
    known = of_inventory(task.nornir.inventory).flavors
    if flavor not in known:
        raise UsageError(f"instances.flavors has no {flavor!r}{nearest(flavor, known)}")
    one, cloud = known[flavor], Cloud(node)
    wanted = {"vcpus": one.vcpus, "ram": one.ram, "disk": one.disk}
    found = cloud.read(f"the flavor {flavor}", lambda c: _any(c).compute.find_flavor(flavor, get_extra_specs=False))
    has = {word: getattr(found, word) for word in wanted} if found else wanted
    if has != wanted:
        raise Refused(f"Nova has another flavor {flavor} ({_size(has)}): flavors are not changed, give this one another name")
    if not found:
        cloud.change(
            f"make the flavor {flavor}",
            lambda c: _any(c).compute.create_flavor(name=flavor, **wanted),
            diff=f"+{flavor} {_size(wanted)}\n",
        )
    return node.done()


def _size(words: dict[str, int]) -> str:
    return f"{words['vcpus']} processors, {words['ram']} MiB, {words['disk']} GiB"


def key(task: Task, *, key: str) -> Result[None]:
    """Have a public key of the inventory in Nova, of this login. Raises UsageError, Refused where Nova has another."""
    node = Node(task)
    known = of_inventory(task.nornir.inventory).keys
    if key not in known:
        raise UsageError(f"instances.keys has no {key!r}{nearest(key, known)}")
    wanted, cloud = known[key], Cloud(node)
    found = cloud.read(f"the key {key}", lambda c: _any(c).compute.find_keypair(key))
    if found and found.public_key.split()[:2] != wanted.split()[:2]:
        raise Refused(f"Nova has another key {key}: give this one another name, or delete that one")
    if not found:
        cloud.change(
            f"note the key {key}",
            lambda c: _any(c).compute.create_keypair(name=key, public_key=wanted),
            diff=f"+{key} {wanted}\n",
        )
    return node.done()


def _image(cloud: Connection, name: str) -> tuple[str, str]:
    """An image's id and the sha256 of its content, by Glance's own hash where it is one, else as openstacksdk noted it."""
    found = _any(cloud).image.find_image(name)
    if found is None:
        return "", ""
    return found.id, str((found.properties or {}).get(_SHA256) or "")


def of_inventory(inventory: Inventory) -> Instances:
    """What the inventory has for its one cloud. Raises UsageError, InventoryError."""
    return of_the_cloud(inventory, Instances)


def _any(cloud: Connection) -> Any:
    return cloud
