"""How a member that somebody set up by hand differs from the inventory: decided on plain values."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster import adopt, prepare
from nornir_stack.tasks.cluster.adopt import adopting
from nornir_stack.tasks.cluster.stance import Stance, differences, options, others, overruled, plain, reasons, refusals
from tests.unit.cluster.shorthand import cluster

if TYPE_CHECKING:
    from collections.abc import Mapping

WELL = {"db1": "synced A 9", "db2": "synced A 9", "db3": "synced A 9"}
WANTED = {
    "datadir": "/var/lib/mysql",
    "max_connections": "500",
    "log_bin": "mysql-bin",
    "skip_name_resolve": "ON",
    "innodb_buffer_pool_size": "134217728",
    "wsrep_cluster_name": "shop",
    "wsrep_node_address": "10.0.0.1",
    "wsrep_sst_method": "rsync",
    "wsrep_cluster_address": "gcomm://10.0.0.1,10.0.0.2,10.0.0.3",
    "wsrep_provider_options": '"gcache.size=134217728"',
}
RUNS = {
    **WANTED,
    "datadir": "/var/lib/mysql/",
    "log_bin": "ON",
    "wsrep_cluster_address": "gcomm://db1,db2,db3",
    "wsrep_provider_options": "base_port = 4567; gcache.size = 128M; socket.ssl = NO; ",
    "port": "3306",
}


def seen(rows: Mapping[str, str] = WELL, **words: Any) -> Seen[Stance]:
    """Members of which db2 differs by `words`."""
    members = cluster(rows)
    alike = Stance(members["db1"], RUNS, WANTED, ours="/ours.cnf")
    found = {name: replace(alike, member=member) for name, member in members.items()}
    if words:
        found["db2"] = replace(found["db2"], **words)
    return Seen(found, members.missing, members.hosts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ON", "1"),
        ("off", "0"),
        ("128M", "134217728"),
        ('"/var/lib/mysql/"', "/var/lib/mysql"),
        ("5.000000", "5"),
        ("2G", "2147483648"),
    ],
)
def test_values_that_are_the_same(one: str, other: str) -> None:
    """A file, a server and an inventory write one value in different ways."""
    assert plain(one) == plain(other)


def test_a_member_that_runs_as_wanted() -> None:
    """Names instead of addresses in the cluster's address, and other spellings, are no differences."""
    assert refusals(seen()) == []
    assert reasons(seen()) == []
    chain = adopting(seen())
    assert [part.name for part in chain.parts] == ["prepare", "databases", "verify"]
    assert chain.reasons == ("The members run as the inventory says.",)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (
            {"runs": {**RUNS, "datadir": "/data/mysql/"}},
            "galera.datadir is /var/lib/mysql in the inventory, its server runs with /data/mysql",
        ),
        ({"runs": {**RUNS, "wsrep_cluster_name": "my_cluster"}}, "galera.cluster_name is shop"),
        ({"runs": {**RUNS, "wsrep_cluster_name": "Shop"}}, "galera.cluster_name is shop"),
        ({"runs": {**RUNS, "wsrep_node_address": "192.168.7.1"}}, "galera.address is 10.0.0.1"),
        ({"runs": {**RUNS, "port": "3307"}}, "listens on port 3307"),
        ({"encrypts": True}, "the inventory has no tls"),
        ({"tls": True}, "its server encrypts nothing, and the inventory has tls"),
    ],
)
def test_another_cluster(words: dict[str, Any], part: str) -> None:
    """What a restart would make another member of is refused: the inventory has to be mended."""
    with pytest.raises(Refused) as refused:
        adopting(seen(WELL, **words))
    assert part in str(refused.value)
    assert "db1" not in str(refused.value)


@pytest.mark.parametrize("line", ["down A 9", "donor A 9", "synced A 9 size=4", "gone"])
def test_a_cluster_that_is_not_well(line: str) -> None:
    """Only a cluster whose members are exactly those of the inventory, all Synced, is adopted."""
    with pytest.raises(Refused, match="Not adopted"):
        adopting(seen({**WELL, "db3": line}))


