"""Configuration files on a real node: dry run, for real, again; links, owners, restarts. The services are stand-ins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.results import Status
from nornir_stack.secret import Secret
from nornir_stack.tasks.config.apply import declare, declared
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

L3 = "/etc/neutron/l3_agent.ini"
NEUTRON = "/etc/neutron/neutron.conf"
PLUGIN = "/etc/neutron/plugin.ini"
ML2 = "/etc/neutron/plugins/ml2/ml2_conf.ini"
UNITS = ("neutron-l3-agent", "neutron-dhcp-agent", "neutron-api")
FILES = {
    NEUTRON: {"DEFAULT": {"debug": True, "transport_url": Secret(literal="rabbit://n:new$word@h/")}, "quotas": {"port": 99}},
    L3: {"DEFAULT": {"external_network_bridge": "", "gateway_external_network_id": None}},
    PLUGIN: {"ml2": {"type_drivers": "flat,vlan,vxlan"}, "ml2_type_vlan": {"network_vlan_ranges": "physnet2"}},
}
UNIT = r"[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("conf1")


@pytest.fixture(autouse=True)
def node(lab: Lab) -> None:
    """Files as a package brings them, services that have read them, the plugin's file by a link."""
    inside(
        lab,
        f"""
        getent group neutron >/dev/null || groupadd neutron
        rm -rf /etc/neutron; mkdir -p /etc/neutron/plugins/ml2
        printf '[DEFAULT]\\n# Debug.\\n#debug = false\\ntransport_url = rabbit://n:oldword@h/\\n' >{NEUTRON}
        printf '[DEFAULT]\\ngateway_external_network_id = 1\\n' >{L3}
        printf '[ml2]\\n#type_drivers = local\\n' >{ML2}
        ln -s plugins/ml2/ml2_conf.ini {PLUGIN}
        chgrp neutron {NEUTRON}; chmod 640 {NEUTRON}
        touch -d '10 minutes ago' {NEUTRON} {L3} {ML2}
        for unit in {" ".join(UNITS)} ; do printf '{UNIT}' >/etc/systemd/system/$unit.service; done
        systemctl daemon-reload; systemctl stop neutron-dhcp-agent; systemctl restart neutron-l3-agent neutron-api
        """,
    )


def inside(lab: Lab, script: str) -> str:
    return lab.enter("conf1", "sh", "-c", script).stdout.strip()


def run(lab: Lab, *, dry_run: bool = False, files: dict[str, Any] | None = None) -> Report:
    with nornir(lab, {"network": ["conf1"]}, {"conf1": {"config": {"files": files or FILES}}}) as nr:
        return declare().run(nr, dry_run=dry_run)


def started(lab: Lab) -> dict[str, str]:
    """Each unit to the process that it runs."""
    return {unit: inside(lab, f"systemctl show -p MainPID --value {unit}") for unit in UNITS}


def test_drift_is_found_and_mended_once(lab: Lab) -> None:
    """The check shows it with exit code 3; the run restarts what it concerns, each unit once; again changes nothing."""
    before, sums = started(lab), inside(lab, "find /etc/neutron -type f -exec sha256sum {} +")
    plan = run(lab, dry_run=True)
    assert plan.exit_code == 3, plan
    shown = plan.to_json()
    assert "+debug = true" in shown
    assert "oldword" not in shown
    assert "new$" not in shown
    assert [effect.partition(": ")[2] for effect in plan.changed] == [
        f"write {NEUTRON}",
        f"write {L3}",
        f"write {PLUGIN}",
        "systemctl restart -- neutron-api.service",
        "restart(unit=neutron-l3-agent.service), if needed",
    ]
    assert (started(lab), inside(lab, "find /etc/neutron -type f -exec sha256sum {} +")) == (before, sums)

    done = run(lab)
    assert done.ok, done
    assert done.value(declared, "conf1").restarted == ("neutron-api.service", "neutron-l3-agent.service")
    assert inside(lab, f"cat {NEUTRON}") == (
        "[DEFAULT]\n# Debug.\n#debug = false\ndebug = true\ntransport_url = rabbit://n:new$$word@h/\n\n[quotas]\nport = 99"
    )
    assert inside(lab, f"stat -c '%a %U:%G' {NEUTRON}; readlink {PLUGIN}") == "640 root:neutron\nplugins/ml2/ml2_conf.ini"
    assert "type_drivers = flat,vlan,vxlan" in inside(lab, f"cat {ML2}")
    after = started(lab)
    assert [unit for unit in UNITS if after[unit] != before[unit]] == ["neutron-l3-agent", "neutron-api"]
    assert after["neutron-dhcp-agent"] == "0"

    assert run(lab).changed == ()
    assert run(lab, dry_run=True).exit_code == 0
    assert started(lab) == after


def test_a_restart_that_an_interrupted_run_left_undone_is_made_up_for(lab: Lab) -> None:
    """The files are as wanted, and a service began before one of them was written."""
    run(lab)
    before = started(lab)
    inside(lab, f"touch -d '+5 seconds' {L3}")
    assert run(lab).value(declared, "conf1").restarted == ("neutron-l3-agent.service",)
    inside(lab, f"touch -d '10 minutes ago' {L3}")
    assert run(lab).changed == ()
    assert started(lab)["neutron-api"] == before["neutron-api"]


def test_a_file_that_the_service_would_not_read_is_not_touched(lab: Lab) -> None:
    """Nor is one made that no package brought."""
    inside(lab, f"printf ' indented = 1\\n' >{L3}")
    report = run(lab, files={L3: FILES[L3]})
    assert report.stage("configuration").host("conf1").status is Status.FAILED
    assert "line 1: it is indented" in report.stage("configuration").host("conf1").error
    missing = run(lab, files={"/etc/nova/nova.conf": {"DEFAULT": {"debug": True}}})
    assert "conf1 has no /etc/nova/nova.conf" in missing.stage("configuration").host("conf1").error
