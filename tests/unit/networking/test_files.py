"""Each family's files: by their own parsers where these are here, and as data where there are none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nornir.core.processor import Processors
from nornir.core.task import Task
from ruamel.yaml import YAML

from nornir_stack.inventory.plugins import register_connections
from nornir_stack.node import Node
from nornir_stack.tasks.networking import ifcfg, ifupdown, keyfile, netplan, networkd
from nornir_stack.tasks.networking.managers import MANAGERS
from nornir_stack.tasks.networking.observe import NodeNetwork, observe
from nornir_stack.tasks.networking.order import Text, complete, ip_route, routes
from nornir_stack.tasks.networking.others import _LISTED, of_interfaces
from nornir_stack.tasks.networking.resolvers import Resolver
from tests.unit.fleets import fleet
from tests.unit.networking.declared import HOST, NETWORK_NODE, links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_stack.tasks.networking.settings import Links

DECLARATIONS = pytest.mark.parametrize("declared", [HOST, NETWORK_NODE], ids=["host", "network node"])
SCRIPTS = "/etc/sysconfig/network-scripts"


def lines(files: dict[str, Text], path: str) -> list[str]:
    return files[path].text.splitlines()


def shell(files: dict[str, Text], name: str) -> dict[str, str]:
    """An ifcfg file as the variables of a shell."""
    pairs = (line.partition("=") for line in lines(files, f"{SCRIPTS}/ifcfg-{name}") if not line.startswith("#"))
    return {key: value.strip('"') for key, _, value in pairs}


# systemd-networkd


def test_networkd_has_a_file_for_each_device() -> None:
    """A bridge, a bond and a VLAN are made; ports name their bridge and carry no address; no file for what is no device."""
    files = networkd.render(HOST)
    assert {path.rpartition("05-nornir-stack-")[2] for path in files if path.endswith("netdev")} == {
        "br0.netdev",
        "bond0.netdev",
        "data.netdev",
    }
    assert "Bridge=br0" in lines(files, networkd.path("eth0", "network"))
    assert "LinkLocalAddressing=no" in lines(files, networkd.path("eth0", "network"))
    assert "VLAN=data" in lines(files, networkd.path("bond0", "network"))
    assert "Kind=vlan" in lines(files, networkd.path("data", "netdev"))
    assert "DHCP=ipv4" in lines(files, networkd.path("eth4", "network"))
    names = {path.rpartition("05-nornir-stack-")[2] for path in networkd.render(NETWORK_NODE)}
    assert names == {f"{name}.network" for name in ("br-ex", "br-ex2", "eth2", "eth3", "eth4")}


def test_networkd_reads_its_files_before_all_others() -> None:
    """The first .network that matches counts: installers' and netplan's begin with 10."""
    for path in networkd.render(HOST):
        assert Path(path).name < "10-host0.network"


# ifupdown


def test_ifupdown_puts_routes_in_when_all_addresses_are_there() -> None:
    """A link with two addresses has two stanzas: the device is made by the first, routes follow the last."""
    text = ifupdown.render(HOST)[ifupdown.PATH].text
    stanza = text[text.index("auto br0") : text.index("auto bond0")]
    assert stanza.index("ip link add name br0 type bridge") < stanza.index("iface br0 inet6 static")
    assert stanza.index("iface br0 inet6 static") < stanza.index("up ip route replace default via 192.168.5.1 dev br0")
    assert "ip -6 route replace fd01::/48 via fd00:5::1 dev br0" in stanza


def test_ifupdown_words_open_vswitch_as_its_readme_does() -> None:
    """README.Debian of openvswitch-switch 3.1: ports by `allow-BRIDGE`, a bond by ovs_bonds and ovs_options, a patch's peer."""
    text = ifupdown.render(NETWORK_NODE, "netdev")[ifupdown.PATH].text
    stanzas = {stanza.split("\n", 1)[0]: [line.strip() for line in stanza.splitlines()] for stanza in text.split("\n\n")[1:]}
    assert {"ovs_type OVSBridge", "ovs_ports eth2 ex-to-ex2"} <= set(stanzas["auto br-ex"])
    assert "ovs_extra set bridge br-ex datapath_type=netdev" in stanzas["auto br-ex"]
    assert {"ovs_type OVSPort", "ovs_bridge br-ex"} <= set(stanzas["allow-br-ex eth2"])
    bond = {"ovs_type OVSBond", "ovs_bonds eth3 eth4", "ovs_options tag=30 bond_mode=balance-slb"}
    assert bond <= set(stanzas["allow-br-ex2 bond1"])
    assert {"ovs_type OVSPatchPort", "ovs_patch_peer ex2-to-ex"} <= set(stanzas["allow-br-ex ex-to-ex2"])


