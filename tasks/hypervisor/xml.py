"""What XML of libvirt means: flat facts that can be compared, whatever order, units and defaults they are written in. Pure."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# By what one of several elements is told from the others: an attribute, or an attribute of a child.
_IDENTITY: Mapping[str, tuple[str, ...]] = {
    "disk": ("target@dev",),
    "filesystem": ("target@dir",),
    "graphics": ("@type",),
    "host": ("@mac", "@ip", "@name"),
    "hostname": (".",),
    "interface": ("mac@address", "@dev"),
    "ip": ("@address",),
    "portgroup": ("@name",),
    "range": ("@start",),
    "route": ("@address",),
    "serial": ("target@port",),
}
_UNITS = {"": 1024, "b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "MB": 10**6, "M": 1 << 20, "MiB": 1 << 20}
_UNITS |= {"GB": 10**9, "G": 1 << 30, "GiB": 1 << 30, "TB": 10**12, "T": 1 << 40, "TiB": 1 << 40}
_SIZES = frozenset({"memory", "currentMemory", "capacity", "allocation"})

# What libvirt adds by itself where a description is silent (formatnetwork.html, formatdomain.html, formatstorage.html).
NETWORK_ADDED = (
    "network@connections",
    "network/uuid",
    "network/mac*",
    "network/bridge@stp",
    "network/bridge@delay",
    "network/bridge@name",
    "network/forward/nat*",
    "network/forward@dev",
    "network/forward/interface*",
    "network/ip[[]*[]]@family",
    "network",
)
POOL_ADDED = (
    "pool",
    "pool/uuid",
    "pool/capacity",
    "pool/allocation",
    "pool/available*",
    "pool/source",
    "pool/source/format*",
    "pool/target/permissions*",
)


def parsed(text: str) -> ET.Element:
    """The tree of a document. Raises ParseError."""
    return ET.fromstring(text)  # noqa: S314  libvirt wrote it, or we did


def flat(xml: str) -> dict[str, str]:
    """Path to value: `network/ip[10.0.0.1]@prefix` to `24`. An element that is there and says nothing more has the value ''."""
    root = parsed(xml)
    found: dict[str, str] = {}
    _walk(root, root.tag, found)
    return found


def differences(now: str, wanted: str, added: Sequence[str] = ()) -> list[str]:
    """How `now` differs from what is `wanted`, as lines of a diff; none if both mean the same.

    `added` are patterns of paths that libvirt fills in: they count only where `wanted` says something there.
    """
    old, new = flat(now), flat(wanted)
    lines = []
    for path in sorted({*old, *new}):
        if old.get(path) == new.get(path) or (path not in new and any(fnmatchcase(path, each) for each in added)):
            continue
        lines += [f"-{path}{_shown(old[path])}"] if path in old else []
        lines += [f"+{path}{_shown(new[path])}"] if path in new else []
    return lines


def _shown(value: str) -> str:
    return f" = {value}" if value else ""


def _walk(element: ET.Element, path: str, found: dict[str, str]) -> None:
    text = (element.text or "").strip()
    attributes = _attributes(element)
    if element.tag in _SIZES:
        text = _kib(text, attributes.pop("unit", ""))
    if text or not (attributes or len(element)):
        found[path] = _plain("", text)
    for key, value in attributes.items():
        found[f"{path}@{key}"] = _plain(key, value)
    used: Counter[str] = Counter()
    for child in element:
        name = _named(child)
        used[name] += 1
        _walk(child, f"{path}/{name}" + (f"#{used[name]}" if used[name] > 1 else ""), found)


def _named(element: ET.Element) -> str:
    for way in _IDENTITY.get(element.tag, ()):
        inner, at, attribute = way.partition("@")
        owner = element.find(inner) if inner not in {"", "."} else element
        value = None if owner is None else owner.get(attribute) if at else owner.text
        if value:
            return f"{element.tag}[{_plain(attribute, value)}]"
    return element.tag


def _attributes(element: ET.Element) -> dict[str, str]:
    attributes = dict(element.attrib)
    if "netmask" in attributes:  # the same in other words
        attributes["prefix"] = str(ip_network(f"0.0.0.0/{attributes.pop('netmask')}").prefixlen)
    return attributes


def _plain(key: str, value: str) -> str:
    """One way to write a value."""
    value = value.strip()
    if key in {"mac", "address"} and value.count(":") == 5:  # noqa: PLR2004  a hardware address
        return value.lower()
    if ":" in value or key in {"address", "ip", "start", "end", "gateway"}:
        try:
            return str(ip_address(value))
        except ValueError:
            return value
    return value


def _kib(number: str, unit: str) -> str:
    return str(int(number) * _UNITS[unit] // 1024) if number.isdigit() and unit in _UNITS else f"{number} {unit}".strip()
