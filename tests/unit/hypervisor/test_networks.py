"""What is done about a network that differs: nothing, an update while it runs, or a new definition."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from unittest.mock import Mock

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.inventory.networks import Network, Pool
from nornir_stack.tasks.hypervisor.default_network import refuse_taken, wanted
from nornir_stack.tasks.hypervisor.network_xml import Reservation, bridge_of, decide, network_xml, with_identity
from nornir_stack.tasks.hypervisor.networks import Found, Plugged, _restart, held, refuse_way, taps_on
from nornir_stack.tasks.hypervisor.settings import VirtualNetwork
from nornir_stack.tasks.hypervisor.xml import flat

libvirt = pytest.importorskip("libvirt")
_PLAN = Network(cidr=ip_network("10.0.0.0/24"), pools=(Pool(first=ip_address("10.0.0.100"), last=ip_address("10.0.0.150")),))
_DECLARED = VirtualNetwork(mode="nat", bridge="eth1", address=ip_address("10.0.0.1"), dhcp=True)
_A, _B = Reservation("52:54:00:00:00:01", "a", "10.0.0.11"), Reservation("52:54:00:00:00:02", "b", "10.0.0.12")


def xml(*reserved: Reservation, declared: VirtualNetwork = _DECLARED) -> str:
    return network_xml("control", declared, _PLAN, reserved)


@pytest.mark.parametrize(
    ("declared", "facts"),
    [
        (VirtualNetwork(), {"network/name": "control"}),
        (VirtualNetwork(mode="bridged", bridge="br0"), {"network/forward@mode": "bridge", "network/bridge@name": "br0"}),
        (
            VirtualNetwork(mode="routed", uplink="eth0", address=ip_address("10.0.0.1")),
            {"network/forward@mode": "route", "network/forward@dev": "eth0", "network/ip[10.0.0.1]@prefix": "24"},
        ),
        (_DECLARED, {"network/forward@mode": "nat", "network/ip[10.0.0.1]/dhcp/range[10.0.0.100]@end": "10.0.0.150"}),
    ],
)
def test_each_kind_says_what_it_means(declared: VirtualNetwork, facts: dict[str, str]) -> None:
    """Isolated has no forwarding at all; a bridged one names the bridge that is there."""
    found = flat(xml(declared=declared))
    assert facts.items() <= found.items()
    assert ("network/forward@mode" in found) == (declared.mode != "isolated")


def test_what_is_as_wanted_is_left_alone() -> None:
    """No step, whether it runs or not."""
    assert not decide(xml(_A), xml(_A), xml(_A)).lines
    assert not decide(xml(_A), "", xml(_A)).define


def test_reservations_are_updated_while_it_runs() -> None:
    """What goes goes first, so that its address is free; nothing is defined, nothing restarted."""
    moved = Reservation(_B.mac, "b", _A.address)
    steps = decide(xml(_A, _B), xml(_A, _B), xml(moved))
    assert (steps.define, steps.restart) == (False, False)
    assert [update.do for update in steps.updates] == ["delete", "delete", "add"]


def test_what_cannot_be_changed_while_it_runs_is_a_restart() -> None:
    """Another mode is; of a network that does not run it is a definition only."""
    routed = VirtualNetwork(mode="routed", bridge="eth1", address=ip_address("10.0.0.1"), dhcp=True)
    assert decide(xml(_A), xml(_A), xml(_A, declared=routed)).restart
    steps = decide(xml(_A), "", xml(_A, declared=routed))
    assert (steps.define, steps.restart) == (True, False)


def test_a_network_that_runs_as_it_was_before_is_restarted() -> None:
    """It was defined anew by a run that was cut before the restart."""
    routed = VirtualNetwork(mode="routed", bridge="eth1", address=ip_address("10.0.0.1"), dhcp=True)
    steps = decide(xml(_A, declared=routed), xml(_A), xml(_A, declared=routed))
    assert (steps.define, steps.restart) == (False, True)


def test_reservations_that_only_the_running_network_lacks_are_given_to_it() -> None:
    """Its definition has them, by virsh net-edit or by a run that was cut: an update, not a restart."""
    steps = decide(xml(_A, _B), xml(_A), xml(_A, _B))
    assert (steps.define, steps.restart, steps.updates) == (False, False, ())
    assert [(each.do, each.section) for each in steps.live] == [("add", "host")]


def test_ranges_are_updated_while_it_runs() -> None:
    """libvirt takes and gives ranges of DHCP as it does reservations."""
    wider = xml(_A).replace("10.0.0.150", "10.0.0.200")
    steps = decide(xml(_A), xml(_A), wider)
    assert (steps.define, steps.restart) == (False, False)
    assert [(each.do, each.section) for each in steps.updates] == [("delete", "range"), ("add", "range")]
    assert steps.updates == steps.live


def test_a_reservation_of_ipv6_has_no_hardware_address() -> None:
    """libvirt refuses one there."""
    plan = Network(cidr=ip_network("fd00::/64"))
    declared = VirtualNetwork(bridge="eth1", address=ip_address("fd00::1"), dhcp=True)
    made = network_xml("six", declared, plan, [Reservation(_A.mac, "a", "fd00::11")])
    assert ('<host name="a" ip="fd00::11"' in made, "mac=" in made) == (True, False)
    (update,) = decide(network_xml("six", declared, plan, [Reservation("", "b", "fd00::12")]), "", made).updates[1:]
    assert update.xml == '<host name="a" ip="fd00::11" />'


def test_a_bridge_that_libvirt_named_keeps_its_name() -> None:
    """A definition without one would be given the next free name, and leave the machines on the old; another's bridge goes."""
    unnamed = VirtualNetwork(address=ip_address("10.0.0.1"))
    now = xml(declared=replace(unnamed, bridge="virbr3"))
    assert bridge_of(with_identity(xml(declared=unnamed), now)) == "virbr3"
    assert bridge_of(with_identity(xml(declared=unnamed), xml(declared=VirtualNetwork(mode="bridged", bridge="br0")))) == ""


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ('<source network="control"/><target dev="vnet0"/>', ["vnet0"]),
        ('<source bridge="virbr0"/><target dev="vnet1"/>', ["vnet1"]),
        ('<source network="other" bridge="virbr9"/><target dev="vnet2"/>', []),
    ],
)
def test_a_machine_on_the_bridge_is_on_the_network(card: str, found: list[str]) -> None:
    """Whether it names the network or the bridge: a stop takes the bridge from under both."""
    domain = f"<domain><devices><interface>{card}</interface></devices></domain>"
    assert taps_on(domain, "control", "virbr0") == found


