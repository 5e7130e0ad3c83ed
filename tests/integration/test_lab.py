"""The lab itself: nodes come, die, are cut off, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nornir_stack.lab import Lab, LabError, LabSpec, machine, trees
from nornir_stack.lab.machine import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable


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
    lab.down()
    assert_nothing_left(lab)


def assert_nothing_left(lab: Lab) -> None:
    names = [node.name for node in lab.nodes.values()]
    assert not lab.spec.state.exists()
    assert not any(str(lab.spec.state) in line for line in Path("/proc/self/mounts").read_text().splitlines())
    assert not any(folder.exists() for name in names for folder in machine.cgroup_folders(name))
    links = machine.run("ip", "-o", "link")
    assert lab.spec.bridge not in links
    assert not any(f"vb-{name}" in links for name in names)
    assert str(lab.spec.state) not in machine.run("losetup", "--all")
    assert f"nornir_stack_{lab.spec.name}" not in machine.run("nft", "list", "tables")
    assert not any(name in str(path) for name in names for path in Path("/run/systemd/nspawn").rglob("*"))
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(str(lab.spec.state).encode() in command for command in commands)


_UP = """
import ipaddress, pathlib, sys
from nornir_stack.lab import Lab, LabSpec, NodeSpec
name, network, state, *nodes = sys.argv[1:]
specs = tuple(NodeSpec(*node.split("="), disk_mib=32) for node in nodes)
Lab(LabSpec(name, ipaddress.ip_network(network), specs, pathlib.Path(state))).up()
"""


@pytest.mark.parametrize("after", [0.3, 0.6, 0.9, 1.3])
def test_an_up_that_is_killed_halfway(boot: Callable[..., Lab], after: float) -> None:
    """After SIGKILL of an `up`, `down` leaves nothing; and a second `up` makes a whole lab of what the first left."""
    lab = boot("k1", "k2", disk_mib=32)
    for again in (False, True):
        lab.down()
        words = [sys.executable, "-c", _UP, lab.spec.name, str(lab.spec.network), str(lab.spec.state)]
        with subprocess.Popen([*words, *(f"{node.name}={node.address}" for node in lab.spec.nodes)]) as process:
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        if again:
            lab.up()
            assert all(node.answers for node in lab.status())
            assert lab.enter("k2", "hostname").stdout == "k2\n"
        lab.down()
        assert_nothing_left(lab)


def test_two_ups_at_once_boot_each_node_once(boot: Callable[..., Lab]) -> None:
    """Of two `up` of one lab one boots, the other finds it booted; keys are made once."""
    lab = boot("c1", "c2")
    lab.down()
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: Lab(lab.spec).up(), range(2)))
    assert sorted(results) == [False, True]
    console = subprocess.run([*lab.ssh_command("c1"), "hostname"], check=False, capture_output=True, text=True)
    assert console.stdout == "c1\n", console.stderr
    lab.down()
    assert_nothing_left(lab)


def test_nodes_of_an_earlier_inventory_go_too(boot: Callable[..., Lab]) -> None:
    """`down` takes away a node that the inventory does not name any more, its disk too."""
    lab = boot("f1", "f2", disk_mib=32)
    fewer = LabSpec(lab.spec.name, lab.spec.network, lab.spec.nodes[:1], lab.spec.state)
    Lab(fewer).down()
    assert_nothing_left(lab)


def test_nodes_belong_to_no_terminal(lab: Lab) -> None:
    """A node's processes have a session of their own and no shell as parent: a closed terminal is nothing to them."""
    supervisor = lab.nodes["n1"].supervisor
    assert os.getsid(supervisor) != os.getsid(0)
    parent = (Path("/proc") / str(supervisor) / "stat").read_text().rpartition(")")[2].split()[1]
    assert parent == "1"


def test_a_tree_that_is_in_use_is_not_removed(lab: Lab) -> None:
    """`down --cache` of another lab refuses while nodes run on the cached trees."""
    lab.nodes["n1"].wait_ready()
    with pytest.raises(LabError, match="nodes of a lab run on the cached trees"):
        trees.drop_cache()


def test_what_is_mounted_in_a_folder_is_never_emptied(tmp_path: Path) -> None:
    """Removing a folder unmounts what is in it, mounted twice and with a blank in its name, and leaves that as it was."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    target = tmp_path / "a tree" / "dev"
    target.mkdir(parents=True)
    for _ in range(2):
        machine.run("mount", "--bind", str(precious), str(target))
    machine.remove(tmp_path / "a tree")
    assert (precious / "file").read_text() == "kept"
    assert not (tmp_path / "a tree").exists()
    assert machine.mounts_below(tmp_path) == []


def test_partitions_of_a_nodes_disk(boot: Callable[..., Lab]) -> None:
    """A disk can be partitioned inside; a partition that the kernel still knows does not keep the lab from going down."""
    lab = boot("p1", disk_mib=32)
    device = lab.nodes["p1"].disk()
    assert lab.enter("p1", "sh", "-c", "apt-get update -q && apt-get install -y -q fdisk").returncode == 0
    script = """echo ,,L | sfdisk -q "$1" && partx -a "$1" && cat /sys/block/"${1#/dev/}"/*/dev"""
    done = lab.enter("p1", "sh", "-c", script, "sh", device)
    assert done.returncode == 0, done.stderr
    lab.down()
    assert_nothing_left(lab)
    assert not Path(f"{device}p1").exists()


def test_more_cards_and_another_debian(boot: Callable[..., Lab]) -> None:
    """Cards in one segment see each other and nobody else, also after a reboot; a node may be of another Debian."""
    lab = boot("a", "b", suite={"b": "trixie"}, nics={"a": {"ex1": "outside"}, "b": {"ex1": "outside", "ex2": "inner"}})
    assert [lab.enter(n, "cut", "-d.", "-f1", "/etc/debian_version").stdout.strip() for n in "ab"] == ["12", "13"]
    lab.kill("b")
    lab.start("b")
    taken = next(line.split()[3] for line in machine.run("ip", "-o", "-4", "address").splitlines() if " lo " not in line)
    for name, card, address in (
        ("a", "ex1", "198.51.100.1/24"),
        ("b", "ex1", "198.51.100.2/24"),
        ("b", "ex2", "203.0.113.2/24"),
    ):
        lab.enter(name, "sh", "-c", 'ip address add "$1" dev "$2"; ip link set "$2" up', "sh", address, card)
    wait_for(lambda: lab.enter("a", "ping", "-c", "1", "-W", "2", "198.51.100.2").returncode == 0, 20, "the segment")
    theirs = taken.partition("/")[0]
    lab.enter("a", "ip", "route", "add", f"{theirs}/32", "dev", "ex1")
    assert lab.enter("a", "ping", "-c", "1", "-W", "1", theirs).returncode != 0, "this machine answers in a segment"
    segments = set(lab.spec.segments.values())
    lab.down()
    assert not segments & {path.name for path in Path("/sys/class/net").iterdir()}
