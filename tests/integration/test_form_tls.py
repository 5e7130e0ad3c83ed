"""A cluster whose members encrypt what they send each other, with state transfers by mariabackup."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.dispatch import survey
from nornir_stack.secret import Secret
from nornir_stack.tasks.cluster.form import form
from nornir_stack.tasks.cluster.judge import not_complete
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.recover import recover
from nornir_stack.tasks.cluster.roll import roll
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_stack.lab import Lab

NAMES = ["tls1", "tls2"]


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    lab = boot(*NAMES, tree="db")
    folder = tmp_path_factory.mktemp("ca")
    ca = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    openssl(*ca, "-subj", "/CN=test ca", "-keyout", folder / "ca.key", "-out", folder / "ca.pem")
    for name in NAMES:
        certify(folder, name, lab.spec.node(name).address.partition("/")[0])
        into = lab.nodes[name].root / "etc/mysql/tls"
        into.mkdir()
        for path in (folder / "ca.pem", folder / f"{name}.pem", folder / f"{name}.key"):
            (into / path.name.replace(name, "node")).write_bytes(path.read_bytes())
        assert lab.enter(name, "chown", "-R", "mysql:mysql", "/etc/mysql/tls").returncode == 0
    return lab


def openssl(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def certify(folder: Path, name: str, address: str, *, days: int = 30) -> None:
    """A certificate for the member's address: socat compares its common name with where it sends the copy."""
    request = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(*request, "-subj", f"/CN={address}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
    sign = [
        "openssl",
        "x509",
        "-req",
        "-days",
        str(days),
        "-CA",
        folder / "ca.pem",
        "-CAkey",
        folder / "ca.key",
        "-CAcreateserial",
    ]
    openssl(*sign, "-in", folder / f"{name}.csr", "-out", folder / f"{name}.pem")


def settings(lab: Lab) -> dict[str, Any]:
    galera: dict[str, Any] = {
        "cluster_name": "tls",
        "buffer_pool": "128M",
        "log_file_size": "48M",
        "gcache_size": "32M",
        "sst_method": "mariabackup",
        "sst_password": Secret(literal="transfer-password"),
        "tls": {"ca": "/etc/mysql/tls/ca.pem", "cert": "/etc/mysql/tls/node.pem", "private_key": "/etc/mysql/tls/node.key"},
    }
    return {"db": {"galera": galera}, "defaults": {"networks": {"data": {"cidr": str(lab.spec.network)}}}}


def test_members_with_certificates_form_one_cluster(lab: Lab) -> None:
    """With tls and mariabackup the cluster forms; the provider listens with ssl; a second run changes nothing."""
    with nornir(lab, {"db": NAMES}, settings(lab)) as nr:
        report = form().run(nr)
        assert report.ok, report.to_json() + "".join(lab.enter(name, "journalctl", "--no-pager").stdout for name in NAMES)
        assert not_complete(survey(nr, observe_member, DB)) == []
        log = lab.enter("tls2", "journalctl", "-u", "mariadb", "--no-pager").stdout
        assert "listening at ssl://" in log
        assert "mariabackup SST started on joiner" in log
        assert "transfer-password" not in report.to_json()
        assert form().run(nr).changed == ()


def test_certificates_that_shut_a_member_out(lab: Lab, tmp_path: Path) -> None:
    """Another authority, another name, one that has ended: told before anything is touched, whether members would be formed,
    recovered or restarted.
    """
    ca = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    openssl(*ca, "-subj", "/CN=another ca", "-keyout", tmp_path / "ca.key", "-out", tmp_path / "ca.pem")
    certify(tmp_path, "tls2", "10.0.0.1", days=0)
    into = lab.nodes["tls2"].root / "etc/mysql/tls"
    names = {"ca.pem": "ca.pem", "node.pem": "tls2.pem", "node.key": "tls2.key"}
    good = {name: (into / name).read_bytes() for name in names}
    try:
        for name, new in names.items():
            (into / name).write_bytes((tmp_path / new).read_bytes())
        with nornir(lab, {"db": NAMES}, settings(lab)) as nr:
            reports = [chain.run(nr) for chain in (form(), recover(), roll(members=["tls1"]))]
    finally:
        for name, content in good.items():
            (into / name).write_bytes(content)
    for report in reports:
        said = " ".join(problem for stage in report.stages for problem in stage.problems)
        assert report.changed == ()
        assert "tls1 do not know the authority that signed the certificate of tls2" in said
        assert "tls2: its certificate ended" in said
        assert "tls2: its certificate is for 10.0.0.1, and it is" in said
