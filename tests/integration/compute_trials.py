"""Compute nodes of a cloud emptied, removed, added and evacuated, as functions that get a cloud with n1, n2 and no load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_DNS, uuid5

from nornir_stack.chain import Chain, Check, Stage, do
from nornir_stack.dispatch import survey
from nornir_stack.select import hosts, role
from nornir_stack.tasks.config.apply import settings
from nornir_stack.tasks.openstack.compute import add, drain, evacuate, remove
from nornir_stack.tasks.openstack.fleet import Fleet, checked, computes, got, nodes
from nornir_stack.tasks.openstack.moving import MARK
from tests.integration.cloud_lab import asked, enter, well

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core import Nornir

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report
    from nornir_stack.seen import Seen

CLOUD = role("cloud")
RAM = 64  # MiB of each instance
# Placement gives one consumer at most what a node really has (max_unit), and all of them together more (allocation_ratio).
SOMEBODY = tuple(str(uuid5(NAMESPACE_DNS, f"somebody {number}")) for number in range(8))
_GONE = 404
_SECONDS = 120.0


def quick(nr: Nornir) -> None:
    """Nova sees a node that died after half a minute, instead of a whole one; less, and a busy machine's nodes seem dead."""
    values = {"DEFAULT": {"service_down_time": 30, "report_interval": 3}}
    step = do(settings, path="/etc/nova/nova.conf", values=values)
    well(Chain("trial", Stage("quick", [step], hosts("c1", "n1", "n2"))).run(nr))
    until(nr, lambda now: all(one.up for one in now.computes))


def fleet(nr: Nornir) -> Fleet:
    return survey(nr, computes, CLOUD)["cloud1"]


def until(nr: Nornir, holds: Callable[[Fleet], bool]) -> None:
    """Wait until this holds of the compute nodes."""

    def judge(seen: Seen[Fleet]) -> list[str]:
        return [] if "cloud1" in seen and holds(seen["cloud1"]) else ["not yet"]

    check = Check(computes, judge, CLOUD, within=_SECONDS)
    well(Chain("trial", Stage("wait", [], CLOUD, until=check)).run(nr))


def boot(nr: Nornir, name: str, host: str) -> None:
    """An instance on this node, without a network."""

    def make(c: Any) -> None:
        image = c.image.find_image("none") or c.image.create_image(
            name="none", disk_format="raw", container_format="bare", data=b"\0" * 1024
        )
        flavor = c.compute.find_flavor("little") or c.compute.create_flavor(name="little", ram=RAM, vcpus=1, disk=1)
        where = {"availability_zone": f"nova:{host}"}
        server = c.compute.create_server(name=name, image_id=image.id, flavor_id=flavor.id, networks="none", **where)
        c.compute.wait_for_server(server, wait=120)

    asked(nr, make)


