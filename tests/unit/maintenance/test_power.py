"""A site to rest and up again: the order, what is noted, and when nothing is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.chain import Stage
from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.maintenance.power import (
    first_look,
    going_up,
    last_noted,
    may_go_down,
    members_down,
    shutdown,
    still_up,
)
from nornir_stack.tasks.maintenance.standing import Standing, noted, parse, to_json, units
from tests.unit.cluster.shorthand import cluster
from tests.unit.cluster.test_roll import balancer, changed, seen

if TYPE_CHECKING:
    from nornir_stack.chain import Chain

CTL = Standing({"services": ("nova-api.service",), "web": (), "messages": (), "balancer": ()})


def names(chain: Chain) -> list[str]:
    return [part.name for part in chain.parts]


def test_the_order_of_the_site() -> None:
    """Services lose nothing that they need: the database goes after them, the balancers last."""
    assert names(shutdown(off=True)) == [
        "look",
        "look at the database",
        "stop services",
        "stop web",
        "stop messages",
        "database",
        "last member",
        "stop balancer",
        "off",
        "off hypervisors",
    ]


def test_units_are_stopped_in_the_order_of_the_table_backwards() -> None:
    """Keystone, which all others ask, is the last of the services; Apache is not among them."""
    debian = units("debian")["services"]
    assert debian.index("keystone.service") > debian.index("nova-api.service") > debian.index("neutron-api.service")
    assert "apache2.service" not in debian
    assert "openstack-nova-api.service" in units("redhat")["services"]


def test_what_a_run_noted_that_was_cut_stays_noted() -> None:
    """It stopped half: the next notes the rest beside it, each once."""
    now = Standing({"services": ("b.service",)}, {"services": ("a.service", "b.service"), "web": ("apache2.service",)})
    note = noted(now, "services")
    assert note == {"services": ["a.service", "b.service"], "web": ["apache2.service"]}
    assert parse(to_json(note)) == {"services": ("a.service", "b.service"), "web": ("apache2.service",)}
    assert parse(None) == {}
    with pytest.raises(Refused, match="cannot be read"):
        parse("{")


def test_nothing_is_stopped_while_a_node_was_not_seen() -> None:
    """But for one under maintenance; who is seen is named with what runs."""
    assert first_look(Seen({"ctl": CTL}, {"x": "under maintenance: disk"})).reasons == ("1 units run on ctl.",)
    with pytest.raises(Refused, match="cmp: unreachable"):
        first_look(Seen({"ctl": CTL}, {"cmp": "unreachable"}))


def test_the_writer_is_the_last_member() -> None:
    """One after the other in declared order, but whoever takes the writes at the end."""
    chain = members_down(seen(lb=balancer()))
    assert names(chain) == ["stop db2", "stop db3", "stop db1"]
    assert chain.reasons == ("db2, db3 and db1 are stopped in this order; db1 is the last.",)
    assert all(isinstance(part, Stage) and part.until for part in chain.parts)


def test_a_shutdown_that_was_cut_goes_on() -> None:
    """Members that are down are left; with all down there is nothing to do; without a database too."""
    assert names(members_down(seen({"db1": "synced A 9", "db2": "down A 8", "db3": "synced A 9"}))) == ["stop db1", "stop db3"]
    assert members_down(seen(dict.fromkeys(("db1", "db2"), "down A 9"))).reasons == ("All members are down already.",)
    assert members_down(Seen({})).parts == ()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ({"db1": "synced A 9", "db2": "donor A 9", "db3": "joining A 3"}, "No member is stopped: db2"),
        ({"db1": "synced A 9", "db2": "outside A 9", "db3": "synced A 9"}, "No member is stopped: db2"),
        ({"db1": "synced A 9", "db2": "gone", "db3": "synced A 9"}, "db2 was not seen"),
        ({"db1": "synced A 9", "db2": "synced B 9", "db3": "down A 9"}, "different clusters"),
    ],
)
def test_members_that_are_not_stopped(rows: dict[str, str], words: str) -> None:
    """In a transfer, outside the Primary component, not seen, two clusters: whoever is last would not have all data."""
    with pytest.raises(Refused, match=words):
        members_down(seen(rows))
    with pytest.raises(Refused, match=words.replace("No member", "Nothing")):
        may_go_down(seen(rows))


def test_the_database_refuses_before_its_users_are_stopped() -> None:
    """Services, web and messages run on, then; with all members down by a crash nobody would be the last one."""
    with pytest.raises(Refused, match="Nothing is stopped: A backup runs on db2"):
        may_go_down(seen(db2=changed(backups=("mariadb-backup",))))
    with pytest.raises(Refused, match="nobody is marked"):
        may_go_down(seen(dict.fromkeys(("db1", "db2"), "down A 9")))
    for well in (seen(lb=balancer()), seen({"db1": "down A 12 flag", "db2": "down A 9"}), Seen({})):
        assert may_go_down(well).parts == ()


def test_a_backup_is_not_cut() -> None:
    """It is named with its node."""
    with pytest.raises(Refused, match=r"A backup runs on db2 \(mariadb-backup\)"):
        members_down(seen(db2=changed(backups=("mariadb-backup",))))


def test_the_last_member_is_noted() -> None:
    """By Galera's own mark on exactly one; none, two, or one that runs are told."""
    down = {"db1": "down A 12 flag", "db2": "down A 9", "db3": "down A 10"}
    (reason,) = last_noted(cluster(down)).reasons
    assert reason.startswith("db1 was the last member, at ")
    assert last_noted(Seen({})).parts == ()
    for rows, words in (
        ({**down, "db1": "down A 12"}, "nobody is marked"),
        ({**down, "db2": "down A 9 flag"}, "db1 and db2 are marked"),
        ({**down, "db2": "synced A 9"}, "db2 still run"),
    ):
        with pytest.raises(Refused, match=words):
            last_noted(cluster(rows))
    assert still_up(cluster(down), name="db1") == []
    assert still_up(cluster({"db1": "synced A 9"}), name="db1") == ["db1 still runs."]


def test_up_again_in_the_reverse_order() -> None:
    """The database is recovered first; then what was noted, where it was noted, and the notes go at the end."""
    db = Standing(db=True)
    ctl = Standing({}, {"services": ("keystone.service",), "messages": ("memcached.service",)})
    lb = Standing({}, {"balancer": ("haproxy.service",), "services": ()})
    chain = going_up(Seen({"db1": db, "ctl": ctl, "lb1": lb}))
    assert names(chain) == ["galera.recover", "start balancer", "start messages", "start services", "forget"]
    assert names(going_up(Seen({"ctl": CTL}))) == []
    with pytest.raises(Refused, match="switch them on first"):
        going_up(Seen({"ctl": CTL}, {"db1": "unreachable"}))
