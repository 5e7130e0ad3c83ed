"""What the look at a member prints, read part by part: every word alone, at its edges, and absent."""

from __future__ import annotations

import pytest

from nornir_stack.tasks.cluster.member import NOWHERE, Member, Position, Wsrep
from nornir_stack.tasks.cluster.probe import (
    CONFIG,
    Facts,
    File,
    arguments,
    configured,
    grastate,
    gvwstate,
    leftovers,
    member,
    parse,
    wsrep,
)

UUID = "d3124bc8-1605-11e4-aa3d-ab44303c044a"
END = b"\nend of look\n"


def look(head: str, tail: bytes = b"") -> Facts:
    return parse(head.encode() + b"\nfiles\n" + tail + END)


def file(text: str) -> File:
    return File(text.encode(), 5)


def options(text: str, path: str = "/etc/a.cnf") -> dict[str, tuple[str, str]]:
    return configured(Facts(files={path: file(text)}))


def sentences(text: str) -> tuple[str, ...]:
    return leftovers(Facts(), options(text))


def test_the_words_of_the_script() -> None:
    """Data directory, unit, the unit that bootstraps, the mount, then where configuration lies."""
    assert arguments("/d", "mariadb") == ("/d", "mariadb", "", "", *CONFIG)
    # my.cnf(5) of MariaDB and Percona, on Red Hat and on Debian: what is read later wins
    assert CONFIG == ("/etc/my.cnf", "/etc/my.cnf.d", "/etc/percona-xtradb-cluster.conf.d", "/etc/mysql/my.cnf", "/etc/mysql")
    assert arguments("/d", "u", bootstrap_unit="b", mount="/m", config=["/c"]) == ("/d", "u", "b", "/m", "/c")


def test_a_look_that_saw_nothing() -> None:
    """Nothing is installed, nothing runs, and the disk counts as mounted where none of its own is wanted."""
    assert look("\nfree 1") == Facts() == look("\nfree 1 2 3")
    assert Facts() == Facts(installed=False, mounted=True, free_bytes=None, data=False, sst_marker=False)


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("mounted yes", Facts(mounted=True)),
        ("mounted no", Facts(mounted=False)),
        ("free 3 4096", Facts(free_bytes=12288)),
        ("data ibdata1", Facts(data=True)),
        ("marker sst_in_progress", Facts(sst_marker=True)),
        ("binary /usr/sbin/mariadbd", Facts(installed=True)),
        ("leftover /d/wsrep-new-cluster", Facts(leftovers=("/d/wsrep-new-cluster",))),
        ("schema app", Facts(schemas=("app",))),
        ("program 11.8.2-MariaDB for x", Facts(program="11.8.2-MariaDB for x")),
        ("schema mysql", Facts()),
        ("schema #tmp", Facts()),
        ("port 0CEA", Facts(ports=frozenset({3306}))),
        ('holder LISTEN 0 5 *:4444 *:* users:(("socat",pid=7,fd=5))', Facts(holders=((7, "socat"),))),
        ('holder users:(("a b",pid=7,fd=5),("nc",pid=81,fd=6))', Facts(holders=((7, "a b"), (81, "nc")))),
        ("holder LISTEN 0 5 0.0.0.0:4444 0.0.0.0:*", Facts()),
        ("process 7 mariadbd", Facts(processes=((7, "mariadbd"),))),
        ("environment A=b c", Facts(environment=("A=b c",))),
        ("argv /usr/sbin/mariadbd\t--x\t", Facts(argv=(("/usr/sbin/mariadbd", "--x"),))),
    ],
)
def test_each_word_is_a_fact(line: str, fact: Facts) -> None:
    """A line of the look, alone."""
    found = look(f"\n{line}")
    assert found == fact


def test_blocks_of_systemd_come_first_and_apart() -> None:
    """Each ends with an empty line; a later line that looks like one is none."""
    two = look("Id=a.service\nActiveState=active\n\nId=b.service\nActiveState=failed\n\nschema ActiveState=x\nActiveState=x")
    assert two.units == {
        "a.service": {"Id": "a.service", "ActiveState": "active"},
        "b.service": {"Id": "b.service", "ActiveState": "failed"},
    }
    assert two.schemas == ("ActiveState=x",)
    assert look("Other=1\n\nschema a").units == {}
    assert look("ActiveState\n\nschema a").units == {}
    assert look("Id=a.service\n\nschema a\nId=b.service\n").units == {"a.service": {"Id": "a.service"}}


def contents(*files: tuple[str, str]) -> bytes:
    listing = "".join(f"{len(text.encode())} 5 {path}\n" for path, text in files)
    shown = "\n".join(f"==> {path} <==\n{text}" for path, text in files)
    return f"{listing}contents\n{shown}".encode()


