"""What a cloud's nodes and files alone tell, before any service is asked: the notebook's nova.conf, a CA that is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.chain import Chain, Stage
from nornir_stack.secret import Secret
from nornir_stack.select import role
from nornir_stack.tasks.openstack.console import console, console_settings
from nornir_stack.tasks.openstack.ldap import ldap
from nornir_stack.tasks.openstack.screens import NOVA
from tests.integration.cloud_lab import address, cloud, enter, well

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir.core import Nornir

    from nornir_stack.lab import Lab

SETTINGS = {"secret": Secret(literal="the-files-labs-master"), "admin_password": Secret(literal="the-files-labs-admin")}
PEOPLE = {
    "url": "ldap://10.0.0.9",
    "suffix": "dc=example,dc=test",
    "user": "uid=keystone,cn=sysaccounts,cn=etc,dc=example,dc=test",
    "password": Secret(literal="the-files-labs-reader"),
    "ca": "/etc/ipa/ca.crt",
}
# The post in one file for all nodes: an address with a slip in it, https without a certificate, VNC beside it.
SPICE = """[DEFAULT]
web=/usr/share/spice-html5
[vnc]
enabled=True
[spice]
html5proxy_base_url=https://192.168.1.100:6082/spice_auto.html
server_listen=0.0.0.0
server_proxyclient_address=172.16.10.100
enabled=True
keymap=en-us
"""


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    lab = boot("c1", "n1", "n2")
    for node in ("c1", "n1", "n2"):
        enter(lab, node, 'mkdir -p /etc/nova; printf %s "$1" >/etc/nova/nova.conf', SPICE)
    return lab


@pytest.fixture
def nr(lab: Lab, tmp_path: Path) -> Nornir:
    data = {"openstack": SETTINGS, "ldap": {"domains": {"people": PEOPLE}}}
    return cloud(lab, tmp_path, {"controller": ["c1"], "compute": ["n1", "n2"]}, {"defaults": data})


def files(lab: Lab) -> list[str]:
    return [enter(lab, node, f"stat -c '%Y %i' {NOVA}; cat {NOVA}") for node in ("c1", "n1", "n2")]


def test_what_keeps_screens_from_being_seen(lab: Lab, nr: Nornir) -> None:
    """Told by a dry run, which touches nothing; written for real, and again; then nothing of it is told any more."""
    before = files(lab)
    plan = console().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    said = "\n".join(reason for stage in plan.stages for reason in stage.decided)
    for wanted in (
        "c1: users get an https URL, and the proxy has no certificate",
        "n1: the proxy asks for its screens at 172.16.10.100 (server_proxyclient_address), which is none of its addresses",
        "n1 and n2 are both asked at 172.16.10.100: one shows the other's screens",
    ):
        assert wanted in said
    assert files(lab) == before
    settle = Chain("settle", Stage("settings", [console_settings], role("compute") | role("controller")))
    well(settle.run(nr))
    assert f"server_proxyclient_address={address(lab, 'n2')}" in enter(lab, "n2", f"cat {NOVA}")
    after = files(lab)
    assert well(settle.run(nr)).changed == ()
    assert files(lab) == after
    again = console().run(nr, dry_run=True)
    assert [reason for stage in again.stages for reason in stage.decided] == []


def test_a_directorys_ca_has_to_be_there(lab: Lab, nr: Nornir) -> None:
    """Refused on the controller, before a domain is made."""
    report = ldap().run(nr)
    assert report.exit_code == 1
    assert report.changed == ()
    assert "c1 has no /etc/ipa/ca.crt" in report.stage("inventory/trust").host("c1").error
    assert lab.enter("c1", "test", "-e", "/etc/keystone").returncode == 1
