"""Typed settings: read from host data, merged through groups and defaults, refused with a sentence."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, dataclass, fields
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nornir import InitNornir
from nornir.core.inventory import Defaults, Group, Host, ParentGroups

from nornir_stack.errors import InventoryError
from nornir_stack.inventory import load
from nornir_stack.secret import Secret
from nornir_stack.settings import Address, merge, settings_of
from nornir_stack.size import Size
from nornir_stack.tasks.cluster.settings import Galera
from nornir_stack.tasks.loadbalancer.settings import LoadBalancer
from nornir_stack.tasks.system.settings import System
from nornir_stack.tasks.web.settings import Web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir_stack.inventory import Fleet

HOW = "write `!secret env:NAME`, `!secret file:PATH` or `!secret cmd:COMMAND`"
TOP = Path(__file__).parents[2]
ROLES: dict[str, type[Any]] = {"db": Galera, "loadbalancer": LoadBalancer, "web": Web}

data = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
mappings = st.dictionaries(st.sampled_from("abc"), data, max_size=3)


@dataclass(frozen=True, kw_only=True)
class Backup:
    key: ClassVar[str] = "backup"

    where: Address
    keep: int = 7
    how: Literal["full", "incremental"] = "full"
    key_phrase: Secret | None = None


def host(
    own: Mapping[str, Any] | None = None, group: Mapping[str, Any] | None = None, defaults: Mapping[str, Any] | None = None
) -> Host:
    def under(some: Mapping[str, Any] | None) -> dict[str, Any]:
        return {} if some is None else {"backup": some}

    groups = ParentGroups([Group("site", data=under(group))])
    return Host("db1", data=under(own), groups=groups, defaults=Defaults(data=under(defaults)))


# settings_of


def test_host_over_group_over_defaults() -> None:
    """What a host says wins over its group, and that over the defaults, key by key."""
    read = settings_of(host({"keep": 1}, {"keep": 2, "how": "incremental"}, {"keep": 3, "where": "10.0.0.9"}), Backup)
    assert read == Backup(where=IPv4Address("10.0.0.9"), keep=1, how="incremental")


def test_address_families() -> None:
    """An address of either family is read as one."""
    assert settings_of(host({"where": "fd00::1"}), Backup).where == IPv6Address("fd00::1")


def test_secret_object_in_plain_data() -> None:
    """A script may put a Secret into the data of a host, whatever inventory plugin made it."""
    secret = Secret(literal="correct horse")
    assert settings_of(host({"where": "10.0.0.9", "key_phrase": secret}), Backup).key_phrase == secret


def test_frozen() -> None:
    """Settings are not for changing: nobody would see it."""
    with pytest.raises(FrozenInstanceError):
        settings_of(host({"where": "10.0.0.9"}), Backup).keep = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("raw", "problems"),
    [
        ({}, ("db1: backup.where: missing",)),
        (
            {"where": "10.0.0", "keeep": 3},
            (
                "db1: backup.where: '10.0.0' does not appear to be an IPv4 or IPv6 address",
                "db1: backup.keeep: unknown: did you mean 'keep'?",
            ),
        ),
        ({"where": "10.0.0.9", "how": "some"}, ("db1: backup.how: expected 'full' or 'incremental', found 'some'",)),
        (
            {"where": "10.0.0.9", "key_phrase": "hunter2hunter2"},
            (f"db1: backup.key_phrase: stands here in plain text: {HOW}",),
        ),
    ],
)
def test_refused(raw: Mapping[str, Any], problems: tuple[str, ...]) -> None:
    """Everything wrong is told at once, with host and key, and never with a secret."""
    with pytest.raises(InventoryError) as caught:
        settings_of(host(raw), Backup)
    assert caught.value.problems == problems


def test_not_a_mapping() -> None:
    """A key of settings that holds no mapping is told as such."""
    with pytest.raises(InventoryError, match="db1: backup: expected a mapping, found 7"):
        settings_of(Host("db1", data={"backup": 7}), Backup)


def test_changed_data_are_seen() -> None:
    """Settings are read anew: what a script changes in a notebook counts from then on."""
    one = host({"where": "10.0.0.9"})
    assert settings_of(one, Backup).keep == 7
    one.data["backup"]["keep"] = 30
    assert settings_of(one, Backup).keep == 30


def test_simple_inventory(tmp_path: Path) -> None:
    """Settings are read from Nornir's own SimpleInventory too, merged in the same way."""
    (tmp_path / "hosts.yaml").write_text("db1: {groups: [db], data: {backup: {keep: 1}}}\n")
    (tmp_path / "groups.yaml").write_text("db: {data: {backup: {where: 10.0.0.9, keep: 2}}}\n")
    options = {"host_file": str(tmp_path / "hosts.yaml"), "group_file": str(tmp_path / "groups.yaml")}
    options["defaults_file"] = str(tmp_path / "defaults.yaml")
    nr = InitNornir(inventory={"plugin": "SimpleInventory", "options": options}, logging={"enabled": False})
    assert settings_of(nr.inventory.hosts["db1"], Backup) == Backup(where=IPv4Address("10.0.0.9"), keep=1)


