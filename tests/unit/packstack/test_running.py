"""What packstack prints, read; what is missing before it runs, judged; when it is run again."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.seen import Seen
from nornir_stack.tasks.packstack.install import Sight, going, packstack
from nornir_stack.tasks.packstack.ready import Ready, Wanted, unready, wanted_of
from nornir_stack.tasks.packstack.ready import parse as parse_ready
from nornir_stack.tasks.packstack.running import Progress, parse, still_runs, verdict
from tests.unit.packstack.test_answers import GROUP, inventory

LINE = "Preparing servers                                     [ DONE ]"
OUTPUT = f"""\
running
said Welcome to the Packstack setup utility
said
said The installation log file is available at: /var/tmp/packstack/20261128-203100-x/openstack-setup.log
said Installing:
said {LINE}
said Applying 172.16.1.11_controller.pp
said 172.16.1.11_controller.pp:                               [ DONE ]
said Applying 172.16.1.12_network.pp
said Applying 172.16.1.14_compute.pp
said Testing if puppet apply is finished: 172.16.1.14_compute.pp
log /var/tmp/packstack/20261128-203100-x/openstack-setup.log
"""
WANTED = Wanted(
    "ctl",
    {"ctl": "172.16.1.11", "net": "172.16.1.12", "sto": "172.16.1.13", "host": "172.16.1.14"},
    {"net": ("eth2", "eth1"), "host": ("eth1",)},
    ("sto",),
    ("host",),
    "/usr/bin/packstack",
)
NIC = ("eth0", "eth1", "eth2", "lo")
NODES = {
    "ctl": Ready(addresses=("172.16.1.11",), program=True, key=True, reaches=tuple(WANTED.addresses.values())),
    "net": Ready(addresses=("172.16.1.12",), nics=NIC),
    "sto": Ready(addresses=("172.16.1.13",), volume_groups=("cinder-volumes",)),
    "host": Ready(addresses=("172.16.1.14",), nics=NIC, virtual_networks=("default",)),
}


def test_where_it_is() -> None:
    """Steps that are done, and the manifests that are applied now."""
    now = parse(OUTPUT)
    assert (now.running, now.status) == (True, None)
    assert now.steps == ("Preparing servers", "172.16.1.11_controller.pp")
    assert now.at == "172.16.1.12_network.pp, 172.16.1.14_compute.pp"
    assert still_runs(Seen({"ctl": now})) == [f"ctl: packstack runs, 2 steps are done, at: {now.at}"]
    assert still_runs(Seen({"ctl": parse("ended 0 abc\n")})) == []
    assert still_runs(Seen({}, {"ctl": "unreachable"})) == ["ctl was not seen: unreachable"]
    assert parse("") == Progress()


def test_how_it_ended() -> None:
    """Well with the answers as they are; else in its own words, or by what is known."""
    bad = parse(
        f"ended 1 abc\nsaid {LINE}\nsaid 172.16.1.12_network.pp:      [ ERROR ]\nlog /x.log\nlogged ::ERROR:: no package\n"
    )
    assert verdict(parse(f"ended 0 abc\nsaid {LINE}\n"), "abc") == ""
    assert parse("ended 0 abc\n").ended_with("abc")
    assert not bad.ended_with("abc")
    assert verdict(bad, "abc").startswith(
        "packstack ended with status 1 at 172.16.1.12_network.pp; its log is /x.log\n::ERROR:: no package\nPreparing servers"
    )
    assert "with other answers" in verdict(parse("ended 0 old\n"), "abc")
    assert "still runs" in verdict(parse("running\n"), "abc")
    assert "ended from outside, or never began" in verdict(parse("said Installing:\n"), "abc")


def test_nodes_that_are_ready() -> None:
    """Nothing is said of them, and what follows is the answers, the run, its end."""
    assert unready(Seen(NODES), WANTED) == []
    chain = going(Seen({host: Sight(one, WANTED) for host, one in NODES.items()}), seconds=60)
    assert [part.name for part in chain.parts] == ["answers", "run", "end"]


@pytest.mark.parametrize(
    ("host", "now", "wanted"),
    [
        ("net", Ready(addresses=("172.16.1.12",), nics=("eth0", "eth2", "lo")), "net: there is no eth1 (it has eth0, eth2)"),
        (
            "net",
            Ready(addresses=("127.0.1.1",), nics=NIC, called="net"),
            "own name 'net' leads to 127.0.1.1, not to 172.16.1.12",
        ),
        ("sto", Ready(addresses=("172.16.1.13",)), "sto: there is no volume group cinder-volumes"),
        ("host", Ready(addresses=("172.16.1.14",), nics=NIC), "host: libvirt has no network 'default'"),
        ("sto", Ready(("active", "enabled"), addresses=("172.16.1.13",)), "sto: NetworkManager is active and enabled"),
        (
            "ctl",
            Ready(addresses=("172.16.1.11",), key=True, reaches=("172.16.1.11",)),
            "root does not get into net (172.16.1.12)",
        ),
        ("ctl", Ready(addresses=("172.16.1.11",), key=True), "ctl: there is no /usr/bin/packstack"),
        ("ctl", Ready(addresses=("172.16.1.11",), program=True), "ctl: there is no /root/.ssh/id_rsa.pub"),
    ],
)
def test_what_is_not_ready_is_a_sentence(host: str, now: Ready, wanted: str) -> None:
    """With what to do about it; then nothing is begun."""
    seen = Seen({**NODES, host: now})
    assert wanted in "\n".join(unready(seen, WANTED))
    with pytest.raises(Refused, match="packstack would fail on these nodes"):
        going(Seen({name: Sight(one, WANTED) for name, one in seen.items()}), seconds=60)


def test_a_node_that_was_not_seen_stops_it() -> None:
    """Packstack would stop in the middle of its work there."""
    with pytest.raises(Refused, match="host was not seen: unreachable"):
        going(Seen({"ctl": Sight(NODES["ctl"], WANTED)}, {"host": "unreachable"}), seconds=60)
    with pytest.raises(Refused, match="no node was seen"):
        going(Seen({}, {"ctl": "unreachable"}), seconds=60)


def test_what_is_wanted_comes_of_the_inventory() -> None:
    """The network `default` is Kilo's need alone; the tunnel's card is the network node's and the compute node's."""
    own = {"tunnel_nic": "eth1"}
    assert wanted_of(inventory(packstack={**own, "version": "kilo"}, storage=GROUP)) == WANTED
    assert wanted_of(inventory(packstack=own)).default_network == ()


def test_the_look_is_read() -> None:
    """As a node prints it."""
    lines = "networkmanager enabled|nic eth0|nic lo|called ctl|is 10.0.0.1|is 10.0.0.1|group vg0|virtual default|key"
    text = f"{lines}|reaches 10.0.0.2|".replace("|", "\n")
    assert parse_ready(text) == Ready(
        ("enabled",),
        ("eth0", "lo"),
        "ctl",
        ("10.0.0.1",),
        ("vg0",),
        ("default",),
        program=False,
        key=True,
        reaches=("10.0.0.2",),
    )


def test_it_is_followed_for_a_time() -> None:
    """Which is more than none."""
    with pytest.raises(UsageError, match="more than 0"):
        packstack(hours=0)
