"""What makes a copy of a tree one node: keys, names, addresses. Nothing is trusted on sight: the lab writes both sides."""

from __future__ import annotations

import shlex
import uuid
from typing import TYPE_CHECKING

import asyncssh

if TYPE_CHECKING:
    from pathlib import Path

    from nornir_stack.lab.spec import LabSpec, NodeSpec


def write_keys(spec: LabSpec) -> None:
    """The operator's key pair, a host key for every node, known_hosts and an ssh_config; what is there stays."""
    spec.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    (spec.state / "hosts").mkdir(exist_ok=True)
    key_pair(spec.state / "id_ed25519")
    known = []
    for node in spec.nodes:
        public = key_pair(spec.state / "hosts" / node.name)
        known.append(f"{node.name},{node.address.partition('/')[0]} {' '.join(public.split()[:2])}\n")
    _replace(spec.state / "known_hosts", "".join(known))
    _replace(spec.state / "ssh_config", _ssh_config(spec))


def key_pair(path: Path) -> str:
    """The public half of the key at `path`, beside which it is written. A key that is not there, or is none, is made.

    Whoever was killed while making a pair left half of it.
    """
    try:
        key = asyncssh.read_private_key(path)
    except (FileNotFoundError, asyncssh.KeyImportError):
        key = asyncssh.generate_private_key("ssh-ed25519", comment="nornir-stack lab")
        path.touch(mode=0o600)
        key.write_private_key(path)
    public = key.export_public_key().decode()
    _replace(path.with_name(path.name + ".pub"), public)
    return public


def _ssh_config(spec: LabSpec) -> str:
    """For people: `ssh -F ssh_config db1`."""
    hosts = [f"Host {node.name}\n    HostName {node.address.partition('/')[0]}\n" for node in spec.nodes]
    options = [
        "User root",
        f"IdentityFile {shlex.quote(str(spec.state / 'id_ed25519'))}",
        "IdentitiesOnly yes",
        f"UserKnownHostsFile {shlex.quote(str(spec.state / 'known_hosts'))}",
        "StrictHostKeyChecking yes",
    ]
    return "".join(hosts) + "Host *\n" + "".join(f"    {option}\n" for option in options)


def _replace(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def write_identity(root: Path, spec: LabSpec, node: NodeSpec) -> None:
    """Make the tree at `root` this node, before its first boot."""
    files = {
        "etc/hostname": f"{node.name}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {node.name}\n::1 localhost ip6-localhost ip6-loopback\n",
        "etc/resolv.conf": "# no name server is reachable from here: names are those of /etc/hosts\n",
        "etc/machine-id": uuid.uuid5(uuid.NAMESPACE_DNS, f"{node.name}.{spec.name}.lab").hex + "\n",
        "root/.ssh/authorized_keys": (spec.state / "id_ed25519.pub").read_text(),
        "etc/ssh/ssh_host_ed25519_key": (spec.state / "hosts" / node.name).read_text(),
        "etc/ssh/ssh_host_ed25519_key.pub": (spec.state / "hosts" / f"{node.name}.pub").read_text(),
        # the name sorts before Debian's 80-container-host0.network, which would ask for an address by DHCP
        "etc/systemd/network/10-host0.network": (
            f"[Match]\nName=host0\n\n[Network]\nAddress={node.address}\nGateway={spec.gateway}\nLinkLocalAddressing=no\n"
        ),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "root/.ssh").chmod(0o700)
    (root / "etc/ssh/ssh_host_ed25519_key").chmod(0o600)
