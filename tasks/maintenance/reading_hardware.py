"""Disks by their own account, RAIDs, certificates: what the survey's look printed of them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from nornir_stack.tasks.maintenance.condition import Array, Certificate, Drive

if TYPE_CHECKING:
    from collections.abc import Iterator

# Attributes of ATA disks whose raw value should be 0, smartctl(8): sectors that were moved, wait to be, or cannot be read.
_SECTORS = {"5": "reallocated sectors", "197": "sectors that wait to be reallocated", "198": "sectors that cannot be read"}
_WORN = 90  # percent of the life that the maker of an NVMe disk gave it


def arrays(mdstat: str, zpool: str = "") -> tuple[Array, ...]:
    """From /proc/mdstat (md(4)) and `zpool status -x`."""
    found = []
    for block in re.split(r"\n(?=md\S+ :)", f"\n{mdstat}")[1:]:
        name = block.split()[0]
        found.append(Array(name, _array_state(block)))
    if zpool.strip() and "all pools are healthy" not in zpool and "no pools available" not in zpool:
        names = re.findall(r"^\s*pool: (\S+)", zpool, re.MULTILINE) or ["zpool"]
        states = re.findall(r"^\s*state: (\S+)", zpool, re.MULTILINE)
        found += [Array(name, state.lower()) for name, state in zip(names, states or ["not well"] * len(names), strict=False)]
    return tuple(found)


def _array_state(block: str) -> str:
    """`md0 : active raid1 sdb1[1](F) sda1[0]` and below it `1046528 blocks [2/1] [U_]`, with a recovery in percent."""
    words = []
    if " inactive " in block.splitlines()[0]:
        words.append("inactive")
    count = re.search(r"\[(\d+)/(\d+)\]", block)
    if count and count[1] != count[2]:
        words.append(f"{count[2]} of {count[1]} disks")
    if bad := re.findall(r"(\S+)\[\d+\]\(F\)", block):
        words.append(f"failed: {', '.join(bad)}")
    if going := re.search(r"(recovery|reshape) *= *([0-9.]+%)", block):
        words.append(f"{going[1]} {going[2]}")
    return ", ".join(words)


def drives(text: str) -> tuple[Drive, ...]:
    """From `smartctl -H -A` of each disk (ATA, SCSI or NVMe)."""
    parts = (part.partition("\n") for part in text.split("\x1d")[1:])
    return tuple(Drive(name, _smart_fails(said), tuple(_smart_notes(said))) for name, _, said in parts)


def _smart_fails(said: str) -> str:
    verdict = re.search(r"(?:self-assessment test result|SMART Health Status): *(.+)", said)
    if verdict and verdict[1].strip() not in {"PASSED", "OK"}:
        return verdict[1].strip()
    warning = re.search(r"Critical Warning: *(0x\w+)", said)
    return f"critical warning {warning[1]}" if warning and int(warning[1], 16) else ""


def _smart_notes(said: str) -> Iterator[str]:
    for number, what in _SECTORS.items():
        row = re.search(rf"^ *{number} \S+ .* (\d+)(?: .*)?$", said, re.MULTILINE)
        if row and int(row[1]):
            yield f"{row[1]} {what}"
    worn = re.search(r"Percentage Used: *(\d+)%", said)
    if worn and int(worn[1]) >= _WORN:
        yield f"{worn[1]} % of its life used"
    errors = re.search(r"Media and Data Integrity Errors: *([\d,]+)", said)
    if errors and int(errors[1].replace(",", "")):
        yield f"{errors[1]} media errors"


def certificates(text: str) -> tuple[Certificate, ...]:
    """Of each file the certificate that ends first; files without one (a key of its own) are passed over."""
    parts = (part.partition("\n") for part in text.split("\x1d")[1:])
    return tuple(one for path, _, pem in parts if (one := _certificate(path, pem)))


def _certificate(path: str, pem: str) -> Certificate | None:
    if "-----BEGIN CERTIFICATE-----" not in pem:
        return Certificate(path, problem=pem.strip()) if pem.strip() else None
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return Certificate(path, problem="it is no certificate that can be read")
    first = min(found, key=_ends)
    return Certificate(path, _subject(first), _ends(first))


def _ends(certificate: x509.Certificate) -> int:
    return int(certificate.not_valid_after_utc.timestamp())


def _subject(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()
