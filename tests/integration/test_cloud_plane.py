"""A cloud put up by the library on three nodes: the controller, one that switches, computes and stores, one that computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.lab.machine import wait_for
from nornir_stack.select import role
from nornir_stack.tasks.maintenance.purge import purge
from nornir_stack.tasks.openstack.agents import cloud_agents
from nornir_stack.tasks.openstack.compute import drain
from nornir_stack.tasks.openstack.console import console, console_of
from nornir_stack.tasks.openstack.control_plane import control_plane
from nornir_stack.tasks.openstack.correct import endpoints as check_endpoints
from nornir_stack.tasks.openstack.external import external_network
from nornir_stack.tasks.openstack.external_chain import external_networks, projects
from nornir_stack.tasks.openstack.instances import instance, instances
from nornir_stack.tasks.openstack.removal import remove_network
from nornir_stack.tasks.openstack.volume_trouble import volumes
from tests.integration import compute_trials, ldap_trials, octavia_trials, screen_trials
from tests.integration.cloud_lab import address, asked, endpoints, enter, renewed, well
from tests.integration.cloud_site import ALICE, MASTER, OUTSIDE, PUBLIC, SECOND, ids, site, standing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nornir.core import Nornir

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

# openstacksdk says of its own calls and defaults that they will go
pytestmark = [pytest.mark.cloud, pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")]
CLOUD = role("cloud")
WHOLE = pytest.mark.skipif("not config.getoption('--campaign', default=False)", reason="minutes: only with --campaign")


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab], pytestconfig: pytest.Config) -> Lab:
    cards = {"ex1": "outside", "ex2": "second"}
    outside = "directory" if pytestconfig.getoption("--campaign") else "base"
    trees = {**dict.fromkeys(("c1", "n1", "n2"), "cloud"), "out1": outside}
    lab = boot(*trees, tree=trees, nics={"n1": cards, "out1": cards})
    enter(lab, "out1", OUTSIDE)
    return lab


@pytest.fixture
def nr(lab: Lab, tmp_path: Path) -> Nornir:
    return site(lab, tmp_path, {"public": PUBLIC, "second": SECOND})


@pytest.fixture(scope="module")
def up(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of the run that put the cloud up."""
    nr = site(lab, tmp_path_factory.mktemp("up"), {"public": PUBLIC, "second": SECOND})
    return well(control_plane().run(nr))


def test_the_second_run_changes_nothing(up: Report, nr: Nornir, lab: Lab) -> None:
    """All agents were alive, an account answers; the same ids, files and starts after a second run; no secret anywhere."""
    assert MASTER not in up.to_json()
    seen = well(Chain("trial", Stage("agents", [cloud_agents], CLOUD)).run(nr)).value(cloud_agents, "cloud1")
    assert {(one.host, one.binary) for one in seen if one.alive} >= {
        ("n1", "neutron-l3-agent"),
        ("n1", "neutron-openvswitch-agent"),
        ("n1", "nova-compute"),
        ("c1", "nova-scheduler"),
    }
    before, since = ids(nr), standing(lab)
    again = well(control_plane().run(nr))
    assert again.changed == ()
    assert ids(nr) == before
    assert standing(lab) == since


def test_no_password_is_in_a_databases_cells(up: Report, lab: Lab) -> None:
    """Nova's cells hold templates, and both are there once."""
    said = enter(lab, "c1", "mysql -N nova_api -e 'SELECT name, transport_url, database_connection FROM cell_mappings'")
    assert sorted(line.split("\t")[0] for line in said.splitlines()) == ["cell0", "cell1"]
    assert "{password}" in said


def test_two_external_networks_and_projects_behind_them(up: Report, nr: Nornir, lab: Lab) -> None:
    """Bridges, mappings, networks, routers, users, quotas; packets through both bridges; twice; and the second is removed."""
    plan = external_networks().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    well(external_networks().run(nr))
    assert well(external_networks().run(nr)).changed == ()
    done = well(projects().run(nr))
    assert ALICE not in done.to_json()
    before = ids(nr)
    assert well(projects().run(nr)).changed == ()
    assert ids(nr) == before
    limits = asked(nr, lambda c: c.get_compute_quotas("test"))
    assert limits["instances"] == 7
    for name, outside in (("test", "203.0.113.1"), ("production", "198.51.100.1")):
        enter(lab, "n1", PING, before["routers"][name], outside)
    assert "int-br-ex2" in enter(lab, "n1", "ovs-vsctl list-ports br-int")
    wrong = one(nr, network="second", routers=True)
    assert "gateway of the router production\n  interface of the router production on 10.2.0.1\n  router production" in wrong
    assert one(nr, network="second", routers=True, confirm="00000000") == wrong
    assert "second" in ids(nr)["networks"]
    word = wrong.rpartition("confirm=")[2]
    well(removal(nr, network="second", routers=True, confirm=word))
    left = ids(nr)
    assert ("second" in left["networks"], "production" in left["routers"]) == (False, False)
    assert removal(nr, network="second", routers=True, confirm=word).changed == ()


