"""The answer file that an inventory makes, checked against the lists of two versions of packstack."""

from __future__ import annotations

import configparser
from typing import TYPE_CHECKING, Any

import pytest
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups

from nornir_stack.errors import UsageError
from nornir_stack.inventory.load import open_inventory
from nornir_stack.secret import Secret, mask
from nornir_stack.tasks.packstack.answers import answer_file, answers, shown
from nornir_stack.tasks.packstack.parameters import complaint, parameters

if TYPE_CHECKING:
    from pathlib import Path

MASTER, ADMIN = "packs-one-master", "packs-admin-own"
OWN = {"secret": Secret(literal=MASTER), "admin_password": Secret(literal=ADMIN), "compute_driver": "qemu"}
PUBLIC = {
    "physical_network": "physnet1",
    "bridge": "br-ex",
    "nic": "eth2",
    "cidr": "203.0.113.0/24",
    "gateway": "203.0.113.1",
    "first": "203.0.113.100",
    "last": "203.0.113.200",
}
SECOND = {**PUBLIC, "physical_network": "physnet2", "bridge": "br-ex2", "nic": "eth3", "vlan": 1000}
NOTEBOOK = {"controller": ["ctl"], "network": ["net"], "storage": ["sto"], "compute": ["host"]}
GROUP = {"volume_groups": {"cinder-volumes": {"devices": ["/dev/vdb"]}}}


def inventory(roles: dict[str, list[str]] | None = None, packstack: dict[str, Any] | None = None, **data: Any) -> Inventory:
    """The notebook's four nodes, and the cloud's API."""
    roles = {**NOTEBOOK, "cloud": ["cloud1"], **(roles or {})}
    balancer = {"virtual_address": "172.16.1.100", "listeners": {"writes": {"port": 3307, "mode": "single-writer"}}}
    common = {"openstack": OWN, "loadbalancer": balancer, "cloud": {"external": {"public": PUBLIC}}}
    defaults = Defaults(data={**common, "packstack": packstack or {}, **data})
    groups = Groups({name: Group(name) for name in roles})
    hosts = Hosts()
    for number, name in enumerate(dict.fromkeys(name for names in roles.values() for name in names)):
        mine = ParentGroups([groups[role] for role, those in roles.items() if name in those])
        hosts[name] = Host(name, hostname=f"172.16.1.{11 + number}", groups=mine, defaults=defaults)
    return Inventory(hosts, groups, defaults)


def plain(found: Inventory) -> dict[str, str]:
    """The answers without what is secret."""
    return dict(line.split("=", 1) for line in shown(answers(found)) if "Secret(" not in line)


def test_the_notebooks_cloud() -> None:
    """Nodes by their roles, the volume group that is there already, the network over its bridge; no default is repeated."""
    assert plain(inventory(packstack={"tunnel_nic": "eth1"}, storage=GROUP)) == {
        "CONFIG_SWIFT_INSTALL": "n",
        "CONFIG_CEILOMETER_INSTALL": "n",
        "CONFIG_AODH_INSTALL": "n",
        "CONFIG_CONTROLLER_HOST": "172.16.1.11",
        "CONFIG_NETWORK_HOSTS": "172.16.1.12",
        "CONFIG_STORAGE_HOST": "172.16.1.13",
        "CONFIG_COMPUTE_HOSTS": "172.16.1.14",
        "CONFIG_UNSUPPORTED": "y",
        "CONFIG_AMQP_HOST": "172.16.1.11",
        "CONFIG_MARIADB_HOST": "172.16.1.11",
        "CONFIG_CINDER_VOLUMES_CREATE": "n",
        "CONFIG_NOVA_LIBVIRT_VIRT_TYPE": "qemu",
        "CONFIG_NEUTRON_L3_EXT_BRIDGE": "provider",
        "CONFIG_NEUTRON_ML2_TYPE_DRIVERS": "vxlan,flat",
        "CONFIG_NEUTRON_ML2_TENANT_NETWORK_TYPES": "vxlan",
        "CONFIG_NEUTRON_ML2_MECHANISM_DRIVERS": "openvswitch",
        "CONFIG_NEUTRON_ML2_FLAT_NETWORKS": "physnet1",
        "CONFIG_NEUTRON_L2_AGENT": "openvswitch",
        "CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS": "physnet1:br-ex",
        "CONFIG_NEUTRON_OVS_BRIDGE_IFACES": "br-ex:eth2",
        "CONFIG_NEUTRON_OVS_EXTERNAL_PHYSNET": "physnet1",
        "CONFIG_NEUTRON_OVS_TUNNEL_IF": "eth1",
        "CONFIG_PROVISION_DEMO": "n",
        "CONFIG_REDIS_HOST": "172.16.1.11",
    }


