"""What XML of libvirt means, as cases and as properties."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nornir_stack.tasks.hypervisor.xml import NETWORK_ADDED, differences, flat, parsed

if TYPE_CHECKING:
    import random

_WANTED = """<network><name>control</name><bridge name="eth1"/><forward mode="nat"/>
<ip address="10.0.0.1" prefix="24"><dhcp><range start="10.0.0.100" end="10.0.0.200"/>
<host mac="52:54:00:AA:00:01" name="a" ip="10.0.0.11"/><host mac="52:54:00:aa:00:02" ip="10.0.0.12"/></dhcp></ip></network>"""
# as libvirt 9.0 tells it of the same network
_TOLD = """<network connections='2'>
  <name>control</name>
  <uuid>0f5f4c1e-0000-4000-8000-000000000001</uuid>
  <forward mode='nat'>
    <nat>
      <port start='1024' end='65535'/>
    </nat>
  </forward>
  <bridge name='eth1' stp='on' delay='0'/>
  <mac address='52:54:00:11:22:33'/>
  <ip address='10.0.0.1' netmask='255.255.255.0'>
    <dhcp>
      <host mac='52:54:00:aa:00:02' ip='10.0.0.12'/>
      <host mac='52:54:00:aa:00:01' name='a' ip='10.0.0.11'/>
      <range start='10.0.0.100' end='10.0.0.200'/>
    </dhcp>
  </ip>
</network>
"""


def test_what_libvirt_adds_and_rewrites_is_no_difference() -> None:
    """Order, white space, capitals, a netmask for a prefix, and what it fills in mean the same."""
    assert differences(_TOLD, _WANTED, NETWORK_ADDED) == []


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("10.0.0.200", "10.0.0.210", ["-network/ip[10.0.0.1]/dhcp/range[10.0.0.100]@end = 10.0.0.200"]),
        ("mode='nat'", "mode='route'", ["-network/forward@mode = route", "+network/forward@mode = nat"]),
        ("255.255.255.0", "255.255.0.0", ["-network/ip[10.0.0.1]@prefix = 16", "+network/ip[10.0.0.1]@prefix = 24"]),
        ("name='eth1'", "name='virbr7'", ["-network/bridge@name = virbr7", "+network/bridge@name = eth1"]),
        ("stp='on' ", "stp='on' zone='public' ", ["-network/bridge@zone = public"]),
        ("</network>", "<dns enable='no'/></network>", ["-network/dns@enable = no"]),
    ],
)
def test_what_differs_is_told_by_its_place(old: str, new: str, lines: list[str]) -> None:
    """A value that is other, or that is there and not wanted."""
    assert differences(_TOLD.replace(old, new), _WANTED, NETWORK_ADDED)[: len(lines)] == [
        line.replace("10.0.0.200", "10.0.0.210") if old == "10.0.0.200" else line for line in lines
    ]


def test_a_default_that_is_wanted_otherwise_is_a_difference() -> None:
    """What libvirt fills in is overlooked only where nothing is said about it."""
    wanted = _WANTED.replace('name="eth1"', 'name="eth1" stp="off"')
    assert differences(_TOLD, wanted, NETWORK_ADDED) == ["-network/bridge@stp = on", "+network/bridge@stp = off"]


def test_sizes_are_compared_as_bytes() -> None:
    """`1 GiB` and `1048576 KiB` are the same memory."""
    one, other = (f"<domain><memory unit='{unit}'>{n}</memory></domain>" for unit, n in (("GiB", 1), ("KiB", 1 << 20)))
    assert differences(one, other) == []


def _with(tag: str, children: list[ET.Element]) -> ET.Element:
    element = ET.Element(tag)
    element.extend(children)
    return element


_LEAVES = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "2", "x"]), max_size=3)
_TREES = st.recursive(
    st.builds(ET.Element, st.sampled_from(["ip", "host", "mac", "dns"]), _LEAVES),
    lambda inner: st.builds(
        _with, st.sampled_from(["dhcp", "forward"]), st.lists(inner, max_size=3, unique_by=lambda e: e.tag)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(_TREES, st.randoms(use_true_random=False))
def test_order_and_white_space_never_matter(tree: ET.Element, chance: random.Random) -> None:
    """A tree written in another order, with other white space, has the same facts."""
    text = ET.tostring(tree, encoding="unicode")
    other = parsed(text)
    for element in other.iter():
        children = list(element)
        chance.shuffle(children)
        element[:] = children
        element.text = "\n  " if children else element.text
        attributes = list(element.attrib.items())
        chance.shuffle(attributes)
        element.attrib.clear()
        element.attrib.update(attributes)
    assert flat(ET.tostring(other, encoding="unicode")) == flat(text)


@settings(deadline=None)
@given(_TREES, _TREES)
def test_differences_are_there_exactly_if_the_facts_differ(one: ET.Element, other: ET.Element) -> None:
    """Nothing is overlooked, and a thing never differs from itself."""
    left, right = (ET.tostring(each, encoding="unicode") for each in (one, other))
    assert differences(left, left) == []
    assert bool(differences(left, right)) == (flat(left) != flat(right))
