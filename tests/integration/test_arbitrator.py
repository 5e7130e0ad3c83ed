"""Two members and an arbitrator (garbd): the loss of one member, of the arbitrator, and of both at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.arbitrator import arbitrator
from nornir_stack.tasks.cluster.change import grow, shrink
from nornir_stack.tasks.cluster.recover import recover
from nornir_stack.tasks.cluster.roll import roll
from tests.integration.bank import TABLES
from tests.integration.cluster_lab import inside, primaries, tell, until
from tests.integration.life import Life, refusal, well

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab

PAIR = ("db1", "db2")


class Three(Life):
    """Two members, and a third machine with a vote and no data."""

    def write(self, *, galera: str = "", known_hosts: str = "") -> None:
        super().write(galera=galera, known_hosts=known_hosts)
        with (self.folder / "hosts.yaml").open("a") as hosts:
            hosts.write(f"arb1:\n  hostname: {self.address('arb1')}\n  groups: [arbitrator]\n")
        with (self.folder / "groups.yaml").open("a") as groups:
            groups.write("arbitrator: {}\n")

    def whole(self) -> None:
        """Both members and the arbitrator, in one Primary component."""
        well(self.run(recover()))
        well(self.run(arbitrator()))
        until(lambda: self.sizes() == ["3", "3"], 60, "three votes")

    def sizes(self) -> list[str | None]:
        return [self.says(name, "wsrep_cluster_size") for name in PAIR]


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Three:
    lab = boot(*PAIR, "db3", "arb1", tree=dict.fromkeys((*PAIR, "db3"), "db"))
    cluster = Three(lab, tmp_path_factory.mktemp("arbitrator") / "inventory", PAIR)
    well(cluster.form())
    cluster.everywhere("systemctl disable --quiet mariadb")
    dry = cluster.run(arbitrator(), dry_run=True)
    assert dry.exit_code == 3, "a dry run of what is to be done"
    assert inside(cluster.lab, "arb1", "command -v garbd || echo none") == "none\n"
    return cluster


@pytest.fixture
def cluster(life: Three) -> Three:
    """Complete, with its vote; the bank's tables are there."""
    life.whole()
    inside(life.lab, "db1", f'mariadb -e "{TABLES}"')
    return life


@pytest.mark.campaign
@pytest.mark.skipif(
    "not config.getoption('--campaign', default=False)", reason="two losses are in the short run: only with --campaign"
)
def test_it_votes_and_holds_no_data(cluster: Three) -> None:
    """Run again it changes nothing; members can be restarted one by one under load beside it; a recovery has nothing to do."""
    assert well(cluster.run(arbitrator())).changed == ()
    assert well(cluster.run(recover())).changed == ()
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "20 transfers")
        well(cluster.run(roll(only_changed=False)))
    cluster.audited(bank)
    assert cluster.sizes() == ["3", "3"]


def test_a_member_is_lost(cluster: Three) -> None:
    """The other one and the arbitrator are the majority: it serves on. The member comes back, nothing is lost."""
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "20 transfers")
        cluster.lab.kill("db1")
        until(lambda: cluster.says("db2", "wsrep_cluster_size") == "2", 60, "db1 expelled")
        so_far = len(bank.acked)
        until(lambda: len(bank.acked) > so_far + 20, 60, "20 more transfers")
        assert primaries(cluster.seen()) == ["db2"]
        cluster.lab.start("db1")
        well(cluster.run(recover()))
    assert cluster.sizes() == ["3", "3"]
    cluster.audited(bank)
    tell(f"one of two lost beside an arbitrator: longest gap of a client {bank.longest_gap:.1f} s")


def test_the_arbitrator_is_lost(cluster: Three) -> None:
    """Both members serve on, and its node's next boot brings it back."""
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "20 transfers")
        cluster.lab.kill("arb1")
        until(lambda: cluster.sizes() == ["2", "2"], 60, "the arbitrator expelled")
        so_far = len(bank.acked)
        until(lambda: len(bank.acked) > so_far + 20, 60, "20 more transfers")
    cluster.lab.start("arb1")
    until(lambda: cluster.sizes() == ["3", "3"], 60, "the arbitrator back")
    cluster.audited(bank)


@pytest.mark.campaign
@pytest.mark.skipif(
    "not config.getoption('--campaign', default=False)", reason="two losses are in the short run: only with --campaign"
)
def test_a_member_and_the_arbitrator_are_lost_at_once(cluster: Three) -> None:
    """The survivor is one of three: it serves nobody, and is made Primary only when the other is back or named as lost."""
    cluster.lab.kill("db1", "arb1")
    cluster.until_primary("db2", "non-Primary")
    assert "db1 was not seen" in refusal(cluster.run(recover()))
    cluster.lab.start("db1")
    well(cluster.run(recover()))
    assert primaries(cluster.seen()) == list(PAIR)
    cluster.lab.start("arb1")
    until(lambda: cluster.sizes() == ["3", "3"], 60, "the arbitrator back")


@pytest.mark.campaign
@pytest.mark.skipif(
    "not config.getoption('--campaign', default=False)", reason="two losses are in the short run: only with --campaign"
)
def test_both_members_crash(cluster: Three) -> None:
    """The arbitrator alone is no cluster: the recovery forms one, and the arbitrator finds it by itself."""
    with cluster.bank() as bank:
        until(lambda: len(bank.acked) > 20, 60, "20 transfers")
        cluster.killed(*PAIR)
    well(cluster.run(recover()))
    until(lambda: cluster.sizes() == ["3", "3"], 60, "the arbitrator back")
    cluster.audited(bank)


@pytest.mark.campaign
@pytest.mark.skipif(
    "not config.getoption('--campaign', default=False)", reason="two losses are in the short run: only with --campaign"
)
def test_a_third_member_comes_and_goes(cluster: Three) -> None:
    """garbd's configuration has a new member before it joins and loses it after it left, without a restart; again: nothing."""
    garbd = "systemctl show -p ExecMainStartTimestampMonotonic garb"
    nodes, begun = "cat /etc/default/garb", inside(cluster.lab, "arb1", garbd)
    cluster.names = (*PAIR, "db3")
    cluster.write()
    try:
        well(cluster.run(grow(member="db3")))
        until(lambda: cluster.sizes() == ["4", "4"], 60, "four votes")
        assert f"{cluster.address('db3')}:4567" in inside(cluster.lab, "arb1", nodes)
        assert well(cluster.run(grow(member="db3"))).changed == ()
        well(cluster.run(shrink(member="db3", backup_first=False)))
        until(lambda: cluster.sizes() == ["3", "3"], 60, "three votes")
        assert f"{cluster.address('db3')}:4567" not in inside(cluster.lab, "arb1", nodes)
        assert well(cluster.run(shrink(member="db3", backup_first=False))).changed == ()
    finally:
        cluster.names = PAIR
        cluster.write()
    assert inside(cluster.lab, "arb1", garbd) == begun
