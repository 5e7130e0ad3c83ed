"""The inventory: what loads, and what is said of what does not."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nornir import InitNornir
from nornir.core.inventory import Inventory
from nornir.core.task import Result, Task
from ruamel.yaml import YAML

import nornir_stack
from nornir_stack.errors import InventoryError
from nornir_stack.inventory import fleet_show, load, networks_of, open_inventory
from nornir_stack.inventory.roles import EVERYONE
from nornir_stack.secret import Secret

CASES = Path(__file__).parents[1] / "cases" / "inventory"
EXAMPLE = Path(__file__).parents[2] / "inventory"
FILES = ("hosts", "groups", "defaults")


@dataclass(frozen=True, kw_only=True)
class Backup:
    key: ClassVar[str] = "backup"
    keep: int = 7


def case(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(CASES / f"{name}.yaml")
    return loaded


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name in FILES:
        text = files.get(name, case("base")[name])
        if text is not None:
            (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.yaml")))
def test_case(name: str, tmp_path: Path) -> None:
    """Each case's inventory has exactly the problems and warnings that the case lists, each with file and line."""
    wanted = case(name)
    fleet = load(write(tmp_path, wanted))
    seen = {
        kind: [str(one).replace(f"{tmp_path}/", "").replace(str(tmp_path), "FOLDER") for one in found]
        for kind, found in (("problems", fleet.problems), ("warnings", fleet.warnings))
    }
    assert seen == {"problems": wanted.get("problems", []), "warnings": wanted.get("warnings", [])}


# what Nornir gets


def test_plugin_by_init_nornir(tmp_path: Path) -> None:
    """InitNornir finds the plugin by its name; hosts come in declared order, with groups, data and options inherited."""
    files = {
        "hosts": "b: {hostname: 10.77.0.2, groups: [site]}\na: {hostname: 10.77.0.1, port: 2222}\n",
        "groups": "site: {groups: [land], username: ops, data: {vars: {rack: 7}}}\nland: {data: {maintenance: moved}}\n",
        "defaults": "username: root\npassword: !secret env:LOGIN\nconnection_options: {ssh: {extras: {sudo: true}}}\n",
    }
    options = {"plugin": "StackInventory", "options": {"path": str(write(tmp_path, files))}}
    inventory = InitNornir(inventory=options, logging={"enabled": False}).inventory
    a, b = inventory.hosts["a"], inventory.hosts["b"]
    assert list(inventory.hosts) == ["b", "a"]
    assert (b.username, a.username, a.port) == ("ops", "root", 2222)
    assert b.password == Secret("env:LOGIN")
    assert b.has_parent_group("land")
    assert (b.get("maintenance"), b["vars"], a.get("maintenance")) == ("moved", {"rack": 7}, None)
    assert a.get_connection_parameters("ssh").extras == {"sudo": True}


def test_plugin_refuses(tmp_path: Path) -> None:
    """A folder with problems gives no inventory, but an error with all of them."""
    with pytest.raises(InventoryError) as caught:
        open_inventory(write(tmp_path, case("duplicate-key")))
    assert [line.rpartition("/")[2] for line in caught.value.problems] == case("duplicate-key")["problems"]


