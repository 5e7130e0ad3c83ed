"""packstack's answer file and its run, on nodes; packstack itself is a stand-in that prints what packstack 26.0.0 prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage
from nornir_stack.secret import Secret
from nornir_stack.select import everyone
from nornir_stack.tasks.packstack.install import packstack
from nornir_stack.tasks.packstack.running import ANSWERS, STATE, finished
from nornir_stack.tasks.system.names import hosts_file
from tests.integration.cloud_lab import address, cloud, enter, well

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir.core import Nornir

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

MASTER, ADMIN = "the-packs-lab-master", "the-packs-lab-admin"
PROGRAM = "/usr/local/bin/packstack"
# It waits at the second manifest until it is let go on, writes its answer file anew as packstack does, and can fail.
STAND_IN = r"""#!/bin/sh
answers=${1#--answer-file=}
log=/var/tmp/packstack/20261128-203100-Bf3Ek2/openstack-setup.log
mkdir -p "${log%/*}"
state() { printf '%-60s[ \033[%sm%s\033[0m ]\n' "$1" "$2" "$3"; }
printf 'Welcome to the Packstack setup utility\n\nThe installation log file is available at: %s\n\nInstalling:\n' "$log"
echo "2026-11-28 20:31:00::INFO::shell::100::root:: begun" >"$log"
echo "# asked and guessed" >>"$answers"
grep -q '^CONFIG_KEYSTONE_ADMIN_PW=' "$answers" || exit 9
state 'Clean Up' 32 DONE
state 'Preparing servers' 32 DONE
echo "Applying 10.0.0.1_controller.pp"
printf '\r'; state '10.0.0.1_controller.pp:' 32 DONE
echo "Applying 10.0.0.2_network.pp"
read -r word </run/packstack.fifo
if [ "$word" = fail ]; then
    printf '\r'; state '10.0.0.2_network.pp:' '0;31' ERROR
    echo "2026-11-28 20:35:00::ERROR::run_setup::1076::root:: Error appeared during Puppet run: 10.0.0.2_network.pp" >>"$log"
    printf '\n\033[0;31mERROR : Error appeared during Puppet run: 10.0.0.2_network.pp\033[0m\n'
    echo "Please check log file $log for more information"
    exit 1
fi
printf '\r'; state '10.0.0.2_network.pp:' 32 DONE
printf '\n **** Installation completed successfully ******\n\nAdditional information:\n'
printf ' * The installation log file is available at: %s\n' "$log"
"""
KEY = """
mkdir -p -m 700 /root/.ssh; [ -f /root/.ssh/id_rsa ] || ssh-keygen -q -t rsa -N '' -f /root/.ssh/id_rsa
cat /root/.ssh/id_rsa.pub
"""
PUT = 'printf "%s" "$1" >"$2"; chmod 755 "$2"; [ -p /run/packstack.fifo ] || mkfifo /run/packstack.fifo'
SHA = f"stat -c '%a %U' {ANSWERS}; sha256sum {ANSWERS}; systemctl show -p InvocationID nornir-stack-packstack"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("c1", "n1", nics={"n1": {"ex1": "outside"}})


def site(lab: Lab, folder: Path, nic: str = "ex1", **own: Any) -> Nornir:
    external = {
        "physical_network": "physnet1",
        "bridge": "br-ex",
        "nic": nic,
        "cidr": "203.0.113.0/24",
        "gateway": "203.0.113.1",
        "first": "203.0.113.100",
        "last": "203.0.113.200",
    }
    secrets = {"secret": Secret(literal=MASTER), "admin_password": Secret(literal=ADMIN)}
    data = {"openstack": secrets, "cloud": {"external": {"public": external}}, "packstack": {"program": PROGRAM}, **own}
    return cloud(
        lab, folder, {"controller": ["c1"], "network": ["n1"], "compute": ["n1"], "storage": ["n1"]}, {"defaults": data}
    )


def prepared(lab: Lab, nr: Nornir) -> None:
    """What the notebook's team prepared by hand."""
    lab.enter("n1", "systemctl", "stop", "NetworkManager.service")
    key = enter(lab, "c1", KEY)
    for node in ("c1", "n1"):
        enter(lab, node, 'printf "%s\n" "$1" >>/root/.ssh/authorized_keys', key.strip())
    enter(lab, "c1", PUT, STAND_IN, PROGRAM)
    well(Chain("names", Stage("names", [hosts_file], everyone)).run(nr, limit="c1,n1"))


def said(report: Report) -> str:
    return "\n".join(
        [*(text for each in report.stages for text in each.problems), *(h.error for each in report.stages for h in each.hosts)]
    )


def test_what_packstack_would_fail_at_is_said_first(lab: Lab, tmp_path: Path) -> None:
    """A card that is not there, NetworkManager, no volume group, no program, no key: a sentence each, nothing is written."""
    enter(lab, "n1", "systemd-run --quiet --unit=NetworkManager sleep 600")
    groups = {"volume_groups": {"cinder-volumes": {"devices": ["/dev/vdb"]}}}
    report = packstack().run(site(lab, tmp_path, nic="eth2", storage=groups))
    assert report.exit_code == 1
    text = said(report)
    for wanted in (
        "n1: NetworkManager is active",
        "n1: there is no eth2 (it has ",
        "n1: there is no volume group cinder-volumes",
        f"c1: there is no {PROGRAM}",
        "c1: there is no /root/.ssh/id_rsa.pub",
    ):
        assert wanted in text
    assert lab.enter("c1", "test", "-e", ANSWERS).returncode == 1


def test_a_run_is_followed_and_taken_up_again(lab: Lab, tmp_path: Path) -> None:
    """A dry run shows the answers and no password; a run that is given up goes on; its end is told, and is not repeated."""
    nr = site(lab, tmp_path)
    prepared(lab, nr)
    plan = packstack().run(nr, dry_run=True)
    assert plan.exit_code == 3, said(plan)
    assert "+CONFIG_NEUTRON_OVS_BRIDGE_IFACES=br-ex:ex1" in plan.to_json()
    assert f"+CONFIG_CONTROLLER_HOST={address(lab, 'c1')}" in plan.to_json()
    first = packstack(hours=0.0008).run(nr)
    assert first.exit_code == 1
    assert "c1: packstack runs, 3 steps are done, at: 10.0.0.2_network.pp" in said(first)
    enter(lab, "c1", "echo on >/run/packstack.fifo")
    report = well(packstack().run(nr))
    assert report.changed == ()
    end = report.value(finished, "c1")
    assert end.steps == ("Clean Up", "Preparing servers", "10.0.0.1_controller.pp", "10.0.0.2_network.pp")
    before = enter(lab, "c1", SHA)
    assert before.startswith("600 root\n")
    assert well(packstack().run(nr)).changed == ()
    assert enter(lab, "c1", SHA) == before
    assert "# asked and guessed" in enter(lab, "c1", f"cat {STATE}/answers.txt")
    assert ADMIN in enter(lab, "c1", f"cat {ANSWERS}")
    for each in (plan, first, report):
        assert ADMIN not in each.to_json()
        assert MASTER not in each.to_json()


def test_a_bad_end_is_told_in_packstacks_own_words(lab: Lab, tmp_path: Path) -> None:
    """The step, the line of its log, where that is; run again it begins anew."""
    nr = site(lab, tmp_path, packstack={"program": PROGRAM, "answers": {"CONFIG_HEAT_INSTALL": "y"}})
    prepared(lab, nr)
    for _ in range(2):
        enter(lab, "c1", "systemd-run --quiet --collect sh -c 'echo fail >/run/packstack.fifo'")
        report = packstack().run(nr)
        assert report.exit_code == 1
        text = said(report)
        assert "packstack ended with status 1 at 10.0.0.2_network.pp; its log is /var/tmp/packstack/2026" in text
        assert "::ERROR::run_setup::1076::root:: Error appeared during Puppet run: 10.0.0.2_network.pp" in text
        assert any("as nornir-stack-packstack" in text for text in report.changed)
