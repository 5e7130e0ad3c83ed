"""Who is restarted, in which order, and when nobody may be: decided on plain values."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.roll import roll, rolled
from nornir_stack.tasks.cluster.rolling import Turn, left_drained, not_back, not_safe, turns, writers
from nornir_stack.tasks.cluster.upkeep import Place, Upkeep, newer_by_dnf, parse
from nornir_stack.tasks.loadbalancer.runtime import Backends, Server
from tests.unit.cluster.shorthand import cluster

if TYPE_CHECKING:
    from nornir_stack.tasks.loadbalancer.runtime import State

DB = ("db1", "db2", "db3")
WELL = dict.fromkeys(DB, "synced A 9")


def server(name: str, *, state: State = "ready", status: str = "UP", backup: bool = False) -> Server:
    return Server("writes", name, "", status, state, 1, backup, "", 0, 0)


def balancer(**states: State) -> Place:
    """A single-writer listener: db1 first, the others stand in."""
    servers = tuple(
        server(name, state=states.get(name, "ready"), backup=place > 0, status="UP" if name in DB else "DOWN")
        for place, name in enumerate(DB)
    )
    return Place(backends=Backends(running=True, servers=servers, wanted=tuple(("writes", name) for name in DB)))


def seen(rows: dict[str, str] | None = None, *, lb: Place | None = None, **more: Upkeep) -> Seen[Place]:
    """Members by their lines; `more` replaces what is known beside the member."""
    members = cluster(rows or WELL)
    places = {
        name: Place(replace(more.get(name, Upkeep(member, started=100, configured=50)), member=member))
        for name, member in members.items()
    }
    if lb:
        places["lb1"] = lb
    return Seen(places, members.missing, (*members.hosts, *(("lb1",) if lb else ())))


def changed(**words: object) -> Upkeep:
    return replace(Upkeep(cluster(WELL)["db1"], started=100, configured=50), **words)  # type: ignore[arg-type]


def names(found: tuple[Turn, ...]) -> list[str]:
    return [turn.name for turn in found]


def test_nobody_needs_it() -> None:
    """Servers that are younger than their configuration's last change are left alone."""
    assert turns(seen()) == ()
    assert rolled(seen(), members=(), upgrade=False, only_changed=True).parts == ()


@pytest.mark.parametrize(
    "upkeep",
    [
        changed(configured=101, config="/etc/my.cnf"),
        changed(replaced=True),
        changed(pending=("-mariadb-server 1", "+mariadb-server 2")),
    ],
    ids=["configuration", "program", "packages"],
)
def test_who_needs_it(upkeep: Upkeep) -> None:
    """A newer configuration, a replaced program, newer packages: that member, and no other."""
    assert names(turns(seen(db2=upkeep))) == ["db2"]


def test_who_was_asked_for() -> None:
    """Names force a restart and leave out all others, even one that needs it; only_changed=no takes all."""
    assert names(turns(seen(db2=changed(replaced=True)), members=["db3"])) == ["db3"]
    assert names(turns(seen(), only_changed=False)) == ["db1", "db2", "db3"]


def test_the_writer_comes_last() -> None:
    """The member that HAProxy gives the writes to: the first that is up, else the first that stands in."""
    assert writers(seen(lb=balancer())) == ["db1"]
    assert names(turns(seen(lb=balancer()), only_changed=False)) == ["db2", "db3", "db1"]
    assert writers(seen(lb=balancer(db1="drain"))) == ["db2"]


def test_a_member_that_was_left_comes_first() -> None:
    """Drained and down it is started first; drained and well it is only put back; with a reason of its own it is restarted."""
    down = {**WELL, "db3": "down A 8"}
    rows = {name: f"{line} lists=db1,db2" if name != "db3" else line for name, line in down.items()}
    found = turns(seen(rows, db3=changed(drained=True), db2=changed(replaced=True)))
    assert found[0] == Turn("db3", "db3 was left drained and down: it is finished first")
    assert names(found) == ["db3", "db2"]
    (back,) = turns(seen(lb=balancer(db2="drain")))
    assert (back.name, back.restart) == ("db2", False)
    (again,) = turns(seen(db2=changed(drained=True, replaced=True)))
    assert again.restart


