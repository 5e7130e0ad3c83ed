"""Why Cinder makes no volumes: logs as Cinder, keystonemiddleware and puppet write them, and its configuration."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from nornir_stack.seen import Seen
from nornir_stack.tasks.openstack.volume_trouble import _SIGNS, Trouble, VolumeNode, _extended, troubles, unwell

if TYPE_CHECKING:
    from nornir_stack.tasks.openstack.block_storage import Services

API, VOLUME = "/var/log/cinder/cinder-api.log", "/var/log/cinder/cinder-volume.log"
PUPPET = "/var/tmp/packstack/20141120-1/manifests/10.0.0.4_cinder.pp.log"  # noqa: S108  packstack's own
REFUSED = (
    "2026-11-29 22:40:01.123 812 CRITICAL keystonemiddleware.auth_token [-] Unable to validate token: Identity server"
    " rejected authorization necessary to fetch token data: keystonemiddleware.auth_token._exceptions.ServiceError"
)
UNKNOWN = (
    "2026-11-29 22:56:14.826 3463 ERROR cinder.cmd.volume oslo_config.cfg.ConfigFileValueError: Value for option target_helper"
    " from LocationInfo(location=<Locations.user: (4, True)>, detail='/etc/cinder/cinder.conf') is not valid: Valid values are"
    " [tgtadm, lioadm], but found 'iscsi'"
)
ALIVE: Services = ("c1", "cinder-scheduler", "up"), ("s1@lvm", "cinder-volume", "up")
DOWN: Services = ("c1", "cinder-scheduler", "up"), ("s1@lvm", "cinder-volume", "down")
PROGRAMS = "\n== programs\ntgtadm\n"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("", []),
        (f"== {API}\n{REFUSED}\n", ["Keystone refuses Cinder's own user", "last at 2026-11-29 22:40:01"]),
        (f"== {API}\n{REFUSED}\n*** Starting uWSGI 2.0.21 ***\n", []),
        (f"== {PUPPET}\nError: Unsupported iscsi helper: . at cinder/manifests/volume/iscsi.pp:58\n", ["no iSCSI helper ''"]),
        (
            f"== {VOLUME}\n{UNKNOWN}\n",
            ["Cinder knows no iSCSI helper 'iscsi'"],
        ),
        (f"== {VOLUME}\nFailed to create iscsi target for volume id:volume-1.\n", ["includes /var/lib/cinder/volumes/*"]),
        (f"== {VOLUME}\nVolume Group cinder-volumes does not exist\n", ["no volume group cinder-volumes: storage"]),
        (f'== {VOLUME}\nStderr: \'  Volume group "cinder-volumes" not found\\n', ["no volume group cinder-volumes: storage"]),
        (f"== {VOLUME}\nConnection.open: (403) ACCESS_REFUSED - Login was refused\n", ["RabbitMQ refuses"]),
        (f"== {API}\n(1045, \"Access denied for user 'cinder'@'10.0.0.4'\n", ["refuses Cinder's user cinder"]),
        ("== /etc/cinder/cinder.conf\ntgtadm" + PROGRAMS, []),
        ("== /etc/cinder/cinder.conf\nfake" + PROGRAMS, []),
        ("== /etc/cinder/cinder.conf\nlioadm" + PROGRAMS, ["no program cinder-rtstool: say tgtadm, which the node has"]),
        ("== /etc/cinder/cinder.conf\niscsi" + PROGRAMS, ["no target_helper 'iscsi': say tgtadm"]),
    ],
)
def test_causes(said: str, wanted: list[str]) -> None:
    """The notebook's two failures, and what else keeps volumes from being made; what was before the last start is over."""
    found = "\n".join(map(str, troubles(said)))
    assert all(each in found for each in wanted)
    assert bool(found) == bool(wanted)


def test_the_node_finds_the_same_lines() -> None:
    """grep on the node takes each sign in its own dialect of patterns."""
    lines = [
        REFUSED,
        "Unsupported iscsi helper: iscsi.",
        "Value for option target_helper from x but found 'iscsi'",
        "Failed to create iscsi target for volume id:1",
        "Volume Group cinder-volumes does not exist",
        "ACCESS_REFUSED",
        "Access denied for user 'cinder'@'h'",
    ]
    for (pattern, _, _), line in zip(_SIGNS, lines, strict=True):
        assert re.search(pattern, line)
        done = subprocess.run(["grep", "-aE", _extended(pattern)], input=line, text=True, capture_output=True, check=False)
        assert done.stdout.strip() == line


def test_a_log_alone_is_no_problem() -> None:
    """What it tells may be over; what is wrong in a configuration is one, and where a service is not heard the log says why."""
    past = VolumeNode(gives=True, troubles=(Trouble("the group is gone", "make it", VOLUME),))
    wrong = VolumeNode(gives=False, troubles=(Trouble("no program", "install it", "/etc/cinder/cinder.conf"),))
    assert unwell(Seen({"s1": past}, {}), services=Seen({"cloud1": ALIVE}, {})) == []
    assert unwell(Seen({"c1": wrong}, {}), services=Seen({"cloud1": ALIVE}, {})) == [
        "c1: no program: install it (/etc/cinder/cinder.conf)"
    ]
    problems = unwell(Seen({"s1": past}, {"s2": "no route"}), services=Seen({"cloud1": DOWN}, {}))
    assert [re.sub(r"(?<= in Cinder's eyes).*", "", each) for each in problems] == [
        "cinder-volume on s1 is down in Cinder's eyes",
        "s2 was not seen: no route",
        f"s1: the group is gone: make it ({VOLUME})",
    ]
