"""Milliseconds for one warm command on one node: our `ssh` connection, netmiko, paramiko, OpenSSH with ControlMaster.

Starts an sshd of its own on the loopback (package openssh-server; needs root), and asks all of them in turn, round after
round, so that whatever else the machine does hits all alike. Prints medians and ratios.

    python benchmarks/shell.py [ROUNDS] [COMMANDS A ROUND]
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
from netmiko import ConnectHandler

from nornir_stack.command import command
from nornir_stack.connections.ssh import SshPlugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = "id -u"
SSHD = "/usr/sbin/sshd"
TARGET = 25.0


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[int]:
    """A running sshd that lets root in with `folder/client`; its port."""
    for key in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    (folder / "authorized").write_bytes((folder / "client.pub").read_bytes())
    (folder / "authorized").chmod(0o600)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nPermitRootLogin yes\nPasswordAuthentication no\nUsePAM no\nStrictModes no\n"
        f"SetEnv HOME={folder}\n",  # what root's .bashrc does at each exec is nobody's cost here
        "utf-8",
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    public = " ".join((folder / "host.pub").read_text("utf-8").split()[:2])
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}\n", "utf-8")
    if not Path(SSHD).exists():
        sys.exit(f"{SSHD} is not there: apt-get install openssh-server")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        while b"listening" not in (folder / "log").read_bytes():
            if process.poll() is not None:
                sys.exit((folder / "log").read_text("utf-8"))
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def plugin(folder: Path, port: int) -> Iterator[Callable[[], str]]:
    ours = SshPlugin()
    files = {"known_hosts": str(folder / "known_hosts"), "client_keys": [str(folder / "client")], "config": []}
    ours.open("127.0.0.1", "root", None, port, None, files)
    wanted = command(*COMMAND.split())
    yield lambda: ours.connection.run(wanted, timeout=10).text
    ours.close()


@contextlib.contextmanager
def by_netmiko(folder: Path, port: int) -> Iterator[Callable[[], str]]:
    link = ConnectHandler(
        device_type="linux",
        host="127.0.0.1",
        port=port,
        username="root",
        use_keys=True,
        key_file=str(folder / "client"),
    )
    yield lambda: str(link.send_command(COMMAND)).strip()
    link.disconnect()


@contextlib.contextmanager
def by_paramiko(folder: Path, port: int) -> Iterator[Callable[[], str]]:
    client = paramiko.SSHClient()
    client.load_host_keys(str(folder / "known_hosts"))
    client.connect("127.0.0.1", port, "root", key_filename=str(folder / "client"), look_for_keys=False, allow_agent=False)
    yield lambda: client.exec_command(COMMAND)[1].read().decode().strip()
    client.close()


@contextlib.contextmanager
def openssh(folder: Path, port: int) -> Iterator[Callable[[], str]]:
    options = [f"-oUserKnownHostsFile={folder}/known_hosts", f"-oControlPath={folder}/mux", f"-oIdentityFile={folder}/client"]
    base = ["ssh", "-F", "none", "-p", str(port), *options, "root@127.0.0.1"]
    subprocess.run([*base[:-1], "-fN", "-oControlMaster=yes", base[-1]], check=True)

    def ask() -> str:
        return subprocess.run([*base, COMMAND], check=True, capture_output=True, text=True).stdout.strip()

    yield ask
    subprocess.run([*base[:-1], "-O", "exit", base[-1]], check=True, capture_output=True)


WAYS = {
    "nornir-stack ssh": plugin,
    "OpenSSH, ControlMaster": openssh,
    "paramiko exec_command": by_paramiko,
    "netmiko send_command": by_netmiko,
}


def main(rounds: int = 10, commands: int = 5) -> int:
    """0 if netmiko needs at least TARGET times as long as the plugin."""
    spent: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        port = stack.enter_context(sshd(folder))
        asks = {way: stack.enter_context(opened(folder, port)) for way, opened in WAYS.items()}
        for _ in range(rounds):
            for way, ask in asks.items():
                ask()  # warm: what the others did meanwhile is not this one's cost
                for _ in range(commands):
                    started = time.perf_counter()
                    told = ask()
                    spent[way].append((time.perf_counter() - started) * 1000)
                    if told != str(os.getuid()):
                        sys.exit(f"{way}: {told!r}")
    medians = {way: statistics.median(times) for way, times in spent.items()}
    ours = medians["nornir-stack ssh"]
    for way, median in medians.items():
        print(f"{way:24} {median:8.2f} ms   {median / ours:6.1f} x")
    ratio = medians["netmiko send_command"] / ours
    print(f"netmiko / nornir-stack: {ratio:.1f} (target: at least {TARGET:g})")
    return 0 if ratio >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
