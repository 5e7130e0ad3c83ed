"""Changes to the network of real nodes that would lock the operator out: each time the node is as before, in time."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack import undo
from nornir_stack.chain import Chain, Stage
from nornir_stack.chain import do as do_task
from nornir_stack.command import command, sh
from nornir_stack.confirmed import File, Network, _Confirming, confirmed
from nornir_stack.effects import RunState
from nornir_stack.errors import ConnectionLost, Refused, UndoFailed, Undone
from nornir_stack.node import Node
from nornir_stack.select import role
from tests.integration.conftest import nornir
from tests.integration.link_trials import asking_from_afar, not_forwarding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nornir.core import Nornir
    from nornir.core.task import Task

    from nornir_stack.command import Command
    from nornir_stack.lab import Lab
    from nornir_stack.results import Result

    Step = Command | File

WITHIN = 4.0
GRACE = 20.0  # for a machine that is busy with other tests
STATE = "ip -o address; ip -o route show table all; ip rule; nft -s list ruleset; cat /etc/systemd/network/10-host0.network"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("n1", "n2")


@pytest.fixture
def nr(lab: Lab) -> Iterator[Nornir]:
    with nornir(lab, {"network": ["n1"]}) as nr:
        yield nr


def inside(lab: Lab, script: str) -> str:
    return lab.enter("n1", "sh", "-c", script).stdout.strip()


def state(lab: Lab) -> str:
    """What the kernel and the files have; the seconds that a lease or an advertisement is still good for left out."""
    text = inside(lab, STATE + r"; for d in /sys/class/net/*; do echo $d $(cat $d/flags $d/mtu) $(readlink $d/master); done")
    return "\n".join(sorted(text.replace(" tentative", "").splitlines()))


def left_over(lab: Lab) -> str:
    """Files and units of a change that waits."""
    units = f"/etc/systemd/system/{undo.UNIT}* /etc/systemd/system/*.wants/{undo.UNIT}*"
    listing = f"systemctl list-units --all --no-legend --plain '{undo.UNIT}*'"
    return inside(lab, f"ls -d {undo.STATE} {undo.STATE}.* {units} 2>/dev/null; {listing}")


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.1)


def change(task: Task, *, steps: Sequence[Step], within: float = WITHIN, **words: Any) -> Result[None]:
    node = Node(task)
    confirmed(node, steps, within=within, **words)
    return node.done()


def do(nr: Nornir, *steps: Step, **words: Any) -> Any:
    nr.data.reset_failed_hosts()
    result = nr.run(task=change, steps=steps, raise_on_error=False, **words)["n1"][0]
    if result.exception:
        raise result.exception
    return result


def ip(*words: str) -> Command:
    return command("ip", *words)


def is_undone(lab: Lab, nr: Nornir, *steps: Step, match: str = "former network again", **words: Any) -> None:
    """Done, undone within the time, exactly as before; nothing is left, and the connection serves."""
    before = state(lab)
    started = time.monotonic()
    with pytest.raises(Undone, match=match):
        do(nr, *steps, **words)
    assert time.monotonic() - started < WITHIN + GRACE
    assert state(lab) == before
    wait_until(lambda: left_over(lab) == "", GRACE)
    assert inside(lab, f"ls {undo.HOME}") == ""
    nr.data.reset_failed_hosts()
    assert nr.run(task=lambda task: Node(task).done(Node(task).read("hostname").text))["n1"][0].result == "n1"


def address(lab: Lab) -> str:
    return lab.spec.node("n1").address


def test_a_right_change_stays_and_leaves_nothing(lab: Lab, nr: Nornir) -> None:
    """An address more and a file: there after the time is up, without timer, unit, process or file of ours."""
    path = "/etc/systemd/network/10-host0.network.d/more.conf"
    steps: list[Step] = [
        command("mkdir", "-p", path.rpartition("/")[0]),
        File(path, "[Network]\nAddress=10.99.0.1/24\n"),
        command("networkctl", "reload"),
    ]

    def there(node: Node) -> list[str]:
        return [] if "10.99.0.1/24" in node.read("ip", "-o", "address", "show", "dev", "host0").stdout else ["no address"]

    result = do(nr, *steps, check=there)
    assert result.changed
    assert left_over(lab) == ""
    assert inside(lab, f"ls {undo.HOME}") == ""
    time.sleep(WITHIN)  # the fact is that nothing happens
    assert "10.99.0.1/24" in inside(lab, "ip -o address")
    assert inside(lab, f"cat {path}") == "[Network]\nAddress=10.99.0.1/24"
    is_undone(lab, nr, command("rm", path), ip("link", "set", "host0", "down"), undo=Network([path]))


def test_the_task_of_the_documentation(lab: Lab, nr: Nornir) -> None:
    """A user's own task, as docs/confirmed.md shows it: done, and kept."""
    page = (Path(__file__).parents[2] / "docs/confirmed.md").read_text()
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(page.partition("```python\n")[2].partition("```")[0], "snippet", "exec"), names)  # noqa: S102  the point of it
    other = lab.spec.node("n2").address.partition("/")[0]
    result = nr.run(task=names["second_address"], address="10.97.0.1/24", reaches=other)["n1"][0]
    assert not result.failed
    assert "10.97.0.1/24" in inside(lab, "ip -o address show dev host0")
    assert left_over(lab) == ""


