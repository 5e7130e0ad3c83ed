"""Virtual processors may be promised twice, memory may not."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused
from nornir_stack.size import Size
from nornir_stack.tasks.hypervisor.capacity import BY_ROLE, Promise, refuse, sizes_of

_GIB = 1 << 30


def test_processors_are_promised_twice() -> None:
    """Eight of four are, nine are not."""
    eight = [Promise("a", 4, _GIB), Promise("b", 4, _GIB)]
    refuse("hv1", 4, 16 * _GIB, _GIB, eight)
    with pytest.raises(Refused, match="may be promised twice"):
        refuse("hv1", 4, 16 * _GIB, _GIB, [*eight, Promise("c", 1, _GIB)])


def test_memory_is_promised_once() -> None:
    """What the hypervisor keeps for itself is not promised; the refusal names the machines."""
    refuse("hv1", 4, 16 * _GIB, _GIB, [Promise("a", 1, 15 * _GIB)])
    with pytest.raises(Refused, match=r"a 15360 MiB, b 1 MiB.*not promised twice"):
        refuse("hv1", 4, 16 * _GIB, _GIB, [Promise("a", 1, 15 * _GIB), Promise("b", 1, 1 << 20)])


def test_no_machine_has_more_processors_than_there_are() -> None:
    """Though twice as many may be promised to all."""
    with pytest.raises(Refused, match="alone wants 5"):
        refuse("hv1", 4, 16 * _GIB, 0, [Promise("a", 5, _GIB)])


def test_sizes_come_of_the_roles() -> None:
    """The largest of them, unless the inventory says otherwise."""
    both = sizes_of(["controller", "db"], None, None, None)
    assert (both.cpus, both.memory) == (BY_ROLE["controller"].cpus, BY_ROLE["controller"].memory)
    assert sizes_of(["controller"], 1, Size.parse("512M"), None).memory == Size.parse("512M")
