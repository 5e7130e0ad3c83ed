"""Compute nodes and load balancers by the real openstacksdk, over HTTP, against a cloud that only pretends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.connections.openstack import Api
from nornir_stack.select import role
from nornir_stack.tasks.openstack import projects
from nornir_stack.tasks.openstack.compute import drain
from nornir_stack.tasks.openstack.fleet_rules import Fenced
from nornir_stack.tasks.openstack.load_balancer import load_balancer, load_balancers
from nornir_stack.tasks.openstack.moving import evacuated, heard_again, in_service, unregistered
from tests.unit.fleets import fleet
from tests.unit.openstack.pretend_cloud import NEEDS, Pretend, number

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nornir.core import Nornir

    from nornir_stack.results import Report
    from tests.unit.openstack.pretend_cloud import State

pytest.importorskip("openstack")
# openstacksdk says of its own calls and defaults that they will go
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
CLOUD = role("cloud")


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretend]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    cloud = Pretend()
    auth = f"{{auth_url: {cloud.url}/identity/v3, username: u, password: a-word, project_name: p, user_domain_name: D,"
    (tmp_path / "clouds.yaml").write_text(f"clouds:\n  one:\n    region_name: r\n    auth: {auth} project_domain_name: D}}\n")
    api = Api("one", str(tmp_path / "clouds.yaml"))
    monkeypatch.setattr("nornir_stack.openstack.api", lambda _host, _config: api)
    yield cloud
    api.close()
    cloud.close()


def site(**data: Any) -> Nornir:
    roles = {"cloud": ["cloud1"], "compute": ["n1", "n2"]}
    return fleet(roles, {"cloud1": {"connection": "openstack", **data}})


def run(task: Any, **words: Any) -> Report:
    return Chain("c", Stage("s", [do(task, **words)], CLOUD)).run(site())


def where(state: State) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["host"], one["status"]) for one in state.servers.values()}


def test_a_node_is_emptied(pretend: Pretend) -> None:
    """A dry run sends nothing; what runs goes live, what is off goes cold and is confirmed; the second run sends nothing."""
    state = pretend.state
    state.boot("web", "n1")
    state.boot("old", "n1", "SHUTOFF")
    state.boot("other", "n2")
    plan = drain(node="n1").run(site(), dry_run=True)
    assert (plan.exit_code, state.asked) == (3, [])
    report = drain(node="n1").run(site())
    assert report.ok, report
    assert where(state) == {"web": ("n2", "ACTIVE"), "old": ("n2", "SHUTOFF"), "other": ("n2", "ACTIVE")}
    assert (state.at("n1")["status"], state.at("n1")["why"]) == ("disabled", "nornir-stack: drained")
    sent = len(state.asked)
    again = drain(node="n1").run(site())
    assert (again.ok, again.changed, len(state.asked)) == (True, (), sent)


def test_without_room_nothing_is_sent(pretend: Pretend) -> None:
    """Placement's books tell."""
    pretend.state.boot("web", "n1")
    pretend.state.given[number("somebody")] = {number("n2"): {**NEEDS, "MEMORY_MB": 4000}}
    report = drain(node="n1").run(site())
    assert "has room for web (1 VCPU, 512 MEMORY_MB): n2 has 7 VCPU, 96 MEMORY_MB" in report.stages[0].problems[0]
    assert pretend.state.asked == []


def test_a_dead_node_is_evacuated_and_leaves_the_books(pretend: Pretend) -> None:
    """Told to be down, out of service, built anew elsewhere; what Placement still has of it goes before its record."""
    state = pretend.state
    state.boot("web", "n1")
    state.at("n1")["up"] = False
    assert run(evacuated, mandate=Fenced("n1", (number("web"),))).ok
    assert where(state) == {"web": ("n2", "ACTIVE")}
    assert (state.at("n1")["forced_down"], state.at("n1")["status"]) == (True, "disabled")
    assert set(state.given[number("web")]) == {number("n1"), number("n2")}
    assert run(evacuated, mandate=Fenced("n1", (number("web"),))).changed == ()
    assert run(unregistered, node="n1").ok
    assert [one["host"] for one in state.services.values()] == ["n2"]
    assert (set(state.given[number("web")]), list(state.agents.values())) == ({number("n2")}, ["n2"])
    assert number("n1") not in state.providers
    assert run(unregistered, node="n1").changed == ()


