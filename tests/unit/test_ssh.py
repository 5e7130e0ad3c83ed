"""SSH connections: who is let in, what is said when not, what a cut connection does."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
from nornir.core.configuration import Config
from nornir.core.inventory import ConnectionOptions, Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups
from nornir.core.plugins.connections import ConnectionPluginRegister

from nornir_stack.command import command, sh
from nornir_stack.connections import connection, interrupt, parameters, shell_of
from nornir_stack.connections.netmiko import device
from nornir_stack.connections.ssh import SshPlugin
from nornir_stack.errors import (
    ConnectionFailed,
    ConnectionLost,
    HostKeyRefused,
    LoginRefused,
    TimedOut,
    UsageError,
)
from nornir_stack.secret import Secret
from tests.unit.shells import over_ssh, until
from tests.unit.ssh_server import PASSWORD, USER, SshServer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_stack.shell import ShellConnection


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    ConnectionPluginRegister.auto_register()
    with serving(tmp_path) as running:
        yield running


def opened(server: SshServer, password: str | Secret | None = None, **extras: Any) -> ShellConnection:
    plugin = SshPlugin()
    plugin.open("127.0.0.1", USER, password, server.port, None, server.extras(**extras))
    return plugin.connection


def host_of(server: SshServer, **extras: Any) -> Host:
    options = {"ssh": ConnectionOptions(extras=server.extras(**extras))}
    return Host("db1", hostname="127.0.0.1", port=server.port, username=USER, connection_options=options)


def test_key_login(server: SshServer) -> None:
    """A key opens a root shell."""
    shell = opened(server)
    assert shell.root
    assert shell.run(command("id", "-u"), timeout=5).text == "0"
    shell.close()
    assert not shell.alive


@pytest.mark.parametrize("password", [PASSWORD, Secret(literal=PASSWORD)])
def test_password_login(server: SshServer, password: str | Secret) -> None:
    """A password as text or as a Secret opens it too."""
    shell = opened(server, password, client_keys=[])
    assert shell.run(command("true"), timeout=5).ok
    shell.close()


def test_refused_password_says_so_and_not_the_password(server: SshServer) -> None:
    """The message names the login and what to check."""
    with pytest.raises(LoginRefused, match="'root' was refused") as caught:
        opened(server, "wrong horse", client_keys=[])
    assert "wrong horse" not in str(caught.value)


def test_wrong_host_key_names_file_line_and_remedy(server: SshServer) -> None:
    """Another key than the known one is never accepted."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    Path(server.known_hosts).write_text(f"# first\n[127.0.0.1]:{server.port} {other}", "utf-8")
    with pytest.raises(HostKeyRefused, match=r"known_hosts line 2; .*ssh-keygen -R '\[127\.0\.0\.1\]:"):
        opened(server)


def test_unknown_host_key_is_refused(server: SshServer) -> None:
    """No trust on first use."""
    Path(server.known_hosts).write_text("", "utf-8")
    with pytest.raises(HostKeyRefused, match="does not know this host"):
        opened(server)


def test_host_key_check_cannot_be_switched_off(server: SshServer, tmp_path: Path) -> None:
    """`UserKnownHostsFile none` in ssh_config is refused."""
    config = tmp_path / "config"
    config.write_text("Host *\n  UserKnownHostsFile none\n", "utf-8")
    with pytest.raises(UsageError, match="is not to be checked"):
        opened(server, known_hosts=None, config=[str(config)])


def test_ssh_config_is_read(server: SshServer, tmp_path: Path) -> None:
    """An alias of ssh_config with its own address, port and user works as a hostname."""
    config = tmp_path / "config"
    config.write_text(f"Host alias\n  HostName 127.0.0.1\n  Port {server.port}\n  User {USER}\n", "utf-8")
    plugin = SshPlugin()
    plugin.open("alias", None, None, None, None, server.extras(config=[str(config)]))
    assert plugin.connection.run(command("true"), timeout=5).ok
    plugin.close()


def test_closed_port_is_named() -> None:
    """Unreachable is ConnectionFailed with host and port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ConnectionFailed, match=rf"127\.0\.0\.1:{port}: the port is closed"):
        SshPlugin().open("127.0.0.1", USER, None, port, None, {"client_keys": []})


def test_silent_port_times_out(tmp_path: Path) -> None:
    """A host that accepts and says nothing is given up after connect_timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (tmp_path / "known_hosts").touch()
        extras = {"known_hosts": str(tmp_path / "known_hosts"), "connect_timeout": 0.3}
        with pytest.raises(ConnectionFailed, match=r"no answer within 0\.3 s"):
            SshPlugin().open("127.0.0.1", USER, None, silent.getsockname()[1], None, extras)


def test_missing_known_hosts_file_is_a_refused_host_key(server: SshServer, tmp_path: Path) -> None:
    """A file that is not there knows no host."""
    with pytest.raises(HostKeyRefused, match="none does not know this host"):
        opened(server, known_hosts=str(tmp_path / "none"))


def test_unknown_option_is_refused() -> None:
    """A misspelt option is not ignored."""
    with pytest.raises(UsageError, match="no option 'known_host'"):
        SshPlugin().open("127.0.0.1", USER, None, 22, None, {"known_host": "x"})


def test_sudo_that_is_not_there_is_a_refused_login(server: SshServer) -> None:
    """Not becoming root is said at once, with what sudo or the shell said."""
    config: dict[str, Any] = {"sudo": True, "sudo_password": "swordfish"}
    if Path("/usr/bin/sudo").exists():
        shell = opened(server, **config)
        assert shell.root
        shell.close()
    else:
        with pytest.raises(LoginRefused, match=r"could not become root.*sudo"):
            opened(server, **config)


