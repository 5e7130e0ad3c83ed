"""The control plane as the inventory describes it: places, passwords, files, and migrations."""

from __future__ import annotations

from typing import Any

import pytest
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups

from nornir_stack.chain import Stage
from nornir_stack.errors import UsageError
from nornir_stack.secret import Secret
from nornir_stack.seen import Seen
from nornir_stack.settings import settings_of
from nornir_stack.tasks.openstack import files
from nornir_stack.tasks.openstack.agents import Agent, all_alive, wanted_agents
from nornir_stack.tasks.openstack.block_storage import Services, volumes_alive
from nornir_stack.tasks.openstack.control_plane import Described, _parts, answer, shown
from nornir_stack.tasks.openstack.initiator import name_in, shared
from nornir_stack.tasks.openstack.plane import plane_of
from nornir_stack.tasks.openstack.programs import ON_CONTROLLER
from nornir_stack.tasks.openstack.registered import entries
from nornir_stack.tasks.openstack.runs import lacking_types
from nornir_stack.tasks.openstack.schemas import heads
from nornir_stack.tasks.openstack.settings import OpenStack
from nornir_stack.tasks.openstack.sight import Heard, View
from nornir_stack.tasks.openstack.swift_rings import layout

OWN = {"secret": Secret(literal="master-word"), "admin_password": Secret(literal="admin-word"), "compute_driver": "qemu"}
BALANCER = {
    "virtual_address": "10.0.0.100",
    "listeners": {"writes": {"port": 3307, "mode": "single-writer"}, "reads": {"port": 3306}},
}


def inventory(more: dict[str, list[str]] | None = None, **openstack: Any) -> Inventory:
    """A controller, and a node for everything else."""
    roles = {"controller": ["c1"], "network": ["n1"], "compute": ["n1", "n2"], "storage": ["n1"], **(more or {})}
    defaults = Defaults(data={"openstack": {**OWN, **openstack}, "loadbalancer": BALANCER})
    groups = Groups({name: Group(name) for name in roles})
    hosts = Hosts()
    names = list(dict.fromkeys(name for names in roles.values() for name in names))
    for number, name in enumerate(names):
        mine = ParentGroups([groups[role] for role, those in roles.items() if name in those])
        hosts[name] = Host(name, hostname=f"10.0.0.{11 + number}", groups=mine, defaults=defaults)
    return Inventory(hosts, groups, defaults)


def test_without_a_cluster_the_databases_are_the_controllers() -> None:
    """At its own address."""
    assert plane_of(inventory()).database == ("10.0.0.11", 3306)


def test_with_a_cluster_they_are_behind_the_load_balancer() -> None:
    """At the listener that one member takes all writes of; others are refused, an unknown one with the nearest."""
    more = {"db": ["db1", "db2", "db3"], "loadbalancer": ["lb1"]}
    assert plane_of(inventory(more)).database == ("10.0.0.100", 3307)
    assert plane_of(inventory(more)).members == ("db1", "db2", "db3")
    with pytest.raises(UsageError, match="no listener 'write': did you mean 'writes'"):
        plane_of(inventory(more, listener="write"))
    with pytest.raises(UsageError, match="'reads' of lb1 is balanced"):
        plane_of(inventory(more, listener="reads"))
    with pytest.raises(UsageError, match="a Galera cluster and no load balancer"):
        plane_of(inventory({"db": ["db1"]}))


@pytest.mark.parametrize("names", [[], ["c1", "c2"]])
def test_one_controller(names: list[str]) -> None:
    """Neither none nor several."""
    with pytest.raises(UsageError, match="one host of the role controller"):
        plane_of(inventory({"controller": names}))


def test_hosts_put_up_otherwise_need_no_settings() -> None:
    """A role alone asks for nothing; the chain says what it misses."""
    bare = inventory(secret=None)
    assert settings_of(bare.hosts["n1"], OpenStack).secret is None
    with pytest.raises(UsageError, match=r"c1: openstack\.secret and openstack\.admin_password are missing"):
        plane_of(bare)
    named = inventory()
    named.hosts["c1"].hostname = "c1.example.net"
    with pytest.raises(UsageError, match=r"'c1\.example\.net' is no address"):
        plane_of(named)


