"""Decisions about a bridge, on what a node printed."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused
from nornir_stack.tasks.networking.bridge import Bridge, at_boot, decide, mapped, parse, refuse

STANDS = """kernel
datapath netdev
port nic2
on nic2 br-ex2
nic br-ex2 1 0
nic nic2 1 0
"""
INI = "[ovs]\nbridge_mappings = physnet1:br-ex\n"


def test_what_stands_needs_nothing() -> None:
    """A bridge with its port, both up, is as wanted."""
    now = parse("br-ex2", STANDS)
    refuse(now, ["nic2"])
    assert (now.datapath, now.ports, decide(now, ["nic2"])) == ("netdev", ("nic2",), "")


@pytest.mark.parametrize(("kernel", "wanted"), [("kernel\n", "system"), ("", "netdev")])
def test_a_new_bridge_gets_the_datapath_that_the_kernel_has(kernel: str, wanted: str) -> None:
    """The userspace datapath is for kernels without Open vSwitch."""
    now = parse("br-ex2", f"{kernel}nic nic2 0 0\n")
    refuse(now, ["nic2"])
    lines = f"--- ovs br-ex2\n+++ ovs br-ex2\n+bridge br-ex2 datapath_type={wanted}\n+port nic2\n+br-ex2 up\n+nic2 up\n"
    assert decide(now, ["nic2"]) == lines


def test_a_bridge_keeps_the_datapath_and_the_ports_that_it_has() -> None:
    """A second port is added; nothing is said of what is there."""
    now = parse("br-ex2", f"{STANDS}nic nic3 1 0\n")
    assert decide(now, ["nic3"]) == "--- ovs br-ex2\n+++ ovs br-ex2\n+port nic3\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no network device nic2"),
        ("nic nic2 1 2\n", "nic2 carries 2 addresses"),
        ("nic nic2 1 0 nic2.5 bond0\n", r"nic2 carries nic2\.5, bond0"),
        ("nic nic2 1 0\non nic2 br-ex\n", "nic2 is on the bridge br-ex: take it off"),
        ("nic nic2 1 0\nnic br-ex2 1 0\n", "br-ex2 is a device that Open vSwitch does not know"),
    ],
)
def test_what_would_break_something_is_refused(text: str, said: str) -> None:
    """A sentence with what was seen and what to do."""
    with pytest.raises(Refused, match=said):
        refuse(parse("br-ex2", text), ["nic2"])


def test_open_vswitch_must_be_there() -> None:
    """The look says so, and what to run."""
    with pytest.raises(Refused, match=r"run network\.open_vswitch first"):
        parse("br-ex2", "missing\n")


def test_errors_of_devices_are_read() -> None:
    """What ovs-vsctl, ending with 0, leaves in the database."""
    assert parse("b", 'error b "could not open network device b (No such device)"\n').errors == {
        "b": "could not open network device b (No such device)"
    }


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (INI, "physnet1:br-ex,physnet2:br-ex2"),
        ("[ovs]\n#bridge_mappings =\n", "physnet2:br-ex2"),
        ("[ovs]\nbridge_mappings = physnet2:br-ex2 , physnet1:br-ex\n", "physnet2:br-ex2,physnet1:br-ex"),
    ],
)
def test_a_mapping_joins_those_of_others(text: str, wanted: str) -> None:
    """What is there stays; what is there already is not added."""
    assert mapped(text, "agent.ini", "physnet2", "br-ex2") == wanted


@pytest.mark.parametrize(
    ("text", "network", "bridge"), [(INI, "physnet1", "br-ex2"), (INI, "physnet2", "br-ex"), (None, "physnet1", "br-ex")]
)
def test_a_mapping_that_contradicts_is_refused(text: str | None, network: str, bridge: str) -> None:
    """One physical network is one bridge, and the other way round; without the agent's file there is nothing to map in."""
    with pytest.raises(Refused, match=r"correct it there first|does not exist"):
        mapped(text, "agent.ini", network, bridge)


def test_a_boot_has_the_bridge_and_its_ports_up() -> None:
    """Open vSwitch remembers them and brings none up; a card keeps the name by which its bridge knows it."""
    now = parse("br-ex2", f"{STANDS}mac nic2 52:54:00:0a:0b:0c\n")
    files = at_boot("br-ex2", ["nic2"], now.macs or {})
    assert list(files) == [
        "/etc/systemd/system/nornir-stack-bridge-br-ex2.service",
        "/etc/systemd/network/70-nornir-stack-nic2.link",
    ]
    unit, link = files.values()
    assert "for d in br-ex2 $$(ovs-vsctl --timeout=30 list-ports br-ex2); do" in unit
    assert "ip link set dev $$d up" in unit
    assert "WantedBy=multi-user.target" in unit
    assert link == "[Match]\nPermanentMACAddress=52:54:00:0a:0b:0c\n\n[Link]\nName=nic2\n"
    assert len(at_boot("br-ex2", ["nic2"], {})) == 1  # a device that is none of hardware has no address of its own


def test_nothing_is_known_of_a_bridge_that_is_not() -> None:
    """An empty look is an absent bridge."""
    assert parse("br-ex2", "") == Bridge("br-ex2", nics={}, macs={}, elsewhere={}, errors={})