def test_the_chain_of_a_turn() -> None:
    """Drained before, put back after, whatever happened between; a unit that is not cut in the middle."""
    chain = rolled(seen(), members=("db2",), upgrade=False, only_changed=True)
    unit = chain.parts[0]
    assert [part.name for part in unit.parts] == ["drain", "flag", "restart", "unflag", "undrain"]  # type: ignore[union-attr]
    assert [getattr(part, "always", None) for part in unit.parts] == [False, False, False, True, True]  # type: ignore[union-attr]
    assert unit.unit  # type: ignore[union-attr]
    newer = seen(db2=changed(pending=("+mariadb-server 2",)))
    upgrading = rolled(newer, members=(), upgrade=True, only_changed=True).parts[0]
    assert [part.name for part in upgrading.parts][:4] == ["download", "drain", "flag", "upgrade"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (seen({**WELL, "db3": "down A 8"}), "db3 is down"),
        (seen({**WELL, "db3": "donor A 9"}), "db3 is a donor"),
        (seen({**WELL, "db3": "joining A 9"}), "db3"),
        (seen({**WELL, "db3": "outside A 9"}), "db3"),
        (seen({**WELL, "db3": "gone"}), "db3 was not seen"),
        (seen({**WELL, "db3": "silent A"}), "db3"),
        (seen({"db1": "synced A 9"}), "Nobody else would be left"),
        (seen(db3=changed(backups=("mariadb-backup",))), "A backup runs on db3"),
        (seen(db1=changed(backups=("mariadb-backup",))), "A backup runs on db1"),
        (seen(lb=balancer(db2="maint")), "db2 was set to maint"),
        (seen(lb=Place(backends=Backends(running=False, servers=(), wanted=()))), "haproxy does not answer"),
    ],
)
def test_nobody_is_stopped_while_anybody_is_not_well(place: Seen[Place], said: str) -> None:
    """One sentence says what stands against stopping db1, and the plan refuses with it."""
    assert said in " ".join(not_safe(place, "db1"))
    with pytest.raises(Refused, match="Nobody is restarted"):
        turns(place, members=["db1"])


def test_a_member_itself_may_be_down_or_drained() -> None:
    """What is said of the member whose turn it is does not stand against its turn."""
    rows = {"db1": "down A 8", "db2": "synced A 9 lists=db2,db3", "db3": "synced A 9 lists=db2,db3"}
    assert not_safe(seen(rows, lb=balancer(db1="drain")), "db1") == []
    assert left_drained(seen(lb=balancer(db1="drain", db2="maint"))) == ["db1"]


def test_certificates_come_first() -> None:
    """Before anybody is drained, and before lists of packages are fetched."""
    assert [part.name for part in roll().parts] == ["certificates", "look"]
    assert [part.name for part in roll(upgrade=True).parts] == ["certificates", "lists", "look"]


def test_refusals() -> None:
    """A name that is no member, and packages that are held."""
    with pytest.raises(Refused, match="db9: no member"):
        turns(seen(), members=["db9"])
    with pytest.raises(Refused, match="held"):
        turns(seen(db1=changed(pending=("+mariadb-server 2",), held_back=("mariadb-server",))))


def test_back_in_service() -> None:
    """A load balancer trusts a member again when every listener has it up and ready."""
    servers = (server("db1"), server("db2", status="DOWN"))
    up = Backends(running=True, servers=servers, wanted=(("writes", "db1"), ("writes", "db2")))
    assert not_back(Seen({"lb1": up}), "db1") == []
    assert not_back(Seen({"lb1": up}), "db2")
    assert not_back(Seen({}, {"lb1": "unreachable"}), "db1")


def test_what_the_look_prints() -> None:
    """The newest configuration file, flags and backups."""
    text = "started 100\nreplaced /usr/sbin/mariadbd (deleted)\ndrained\nbackup mariadb-backup\n"
    text += "config 90 /etc/a.cnf\nconfig 95 /b c.cnf\n"
    found = parse(text, cluster(WELL)["db1"])
    assert (found.started, found.configured, found.config) == (100, 95, "/b c.cnf")
    assert (found.replaced, found.drained, found.backups) == (True, True, ("mariadb-backup",))
    assert parse("started 5\n", cluster(WELL)["db1"]).configured == 0
    said = (
        "\nMariaDB-server.x86_64   10.11.9-1.el9   mariadb\nObsoleting Packages\n"
        "MariaDB-server.x86_64   10.11.9-1.el9   mariadb\n    mariadb-server.x86_64   10.5.22-1.el9   @System\n"
        "MariaDB-shared.x86_64   10.11.9-1.el9   mariadb\n    mariadb-libs.x86_64   10.5.22-1.el9   @System\n"
    )
    assert newer_by_dnf(said) == ("+MariaDB-server 10.11.9-1.el9", "+MariaDB-shared 10.11.9-1.el9")


def test_another_release_is_no_upgrade_of_packages() -> None:
    """Sources with a new release of the database are refused: that is galera.upgrade."""
    newer = changed(pending=("-mariadb-server 1:10.11.6", "+mariadb-server 1:11.8.9+ds"))
    with pytest.raises(Refused, match=r"would bring 11\.8\.9, another release: that is galera.upgrade"):
        rolled(seen(db2=newer), members=(), upgrade=True, only_changed=True)
