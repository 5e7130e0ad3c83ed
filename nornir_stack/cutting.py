"""Which commands can cut the way to a node: a table of programs, looked up in argv and in scripts. Pure.

It is there against slips, not against intent: what a script builds in variables, or starts by eval or xargs, is not seen.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nornir_stack.command import Command

# Program: the words by which it only looks. For those of iproute2 see `_iproute`.
_LOOKS: Mapping[str, frozenset[str]] = {
    program: frozenset(looks.split())
    for program, _, looks in (
        line.strip().partition(" ")
        for line in """
        ip
        bridge
        tc
        ovs-vsctl show list find get list-br br-exists br-to-vlan br-to-parent list-ports list-ifaces port-to-br iface-to-br
        ovs-ctl status version
        ovs-dpctl show dump-dps dump-flows
        ovs-ofctl show dump-flows dump-ports dump-ports-desc snoop
        nft list -c --check monitor
        iptables -S --list-rules -L --list -C --check -V
        ip6tables -S --list-rules -L --list -C --check -V
        iptables-legacy -S --list-rules -L --list -C --check -V
        ip6tables-legacy -S --list-rules -L --list -C --check -V
        iptables-nft -S --list-rules -L --list -C --check -V
        ip6tables-nft -S --list-rules -L --list -C --check -V
        iptables-restore -t --test
        ip6tables-restore -t --test
        iptables-legacy-restore -t --test
        ip6tables-legacy-restore -t --test
        iptables-nft-restore -t --test
        ip6tables-nft-restore -t --test
        iptables-apply
        ip6tables-apply
        netfilter-persistent save
        ebtables -L
        ebtables-restore
        arptables -L
        arptables-restore
        ipset list save test
        firewall-cmd
        ufw status show
        netplan get status info generate
        nmcli show status
        networkctl list status lldp
        ifup -n --no-act
        ifdown -n --no-act
        ifreload -n --no-act
        ifconfig -a -s
        ifenslave
        route -n
        brctl show showmacs showstp
        vconfig
        ethtool -i -k -S
        dhclient
        dhcpcd
        wg show showconf genkey genpsk pubkey
        wg-quick
        wpa_cli status
        rfkill list
        """.strip().splitlines()
    )
}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IPROUTE = _words("ip bridge tc")
_IPROUTE_LOOKS = _words("show list ls lst get monitor save help")
_FIREWALLD_LOOKS = ("--list-", "--get-", "--query-", "--info-", "--state", "--check-config", "--version")
_WRAPPERS = _words("sudo env nohup setsid exec command time nice ionice timeout busybox")
_KEYWORDS = _words("if then else elif do while until ! { time")
_SERVICES = _words("systemctl service invoke-rc.d")
_KILLS = _words("pkill killall")
_STOPS = _words("stop kill isolate --now")  # --now: of disable, mask, enable
_VERBS = _STOPS | _words("start restart try-restart reload reload-or-restart try-reload-or-restart force-reload condrestart")
# What makes the network or filters it: no verb is harmless.
_UNITS = _words(
    "networking network network-manager systemd-networkd NetworkManager wpa_supplicant dhcpcd nftables firewalld iptables"
    " ip6tables netfilter-persistent ufw"
)
# The way in, and what bridges stand on: it may be started anew, and must not be stopped.
_DOORS = _words("ssh sshd openvswitch-switch openvswitch ovs-vswitchd ovsdb-server")
_SHELLS = _words("sh bash dash")
_SCRIPT = _words("-c -ec -euc")
_ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)


def cutting(wanted: Command) -> str:
    """The words of `wanted` that can cut the way to its node; '' where none can."""
    found = next((words for words in _simple(wanted.argv) if cuts(words)), [])
    return " ".join(found[:4])


def _simple(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """A command, or those of the script that it has a shell run: `sh -c SCRIPT`, in a script too."""
    bare = _unwrapped(words)
    if len(bare) > 2 and bare[0].rpartition("/")[2] in _SHELLS and bare[1] in _SCRIPT:  # noqa: PLR2004  sh -c SCRIPT
        for inner in commands(bare[2]):
            yield from _simple(inner)
    else:
        yield words


def cuts(words: Sequence[str]) -> bool:
    """Whether one simple command can: its program is in the table, and it does more than look."""
    words = _unwrapped(words)
    if not words:
        return False
    program, rest = words[0].rpartition("/")[2], words[1:]
    if words[0].startswith("/etc/init.d/"):
        program, rest = "service", [program, *rest]
    if program in _SERVICES:
        units = {word.removesuffix(".service").removesuffix(".socket") for word in rest}
        return bool((_VERBS & set(rest) and _UNITS & units) or (_STOPS & set(rest) and _DOORS & units))
    if program in _KILLS:
        return bool((_UNITS | _DOORS) & set(rest))
    if program in _IPROUTE:
        return _iproute(rest)
    if program == "firewall-cmd":
        return not any(word.startswith(_FIREWALLD_LOOKS) or "-get-" in word or "-query-" in word for word in rest)
    return program in _LOOKS and not any(word in _LOOKS[program] for word in rest)


def _unwrapped(words: Sequence[str]) -> list[str]:
    """Without `sudo`, `env A=b`, `timeout 5` and the like before the program."""
    left = list(words)
    wrapped = False
    while left:
        first = left[0].rpartition("/")[2]
        if left[:2] in (["command", "-v"], ["command", "-V"]):
            return []
        if first in _WRAPPERS:
            wrapped = True
        elif not (_ASSIGNMENT.fullmatch(left[0]) or (wrapped and (left[0].startswith("-") or left[0][:1].isdigit()))):
            break
        left.pop(0)
    return left


def _iproute(words: Sequence[str]) -> bool:
    """`ip [options] object [verb]`: no verb is `show`; another namespace is not the node's own way."""
    left = list(words)
    while left and left[0].startswith("-"):
        option = left.pop(0)
        if option in {"-n", "-netns"}:
            return False
        if option in {"-f", "-family", "-l", "-loops", "-rc", "-rcvbuf"} and left:
            left.pop(0)
        if option in {"-b", "-batch", "-force"}:
            return True
    if not left or left[0] in {"netns", "help"}:
        return False
    verb = left[1] if len(left) > 1 else "show"
    return verb not in _IPROUTE_LOOKS


def commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a shell script as words, those within `$(...)` and backquotes too. Approximate."""
    words: list[str] = []
    for token in _tokens(script):
        if token is None:
            if words:
                yield words
            words = []
        elif words or token not in _KEYWORDS:
            words.append(token)
    if words:
        yield words


_TOKEN = re.compile(
    r"""
    (?P<comment>(?:(?<=\s)|^)\#[^\n]*)
  | (?P<glue>\\\n)
  | (?P<end>\$\(|[;&|\n(){}`])
  | (?P<single>'[^']*')
  | (?P<double>"(?:\\.|[^"\\])*")
  | (?P<plain>(?:\\.|\$\{[^}]*\}|\$(?!\()|[^\s;&|()`'"\\$])+)
  | (?P<space>[^\S\n]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)


def _tokens(script: str) -> Iterator[str | None]:
    """Words, and None where a command ends."""
    word: list[str] = []
    depth = 0
    for found in _TOKEN.finditer(script):
        kind, text = found.lastgroup, found[0]
        if kind == "single":
            word.append(text[1:-1])
        elif kind == "double":
            yield from _inner(text)
            word.append(text[1:-1])
        elif kind == "plain":
            word.append(text)
        elif kind != "glue":
            if word and (text != ")" or depth):  # else it is a pattern of a case
                yield "".join(word)
            word = []
            depth = max(depth + text.count("(") - text.count(")"), 0)
            if kind == "end":
                yield None
    if word:
        yield "".join(word)


def _inner(quoted: str) -> Iterator[str | None]:
    """Command substitutions within double quotes, as commands of their own."""
    for found in re.finditer(r"\$\(([^()]*)\)|`([^`]*)`", quoted):
        yield None
        yield from _tokens(found[1] or found[2])
        yield None
