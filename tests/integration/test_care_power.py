"""A site to rest and up again on real nodes: three members of a cluster, and services (stand-ins) on a node beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.dispatch import survey
from nornir_stack.secret import Secret
from nornir_stack.tasks.cluster.form import form
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.product import DB as DB_ROLE
from nornir_stack.tasks.loadbalancer.health import DRAIN_FLAG
from nornir_stack.tasks.maintenance.patch import patch
from nornir_stack.tasks.maintenance.power import shutdown, start
from nornir_stack.tasks.maintenance.standing import NOTE
from tests.integration import care_repo
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core import Nornir

    from nornir_stack.lab import Lab

DB = ["db1", "db2", "db3"]
UNITS = ("keystone", "nova-api", "memcached")
UNIT = r"[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    made = boot(*DB, "ctl1", tree=dict.fromkeys(DB, "db"))
    inside(
        made,
        "ctl1",
        f"for unit in {' '.join(UNITS)}; do printf '{UNIT}' >/etc/systemd/system/$unit.service; done;"
        f" systemctl daemon-reload; systemctl start {' '.join(UNITS)}",
    )
    with fleet(made) as nr:
        assert form().run(nr).ok
    return made


def inside(lab: Lab, name: str, script: str) -> str:
    return lab.enter(name, "sh", "-c", script).stdout.strip()


def fleet(lab: Lab) -> Nornir:
    galera = {
        "cluster_name": "t",
        "buffer_pool": "128M",
        "log_file_size": "16M",
        "gcache_size": "16M",
        "max_connections": 100,
        "root_password": Secret(literal="not so secret"),
        "schemas": ["my_test_db"],
    }
    return nornir(lab, {"db": DB, "controller": ["ctl1"]}, {"db": {"galera": galera}})


def running(lab: Lab) -> list[str]:
    found = [name for name in DB if inside(lab, name, "systemctl is-active mariadb") == "active"]
    return found + [unit for unit in UNITS if inside(lab, "ctl1", f"systemctl is-active {unit}") == "active"]


def test_down_and_up_again(lab: Lab) -> None:
    """A dry run says it; down, again: nothing to do; up: the last member leads, what ran runs, no note left; again: nothing."""
    with fleet(lab) as nr:
        everything = [*DB, *UNITS]
        assert running(lab) == everything
        plan = shutdown().run(nr, dry_run=True)
        assert plan.exit_code == 3, plan
        assert running(lab) == everything

        down = shutdown().run(nr)
        assert down.ok, down
        assert running(lab) == []
        (last,) = down.stage("last member").decided
        assert last.startswith("db3 was the last member, at ")
        assert "keystone.service" in inside(lab, "ctl1", f"cat {NOTE}")
        again = shutdown().run(nr)
        assert again.ok, again
        assert again.changed == ()

        up = start().run(nr)
        assert up.ok, up
        assert running(lab) == everything
        assert all(up.value(observe_member, name).synced for name in DB)
        assert inside(lab, "ctl1", f"ls {NOTE}") == ""
        once_more = start().run(nr)
        assert once_more.ok, once_more
        assert once_more.changed == ()


def test_up_after_a_power_cut_that_nobody_announced(lab: Lab) -> None:
    """All members were killed at once: the cluster comes back from the most advanced one."""
    for name in DB:
        inside(lab, name, "systemctl kill -s KILL mariadb; systemctl stop mariadb")
    with fleet(lab) as nr:
        up = start().run(nr)
    assert up.ok, up
    assert running(lab) == [*DB, *UNITS]


def test_a_member_is_patched(lab: Lab) -> None:
    """Drained, stopped, upgraded, Synced again, and back, while the others serve untouched; again: nothing."""
    care_repo.make(lab, "db2")
    others = [inside(lab, name, "systemctl show -p MainPID --value mariadb") for name in ("db1", "db3")]
    with fleet(lab) as nr:
        done = patch().run(nr)
        assert done.ok, done
        assert [stage.name.rpartition("/")[2] for stage in done.stages if "/db2/" in stage.name] == [
            *("drain", "flag", "stop", "upgrade", "join", "unflag", "undrain", "well"),
        ]
        assert inside(lab, "db2", "dpkg-query -W -f '${Version}' iputils-ping").endswith(".1")
        assert survey(nr, observe_member, DB_ROLE)["db2"].synced
        assert inside(lab, "db2", f"ls {DRAIN_FLAG}") == ""
        again = patch().run(nr)
        assert again.ok, again
        assert again.changed == ()
    assert [inside(lab, name, "systemctl show -p MainPID --value mariadb") for name in ("db1", "db3")] == others