INTERFACES = """\
# The loopback
auto lo eth0
iface lo inet loopback

allow-hotplug eth0
# the card
iface eth0 inet static
    address 192.0.2.5/24
    gateway 192.0.2.1

iface eth1 inet manual
source /etc/network/interfaces.d/*
"""


def test_stanzas_of_declared_links_leave_the_main_file() -> None:
    """Their lines would be added to ours; loopback, others and comments stay, and a second time changes nothing."""
    left = ifupdown.without(INTERFACES.splitlines(), {"eth0"})
    assert left == [
        "# The loopback",
        "auto lo",
        "iface lo inet loopback",
        "",
        "# the card",
        "iface eth1 inet manual",
        "source /etc/network/interfaces.d/*",
    ]
    assert ifupdown.without(left, {"eth0"}) == left


# A text, and the text without eth0. The words are those that ifup of ifupdown 0.8.41 knows.
STANZAS: dict[str, tuple[str, str]] = {
    "two families": (
        "iface eth0 inet static\n  address 192.0.2.5/24\niface eth0 inet6 auto\niface eth1 inet6 auto\n",
        "iface eth1 inet6 auto\n",
    ),
    "lines that go on": (
        "auto lo \\\n  eth0 eth1\niface \\\neth0 \\\ninet static\n  up a \\\n  iface eth9 \\\n  b\niface eth1 inet dhcp\n",
        "auto lo eth1\niface eth1 inet dhcp\n",
    ),
    "others' lines that go on": (
        "auto lo \\\n  eth1\niface eth1 inet \\\n manual\n",
        "auto lo \\\n  eth1\niface eth1 inet \\\n manual\n",
    ),
    "a comment does not go on": ("# see \\\niface eth0 inet dhcp\nauto lo\n", "# see \\\nauto lo\n"),
    "aliases": ("auto eth0:1 eth1\niface eth0:1 inet static\n  address 192.0.2.6/24\n", "auto eth1\n"),
    "a name to be brought up as": ("auto eth0=home eth1\n", "auto eth1\n"),
    "stanzas after it": (
        "iface eth0 inet dhcp\nrename x=eth2\niface eth0 inet6 auto\nsource-dir more\niface eth0 inet dhcp\nno-scripts eth1\n",
        "rename x=eth2\nsource-dir more\nno-scripts eth1\n",
    ),
    "hotplug, and a port of a bridge": ("allow-hotplug eth0\nallow-br9 eth0 eth1\n", "allow-br9 eth1\n"),
    "names that begin alike": ("auto eth01\niface eth01 inet dhcp\n", "auto eth01\niface eth01 inet dhcp\n"),
}


@pytest.mark.parametrize("case", STANZAS)
def test_stanzas_of_others_stay_as_they_are(case: str) -> None:
    """interfaces(5): several stanzas of one link, lines that a backslash joins (comments never are); others' word for word."""
    text, left = STANZAS[case]
    assert ifupdown.without(text.splitlines(), {"eth0"}) == left.splitlines()


