"""Object storage on a node: the three servers, what keeps copies, and the proxy, from Debian's packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.config.apply import edit
from nornir_stack.tasks.openstack import programs, proxy_conf
from nornir_stack.tasks.openstack.applied import applied
from nornir_stack.tasks.openstack.plane import address_of, plane_of
from nornir_stack.tasks.openstack.settings import Swift
from nornir_stack.tasks.openstack.swift_proxy import CONF
from nornir_stack.tasks.openstack.swift_rings import SERVERS, layout, make_rings, rings
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.config.settings import Value

UPDATERS = ("container-updater", "object-updater")
# They bring copies to where they belong, and find those that have rotted.
REPLICATORS = tuple(f"{kind}-{duty}" for kind in SERVERS for duty in ("replicator", "auditor"))
HASHES = "/etc/swift/swift.conf"
RSYNCD, MODULES = "/etc/rsyncd.conf", "/etc/rsyncd.d/swift.conf"
_INCLUDE = "&include /etc/rsyncd.d"  # rsyncd.conf(5)
# What the package brings: with it everybody knows where in the ring an object is.
_UNSET = frozenset({"", "changeme"})
_LOOK = r"""
for d; do
    if mountpoint -q "/srv/node/$d"; then echo "mounted $d"; elif [ -d "/srv/node/$d" ]; then echo "folder $d"; fi
done
:
"""


def storage_ready(task: Task) -> Result[None]:
    """What rings are made with and point to: packages, the devices' folders, the words that only Swift knows."""
    node = Node(task)
    packages(task, present=programs.SWIFT)
    node.then(service, unit="memcached.service", state="started", enabled=True)
    devices = settings_of(task.host, Swift).devices
    mounted = _mounted(node, devices)
    for device in devices:
        if device not in mounted:
            node.make_folder(f"/srv/node/{device}", owner="swift:swift")
    _hashes(node)
    return node.done()


def object_storage(task: Task) -> Result[None]:
    """Swift's three servers and its proxy on this node. Rings are made once, and are nobody's business here after that.

    Raises Refused for a node without rings beside others: only who sees all of them may make those (`openstack.control_plane`).
    """
    node = Node(task)
    inventory = task.nornir.inventory
    plane, wanted, address = plane_of(inventory), layout(inventory), address_of(task.host)
    if node.name not in wanted.nodes:
        return node.skipped("it has no device for objects (swift: devices)")
    alone = wanted.nodes == (node.name,)
    if not alone and not node.dry_run and set(SERVERS) - set(have := rings(task).value.have):
        lacking = ", ".join(kind for kind in SERVERS if kind not in have)
        raise Refused(f"{node.name} has no ring of {lacking}, and others may: run openstack.control_plane, which looks at all")
    node.then(storage_ready)
    if alone:
        node.then(make_rings)
    devices = settings_of(task.host, Swift).devices
    common: dict[str, Value] = {"bind_ip": address, "mount_check": _mounted(node, devices) == set(devices)}
    if plane.workers is not None:
        common["workers"] = plane.workers
    for kind in SERVERS:
        edit(node, f"/etc/swift/{kind}-server.conf", {"DEFAULT": common})
    _proxy(node, address)
    for name in (*SERVERS, *UPDATERS):
        _runs(node, name)
    if len(wanted.devices) > 1:
        _copies(node, sorted({place for _, place, _ in wanted.devices}))
    node.then(applied, unit="swift-proxy.service", files=[CONF, HASHES])
    return node.done()


def _runs(node: Node, name: str) -> None:
    conf = f"/etc/swift/{name.partition('-')[0]}-server.conf"
    node.then(applied, unit=f"swift-{name}.service", files=[conf, HASHES])


def _mounted(node: Node, devices: Sequence[str]) -> set[str]:
    said = node.read(sh(_LOOK, *devices, label="look at Swift's devices"), independent=True).stdout.splitlines()
    return {device for device in devices if f"mounted {device}" in said}


def _copies(node: Node, addresses: Sequence[str]) -> None:
    """Copies are kept: rsync takes those of the storage nodes and nobody else's, and Swift looks where one is missing."""
    node.make_folder("/etc/rsyncd.d")
    node.write_file(MODULES, modules(addresses), independent=True)
    node.edit_lines(RSYNCD, _including, independent=True)
    node.then(applied, unit="rsync.service", files=[RSYNCD, MODULES])
    for name in REPLICATORS:
        _runs(node, name)


def modules(addresses: Sequence[str]) -> str:
    """rsync's modules by which storage nodes at `addresses` send each other copies (Swift's manual, rsyncd.conf(5)). Pure."""
    shared = [
        "path = /srv/node",
        "uid = swift",
        "gid = swift",
        "read only = false",
        "reverse lookup = no",
        f"hosts allow = {' '.join(addresses)}",
    ]
    blocks = [[f"[{kind}]", *shared, "max connections = 8", f"lock file = /run/lock/rsync-{kind}.lock"] for kind in SERVERS]
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks)


def _including(lines: list[str]) -> list[str]:
    return lines if _INCLUDE in lines else [*lines, _INCLUDE]


def _hashes(node: Node) -> None:
    """Two words that nobody outside knows, made once: with others every object would be looked for elsewhere."""
    plane = plane_of(node.task.nornir.inventory)
    have = proxy_conf.section(node.read_file(HASHES, independent=True) or "", "swift-hash")
    words = {
        key: plane.password(f"swift {key}")
        for key in ("swift_hash_path_suffix", "swift_hash_path_prefix")
        if have.get(key, "") in _UNSET
    }
    if words:
        edit(node, HASHES, {"swift-hash": words})


def _proxy(node: Node, address: str) -> None:
    plane = plane_of(node.task.nornir.inventory)
    text = node.read_file(CONF, independent=True)
    if text is None:
        raise Refused(f"{node.name} has no {CONF}: install Swift's proxy first")
    by = proxy_conf.Login(plane.keystone, "swift", "service", plane.password("keystone swift").reveal())
    new = proxy_conf.with_keystone(text, by, plane.keystone)
    new = proxy_conf.with_defaults(new, address, plane.workers)
    node.write_file(CONF, new, independent=True)