def taken(nr: Nornir, host: str, amount: int) -> None:
    """Several others have this much memory of a node together, in Placement's books; 0: nobody any more."""
    provider = _of(nr, host).provider
    parts = [(amount + place) // len(SOMEBODY) for place in range(len(SOMEBODY))]

    def take(c: Any) -> None:
        for consumer, part in zip(SOMEBODY, parts, strict=True):
            at = f"/allocations/{consumer}"
            gone = c.placement.delete(at)
            if gone.status_code != _GONE:
                checked(gone)
            body = {
                "allocations": {provider: {"resources": {"MEMORY_MB": part}}},
                "consumer_generation": None,
                "project_id": c.session.get_project_id(),
                "user_id": c.session.get_user_id(),
            }
            if part:
                checked(c.placement.put(at, json=body, microversion="1.28"))

    asked(nr, take)


def where(nr: Nornir) -> dict[str, tuple[str, str]]:
    """Name to node and status of every instance."""
    return {each.name: (one.host, each.status) for one in fleet(nr).computes for each in one.instances}


def refused(chain: Chain, nr: Nornir) -> str:
    report = chain.run(nr)
    assert not report.ok
    assert report.changed == ()
    return "\n".join(problem for stage in report.stages for problem in stage.problems)


def reasons(report: Report) -> str:
    return "\n".join(reason for stage in report.stages for reason in stage.decided)


def emptied(nr: Nornir) -> None:
    """n2 is not emptied while n1 has no room; then a dry run names its instances, and they go; twice."""
    boot(nr, "web", "n2")
    boot(nr, "old", "n2")
    taken(nr, "n1", _of(nr, "n1").room["MEMORY_MB"] - RAM)
    assert "no other compute node has room for " in refused(drain(node="n2"), nr)
    taken(nr, "n1", 0)
    asked(nr, lambda c: c.compute.stop_server(c.compute.find_server("old")))
    until(nr, lambda now: any((each.name, each.status) == ("old", "SHUTOFF") for one in now.computes for each in one.instances))
    seen = well(Chain("trial", Stage("nodes", [nodes], CLOUD)).run(nr)).value(nodes, "cloud1")
    assert seen["n2"].startswith("in service, up; room: ")
    runs = seen["n2"].rpartition("instances: ")[2].split(", ")
    assert {"web", "old (SHUTOFF)"} <= set(runs)
    plan = drain(node="n2").run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    said = reasons(plan)
    assert "web moves off n2 as it runs." in said
    assert "old moves off n2 switched off." in said
    assert where(nr)["web"] == ("n2", "ACTIVE")
    well(drain(node="n2").run(nr))
    now = where(nr)
    assert (now["web"], now["old"]) == (("n1", "ACTIVE"), ("n1", "SHUTOFF"))
    assert well(drain(node="n2").run(nr)).changed == ()


def removed_and_added(lab: Lab, nr: Nornir) -> None:
    """n2, empty, leaves Nova, Placement and Neutron; it comes back in service; each twice."""
    provider = next(one.provider for one in fleet(nr).computes if one.host == "n2")
    well(remove(node="n2").run(nr))
    left = fleet(nr)
    assert left.of("n2") is None
    assert not [agent for agent in left.agents if agent[1] == "n2"]
    assert not known(nr, provider)
    assert "inactive" in lab.enter("n2", "systemctl", "is-active", "nova-compute").stdout
    assert well(remove(node="n2").run(nr)).changed == ()
    added(nr)


def added(nr: Nornir) -> None:
    well(add(node="n2").run(nr))
    now = fleet(nr).of("n2")
    assert now is not None
    assert (now.enabled, now.up, now.forced) == (True, True, False)
    assert well(add(node="n2").run(nr)).changed == ()


def known(nr: Nornir, provider: str) -> bool:
    """Whether Placement has it."""
    return bool(asked(nr, lambda c: got(c.placement, f"/resource_providers/{provider}", missing={})))


def evacuated(lab: Lab, nr: Nornir) -> None:
    """n2 is not evacuated while it is up, answers, or nobody says that it is off; then it is, twice; and comes back."""
    boot(nr, "lost", "n2")
    assert "is up in Nova's eyes" in refused(evacuate(node="n2", fenced="n2"), nr)
    enter(lab, "n2", "systemctl stop nova-compute")
    until(nr, lambda now: not any(one.up for one in now.computes if one.host == "n2"))
    assert "and say fenced=n2" in refused(evacuate(node="n2"), nr)
    assert "it answers, so its instances may run" in refused(evacuate(node="n2", fenced="n2"), nr)
    lab.kill("n2")
    plan = evacuate(node="n2", fenced="n2").run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    assert "lost (ACTIVE) is built anew on another node than n2. Its own disk begins again" in reasons(plan)
    assert where(nr)["lost"][0] == "n2"
    well(evacuate(node="n2", fenced="n2").run(nr))
    assert where(nr)["lost"] == ("n1", "ACTIVE")
    assert well(evacuate(node="n2", fenced="n2").run(nr)).changed == ()


def _of(nr: Nornir, host: str) -> Any:
    one = fleet(nr).of(host)
    assert one is not None
    return one


def back_from_the_dead(lab: Lab, nr: Nornir) -> None:
    """n2 has power again: it is told to be down until it was added, and begins anew first."""
    lab.start("n2")
    assert _of(nr, "n2").forced
    report = well(add(node="n2").run(nr))
    assert "begin anew" in " ".join(stage.name for stage in report.stages)
    assert (_of(nr, "n2").enabled, _of(nr, "n2").up, _of(nr, "n2").forced) == (True, True, False)
    assert well(add(node="n2").run(nr)).changed == ()


def dead_for_good(lab: Lab, nr: Nornir) -> None:
    """n2, evacuated and off, leaves the books, with what it could not give up in Placement."""
    boot(nr, "lost2", "n2")
    provider = _of(nr, "n2").provider
    lab.kill("n2")
    until(nr, lambda now: not any(one.up for one in now.computes if one.host == "n2"))
    well(evacuate(node="n2", fenced="n2").run(nr))
    well(remove(node="n2", fenced="n2").run(nr))
    assert fleet(nr).of("n2") is None
    assert not known(nr, provider)
    assert well(remove(node="n2", fenced="n2").run(nr)).changed == ()
    lab.start("n2")
    added(nr)


def somebody_else(nr: Nornir) -> None:
    """A node that a person took out of service is not put back."""

    def disable(c: Any) -> None:
        c.compute.put(
            f"/os-services/{_of(nr, 'n2').service}",
            json={"status": "disabled", "disabled_reason": "fan broken"},
            microversion="2.53",
        )

    asked(nr, disable)
    assert "by somebody else (fan broken)" in refused(add(node="n2"), nr)
    asked(
        nr,
        lambda c: c.compute.put(
            f"/os-services/{_of(nr, 'n2').service}",
            json={"status": "disabled", "disabled_reason": f"{MARK}trial"},
            microversion="2.53",
        ),
    )
    added(nr)
