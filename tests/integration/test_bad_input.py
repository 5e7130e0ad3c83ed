"""What bad input gets on real nodes, by the command line: one clear sentence, the right exit code, nothing touched."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.cluster_lab import CONFIG, DB, Cluster, Ran, changed_between, inside, tell, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab

LOOKED_AT = ("/etc", "/var/lib/dpkg", "/var/lib/mysql", "/root", "/usr", "/srv")
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7Rk3bKZ0qgYkWwC1r3K3x0b8c5m2nq9p0QwErTyUiO"
CONFIG_FOLDER = CONFIG.rpartition("/")[0]


@pytest.fixture(scope="module")
def prepared(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Three nodes with the packages, on which nothing is formed."""
    return Cluster(boot(*DB, tree="db"), tmp_path_factory.mktemp("bad") / "inventory")


@pytest.fixture
def cluster(prepared: Cluster) -> Iterator[Cluster]:
    """Whatever a test writes into the inventory is put right afterwards."""
    prepared.write()
    yield prepared
    prepared.lab.heal()


@contextmanager
def untouched(cluster: Cluster) -> Iterator[None]:
    """Files and servers of all nodes are the same afterwards."""
    before, units = cluster.stamps(*LOOKED_AT), cluster.started()
    yield
    assert changed_between(before, cluster.stamps(*LOOKED_AT)) == {}
    assert cluster.started() == units


def sentence(ran: Ran, code: int, *words: str) -> None:
    """The run ended with `code` and said these words, in one paragraph without a traceback."""
    tell(ran.err[-1500:])
    assert ran.code == code, ran.said
    assert "Traceback" not in ran.said
    said = " ".join(ran.said.split())
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(
    ("galera", "words"),
    [
        ("      buffer_pol: 1G\n", ("groups.yaml:", "galera.buffer_pol: unknown", "did you mean 'buffer_pool'")),
        ("      slave_threads: many\n", ("groups.yaml:", "slave_threads")),
        ("      datadir: not/a/path\n", ("groups.yaml:", "datadir", "not/a/path")),
        ("      extra: {innodb_locks_unsafe_for_binlog: 1}\n", ("groups.yaml:", "innodb_locks_unsafe_for_binlog")),
        ("      extra: {wsrep_on: 'OFF'}\n", ("groups.yaml:", "wsrep_on")),
        ("      sst_user: [\n", ("groups.yaml:",)),
        ("      sst_password: !secret fil:x\n", ("groups.yaml:", "expected env:NAME, file:PATH or cmd:COMMAND")),
    ],
)
def test_a_fault_in_the_inventory_is_told_by_file_and_line(cluster: Cluster, galera: str, words: tuple[str, ...]) -> None:
    """Unknown keys with the nearest known one, wrong types, dangerous settings, broken YAML: exit code 2."""
    cluster.write(galera=galera)
    with untouched(cluster):
        sentence(cluster.cli("run", "galera.form"), 2, *words)


def test_a_secret_that_is_not_there_stops_the_run(cluster: Cluster) -> None:
    """A reference to a file that does not exist is told before anything is touched, not when a cluster half stands."""
    (cluster.folder / "password").unlink()
    with untouched(cluster):
        sentence(cluster.cli("run", "galera.form"), 1, f"secret file:{cluster.folder}/password: No such file or directory")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("galera.fom",), ("'galera.fom'", "did you mean 'galera.form'")),
        (("galera.form", "missin=db1"), ("missin", "did you mean 'missing'")),
        (("galera.form", "missing=db9"), ("no host 'db9'",)),
        (("galera.form", "--on", "bd1"), ("no host and no role 'bd1'", "did you mean 'db1'")),
        (("system.swap_file",), ("size",)),
    ],
)
def test_a_fault_in_the_command_is_told(cluster: Cluster, words: tuple[str, ...], said: tuple[str, ...]) -> None:
    """Unknown chains, parameters and hosts, and values of a wrong kind: exit code 2."""
    with untouched(cluster):
        sentence(cluster.cli("run", *words), 2, *said)


def test_a_value_that_a_task_cannot_take_is_told(cluster: Cluster) -> None:
    """A size that is none: the task says on each host what it takes, before it looks at the node."""
    with untouched(cluster):
        sentence(cluster.cli("run", "system.swap_file", "size=big"), 1, "'big' is not a size", "such as 512M")


def test_a_variable_that_a_template_lacks_is_named(cluster: Cluster) -> None:
    """The template, the line and the variable are told, and the file is not written."""
    words = ("path=/etc/lacking.conf", "text=port {{ prot }}", "values={}")
    with untouched(cluster):
        sentence(cluster.cli("run", "system.template", "--on", "db1", *words), 1, "/etc/lacking.conf:1", "'prot' is undefined")


