"""FRR as the upstream router, its shell reached by netmiko: a static route is put in, read back, kept, replaced, removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nornir.core.inventory import ConnectionOptions

from nornir_stack.chain import Chain, Stage
from nornir_stack.results import Status
from nornir_stack.select import role
from nornir_stack.tasks.networking.router import static_routes
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report, TaskReport

# vtysh is what an operator logs in to; staticd and zebra run always
PREPARE = r"""
set -e
useradd -m -G frrvty -s /usr/bin/vtysh admin
install -d -m 0700 -o admin ~admin/.ssh
install -m 0600 -o admin /root/.ssh/authorized_keys ~admin/.ssh/
ip link set out1 up
ip address add 203.0.113.1/24 dev out1
systemctl enable --now frr
vtysh -c 'configure terminal' -c 'ip route 198.51.100.0/24 203.0.113.77' -c end -c 'write memory'
"""
FRR = "/etc/frr/frr.conf"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    lab = boot("rt1", tree={"rt1": "router"}, nics={"rt1": {"out1": "outside"}})
    done = lab.enter("rt1", "sh", "-c", PREPARE)
    assert done.returncode == 0, done.stderr
    return lab


def inside(lab: Lab, script: str) -> str:
    return lab.enter("rt1", "sh", "-c", script).stdout.strip()


def run(lab: Lab, mode: str, *, hop: str = "203.0.113.10", dry_run: bool = False) -> tuple[Report, TaskReport]:
    network = {"cidr": "111.0.0.0/28", "kind": "public", "gateway": "111.0.0.1"}
    uplink = {"mode": mode, "card": "peth0", "bridge": "virbr2", "next_hop": hop}
    data: dict[str, dict[str, Any]] = {
        "defaults": {"networks": {"external": network}},
        "hypervisor": {"external": {"networks": {"external": uplink}}},
        "router": {"router": {"dialect": "frr"}, "connection": "netmiko"},
    }
    # the same node stands for a physical host, which nobody asks here: only where it is counts
    with nornir(lab, {"router": ["rt1"], "hypervisor": ["rt1"]}, data) as nr:
        host = nr.inventory.hosts["rt1"]
        host.username, host.platform = "admin", "cisco_ios"
        state = lab.spec.state
        extras = {
            "use_keys": True,
            "key_file": str(state / "id_ed25519"),
            "alt_key_file": str(state / "known_hosts"),
            "allow_agent": False,
        }
        host.connection_options["netmiko"] = ConnectionOptions(None, None, None, None, None, extras)
        report = Chain("trial", Stage("route", [static_routes], role("router"))).run(nr, dry_run=dry_run)
    return report, report.stage("route").host("rt1").tasks[0]


def test_a_static_route_is_put_in_read_back_kept_and_removed(lab: Lab) -> None:
    """Each step as its own run; the route of somebody else stays throughout, and a second run changes nothing."""
    plan, told = run(lab, "routed", dry_run=True)
    assert plan.exit_code == 3
    assert "+ip route 111.0.0.0/28 203.0.113.10" in told.diff
    assert "111.0.0.0" not in inside(lab, "ip route; vtysh -c 'show running-config'")

    report, told = run(lab, "routed")
    assert report.ok, told.error
    assert told.value == ("111.0.0.0/28 via 203.0.113.10",)
    assert "111.0.0.0/28" in inside(lab, "ip route show 111.0.0.0/28 via 203.0.113.10")
    again, told = run(lab, "routed")
    assert again.ok, told.error
    assert again.changed == ()

    lab.stop("rt1")
    lab.start("rt1")
    inside(lab, "ip link set out1 up; ip address add 203.0.113.1/24 dev out1")
    again, told = run(lab, "routed")
    assert again.changed == ()
    assert "ip route 111.0.0.0/28 203.0.113.10" in inside(lab, f"cat {FRR}")

    report, told = run(lab, "routed", hop="203.0.113.11")
    assert report.ok, told.error
    assert inside(lab, f"grep 111.0.0.0 {FRR}") == "ip route 111.0.0.0/28 203.0.113.11"

    report, told = run(lab, "proxy_arp")
    assert report.ok, told.error
    assert told.value == ()
    assert inside(lab, f"grep ^ip.route {FRR}") == "ip route 198.51.100.0/24 203.0.113.77"
    assert inside(lab, "ip route show 111.0.0.0/28") == ""


def test_a_gateway_that_the_router_does_not_reach(lab: Lab) -> None:
    """The route is taken and not used: the router is asked, and the operator told."""
    report, told = run(lab, "routed", hop="192.0.2.9")
    assert told.status is Status.FAILED
    assert "does not route by it" in told.error
    assert report.exit_code == 1
    run(lab, "proxy_arp")