def test_which_files_ifupdown_reads() -> None:
    """Relative ones are beside the file; a folder's only if the name has letters, digits, _ and -; ours is not always one."""
    text = "source interfaces.d/*.cfg /etc/other\nsource-directory /etc/network/interfaces.d\n# source x\n"
    found = ifupdown.sources(text.splitlines(), ifupdown.MAIN)
    assert found == [
        ("source", "/etc/network/interfaces.d/*.cfg"),
        ("source", "/etc/other"),
        ("source-directory", "/etc/network/interfaces.d"),
    ]
    assert [one.names(ifupdown.PATH) for one in found] == [False, False, True]
    assert not found[2].names("/etc/network/interfaces.d/50-cloud.cfg")
    assert ifupdown.Pattern("source", "/etc/network/interfaces.d/*").names(ifupdown.PATH)
    assert not ifupdown.Pattern("source", "/etc/*").names(ifupdown.PATH)
    assert ifupdown.names(["auto a", "iface b inet dhcp", "iface b:1 inet static", "# iface c"]) == ["b", "b"]


def test_files_that_ifupdown_names_are_listed(tmp_path: Path) -> None:
    """Globbed as they stand: a space splits nothing, a command runs nowhere, folders and what a folder's rule leaves out go."""
    for name in ("a", "b.cfg", "c d", "e~"):
        (tmp_path / name).write_text("")
    (tmp_path / "f").mkdir()
    words = ["source-directory", str(tmp_path), "source", f"{tmp_path}/c *", "source", f"{tmp_path}/*.cfg", "source", "$(id)"]
    done = subprocess.run(["sh", "-ec", _LISTED, "sh", *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{tmp_path}/{name}" for name in ("a", "c d", "b.cfg")]


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """A task on this machine's own shell, whose ifupdown has its files in a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(ifupdown, "MAIN", str(tmp_path / "interfaces"))
    monkeypatch.setattr(ifupdown, "PATH", str(tmp_path / "interfaces.d/nornir-stack"))
    (tmp_path / "interfaces.d").mkdir()
    register_connections()
    nr = fleet({"db": ["one"]}, {"one": {"connection": "local"}})
    made = Task(observe, nr, global_dry_run=False, processors=Processors([]))
    made.host = nr.inventory.hosts["one"]
    yield made
    nr.close_connections()


def test_every_file_that_ifupdown_reads_loses_the_link(task: Task, tmp_path: Path) -> None:
    """That of cloud-init in the folder too, and one that it sources in turn; a link of others is known to be described."""
    texts = {
        "interfaces": "auto lo\niface lo inet loopback\nsource interfaces.d/*\n",
        "interfaces.d/50-cloud-init": f"auto eth0 eth1\niface eth0 inet dhcp\niface eth1 inet dhcp\nsource {tmp_path}/more\n",
        "more": "iface eth0 inet6 auto\n",
        "unread": "iface eth0 inet dhcp\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    wanted = complete(links(links={"eth0": {"addresses": ["10.0.0.1/24"]}}))
    found = of_interfaces(Node(task), wanted, NodeNetwork())
    assert {path.removeprefix(f"{tmp_path}/"): text for path, (text, _) in found.files.items()} == {
        "interfaces.d/50-cloud-init": f"auto eth1\niface eth1 inet dhcp\nsource {tmp_path}/more\n",
        "more": "",
    }
    assert set(found.described) == {"lo", "eth0", "eth1"}

    (tmp_path / "interfaces").write_text("auto lo\nsource interfaces.d/*.cfg\n")  # which ours is not
    (text, _) = of_interfaces(Node(task), wanted, NodeNetwork()).files[str(tmp_path / "interfaces")]
    assert text == f"auto lo\nsource interfaces.d/*.cfg\n{ifupdown.INCLUDE}\n"


# NetworkManager


@pytest.mark.skipif(shutil.which("nmcli") is None, reason="nmcli is not installed (apt: network-manager)")
@DECLARATIONS
def test_networkmanager_reads_all_that_we_write(declared: Links) -> None:
    """`nmcli --offline` reads each keyfile and writes it out again: not a line of ours is lost or changed."""
    for path, (text, mode) in keyfile.render(declared, NAMES).items():
        again = subprocess.run(
            ["nmcli", "--offline", "connection", "modify", "connection.zone", ""],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (again.returncode, again.stderr) == (0, ""), path
        ours = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert [line for line in ours if line not in again.stdout.splitlines()] == [], path
        assert mode == "0600"


def test_networkmanager_brings_bridges_up_before_what_is_on_them() -> None:
    """A port waits for its controller: bridge, port, and then the interface in it."""
    order = keyfile.connections(NETWORK_NODE)
    assert order.index("nornir-stack-br-ex") < order.index("nornir-stack-port-eth2") < order.index("nornir-stack-eth2")
    assert order.index("nornir-stack-port-br-ex") < order.index("nornir-stack-if-br-ex")
    host = keyfile.connections(HOST)
    assert host.index("nornir-stack-br0") < host.index("nornir-stack-eth0")


def test_networkmanager_is_told_of_each_file_that_changed() -> None:
    """A device goes on as its profile was until it is activated again: the link of a file is known, of others' files none."""
    assert [keyfile.link_of_file(keyfile.path(f"nornir-stack-{name}")) for name in ("br0", "port-eth2", "if-br-ex")] == [
        "br0",
        "eth2",
        "br-ex",
    ]
    assert keyfile.link_of_file("/etc/nornir-stack/network.json") == ""
    assert (MANAGERS["networkmanager"].link_of, MANAGERS["networkd"].link_of("/x")) == (keyfile.link_of_file, "")


def test_networkmanager_is_told_hardware_addresses_and_who_is_the_way_out() -> None:
    """A bridge has its own key for the address, others `cloned-mac-address`; DHCP's default route gives way."""
    mac = "52:54:00:0a:0b:0d"
    declared = complete(
        links(
            links={
                "eth1": {"mac": mac, "mtu": 9000, "addresses": ["10.0.0.1/24"]},
                "eth2": {"dhcp": True},
                "br0": {"kind": "bridge", "ports": ["eth3"], "mac": mac},
            },
            routes=[{"to": "default", "via": "10.0.0.254"}],
        )
    )
    files = keyfile.render(declared)
    assert {f"cloned-mac-address={mac.upper()}", "mtu=9000"} <= set(lines(files, keyfile.path("nornir-stack-eth1")))
    bridge = lines(files, keyfile.path("nornir-stack-br0"))
    assert (f"mac-address={mac.upper()}" in bridge, "[ethernet]" in bridge) == (True, False)
    assert "never-default=true" in lines(files, keyfile.path("nornir-stack-eth2"))
    assert "never-default=true" not in lines(files, keyfile.path("nornir-stack-eth1"))
    assert shell(ifcfg.render(declared), "eth2")["DEFROUTE"] == "no"
    alone = complete(links(links={"eth2": {"dhcp": True}}))
    assert "DEFROUTE" not in shell(ifcfg.render(alone), "eth2")


# netplan


CLOUD_INIT = """\
# written by an installer
network:
  version: 2
  ethernets:
    eth0:
      match: {macaddress: "52:54:00:0a:0b:0c"}
      set-name: "eth0"
      addresses: [192.0.2.5/24]
      nameservers: {addresses: [192.0.2.53]}
      routes:
      - {to: default, via: 192.0.2.1}
    eth1:
      addresses: [198.51.100.5/24]
"""


def test_netplan_s_other_files_lose_what_would_be_added_to_ours() -> None:
    """netplan adds lists up: addresses and routes of a declared link go; its name, DNS, other links and comments stay."""
    left = netplan.without(CLOUD_INIT, {"eth0", "br0"})
    assert left.splitlines()[0] == "# written by an installer"
    assert YAML().load(left)["network"]["ethernets"] == {
        "eth0": {
            "match": {"macaddress": "52:54:00:0a:0b:0c"},
            "set-name": "eth0",
            "nameservers": {"addresses": ["192.0.2.53"]},
        },
        "eth1": {"addresses": ["198.51.100.5/24"]},
    }
    assert netplan.without(left, {"eth0", "br0"}) is left
    leased = "network:\n  ethernets:\n    eth0:\n      dhcp4: true\n      wakeonlan: true\n"
    assert netplan.without(leased, {"eth0"}) is leased  # ours is read after it, and says the contrary
    assert netplan.without(leased, {"eth0"}, later=True) == leased.replace("      dhcp4: true\n", "")
    assert netplan.without(CLOUD_INIT, {"eth9"}) is CLOUD_INIT


def test_a_link_that_netplan_knows_by_another_id() -> None:
    """Both definitions would hold: by `set-name`, or by a `match` of its name; a match of the address alone does not tell."""
    other = "network: {ethernets: {id0: {match: {macaddress: a}, set-name: eth0}, id1: {match: {name: eth1}}, eth2: {}}}"
    assert netplan.renamed(other, {"eth0", "eth1", "eth2"}) == {"eth0": "id0", "eth1": "id1"}
    assert netplan.renamed(CLOUD_INIT, {"eth0", "eth1"}) == {}
    assert netplan.renamed("", {"eth0"}) == {}


@pytest.mark.skipif(shutil.which("netplan") is None, reason="netplan is not installed (apt: netplan.io)")
@DECLARATIONS
def test_netplan_generates_from_what_we_write(declared: Links, tmp_path: Path) -> None:
    """`netplan generate` takes the file without a word, and networkd's files that come of it say the same as ours."""
    if declared is NETWORK_NODE and shutil.which("ovs-vsctl") is None:
        pytest.skip("netplan wants ovs-vsctl for bridges of Open vSwitch (apt: openvswitch-switch)")
    (path, (text, mode)) = next(iter(netplan.render(declared).items()))
    file = tmp_path / path.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    file.chmod(int(mode, 8))
    made = subprocess.run(["netplan", "generate", "--root-dir", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    for name, link in declared.links.items():
        if link.kind.startswith("ovs-") and link.kind != "ovs-bridge":
            continue
        mine = (tmp_path / f"run/systemd/network/10-netplan-{name}.network").read_text().splitlines()
        theirs = lines(networkd.render(declared), networkd.path(name, "network"))
        words = ("Address=", "Bridge=", "Bond=", "VLAN=", "Destination=", "Gateway=", "Table=", "From=", "Priority=")
        assert [line for line in theirs if line.startswith(words) and line not in mine] == []


# Red Hat's network scripts


def test_ifcfg_of_open_vswitch() -> None:
    """rhel/README.RHEL.rst of openvswitch: DEVICETYPE is always ovs; each TYPE has the variables that its table names."""
    files = ifcfg.render(NETWORK_NODE)
    assert shell(files, "br-ex") | {"DEVICETYPE": "ovs", "TYPE": "OVSBridge", "ONBOOT": "yes"} == shell(files, "br-ex")
    assert "IPADDR" not in shell(files, "br-ex")
    assert shell(files, "eth2") | {"DEVICETYPE": "ovs", "TYPE": "OVSPort", "OVS_BRIDGE": "br-ex"} == shell(files, "eth2")
    bond = shell(files, "bond1")
    assert (bond["TYPE"], bond["BOND_IFACES"], bond["OVS_BRIDGE"]) == ("OVSBond", "eth3 eth4", "br-ex2")
    assert bond["OVS_OPTIONS"] == "tag=30 bond_mode=balance-slb"
    assert "DEVICETYPE" not in shell(files, "eth3")  # its bond names it
    patch = shell(files, "ex-to-ex2")
    assert (patch["TYPE"], patch["OVS_BRIDGE"], patch["OVS_PATCH_PEER"]) == ("OVSPatchPort", "br-ex", "ex2-to-ex")
    assert shell(ifcfg.render(NETWORK_NODE, "netdev"), "br-ex")["OVS_EXTRA"] == "set bridge br-ex datapath_type=netdev"


def test_ifcfg_of_bridges_bonds_and_vlans() -> None:
    """sysconfig.txt of initscripts: BRIDGE= at the port, MASTER= and SLAVE= at a bond's, VLAN= with PHYSDEV=, PREFIX=."""
    files = ifcfg.render(HOST)
    assert shell(files, "eth0")["BRIDGE"] == "br0"
    assert (shell(files, "eth2")["MASTER"], shell(files, "eth2")["SLAVE"]) == ("bond0", "yes")
    assert shell(files, "bond0")["BONDING_OPTS"] == "mode=802.3ad miimon=100"
    vlan = shell(files, "data")
    assert (vlan["VLAN"], vlan["PHYSDEV"], vlan["IPADDR"], vlan["PREFIX"]) == ("yes", "bond0", "172.16.1.10", "24")
    assert shell(files, "br0")["IPV6ADDR"] == "fd00:5::10/64"
    assert shell(files, "eth4")["BOOTPROTO"] == "dhcp"
    assert lines(files, f"{SCRIPTS}/rule-data")[1:] == ["from 172.16.1.0/24 table 100 priority 1000"]


NAMES = {"br0": Resolver(("192.0.2.53", "2001:db8::53"), ("example.net", "example.org"))}


def test_name_servers_stand_in_every_family_s_words() -> None:
    """systemd.network(5), resolvconf's interfaces, nm-settings-keyfile(5) (each family its own), sysconfig.txt."""
    text = lines(networkd.render(HOST, NAMES), networkd.path("br0", "network"))
    assert {"DNS=192.0.2.53", "DNS=2001:db8::53", "Domains=example.net example.org"} <= set(text)
    interfaces = ifupdown.render(HOST, names=NAMES)[ifupdown.PATH].text
    assert "    dns-nameservers 192.0.2.53 2001:db8::53\n    dns-search example.net example.org\n" in interfaces
    profile = keyfile.render(HOST, NAMES)[keyfile.path("nornir-stack-br0")].text
    four, _, six = profile.partition("[ipv6]")
    assert ("dns=192.0.2.53;\ndns-search=example.net;example.org;\n" in four, "dns=2001:db8::53;\n" in six) == (True, True)
    script = shell(ifcfg.render(HOST, names=NAMES), "br0")
    assert (script["DNS1"], script["DNS2"], script["DOMAIN"]) == ("192.0.2.53", "2001:db8::53", "example.net example.org")
    assert "dns" not in keyfile.render(HOST)[keyfile.path("nornir-stack-br0")].text


def test_the_way_to_a_gateway_comes_before_the_route_over_it() -> None:
    """The notebook's slip: route-br-ex began with a default route whose gateway no route reached yet."""
    files = ifcfg.render(NETWORK_NODE)
    assert lines(files, f"{SCRIPTS}/route-br-ex")[1:] == ["111.0.0.0/29 dev br-ex", "default via 111.0.0.1 dev br-ex"]
    ordered = [ip_route(route, "br-ex") for route in routes("br-ex", NETWORK_NODE)]
    assert ordered == ["111.0.0.0/29 dev br-ex", "default via 111.0.0.1 dev br-ex"]
    text = ifupdown.render(NETWORK_NODE)[ifupdown.PATH].text
    assert text.index("111.0.0.0/29 dev br-ex") < text.index("default via 111.0.0.1")


def test_a_network_script_is_quoted_where_a_shell_would_split_it() -> None:
    """ifcfg files are sourced."""
    files = ifcfg.render(links(links={"bond0": {"kind": "bond", "ports": ["a", "b"]}, "a": {}, "b": {}}))
    assert 'BONDING_OPTS="mode=active-backup miimon=100"' in lines(files, f"{SCRIPTS}/ifcfg-bond0")
