"""Host keys of new machines: made here, injected, and known before the first login. Nothing is trusted on sight."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.connections import parameters
from nornir_stack.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.inventory import Host

    from nornir_stack.node import Node

_USERS = Path("~/.ssh/known_hosts")


def new_pair() -> tuple[Secret, str]:
    """A private key for a machine's sshd, in OpenSSH's form, and its public half as known_hosts has it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  slow to import
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return Secret(literal=private), key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def note(node: Node, machine: Host, public: str) -> None:
    """Have the machine's host key in the known_hosts file by which its ssh connection is checked, here, and no other key.

    The key comes from the hypervisor, whose own host key was checked.
    """
    given = parameters(machine, "ssh")
    path = Path((given.get("extras") or {}).get("known_hosts") or _USERS).expanduser()
    label = label_of(str(given["hostname"] or machine.name), given.get("port"))
    now = path.read_text().splitlines() if path.exists() else []
    if with_key(now, label, public) == now:
        return
    what = f"note the host key of {machine.name} in {path}"
    if node.dry_run and node.gate.pending:
        public = "(the key that it will have)"
    node.gate.effect(
        what, lambda: _write(path, label, public), diff=f"--- {path}\n+++ {path}\n+{label} {public}\n", repeatable=True
    )


def label_of(hostname: str, port: int | None) -> str:
    """How known_hosts calls a host (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"). Pure."""
    return hostname if port in {None, 22} else f"[{hostname}]:{port}"


def with_key(lines: Sequence[str], label: str, public: str) -> list[str]:
    """The lines with this key as the only one of a host; lines of others, marked and hashed ones stay. Pure."""
    wanted = f"{label} {public}"
    kept = []
    for line in lines:
        names, _, rest = line.strip().partition(" ")
        if names.startswith(("#", "@", "|")) or label not in names.split(",") or line == wanted:
            kept.append(line)
        elif others := [each for each in names.split(",") if each != label]:
            kept.append(f"{','.join(others)} {rest}")
    return kept if wanted in kept else [*kept, wanted]


def _write(path: Path, label: str, public: str) -> None:
    """Several hypervisors are worked on at a time, and the file is the user's own: it is held, and replaced as a whole."""
    path = path.resolve()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        with path.open("a+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not path.exists() or os.fstat(held.fileno()).st_ino != path.stat().st_ino:
                continue  # it was replaced while this one waited
            held.seek(0)
            lines = with_key(held.read().splitlines(), label, public)
            new = path.with_name(f".{path.name}.nornir-stack-new")
            with new.open("w") as made:
                os.fchmod(made.fileno(), os.fstat(held.fileno()).st_mode & 0o777)
                made.write("".join(f"{line}\n" for line in lines))
                made.flush()
                os.fsync(made.fileno())
            new.replace(path)
            return