def test_a_name_with_blanks() -> None:
    """Quoted in the file, bare in the server's variable: the same cluster (Debian's own default)."""
    name = "MariaDB Galera Cluster"
    found = seen(WELL, wanted={**WANTED, "wsrep_cluster_name": f'"{name}"'}, runs={**RUNS, "wsrep_cluster_name": name})
    assert refusals(found) == []
    assert overruled({"wsrep_cluster_name": f'"{name}"'}, [f"--wsrep_cluster_name={name}"]) == {}


def test_what_a_restart_would_change() -> None:
    """In the inventory's terms; members with the same difference stand in one line."""
    runs = {**RUNS, "max_connections": "151", "skip_name_resolve": "OFF", "wsrep_provider_options": "gcache.size = 16M; "}
    found = seen(runs=runs)
    assert differences(found["db2"]) == [
        ("galera.max_connections", "151", "500"),
        ("galera.extra.skip_name_resolve", "OFF", "ON"),
        ("galera.gcache_size", "16M", "134217728"),
    ]
    both = replace(found, values={**found.values, "db1": replace(found["db1"], runs=runs)})
    assert reasons(both)[0].startswith("db1 and db2: galera.max_connections: 151 runs, 500 is wanted")


def test_other_files_that_say_the_same() -> None:
    """They are named, so that an operator can take them out."""
    says = {
        "wsrep_sst_method": ("rsync", "/etc/mysql/my.cnf"),
        "wsrep_cluster_name": ("shop", "/ours.cnf"),
        "port": ("1", "/x"),
    }
    assert others(replace(seen()["db1"], says=says)) == {"/etc/mysql/my.cnf": ["wsrep_sst_method"]}


def test_provider_options_that_ours_replace() -> None:
    """Each that somebody set (a vote's weight) is named: at a restart ours are read in their place."""
    theirs = {"wsrep_provider_options": ("gcache.size=1G; pc.weight=2;evs.keepalive_period = PT3S", "/etc/mysql/my.cnf")}
    found = [text for text in reasons(seen(says=theirs)) if "provider's option" in text]
    assert [text.split(" ")[-7] for text in found] == ["pc.weight", "evs.keepalive_period"], found
    ours = {"wsrep_provider_options": (theirs["wsrep_provider_options"][0], "/ours.cnf")}
    assert [text for text in reasons(seen(says=ours)) if "provider's option" in text] == []


def test_the_options_of_a_file() -> None:
    """Of [mysqld] alone, comments left out."""
    text = "# head\n[mysqld]\nuser = mysql\n# max = 3\nwsrep_on=ON\n\n[sst]\nencrypt = 3\n"
    assert options(text) == {"user": "mysql", "wsrep_on": "ON"}


def test_what_another_file_overrules() -> None:
    """The last word counts; an option that is not read at all is missing."""
    effective = ["--max-connections=100", "--wsrep_on=ON", "--max_connections=151"]
    assert overruled({"max_connections": "500", "wsrep_on": "1", "user": "mysql"}, effective) == {
        "max_connections": "151",
        "user": "nothing",
    }
    assert overruled({"wsrep_on": "ON"}, effective) == {}


@pytest.mark.parametrize("effects", [[], ["written"]], ids=["written by a run that was cut", "written now"])
def test_a_file_that_is_overruled(effects: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused whoever wrote it: put back only where this run did, for nobody knows what was there before another."""
    written: list[str] = []
    node = SimpleNamespace(
        name="db1",
        dry_run=False,
        gate=SimpleNamespace(effects=effects),
        read_file=lambda _: "before",
        write_file=lambda _, text: written.append(text),
        read=lambda _: SimpleNamespace(lines=["--wsrep_on=OFF"]),
    )
    monkeypatch.setattr(adopt, "Node", lambda _: node)
    monkeypatch.setattr(adopt, "member_of", lambda _: (None, SimpleNamespace(config="/ours.cnf")))
    monkeypatch.setattr(adopt, "rendered", lambda *_: "[mysqld]\nwsrep_on = ON\n")
    monkeypatch.setattr(prepare, "configure", lambda _: None)
    with pytest.raises(Refused, match="wsrep_on = OFF: another file"):
        adopt.take_over(None)  # type: ignore[arg-type]
    assert written == ["before"] * len(effects)
