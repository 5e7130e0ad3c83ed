"""Two load balancers and one address: who has it, and what clients that write through it notice when it moves."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Check, Stage, do
from nornir_stack.select import hosts, role
from nornir_stack.tasks.cluster.roll import roll
from nornir_stack.tasks.loadbalancer.deploy import deploy
from nornir_stack.tasks.loadbalancer.health import drain_flag
from nornir_stack.tasks.loadbalancer.runtime import all_up, backends, set_server
from tests.integration.balancers import LB, SECRET, Holding, Twins
from tests.integration.cluster_lab import DB, inside, tell, until
from tests.integration.life import refusal, well

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.loadbalancer.runtime import Backends
    from tests.integration.bank import Bank

# VRRP with adverts each second: whoever hears none for three, and its share of a fourth, takes the address (RFC 3768, 6.1).
ADVERT, TAKES = 1.0, 3 + (256 - 200) / 256
SLACK = 5.0  # two cores do everything else too
DIES = "systemctl mask --runtime --quiet haproxy && systemctl kill -s KILL haproxy"
LIVES = "systemctl unmask --runtime --quiet haproxy && systemctl start haproxy"
RUNS = (
    "for unit in haproxy keepalived; do systemctl show -p Id,MainPID,ExecMainStartTimestampMonotonic,StateChangeTimestamp"
    " $unit; done; find /etc /usr/local /run/nornir-stack-keepalived.loaded -type f -printf '%p %m %C@\\n' | sort"
)


@pytest.fixture(scope="module")
def formed(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Twins:
    """A cluster, and on the balancers nothing yet."""
    twins = Twins(boot(*DB, *LB, tree="db"), tmp_path_factory.mktemp("twins") / "inventory")
    twins.inventory()
    well(twins.form())
    twins.whole()
    return twins


@pytest.fixture(scope="module")
def deployed(formed: Twins) -> Twins:
    """After a dry run that touched nothing, and a machine that had the address first."""
    before = {name: inside(formed.lab, name, "ls /etc") for name in LB}
    dry = formed.run(deploy(), dry_run=True)
    assert "virtual_router_id 51" in diffs(dry)
    assert SECRET not in dry.to_json()
    assert {name: inside(formed.lab, name, "ls /etc") for name in LB} == before
    inside(formed.lab, "db3", f"ip address add {formed.virtual}/32 dev host0")
    taken = formed.run(deploy())
    inside(formed.lab, "db3", f"ip address delete {formed.virtual}/32 dev host0")
    assert "another machine" in errors(taken)
    assert formed.holders() == ()
    report = well(formed.run(deploy()))
    assert SECRET not in report.to_json()
    assert formed.holders() == ("lb1",), "the first declared listens the shortest time"
    return formed


@pytest.fixture
def twins(deployed: Twins) -> Iterator[Twins]:
    """The first balancer has the address, the second stands by, and nobody writes yet."""
    yield deployed
    deployed.lab.heal()
    for name in LB:
        deployed.lab.start(name)
    for name in LB:
        inside(deployed.lab, name, "systemctl unmask --runtime --quiet haproxy; systemctl start haproxy keepalived")
    until(lambda: len(deployed.holders()) == 1, 30, "one holder")


@contextmanager
def moved(twins: Twins, what: str) -> Iterator[Bank]:
    """Clients write while the address moves: nothing acknowledged is lost, and both have it no longer than VRRP lets."""
    with Holding(twins) as holding, twins.writing() as bank:
        until(lambda: all(len(client.acked) > 10 for client in bank.clients), 60, "10 transfers of each client")
        yield bank
        so_far = [len(client.acked) for client in bank.clients]
        until(
            lambda: all(len(client.acked) > count + 10 for client, count in zip(bank.clients, so_far, strict=True)),
            60,
            "10 more transfers of each client",
        )
    twins.audited(bank)
    both = f"both had the address for {holding.both:.3f} s" if holding.both > 0 else "never both had the address"
    tell(f"{what}: longest gap of a client {bank.longest_gap:.2f} s; {both}; {len(holding.stretches)} holders")
    assert holding.both <= ADVERT


def home(twins: Twins) -> None:
    """Have the first balancer hold the address: the other's keepalived is restarted while it does."""
    if twins.holders() != ("lb1",):
        inside(twins.lab, "lb1", "systemctl start keepalived")
        inside(twins.lab, "lb2", "systemctl stop keepalived")
        twins.until_held("lb1")
        inside(twins.lab, "lb2", "systemctl start keepalived")


def diffs(report: Any) -> str:
    return "\n".join(task.diff for stage in report.stages for host in stage.hosts for task in host.tasks)


def errors(report: Any) -> str:
    return "\n".join(task.error for stage in report.stages for host in stage.hosts for task in host.tasks)


