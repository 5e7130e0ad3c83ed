"""`openstack.instances`: images, flavors, keys and instances of the inventory, each instance seen to answer by ssh."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import Refused, TimedOut, UsageError
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.select import hosts, nearest
from nornir_stack.tasks.openstack.instance_parts import flavor, image, key, of_inventory
from nornir_stack.tasks.openstack.instance_settings import BOOT
from nornir_stack.tasks.openstack.one_cloud import CLOUD, project_id
from nornir_stack.tasks.openstack.projects import ROLES
from nornir_stack.tasks.openstack.starting import Started, Volume, amiss, host_keys, stranger, todo

if TYPE_CHECKING:
    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.instance_settings import Instance

_BOOT_SECONDS = 900.0
_ANSWER_SECONDS = 1200.0  # an emulated machine takes minutes until its sshd is there
_PAUSE = 1.0


@dataclass(frozen=True)
class Wanted:
    """Names of what the inventory has, and instance to the host that it has to be reached from."""

    images: tuple[str, ...]
    flavors: tuple[str, ...]
    keys: tuple[str, ...]
    servers: tuple[str, ...]
    reached: dict[str, str]


@dataclass(frozen=True)
class Running:
    """Where an instance is to be reached, and the host keys that stand on its console."""

    address: str = ""
    keys: tuple[str, ...] = ()


def instances() -> Chain:
    """The inventory's instances, with the images, flavors and keys that they are made of, until they answer by ssh.

    What is there keeps its id. An instance that is another (image, flavor, address) is refused, never rebuilt.
    """
    return Chain("openstack.instances", Plan("inventory", declared, _parts, CLOUD))


def declared(task: Task) -> Result[Wanted]:
    """Observe which instances the inventory has."""
    node = Node(task)
    own = of_inventory(task.nornir.inventory)
    reached = {name: one.reached_from for name, one in own.servers.items() if one.reached_from}
    for name, host in reached.items():
        if host not in task.nornir.inventory.hosts:
            raise UsageError(
                f"instances.servers.{name}.reached_from: no host {host!r}{nearest(host, task.nornir.inventory.hosts)}"
            )
    return node.done(Wanted(tuple(own.images), tuple(own.flavors), tuple(own.keys), tuple(own.servers), reached))


def _parts(seen: Seen[Wanted]) -> Chain:
    for host, why in seen.missing.items():
        raise Refused(f"{host}: {why}")
    if not len(seen):
        raise Refused("the inventory has no host of the role cloud (connection: openstack)")
    (wanted,) = seen.values.values()
    if not wanted.servers:
        raise Refused("the inventory has no instance: say instances: servers: ... of the host of the role cloud")
    parts = [
        *[do(image, image=name) for name in wanted.images],
        *[do(flavor, flavor=name) for name in wanted.flavors],
        *[do(key, key=name) for name in wanted.keys],
    ]
    made: list[Stage | Plan[Any]] = [Stage("parts", parts, CLOUD)] if parts else []
    made.append(Stage("instances", [do(instance, server=name) for name in wanted.servers], CLOUD))
    if wanted.reached:
        look = do(running, servers=tuple(wanted.reached))
        made.append(Plan("addresses", look, partial(_reach, reached=wanted.reached), CLOUD))
    return Chain("in order", *made)


def _reach(seen: Seen[dict[str, Running]], reached: dict[str, str]) -> Chain:
    """Each is waited for where it has to be reached from; then it has to be the one whose console shows its host keys."""
    for host, why in seen.missing.items():
        raise Refused(f"{host}: {why}")
    parts: list[Stage | Plan[Any]] = []
    for found in seen.values.values():
        for server, one in found.items():
            look, on = do(host_keys_at, address=one.address), hosts(reached[server])
            answers = Check(look, partial(silent, server=server, address=one.address), on, within=_ANSWER_SECONDS)
            parts.append(Stage(f"{server} answers", [], on, until=answers))
            parts.append(Plan(f"host keys of {server}", look, partial(_whose, server=server, address=one.address), on))
    return Chain("reached", *parts)


def _whose(seen: Seen[tuple[str, ...]], server: str, address: str) -> Chain:
    offered = next((keys for _, keys in seen.items()), ())
    judge = partial(strangers, server=server, address=address, offered=offered)
    return Chain("host keys", Stage("console", [], CLOUD, until=Check(do(running, servers=(server,)), judge, CLOUD)))


def silent(seen: Seen[tuple[str, ...]], server: str, address: str) -> list[str]:
    """The instance, where it does not answer by ssh. Pure."""
    problems = [f"{name} could not look: {why}" for name, why in seen.missing.items()]
    return problems + [f"{server} does not answer by ssh at {address}, from {name}" for name, keys in seen.items() if not keys]


def strangers(seen: Seen[dict[str, Running]], server: str, address: str, offered: tuple[str, ...]) -> list[str]:
    """The instance, where another answers at its address. Pure."""
    problems = [f"{name} was not seen: {why}" for name, why in seen.missing.items()]
    return problems + [why for _, one in seen.items() if (why := stranger(server, address, offered, one[server].keys))]


def running(task: Task, *, servers: tuple[str, ...]) -> Result[dict[str, Running]]:
    """Observe where these instances are to be reached, and which host keys their consoles show."""
    node = Node(task)
    known, cloud = of_inventory(task.nornir.inventory).servers, Cloud(node)
    found: dict[str, Running] = {}
    for server in servers:
        now, console = cloud.read(f"the console of {server}", lambda c, n=server: _console(c, n, known[n]))  # type: ignore[misc]
        if now.id:
            found[server] = Running(now.floating or now.address, host_keys(console))
    return node.done(found)


def host_keys_at(task: Task, *, address: str) -> Result[tuple[str, ...]]:
    """Observe the host keys that an sshd at an address offers to this host: none if nobody answers within ten seconds."""
    node = Node(task)
    lines = node.read(sh(_SCAN, address)).text.splitlines()
    return node.done(tuple(line.partition(" ")[2] for line in lines if not line.startswith("#")))


# ssh-keyscan ends with 0 whether anybody answers or not, and writes what it cannot do to stderr.
_SCAN = """
command -v ssh-keyscan >/dev/null || { echo 'ssh-keyscan is not there: install openssh-client' >&2; exit 1; }
ssh-keyscan -T 10 -- "$1" 2>/dev/null || :
"""


def instance(task: Task, *, server: str) -> Result[Started]:
    """Have one instance of the inventory run, with its floating address. What is there keeps its id.

    Raises UsageError for one that the inventory lacks, Refused with Nova's words where it cannot be made, and for what can
    only be had by deleting what is there.
    """
    node = Node(task)
    known = of_inventory(task.nornir.inventory).servers
    if server not in known:
        raise UsageError(f"instances.servers has no {server!r}{nearest(server, known)}")
    wanted, cloud = known[server], Cloud(node)
    now = _settled(node, cloud, server, wanted)
    for step in todo(server, now, wanted):
        if step == "boot":
            _boot(cloud, server, wanted)
        elif step == "start":
            number = now.id
            cloud.change(
                f"start the instance {server}",
                lambda c, n=number: _any(c).compute.start_server(n),  # type: ignore[misc]
                repeatable=True,
            )
        elif step.startswith(("volume ", "attach ")):
            _give_volume(cloud, server, wanted, *step.split(" ", 1))
        else:
            what = f"give the instance {server} a floating address of {wanted.external}"
            cloud.change(what, lambda c: _float(c, server, wanted))
        if not node.dry_run:
            now = _settled(node, cloud, server, wanted)
            if why := amiss(server, now, wanted):
                raise Refused(why)
    return node.done(lambda: cloud.read(f"the instance {server}", lambda c: _look(c, server, wanted)))


def _boot(cloud: Cloud, name: str, wanted: Instance) -> None:
    cloud.change(
        f"boot the instance {name}",
        lambda c: _make(c, name, wanted),
        diff=f"+{name} in {wanted.project}: {_of(name, wanted)}, flavor {wanted.flavor}, key {wanted.key or '(none)'}\n",
    )


def _of(name: str, wanted: Instance) -> str:
    return f"the volume {name}-{BOOT}" if wanted.disk else f"image {wanted.image}"


def _make(cloud: Connection, name: str, wanted: Instance) -> None:
    compute, network = _any(cloud).compute, _any(cloud).network
    owner, title = project_id(cloud, wanted.project), wanted.network or wanted.project
    found = {
        "flavor": compute.find_flavor(wanted.flavor),
        f"network of the project {wanted.project} named": next(iter(network.networks(project_id=owner, name=title)), None),
    }
    for what, one in found.items():
        if one is None:
            raise Refused(f"the cloud has no {what} {wanted.flavor if what == 'flavor' else title}")
    card: dict[str, str] = {"uuid": found[f"network of the project {wanted.project} named"].id}
    if wanted.address:
        card["fixed_ip"] = str(wanted.address)
    words: dict[str, Any] = {"key_name": wanted.key} if wanted.key else {}
    if wanted.disk:
        words["block_device_mapping"] = [_boots_from(_look(cloud, name, wanted).volumes[BOOT])]
    else:
        words["image_id"] = _image_of(cloud, wanted)
    _as_member(cloud, wanted).compute.create_server(
        name=name,
        flavor_id=found["flavor"].id,
        networks=[card],
        config_drive=wanted.config_drive,
        **words,
    )


def _boots_from(volume: Volume) -> dict[str, Any]:
    """Nova's word for it (API reference, "block_device_mapping_v2"). The volume outlives the instance: it is its data."""
    return {
        "boot_index": 0,
        "uuid": volume.id,
        "source_type": "volume",
        "destination_type": "volume",
        "delete_on_termination": False,
    }


