"""Who manages a node's network, and how each is told: the one table of differences. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import command, sh
from nornir_stack.errors import Refused
from nornir_stack.tasks.networking import ifcfg, ifupdown, keyfile, netplan, networkd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nornir_stack.command import Command
    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.order import Files
    from nornir_stack.tasks.networking.resolvers import Resolver
    from nornir_stack.tasks.networking.settings import Links

_RECONFIGURE = 'networkctl reload; for d; do if [ -e "/sys/class/net/$d" ]; then networkctl reconfigure "$d"; fi; done'
# An address that is there already would fail `ifup`; `ifdown` would take a bridge of Open vSwitch away with its ports.
# A client of DHCP that an earlier stanza started would bring its address back when it renews the lease.
_IFUP = r"""
for d; do
    for f in "/run/dhclient.$d.pid" "/run/dhclient6.$d.pid"; do
        if [ -s "$f" ]; then kill "$(cat "$f")" 2>/dev/null; rm -f "$f"; fi
    done
    if [ -e "/sys/class/net/$d" ]; then ip address flush dev "$d" scope global; fi
    ifup --force "$d" || exit
done
"""
# The kernel's state is brought back without it; a device that went, and a client of DHCP, are not.
_IFUP_BACK = r"""
for d; do
    if ! [ -e "/sys/class/net/$d" ] || grep -Eqs "^[[:space:]]*iface[[:space:]]+$d[[:space:]]+inet6?[[:space:]]+dhcp" \
        /etc/network/interfaces /etc/network/interfaces.d/*; then ifup --force "$d"; fi
done
:
"""
# A profile that changed is taken up by a device only when it is told to. `reapply` keeps the link up; what it cannot change
# (the bridge of a port) needs a new activation.
_TAKEN_UP = """
taken_up() {
    if [ "$(nmcli -g GENERAL.CONNECTION device show "${1#nornir-stack-}" 2>/dev/null)" = "$1" ] &&
        nmcli --wait 30 device reapply "${1#nornir-stack-}"; then return; fi
    nmcli --wait 30 connection up "$1"
}
"""
_NMCLI = _TAKEN_UP + 'nmcli connection reload || exit; for c; do taken_up "$c" || exit; done'
_OURS = keyfile.path("nornir-stack-$d")
# Where our profile was the first, its device goes back to the one that it had.
_NMCLI_BACK = f"""{_TAKEN_UP}
nmcli connection reload
for d; do
    if [ -e "{_OURS}" ]; then taken_up "nornir-stack-$d"
    else nmcli --wait 30 connection up ifname "$d"; fi
done
:
"""
_SCRIPTS = 'for d; do ifdown "$d"; done; for d; do ifup "$d" || exit; done'


@dataclass(frozen=True)
class Manager:
    """One of them. `render(links, datapath, resolvers)` gives its files; `apply(names, links)` what is run after them.

    `names` are the links that are not as declared; with none the files alone are read again. `back(names)` are the commands
    after the former files are there again, `names` being links that were there. `link_of(path)` is the link of a file of which
    it takes no notice until it is told to use it; '' of others. `at_once`: a link whose file is gone loses what it had at once,
    not at the next boot only.
    """

    name: str
    program: str
    render: Callable[[Links, str, Mapping[str, Resolver]], Files]
    apply: Callable[[Sequence[str], Links], list[Command]]
    back: Callable[[Sequence[str]], list[Command]] = lambda _: []
    link_of: Callable[[str], str] = lambda _: ""
    at_once: bool = True


def _networkd(names: Sequence[str], _: Links | None = None) -> list[Command]:
    return [sh(_RECONFIGURE, *names, label=" ".join(["networkctl reload, reconfigure", *names]))]


def _ifupdown(names: Sequence[str], _: Links) -> list[Command]:
    return [sh(_IFUP, *names, label=" ".join(["ifup --force", *names]))] if names else []


def _ifupdown_back(names: Sequence[str]) -> list[Command]:
    return [sh(_IFUP_BACK, *names, label=" ".join(["ifup --force, where they are gone,", *names]))] if names else []


def _netplan(_: Sequence[str], __: Links | None) -> list[Command]:
    return [command("netplan", "apply")]


def _networkmanager(names: Sequence[str], links: Links) -> list[Command]:
    mine = [one for one in keyfile.connections(links) if keyfile.link_of(one) in names]
    return [sh(_NMCLI, *mine, label=" ".join(["nmcli connection reload, up", *mine]))]


def _networkmanager_back(names: Sequence[str]) -> list[Command]:
    return [sh(_NMCLI_BACK, *names, label=" ".join(["nmcli connection reload, up", *names]))]


def _ifcfg_back(names: Sequence[str]) -> list[Command]:
    gone = 'for d; do if ! [ -e "/sys/class/net/$d" ]; then ifup "$d"; fi; done; :'
    return [sh(gone, *names, label=" ".join(["ifup, where they are gone,", *names]))] if names else []


def _ifcfg(names: Sequence[str], _: Links) -> list[Command]:
    return [sh(_SCRIPTS, *names, label=" ".join(["ifdown and ifup", *names]))] if names else []


MANAGERS: Mapping[str, Manager] = {
    one.name: one
    for one in (
        Manager("networkd", "systemd-networkd", lambda links, _, names: networkd.render(links, names), _networkd, _networkd),
        Manager("ifupdown", "ifupdown", ifupdown.render, _ifupdown, _ifupdown_back, at_once=False),
        Manager("netplan", "netplan", lambda links, *_: netplan.render(links), _netplan, lambda _: _netplan((), None)),
        Manager(
            "networkmanager",
            "NetworkManager",
            lambda links, _, names: keyfile.render(links, names),
            _networkmanager,
            _networkmanager_back,
            keyfile.link_of_file,
        ),
        Manager("ifcfg", "the network scripts (ifcfg-*)", ifcfg.render, _ifcfg, _ifcfg_back, at_once=False),
    )
}


def at_work(now: NodeNetwork) -> list[str]:
    """The managers that run on a node. Netplan writes for networkd or NetworkManager, so they do not count beside it."""
    if "/usr/sbin/netplan" in now.files and any(path.startswith("/etc/netplan/") for path in now.files):
        return ["netplan"]
    return running(now)


def running(now: NodeNetwork) -> list[str]:
    """The managers whose service runs, whoever writes their files."""
    found = {
        "networkmanager": "NetworkManager" in now.units,
        "ifcfg": "network" in now.units and "/etc/sysconfig/network-scripts" in now.files,
        "networkd": "systemd-networkd" in now.units,
        "ifupdown": "networking" in now.units and any(path.endswith("/ifup") for path in now.files),
    }
    return [name for name, there in found.items() if there]


def manager_of(now: NodeNetwork, wish: str | None, host: str) -> Manager:
    """The node's manager. Raises Refused where none runs, or more than one and the inventory does not say which."""
    found = at_work(now)
    if wish is not None:
        if wish not in found and not (wish == "ifupdown" and any(path.endswith("/ifup") for path in now.files)):
            raise Refused(f"{host}: network.manager is {wish}, which does not run there ({', '.join(found) or 'none does'})")
        return MANAGERS[wish]
    if len(found) == 1:
        return MANAGERS[found[0]]
    programs = " and ".join(MANAGERS[name].program for name in found)
    if found:
        raise Refused(f"{host}: {programs} are at work: say by network.manager which is to have the links, or stop one")
    raise Refused(
        f"{host}: nothing manages its network (looked for netplan, NetworkManager, network scripts, networkd, ifupdown):"
        " install one, or start it"
    )