def test_open_runs_tasks_and_writes_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `open_inventory` gives runs plain tasks on every host, and leaves no nornir.log behind."""

    def name(task: Task) -> Result:
        return Result(task.host, result=task.host.name)

    folder = write(tmp_path, case("base"))
    monkeypatch.chdir(tmp_path)
    ran = open_inventory(folder).run(task=name)
    assert {host: result.result for host, result in ran.items()} == {name: name for name in ("db1", "db2", "db3", "lb1")}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.yaml" for name in FILES)


def test_open_imports_no_connection_plugin() -> None:
    """Opening an inventory imports no connection plugin (netmiko's takes half a second); InitNornir still works after it."""
    script = (
        "import sys; from nornir_stack.inventory import open_inventory; nr = open_inventory(sys.argv[1]);"
        "print([m for m in ('netmiko', 'asyncssh', 'pymysql') if m in sys.modules]);"
        "from nornir import InitNornir; options = {'plugin': 'StackInventory', 'options': {'path': sys.argv[1]}};"
        "print(len(InitNornir(inventory=options, logging={'enabled': False}).inventory.hosts))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(EXAMPLE)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "5"]


def test_secrets_are_not_resolved_by_loading(tmp_path: Path) -> None:
    """Loading needs no secret: neither the variable nor the file has to be there yet."""
    hosts = case("base")["hosts"].replace("groups: [loadbalancer]", "groups: [loadbalancer], password: !secret file:/nowhere")
    assert load(write(tmp_path, {"hosts": hosts})).problems == ()


def test_networks_of_defaults() -> None:
    """A task finds the declared networks by its host's defaults."""
    host = load(EXAMPLE).inventory.hosts["db1"]
    assert str(networks_of(host.defaults)["data"].cidr) == "10.77.20.0/24"
    assert host.defaults.data["lab"] == {"name": "demo", "network": "data"}


# roles


def test_roles_of_a_program(tmp_path: Path) -> None:
    """A program hands in settings of its own; they are known and checked like those of installed packages."""
    files = {"hosts": case("base")["hosts"] + "nas1: {hostname: 10.77.0.40, groups: [storage], data: {backup: {kep: 1}}}\n"}
    files["groups"] = case("base")["groups"] + "storage: {}\n"
    folder = write(tmp_path, files)
    assert [one.text for one in load(folder).problems] == ["backup: unknown: what is free in form goes under vars:"]
    known = load(folder, roles={"storage": Backup})
    assert [one.text for one in known.problems] == ["backup.kep: unknown: did you mean 'keep'?"]


def test_settings_of_everyone(tmp_path: Path) -> None:
    """The settings of the role `everyone` are read on each host, whatever its groups."""
    fleet = load(write(tmp_path, case("base")), roles={EVERYONE: [Backup]})
    assert [row.settings["backup"] for row in fleet_show(fleet)] == [{"keep": 7}] * 4


def test_package_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of an installed package that cannot be imported are told by role and module; the rest still loads."""
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nornir_stack.roles]\ncloud = nowhere.settings:Cloud\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "fleet"
    folder.mkdir()
    fleet = load(write(folder, case("base")))
    assert [str(one) for one in fleet.problems] == [
        f"{folder}: the settings of role 'cloud' (nowhere.settings:Cloud) cannot be imported: No module named 'nowhere'"
    ]
    assert len(fleet.inventory.hosts) == 4


# for people


def test_show_masks_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The rows of a fleet are plain data fit for JSON, and tell a secret's reference, never its value."""
    monkeypatch.setenv("ROOT_PASSWORD", "correct horse battery")
    secret = "      root_password: !secret env:ROOT_PASSWORD\n"
    groups = case("base")["groups"].replace("cluster_name: shop\n", f"cluster_name: shop\n{secret}")
    rows = fleet_show(load(write(tmp_path, {"groups": groups})))
    text = json.dumps([asdict(row) for row in rows])
    assert rows[0].settings["galera"]["root_password"] == "******** (env:ROOT_PASSWORD)"
    assert "correct horse" not in text
    assert (rows[0].host, rows[0].roles, rows[0].address) == ("db1", ("db",), "10.77.0.11")


def test_show_tells_the_way(tmp_path: Path) -> None:
    """A row tells how the host is reached: the kind of connection, the user, and a port that is not the usual one."""
    files = {
        "hosts": "a: {hostname: 10.77.0.1, port: 2222}\nhere: {data: {connection: local}}\nb: {groups: [site]}\n",
        "groups": "site: {hostname: b.example.net, connection_options: {ssh: {username: ops}}}\n",
    }
    rows = fleet_show(load(write(tmp_path, files)))
    assert [row.connection for row in rows] == ["ssh root@10.77.0.1:2222", "local", "ssh ops@b.example.net"]


# whatever the files hold

WORDS = """
    db db1 galera loadbalancer groups data networks hostname cidr vars lab network << listeners users password
    connection_options ssh maintenance system names port tls address
"""
words = st.sampled_from(WORDS.split())
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["10.77.0.1", "1G"])
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5), max_leaves=25
)
entries = st.dictionaries(words, st.dictionaries(words, trees, max_size=5) | trees, max_size=4)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries, entries, entries)
def test_no_data_break_the_loader(hosts: Any, groups: Any, defaults: Any) -> None:
    """Whatever data the files hold, loading ends, with an inventory or with problems that have a file."""
    with TemporaryDirectory() as folder:
        for name, value in zip(FILES, (hosts, groups, defaults), strict=True):
            (Path(folder) / f"{name}.yaml").write_text(json.dumps(value))
        fleet = load(folder)
        assert isinstance(fleet.inventory, Inventory)
        assert all(str(one).startswith(folder) for one in (*fleet.problems, *fleet.warnings))
        assert all("\n" not in str(one) for one in (*fleet.problems, *fleet.warnings))
        if not fleet.problems:
            fleet_show(fleet)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="{}[]:,-&*!|>#'\"%@ab \n\t<?", max_size=60).map(str.encode))
def test_no_bytes_break_the_loader(content: bytes) -> None:
    """Whatever bytes a file holds, loading ends, and each problem is one line with the file."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "hosts.yaml").write_bytes(content)
        problems = [str(one) for one in load(folder).problems]
        assert all(one.startswith(folder) and "\n" not in one for one in problems)


def test_open_of_the_package() -> None:
    """In a notebook, `nornir_stack.open(folder)` is all it takes."""
    assert list(nornir_stack.open(EXAMPLE).inventory.hosts) == ["db1", "db2", "db3", "lb1", "web1"]
