"""Archive policies of a real Gnocchi (basic login, its index in MariaDB): dry run, for real, again; what it does not change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import ConnectionOptions, Defaults, Groups, Host, Hosts, Inventory
from nornir.plugins.runners import ThreadedRunner

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.select import everyone
from nornir_stack.tasks.telemetry.gnocchi import Step, archive_policies, archive_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_stack.chain import Bound
    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

# openstacksdk warns of a library that it does not use here
pytestmark = [pytest.mark.cloud, pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")]
SETUP = r"""
systemctl start mariadb
systemctl stop gnocchi-api
mariadb -e "DROP DATABASE IF EXISTS gnocchi; CREATE DATABASE gnocchi"
mariadb -e "GRANT ALL ON gnocchi.* TO 'gnocchi'@'localhost' IDENTIFIED BY 'gnocchi'"
cat >/etc/gnocchi/gnocchi.conf <<X
[api]
auth_mode = basic
[indexer]
url = mysql+pymysql://gnocchi:gnocchi@127.0.0.1/gnocchi
[storage]
driver = file
file_basepath = /var/lib/gnocchi
X
chgrp gnocchi /etc/gnocchi/gnocchi.conf
su -s /bin/sh gnocchi -c gnocchi-upgrade || exit 1
sed -i -E 's/^processes *=.*/processes = 1/; s/^threads *=.*/threads = 4/' /etc/gnocchi/gnocchi-api-uwsgi.ini
systemctl restart gnocchi-api
for i in $(seq 120); do curl -s -o /dev/null http://127.0.0.1:8041/ && exit 0; sleep 1; done
exit 1
"""


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    made = boot("rab1", tree="cloud")
    done = made.enter("rab1", "sh", "-c", SETUP)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def cloud(lab: Lab, tmp_path: Path) -> Nornir:
    register_connections()
    address = lab.spec.node("rab1").address.partition("/")[0]
    clouds = tmp_path / "clouds.yaml"
    login = f"{{endpoint: 'http://{address}:8041', username: admin, password: any}}"
    clouds.write_text(f"clouds:\n  lab:\n    auth_type: http_basic\n    auth: {login}\n")
    extras = {"cloud": "lab", "clouds_file": str(clouds)}
    options = {"openstack": ConnectionOptions(None, None, None, None, None, extras)}
    host = Host("cloud", data={"connection": "openstack"}, connection_options=options, defaults=Defaults())
    config = Config(logging=LoggingConfig(enabled=False))
    return Nornir(Inventory(Hosts({"cloud": host}), Groups(), Defaults()), config, runner=ThreadedRunner(2))


def run(cloud: Nornir, task: Bound, *, dry_run: bool = False) -> Report:
    return Chain("trial", Stage("api", [task], everyone)).run(cloud, dry_run=dry_run)


def steps(cloud: Nornir) -> tuple[Step, ...] | None:
    found = run(cloud, do(archive_policies)).value(archive_policies, "cloud")
    return next((policy.steps for policy in found if policy.label == "short"), None)


def test_a_policy_is_made_and_changed(cloud: Nornir) -> None:
    """Made, then its timespan changed; a dry run and a second run change nothing; a granularity is refused."""
    make, change = (do(archive_policy, label="short", steps=[text]) for text in ("5m:1d", "5m:2h"))
    for task, seconds in ((make, 86400), (change, 7200)):
        before = steps(cloud)
        plan = run(cloud, task, dry_run=True)
        assert plan.exit_code == 3, plan
        assert steps(cloud) == before
        done = run(cloud, task)
        assert done.ok, done
        assert steps(cloud) == (Step(300, seconds),)
        assert run(cloud, task).changed == ()
    refused = run(cloud, do(archive_policy, label="short", steps=["1m:2h"]))
    assert "Gnocchi does not change that" in refused.stage("api").host("cloud").error
    assert steps(cloud) == (Step(300, 7200),)
