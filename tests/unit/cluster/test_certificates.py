"""Certificates that would shut a member out: judged on plain values, and read from real ones that openssl made."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nornir_stack.seen import Seen
from nornir_stack.tasks.cluster.certificates import LOOK, Certificate, Papers, conflicts, encrypts, parse, soon

if TYPE_CHECKING:
    from pathlib import Path

NOW, YEAR = 1_800_000_000, 365 * 86400
GOOD = Certificate("10.0.0.1", NOW - YEAR, NOW + YEAR, "AA:AA", matches=True)
PLAIN = Papers("10.0.0.1")
TLS = Papers("10.0.0.1", "mariabackup", tls=True, now=NOW, certificate=GOOD, authorities=("AA:AA",))


def seen(**members: Papers) -> Seen[Papers]:
    return Seen(members, {}, tuple(members))


def other(number: int, **words: object) -> Papers:
    """A member with its own address, well but for `words`, which may be of its certificate."""
    address = f"10.0.0.{number}"
    mine = {name: value for name, value in words.items() if name in Certificate.__dataclass_fields__}
    rest = {name: value for name, value in words.items() if name not in mine}
    certificate = replace(GOOD, common_name=address, **mine) if "common_name" not in mine else replace(GOOD, **mine)  # type: ignore[arg-type]
    return replace(TLS, address=address, certificate=certificate, **rest)  # type: ignore[arg-type]


def test_members_that_fit() -> None:
    """All with one authority, or none with a certificate at all: nothing to say."""
    assert conflicts(seen(db1=TLS, db2=other(2), db3=other(3))) == []
    assert conflicts(seen(db1=PLAIN, db2=PLAIN)) == []


@pytest.mark.parametrize(
    ("db2", "part"),
    [
        (other(2, absent=("/tls/ca.pem",)), "db2: /tls/ca.pem is not there"),
        (other(2, unreadable=("/tls/key.pem",)), "the user mysql cannot read /tls/key.pem"),
        (replace(other(2), certificate=None), "cannot be read by openssl"),
        (other(2, matches=False), "its private key does not belong to its certificate"),
        (other(2, signed=""), "signed by none of the authorities in its own ca file"),
        (other(2, begins=NOW + 3 * 86400), "not valid yet: its clock is 3 days early"),
        (other(2, ends=NOW), "its certificate ended 0 hours ago"),
        (other(2, common_name="db2.example"), "is for db2.example, and it is 10.0.0.2"),
        (other(2, common_name=""), "is for nobody"),
        (other(2, signed="BB:BB", authorities=("BB:BB",)), "db1 and db3 do not know the authority that signed"),
        (replace(PLAIN, address="10.0.0.2"), "db1 and db3 encrypt what they send the others, db2 do not"),
        (replace(PLAIN, address="10.0.0.2", product="percona"), "Percona encrypts what members send each other"),
    ],
)
def test_conflicts(db2: Papers, part: str) -> None:
    """Each thing that would shut a member out is one sentence that names it."""
    assert part in " ".join(conflicts(seen(db1=TLS, db2=db2, db3=other(3))))


def test_another_common_name_does_not_matter_to_rsync() -> None:
    """Only mariabackup's socat compares it."""
    assert conflicts(seen(db1=replace(TLS, sst_method="rsync"), db2=other(2, sst_method="rsync", common_name="db2"))) == []


def test_a_bundle_of_old_and_new() -> None:
    """While authorities change, a ca file with both lets everyone in."""
    both = ("AA:AA", "BB:BB")
    members = seen(db1=replace(TLS, authorities=both), db2=other(2, signed="BB:BB", authorities=both))
    assert conflicts(members) == []


def test_a_cluster_that_runs_without() -> None:
    """What runs counts, not what the inventory says now; socket.dynamic lets both in."""
    runs = replace(TLS, encrypted=False)
    assert "db1 run" in " ".join(conflicts(seen(db1=runs, db2=other(2))))
    assert conflicts(seen(db1=replace(runs, dynamic=True), db2=other(2))) == []
    assert conflicts(seen(db1=replace(TLS, encrypted=True), db2=other(2))) == []


def test_percona_without_its_own_encryption() -> None:
    """Switched off, it is like any other."""
    assert conflicts(seen(db1=replace(PLAIN, product="percona", plain=True))) == []


def test_certificates_that_end_soon() -> None:
    """Told, and nothing is stopped for it."""
    assert soon(seen(db1=TLS, db2=other(2, ends=NOW + 3 * 86400))) == ["The certificate of db2 ends in 3 days: renew it."]


@pytest.mark.parametrize(
    ("options", "encrypted"),
    [
        ("base_port = 4567; socket.ssl = YES; socket.ssl_cert = /tls/c.pem; ", True),
        ("socket.checksum = 2; socket.ssl_cert = /tls/c.pem; ", True),
        ("socket.ssl = NO; socket.ssl_cert = /tls/c.pem; ", False),
        ("base_port = 4567; socket.checksum = 2; ", False),
        ("socket.ssl = no; socket.ssl_cert = ; ", False),
    ],
)
def test_what_a_running_server_does(options: str, *, encrypted: bool) -> None:
    """With a certificate socket.ssl is on, unless it is said off."""
    assert encrypts(options) is encrypted


def openssl(*words: object) -> str:
    return subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, text=True).stdout


def authority(folder: Path, name: str) -> None:
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")
    openssl(*new, "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")


def certify(folder: Path, name: str, by: str, subject: str) -> None:
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", subject)
    openssl(*new, "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
    sign = ("x509", "-req", "-days", "30", "-CA", folder / f"{by}.pem", "-CAkey", folder / f"{by}.key", "-CAcreateserial")
    openssl(*sign, "-in", folder / f"{name}.csr", "-out", folder / f"{name}.pem")


def test_real_certificates(tmp_path: Path) -> None:
    """The script finds the name, the times, the authority that signed out of a bundle, and whether the key belongs to it."""
    for name in ("one", "two"):
        authority(tmp_path, name)
    certify(tmp_path, "db1", "two", "/O=shop/CN=10.0.0.1")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("old\n" + (tmp_path / "one.pem").read_text() + "new\n" + (tmp_path / "two.pem").read_text())

    def look(ca: Path, key: str) -> Papers:
        argv = ["sh", "-c", LOOK, "sh", str(ca), str(tmp_path / "db1.pem"), str(tmp_path / key)]
        return parse(subprocess.run(argv, check=True, capture_output=True, text=True).stdout, Papers("10.0.0.1", tls=True))

    found = look(bundle, "db1.key")
    assert found.certificate is not None
    assert (found.certificate.common_name, found.certificate.matches, len(found.authorities)) == ("10.0.0.1", True, 2)
    assert found.certificate.signed == found.authorities[1]
    assert found.certificate.ends - found.certificate.begins == 30 * 86400
    assert conflicts(seen(db1=replace(found, unreadable=()))) == []
    foreign = look(tmp_path / "one.pem", "two.key")
    assert foreign.certificate is not None
    assert (foreign.certificate.signed, foreign.certificate.matches) == ("", False)
    assert look(tmp_path / "none.pem", "db1.key").absent == (str(tmp_path / "none.pem"),)
