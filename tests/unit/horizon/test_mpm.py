"""Apache's MPM and workers: decisions on both families' layouts."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused
from nornir_stack.tasks.horizon.mpm import (
    MPMS,
    Apache,
    Mpm,
    enabled_by_lines,
    enabled_by_links,
    mapped,
    needed,
    php_by_lines,
    php_by_links,
    with_mpm,
)
from nornir_stack.tasks.horizon.sizes import Sizes, event_config, sizes, with_sizes
from nornir_stack.tasks.horizon.tune import Page, measured, parse

# As httpd of CentOS 7 brings it.
RHEL = """\
# Select the MPM module which should be used by uncommenting exactly
# one of the following LoadModule lines:

# prefork MPM: Implements a non-threaded, pre-forking web server
# See: http://httpd.apache.org/docs/2.4/mod/prefork.html
LoadModule mpm_prefork_module modules/mod_mpm_prefork.so

# worker MPM: Multi-Processing Module implementing a hybrid
#
#LoadModule mpm_worker_module modules/mod_mpm_worker.so

# event MPM: A variant of the worker MPM
#LoadModule mpm_event_module modules/mod_mpm_event.so
"""
# What the notebook came to: the line added, the other one left. httpd does not start with it.
TWO = RHEL + "LoadModule mpm_event_module modules/mod_mpm_event.so\n"
PHP_7 = "LoadModule php5_module modules/libphp5.so\n"
PHP_8 = "<IfModule prefork.c>\n  LoadModule php_module modules/libphp.so\n</IfModule>\n"


@pytest.mark.parametrize("to", MPMS)
@pytest.mark.parametrize("text", [RHEL, TWO])
def test_exactly_one_line_is_no_comment(text: str, to: Mpm) -> None:
    """Whatever it was before, two of them too; all comments stay; twice is as once."""
    new = with_mpm(text, to)
    assert enabled_by_lines(new) == (to,)
    assert new.count(f"\nLoadModule mpm_{to}_module") == 1
    assert with_mpm(new, to) == new
    assert [line for line in new.splitlines() if "LoadModule mpm" not in line] == [
        line for line in text.splitlines() if "LoadModule mpm" not in line
    ]


def test_what_is_enabled() -> None:
    """By links of Debian, by lines of Red Hat; two at once are seen."""
    assert enabled_by_lines(TWO) == ("event", "prefork")
    assert enabled_by_links(("alias.load", "mpm_prefork.conf", "mpm_prefork.load")) == ("prefork",)
    assert enabled_by_links(()) == ()


def test_a_file_without_the_line() -> None:
    """Refused, and not invented."""
    with pytest.raises(Refused, match="no line for mpm_event_module"):
        with_mpm("LoadModule mpm_prefork_module x\n", "event")


def test_php_within_apache() -> None:
    """Debian's link, CentOS 7's line; what today's Red Hat loads for prefork only is harmless."""
    assert php_by_links(("php8.2.load", "php8.2.conf", "mpm_prefork.load")) == ("php8.2",)
    assert php_by_lines(PHP_7) == ("php5_module",)
    assert php_by_lines(PHP_8) == ()
    assert php_by_lines(f"#{PHP_7}") == ()


@pytest.mark.parametrize(
    ("now", "to", "expected"),
    [
        (Apache(("event",), "event"), "event", False),
        (Apache(("prefork",), "prefork"), "event", True),
        (Apache(("event", "prefork"), None), "event", True),
        (Apache((), None), "event", True),
        (Apache(("event",), None, ("php8.2",)), "prefork", True),
    ],
)
def test_when_a_change_is_needed(now: Apache, to: Mpm, *, expected: bool) -> None:
    """None, two, or another one."""
    assert needed(now, to) is expected


def test_php_that_needs_prefork() -> None:
    """Refused, with the way out."""
    with pytest.raises(Refused, match=r"php8\.2.*prefork only: say php=fpm"):
        needed(Apache(("prefork",), "prefork", ("php8.2",)), "event")


@pytest.mark.parametrize(("gib", "cpus"), [(1, 1), (2, 4), (4, 4), (16, 8), (64, 32)])
def test_workers_fit_into_a_quarter_of_the_memory(gib: int, cpus: int) -> None:
    """Or are the least that serves; never more processes than twice the processors."""
    wanted = sizes(gib << 30, cpus)
    assert 2 <= wanted.processes <= max(2, 2 * cpus)
    assert wanted.processes == 2 or wanted.processes * (200 << 20) <= (gib << 30) / 4
    assert f"MaxRequestWorkers {wanted.children * 25}\n" in event_config(wanted)


def test_the_dashboards_own_file() -> None:
    """Numbers that are there are changed, others added, all else stays."""
    text = "Alias /x /y\nWSGIDaemonProcess horizon user=horizon processes=3 display-name=%{GROUP}\nWSGIScriptAlias / /z\n"
    new = with_sizes(text, Sizes(5, 10, 4))
    assert new.splitlines()[1] == "WSGIDaemonProcess horizon user=horizon processes=5 display-name=%{GROUP} threads=10"
    assert with_sizes(new, Sizes(5, 10, 4)) == new
    with pytest.raises(Refused):
        with_sizes("WSGIScriptAlias / /z\n", Sizes(5, 10, 4))


def test_what_the_look_prints() -> None:
    """Both families; what runs is what is mapped, not what the files say."""
    debian = "\x1enames\nmpm_prefork.load\nphp8.2.load\n\x1empm\n\x1emodules\n\x1emaps\nmod_mpm_event.so\n"
    assert parse(debian) == Apache(("prefork",), "event", ("php8.2",))
    redhat = f"\x1enames\n00-mpm.conf\n\x1empm\n{RHEL}\x1emodules\n{RHEL}{PHP_7}\x1emaps\n"
    assert parse(redhat) == Apache(("prefork",), None, ("php5_module",), RHEL)
    assert mapped("mod_mpm_worker.so\n") == "worker"


def test_pages_are_measured() -> None:
    """The first takes long where a process starts; the others' median counts."""
    assert measured("u", "200 5.5\n200 0.1\n200 0.3\n200 0.2\n") == Page("u", 200, 5.5, 0.2)
    assert measured("u", "") == Page("u", 0, 0.0, 0.0)