def test_every_password_is_its_own_and_stays() -> None:
    """Of one secret: another word for each purpose, the same at each call; another secret gives others."""
    plane, other = plane_of(inventory()), plane_of(inventory(secret=Secret(literal="plane-other")))
    words = [plane.password(f"{kind} {one.name}").reveal() for kind in ("keystone", "database") for one in ON_CONTROLLER]
    assert len(set(words)) == len(words)
    assert plane.password("messages") == plane_of(inventory()).password("messages")
    assert plane.password("messages") != other.password("messages")


def test_novas_databases_have_one_user_and_a_port() -> None:
    """Nova's templates of cells write None for a port that is not said."""
    plane = plane_of(inventory())
    word = plane.password("database nova").reveal()
    assert plane.database_url("nova_api").reveal() == f"mysql+pymysql://nova:{word}@10.0.0.11:3306/nova_api"


def flat(made: files.Files) -> dict[str, str]:
    """File, section and key to what stands there."""
    return {
        f"{path.rpartition('/')[2]} {section} {key}": value.reveal() if isinstance(value, Secret) else str(value)
        for path, sections in made.items()
        for section, keys in sections.items()
        for key, value in keys.items()
    }


def test_every_password_in_a_file_is_a_secret() -> None:
    """Whatever is masked nowhere else: a plain word in the values would stand in every diff."""
    plane = plane_of(inventory())
    words = {
        "password",
        "connection",
        "transport_url",
        "ca_private_key_passphrase",
        "server_certs_key_passphrase",
        "heartbeat_key",
    }
    for make in (*files.MADE.values(), files.ceilometer):
        for path, sections in make(plane).items():
            for section, keys in sections.items():
                for key, value in keys.items():
                    secret = key in words or (path, section, key) == ("/etc/gnocchi/gnocchi.conf", "indexer", "url")
                    assert isinstance(value, Secret) == secret, key


def test_neutron_tells_nova_of_its_ports() -> None:
    """Else an instance waits five minutes for its port."""
    made = flat(files.neutron(plane_of(inventory())))
    assert made["neutron.conf DEFAULT notify_nova_on_port_status_changes"] == "True"
    assert made["neutron.conf nova username"] == "nova"


def test_a_compute_nodes_console_is_its_own() -> None:
    """The notebook has two addresses for it: QEMU listens, and the proxy asks, at the node's own."""
    made = flat(files.nova_compute(plane_of(inventory()), "10.0.0.12"))
    assert made["nova.conf spice server_listen"] == made["nova.conf spice server_proxyclient_address"] == "10.0.0.12"
    assert made["nova.conf spice html5proxy_base_url"] == "http://10.0.0.11:6082/spice_auto.html"
    assert made["nova.conf vnc enabled"] == "False"
    assert made["nova-compute.conf libvirt virt_type"] == "qemu"


def test_the_controllers_own_neutron_conf_is_not_half_undone() -> None:
    """On one host for everything the agents' part leaves it alone."""
    made = files.agents(plane_of(inventory()), "10.0.0.11", kernel=False, network=True, controller=True)
    assert "/etc/neutron/neutron.conf" not in made
    assert flat(made)["openvswitch_agent.ini ovs datapath_type"] == "netdev"


def test_keystone_is_told_of_every_service_but_itself() -> None:
    """Swift where its storage is, if there is any."""
    assert [(one.name, one.url) for one in entries(inventory())] == [
        ("glance", "http://10.0.0.11:9292"),
        ("placement", "http://10.0.0.11:8778"),
        ("nova", "http://10.0.0.11:8774/v2.1"),
        ("neutron", "http://10.0.0.11:9696"),
        ("swift", "http://10.0.0.12:8080/v1/AUTH_%(project_id)s"),
    ]
    assert "swift" not in [one.name for one in entries(inventory({"storage": []}))]
    volumes = inventory()
    volumes.hosts["n1"].data["swift"] = {"devices": []}  # a storage node that keeps no objects
    assert "swift" not in [one.name for one in entries(volumes)]


