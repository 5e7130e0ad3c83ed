"""ifupdown, Debian's /etc/network/interfaces (interfaces(5), and Open vSwitch's README.Debian for its options). Pure.

Bridges, bonds and VLANs are made by iproute2 in `pre-up`: bridge-utils and ifenslave need not be there.
"""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from nornir_stack.tasks.networking.order import Files, Text, above, bridge_of, devices, family, ip_route, ip_rule, routes, rules
from nornir_stack.tasks.networking.resolvers import NONE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from nornir_stack.tasks.networking.resolvers import Resolver
    from nornir_stack.tasks.networking.settings import Link, Links

MAIN = "/etc/network/interfaces"
PATH = "/etc/network/interfaces.d/nornir-stack"
INCLUDE = f"source {PATH}"  # no more than ours: what else lies there may have been left out on purpose
_SOURCES = {"source", "source-directory", "source-dir"}
_STANZAS = {"iface", "auto", "mapping", "rename", "no-auto-down", "no-scripts", *_SOURCES}
_ABOUT = {"auto", "no-auto-down", "no-scripts"}


def render(links: Links, datapath: str = "system", names: Mapping[str, Resolver] = MappingProxyType({})) -> Files:
    """The one file. `links` is complete; `datapath` is what a bridge of Open vSwitch is made with.

    `names` are name servers by link, which resolvconf(8) takes up.
    """
    stanzas = ["\n".join(_stanza(name, link, links, datapath, names.get(name, NONE))) for name, link in devices(links).items()]
    stanzas += ["\n".join(_ovs_only(name, link, links)) for name, link in links.links.items() if name not in devices(links)]
    return {PATH: Text("# written by nornir_stack from the inventory's `network`\n\n" + "\n\n".join(stanzas) + "\n")}


def _stanza(name: str, link: Link, links: Links, datapath: str, resolver: Resolver) -> Iterator[str]:
    """The device is made by the first of its stanzas; routes are put in by the last, when all addresses are there."""
    over = above(name, links)
    # what a bridge of Open vSwitch has as its port is brought up by it (README.Debian)
    yield f"allow-{over} {name}" if over is not None and links.links[over].kind == "ovs-bridge" else f"auto {name}"
    heads = [f"iface {name} inet dhcp"] if link.dhcp else []
    heads += [f"iface {name} {'inet6' if a.version == 6 else 'inet'} static\n    address {a}" for a in link.addresses]  # noqa: PLR2004
    heads = heads or [f"iface {name} inet manual"]
    for number, head in enumerate(heads, 1):
        if number > 1:
            yield ""
        yield head
        if number == 1:
            yield from (f"    {option}" for option in _made(name, link, links, datapath))
            yield from ([f"    dns-nameservers {' '.join(resolver.servers)}"] if resolver.servers else [])
            yield from ([f"    dns-search {' '.join(resolver.search)}"] if resolver.search else [])
        if number == len(heads):
            yield from (f"    {option}" for option in _ways(name, links))


def _made(name: str, link: Link, links: Links, datapath: str) -> Iterator[str]:
    """How the device comes to be."""
    make = f"pre-up ip link show dev {name} >/dev/null 2>&1 || ip link add name {name}"
    if link.kind == "bridge":
        yield f"{make} type bridge"
    elif link.kind == "bond":
        yield f"{make} type bond mode {link.mode or 'active-backup'} miimon 100"
    elif link.kind == "vlan":
        yield f"pre-up ip link set dev {link.over} up"
        yield f"{make} link {link.over} type vlan id {link.vlan}"
    elif link.kind == "ovs-bridge":
        yield "ovs_type OVSBridge"
        yield from ([f"ovs_ports {' '.join(link.ports)}"] if link.ports else [])
        yield from ([f"ovs_extra set bridge {name} datapath_type={datapath}"] if datapath != "system" else [])
    over = above(name, links)
    if over is not None and links.links[over].kind == "ovs-bridge" and link.kind == "card":
        yield from _ovs_port(link, over, "OVSPort")
    if link.kind in {"bridge", "bond"}:
        for port in link.ports:
            if link.kind == "bond":  # it takes no card that is up
                yield f"pre-up ip link set dev {port} down"
            yield f"pre-up ip link set dev {port} master {name}"
            yield f"up ip link set dev {port} up"
    yield from _device(name, link)


def _device(name: str, link: Link) -> Iterator[str]:
    if link.mac is not None:
        yield f"up ip link set dev {name} address {link.mac}"
    if link.mtu is not None:
        yield f"up ip link set dev {name} mtu {link.mtu}"
    yield f"up ip link set dev {name} up"