# merge


@given(mappings, mappings)
def test_merge_keeps_and_wins(below: dict[str, Any], above: dict[str, Any]) -> None:
    """A merge has the keys of both; where only one has a key its value stands, where both have none is a mapping the upper."""
    merged = merge(below, above)
    assert set(merged) == set(below) | set(above)
    for key, value in merged.items():
        if key not in above:
            assert value == below[key]
        elif key not in below or not (isinstance(below[key], dict) and isinstance(above[key], dict)):
            assert value == above[key]
        else:
            assert value == merge(below[key], above[key])


@given(mappings)
def test_merge_with_itself_and_nothing(one: dict[str, Any]) -> None:
    """Merging with itself or with nothing changes nothing."""
    assert merge(one, one) == merge({}, one) == merge(one, {}) == one


@given(mappings, mappings)
def test_merge_leaves_its_arguments(below: dict[str, Any], above: dict[str, Any]) -> None:
    """A merge does not write into what it merges: groups are shared by many hosts."""
    before = repr((below, above))
    merge(below, above)
    assert repr((below, above)) == before


# sizes


@given(st.integers(min_value=0, max_value=1 << 60))
def test_size_round_trip(number: int) -> None:
    """A size written as text and read again is the same number of bytes."""
    assert Size.parse(str(Size(number))) == Size.parse(number) == number


@given(st.integers(min_value=0, max_value=1 << 20), st.sampled_from("KMGT"))
def test_size_units(number: int, unit: str) -> None:
    """Units are powers of 1024, in capitals or not."""
    factor = 1024 ** ("KMGT".index(unit) + 1)
    assert Size.parse(f"{number}{unit}") == Size.parse(f"{number}{unit.lower()}") == number * factor


@given(st.text(max_size=6) | st.integers(max_value=-1) | st.floats() | st.booleans() | st.none())
def test_size_refuses_in_words(value: Any) -> None:
    """Anything else than a whole number of bytes or of a unit is refused with the way to write it."""
    assume(not (isinstance(value, str) and re.fullmatch("[0-9]+[KMGTkmgt]?", value.strip())))
    with pytest.raises(ValueError, match=r"such as 512M$"):
        Size.parse(value)


@pytest.mark.parametrize(("number", "text"), [(0, "0"), (1023, "1023"), (1024, "1K"), (96 << 20, "96M"), (1536 << 20, "1536M")])
def test_size_as_text(number: int, text: str) -> None:
    """A size as text is the shortest exact form, as a server's configuration takes it."""
    assert f"{Size(number)}" == text


# the fleets that come with it


@pytest.fixture(scope="module", params=["inventory", "inventory/production.example"])
def shipped(request: pytest.FixtureRequest) -> Fleet:
    return load(TOP / request.param)


def test_shipped_fleet_is_in_order(shipped: Fleet) -> None:
    """The example fleet and the production template have neither problems nor warnings."""
    assert (shipped.problems, shipped.warnings) == ((), ())


def test_every_settings_class_loads(shipped: Fleet) -> None:
    """Each host of the shipped fleets gives the settings of each of its roles, and every role occurs."""
    seen: set[type[Any]] = set()
    for one in shipped.inventory.hosts.values():
        classes: list[type[Any]] = [System, *(cls for role, cls in ROLES.items() if one.has_parent_group(role))]
        for cls in classes:
            assert isinstance(settings_of(one, cls), cls)
            seen.add(cls)
    assert seen == {System, *ROLES.values()}


def test_template_shows_every_setting() -> None:
    """The production template names every setting there is, so that nobody has to read the code to find one."""
    text = "".join(path.read_text() for path in (TOP / "inventory/production.example").glob("*.yaml"))
    missing = [
        f"{cls.__name__}.{field.name}"
        for cls in (*ROLES.values(), System)
        for field in fields(cls)
        if f"{field.name}:" not in text
    ]
    assert missing == []


def test_member_address_is_the_hostname() -> None:
    """A member's address is its hostname, unless the data say otherwise or the hostname is a name."""
    raw = {"galera": {"cluster_name": "shop"}}
    assert settings_of(Host("db1", hostname="10.0.0.1", data=raw), Galera).address == IPv4Address("10.0.0.1")
    with pytest.raises(InventoryError, match=r"db1: galera\.address: missing"):
        settings_of(Host("db1", hostname="db1.example.net", data=raw), Galera)
