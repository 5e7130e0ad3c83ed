"""An Open vSwitch bridge with its mapping, on a real node: dry run, for real, again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.results import Status
from nornir_stack.select import role
from nornir_stack.tasks.networking.bridge import AGENT, AGENT_INI, bridge, open_vswitch
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

NETWORK = role("network")
NIC = "nic2"
# A NIC (one end of a pair of virtual ones), the device that userspace datapaths need, and an agent: its file, its unit.
PREPARE = f"""
set -e
mkdir -p /dev/net /etc/neutron/plugins/ml2
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
ip link add {NIC} type veth peer name wire2
ip link set wire2 up
printf '[ovs]\\n# local_ip is the tunnels\\nbridge_mappings = physnet1:br-ex\\n\\n[agent]\\n' > {AGENT_INI}
printf '[Service]\\nExecStart=/bin/sleep infinity\\n' > /etc/systemd/system/{AGENT}
systemctl start {AGENT}
"""
STATE = f"ovs-vsctl --columns=name,datapath_type list bridge; cat {AGENT_INI}; systemctl show -p MainPID {AGENT}"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return prepared(boot)


def prepared(boot: Callable[..., Lab]) -> Lab:
    lab = boot("net1")
    done = lab.enter("net1", "sh", "-c", PREPARE)
    assert done.returncode == 0, done.stderr
    return lab


def inside(lab: Lab, script: str) -> str:
    return lab.enter("net1", "sh", "-c", script).stdout.strip()


def run(lab: Lab, *, dry_run: bool = False, **words: Any) -> Report:
    words = {"bridge": "br-ex2", "ports": [NIC], "physical_network": "physnet2", **words}
    chain = Chain("trial", Stage("install", [open_vswitch], NETWORK), Stage("bridge", [do(bridge, **words)], NETWORK))
    with nornir(lab, {"network": ["net1"]}) as nr:
        return chain.run(nr, dry_run=dry_run)


def test_bridge_over_a_nic(boot: Callable[..., Lab]) -> None:
    """A dry run on an empty node changes nothing; then the bridge stands and is mapped; the second run changes nothing."""
    lab = prepared(boot)
    plan = run(lab, dry_run=True)
    assert plan.exit_code == 3, plan
    assert plan.stage("install").host("net1").status is Status.CHANGED
    assert any("openvswitch-switch.service" in effect for effect in plan.changed)
    assert plan.stage("bridge").host("net1").status is Status.UNKNOWN
    assert "physnet2" not in inside(lab, f"cat {AGENT_INI}; ls /usr/bin/ovs-vsctl")
    before = inside(lab, f"systemctl show -p MainPID {AGENT}")

    made = run(lab)
    assert made.ok, made
    assert inside(lab, "ovs-vsctl list-ports br-ex2") == NIC
    assert "bridge_mappings = physnet1:br-ex,physnet2:br-ex2" in inside(lab, f"cat {AGENT_INI}")
    assert inside(lab, f"systemctl show -p MainPID {AGENT}") != before
    assert made.value(bridge, "net1").ports == (NIC,)

    state = inside(lab, STATE)
    again = run(lab)
    assert again.ok
    assert again.changed == ()
    assert inside(lab, STATE) == state


def test_dry_run_of_a_second_bridge_shows_it_all(lab: Lab) -> None:
    """With Open vSwitch there: bridge, mapping and the agent's restart stand in the plan, and nothing of it is done."""
    run(lab)
    inside(lab, "ip link add nic3 type veth peer name wire3")
    state = inside(lab, STATE)
    plan = run(lab, dry_run=True, bridge="br-ex3", ports=["nic3"], physical_network="physnet3")
    told = plan.stage("bridge").host("net1").tasks[0]
    assert told.status is Status.CHANGED
    assert "+bridge br-ex3 datapath_type=" in told.diff
    assert "+bridge_mappings = physnet1:br-ex,physnet2:br-ex2,physnet3:br-ex3" in told.diff
    assert told.effects[-1] == f"restart(unit={AGENT}), if needed"
    assert inside(lab, STATE) == state


def test_what_would_cut_the_way_is_refused(lab: Lab) -> None:
    """The NIC that carries the node's address stays where it is, and a NIC that does not exist is named."""
    run(lab)
    refused = run(lab, ports=["host0"])
    assert "host0 carries" in refused.stage("bridge").host("net1").error
    assert "there is no network device nic9" in run(lab, ports=["nic9"]).stage("bridge").host("net1").error
    assert inside(lab, "ovs-vsctl list-ports br-ex2") == NIC