def _image_of(cloud: Connection, wanted: Instance) -> str:
    found = _any(cloud).image.find_image(wanted.image)
    if found is None:
        raise Refused(f"the cloud has no image {wanted.image}")
    return str(found.id)


def _as_member(cloud: Connection, wanted: Instance) -> Any:
    """The cloud for the instance's project: Nova and Cinder make what is asked for in the project of whoever asks."""
    identity, owner = _any(cloud).identity, project_id(cloud, wanted.project)
    role = next((each for word in ROLES if (each := identity.find_role(word))), None)
    if role is None:
        raise Refused(f"Keystone has none of the roles {' and '.join(ROLES)}: members of a project need one")
    identity.assign_project_role_to_user(owner, _any(cloud).current_user_id, role)
    return _any(cloud).connect_as(project_id=owner)


def _float(cloud: Connection, name: str, wanted: Instance) -> None:
    network, now = _any(cloud).network, _look(cloud, name, wanted)
    outside = network.find_network(wanted.external)
    if outside is None:
        raise Refused(f"the cloud has no network {wanted.external}: run openstack.external_networks first")
    network.create_ip(floating_network_id=outside.id, port_id=now.port, project_id=project_id(cloud, wanted.project))


def _give_volume(cloud: Cloud, server: str, wanted: Instance, verb: str, name: str) -> None:
    title = f"{server}-{name}"
    if verb == "volume":
        diff = f"+{title} {wanted.sizes[name]} GiB{f' of the image {wanted.image}' if name == BOOT else ''}\n"
        cloud.change(f"make the volume {title}", lambda c: _make_volume(c, title, wanted, name), diff=diff)
    else:
        cloud.change(f"give the instance {server} the volume {title}", lambda c: _attach(c, server, wanted, name))