def test_a_wrong_address(lab: Lab, nr: Nornir) -> None:
    """The node's address replaced by another: the new login never comes, and the old address is back."""
    steps = [ip("address", "flush", "dev", "host0"), ip("address", "add", "192.0.2.7/24", "dev", "host0")]
    is_undone(lab, nr, *steps)


def test_a_wrong_address_in_the_file(lab: Lab, nr: Nornir) -> None:
    """networkd's own file with another address, and networkd told: file and kernel are as before."""
    path = "/etc/systemd/network/10-host0.network"
    text = inside(lab, f"cat {path}").replace(address(lab), "192.0.2.7/24") + "\n"
    steps: list[Step] = [File(path, text), command("networkctl", "reload"), command("networkctl", "reconfigure", "host0")]
    restore = [command("networkctl", "reload"), command("networkctl", "reconfigure", "host0")]
    is_undone(lab, nr, *steps, undo=Network(restore=restore))


def test_a_wrong_default_route(lab: Lab, nr: Nornir) -> None:
    """A controller behind the gateway is locked out by a wrong default route; it is back, and with it the answers."""
    not_forwarding(lab, "n2")  # which would pass the answers on
    with asking_from_afar(lab, "n1"):
        inside(lab, f"ip route replace default via {lab.spec.gateway}")
        is_undone(lab, nr, ip("route", "replace", "default", "via", str(lab.spec.node("n2").address.partition("/")[0])))


def test_a_check_that_finds_problems(lab: Lab, nr: Nornir) -> None:
    """The login works and the check does not hold: undone when the time is up, with its words."""
    gateway = str(lab.spec.node("n2").address.partition("/")[0])
    is_undone(lab, nr, ip("route", "add", "10.98.0.0/16", "via", gateway), check=lambda _: ["no way out"], match="no way out")


def test_a_firewall_that_drops_ssh(lab: Lab, nr: Nornir) -> None:
    """What drops new connections and keeps the old is no confirmation: the rules that stood before are back."""
    inside(lab, "nft add table inet mine; nft 'add chain inet mine input { type filter hook input priority 0; }'")
    inside(lab, "nft 'add rule inet mine input tcp dport 3306 counter reject'")
    drop = "add rule inet mine input ct state established accept; add rule inet mine input tcp dport 22 drop"
    is_undone(lab, nr, command("nft", drop))
    is_undone(
        lab,
        nr,
        command(
            "nft",
            "-f",
            "-",
            stdin="flush ruleset\ntable ip x { chain i { type filter hook input priority 0; policy drop; }\n}\n",
        ),
    )
    inside(lab, "nft delete table inet mine")


def test_a_firewall_of_iptables_that_drops_ssh(lab: Lab, nr: Nornir) -> None:
    """Rules of iptables, which nft could not load again, are restored by iptables."""
    install = "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy iptables"
    assert lab.enter("n1", "sh", "-c", install).returncode == 0
    inside(lab, "iptables -A INPUT -p tcp -m multiport --dports 3306,4567 -m comment --comment mine -j REJECT")
    inside(lab, "iptables-save | iptables-restore")  # which makes all chains of the table, as a restoration does
    before = inside(lab, "iptables-save | grep -v '^[#:]'")
    assert "mine" in before
    is_undone(lab, nr, command("iptables", "-I", "INPUT", "-p", "tcp", "--dport", "22", "-j", "DROP"))
    is_undone(lab, nr, command("iptables", "-F"), command("iptables", "-P", "INPUT", "DROP"))
    assert inside(lab, "iptables-save | grep -v '^[#:]'") == before
    inside(lab, "iptables -F")


def test_an_interface_set_down(lab: Lab, nr: Nornir) -> None:
    """Links, addresses and routes that went with the link are back."""
    is_undone(lab, nr, ip("link", "set", "dev", "host0", "down"))