def test_one_holds_it_and_a_second_run_changes_nothing(twins: Twins) -> None:
    """One has the address; deployed again neither the report nor the nodes tell of a change; nothing leaks."""
    (holds,) = twins.holders()
    before = {name: inside(twins.lab, name, RUNS) for name in LB}
    assert well(twins.run(deploy())).changed == ()
    assert {name: inside(twins.lab, name, RUNS) for name in LB} == before
    assert twins.holders() == (holds,)
    for name in LB:
        assert SECRET not in inside(twins.lab, name, "journalctl --no-pager; ps ax -o args")
        assert inside(twins.lab, name, "stat -c '%a %U' /etc/keepalived/keepalived.conf") == "600 root\n"


def test_a_haproxy_that_systemd_starts_again(twins: Twins) -> None:
    """Killed with nothing in its way it is back before anybody missed it: the address stays, or moves, and one has it."""
    home(twins)
    with moved(twins, "haproxy killed, and started by systemd"):
        inside(twins.lab, "lb1", "systemctl kill -s KILL haproxy")
    until(lambda: len(twins.holders()) == 1, 20, "one holder")


def test_haproxy_dies(twins: Twins) -> None:
    """It stays down: the other takes the address within seconds, and keeps it when haproxy is back (no preemption)."""
    home(twins)
    with moved(twins, "haproxy killed for good"):
        inside(twins.lab, "lb1", DIES)
        twins.until_held("lb2")
    with moved(twins, "haproxy back"):
        inside(twins.lab, "lb1", LIVES)
        until(lambda: "Entering BACKUP" in last_words(twins, "lb1"), 20, "lb1 stands by")
    assert twins.holders() == ("lb2",)


def test_haproxy_hangs(twins: Twins) -> None:
    """Stopped by a signal it has its process and its sockets, and does not answer: the address goes."""
    home(twins)
    inside(twins.lab, "lb1", "systemctl kill -s STOP haproxy")
    try:
        with moved(twins, "haproxy hangs"):
            twins.until_held("lb2")
    finally:
        inside(twins.lab, "lb1", "systemctl kill -s CONT haproxy")


def test_keepalived_dies(twins: Twins) -> None:
    """Killed as a whole it leaves no address behind; systemd starts it, and one of the two has it."""
    home(twins)
    with moved(twins, "keepalived killed"):
        inside(twins.lab, "lb1", "systemctl kill -s KILL keepalived")
        until(lambda: len(twins.holders()) == 1, 20, "one holder")
    for name in LB:
        until(lambda name=name: inside(twins.lab, name, "systemctl is-active keepalived; true") == "active\n", 20, name)  # type: ignore[misc]


def test_the_node_dies(twins: Twins) -> None:
    """The other takes the address; booted again, the first stands by."""
    home(twins)
    with moved(twins, "node killed"):
        twins.lab.kill("lb1")
        twins.until_held("lb2")
    with moved(twins, "node back"):
        twins.lab.start("lb1")
        until(lambda: "Entering BACKUP" in last_words(twins, "lb1"), 40, "lb1 stands by")
    assert twins.holders() == ("lb2",)


def test_the_node_is_cut_off(twins: Twins) -> None:
    """Its cable pulled, it gives the address up itself and the other takes it; plugged in again, there is one."""
    home(twins)
    with moved(twins, "node cut off"):
        twins.lab.cut("lb1")
        twins.until_held("lb2")
    with moved(twins, "node plugged in again"):
        twins.lab.heal()
        until(lambda: "Entering BACKUP" in last_words(twins, "lb1"), 30, "lb1 stands by")
    assert twins.holders() == ("lb2",)


def test_balancers_that_do_not_hear_each_other(twins: Twins) -> None:
    """Both take the address, which VRRP cannot help; deploying says so; as soon as they hear each other one gives it up."""
    home(twins)
    for name, other in (LB, LB[::-1]):
        inside(
            twins.lab,
            name,
            f"nft 'add table ip deaf; add chain ip deaf in {{ type filter hook prerouting priority 0; }};"
            f" add rule ip deaf in ip saddr {twins.address(other)} meta l4proto 112 drop'",
        )
    try:
        twins.until_held(*LB, seconds=TAKES + SLACK)
        assert "at once: they do not hear each other" in refusals(twins.run(deploy()))
    finally:
        with Holding(twins) as holding:
            for name in LB:
                inside(twins.lab, name, "nft delete table ip deaf")
            until(lambda: len(twins.holders()) == 1, ADVERT + SLACK, "one holder")
    tell(f"they hear each other again: both had the address for {holding.both:.3f} s more")


FILTER = """
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iif lo accept
        meta l4proto icmp accept
        tcp dport { 22, 3306, 3307 } accept
    }
}
"""


def test_a_packet_filter_lets_vrrp_through(twins: Twins) -> None:
    """Balancers that drop what they do not know are made to hear each other, now and after a reload; again: nothing."""
    home(twins)
    for name in LB:
        inside(twins.lab, name, f"cat >/etc/nftables.conf <<'END'\n{FILTER}END\nsystemctl enable --quiet --now nftables")
    try:
        well(twins.run(deploy()))
        for name in LB:
            rules = inside(twins.lab, name, "systemctl reload nftables && nft list chain inet filter input")
            assert "nornir-stack vrrp" in rules
        assert well(twins.run(deploy())).changed == ()
        assert len(twins.holders()) == 1
    finally:
        for name in LB:
            inside(twins.lab, name, "systemctl disable --quiet --now nftables; rm -r /etc/nftables.d; nft flush ruleset")


