"""A line from one node to another for a backup: socat with TLS, by a key that is made for this one transfer.

Both ends hold the same key and certificate and trust no other, so no authority is needed, and neither a stranger nor a
certificate of the database can take part. It is made here, goes to both by their shells, and is gone from them afterwards.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from nornir_stack.secret import Secret
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.settings import Galera

if TYPE_CHECKING:
    from nornir.core.inventory import Inventory

PORT = 4569
NAME = "nornir-stack-backup"
_IDLE_SECONDS = 3600  # mariadb-backup may wait for locks without sending anything
_ACCEPT_SECONDS = 600
_CLOCKS = timedelta(days=1)  # nodes' clocks may be wrong by this much
_VALID = timedelta(days=7)  # a transfer takes less


def new_line() -> Secret:
    """A key and its own certificate, in PEM. Clocks may be a day behind, and a transfer may take a week."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS)
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Secret(literal=(private + certificate.public_bytes(Encoding.PEM)).decode())


def address_of(inventory: Inventory, name: str) -> str:
    """Where other nodes reach a host: a member at its own address, others by their hostname."""
    host = inventory.hosts[name]
    if name in DB.hosts(inventory):
        return str(settings_of(host, Galera).address)
    return host.hostname or name


def sender(address: str, line: str) -> tuple[str, ...]:
    """socat that sends its stdin; `line` is the file with key and certificate."""
    shown, family = (f"[{address}]", "ip6") if _is_v6(address) else (address, "ip4")
    options = f"cert={line},cafile={line},verify=1,commonname={NAME},pf={family},retry=20,interval=0.5"
    return ("socat", "-u", "-T", str(_IDLE_SECONDS), "STDIN", f"OPENSSL:{shown}:{PORT},{options}")


def receiver(address: str, line: str) -> tuple[str, ...]:
    """socat that prints what it receives at `address`, from one who holds the same key."""
    family = "ip6" if _is_v6(address) else "ip4"
    options = f"reuseaddr,cert={line},cafile={line},verify=1,pf={family},accept-timeout={_ACCEPT_SECONDS}"
    return ("socat", "-u", "-T", str(_IDLE_SECONDS), f"OPENSSL-LISTEN:{PORT},{options}", "STDOUT")


def _is_v6(address: str) -> bool:
    try:
        return isinstance(ip_address(address), IPv6Address)
    except ValueError:
        return False