def test_a_bridge_that_swallows_the_nic(lab: Lab, nr: Nornir) -> None:
    """The only card put on a bridge without its address: it is taken off again."""
    inside(lab, "ip link add br0 type bridge")
    is_undone(lab, nr, ip("link", "set", "dev", "host0", "master", "br0"))
    inside(lab, "ip link delete br0")


def test_a_bridge_that_was_deleted(lab: Lab, nr: Nornir) -> None:
    """It is made again, with its settings, its port, its address and the route over it."""
    make = "ip link add br1 type bridge forward_delay 300 && ip link set br1 up && ip link add v1 type veth peer name v2"
    inside(lab, f"{make}; ip link set v1 master br1 up; ip link set v2 up; ip address add 10.96.0.1/24 dev br1")
    inside(lab, "ip route add 10.95.0.0/16 via 10.96.0.9")
    with pytest.raises(Undone, match="former network again"):
        do(nr, ip("link", "delete", "br1"), ip("link", "delete", "v1"), check=lambda _: ["no bridge"])
    assert "10.96.0.1/24" in inside(lab, "ip -o address show dev br1")
    assert "via 10.96.0.9 dev br1" in inside(lab, "ip route show 10.95.0.0/16")
    assert "forward_delay 300 " in inside(lab, "ip -d link show br1")
    assert "master br1" in inside(lab, "ip link show v1")
    wait_until(lambda: left_over(lab) == "", GRACE)
    inside(lab, "ip link delete br1; ip link delete v1")


def test_an_undo_that_fails_is_told(lab: Lab, nr: Nornir) -> None:
    """A restoring command that failed: named in the error, and in the record, which stays on the node."""
    steps = [ip("address", "add", "192.0.2.31/24", "dev", "host0")]
    with pytest.raises(UndoFailed, match="`false` ended with status 1") as failed:
        do(nr, *steps, check=lambda _: ["no way out"], undo=Network(restore=[command("false")]))
    assert "no way out" in str(failed.value)
    assert "192.0.2.31" not in inside(lab, "ip -o address")
    wait_until(lambda: left_over(lab) == "", GRACE)
    assert "`false` ended with status 1" in inside(lab, f"cat {undo.RECORD}/left")