def _make_volume(cloud: Connection, title: str, wanted: Instance, name: str) -> None:
    words = {"image_id": _image_of(cloud, wanted)} if name == BOOT else {}
    _as_member(cloud, wanted).block_storage.create_volume(name=title, size=wanted.sizes[name], **words)


def _attach(cloud: Connection, server: str, wanted: Instance, name: str) -> None:
    now = _look(cloud, server, wanted)
    _any(cloud).compute.create_volume_attachment(now.id, volume_id=now.volumes[name].id)


def _settled(node: Node, cloud: Cloud, name: str, wanted: Instance) -> Started:
    """What there is, once Nova is done with it."""
    waited = 0.0
    while True:
        now = cloud.read(f"the instance {name}", lambda c: _look(c, name, wanted))
        if not now.under_way or node.dry_run:
            return now
        if waited > _BOOT_SECONDS:
            doing = now.task or now.status
            raise TimedOut(f"the instance {name} is {doing} for {_BOOT_SECONDS / 60:.0f} minutes: does nova-compute run?")
        node.gate.wait(_PAUSE, f"the instance {name}, which is {now.task or now.status}")
        waited += _PAUSE


def _look(cloud: Connection, name: str, wanted: Instance) -> Started:
    compute, network = _any(cloud).compute, _any(cloud).network
    owner = project_id(cloud, wanted.project)
    found = [one for one in compute.servers(all_projects=True, project_id=owner, name=f"^{name}$") if one.name == name]
    if len(found) > 1:
        raise Refused(f"the project {wanted.project} has {len(found)} instances {name}: delete all but one")
    if not found:
        return Started(volumes=_volumes(cloud, owner, name, wanted) if wanted.sizes else {})
    one = found[0]
    port = next(iter(network.ports(device_id=one.id)), None)
    floating = next(iter(network.ips(port_id=port.id)), None) if port else None
    image = _any(cloud).image.find_image(one.image["id"]) if one.image and one.image.get("id") else None
    return Started(
        one.id,
        one.status,
        one.task_state or "",
        (one.fault or {}).get("message", "") if hasattr(one, "fault") else "",
        image.name if image else "",
        one.flavor.get("original_name") or one.flavor.get("name") or "",
        port.id if port else "",
        port.fixed_ips[0]["ip_address"] if port and port.fixed_ips else "",
        floating.floating_ip_address if floating else "",
        network.get_network(floating.floating_network_id).name if floating else "",
        _volumes(cloud, owner, name, wanted) if wanted.sizes else {},
    )


def _volumes(cloud: Connection, owner: str, server: str, wanted: Instance) -> dict[str, Volume]:
    found: dict[str, Volume] = {}
    for one in _any(cloud).block_storage.volumes(details=True, all_projects=True, project_id=owner):
        name = one.name.removeprefix(f"{server}-")
        if name != one.name and name in wanted.sizes:
            holder = next((each["server_id"] for each in one.attachments or ()), "")
            image = (one.volume_image_metadata or {}).get("image_name", "")
            found[name] = Volume(one.id, int(one.size), one.status, holder or "", image)
    return found


def _console(cloud: Connection, name: str, wanted: Instance) -> tuple[Started, str]:
    now = _look(cloud, name, wanted)
    return now, str(_any(cloud).compute.get_server_console_output(now.id).get("output") or "") if now.id else ""


def _any(cloud: Connection) -> Any:
    return cloud