def test_files_are_cut_where_their_sizes_say() -> None:
    """One, two, three files, empty ones, and content that looks like another's header."""
    pairs = (("/a", "one\n"), ("/b c", ""), ("/d", "==> /e <==\ntrap"), ("/e", "last"))
    for count in range(len(pairs) + 1):
        found = look("\nfree 1 1", contents(*pairs[:count]))
        assert {path: (one.text, one.written) for path, one in found.files.items()} == {p: (t, 5) for p, t in pairs[:count]}


def test_files_that_changed_while_they_were_read() -> None:
    """Shorter or longer than listed, gone, or cut at the end: the others are as they are."""
    head = b"4 5 /a\n2 6 /b\n2 7 /c\ncontents\n"
    for first in (b"x", b"longer than four", b""):
        found = look("\nfree 1 1", head + b"==> /a <==\n" + first + b"\n==> /b <==\nbb\n==> /c <==\ncc")
        assert {path: one.content for path, one in found.files.items()} == {"/a": first, "/b": b"bb", "/c": b"cc"}
    found = look("\nfree 1 1", head + b"==> /b <==\nbb\n==> /c <==\nccc")
    assert {path: one.content for path, one in found.files.items()} == {"/b": b"bb", "/c": b"ccc"}
    found = look("\nfree 1 1", head + b"==> /a <==\nand no more")
    assert {path: one.content for path, one in found.files.items()} == {"/a": b"and no more"}


def test_a_file_by_its_name() -> None:
    """Its last part counts; NULs are left out of the text."""
    facts = Facts(files={"/d/grastate.dat": File(b"a\0b", 5), "/e/grastate.dat.old": File(b"", 5)})
    found = facts.named("grastate.dat")
    assert found
    assert found.text == "ab"
    assert facts.named("gvwstate.dat") is None


@pytest.mark.parametrize(("line", "safe"), [("safe_to_bootstrap: 0", False), ("safe_to_bootstrap: 1", True), ("", True)])
def test_the_flag(line: str, *, safe: bool) -> None:
    """0 is no; missing counts as 1, as for Galera."""
    saved = grastate(file(f"uuid: {UUID.upper()}\nseqno: 7\n{line}\n"))
    assert (saved.safe_to_bootstrap, saved.position, saved.empty, saved.written) == (safe, Position(UUID, 7), False, 5)
    assert grastate(file(f"uuid: {UUID}\n")).position.seqno == -1


def test_the_view() -> None:
    """Members of any segment; the size is the file's."""
    text = f"my_uuid: {UUID.upper()}\nview_id: 3 {UUID} 12\nmember: {UUID} 0\nmember: {UUID} 1\n"
    view = gvwstate(file(text))
    assert (view.size, view.mine, view.view, view.members) == (len(text), UUID, f"3 {UUID} 12", (UUID, UUID))
    assert not view.broken


def test_options() -> None:
    """The last says it; quotes, comments behind a value, dashes and capitals do not matter; other lines are none."""
    text = "# a = 1\n; b = 1\n[mysqld]\n!include x\n\nWsrep-On = \"ON\"\nskip_name_resolve\nc = d # why\nc = 'e'\n"
    assert options(text) == {
        "wsrep_on": ("ON", "/etc/a.cnf"), "skip_name_resolve": ("on", "/etc/a.cnf"), "c": ("e", "/etc/a.cnf"),
    }  # fmt: skip
    assert options("a=1", "/d/grastate.dat") == {}
    assert options("a=1", "/d/mysqld-auto.cnf") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("wsrep_cluster_address=", "names nobody"),
        ("wsrep_cluster_address=gcomm://", "names nobody"),
        ("wsrep_cluster_address=gcomm://?pc.wait_prim=no", "names nobody"),
        ("wsrep_cluster_address=gcomm://db1", ""),
        ("wsrep_provider_options=pc.bootstrap = true", "pc.bootstrap"),
        ("wsrep_provider_options=pc.bootstrap=no", ""),
        ("wsrep_provider_options=gcache.size=1G", ""),
        ("wsrep_provider_pc_bootstrap=ON", "wsrep_provider_pc_bootstrap is set"),
        ("wsrep_provider_pc_bootstrap=OFF", ""),
        ("wsrep_new_cluster", "wsrep_new_cluster is set"),
        ("wsrep_new_cluster=0", ""),
        ("wsrep_new_cluster=False", ""),
        ("", ""),
    ],
)
def test_each_residue_alone(text: str, said: str) -> None:
    """In a configuration file: a sentence, or none."""
    found = sentences(text)
    assert len(found) == bool(said)
    assert said in "".join(found)


