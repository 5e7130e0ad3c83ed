"""Balancers of Octavia with `balancer_driver: fake`: its API and Neutron's ports are real, machines that balance are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.select import role
from nornir_stack.tasks.openstack.load_balancer import load_balancer, load_balancers
from nornir_stack.tasks.openstack.projects import project
from tests.integration.cloud_lab import asked, well

if TYPE_CHECKING:
    from nornir.core import Nornir


CLOUD = role("cloud")
PROJECT = {"cidr": "10.3.0.0/24"}
WANTED: dict[str, Any] = {
    "project": "balanced",
    "vip": "10.3.0.100",
    "external": "beyond",
    "members": {"10.3.0.11": 1, "10.3.0.12": 2},
}


def outside(nr: Nornir) -> None:
    """A project with its network, whose router leads to an external network that no other test knows."""
    well(Chain("trial", Stage("project", [do(project, project="balanced")], CLOUD)).run(nr))

    def lead(c: Any) -> None:
        network = c.network.create_network(name="beyond", is_router_external=True)
        c.network.create_subnet(network_id=network.id, ip_version=4, cidr="192.0.2.0/24", is_dhcp_enabled=False)
        c.network.update_router(c.network.find_router("balanced"), external_gateway_info={"network_id": network.id})

    asked(nr, lead)


def ids(nr: Nornir) -> dict[str, list[str]]:
    """Ids of everything that Octavia has, and of floating addresses."""

    def look(c: Any) -> dict[str, list[str]]:
        api = c.load_balancer
        pools = list(api.pools())
        return {
            "balancers": sorted(each.id for each in api.load_balancers()),
            "listeners": sorted(each.id for each in api.listeners()),
            "pools": sorted(each.id for each in pools),
            "members": sorted(each.id for pool in pools for each in api.members(pool)),
            "monitors": sorted(each.id for each in api.health_monitors()),
            "floating": sorted(each.id for each in beyond(c)),
        }

    found: dict[str, list[str]] = asked(nr, look)
    return found


def beyond(c: Any) -> list[Any]:
    """The floating addresses of that network."""
    return list(c.network.ips(floating_network_id=c.network.find_network("beyond").id))


def made(nr: Nornir) -> None:
    """Dry run, run, run again with the same ids; the floating address leads to the balancer's own."""
    plan = load_balancers().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    assert not ids(nr)["balancers"]
    now = well(load_balancers().run(nr)).value(load_balancer, "cloud1")
    assert (now.status, now.vip, now.algorithm) == ("ACTIVE", "10.3.0.100", "ROUND_ROBIN")
    assert {address: weight for address, (_, weight, _) in now.members.items()} == WANTED["members"]
    assert now.floating.startswith("192.0.2.")
    assert asked(nr, lambda c: beyond(c)[0].fixed_ip_address) == "10.3.0.100"
    before = ids(nr)
    assert [len(found) for found in before.values()] == [1, 1, 1, 2, 1, 1]
    assert well(load_balancers().run(nr)).changed == ()
    assert ids(nr) == before


def corrected(nr: Nornir) -> None:
    """With other members and weights in the inventory: in place; the rest keeps its ids."""
    before = ids(nr)
    now = well(load_balancers().run(nr)).value(load_balancer, "cloud1")
    assert {address: weight for address, (_, weight, _) in now.members.items()} == {"10.3.0.11": 5, "10.3.0.13": 1}
    after = ids(nr)
    assert {key: after[key] for key in after if key != "members"} == {key: before[key] for key in before if key != "members"}
    assert well(load_balancers().run(nr)).changed == ()