def test_kilo_is_asked_by_its_own_names() -> None:
    """Names that it does not have are left out; what it installs is said, since its list knows no defaults."""
    found = plain(inventory(packstack={"version": "kilo"}))
    assert found["CONFIG_NAGIOS_INSTALL"] == found["CONFIG_CINDER_INSTALL"] == "n"
    assert found["CONFIG_MONGODB_HOST"] == found["CONFIG_REDIS_MASTER_HOST"] == "172.16.1.11"
    assert not {"CONFIG_AODH_INSTALL", "CONFIG_NOVA_LIBVIRT_VIRT_TYPE"} & set(found)
    assert set(answers(inventory(packstack={"version": "kilo"}))) <= set(parameters("kilo"))


def test_two_external_networks_one_of_them_a_vlan() -> None:
    """Each over its own bridge and card; a range where there is a VLAN, and its driver with it."""
    found = plain(inventory(cloud={"external": {"public": PUBLIC, "intranet": SECOND}}))
    assert found["CONFIG_NEUTRON_OVS_BRIDGE_MAPPINGS"] == "physnet1:br-ex,physnet2:br-ex2"
    assert found["CONFIG_NEUTRON_OVS_BRIDGE_IFACES"] == "br-ex:eth2,br-ex2:eth3"
    assert found["CONFIG_NEUTRON_ML2_VLAN_RANGES"] == "physnet2:1000:1000"
    assert found["CONFIG_NEUTRON_ML2_TYPE_DRIVERS"] == "vxlan,flat,vlan"


def test_passwords_are_secrets_of_the_services_that_are_installed() -> None:
    """The same at each run, another for each, none for what is not there; in the file, and nowhere that people look."""
    first, again = answers(inventory()), answers(inventory())
    secret = {name: value for name, value in first.items() if isinstance(value, Secret)}
    assert first == again
    assert {"CONFIG_NOVA_DB_PW", "CONFIG_KEYSTONE_ADMIN_PW", "CONFIG_MARIADB_PW", "CONFIG_HORIZON_SECRET_KEY"} <= set(secret)
    assert not [name for name in secret if name.split("_")[1] in {"HEAT", "TROVE", "CINDER", "GNOCCHI"}]
    assert len({value.reveal() for value in secret.values()}) == len(secret)
    text = answer_file(first)
    assert f"CONFIG_KEYSTONE_ADMIN_PW={ADMIN}\n" in text
    assert ADMIN not in "".join(shown(first))
    assert f"CONFIG_KEYSTONE_ADMIN_PW={ADMIN}" not in mask(text)
    assert MASTER not in text


def test_what_packstack_reads_is_what_was_meant() -> None:
    """By the parser that packstack uses, with its one section; an answer of the inventory stands over what is made of it."""
    found = answers(inventory(packstack={"answers": {"CONFIG_PROVISION_DEMO": "y", "CONFIG_NOVA_SCHED_RAM_ALLOC_RATIO": 2.5}}))
    parser = configparser.RawConfigParser()
    parser.read_string(answer_file(found))
    assert parser.sections() == ["general"]
    assert parser.get("general", "CONFIG_NOVA_SCHED_RAM_ALLOC_RATIO") == "2.5"
    assert not parser.has_option("general", "CONFIG_PROVISION_DEMO")  # y is packstack's own default
    assert parser.get("general", "CONFIG_KEYSTONE_ADMIN_PW") == ADMIN


def test_databases_on_the_cluster() -> None:
    """Behind its address, nothing is installed; whoever makes them there has to be said."""
    roles = {"db": ["db1", "db2", "db3"], "loadbalancer": ["lb1"]}
    with pytest.raises(UsageError, match="CONFIG_MARIADB_USER is missing: the databases are on the Galera cluster"):
        answers(inventory(roles))
    own = {"CONFIG_MARIADB_USER": "installer", "CONFIG_MARIADB_PW": Secret(literal="packs-db-word")}
    found = answers(inventory(roles, packstack={"answers": own}))
    assert (found["CONFIG_MARIADB_INSTALL"], found["CONFIG_MARIADB_HOST"]) == ("n", "172.16.1.100")