def test_telemetry_and_balancers_are_there_where_they_are_wanted() -> None:
    """Ceilometer has a login and no place where anybody would ask it; who counts is told what happens."""
    more = inventory(telemetry=True, balancer_driver="fake")
    plane = plane_of(more)
    assert [one.name for one in plane.programs][-2:] == ["gnocchi", "octavia"]
    assert [(one.name, one.type) for one in entries(more)][-4:] == [
        ("gnocchi", "metric"),
        ("octavia", "load-balancer"),
        ("swift", "object-store"),
        ("ceilometer", ""),
    ]
    tells = "glance-api.conf oslo_messaging_notifications driver"
    assert (flat(files.glance(plane))[tells], tells in flat(files.glance(plane_of(inventory())))) == ("messagingv2", False)
    services = tuple((one.name, one.type) for one in plane.programs)
    parts = _parts(Seen({"c1": Described((), (), services, layout(more), telemetry=True)}), horizon=False, within=1.0).parts
    names = [part.name for part in parts]
    assert names.index("services") < names.index("telemetry") < names.index("openstack.endpoints")


def test_types_of_resources_that_gnocchi_lacks() -> None:
    """By their names, and by properties that came to them later."""
    wanted = ["image", "instance", "", "instance flavor_name", "volume volume_type", "port"]
    made = [("image", "{}"), ("instance", '{"flavor_name": {"type": "string"}}'), ("volume", '{"size": {}}')]
    assert lacking_types(wanted, made) == ("volume", "port")
    assert lacking_types(wanted[:4], made) == ()


def test_without_nodes_for_instances_it_is_keystone_and_swift() -> None:
    """No agents are waited for, and nothing of Nova's is made; with a compute node, or one for networks, all of it is."""
    objects = inventory({"network": [], "compute": []})
    assert [one.name for one in plane_of(objects).programs] == ["keystone"]
    assert [one.name for one in entries(objects)] == ["swift"]
    assert wanted_agents(objects) == ()
    parts = _parts(
        Seen({"c1": Described((), (), (("keystone", "identity"),), layout(objects))}), horizon=False, within=1.0
    ).parts
    assert [part.name for part in parts] == [
        "databases",
        "keystone",
        "registered",
        "storage",
        "rings",
        "object storage",
        "openstack.endpoints",
    ]
    for other in ("compute", "network"):
        assert plane_of(inventory({other: []})).programs == ON_CONTROLLER


def test_hosts_with_a_volume_group_bring_cinder() -> None:
    """Its database, its user, its entry, and Nova's word for it; without one there is none of it."""
    wanted = inventory()
    wanted.hosts["n1"].data["cinder"] = {"volume_group": "cinder-volumes"}
    plane = plane_of(wanted)
    assert plane.volumes == ("n1",)
    assert [one.name for one in plane.programs][-1] == "cinder"
    assert ("cinder", "http://10.0.0.11:8776/v3/%(project_id)s") in [(one.name, one.url) for one in entries(wanted)]
    assert flat(files.nova(plane))["nova.conf cinder os_region_name"] == "RegionOne"
    made = flat(files.cinder_volume(plane, "10.0.0.12", "cinder-volumes", "lvm"))
    assert made["cinder.conf lvm target_ip_address"] == made["cinder.conf DEFAULT my_ip"] == "10.0.0.12"
    assert made["cinder.conf lvm target_helper"] == "tgtadm"
    assert made["cinder.conf lvm max_over_subscription_ratio"] == "1.0"
    for sections in (*files.cinder(plane).values(), *files.cinder_volume(plane, "10.0.0.12", "g", "lvm").values()):
        for keys in sections.values():
            for key, value in keys.items():
                assert isinstance(value, Secret) == (key in {"password", "connection", "transport_url"}), key


