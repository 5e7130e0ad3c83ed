"""Virtual processors may be promised twice, memory may not."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused
from nornir_stack.size import Size
from nornir_stack.tasks.hypervisor.capacity import BY_ROLE, Promise, huge_pages, refuse, sizes_of
from nornir_stack.tasks.hypervisor.domain_xml import Domain, promised
from nornir_stack.tasks.hypervisor.machines import _promise

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


def test_who_starts_with_the_hypervisor_is_promised_its_memory() -> None:
    """Else both would start after a power cut; one that is off and stays off has nothing, one of huge pages none of this."""
    huge = "<domain><memoryBacking><hugepages/></memoryBacking></domain>"
    there = {
        "runs": Domain("runs", "<domain/>", "<domain/>", cpus=1, memory=_GIB),
        "starts": Domain("starts", "<domain/>", autostart=True, cpus=1, memory=_GIB),
        "off": Domain("off", "<domain/>", cpus=1, memory=_GIB),
        "huge": Domain("huge", huge, huge, cpus=1, memory=_GIB),
    }
    assert promised(there) == [Promise("runs", 1, _GIB), Promise("starts", 1, _GIB), Promise("huge", 1, 0)]


def test_a_machine_that_is_to_grow_is_promised_what_it_will_have() -> None:
    """From its next start; until then it keeps what it has, which may be more."""
    sizes = sizes_of([], 2, Size.parse("4G"), None)
    running = Domain("vm1", "<domain/>", "<domain/>", cpus=4, memory=_GIB)
    assert _promise("vm1", sizes, running) == Promise("vm1", 4, 4 * _GIB)
    assert _promise("vm1", sizes, None) == Promise("vm1", 2, 4 * _GIB)


def test_huge_pages_are_no_memory_for_others() -> None:
    """What is set aside as pages larger than the ordinary ones, on all NUMA nodes."""
    cell = "<cell id='{}'><pages unit='KiB' size='4'>9</pages><pages unit='KiB' size='2048'>{}</pages></cell>"
    cells = cell.format(0, 10) + cell.format(1, 6)
    assert huge_pages(f"<capabilities><host><topology><cells>{cells}</cells></topology></host></capabilities>") == 32 << 20
    assert huge_pages("<capabilities><host/></capabilities>") == 0


def test_no_machine_has_more_processors_than_there_are() -> None:
    """Though twice as many may be promised to all."""
    with pytest.raises(Refused, match="alone wants 5"):
        refuse("hv1", 4, 16 * _GIB, 0, [Promise("a", 5, _GIB)])


def test_sizes_come_of_the_roles() -> None:
    """The largest of them, unless the inventory says otherwise."""
    both = sizes_of(["controller", "db"], None, None, None)
    assert (both.cpus, both.memory) == (BY_ROLE["controller"].cpus, BY_ROLE["controller"].memory)
    assert sizes_of(["controller"], 1, Size.parse("512M"), None).memory == Size.parse("512M")