SHOP: dict[str, object] = {
    "project": "test",
    "image": "little",
    "flavor": "little",
    "key": "ops",
    "external": "public",
    "volumes": {"data": 1},
}
VAULT = {"project": "test", "image": "little", "flavor": "little", "disk": 1}  # boots from a volume
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFxCyS7oTl9v6Yc6iZ7i9p0V0k1N6k0uDq7oU9m2bJ5s ops"


def test_an_instance_with_a_floating_address_and_a_volume(up: Report, lab: Lab, tmp_path: Path) -> None:
    """Image, flavor, key, boot, address, volume: from the inventory, twice; another image by the same name is refused.

    The drivers of Nova and Cinder are their own pretended ones; a whole machine is tests/integration/test_cloud_instance.py.
    """
    (tmp_path / "little.raw").write_bytes(b"\0" * 1024)
    wanted = {
        "images": {"little": {"file": str(tmp_path / "little.raw"), "format": "raw"}},
        "flavors": {"little": {"vcpus": 1, "ram": 64, "disk": 1}},
        "keys": {"ops": PUBLIC_KEY},
        "servers": {"shop": SHOP},
    }
    nr = site(lab, tmp_path, {"public": PUBLIC, "second": SECOND}, instances=wanted)
    plan = instances().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    first = well(instances().run(nr))
    assert [line.partition(": ")[2] for line in first.changed] == [
        f"upload the image little from {tmp_path}/little.raw",
        "make the flavor little",
        "note the key ops",
        "boot the instance shop",
        "give the instance shop a floating address of public",
        "make the volume shop-data",
        "give the instance shop the volume shop-data",
    ]
    seen = first.value(instance, "cloud1")
    assert (seen.status, seen.leads_to, seen.volumes["data"].server) == ("ACTIVE", "public", seen.id)
    again = well(instances().run(nr))
    assert (again.changed, again.value(instance, "cloud1")) == ((), seen)
    (tmp_path / "little.raw").write_bytes(b"\1" * 1024)
    report = instances().run(nr)
    assert "Glance has another image little" in report.stage("inventory/parts").host("cloud1").error
    assert report.changed == ()
    (tmp_path / "little.raw").write_bytes(b"\0" * 1024)
    (tmp_path / "vault").mkdir()
    nr = site(lab, tmp_path / "vault", {"public": PUBLIC, "second": SECOND}, instances={**wanted, "servers": {"vault": VAULT}})
    first = instances().run(nr)
    why = "the volume vault-disk is there, and it is in error: openstack.volumes says why"
    assert why in first.stage("inventory/instances").host("cloud1").error
    assert [line.partition(": ")[2] for line in first.changed] == ["make the volume vault-disk"]
    assert asked(nr, lambda c: c.compute.find_server("vault", all_projects=True)) is None
    again = instances().run(nr)
    assert (again.changed, why in again.stage("inventory/instances").host("cloud1").error) == ((), True)


WRONG_PASSWORD = "sed -i '/^\\[keystone_authtoken\\]/,/^\\[[^k]/s/^password *=.*/password = wrong/' /etc/cinder/cinder.conf"
NO_GROUP = (
    "sed -i 's/^target_helper *=.*/target_helper = iscsi/; s/^volume_driver *=.*/volume_driver ="
    " cinder.volume.drivers.lvm.LVMVolumeDriver/' /etc/cinder/cinder.conf && systemctl restart cinder-volume"
)


def measured(cloud: Any) -> list[Any]:
    """What Gnocchi has measured of images."""
    ask = {"service_type": "metric"}
    images = cloud.session.get("/v1/resource/image", endpoint_filter=ask).json()
    metrics = [each["metrics"]["image.size"] for each in images if "image.size" in each["metrics"]]
    return [point for one in metrics for point in cloud.session.get(f"/v1/metric/{one}/measures", endpoint_filter=ask).json()]


def test_what_is_measured_reaches_gnocchi(up: Report, lab: Lab, nr: Nornir) -> None:
    """Ceilometer's agents, messages, Gnocchi: the size of an image that is there, asked for when the agent starts."""
    renewed(nr)
    enter(lab, "c1", "systemctl restart ceilometer-agent-central")
    wait_for(lambda: bool(asked(nr, measured)), 180, "a measure in Gnocchi")
    assert 1024.0 in {value for _, _, value in asked(nr, measured)}