def test_an_evacuation_that_was_cut_is_waited_for(pretend: Pretend) -> None:
    """Whatever Nova does in it by now, it is not begun again; the others come before it."""
    state = pretend.state
    state.boot("web", "n1")
    state.boot("db", "n1")
    state.at("n1")["up"] = False
    for task in ("rebuilding", "rebuild_spawning"):
        web = state.servers[number("web")]
        web.update(host="n1", task=task, status="REBUILD", next={"host": "n2", "status": "ACTIVE"}, looks=-3)
        report = run(evacuated, mandate=Fenced("n1", (number("web"), number("db"))))
        assert report.ok, report
        assert where(state) == {"web": ("n2", "ACTIVE"), "db": ("n2", "ACTIVE")}
    assert [path for _, path, _ in state.asked if path.endswith("/action")] == [f"/compute/v2.1/servers/{number('db')}/action"]


def test_a_resize_that_its_owner_did_not_confirm(pretend: Pretend) -> None:
    """It may be reverted to the node that it left: that is neither drained nor removed; a move by these tasks is confirmed."""
    state = pretend.state
    state.boot("web", "n2", "VERIFY_RESIZE")
    state.migrations = [
        {"instance_uuid": number("web"), "source_compute": "n1", "status": "finished", "migration_type": "resize"}
    ]
    report = drain(node="n1").run(site())
    assert "web was resized and left n1: its owner says which holds" in report.stages[0].problems[0]
    state.at("n1").update(status="disabled", why="nornir-stack: drained")
    assert "n1 still has the disks of web" in run(unregistered, node="n1").stage("s").host("cloud1").error
    assert state.asked == []


def test_a_cold_move_of_one_that_runs_is_confirmed(pretend: Pretend) -> None:
    """Somebody migrated it cold: it runs again where it is, and the drain does not wait for it to be switched off."""
    state = pretend.state
    state.boot("web", "n2", "VERIFY_RESIZE")
    state.servers[number("web")]["before"] = "ACTIVE"
    state.migrations = [
        {"instance_uuid": number("web"), "source_compute": "n1", "status": "finished", "migration_type": "migration"}
    ]
    assert drain(node="n1").run(site()).ok
    assert where(state) == {"web": ("n2", "ACTIVE")}


def test_what_placement_keeps_of_a_node_that_is_removed(pretend: Pretend) -> None:
    """Allocations of nobody known are told before anything goes; a provider that was left without a service goes later."""
    state = pretend.state
    state.at("n1").update(status="disabled", why="nornir-stack: drained")
    state.given["nobody"] = {number("n1"): dict(NEEDS)}
    error = run(unregistered, node="n1").stage("s").host("cloud1").error
    assert "Placement has allocations on n1 that no instance there explains: nobody" in error
    assert state.asked == []
    del state.services[number("service n1")], state.given["nobody"]
    state.boot("web", "n2")
    state.given[number("web")][number("n1")] = dict(NEEDS)  # it was evacuated, and the service removed by hand
    assert run(unregistered, node="n1").ok
    assert (list(state.providers), set(state.given[number("web")])) == ([number("n2")], {number("n2")})
    assert run(unregistered, node="n1").changed == ()
    assert run(unregistered, node="n").changed == ()


def test_a_node_that_is_up_again_is_not_evacuated(pretend: Pretend) -> None:
    """Whatever the decision saw."""
    pretend.state.boot("web", "n1")
    report = run(evacuated, mandate=Fenced("n1", (number("web"),)))
    assert "nova-compute on n1 is up again" in report.stage("s").host("cloud1").error
    assert pretend.state.asked == []