def refusals(report: Any) -> str:
    assert report.exit_code == 1
    return " ".join(problem for stage in report.stages for problem in stage.problems)


def test_a_change_goes_to_one_after_the_other(twins: Twins) -> None:
    """A new listener under load: who stands by is reloaded first, who has the address last and keeps it; nobody notices."""
    home(twins)
    twins.listener = "reads: {port: 3306, balance: leastconn}"
    twins.inventory()
    with moved(twins, "both reloaded") as bank:
        report = well(twins.run(deploy()))
    order = [stage.name.rpartition("/")[2] for stage in report.stages if stage.name.startswith("haproxy/")]
    assert order == ["lb2", "lb1"]
    assert "leastconn" in inside(twins.lab, "lb2", "cat /etc/haproxy/haproxy.cfg")
    assert bank.longest_gap < TAKES
    assert twins.holders() == ("lb1",)
    assert well(twins.run(deploy())).changed == ()
    twins.listener = "reads: {port: 3306}"
    twins.inventory()
    well(twins.run(deploy()))


def test_another_number_is_another_language(twins: Twins) -> None:
    """The stand-in steps aside until the other speaks so too: both never take the address. Once again: nothing changes."""
    home(twins)
    twins.router = 52
    twins.inventory()
    with moved(twins, "another virtual_router_id"):
        well(twins.run(deploy()))
    assert len(twins.holders()) == 1
    assert well(twins.run(deploy())).changed == ()
    twins.router = 51
    twins.inventory()
    well(twins.run(deploy()))


def test_nobody_is_touched_once_the_other_has_stopped(twins: Twins) -> None:
    """The stand-in's new haproxy does not come up: the one that has the address is left as it is."""
    home(twins)
    before = inside(twins.lab, "lb1", "sha256sum /etc/haproxy/haproxy.cfg")
    twins.listener = "reads: {port: 3306, balance: leastconn}"
    twins.inventory()
    inside(twins.lab, "lb2", "systemctl stop haproxy; systemctl mask --runtime --quiet haproxy")
    try:
        assert twins.run(deploy()).exit_code == 1
        assert inside(twins.lab, "lb1", "sha256sum /etc/haproxy/haproxy.cfg") == before
    finally:
        inside(twins.lab, "lb2", LIVES)
        twins.listener = "reads: {port: 3306}"
        twins.inventory()
    well(twins.run(deploy()))


def test_a_member_is_drained_on_both(twins: Twins) -> None:
    """`set_server` reaches both balancers; so does the member's own flag, by its health endpoint."""
    balancers, member = role("loadbalancer"), hosts("db2")
    for state, drained in (("drain", True), ("ready", False)):
        well(twins.run(Chain("it", Stage("set", [do(set_server, server="db2", state=state)], balancers))))
        assert twins.drained("db2") == dict.fromkeys(LB, drained)
    for flag, judge in ((True, all_say_drained), (False, all_up)):
        until_judged = Check(backends, judge, balancers, within=30)
        well(twins.run(Chain("it", Stage("flag", [do(drain_flag, drained=flag)], member, until=until_judged))))


def test_a_rolling_restart_behind_two_balancers(twins: Twins) -> None:
    """A member is drained on both and comes back on both; nobody is restarted while the stand-in is not well."""
    home(twins)
    with moved(twins, "rolling restart behind two balancers"):
        well(twins.run(roll(members=["db2"])))
    assert twins.drained("db2") == dict.fromkeys(LB, False)
    inside(twins.lab, "lb2", "systemctl stop haproxy")
    assert "lb2" in refusal(twins.run(roll(members=["db2"])))


def all_say_drained(seen: Seen[Backends]) -> list[str]:
    return [host for host, now in seen.items() if "drained" not in {one.says[-7:] for one in now.servers if one.name == "db2"}]


def test_preemption_by_choice(twins: Twins) -> None:
    """With `preempt: true` the first declared takes the address back as soon as it can."""
    home(twins)
    twins.preempt = True
    twins.inventory()
    well(twins.run(deploy()))
    inside(twins.lab, "lb1", DIES)
    twins.until_held("lb2")
    with moved(twins, "taken back"):
        inside(twins.lab, "lb1", LIVES)
        twins.until_held("lb1")
    twins.preempt = False
    twins.inventory()
    well(twins.run(deploy()))


def last_words(twins: Twins, name: str) -> str:
    """What keepalived of a node said about itself last."""
    said = "journalctl --no-pager -o cat -b -u keepalived | grep -o 'Entering [A-Z]* STATE' | tail -n 1"
    return inside(twins.lab, name, f"{said}; true")