@pytest.mark.parametrize(("value", "left"), [('"ON"', 1), ('"1"', 1), ('"OFF"', 0)])
def test_a_persisted_option(value: str, left: int) -> None:
    """What SET PERSIST wrote."""
    text = f'{{"mysql_server": {{"wsrep_new_cluster": {{"Value": {value}}}}}}}'
    facts = Facts(files={"/d/mysqld-auto.cnf": file(text)})
    assert len(leftovers(facts, configured(facts))) == left


def test_files_and_environment_left_over() -> None:
    """A file is one in any case, a variable only with a value."""
    facts = Facts(leftovers=("/d/wsrep-new-cluster",), environment=("_WSREP_NEW_CLUSTER=''", "_WSREP_NEW_CLUSTER=--x"))
    assert leftovers(facts, {}) == (
        "systemd's environment holds _WSREP_NEW_CLUSTER=--x",
        "the file /d/wsrep-new-cluster is left over",
    )


def unit(state: str, name: str = "mariadb.service", pid: str = "7", load: str = "loaded") -> dict[str, str]:
    return {"Id": name, "ActiveState": state, "SubState": "running", "MainPID": pid, "LoadState": load}


def test_a_member_of_nothing() -> None:
    """No systemd, no server, no files: what is not known is None or empty."""
    seen = member(Facts(), None, unit="mariadb")
    assert seen == Member(unit="", sub_state="", installed=False)


@pytest.mark.parametrize("state", ["inactive", "failed", ""])
def test_a_bootstrap_unit_at_rest(state: str) -> None:
    """It says nothing of the member; the other unit does."""
    facts = Facts(
        units={"mariadb.service": unit("active"), "mysql@bootstrap.service": unit(state, "mysql@bootstrap.service", "8")}
    )
    seen = member(facts, None, unit="mariadb", bootstrap_unit="mysql@bootstrap")
    assert (seen.unit, seen.main_pid, seen.new_cluster, seen.sub_state) == ("active", 7, False, "running")


def test_a_bootstrap_unit_that_runs() -> None:
    """It is the member's unit then, and the server was started to bootstrap."""
    facts = Facts(
        units={"mysql.service": unit("inactive"), "mysql@bootstrap.service": unit("active", "mysql@bootstrap.service", "8")}
    )
    seen = member(facts, None, unit="mysql.service", bootstrap_unit="mysql@bootstrap")
    assert (seen.unit, seen.main_pid, seen.new_cluster) == ("active", 8, True)
    assert not member(facts, None, unit="mysql.service").new_cluster
    assert member(facts, None, unit="mysql.service", bootstrap_unit="mysql@bootstrap.service").new_cluster
    assert not member(Facts(units={"mariadb.service": unit("active")}), None, unit="mariadb").new_cluster


def test_when_its_units_were_started() -> None:
    """Each, by the clock of the node's boot: who compares two looks knows whether the server ran in between."""
    units = {name: {"Id": name, "ExecMainStartTimestampMonotonic": at} for name, at in (("a.service", "5"), ("b.service", "9"))}
    assert member(Facts(units={**units, "c.service": {"Id": "c.service"}}), None, unit="a").starts == ("5", "9", "")


def test_an_alias_of_the_unit() -> None:
    """systemctl prints the target's name: the first block that is no bootstrap unit is meant."""
    facts = Facts(
        units={"mysql@bootstrap.service": unit("failed", "mysql@bootstrap.service"), "mariadb.service": unit("active")}
    )
    assert member(facts, None, unit="mysql").unit == "active"
    assert member(Facts(units={"mariadb.service": unit("x", load="masked")}), None, unit="mysql").masked
    assert not member(facts, None, unit="mysql").masked


@pytest.mark.parametrize(("argv", "new"), [("--wsrep-new-cluster", True), ("--wsrep_new_cluster", True), ("--wsrep-on", False)])
def test_how_the_server_was_started(argv: str, *, new: bool) -> None:
    """Its arguments say whether it was to bootstrap."""
    assert member(Facts(argv=(("/usr/sbin/mariadbd", argv),)), None, unit="mariadb").new_cluster == new


def test_processes() -> None:
    """Servers by their ids, transfers by their names; anything else is neither."""
    processes = ((7, "mariadbd"), (8, "wsrep_sst_rsync"), (9, "garbd"), (10, "mysqld_safe"))
    facts = Facts(processes=processes, ports=frozenset({3306}), holders=((3, "socat"),))
    seen = member(facts, None, unit="mariadb")
    assert (seen.pids, seen.sst, seen.ports) == ((7, 10), ("wsrep_sst_rsync",), frozenset({3306}))
    assert seen.holders == ((3, "socat"),)