def test_a_node_is_heard_again_when_it_forgot(pretend: Pretend) -> None:
    """Nova refuses it before; then it may be put into service, but not one that somebody else disabled."""
    state = pretend.state
    state.at("n1").update(forced_down=True, status="disabled", why="nornir-stack: dead")
    state.migrations = [{"source_compute": "n1", "status": "completed", "migration_type": "evacuation"}]
    assert run(heard_again, node="n1").ok
    assert run(in_service, node="n1").ok
    assert (state.at("n1")["forced_down"], state.at("n1")["status"]) == (False, "enabled")
    assert run(in_service, node="n1").changed == ()
    state.at("n1").update(status="disabled", why="fan broken")
    assert "by somebody else (fan broken)" in run(in_service, node="n1").stage("s").host("cloud1").error


def test_a_load_balancer_is_made_and_corrected(pretend: Pretend) -> None:
    """Each step waits until the last one is done; a second run sends nothing; what differs is corrected in place."""
    wanted = {"project": "test", "external": "public", "vip": "10.1.0.9", "members": {"10.1.0.11": 1, "10.1.0.12": 2}}
    nr = site(balancers={"balancers": {"db": wanted}})
    plan = load_balancers().run(nr, dry_run=True)
    assert (plan.exit_code, pretend.state.asked) == (3, [])
    report = load_balancers().run(nr)
    assert report.ok, report
    now = report.value(load_balancer, "cloud1")
    assert (now.status, now.vip, now.floating, now.leads_to) == ("ACTIVE", "10.1.0.9", "192.0.2.7", "public")
    assert {address: weight for address, (_, weight, _) in now.members.items()} == wanted["members"]
    sent = len(pretend.state.asked)
    assert load_balancers().run(nr).changed == ()
    assert len(pretend.state.asked) == sent
    other = site(balancers={"balancers": {"db": {**wanted, "delay": 9, "members": {"10.1.0.11": 5, "10.1.0.13": 1}}}})
    after = load_balancers().run(other)
    assert after.ok, after
    assert {a: w for a, (_, w, _) in after.value(load_balancer, "cloud1").members.items()} == {"10.1.0.11": 5, "10.1.0.13": 1}
    assert [method for method, _, _ in pretend.state.asked[sent:]] == ["PUT", "POST", "DELETE", "PUT"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"external": "publik"}, "the cloud has no network publik: run openstack.external_networks first"),
        ({"subnet": "inner"}, "the project test has no subnet inner"),
    ],
)
def test_what_a_load_balancer_stands_on_is_looked_at_first(pretend: Pretend, wrong: dict[str, str], said: str) -> None:
    """Nothing of it is made where a later part could not be; a dry run says the same."""
    nr = site(balancers={"balancers": {"db": {"project": "test", "members": {"10.1.0.11": 1}, **wrong}}})
    for dry_run in (True, False):
        report = load_balancers().run(nr, dry_run=dry_run)
        assert said in report.stages[-1].host("cloud1").error
    assert pretend.state.asked == []


def test_a_project_that_leads_nowhere_is_not_begun(pretend: Pretend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The external network is looked for before the project is made."""
    monkeypatch.setattr(projects, "_look", lambda *_: projects.Seen(role="r"))
    wanted = {"physical_network": "p", "bridge": "b", "nic": "n", "cidr": "203.0.113.0/24", "gateway": "203.0.113.1"}
    external = {"outside": {**wanted, "first": "203.0.113.100", "last": "203.0.113.200"}}
    nr = site(cloud={"external": external, "projects": {"x": {"cidr": "10.1.0.0/24", "external": "outside"}}})
    report = Chain("c", Stage("s", [do(projects.project, project="x")], CLOUD)).run(nr)
    assert "the cloud has no network outside: run" in report.stage("s").host("cloud1").error
    assert pretend.state.asked == []