def test_why_there_are_no_volumes(up: Report, lab: Lab, nr: Nornir) -> None:
    """The notebook's two failures, made and found: Cinder's password is not Keystone's, and a helper that Cinder does not know.

    The chain that put the cloud up puts both right.
    """
    assert well(volumes().run(nr)).changed == ()
    enter(lab, "c1", f"{WRONG_PASSWORD} && systemctl restart cinder-api")
    renewed(nr)  # a word that Keystone gave before is known to memcached for minutes
    report = volumes().run(nr)
    said = str(report.stage("services/asked"))
    assert not report.ok, report
    assert "c1: Keystone refuses Cinder's own user: [keystone_authtoken] in /etc/cinder/cinder.conf" in said
    enter(lab, "n1", NO_GROUP)
    said = str(volumes().run(nr).stage("services/asked"))
    assert "n1: Cinder knows no target_helper 'iscsi': say tgtadm" in said
    well(control_plane().run(nr))
    renewed(nr)
    assert well(volumes().run(nr)).changed == ()


# A router is made by the agent a moment after the API said so.
PING = r"""
i=0
until ip netns exec "qrouter-$1" ping -c 1 -W 1 "$2"; do i=$((i + 1)); [ $i -lt 90 ] || exit 1; sleep 0.5; done
"""


def removal(nr: Nornir, **words: Any) -> Report:
    return Chain("trial", Stage("remove", [do(remove_network, **words)], CLOUD)).run(nr)


def one(nr: Nornir, **words: Any) -> str:
    return removal(nr, **words).stage("remove").host("cloud1").error


def test_endpoints_of_every_service_are_put_right(up: Report, nr: Nornir, lab: Lab) -> None:
    """A port that nobody listens on, that of another service, Keystone's own of 2015: found, corrected with their ids kept."""
    before = endpoints(nr)
    controller = address(lab, "c1")
    wrong = {
        ("glance", "public"): f"http://{controller}:9293",
        ("placement", "internal"): f"http://{controller}:9696",
        ("keystone", "public"): f"http://{controller}:35357/v3",
    }

    def spoil(c: Any) -> None:
        for key, url in wrong.items():
            c.identity.update_endpoint(before[key][0], url=url)

    asked(nr, spoil)
    seen = check_endpoints().run(nr)
    assert seen.exit_code == 1
    said = "\n".join(problem for each in seen.stages for problem in each.problems)
    assert f"placement internal http://{controller}:9696: what answers there is network" in said
    well(check_endpoints(correct=True).run(nr))
    assert endpoints(nr) == before
    assert well(check_endpoints().run(nr)).changed == ()


def booted(name: str) -> Callable[[Any], None]:
    """Boots an instance of that name, on the fake driver, unless it is there."""

    def look(c: Any) -> None:
        if c.compute.find_server(name):
            return
        image = c.image.find_image("empty") or c.image.create_image(
            name="empty", disk_format="raw", container_format="bare", data=b"\0" * 1024
        )
        flavor = c.compute.find_flavor("small") or c.compute.create_flavor(name="small", ram=64, vcpus=1, disk=1)
        server = c.compute.create_server(name=name, image_id=image.id, flavor_id=flavor.id, networks="none")
        c.compute.wait_for_server(server, wait=600)

    return look


def deleted(*names: str) -> Callable[[Any], None]:
    """Deletes these instances, and waits for it."""

    def look(c: Any) -> None:
        servers = [c.compute.find_server(name) for name in names]
        for server in servers:
            c.compute.delete_server(server)
        for server in servers:
            c.compute.wait_for_delete(server, wait=600)

    return look


# What was deleted is made to be of long ago, in every table.
LONG_AGO = """
mysql -N -e "SELECT CONCAT('UPDATE nova.', TABLE_NAME, ' SET deleted_at = deleted_at - INTERVAL 100 DAY;')
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'nova' AND COLUMN_NAME = 'deleted_at'" | mysql
"""
LEFT = "mysql -N nova -e 'SELECT COALESCE(SUM(deleted <> 0), 0) + (SELECT COUNT(*) FROM shadow_instances) FROM instances'"


