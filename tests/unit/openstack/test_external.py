"""External networks: what is refused before anything is asked, what Neutron's server must allow, what hangs on a network."""

from __future__ import annotations

import shlex
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack import schema
from nornir_stack.seen import Seen
from nornir_stack.tasks.openstack.agents import OVS_AGENT, Agent
from nornir_stack.tasks.openstack.external import mapped, ml2, up_unit
from nornir_stack.tasks.openstack.projects import _look
from nornir_stack.tasks.openstack.removal import Hanging
from nornir_stack.tasks.openstack.settings import Cloud

if TYPE_CHECKING:
    from pathlib import Path

ONE = {
    "physical_network": "physnet1",
    "bridge": "br-ex",
    "nic": "ex1",
    "cidr": "203.0.113.0/24",
    "gateway": "203.0.113.1",
    "first": "203.0.113.100",
    "last": "203.0.113.200",
}
TWO = {**ONE, "physical_network": "physnet2", "bridge": "br-ex2", "nic": "ex2", "vlan": 100}


def read(**external: dict[str, Any]) -> Cloud:
    value, complaints = schema.read(Cloud, {"external": external})
    assert value is not None, complaints
    return value


def complaint(**wrong: Any) -> str:
    value, complaints = schema.read(Cloud, {"external": {"public": {**ONE, **wrong}}})
    assert value is None
    return complaints[0].text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"first": "203.0.113.1"}, "holds the gateway 203.0.113.1"),
        ({"last": "203.0.113.255"}, "holds the broadcast address 203.0.113.255"),
        ({"first": "203.0.113.0", "gateway": "203.0.113.254"}, "holds the network's own address 203.0.113.0"),
        ({"last": "203.0.114.5"}, "the pool 203.0.113.100 to 203.0.114.5 stands outside 203.0.113.0/24"),
        ({"first": "203.0.113.201"}, "begins at 203.0.113.201 and ends before it, at 203.0.113.200"),
        ({"gateway": "203.0.114.1"}, "the gateway 203.0.114.1 stands outside 203.0.113.0/24"),
    ],
)
def test_a_pool_that_cannot_be_given_away_is_refused(wrong: dict[str, str], said: str) -> None:
    """The notebook's pool went from the gateway to the broadcast address: both would have become somebody's."""
    assert said in complaint(**wrong)


def test_a_project_leads_to_a_network_that_there_is() -> None:
    """With the nearest known one."""
    data = {"external": {"public": ONE}, "projects": {"test": {"cidr": "10.1.0.0/24", "external": "publc"}}}
    assert "no external network 'publc': did you mean 'public'?" in schema.read(Cloud, data)[1][0].text


def test_a_bridge_stands_for_one_physical_network() -> None:
    """Two on one bridge would be mixed by the agent."""
    data = {"external": {"public": ONE, "other": {**TWO, "bridge": "br-ex"}}}
    assert "the bridge br-ex is that of physnet1 already" in schema.read(Cloud, data)[1][0].text


