"""A member gets another address, behind a load balancer, while clients write; the others serve all along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.tasks.cluster.arbitrator import arbitrator
from nornir_stack.tasks.cluster.renumber import renumber
from nornir_stack.tasks.loadbalancer.deploy import deploy
from tests.integration.cluster_lab import CONFIG, DB, inside, until
from tests.integration.life import refusal, well
from tests.integration.test_roll import Balanced, under_load

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab

NFT = """
printf 'table inet filter {\\n chain input {\\n  type filter hook input priority 0; policy drop;
  ct state established,related accept\\n  iif lo accept\\n  icmp type echo-request accept
  tcp dport { 22, 9200 } accept\\n  ip saddr { LB } tcp dport 3306 accept\\n }\\n}\\n' >/etc/nftables.conf
systemctl enable --now --quiet nftables
"""


class Moving(Balanced):
    """db2 has a second address in the inventory, at which its server is to be."""

    new = ""

    def address(self, name: str) -> str:
        return self.new if name == "db2" and self.new else super().address(name)

    def declare(self, galera: str, *addresses: str) -> None:
        """The inventory: where db2's server is to be, and what addresses its card has. It is still reached at the old one."""
        self.inventory()
        hosts = (self.folder / "hosts.yaml").read_text()
        login = self.lab.spec.node("db2").address.partition("/")[0]
        card = f"network: {{links: {{host0: {{addresses: [{', '.join(addresses)}]}}}}}}"
        old = f"db2:\n  hostname: {self.address('db2')}\n  groups: [db]\n"
        assert old in hosts
        new = f"db2:\n  hostname: {login}\n  groups: [db]\n  data:\n    galera: {{address: {galera}}}\n    {card}\n"
        arbitrator = f"arb1:\n  hostname: {self.address('arb1')}\n  groups: [arbitrator]\n"
        (self.folder / "hosts.yaml").write_text(hosts.replace(old, new) + arbitrator)
        with (self.folder / "groups.yaml").open("a") as groups:
            groups.write("arbitrator: {}\n")


@pytest.fixture(scope="module")
def life(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Moving:
    cluster = Moving(
        boot(*DB, "lb1", "arb1", tree=dict.fromkeys((*DB, "lb1"), "db")), tmp_path_factory.mktemp("renumber") / "inventory"
    )
    cluster.inventory()
    cluster.everywhere(NFT.replace("LB", f"{cluster.address('lb1')}, {cluster.lab.spec.gateway}"))
    well(cluster.form())
    well(cluster.run(deploy()))
    cluster.whole()
    return cluster


def test_another_address_under_load(life: Moving) -> None:
    """Nothing acknowledged is lost, nobody else restarts, everybody knows the new address and nobody the old one, an
    arbitrator among them; again: nothing. An address that is nowhere, and one that another member has, are refused.
    """
    old, new = life.address("db2"), str(life.lab.spec.network[112])
    prefix = life.lab.spec.network.prefixlen
    life.declare(old, f"{old}/{prefix}")
    well(life.run(arbitrator()))
    inside(life.lab, "arb1", "systemctl stop garb")  # with three votes a look at the members sees them alone
    life.declare(new, f"{old}/{prefix}")
    assert f"db2 has no address {new}" in refusal(life.run(renumber(member="db2")))
    life.declare(new, f"{old}/{prefix}", f"{new}/{prefix}")
    assert "no member of the cluster" in refusal(life.run(renumber(member="lb1")))
    before = life.started()
    dry = life.run(renumber(member="db2"), dry_run=True)
    assert dry.ok
    assert "db2 is at" in " ".join(dry.stage("look").decided)
    assert life.started() == before
    life.new = new
    under_load(life, lambda: life.run(renumber(member="db2")), "renumber")
    life.uuid()
    after = life.started()
    assert (after["db1"], after["db3"]) == (before["db1"], before["db3"])
    for name in DB:
        assert f"wsrep_cluster_address          = gcomm://{','.join(map(life.address, DB))}" in inside(
            life.lab, name, f"cat {CONFIG}"
        )
        rules = inside(life.lab, name, "nft list ruleset")
        assert new in rules or name == "db2"
        assert old not in rules
    balancer = inside(life.lab, "lb1", "cat /etc/haproxy/haproxy.cfg")
    assert f"db2 {new}:3306" in balancer
    assert old not in balancer
    assert life.out_of_service() == []
    assert well(life.run(renumber(member="db2"))).changed == ()
    garb = inside(life.lab, "arb1", "cat /etc/default/garb; systemctl start garb")
    assert f'GALERA_NODES="{" ".join(f"{life.address(name)}:4567" for name in DB)}"' in garb
    until(lambda: life.says("db2", "wsrep_cluster_size") == "4", 60, "the arbitrator's vote")
