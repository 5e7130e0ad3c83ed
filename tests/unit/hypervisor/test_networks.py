"""What is done about a network that differs: nothing, an update while it runs, or a new definition."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.inventory.networks import Network, Pool
from nornir_stack.tasks.hypervisor.default_network import refuse_taken, wanted
from nornir_stack.tasks.hypervisor.network_xml import Reservation, decide, network_xml, with_identity
from nornir_stack.tasks.hypervisor.settings import VirtualNetwork
from nornir_stack.tasks.hypervisor.xml import flat

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
