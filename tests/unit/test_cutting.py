"""Which commands can cut the way to a node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_stack.command import command, sh
from nornir_stack.cutting import commands, cuts, cutting

CUT = [
    "ip address add 10.0.0.1/24 dev eth0",
    "ip -4 route replace default via 10.0.0.1",
    "/usr/sbin/ip link set eth0 down",
    "ip -batch -",
    "sudo -n ip link set eth0 up",
    "timeout 5 nft -f -",
    "env LC_ALL=C ovs-vsctl add-port br-ex eth1",
    "iptables -A INPUT -j DROP",
    "ip6tables-restore",
    "nmcli connection up eth0",
    "netplan apply",
    "ifdown eth0",
    "firewall-cmd --reload",
    "networkctl reload",
    "systemctl restart systemd-networkd.service",
    "service network restart",
    "nft flush ruleset",
    "systemctl disable --now NetworkManager",
    "systemctl enable --now firewalld.service",
    "systemctl mask --now systemd-networkd.socket",
    "systemctl stop ssh",
    "systemctl stop -- sshd.service",
    "systemctl stop ssh.socket",
    "systemctl kill sshd",
    "systemctl stop systemd-networkd",
    "systemctl stop networking",
    "systemctl disable --now openvswitch-switch",
    "service ssh stop",
    "invoke-rc.d networking restart",
    "/etc/init.d/networking stop",
    "pkill -x sshd",
    "ip link set eth0 down",
    "nmcli con down eth0",
    "ufw --force enable",
    "iptables -P INPUT DROP",
    "iptables-legacy -P INPUT DROP",
    "iptables-nft-restore",
    "netfilter-persistent reload",
    "netplan try",
]
FREE = [
    "ip address show dev eth0",
    "ip -o -4 addr",
    "ip route get 10.0.0.1",
    "ip netns exec qrouter ip link set up",
    "ip -n blue link set lo up",
    "ovs-vsctl list-ports br-ex",
    "nft -j list ruleset",
    "nft -c -f -",
    "iptables -S INPUT",
    "iptables -V",
    "firewall-cmd --permanent --direct --get-all-rules",
    "firewall-cmd --policy=x --list-rich-rules",
    "nmcli device show",
    "networkctl status",
    "systemctl restart mariadb",
    "systemctl status networking",
    "systemctl restart ssh",
    "systemctl reload sshd",
    "systemctl enable nftables",
    "systemctl start openvswitch-switch",
    "systemctl disable --now keepalived",
    "systemctl is-active ssh sshd",
    "pkill -x mariadbd",
    "iptables-legacy -S",
    "echo ip link set eth0 down",
    "",
    "LC_ALL=C",
]
SCRIPTS = [
    ("if true; then ip link set eth0 down; fi", True),
    ("for d; do ip link set dev $d up || exit; done", True),
    ("x=$(ip link set eth0 down)", True),
    ('echo "seen: $(ip link set eth0 down)"', True),
    ("a && \\\n  nft -f -", True),
    ("printf x | nft -f -", True),
    ("f() { ovs-vsctl del-br br-ex; }\nf", True),
    ("! nft flush ruleset", True),
    ("timeout 9 sh -c 'ip link set eth0 down'", True),
    ("sh -c 'echo ip link set eth0 down'", False),
    ("# ip link set eth0 down\ntrue", False),
    ("echo 'ip link set eth0 down'", False),
    ('echo "now: ip link set eth0 down"', False),
    ("case $1 in ip) echo;; nft) true;; esac", False),
    ("ip=1 nft=2", False),
    ("command -v nft; ip -o link show | wc -l", False),
]


@pytest.mark.parametrize("line", CUT)
def test_these_can_cut(line: str) -> None:
    """Addresses, links, routes, bridges, filters, and the services that make them, however they are called."""
    assert cuts(line.split())
    assert cutting(command(*line.split()))
    assert cutting(sh(line))


@pytest.mark.parametrize("line", FREE)
def test_these_cannot(line: str) -> None:
    """Looking, other namespaces, other programs, and words that are only spoken of."""
    assert not cuts(line.split())
    assert not cutting(sh(line or ":"))


@pytest.mark.parametrize(("script", "can"), SCRIPTS)
def test_in_scripts_the_place_of_a_command_counts(script: str, can: bool) -> None:
    """A program counts where a command begins, also within substitutions; not in comments, quotes, patterns, names."""
    assert bool(cutting(sh(script))) is can


@given(st.text(alphabet="ip nft$(){}'\"`\\;&|#\n=addlink", max_size=60))
def test_any_text_is_read(text: str) -> None:
    """No script, however broken, ends the reading or is taken for ever."""
    assert all(words for words in commands(text))


@given(st.lists(st.sampled_from(FREE), max_size=4), st.sampled_from(CUT), st.sampled_from([";", "\n", " && ", " | ", " || "]))
def test_one_that_cuts_is_found_among_others(before: list[str], one: str, glue: str) -> None:
    """Wherever it stands in a list of commands."""
    assert cutting(sh(glue.join([*filter(None, before), one])))