def test_a_wrong_host_key_is_refused(cluster: Cluster) -> None:
    """A node with another host key than known_hosts has: nobody logs in there, the line is named, and how to take it out."""
    known = cluster.folder / "known_hosts"
    known.write_text("".join(f"{cluster.address(name)} {OTHER_KEY}\n" for name in DB))
    cluster.write(known_hosts=str(known))
    with untouched(cluster):
        ran = cluster.cli("run", "galera.form")
        sentence(ran, 1, f"the host key is not the one in {known} line 1", "ssh-keygen -R", "unreachable")


def test_a_host_key_that_nobody_knows_is_refused(cluster: Cluster) -> None:
    """A known_hosts without the node: it is not trusted at first sight."""
    known = cluster.folder / "known_hosts"
    known.write_text("")
    cluster.write(known_hosts=str(known))
    with untouched(cluster):
        sentence(cluster.cli("run", "galera.form"), 1, "the host key is not trusted", "ssh-keyscan")


def test_a_refused_login_is_told(cluster: Cluster) -> None:
    """A user whom the nodes do not let in: named, with what to check."""
    (cluster.folder / "wrong").write_text("not-the-password")
    defaults = cluster.folder / "defaults.yaml"
    login = f"username: nobody\npassword: !secret file:{cluster.folder}/wrong"
    defaults.write_text(defaults.read_text().replace("username: root", login))
    with untouched(cluster):
        ran = cluster.cli("run", "galera.form")
        sentence(ran, 1, "the login of 'nobody' was refused", "check the user, key or password")
    assert "not-the-password" not in ran.said


def test_an_unreachable_node_is_shown_and_the_others_are_prepared(cluster: Cluster) -> None:
    """One node without network: it is unreachable in the report, the others are prepared, no server is started anywhere."""
    cluster.lab.cut("db2")
    ran = cluster.cli("run", "galera.form")
    sentence(ran, 1, f"{cluster.address('db2')}:22: no answer within 10 s", "1 unreachable")
    prepared = {name: inside(cluster.lab, name, f"ls {CONFIG} 2>/dev/null; true").strip() for name in ("db1", "db3")}
    assert prepared == {"db1": CONFIG, "db3": CONFIG}
    assert {said["unit"] for said in cluster.seen().values()} == {"inactive"}


def test_on_a_full_disk_the_old_file_survives(cluster: Cluster) -> None:
    """No space where the configuration lies: the node's own words, the old file byte for byte, nothing beside it, no start."""
    old = "# the old file\n"
    small = f"mount -t tmpfs -o size=16k tmpfs {CONFIG_FOLDER} && echo '{old.strip()}' >{CONFIG}"
    inside(cluster.lab, "db2", f"{small}; cat /dev/zero >{CONFIG_FOLDER}/full 2>/dev/null; true")
    try:
        ran = cluster.cli("run", "galera.form")
        sentence(ran, 1, "No space left on device", CONFIG)
        assert inside(cluster.lab, "db2", f"cat {CONFIG}") == old
        assert inside(cluster.lab, "db2", f"ls -A {CONFIG_FOLDER}").split() == ["full", CONFIG.rpartition("/")[2]]
        assert {said["unit"] for said in cluster.seen().values()} == {"inactive"}
    finally:
        inside(cluster.lab, "db2", f"umount {CONFIG_FOLDER}")


def test_a_package_that_does_not_exist_is_named(cluster: Cluster) -> None:
    """apt does not know it: it is named, the exit code is 1, and nothing is installed."""
    with untouched(cluster):
        sentence(cluster.cli("run", "system.packages", "--on", "db1", "present=no-such-package"), 1, "no-such-package")


def test_the_second_of_two_runs_is_told_who_runs(cluster: Cluster) -> None:
    """Exit code 4, and the holder by user, process, time and run; a run that waits is not needed for that."""
    first = cluster.start_cli("run", "galera.form")
    locked = "test -s /run/lock/nornir-stack && cat /run/lock/nornir-stack"
    until(lambda: f"pid {first.pid} " in cluster.lab.enter("db1", "sh", "-c", locked).stdout, 60, "the first run's lock")
    first.send_signal(signal.SIGSTOP)
    try:
        with untouched(cluster):
            second = cluster.cli("run", "galera.form", "--wait", "0")
            sentence(second, 4, "is locked by", f"pid {first.pid} since", "(galera.form)")
        sentence(cluster.cli("lock", "show"), 0, "db1: held by root@", f"pid {first.pid}")
    finally:
        first.send_signal(signal.SIGCONT)
        first.send_signal(signal.SIGINT)
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=120)


def test_a_data_disk_that_is_not_mounted_is_refused(cluster: Cluster) -> None:
    """Members whose data disk should be mounted and is not: nothing is known of their data, so nothing is begun."""
    cluster.write(galera="      data_mount: /srv/db\n      datadir: /srv/db/mysql\n")
    with untouched(cluster):
        sentence(cluster.cli("run", "galera.form"), 1, "The data disk of db1 is not mounted", "Mount it.")
