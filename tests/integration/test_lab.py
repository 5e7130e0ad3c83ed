"""The lab itself: nodes come, die, are cut off, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nornir_stack.lab import machine

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("n1", "n2", "n3")


def pings(lab: Lab, one: str, other: str) -> bool:
    address = lab.spec.node(other).address.partition("/")[0]
    return lab.enter(one, "ping", "-c", "1", "-W", "2", address).returncode == 0


def test_nodes_are_whole_systems(lab: Lab) -> None:
    """Each node has its own systemd, name and address, and no failed unit."""
    for name in ("n1", "n2", "n3"):
        assert lab.enter(name, "hostname").stdout.strip() == name
        assert lab.enter(name, "systemctl", "--failed", "--no-legend").stdout == ""
        assert lab.enter(name, "cat", "/proc/1/comm").stdout.strip() == "systemd"


def test_a_second_up_changes_nothing(lab: Lab) -> None:
    """`up` on a running lab boots nothing: the same processes go on."""
    before = {name: node.init for name, node in lab.nodes.items()}
    assert lab.up() is False
    assert {name: node.init for name, node in lab.nodes.items()} == before


def test_a_killed_node_comes_back_with_its_files(lab: Lab) -> None:
    """SIGKILL of everything, then `up`: the node is there again, with what it wrote."""
    lab.enter("n1", "sh", "-c", "echo kept > /root/kept; sync")
    lab.kill("n1")
    assert not lab.status()[0].running
    assert lab.up() is True
    assert lab.enter("n1", "cat", "/root/kept").stdout == "kept\n"


def test_reset_gives_a_virgin_node(lab: Lab) -> None:
    """After a reset nothing that was written is left."""
    lab.enter("n2", "touch", "/root/mine")
    lab.reset("n2")
    assert lab.enter("n2", "ls", "/root").stdout == ""


def test_cut_and_heal(lab: Lab) -> None:
    """A node that is cut off reaches nobody and is reached by nobody, until it is healed."""
    lab.cut("n3")
    assert not pings(lab, "n1", "n3")
    assert not lab.status()[2].answers
    lab.heal()
    machine.wait_for(lambda: pings(lab, "n1", "n3"), 10, "the healed node")


def test_partition_lets_groups_not_reach_each_other(lab: Lab) -> None:
    """In a partition 2+1 the two reach each other and not the third; this machine reaches all."""
    lab.partition(["n1", "n2"], ["n3"])
    try:
        assert pings(lab, "n1", "n2")
        assert not pings(lab, "n1", "n3")
        assert all(status.answers for status in lab.status())
    finally:
        lab.heal()
    machine.wait_for(lambda: pings(lab, "n1", "n3"), 10, "the healed node")


def test_pause_stops_answers_and_resume_brings_them_back(lab: Lab) -> None:
    """A paused node keeps its processes and answers nothing."""
    lab.pause("n1")
    try:
        assert lab.status()[0].running
        assert not lab.status()[0].answers
    finally:
        lab.resume("n1")
    lab.nodes["n1"].wait_ready()


def test_packages_install_without_any_network(lab: Lab) -> None:
    """apt in a node finds its packages in the lab's own mirror."""
    done = lab.enter("n2", "sh", "-c", "apt-get update -q && apt-get install -y -q --no-install-recommends socat")
    assert done.returncode == 0, done.stderr
    assert lab.enter("n2", "socat", "-V").returncode == 0


def test_down_leaves_nothing(boot: Callable[..., Lab]) -> None:
    """No process, mount, control group, loop device, link or file is left, though one node was killed and one is paused."""
    lab = boot("x1", "x2", disk_mib=32)
    lab.kill("x1")
    lab.pause("x2")
    names = [node.name for node in lab.nodes.values()]
    lab.down()
    assert not lab.spec.state.exists()
    assert not any(str(lab.spec.state) in line for line in Path("/proc/self/mounts").read_text().splitlines())
    assert not any(folder.exists() for name in names for folder in machine.cgroup_folders(name))
    links = machine.run("ip", "-o", "link")
    assert lab.spec.bridge not in links
    assert not any(f"vb-{name}" in links for name in names)
    assert str(lab.spec.state) not in machine.run("losetup", "--all")
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(str(lab.spec.state).encode() in command for command in commands)