def test_deleted_rows_go_for_good(up: Report, nr: Nornir, lab: Lab) -> None:
    """By nova-manage itself: counted first, in batches, what is left is told; what was deleted lately stays; twice."""
    for number in (1, 2):
        asked(nr, booted(f"gone{number}"))
    asked(nr, deleted("gone1", "gone2"))
    assert well(purge().run(nr)).changed == ()
    assert int(enter(lab, "c1", LEFT)) >= 2
    enter(lab, "c1", LONG_AGO)
    plan = purge().run(nr, dry_run=True)
    assert plan.exit_code == 3
    assert "rows deleted before" in plan.to_json()
    assert "nova.instances " in plan.to_json()
    some = well(purge(rows=1, batches=1).run(nr))  # an instance at once, with all that hangs on it
    assert some.exit_code == 3
    assert "still there: nova: " in some.to_json()
    well(purge().run(nr))
    assert enter(lab, "c1", LEFT).strip() == "0"
    last = well(purge().run(nr))
    assert (last.changed, last.exit_code) == ((), 0)


def test_a_screen_of_an_instance(up: Report, lab: Lab, nr: Nornir) -> None:
    """The settings are those that the control plane made; Nova opens a console, and its page comes through the proxy.

    The fake driver has no screen behind it, which is told; a SPICE server answers through the proxy.
    """
    assert well(console().run(nr)).changed == ()
    asked(nr, booted("screen"))
    try:
        page = do(console_of, server="screen", screen=False)
        report = well(Chain("trial", Stage("console", [page], CLOUD)).run(nr))
        assert "/spice_auto.html?" in report.value(console_of, "cloud1")
        report = Chain("trial", Stage("console", [do(console_of, server="screen")], CLOUD)).run(nr)
        assert "the console's page comes, and no screen behind it" in report.stage("console").host("cloud1").error
        screen_trials.a_real_server(lab, nr)
    finally:
        asked(nr, deleted("screen"))  # else it is in the way of those that count what runs on a node


@pytest.mark.campaign
@WHOLE
def test_two_nodes_that_are_asked_at_one_address(up: Report, lab: Lab, nr: Nornir) -> None:
    """Found and mended."""
    screen_trials.a_file_that_was_copied(lab, nr)


@pytest.mark.campaign
@WHOLE
def test_a_compute_node_is_emptied(up: Report, nr: Nornir) -> None:
    """Not without room elsewhere; what moves is named before; and it comes back."""
    compute_trials.emptied(nr)
    compute_trials.added(nr)


@pytest.mark.campaign
@WHOLE
def test_a_compute_node_leaves_and_comes_back(up: Report, lab: Lab, nr: Nornir) -> None:
    """With all that the cloud has of it."""
    well(drain(node="n2").run(nr))
    compute_trials.removed_and_added(lab, nr)
    compute_trials.somebody_else(nr)


@pytest.mark.campaign
@WHOLE
def test_a_dead_compute_node_is_evacuated(up: Report, lab: Lab, nr: Nornir) -> None:
    """Only when nobody can doubt that it is dead; it comes back, and dies for good."""
    compute_trials.quick(nr)
    compute_trials.evacuated(lab, nr)
    compute_trials.back_from_the_dead(lab, nr)
    compute_trials.dead_for_good(lab, nr)


@pytest.mark.campaign
@WHOLE
def test_a_directorys_user_logs_in(up: Report, lab: Lab, tmp_path: Path) -> None:
    """Through TLS, in a domain of its own."""
    people = {"domains": {"people": ldap_trials.directory(lab)}}
    ldap_trials.logs_in(lab, site(lab, tmp_path, {}, ldap=people, cloud={}))


@pytest.mark.campaign
@WHOLE
def test_a_load_balancer_of_the_clouds_own(up: Report, lab: Lab, tmp_path: Path) -> None:
    """Made, found again with the same ids, corrected in place."""

    def wanting(balancer: Mapping[str, object]) -> Nornir:
        wanted = {"projects": {"balanced": octavia_trials.PROJECT}}
        return site(lab, tmp_path, {}, cloud=wanted, balancers={"balancers": {"db": balancer}})

    nr = wanting(octavia_trials.WANTED)
    octavia_trials.outside(nr)
    octavia_trials.made(nr)
    octavia_trials.corrected(wanting({**octavia_trials.WANTED, "members": {"10.3.0.11": 5, "10.3.0.13": 1}}))


def test_an_unknown_physical_network_is_refused(up: Report, lab: Lab, tmp_path: Path) -> None:
    """With those that the agents map; nothing is made."""
    nr = site(lab, tmp_path, {"public": PUBLIC, "second": {**SECOND, "physical_network": "physnet9"}})
    report = Chain("trial", Stage("network", [do(external_network, network="second")], CLOUD)).run(nr)
    error = report.stage("network").host("cloud1").error
    assert "no agent maps the physical network 'physnet9'" in error
    assert report.changed == ()