def test_a_second_network_is_allowed_beside_the_first() -> None:
    """What stands there stays; `vlan` comes into type_drivers with the first range: without it the server does not start."""
    text = "[ml2]\ntype_drivers = flat,vxlan\n[ml2_type_flat]\nflat_networks = office\n"
    text += "[ml2_type_vlan]\nnetwork_vlan_ranges = office:1:50\n"
    wanted = ml2(text, read(public=ONE, second=TWO).external.values())
    assert wanted == {
        "ml2": {"type_drivers": "flat,vxlan,vlan"},
        "ml2_type_flat": {"flat_networks": "office,physnet1"},
        "ml2_type_vlan": {"network_vlan_ranges": "office:1:50,physnet2:100:100"},
    }
    again = "".join(f"[{section}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items()) for section, keys in wanted.items())
    assert ml2(again, read(public=ONE, second=TWO).external.values()) == wanted


@pytest.mark.parametrize("ranges", ["physnet2", "physnet2:1:4094", "other:1:2,physnet2:100:100"])
def test_a_vlan_that_is_allowed_already_needs_no_range(ranges: str) -> None:
    """A whole physical network, or a range that holds it."""
    text = f"[ml2_type_vlan]\nnetwork_vlan_ranges = {ranges}\n"
    assert ml2(text, read(second=TWO).external.values())["ml2_type_vlan"]["network_vlan_ranges"] == ranges


def test_flat_networks_of_every_name_stay_so() -> None:
    """A star allows any."""
    text = "[ml2_type_flat]\nflat_networks = *\n"
    assert ml2(text, read(public=ONE).external.values())["ml2_type_flat"] == {"flat_networks": "*"}


def test_an_agent_that_does_not_report_the_mapping_is_told() -> None:
    """Dead, on another bridge, or never heard of."""
    agents = (Agent("n1", OVS_AGENT, True, {"physnet1": "br-ex"}), Agent("n2", OVS_AGENT, False, {}))
    wanted = {"physnet1": "br-ex", "physnet2": "br-ex2"}
    assert mapped(Seen({"cloud1": agents}), wanted=wanted, nodes=("n1", "n2", "n3")) == [
        "the agent on n1 maps physnet2 to nothing, not to br-ex2",
        "neutron-openvswitch-agent on n2 is not alive in the cloud's eyes",
        "neutron-openvswitch-agent on n3 is not alive in the cloud's eyes",
    ]


def test_what_hangs_on_a_network_is_listed_in_the_order_of_its_removal() -> None:
    """The word to confirm it by stands for exactly that: with one address more it is another."""
    now = Hanging("n", "public", (("f", "203.0.113.101 of 10.1.0.5"),), (("r", "test"),), (), (("s", "203.0.113.0/24"),), ())
    assert now.lines == (
        "floating address 203.0.113.101 of 10.1.0.5",
        "gateway of the router test",
        "subnet 203.0.113.0/24",
        "network public",
    )
    more = Hanging("n", "public", (*now.floating, ("g", "203.0.113.102")), now.gateways, (), now.subnets, ())
    assert now.word != more.word
    assert len(now.word) == 8


def test_routers_that_go_too_lose_their_other_interfaces_first() -> None:
    """Neutron does not remove a router that is still on a subnet."""
    inner = (("r", "test on 10.1.0.1", "t"),)
    now = Hanging("n", "public", (), (("r", "test"),), (), (("s", "203.0.113.0/24"),), (), inner, routers=True)
    assert now.lines == (
        "gateway of the router test",
        "interface of the router test on 10.1.0.1",
        "router test",
        "subnet 203.0.113.0/24",
        "network public",
    )


def test_cards_are_up_after_a_boot(tmp_path: Path) -> None:
    """All of them, the second network's too; one that is not there fails the unit and does not keep the others down."""
    text = up_unit({"br-ex": "ex1", "br-ex2": "ex2"})
    (line,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    (tmp_path / "ip").write_text('#!/bin/sh\necho "$@"\n[ "$4" != ex1 ]\n')
    (tmp_path / "ip").chmod(0o755)
    argv = shlex.split(line.removeprefix("ExecStart=").replace("$$", "$"))  # as systemd.service(5) has it
    done = subprocess.run(argv, env={"PATH": f"{tmp_path}"}, capture_output=True, text=True, check=False)
    assert done.stdout == "".join(f"link set dev {name} up\n" for name in ("br-ex", "ex1", "br-ex2", "ex2"))
    assert done.returncode == 1
    assert "WantedBy=multi-user.target\n" in text


def test_a_directorys_user_is_not_the_one_of_a_project() -> None:
    """It has the name of one and another domain: that of the inventory is made, and nobody else becomes a member."""
    rows = (("alice", "1", "people"), ("bob", "2", "default"))
    users = [SimpleNamespace(name=name, id=number, domain_id=domain) for name, number, domain in rows]
    identity = SimpleNamespace(
        users=lambda: users, find_role=lambda _name: SimpleNamespace(id="r"), find_project=lambda _name: None
    )
    wanted = read(public=ONE).projects
    assert _look(SimpleNamespace(identity=identity, network=None), "test", wanted).users == {"bob": "2"}  # type: ignore[arg-type]