def test_a_confirmation_whose_answer_is_lost(lab: Lab, nr: Nornir, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node took it: the change stands, is no error, and leaves nothing."""
    ask = _Confirming._ask
    lost: list[int] = []

    def losing(self: _Confirming, shell: Any, script: str) -> Any:
        output = ask(self, shell, script)
        if script == undo.CONFIRM and not lost:
            lost.append(output.status)
            raise ConnectionLost("n1: the connection was lost")
        return output

    monkeypatch.setattr(_Confirming, "_ask", losing)
    do(nr, ip("address", "add", "192.0.2.30/24", "dev", "host0"))
    assert lost == [0]
    assert left_over(lab) == ""
    time.sleep(WITHIN)  # the fact is that nothing happens
    assert "192.0.2.30" in inside(lab, "ip -o address")
    inside(lab, "ip address delete 192.0.2.30/24 dev host0")


def test_a_step_that_fails(lab: Lab, nr: Nornir) -> None:
    """Undone at once, not when the time is up, with what the step said."""
    started = time.monotonic()
    is_undone(
        lab,
        nr,
        ip("address", "add", "192.0.2.9/24", "dev", "host0"),
        ip("link", "set", "nosuch", "up"),
        within=60,
        match="nosuch",
    )
    assert time.monotonic() - started < 30


KILLED = """
import sys
from ipaddress import IPv4Network
from nornir_stack.lab import Lab, LabSpec, NodeSpec
from tests.integration.conftest import nornir
from tests.integration.test_confirmed import do, ip
network, first, second = sys.argv[1:4]
lab = Lab(LabSpec(sys.argv[4], IPv4Network(network), (NodeSpec("n1", first), NodeSpec("n2", second))))
def forever(node):
    print("applied", flush=True)
    sys.stdin.read()
steps = [ip("address", "add", "192.0.2.8/24", "dev", "host0")]
do(nornir(lab, {"network": ["n1"]}), *steps, check=forever, within=float(sys.argv[5]))
"""


@pytest.fixture
def killed(lab: Lab) -> Callable[[float], None]:
    """A controller of its own that is killed after the steps, before it confirmed."""

    def start(within: float) -> None:
        words = [str(lab.spec.network), *(node.address for node in lab.spec.nodes), lab.spec.name, str(within)]
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as controller:
            assert controller.stdout is not None
            assert controller.stdout.readline() == b"applied\n"
            assert "192.0.2.8" in inside(lab, "ip -o address")
            controller.kill()

    return start


def test_the_controller_killed_before_it_confirmed(lab: Lab, nr: Nornir, killed: Callable[[float], None]) -> None:
    """The node restores itself when the time is up; until then nobody else may change its network, and its lock is held."""
    before = state(lab)
    killed(8)
    started = time.monotonic()
    with pytest.raises(Refused, match="waits to be confirmed"):
        do(nr, ip("address", "add", "192.0.2.10/24", "dev", "host0"))
    wait_until(lambda: lab.enter("n1", "flock", "-n", undo.LOCK, "true").returncode == 1, 2)
    wait_until(lambda: left_over(lab) == "", 8 + GRACE)
    assert time.monotonic() - started < 8 + GRACE
    assert state(lab) == before
    assert lab.enter("n1", "flock", "-n", undo.LOCK, "true").returncode == 0
    assert "undone (timer)" in inside(lab, f"cat {undo.RECORD}/log")


def test_who_was_killed_before_the_timer_ran(lab: Lab, nr: Nornir) -> None:
    """Such a change has done nothing and waits for nobody: the next one clears it away; one that waits is left alone."""
    killed = undo.arm(undo.Change([ip("link", "set", "host0", "down")], [], [], WITHIN, "somebody"))
    killed = killed.replace("systemd-run ", "kill -KILL $$; ", 1)
    assert lab.enter("n1", "sh", "-c", killed).returncode == -signal.SIGKILL
    assert inside(lab, f"ls {undo.STATE}/about") != ""
    before = state(lab)
    do(nr, command("true"))
    assert (state(lab), left_over(lab)) == (before, "")


def test_in_a_chain_the_lock_is_kept(lab: Lab, nr: Nornir) -> None:
    """A run holds the node's lock before, while a change waits, and after it; then the next run may begin."""
    seen: list[str] = []

    def look(node: Node) -> list[str]:
        seen.append(inside(lab, f"flock -n {undo.LOCK} true || cat {undo.LOCK}"))
        return []

    def twice(task: Task) -> Result[None]:
        look(Node(task))
        change(task, steps=[ip("address", "add", "192.0.2.20/24", "dev", "host0")], check=look)
        look(Node(task))
        change(task, steps=[ip("address", "delete", "192.0.2.20/24", "dev", "host0")], check=look)
        return Node(task).done()

    chain = Chain("network.try", Stage("change", [do_task(twice)], role("network")))
    for _ in range(2):
        assert chain.run(nr).ok
    assert len(seen) == 8
    assert all("(network.try)" in line for line in seen)
    assert inside(lab, f"flock -n {undo.LOCK} true; echo $?") == "0"


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_reboot_before_it_was_confirmed(lab: Lab, nr: Nornir, end: str) -> None:
    """Files are as before when the network starts, the restoring commands have run after it, and nothing is left."""
    lab.stop("n1")
    lab.start("n1")  # as its files make it
    path = "/etc/systemd/network/10-host0.network"
    before = state(lab)
    wrong = inside(lab, f"cat {path}").replace(address(lab), "192.0.2.7/24") + "\n"

    def reboot(_: Node) -> list[str]:
        getattr(lab, end)("n1")
        lab.start("n1")  # waits until it answers at its old address
        return []

    with pytest.raises(Undone, match="former network"):
        do(nr, File(path, wrong), check=reboot, undo=Network(restore=[sh("echo restored >/tmp/restored")]), within=120)
    assert inside(lab, "cat /tmp/restored") == "restored"
    wait_until(lambda: state(lab) == before, GRACE)
    wait_until(lambda: left_over(lab) == "", GRACE)


def test_a_dry_run(lab: Lab, nr: Nornir) -> None:
    """It shows the file's difference and the commands, and leaves the node alone."""
    nr.data = RunState(dry_run=True)
    before = state(lab)
    result = do(nr, File("/etc/x.conf", "a\n"), ip("link", "set", "host0", "down"))
    assert result.changed
    assert result.diff == "--- /dev/null\n+++ /etc/x.conf\n@@ -0,0 +1 @@\n+a\n--- network\n+++ network\n+ip link set host0 down"
    assert state(lab) == before
    assert left_over(lab) == ""


def test_what_can_cut_is_refused_outside(nr: Nornir) -> None:
    """`change` refuses it in argv and in a script; reading is free, and what cannot cut may be said to."""

    def outside(task: Task) -> Result[str]:
        node = Node(task)
        for wanted in (ip("link", "set", "host0", "up"), sh("if true; then ip link set host0 up; fi")):
            with pytest.raises(Refused, match="confirmed"):
                node.change(wanted)
        node.change("ip", "link", "set", "lo", "up", cannot_cut=True)
        return node.done(node.read("ip", "-o", "link", "show", "lo").text)

    assert "LOOPBACK" in nr.run(task=outside)["n1"][0].result