@pytest.mark.parametrize(("driver", "wanted"), [("qemu", True), ("kvm", True), ("fake", False)])
def test_compute_nodes_reach_volumes_by_iscsi(driver: str, wanted: bool) -> None:
    """Where there are volumes and an instance is more than an entry; then they may not share an initiator's name."""
    assert not plane_of(inventory(compute_driver=driver)).initiators
    given = inventory(compute_driver=driver)
    given.hosts["n1"].data["cinder"] = {"volume_group": "cinder-volumes"}
    plane = plane_of(given)
    assert plane.initiators == wanted
    seen = Seen({"c1": Described((), wanted_agents(given), (), layout(given), plane.volumes, plane.initiators)})
    stages = {part.name: part for part in _parts(seen, horizon=False, within=7.0).parts}
    compute, volumes = stages["compute"], stages["volume services"]
    assert isinstance(compute, Stage)
    assert isinstance(volumes, Stage)
    assert (compute.until is not None) == wanted
    assert volumes.until is not None
    assert volumes.until.within == 7.0


def test_an_initiators_name_is_one_nodes() -> None:
    """Read past comments and what only asks for one; two nodes with one are told, those without are not."""
    assert name_in("## DO NOT EDIT\nInitiatorName=iqn.1993-08.org.debian:01:ab\n") == "iqn.1993-08.org.debian:01:ab"
    assert name_in("GenerateName=yes\n#InitiatorName=iqn.x\n") == name_in("") == ""
    assert shared(Seen({"n1": "iqn.a", "n2": "iqn.b", "n3": "", "n4": ""})) == []
    (said,) = shared(Seen({"n1": "iqn.a", "n2": "iqn.b", "n3": "iqn.a"}))
    assert said.startswith("n1 and n3 have the iSCSI initiator's name iqn.a")


def test_cinder_hears_every_node() -> None:
    """One that never reported, one that is down, one whose driver is not set up yet, and a scheduler."""
    heard: Services = (
        ("c1", "cinder-scheduler", "up"),
        ("s1@lvm", "cinder-volume", "up"),
        ("s2@lvm", "cinder-volume", "down"),
        ("s4@lvm", "cinder-volume", "starting"),
    )
    assert volumes_alive(Seen({"cloud1": heard}), nodes=("s1",)) == []
    said = volumes_alive(Seen({"cloud1": heard[1:]}), nodes=("s1", "s2", "s3", "s4"))
    assert [line.partition(":")[0] for line in said] == [
        "Cinder hears no cinder-scheduler",
        "cinder-volume on s2 is down in Cinder's eyes",
        "cinder-volume on s3 never reported to Cinder",
        "cinder-volume on s4 gives no room away yet",
    ]


HEADS = """\
== keystone/versions
revision = '27e647c0fad4'
down_revision = None
revision = '29e87d24a316'
down_revision = '27e647c0fad4'
revision = 'e25ffa003242'
down_revision = '27e647c0fad4'
== other/versions
revision: str = "b"
down_revision: Union[str, None] = ("a", "c")
revision = 'a'
revision = 'c'
== glance/versions
revision = "expand"
down_revision = "liberty"
revision = "contract"
down_revision = "liberty"
depends_on = ("expand",)
revision = "liberty"
down_revision = None
== none/versions
"""


def test_where_the_migrations_end() -> None:
    """What no other follows: one end, two branches, two that were merged, no folder."""
    assert heads(HEADS) == {
        "keystone/versions": {"29e87d24a316", "e25ffa003242"},
        "other/versions": {"b"},
        "glance/versions": {"contract"},
        "none/versions": frozenset(),
    }


def test_every_agent_is_missed_by_name() -> None:
    """One that never came, one that is down."""
    wanted = wanted_agents(inventory())
    assert ("n2", "neutron-openvswitch-agent") in wanted
    assert ("n2", "neutron-l3-agent") not in wanted
    agents = tuple(Agent(host, binary, (host, binary) != ("n1", "nova-compute"), {}) for host, binary in wanted[1:])
    assert all_alive(Seen({"cloud1": agents}), wanted=wanted) == [
        "neutron-openvswitch-agent on n1 never reported to the cloud",
        "nova-compute on n1 is down in the cloud's eyes",
    ]


def test_what_does_not_answer_is_told() -> None:
    """By kind of service; and the page by its status."""
    seen = Seen({"c1": View(heard=(Heard("identity", "", 5000),))})
    assert answer(seen, kinds=("identity", "image")) == ["c1: image does not answer yet"]
    assert shown(Seen({"c1": 500})) == ["c1: /horizon/auth/login/ answers HTTP 500"]
