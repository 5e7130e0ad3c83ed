"""Which services a change concerns, and what values become in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from oslo_config import cfg

from nornir_stack.errors import UsageError
from nornir_stack.secret import Secret, mask
from nornir_stack.tasks.config.apply import parse
from nornir_stack.tasks.config.ini import edited
from nornir_stack.tasks.config.services import TABLE, Running, candidates, concerned, dialect_of, row_of
from nornir_stack.tasks.config.values import literally, texts

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = """\
file 1700000500 /etc/nova/nova.conf
file 0 /etc/nova/other file
boot 1700000000
Id=nova-api.service
ActiveState=active
ExecMainStartTimestampMonotonic=400000000

Id=nova-compute.service
ActiveState=inactive
ExecMainStartTimestampMonotonic=0
"""
NOVA = "/etc/nova/nova.conf"
NEUTRON = "/etc/neutron/neutron.conf"
L3 = "/etc/neutron/l3_agent.ini"


def runs(**started: int) -> dict[str, Running]:
    names = {unit.replace("_", "-") + ".service": when for unit, when in started.items()}
    return {name: Running(name, when) for name, when in names.items()}


def test_what_the_look_prints_is_read() -> None:
    """When files were written, which units run and since when, seconds since 1970."""
    times, running = parse(SHOWN)
    assert times == {NOVA: 1700000500, "/etc/nova/other file": 0}
    assert running == {"nova-api.service": Running("nova-api.service", 1700000400)}
    assert parse("file 5 /x\nboot 3\n") == ({"/x": 5}, {})


@pytest.mark.parametrize(
    ("written", "running", "due"),
    [
        ({L3: None}, runs(neutron_l3_agent=10, neutron_dhcp_agent=10), ["neutron-l3-agent"]),
        ({L3: None, NEUTRON: None}, runs(neutron_l3_agent=10, neutron_api=9), ["neutron-api", "neutron-l3-agent"]),
        ({NEUTRON: 50}, runs(neutron_l3_agent=10, neutron_api=90), ["neutron-l3-agent"]),
        ({NEUTRON: 50}, runs(neutron_l3_agent=49), []),
        ({NEUTRON: None}, {}, []),
        ({"/etc/keystone/keystone.conf": None}, runs(apache2=1, keystone=1), ["keystone"]),
        ({"/etc/keystone/keystone.conf": None}, runs(apache2=1), ["apache2"]),
        ({"/etc/unknown.conf": None}, runs(apache2=1), []),
    ],
)
def test_a_unit_is_restarted_once_and_only_where_a_file_of_it_is_newer(
    written: dict[str, int | None], running: dict[str, Running], due: list[str]
) -> None:
    """A unit that two files concern is named once; one that read the file at its start, or does not run, is not."""
    assert concerned(written, running, "debian") == tuple(f"{unit}.service" for unit in due)


def test_the_families_have_other_units() -> None:
    """The same file, the other family's names."""
    assert candidates([L3, "/etc/glance/glance-api.conf"], "redhat") == (
        "neutron-l3-agent.service",
        "openstack-glance-api.service",
    )
    assert all(row.debian and row.redhat for row in TABLE)


def test_every_file_is_in_one_row() -> None:
    """A file that two rows have would concern only the first's services."""
    files = [file for row in TABLE for file in row.files]
    assert len(files) == len(set(files))
    assert all(row_of(file.replace("*", "x")) is row for row in TABLE for file in row.files)


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/etc/swift/proxy-server.conf", "paste"),
        ("/etc/swift/swift.conf", "paste"),
        ("/etc/neutron/api-paste.ini", "paste"),
        ("/etc/glance/glance-api-paste.ini", "paste"),
        (NOVA, "oslo"),
        ("/etc/neutron/plugin.ini", "oslo"),
        ("/etc/my/own.conf", "oslo"),
    ],
)
def test_how_a_file_is_read(path: str, dialect: str) -> None:
    """Swift and the pipelines by ConfigParser, the rest by oslo.config."""
    assert dialect_of(path) == dialect


def test_switches_in_another_writing_are_no_drift() -> None:
    """`True` is true; but a number is not a switch where the inventory has a number."""
    now = "[DEFAULT]\ndebug = True\nworkers = 1\n"
    assert texts(now, {"DEFAULT": {"debug": True, "workers": 1, "x": False}}, dialect="oslo") == {
        "DEFAULT": {"debug": ("True",), "workers": ("1",), "x": ("false",)}
    }
    assert texts(now, {"DEFAULT": {"debug": False, "workers": None, "y": ("a", "b")}}, dialect="oslo") == {
        "DEFAULT": {"debug": ("false",), "workers": (), "y": ("a", "b")}
    }


@pytest.mark.parametrize("secret", ["pa$$word", "${x}", "$my_ip", "%(x)s", '"quoted"', "aa\\bb", "ends$", " blank "])
def test_a_secret_is_read_back_literally(secret: str, tmp_path: Path) -> None:
    """By oslo.config itself, whatever it would take for a reference; and the form in the file is masked too."""
    path = tmp_path / "x.conf"
    wanted = texts("", {"x": {"password": Secret(literal=secret)}}, dialect="oslo")
    path.write_text(edited("", wanted))
    conf = cfg.ConfigOpts()
    conf.register_opts([cfg.StrOpt("password")], group="x")
    conf(["--config-file", str(path)])
    assert conf.x.password == secret
    assert wanted["x"]["password"][0] not in mask(path.read_text())


def test_a_secret_that_cannot_be_written() -> None:
    r"""oslo.config makes `$` of `\$`, always: such a password would be another one."""
    with pytest.raises(UsageError, match="choose another"):
        literally("a\\$b", "oslo")
    assert literally("100%", "paste") == "100%"
