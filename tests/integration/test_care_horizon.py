"""Horizon behind a real Apache: one MPM, PHP within Apache, workers, the login page; dry run, for real, again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nornir_stack.results import Status
from nornir_stack.tasks.horizon.tune import tune, tuned
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

SETTINGS = "/etc/openstack-dashboard/local_settings.py"
LOGIN = "http://localhost/horizon/auth/login/"
CONF = "/etc/apache2/conf-enabled/nornir-stack-mpm.conf"
# As a package of PHP leaves it, and what the dashboard has to know to show its login page.
BEFORE = f"""
rm -f {CONF}
a2dissite -q default-ssl; a2disconf -q php8.2-fpm
a2dismod -q -f mpm_event mpm_worker; a2enmod -q mpm_prefork; a2enmod -q php8.2
sed -i "s/^ALLOWED_HOSTS = .*/ALLOWED_HOSTS = ['*']/" {SETTINGS}
sed -i "s#^OPENSTACK_KEYSTONE_URL = .*#OPENSTACK_KEYSTONE_URL = 'http://10.0.0.1:5000/v3'#" {SETTINGS}
systemctl restart apache2
"""


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("web1", tree="horizon")


@pytest.fixture(autouse=True)
def before(lab: Lab) -> Iterator[None]:
    inside(lab, BEFORE)
    yield
    inside(lab, "rm -f /etc/apache2/conf-enabled/zz-broken.conf")


def inside(lab: Lab, script: str) -> str:
    return lab.enter("web1", "sh", "-c", script).stdout.strip()


def run(lab: Lab, *, dry_run: bool = False, **words: str) -> Report:
    with nornir(lab, {"controller": ["web1"]}, {"controller": {"horizon": {"login": LOGIN}}}) as nr:
        return tune(**words).run(nr, dry_run=dry_run)  # type: ignore[arg-type]


def mpms(lab: Lab) -> str:
    """What the server itself says that it would load."""
    return inside(lab, "apache2ctl -M 2>/dev/null | grep -o 'mpm_[a-z]*'")


def test_php_within_apache_is_refused(lab: Lab) -> None:
    """It needs prefork; nothing is changed that would break it, and the way out is named."""
    report = run(lab)
    assert report.stage("apache").host("web1").status is Status.FAILED
    assert "php=fpm" in report.stage("apache").host("web1").error
    assert report.changed == ()
    assert mpms(lab) == "mpm_prefork"


def test_event_with_php_beside(lab: Lab) -> None:
    """Dry run, for real, again: exactly one MPM runs, PHP is served by php-fpm, the login page answers before and after."""
    plan = run(lab, dry_run=True, php="fpm")
    assert plan.exit_code == 3, plan
    assert mpms(lab) == "mpm_prefork"

    done = run(lab, php="fpm")
    assert done.ok, done
    seen = done.value(tuned, "web1")
    assert (seen.mpm, seen.before.status, seen.after.status) == ("event", 200, 200)
    assert 0 < seen.after.seconds < 30
    assert mpms(lab) == "mpm_event"
    assert f"MaxRequestWorkers {seen.workers}" in inside(lab, f"cat {CONF}")
    inside(lab, "echo '<?php echo 6*7;' >/var/www/html/x.php")
    assert inside(lab, "curl -s http://localhost/x.php") == "42"

    pid = inside(lab, "systemctl show -p MainPID --value apache2")
    again = run(lab, php="fpm")
    assert again.ok, again
    assert again.changed == ()
    assert inside(lab, "systemctl show -p MainPID --value apache2") == pid


def test_two_at_once_are_made_one(lab: Lab) -> None:
    """Apache does not start with two: what runs is seen, and the other is taken out."""
    inside(lab, "a2dismod -q -f php8.2; ln -s ../mods-available/mpm_worker.load /etc/apache2/mods-enabled/")
    done = run(lab)
    assert done.ok, done
    assert inside(lab, "ls /etc/apache2/mods-enabled | grep mpm_.*load") == "mpm_event.load"
    assert mpms(lab) == "mpm_event"


def test_what_apache_would_not_start_with_is_put_back(lab: Lab) -> None:
    """Something else is broken: the old MPM is enabled again, and Apache was not restarted into it."""
    pid = inside(lab, "systemctl show -p MainPID --value apache2")
    inside(lab, "a2dismod -q -f php8.2; echo Nonsense >/etc/apache2/conf-enabled/zz-broken.conf")
    report = run(lab)
    assert report.exit_code == 1
    assert "Invalid command 'Nonsense'" in report.stage("apache").host("web1").error
    assert inside(lab, "ls /etc/apache2/mods-enabled | grep mpm_.*load") == "mpm_prefork.load"
    assert inside(lab, "systemctl show -p MainPID --value apache2") == pid


def test_a_session_that_expired_is_asked_to_log_in(lab: Lab) -> None:
    """The notebook's error 500: with a cookie of a session that is gone, the dashboard sends to the login page."""
    inside(lab, "a2dismod -q -f php8.2")
    assert run(lab).ok
    asked = (
        "curl -s -o /dev/null -w '%{http_code} %{redirect_url}' -b 'sessionid=gone; csrftoken=gone' http://localhost/horizon/"
    )
    status, _, where = inside(lab, asked).partition(" ")
    assert status in {"302", "200"}
    assert "login" in where or status == "200"