def test_what_packstack_cannot_put_up_is_refused() -> None:
    """Two storage hosts, no host for instances."""
    with pytest.raises(UsageError, match="packstack knows one storage host, and the inventory has sto, sto2"):
        answers(inventory({"storage": ["sto", "sto2"]}))
    with pytest.raises(UsageError, match="the inventory has none"):
        answers(inventory({"compute": []}))


@pytest.mark.parametrize(
    ("version", "name", "value", "wanted"),
    [
        ("26.0.0", "CONFIG_NEUTRON_OVS_TUNEL_IF", "eth1", "no such parameter: did you mean 'CONFIG_NEUTRON_OVS_TUNNEL_IF'"),
        ("26.0.0", "CONFIG_NAGIOS_INSTALL", "n", "packstack 26.0.0 has no such parameter"),
        ("kilo", "CONFIG_NAGIOS_INSTALL", "yes", "'yes' is not one of y, n"),
        ("26.0.0", "CONFIG_NEUTRON_ML2_TYPE_DRIVERS", "vxlan,vlna", "is not of local, flat, vlan, gre, vxlan, geneve"),
        ("26.0.0", "CONFIG_NEUTRON_OVS_VXLAN_UDP_PORT", 70000, "'70000' is not a port"),
        ("26.0.0", "CONFIG_SWIFT_STORAGE_ZONES", "two", "'two' is not a whole number"),
        ("26.0.0", "CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", "16,0", "'16,0' is not a number"),
        ("26.0.0", "CONFIG_NOVA_DB_PW", "in-the-open", "stands here in plain text: write `!secret"),
        ("26.0.0", "CONFIG_HORIZON_SSL", Secret(literal="packs-flag"), "is no secret: packstack takes one of y, n"),
        ("26.0.0", "CONFIG_NTP_SERVERS", "one\ntwo", "would not be read back"),
        ("26.0.0", "CONFIG_NTP_SERVERS", "a.example.net ;b", "would not be read back"),
        ("26.0.0", "CONFIG_NEUTRON_ML2_VLAN_RANGES", "", ""),
        ("26.0.0", "CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", 4, ""),
        ("26.0.0", "CONFIG_SATELLITE_FLAGS", "", ""),
        ("26.0.0", "EXCLUDE_SERVERS", "172.16.1.14", ""),
    ],
)
def test_an_answer_is_checked_against_the_versions_list(version: str, name: str, value: Any, wanted: str) -> None:
    """Unknown names with the nearest, wrong kinds with what is taken; a password in plain text; what would not be read back."""
    said = complaint(version, name, value)
    assert said == wanted == "" or (wanted and wanted in said)


def test_a_wrong_answer_is_told_with_its_line(tmp_path: Path) -> None:
    """Before any connection, by `inventory check`; and so is a parameter that only another version has."""
    (tmp_path / "hosts.yaml").write_text(
        "ctl:\n"
        "  hostname: 172.16.1.11\n"
        "  groups: [controller]\n"
        "  data:\n"
        "    packstack:\n"
        "      answers:\n"
        "        CONFIG_HORIZON_SSL: maybe\n"
        "        CONFIG_NAGIOS_INSTALL: n\n"
    )
    (tmp_path / "groups.yaml").write_text("controller: {}\n")
    with pytest.raises(UsageError) as caught:
        open_inventory(tmp_path)
    assert "hosts.yaml:7: ctl: packstack.answers.CONFIG_HORIZON_SSL: 'maybe' is not one of y, n" in str(caught.value)
    assert "hosts.yaml:8: ctl: packstack.answers.CONFIG_NAGIOS_INSTALL: packstack 26.0.0 has no such" in str(caught.value)


def test_each_list_is_whole() -> None:
    """As many parameters as its source has, each once; an option that is a default is one of the options."""
    assert (len(parameters("26.0.0")), len(parameters("kilo"))) == (292, 251)
    for one in parameters("26.0.0").values():
        if one.default and one.options:
            assert set(one.default.split(",")) <= set(one.options), one
    with pytest.raises(UsageError, match=r"there is a list of parameters for 26\.0\.0, kilo"):
        parameters("juno")