def _ovs_port(link: Link, bridge: str, kind: str) -> Iterator[str]:
    yield f"ovs_type {kind}"
    yield f"ovs_bridge {bridge}"
    options = [f"tag={link.vlan}"] if link.vlan is not None else []
    options += [f"trunks={','.join(map(str, link.trunks))}"] if link.trunks else []
    options += [f"bond_mode={link.mode or 'active-backup'}"] if kind == "OVSBond" else []
    if options:
        yield f"ovs_options {' '.join(options)}"
    if kind == "OVSBond":
        yield f"ovs_bonds {' '.join(link.ports)}"
    elif kind == "OVSPatchPort":
        yield f"ovs_patch_peer {link.peer}"


def _ways(name: str, links: Links) -> Iterator[str]:
    for route in routes(name, links):
        version = "-6 " if family(route) == 6 else ""  # noqa: PLR2004
        yield f"up ip {version}route replace {ip_route(route, name)}"
    for rule in rules(name, links):
        version = "-6 " if family(rule) == 6 else ""  # noqa: PLR2004
        yield f"up ip {version}rule delete {ip_rule(rule)} 2>/dev/null; ip {version}rule add {ip_rule(rule)}"


def _ovs_only(name: str, link: Link, links: Links) -> Iterator[str]:
    """A bond or a patch port of Open vSwitch: no device of the kernel, but a stanza; its bridge brings it up."""
    bridge = bridge_of(name, links) or ""
    yield f"allow-{bridge} {name}"
    yield f"iface {name} inet manual"
    kind = "OVSBond" if link.kind == "ovs-bond" else "OVSPatchPort"
    yield from (f"    {option}" for option in _ovs_port(link, bridge, kind))


class Pattern(NamedTuple):
    """What a `source` or `source-directory` line names: `path` may have wildcards."""

    kind: str
    path: str

    def names(self, path: str) -> bool:
        """Whether it takes a file in: of a folder those whose names have letters, digits, _ and - only."""
        folder, _, name = path.rpartition("/")
        if self.kind == "source":
            return path.count("/") == self.path.count("/") and fnmatchcase(path, self.path)
        return fnmatchcase(folder, self.path.rstrip("/")) and re.fullmatch(r"[A-Za-z0-9_-]+", name) is not None


def without(lines: Sequence[str], names: Collection[str]) -> list[str]:
    """An interfaces file without the stanzas of these links, whose lines would be added to ours. Comments above them stay.

    Aliases (`eth0:1`) are the link's too; of a line about several links (`auto a b`) the others stay.
    """
    kept: list[str] = []
    ours = False
    for physical, words in _logical(lines):
        first = words[0] if words else ""
        if _begins(first):
            ours = first == "iface" and _link(words[1:2]) in names
            if first in _ABOUT or first.startswith("allow-"):
                left = [word for word in words[1:] if _link([word]) not in names]
                if len(left) != len(words) - 1:
                    kept += [" ".join([first, *left])] if left else []
                    continue
        if not ours or re.match(r"\s*#", physical[0]):
            kept += physical
    return kept


def names(lines: Sequence[str]) -> list[str]:
    """The links that have a stanza in an interfaces file."""
    return [_link(words[1:2]) for _, words in _logical(lines) if words[:1] == ["iface"]]


def sources(lines: Sequence[str], path: str) -> list[Pattern]:
    """What an interfaces file, which stands at `path`, reads besides; a path without a slash in front is beside it."""
    return [
        Pattern("source" if words[0] == "source" else "source-directory", posixpath.join(posixpath.dirname(path), word))
        for _, words in _logical(lines)
        if words and words[0] in _SOURCES
        for word in words[1:]
    ]


def _logical(lines: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Lines that belong together by a backslash at the end, and their words: none of a comment, which is one line always."""
    rest = list(lines)
    while rest:
        physical = [rest.pop(0)]
        comment = re.match(r"\s*#", physical[0]) is not None
        while not comment and physical[-1].endswith("\\") and rest:
            physical.append(rest.pop(0))
        yield physical, [] if comment else " ".join(line.removesuffix("\\") for line in physical).split()


def _begins(word: str) -> bool:
    return word in _STANZAS or word.startswith("allow-")


def _link(words: Sequence[str]) -> str:
    """The device of `eth0`, `eth0:1` (an alias) and `eth0=home` (what it is brought up as)."""
    return re.split("[:=]", words[0])[0] if words else ""
