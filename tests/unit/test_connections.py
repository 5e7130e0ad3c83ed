"""What is remembered of a host's connections beyond one of them."""

from __future__ import annotations

import inspect
import socket
import time
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from nornir.core.inventory import ConnectionOptions

from nornir_stack.cli.parser import build
from nornir_stack.connections import connection, libvirt, lock, shell_of, ssh, unlock
from nornir_stack.connections.local import LocalWay
from nornir_stack.connections.mongodb import Mongo
from nornir_stack.connections.mysql import Mysql
from nornir_stack.connections.openstack import Api
from nornir_stack.errors import ConnectionFailed, Locked
from nornir_stack.inventory.options import EXTRAS
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.shell import ShellConnection
from tests.unit.fleets import fleet
from tests.unit.shells import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nornir.core import Nornir


@pytest.fixture
def nr() -> Iterator[Nornir]:
    """A host db1 that is this machine."""
    register_connections()
    nr = fleet({"db": ["db1"]}, {"db1": {"connection": "local"}})
    yield nr
    nr.close_connections()


@pytest.fixture
def other() -> Iterator[ShellConnection]:
    opened = ShellConnection(LocalWay())
    yield opened
    opened.close()

def test_a_host_that_took_long_to_be_found_unreachable_is_not_waited_for_again_at_once() -> None:
    """Whoever asks for the connection in the next seconds is told at once, with the same error."""
    register_connections()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes the connection and never says SSH-2.0
        nr = fleet({"db": ["db1"]})
        host = nr.inventory.hosts["db1"]
        extras = {"connect_timeout": 2.2, "known_hosts": "/dev/null"}
        port = silent.getsockname()[1]
        host.connection_options["ssh"] = ConnectionOptions("127.0.0.1", port, "root", None, None, extras)
        with pytest.raises(ConnectionFailed) as first:
            connection(host, "ssh", nr.config)
        began = time.monotonic()
        with pytest.raises(ConnectionFailed) as second:
            connection(host, "ssh", nr.config)
        assert second.value is first.value
        assert time.monotonic() - began < 1.0  # not a speed but a wait that is left out: it would take 2.2


def test_a_connection_that_cannot_have_its_lock_again_is_nobodys(nr: Nornir, other: ShellConnection, tmp_path: Path) -> None:
    """Lost, and the lock another's by now: each use asks for it again, and none runs without it."""
    host, path = nr.inventory.hosts["db1"], str(tmp_path / "lock")
    lock(host, nr.config, path, "ann")
    shell_of(host, nr.config).close()
    until(lambda: _locked(other, path))
    for _ in range(2):
        with pytest.raises(Locked, match=r"is locked by bob: .*lock show db1`"):
            shell_of(host, nr.config)
        assert "local" not in host.connections
    other.unlock(path)
    assert shell_of(host, nr.config).locks == {path: "ann"}


def test_nobody_is_let_to_a_node_before_the_lock_that_it_could_not_give(
    nr: Nornir, other: ShellConnection, tmp_path: Path
) -> None:
    """A node that is down when a run asks for its lock (here: no folder for it) may come back while the run goes on."""
    host, path = nr.inventory.hosts["db1"], str(tmp_path / "run" / "lock")
    lock(host, nr.config, path, "ann")
    with pytest.raises(ConnectionFailed, match="cannot be made"):
        shell_of(host, nr.config)
    (tmp_path / "run").mkdir()
    other.lock(path, "bob")
    with pytest.raises(Locked, match="bob"):
        shell_of(host, nr.config)
    other.unlock(path)
    assert shell_of(host, nr.config).locks == {path: "ann"}


@pytest.mark.parametrize("reachable", [True, False])
def test_a_lock_that_was_given_back_is_not_asked_for_again(
    nr: Nornir, other: ShellConnection, tmp_path: Path, *, reachable: bool
) -> None:
    """Locks are a run's: a connection that was lost in one run, and is opened again in a later one, has only that one's."""
    host, folder = nr.inventory.hosts["db1"], tmp_path / "run"
    path = str(folder / "lock")
    if reachable:
        folder.mkdir()
    lock(host, nr.config, path, "ann for run 1")
    if reachable:
        shell_of(host, nr.config).close()
        until(lambda: _locked(other, path))
        other.unlock(path)
    unlock(host, path, "ann for run 1")
    folder.mkdir(exist_ok=True)
    lock(host, nr.config, path, "ann for run 2")
    assert shell_of(host, nr.config).locks == {path: "ann for run 2"}
    unlock(host, path, "ann for run 1")
    with pytest.raises(Locked, match="ann for run 2"):
        other.lock(path, "bob")


def test_a_lock_that_cannot_be_given_back_ends_with_its_connection(
    nr: Nornir, other: ShellConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong with the node, the end of a run leaves nothing locked."""
    host, path = nr.inventory.hosts["db1"], str(tmp_path / "lock")
    lock(host, nr.config, path, "ann")
    with monkeypatch.context() as hung:
        hung.setattr("nornir_stack.nodelock.give", lambda *_: "while :; do :; done")
        for name in ("OPEN_SECONDS", "_END_SECONDS", "_FRAME_SECONDS"):
            hung.setattr(f"nornir_stack.shell.{name}", 0.1)
        unlock(host, path, "ann")
    assert not host.connections["local"].connection.alive
    until(lambda: _locked(other, path))


def _locked(shell: ShellConnection, path: str) -> bool:
    with suppress(Locked):
        shell.lock(path, "bob")
    return bool(shell.locks)


def test_whoever_is_locked_out_is_told_the_commands_that_look_and_break() -> None:
    """As they are typed; where there is no host there is nothing to break."""
    told = str(Locked("db1", "bob for run 1", host="db1"))
    words = [each.split() for each in told.split("`")[1::2]]
    assert words == [["nornir-stack", "lock", "show", "db1"], ["nornir-stack", "lock", "break", "db1"]]
    assert [build().parse_args(each[1:]).host for each in words] == ["db1", "db1"]
    assert str(Locked("this inventory", "bob")) == "this inventory is locked by bob"


def words_of(made: Callable[..., object]) -> set[str]:
    return set(inspect.signature(made).parameters)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("ssh", ssh._EXTRAS),
        ("local", {"sudo", "sudo_password"}),
        ("libvirt", libvirt._EXTRAS),
        ("mysql", words_of(Mysql) - {"through"}),
        ("mongodb", words_of(Mongo)),
        ("openstack", words_of(Api)),
    ],
)
def test_the_inventory_knows_the_extras_of_each_plugin(name: str, taken: set[str]) -> None:
    """What the inventory lets through is what the plugin takes, no more and no less."""
    assert {field.name for field in fields(EXTRAS[name])} == taken
