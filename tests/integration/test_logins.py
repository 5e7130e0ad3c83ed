"""How real nodes are logged in to other than as root with a key file: sudo, an agent, a jump through another node."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from nornir.core.inventory import ConnectionOptions

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import sh
from nornir_stack.connections import shell_of
from nornir_stack.errors import TimedOut
from nornir_stack.secret import Secret
from nornir_stack.select import everyone
from nornir_stack.tasks.system.facts import facts
from nornir_stack.tasks.system.kernel import sysctl
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

PASSWORD = 'Ops\' "pass" $HOME'
USERS = r"""
set -e
for user in ops asked pty; do
    useradd --create-home --shell /bin/sh "$user"
    install -d -m 700 -o "$user" "/home/$user/.ssh"
    install -m 600 -o "$user" /root/.ssh/authorized_keys "/home/$user/.ssh/authorized_keys"
done
printf '%s\n' "ops ALL=(ALL) NOPASSWD: ALL" "asked ALL=(ALL) ALL" >/etc/sudoers.d/ops
printf '%s\n' "pty ALL=(ALL) NOPASSWD: ALL" "Defaults:pty use_pty" >/etc/sudoers.d/pty
printf 'asked:%s\n' "$1" | chpasswd
"""
# only the other node may ask its sshd
BEHIND = r"""
nft add table inet behind
nft add chain inet behind in '{ type filter hook input priority 0; }'
nft add rule inet behind in ip saddr "$1" tcp dport 22 drop
"""


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    lab = boot("door", "inner")
    for name in ("door", "inner"):
        done = lab.enter(name, "sh", "-c", USERS, "sh", PASSWORD)
        assert done.returncode == 0, done.stderr
    return lab


def run(lab: Lab, host: str, user: str, extras: dict[str, Any], *, fresh: str = "0") -> Report:
    """A change of a sysctl by that login, and facts."""
    nr = nornir(lab, {"any": [host]})
    known = {"known_hosts": str(lab.spec.state / "known_hosts")}
    nr.inventory.hosts[host].username = user
    nr.inventory.hosts[host].connection_options["ssh"] = ConnectionOptions(None, None, None, None, None, {**known, **extras})
    stage = Stage("login", on=everyone, tasks=(do(facts), do(sysctl, values={"net.ipv4.ip_forward": fresh})))
    report = Chain("trial.login", stage).run(nr)
    nr.close_connections()
    return report


def key(lab: Lab) -> dict[str, Any]:
    return {"client_keys": [str(lab.spec.state / "id_ed25519")]}


@pytest.mark.parametrize(("user", "extras"), [("ops", {}), ("asked", {"sudo_password": Secret(literal=PASSWORD)}), ("pty", {})])
def test_sudo(lab: Lab, user: str, extras: dict[str, Any]) -> None:
    """A login that is not root becomes root by sudo, with a password where the node wants one; a second run changes nothing."""
    value = "0" if user == "asked" else "1"
    assert run(lab, "door", user, {**key(lab), **extras}, fresh=value).exit_code == 0
    assert lab.enter("door", "cat", "/proc/sys/net/ipv4/ip_forward").stdout.strip() == value
    assert run(lab, "door", user, {**key(lab), **extras}, fresh=value).changed == ()
    told = lab.enter("door", "sh", "-c", 'grep -rF -- "$1" /var/log/[!j]* /root; journalctl | grep -F -- "$1"', "sh", PASSWORD)
    assert told.stdout == ""


@pytest.mark.parametrize("user", ["ops", "pty"])
def test_a_command_has_no_terminal_to_ask_at(lab: Lab, user: str) -> None:
    """Not even where sudo makes one (use_pty, which is the default since sudo 1.9.14); and it is ended like any other."""
    nr = nornir(lab, {"any": ["door"]})
    nr.inventory.hosts["door"].username = user
    shell = shell_of(nr.inventory.hosts["door"], nr.config)
    assert shell.by_sudo
    assert shell.run(sh("exec </dev/tty"), timeout=30).status
    for stdin in (None, "few"):
        with pytest.raises(TimedOut, match="and was ended"):
            shell.run(sh("sleep 60 & sleep 61", stdin=stdin), timeout=0.5)
    assert shell.run(sh("pgrep -x sleep"), timeout=30).out == b""
    nr.close_connections()


def test_sudo_refuses_a_wrong_password(lab: Lab) -> None:
    """The sentence says whose password was refused, and never shows it; nothing is tried twice."""
    report = run(lab, "door", "asked", {**key(lab), "sudo_password": Secret(literal="wrong-password")})
    problems = " ".join(problem for stage in report.stages for problem in stage.problems)
    assert report.exit_code == 1
    assert "sudo" in problems
    assert "wrong-password" not in report.to_json()


@pytest.fixture
def agent(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent that holds the lab's key."""
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as process:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        while subprocess.run(["ssh-add", "-l"], env=environment, capture_output=True, check=False).returncode > 1:
            assert process.poll() is None
        subprocess.run(["ssh-add", "-q", str(lab.spec.state / "id_ed25519")], env=environment, check=True)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        yield
        process.terminate()


@pytest.mark.usefixtures("agent")
def test_an_agent_has_the_key(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key file is named: the agent's key logs in."""
    monkeypatch.setenv("HOME", str(tmp_path))  # no key of whoever runs this
    assert run(lab, "door", "root", {}).exit_code == 0


def test_a_jump_through_another_node(lab: Lab, tmp_path: Path) -> None:
    """ProxyJump of ssh_config leads to a node that cannot be reached otherwise; both host keys are checked."""
    addresses = {name: lab.spec.node(name).address.partition("/")[0] for name in ("door", "inner")}
    closed = lab.enter("inner", "sh", "-c", BEHIND, "sh", lab.spec.gateway)
    assert closed.returncode == 0, closed.stderr
    assert run(lab, "inner", "root", {**key(lab), "connect_timeout": 3}).exit_code != 0
    config = tmp_path / "config"
    state = lab.spec.state
    config.write_text(
        f"Host {addresses['inner']}\n  ProxyJump root@{addresses['door']}\n"
        f"Host *\n  UserKnownHostsFile {state}/known_hosts\n  IdentityFile {state}/id_ed25519\n"
    )
    assert run(lab, "inner", "ops", {**key(lab), "config": [str(config)]}).exit_code == 0
    (tmp_path / "known").write_text(
        "".join(line for line in (state / "known_hosts").read_text().splitlines(keepends=True) if "inner" in line)
    )
    config.write_text(config.read_text().replace(f"{state}/known_hosts", f"{tmp_path}/known"))
    report = run(lab, "inner", "ops", {**key(lab), "config": [str(config)], "known_hosts": str(tmp_path / "known")})
    problems = " ".join(problem for stage in report.stages for problem in stage.problems)
    assert f"the host key of the jump host {addresses['door']} is not trusted" in problems