def test_all_that_is_on_a_network_is_named() -> None:
    """Machines, and devices of its bridge that libvirt does not know; of somebody else's bridge only the machines."""
    plugged = Plugged({"vnet0": "eth1", "veth7": "eth1", "eth1-nic": "eth1", "vnet9": "br0"}, frozenset())
    assert held(Found("", xml(), guests=(("vm1", "vnet0"),)), plugged) == ["vm1", "the device veth7"]
    bridged = xml(declared=VirtualNetwork(mode="bridged", bridge="br0"))
    assert held(Found("", bridged, guests=(("vm2", "vnet9"),)), plugged) == ["vm2"]


def test_the_way_in_is_never_stopped() -> None:
    """Nor where the network is named in restart: nobody would be left to see it come up again."""
    with pytest.raises(Refused, match="your own connection comes by its bridge eth1"):
        refuse_way("hv1", "control", xml(), Plugged({}, frozenset({"eth1"})))
    refuse_way("hv1", "control", xml(), Plugged({}, frozenset({"eth0"})))
    refuse_way("hv1", "control", xml(declared=VirtualNetwork(mode="bridged", bridge="eth1")), Plugged({}, frozenset({"eth1"})))


def test_a_network_that_does_not_start_runs_as_it_did_before() -> None:
    """Else everything on it would be cut off by a definition that cannot run."""
    link = Mock()
    link.networkLookupByName.return_value.create.side_effect = libvirt.libvirtError("in use")
    with pytest.raises(libvirt.libvirtError):
        _restart(link, "control", "<before/>")
    assert [each[0] for each in link.method_calls] == ["networkLookupByName", "networkDefineXML"]
    link.networkDefineXML.assert_called_once_with("<before/>")
    link.networkDefineXML.return_value.create.assert_called_once()


def test_its_identity_stays() -> None:
    """A new definition keeps the UUID, by which libvirt knows it, and the bridge's hardware address."""
    now = xml(_A).replace("<bridge", "<uuid>0001</uuid><mac address='52:54:00:11:22:33'/><bridge")
    found = flat(with_identity(xml(_B), now))
    assert (found["network/uuid"], found["network/mac@address"]) == ("0001", "52:54:00:11:22:33")


def test_an_address_outside_is_refused() -> None:
    """The hypervisor's own address is in its network."""
    with pytest.raises(Refused, match=r"10\.9\.0\.1 is not in 10\.0\.0\.0/24"):
        xml(declared=VirtualNetwork(address=ip_address("10.9.0.1")))


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "bridged"},
        {"mode": "nat"},
        {"mode": "isolated", "uplink": "eth0"},
        {"dhcp": True},
        {"mode": "bridged", "bridge": "br0", "dhcp": True},
    ],
)
def test_declarations_that_cannot_work_are_refused(given: dict[str, object]) -> None:
    """Before anything is touched."""
    with pytest.raises(ValueError, match=r"bridge|address|uplink"):
        VirtualNetwork(**given)  # type: ignore[arg-type]


def test_the_default_network_is_as_the_package_makes_it() -> None:
    """libvirt's default.xml: NAT over virbr0, the first address its own, all others handed out."""
    found = flat(wanted("192.168.122.0/24", "virbr0"))
    assert {
        "network/name": "default",
        "network/forward@mode": "nat",
        "network/bridge@name": "virbr0",
        "network/ip[192.168.122.1]@prefix": "24",
        "network/ip[192.168.122.1]/dhcp/range[192.168.122.2]@end": "192.168.122.254",
    }.items() <= found.items()


@pytest.mark.parametrize("cidr", ["192.168.122.1/24", "192.168.122.0/30", "here", "fd00::/64"])
def test_what_is_no_network_to_give_addresses_of_is_a_usage_error(cidr: str) -> None:
    """Told before libvirt is asked."""
    with pytest.raises(UsageError, match="cidr="):
        wanted(cidr, "virbr0")


def test_the_default_network_takes_no_addresses_of_the_plan() -> None:
    """One that overlaps a network of the inventory would swallow its packets."""
    refuse_taken("192.168.122.0/24", {"control": _PLAN}, "hv1")
    with pytest.raises(Refused, match=r"overlaps network 'control' \(10\.0\.0\.0/24\)"):
        refuse_taken("10.0.0.128/25", {"control": _PLAN}, "hv1")