def test_cut_connection_in_flight(server: SshServer, tmp_path: Path) -> None:
    """ConnectionLost says that the command may still run; the handle is dead and says so at once."""
    shell, begun = opened(server), tmp_path / "begun"

    def cut() -> None:
        until(begun.exists)
        server.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(ConnectionLost, match=r"the connection was lost while .* may still run"):
        shell.run(sh(f"echo >{begun}; exec sleep 3"), timeout=20)
    thread.join()
    assert not shell.alive
    with pytest.raises(ConnectionLost):
        shell.run(command("true"), timeout=5)
    shell.close()


def test_threads_share_one_connection(server: SshServer) -> None:
    """Whatever number of threads ask, one connection is opened."""
    host, found = host_of(server), set()
    threads = [threading.Thread(target=lambda: found.add(shell_of(host, Config()))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(server.connections) == 1
    host.close_connections()


def test_dead_connection_is_opened_again_with_its_locks(server: SshServer, tmp_path: Path) -> None:
    """A reboot is survived by the object: a new connection, without the old facts, with the lock."""
    host, path = host_of(server), str(tmp_path / "lock")
    first = shell_of(host, Config())
    first.facts["kernel"] = "old"
    first.lock(path, "ann")
    server.cut()
    until(lambda: not first.alive)
    second = shell_of(host, Config())
    assert (second is not first, second.facts, second.locks) == (True, {}, {path: "ann"})
    host.close_connections()


def test_filtered_inventory_shares_the_connection(server: SshServer) -> None:
    """`filter()` copies share the host objects, so also their connections."""
    host = host_of(server)
    inventory = Inventory(Hosts({"db1": host}))
    shell = shell_of(host, Config())
    assert shell_of(inventory.filter(name="db1").hosts["db1"], Config()) is shell
    host.close_connections()


def test_interrupt_of_a_host_without_connection_does_nothing(server: SshServer) -> None:
    """No connection is opened for it."""
    interrupt(host_of(server))
    assert not server.connections


def test_options_are_inherited_and_not_written_into_the_host() -> None:
    """A host's own options come first, then its groups', then the defaults'; the host stays as it was."""
    group = Group("db", connection_options={"ssh": ConnectionOptions(port=23, extras={"sudo": True})})
    defaults = Defaults(connection_options={"ssh": ConnectionOptions(username="ann", port=24)})
    own = {"ssh": ConnectionOptions(hostname="10.0.0.1")}
    host = Host("db1", groups=ParentGroups([group]), defaults=defaults, connection_options=own, password="x")
    Inventory(Hosts({"db1": host}), Groups({"db": group}), defaults)
    found = parameters(host, "ssh")
    wanted = {
        "hostname": "10.0.0.1",
        "port": 23,
        "username": "ann",
        "password": "x",
        "platform": None,
        "extras": {"sudo": True},
    }
    assert found == wanted
    assert own["ssh"].port is None


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_open_socket_reaches_what_the_node_sees(server: SshServer, tmp_path: Path, kind: str) -> None:
    """A stream in both directions, to a port or a unix socket of the node."""
    shell = over_ssh(server)
    path = str(tmp_path / "socket")
    listener = socket.create_server(("127.0.0.1", 0)) if kind == "tcp" else socket.socket(socket.AF_UNIX)
    if kind == "unix":
        listener.bind(path)
        listener.listen()
    with listener, shell.open_socket(listener.getsockname() if kind == "tcp" else path) as ours:
        theirs, _ = listener.accept()
        with theirs:
            ours.sendall(b"ping")
            assert theirs.recv(10) == b"ping"
            theirs.sendall(b"pong")
            assert ours.recv(10) == b"pong"
            theirs.close()
            assert ours.recv(10) == b""
    with pytest.raises(ConnectionFailed, match="nothing answers at"):
        shell.open_socket(str(tmp_path / "nobody"))
    shell.close()


async def _router(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """A device of cisco_ios' manners: a prompt, echoed lines, a configuration mode."""
    mode, lines = b"", []
    process.stdout.write(b"router#")
    while True:
        line = (await process.stdin.readuntil(b"\n")).strip()
        if line == b"exit":
            break
        if line == b"reload":
            continue
        if line.startswith(b"configure"):
            mode = b"(config)"
        elif line == b"end":
            mode = b""
        elif mode:
            lines.append(line)
        said = b"hostname " + b"/".join(lines) + b"\r\n" if line == b"show running-config" else b""
        process.stdout.write(line + b"\r\n" + said + b"router" + mode + b"#")
    process.exit(0)


def test_network_device_is_asked_and_configured(tmp_path: Path) -> None:
    """netmiko behind our handle: show, configure, and the host key is checked."""
    ConnectionPluginRegister.auto_register()
    with serving(tmp_path, _router) as server:
        extras: dict[str, Any] = {"alt_key_file": server.known_hosts, "password": Secret(literal=PASSWORD)}
        options = {"netmiko": ConnectionOptions(platform="ios", extras=extras)}
        host = Host("r1", hostname="127.0.0.1", port=server.port, username=USER, connection_options=options)
        router = device(host, Config())
        router.configure(["vlan 7"])
        assert "hostname /vlan 7/" in router.ask("show running-config")
        with pytest.raises(TimedOut, match=r"no prompt came back within 0\.3 s after: reload"):
            router.ask("reload", seconds=0.3)
        host.close_connections()
        Path(server.known_hosts).write_text("", "utf-8")
        with pytest.raises(HostKeyRefused, match="r1: the host key is not trusted"):
            device(host, Config())


def test_connection_by_name(server: SshServer) -> None:
    """Any of Nornir's connection plugins is opened by its name."""
    host = host_of(server)
    assert connection(host, "ssh", Config()) is shell_of(host, Config())
    host.close_connections()
