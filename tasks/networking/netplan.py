"""netplan, Ubuntu's (its YAML reference, netplan.readthedocs.io). Pure.

It knows no tags of ports, no patch port without its other end and no datapath of Open vSwitch; those stand in Open vSwitch's
own database, which a boot keeps. Of two files about one link the later one's scalars count, and lists are added up
(netplan-generate(8), HANDLING MULTIPLE FILES).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from nornir_stack.tasks.networking.order import Files, Text, devices, on_link, routes, rules

if TYPE_CHECKING:
    from collections.abc import Collection

    from nornir_stack.tasks.networking.settings import Link, Links

FOLDER = "/etc/netplan/"
PATH = f"{FOLDER}90-nornir-stack.yaml"  # read after the installer's
_ADDED_UP = ("addresses", "interfaces", "routes", "routing-policy", "gateway4", "gateway6")
_SCALARS = ("dhcp4", "macaddress", "mtu")
_KINDS = {
    "card": "ethernets",
    "bridge": "bridges",
    "bond": "bonds",
    "vlan": "vlans",
    "ovs-bridge": "bridges",
    "ovs-bond": "bonds",
}


def render(links: Links) -> Files:
    """The one file; netplan warns of one that others than root may read."""
    network: dict[str, Any] = {"version": 2}
    known = {**devices(links), **{name: link for name, link in links.links.items() if link.kind == "ovs-bond"}}
    for name, link in known.items():
        network.setdefault(_KINDS[link.kind], {})[name] = _device(name, link, links)
    if patches := _patches(links):
        network["openvswitch"] = {"ports": patches}
    yaml = YAML()
    yaml.default_flow_style = False
    stream = io.StringIO()
    yaml.dump({"network": network}, stream)
    return {PATH: Text("# written by nornir_stack from the inventory's `network`\n" + stream.getvalue(), "0600")}


def without(text: str, names: Collection[str], *, later: bool = False) -> str:
    """Another file without what of these links would be added to ours; names, DNS and what else it says of them stay.

    `later`: it is read after ours, so its scalars would count.
    """
    keys = (*_ADDED_UP, *_SCALARS) if later else _ADDED_UP
    yaml = YAML()
    yaml.preserve_quotes = True
    document = yaml.load(text) or {}
    network = document.get("network") or {}
    definitions = [one for part in network.values() if isinstance(part, dict) for name, one in part.items() if name in names]
    found = [(one, key) for one in definitions if isinstance(one, dict) for key in keys if key in one]
    for one, key in found:
        del one[key]
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue() if found else text


def renamed(text: str, names: Collection[str]) -> dict[str, str]:
    """Links that another file knows by an id that is not their name (`match: {name: ...}`, `set-name`), with the id."""
    network = (YAML(typ="safe").load(text) or {}).get("network") or {}
    found: dict[str, str] = {}
    for part in network.values():
        for id_, one in part.items() if isinstance(part, dict) else ():
            match = one.get("match") if isinstance(one, dict) else None
            called = {one.get("set-name"), (match or {}).get("name")} if isinstance(one, dict) else set()
            found |= {name: id_ for name in names if id_ != name and name in called}
    return found


def _patches(links: Links) -> list[list[str]]:
    pairs = {tuple(sorted((name, link.peer or ""))) for name, link in links.links.items() if link.kind == "ovs-patch"}
    return [list(pair) for pair in sorted(pairs)]


def _device(name: str, link: Link, links: Links) -> dict[str, Any]:
    found = _made(link)
    if link.kind == "ovs-bond":
        return found
    found["dhcp4"] = link.dhcp
    if link.addresses:
        found["addresses"] = [str(address) for address in link.addresses]
    if link.mac is not None:
        found["macaddress"] = link.mac
    if link.mtu is not None:
        found["mtu"] = link.mtu
    if mine := routes(name, links):
        found["routes"] = [
            _some(
                to=str(route.target),
                via=str(route.via) if route.via is not None else None,
                **{"on-link": True if on_link(route, name, links) else None},
                scope="link" if route.via is None else None,
                metric=route.metric,
                table=route.table,
            )
            for route in mine
        ]
    if ours := rules(name, links):
        found["routing-policy"] = [
            _some(
                **{"from": str(rule.source) if rule.source is not None else None},
                to=str(rule.target) if rule.target is not None else None,
                table=rule.table,
                priority=rule.priority,
            )
            for rule in ours
        ]
    return found


def _made(link: Link) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if link.ports:
        found["interfaces"] = list(link.ports)
    if link.kind.startswith("ovs-"):
        found["openvswitch"] = {}
    if link.kind == "bridge":
        found["parameters"] = {"stp": False}
    elif link.kind == "bond":
        found["parameters"] = {"mode": link.mode or "active-backup", "mii-monitor-interval": 100}
    elif link.kind == "ovs-bond":
        found["parameters"] = {"mode": link.mode or "active-backup"}
    elif link.kind == "vlan":
        found |= {"id": link.vlan, "link": link.over}
    return found


def _some(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
