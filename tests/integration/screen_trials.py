"""Screens of instances: nodes that say different things, and a real SPICE server behind Nova's proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.select import role
from nornir_stack.tasks.openstack.console import console, console_of
from nornir_stack.tasks.openstack.screens import screen_fails, shown
from tests.integration.cloud_lab import address, enter, well

if TYPE_CHECKING:
    from nornir.core import Nornir

    from nornir_stack.lab import Lab

CLOUD = role("cloud")
# A real SPICE server: QEMU, stopped before its first instruction. Nova's fake driver says that every screen is at this name
# and port, behind a handshake of another hypervisor's, which the trigger leaves out.
SPICE = r"""
set -e
grep -q fakespiceconsole /etc/hosts || echo '127.0.0.1 fakespiceconsole.com' >>/etc/hosts
systemd-run -q --unit=spice qemu-system-x86_64 -S -m 64 -nodefaults -display none -vga qxl \
    -spice port=6969,addr=127.0.0.1,disable-ticketing=on
i=0; until nc -z 127.0.0.1 6969; do i=$((i + 1)); [ $i -lt 300 ] || exit 1; sleep 0.1; done
mysql nova -e 'CREATE OR REPLACE TRIGGER plain BEFORE INSERT ON console_auth_tokens
    FOR EACH ROW SET NEW.internal_access_path = NULL'
"""
AWAY = "mysql nova -e 'DROP TRIGGER IF EXISTS plain'; systemctl stop spice 2>/dev/null || :"
SPOIL = r"sed -i -E 's/^(server_proxyclient_address|server_listen) *=.*/\1 = '$1'/' /etc/nova/nova.conf"


def a_real_server(lab: Lab, nr: Nornir) -> None:
    """It answers by its magic word through Nova's proxy, with the URL's token; with another one nothing comes."""
    try:
        enter(lab, "c1", SPICE)
        screen = do(console_of, server="screen")
        url = well(Chain("trial", Stage("console", [screen], CLOUD)).run(nr)).value(console_of, "cloud1")
        false = f"{url.partition('token')[0]}token=00000000-0000-0000-0000-000000000000"
        assert "no screen behind it" in screen_fails(shown(false), "c1")
    finally:
        enter(lab, "c1", AWAY)


def a_file_that_was_copied(lab: Lab, nr: Nornir) -> None:
    """n2 says that it is n1: found by both nodes' files, mended on n2 alone; twice."""
    enter(lab, "n2", SPOIL, address(lab, "n1"))
    plan = console().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    said = "\n".join(reason for stage in plan.stages for reason in stage.decided)
    assert f"n1 and n2 are both asked at {address(lab, 'n1')}: one shows the other's screens" in said
    report = well(console().run(nr))
    assert report.changed
    assert all(" n2: " in one for one in report.changed)
    assert address(lab, "n2") in enter(lab, "n2", "grep server_proxyclient_address /etc/nova/nova.conf")
    assert well(console().run(nr)).changed == ()