def test_settings_of_the_living_server_go_before_those_of_files() -> None:
    """But for the address, of which the file says what the next start will use."""
    names = ("wsrep_node_name", "wsrep_node_address", "wsrep_cluster_name", "wsrep_cluster_address")
    text = "".join(f"{name}=file\n" for name in names) + "innodb_flush_log_at_trx_commit=2\n"
    facts = Facts(files={"/etc/a.cnf": file(text)})
    live = {**dict.fromkeys(names, "live"), "innodb_flush_log_at_trx_commit": "0", "version": "10.11"}
    for seen, word, flush in ((member(facts, {}, live, unit="u"), "live", 0), (member(facts, None, unit="u"), "file", 2)):
        assert (seen.node_name, seen.node_address, seen.cluster_name, seen.cluster_address) == (word, word, word, "file")
        assert seen.flush_log_at_commit == flush
    assert member(Facts(), {}, live, unit="u").cluster_address == "live"
    assert member(Facts(), None, {"innodb_flush_log_at_trx_commit": "?"}, unit="u").flush_log_at_commit is None
    assert member(facts, {}, live, unit="u").version == "10.11"
    assert member(Facts(program="11.8.2-MariaDB for x"), None, unit="u").version == "11.8.2-MariaDB"
    assert member(Facts(program="11.8.2-MariaDB for x"), {}, live, unit="u").version == "10.11"
    assert member(Facts(), {}, {"wsrep_provider_pc_bootstrap": "OFF"}, unit="u").own_options
    assert not member(Facts(), {}, {}, unit="u").own_options


def test_what_a_member_has_on_its_disk() -> None:
    """Files, data, room, marks: as the look saw them."""
    facts = Facts(
        installed=True, mounted=False, free_bytes=9, data=True, sst_marker=True, schemas=("app",),
        files={"/d/grastate.dat": file(f"uuid: {UUID}\nseqno: 3\n"), "/d/gvwstate.dat": file("")},
    )  # fmt: skip
    seen = member(facts, {"wsrep_provider_version": "26.4"}, unit="u")
    assert (seen.installed, seen.mounted, seen.free_bytes, seen.data, seen.sst_marker) == (True, False, 9, True, True)
    assert (seen.schemas, seen.provider) == (("app",), "26.4")
    assert seen.grastate
    assert seen.grastate.position == Position(UUID, 3)
    assert seen.gvwstate
    assert seen.gvwstate.broken
    assert seen.wsrep == wsrep({"wsrep_provider_version": "26.4"}, {})
    assert member(Facts(), None, unit="u").provider is None


@pytest.mark.parametrize(
    ("variables", "on"),
    [
        ({}, True),
        ({"wsrep_on": "ON"}, True),
        ({"wsrep_on": "off"}, False),
        ({"wsrep_on": "0"}, False),
        ({"wsrep_provider": "none"}, False),
        ({"wsrep_provider": "/usr/lib/galera"}, True),
    ],
)
def test_whether_galera_is_on(variables: dict[str, str], *, on: bool) -> None:
    """The server says so, or has no provider."""
    assert wsrep({"wsrep_ready": "ON"}, variables).on == on


def test_the_numbers_of_a_server() -> None:
    """As it prints them; without one, or with a word in its place, what stands for it."""
    status = {
        "wsrep_cluster_status": "Primary", "wsrep_cluster_size": "3", "wsrep_local_state": "4",
        "wsrep_local_state_comment": "Synced", "wsrep_ready": "on", "wsrep_connected": "ON", "wsrep_cluster_conf_id": "12",
        "wsrep_cluster_state_uuid": UUID, "wsrep_last_committed": "118", "wsrep_incoming_addresses": "a:1, b:1",
        "wsrep_local_index": "1", "wsrep_evs_state": "OPERATIONAL", "wsrep_flow_control_paused": "0.5",
        "wsrep_local_recv_queue": "7", "wsrep_local_recv_queue_avg": "1.5", "wsrep_local_send_queue": "8",
        "wsrep_local_cert_failures": "9", "wsrep_local_cached_downto": "4",
    }  # fmt: skip
    assert wsrep(status, {}) == Wsrep(
        on=True, primary=True, size=3, state=4, comment="Synced", ready=True, connected=True, conf_id=12,
        position=Position(UUID, 118), incoming=("a:1", "b:1"), local_index=1, evs_state="OPERATIONAL",
        flow_control_paused=0.5, receive_queue=7, receive_queue_average=1.5, send_queue=8, certification_failures=9,
        cached_from=4,
    )  # fmt: skip
    assert wsrep({"wsrep_cluster_size": "many"}, {}) == Wsrep()
    assert wsrep({"wsrep_local_index": "18446744073709551615"}, {}).local_index == -1
    assert wsrep({"wsrep_last_committed": "-1"}, {}).position == NOWHERE
