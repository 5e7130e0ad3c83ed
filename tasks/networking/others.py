"""Files of others about declared links: what of them would be added to ours, or overrule it, leaves them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.tasks.networking import ifupdown, netplan
from nornir_stack.tasks.networking.order import Files, Text

if TYPE_CHECKING:
    from collections.abc import Collection

    from nornir_stack.node import Node
    from nornir_stack.tasks.networking.observe import NodeNetwork
    from nornir_stack.tasks.networking.settings import Links

# Pairs of a keyword and a pattern, which is globbed and nothing else (ifupdown has wordexp(3) for it).
_LISTED = r"""
IFS=
while [ $# -gt 1 ]; do
    case $1 in
        source) for f in $2; do if [ -f "$f" ]; then echo "$f"; fi; done ;;
        *) for f in $2/*; do
            case ${f##*/} in *[!A-Za-z0-9_-]*) ;; *) if [ -f "$f" ]; then echo "$f"; fi ;; esac; done ;;
    esac
    shift 2
done
"""


@dataclass(frozen=True)
class Others:
    """`files` as they are to be, of those that change; `described` are the links that others' files are about."""

    files: Files = field(default_factory=dict)
    described: Collection[str] = ()


def of_nobody(node: Node, wanted: Links, now: NodeNetwork) -> Others:  # noqa: ARG001  one of three
    """Of a manager whose links have a file each, which is ours."""
    return Others()


def of_interfaces(node: Node, wanted: Links, now: NodeNetwork) -> Others:  # noqa: ARG001  one of three
    """Of ifupdown: all files that it reads, whose main one is to read ours."""
    found = _interfaces(node)
    left = {path: ifupdown.without(lines, wanted.links) for path, lines in found.items() if path != ifupdown.PATH}
    if ifupdown.PATH not in found:
        left[ifupdown.MAIN].append(ifupdown.INCLUDE)
    files = {
        path: Text("".join(f"{line}\n" for line in lines), _mode(node, path))
        for path, lines in left.items()
        if lines != found[path]
    }
    return Others(files, [name for path in left for name in ifupdown.names(found[path])])


def of_netplan(node: Node, wanted: Links, now: NodeNetwork) -> Others:
    """Of netplan. Raises Refused for a link that another file knows by another id."""
    files: Files = {}
    for path in sorted(now.files):
        seen = node.stat(path) if path.startswith(netplan.FOLDER) and path != netplan.PATH else None
        if seen is None:
            continue
        text = node.read_file(path) or ""
        for name, other in netplan.renamed(text, wanted.links).items():
            raise Refused(f"{node.name}: {path} has {name} as {other}, and both would hold: call it {name} there too")
        less = netplan.without(text, wanted.links, later=path > netplan.PATH)
        if less != text:
            files[path] = Text(less, seen.mode)
    return Others(files)


def _interfaces(node: Node) -> dict[str, list[str]]:
    """The lines of the files that ifupdown reads, by path, the main one first; ours without lines, if it is one of them."""
    found: dict[str, list[str]] = {}
    todo = [ifupdown.MAIN]
    while todo:
        found |= {path: [] if path == ifupdown.PATH else (node.read_file(path) or "").splitlines() for path in todo}
        patterns = [pattern for path in todo for pattern in ifupdown.sources(found[path], path)]
        words = [word for pattern in patterns for word in (pattern.kind, pattern.path)]
        listed = node.read(sh(_LISTED, *words, label="list the files that interfaces(5) names")).lines if words else ()
        ours = [ifupdown.PATH] if any(pattern.names(ifupdown.PATH) for pattern in patterns) else []
        todo = [path for path in dict.fromkeys([*listed, *ours]) if path not in found]
    return found


def _mode(node: Node, path: str) -> str:
    seen = node.stat(path)
    return seen.mode if seen is not None else "0644"
