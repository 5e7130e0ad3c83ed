"""Where packages come from: repositories with their keys, preferences, a mirror, a proxy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.tasks.system import dnf
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import LOCK_SECONDS
from nornir_stack.tasks.system.transaction import diff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result

HEAD = "# written by nornir-stack\n"
PROXY = "/etc/apt/apt.conf.d/80nornir-stack-proxy"
PREFER_APT, PREFER_DNF = 700, 10
_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*$")
_URI = re.compile(r"^(https?|file|ftp)://\S+$")
_SOURCES = """
for path in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources /etc/yum.repos.d/*.repo; do
    if [ -f "$path" ]; then echo "$path"; fi
done
"""


def repository(
    task: Task,
    *,
    label: str,
    uri: str,
    key: str,
    suite: str = "",
    components: Sequence[str] = ("main",),
    preferred: bool = False,
) -> Result[str]:
    """A repository whose packages are trusted by its own key only; the value is the file that names it.

    On Red Hat that is its own key, or one that rpm took with another repository before: rpm has one set of keys for all.

    `key` is the armoured public key itself, or the absolute path of a keyring on the node. `suite` and `components` are
    apt's (a suite that ends with `/` has no components); on Red Hat `uri` is the baseurl. `preferred`: its packages win
    over those of other repositories, whatever their versions (apt only downgrades nothing for it).
    """
    _check(label, uri, key)
    node = Node(task)
    kind = family(node)
    armoured = key.lstrip().startswith("-----BEGIN PGP")
    keyring = f"{kind.path('keyrings')}/{label}.asc" if armoured else key
    if armoured:
        node.make_folder(kind.path("keyrings"))
        node.write_file(keyring, key.strip() + "\n")
    elif node.stat(keyring) is None:
        raise Refused(f"{node.name}: there is no keyring {keyring}: install what brings it, or give the key itself")
    folder = kind.path("repositories")
    if kind.manager == "dnf":
        path, text = f"{folder}/{label}.repo", yum(label, uri, keyring, preferred=preferred)
    else:
        if not suite:
            raise UsageError(f"repository {label}: apt needs a suite, such as bookworm")
        path, text = f"{folder}/{label}.sources", deb822(uri, suite, components, keyring)
        pin = f'{HEAD}Package: *\nPin: origin "{urlsplit(uri).hostname or ""}"\nPin-Priority: {PREFER_APT}\n'
        _present_or_not(node, f"/etc/apt/preferences.d/{label}.pref", pin if preferred else "")
    node.write_file(path, text)
    return node.done(path)


def no_repository(task: Task, *, names: Sequence[str]) -> Result[None]:
    """Take repositories out, with their keys and preferences: ours, or any file of that name. rpm forgets the key too.

    Those that a package brought (epel-release) are taken out with it: `packages(absent=["epel-release"])`.
    """
    for name in names:
        _check(name)
    node = Node(task)
    kind = family(node)
    endings = (".sources", ".list") if kind.manager == "apt" else (".repo",)
    for name in names:
        keyring = f"{kind.path('keyrings')}/{name}.asc"
        known = node.read(dnf.keys(keyring), independent=True).lines if kind.manager == "dnf" else ()
        if known:
            lines = diff([f"-{key}" for key in known])
            node.change(dnf.forget(known, LOCK_SECONDS), what=f"forget the key of {name}", diff=lines, repeatable=True)
        for path in (
            *(f"{kind.path('repositories')}/{name}{ending}" for ending in endings),
            keyring,
        ):
            node.remove_file(path)
        if kind.manager == "apt":
            node.remove_file(f"/etc/apt/preferences.d/{name}.pref")
    return node.done()


def pin(task: Task, *, label: str, packages: Sequence[str], to: str, priority: int = 1001) -> Result[str] | Result[None]:
    """Pin packages (names or globs), apt_preferences(5): `to` is `version 1:10.11*`, `release n=bookworm` or `origin "HOST"`.

    A priority above 1000 also downgrades. Skipped on Red Hat, where `packages(held=...)` and `preferred` do it.
    """
    _check(label)
    if not re.match(r"^(version|release|origin) \S[^\n]*$", to):
        raise UsageError(f"pin {label}: {to!r} is none of `version ...`, `release ...`, `origin ...`")
    node = Node(task)
    if family(node).manager != "apt":
        return node.skipped("pins are apt's: use packages(held=...) or repository(preferred=yes)")
    path = f"/etc/apt/preferences.d/{label}.pref"
    node.write_file(path, f"{HEAD}Package: {' '.join(packages)}\nPin: {to}\nPin-Priority: {priority}\n")
    return node.done(path)


def mirror(task: Task, *, replace: Mapping[str, str]) -> Result[tuple[str, ...]]:
    """Take packages from a mirror: in every source the address that begins with a key of `replace` gets its value instead.

    The value is the files that name sources. Red Hat's mirror lists are commented out where the baseurl is replaced.
    """
    for uri in replace.values():
        _check("mirror", uri)
    node = Node(task)
    paths = node.read(sh(_SOURCES)).lines
    for path in paths:
        if path.endswith(".repo"):
            node.edit_lines(path, lambda lines: mirrored_yum(lines, replace))
        else:
            node.edit_lines(path, lambda lines: [mirrored(line, replace) for line in lines])
    return node.done(tuple(paths))


def proxy(task: Task, *, uri: str = "") -> Result[None]:
    """Let the package manager fetch through a proxy; an empty `uri` takes that back."""
    if uri:
        _check("proxy", uri)
    node = Node(task)
    if family(node).manager == "apt":
        lines = "".join(f'Acquire::{kind}::Proxy "{uri}";\n' for kind in ("http", "https"))
        _present_or_not(node, PROXY, f"// written by nornir-stack\n{lines}" if uri else "")
    else:
        node.edit_ini("/etc/dnf/dnf.conf", "main", {"proxy": uri or None})
    return node.done()


def deb822(uri: str, suite: str, components: Sequence[str], keyring: str) -> str:
    """apt's form, sources.list(5)."""
    rest = "" if suite.endswith("/") else f"Components: {' '.join(components)}\n"
    return f"{HEAD}Types: deb\nURIs: {uri}\nSuites: {suite}\n{rest}Signed-By: {keyring}\n"


def yum(name: str, uri: str, keyring: str, *, preferred: bool) -> str:
    """dnf's form, dnf.conf(5); the lowest priority number wins, 99 is the default."""
    first = f"priority={PREFER_DNF}\n" if preferred else ""
    return f"{HEAD}[{name}]\nname={name}\nbaseurl={uri}\nenabled=1\ngpgcheck=1\ngpgkey=file://{keyring}\n{first}"


def mirrored(line: str, replace: Mapping[str, str]) -> str:
    """A line of apt's sources with its address replaced; comments stay."""
    if line.lstrip().startswith("#"):
        return line
    for old, new in replace.items():
        found = re.search(rf"(?<=\s){re.escape(old.rstrip('/'))}(?=[/\s]|$)", line)
        if found:
            return line[: found.start()] + new.rstrip("/") + line[found.end() :]
    return line


def mirrored_yum(lines: Sequence[str], replace: Mapping[str, str]) -> list[str]:
    """A .repo file with its baseurls, commented ones too, replaced, and the mirror lists of those sections commented out."""
    result: list[str] = []
    section: list[str] = []
    for line in [*lines, "["]:
        if line.startswith("["):
            result += _section(section, replace)
            section = []
        section.append(line)
    return result


def _section(lines: list[str], replace: Mapping[str, str]) -> list[str]:
    def new(line: str) -> str:
        found = re.match(r"^#?\s*baseurl\s*=\s*(\S+)", line)
        for old, to in replace.items():
            if found and (found[1] + "/").startswith(old.rstrip("/") + "/"):
                return f"baseurl={to.rstrip('/')}{found[1][len(old.rstrip('/')) :]}"
        return line

    changed = [new(line) for line in lines]
    if changed == lines:
        return lines
    return [re.sub(r"^(mirrorlist|metalink)\s*=", r"#\g<0>", line) for line in changed]


def _check(name: str, uri: str = "", key: str = "") -> None:
    if not _NAME.match(name):
        raise UsageError(f"{name!r} is no name for a repository: lower case letters, digits, - and _")
    if uri and not _URI.match(uri):
        raise UsageError(f"{name}: {uri!r} is no address of a server, such as http://mirror.example/debian")
    if key and not (key.lstrip().startswith("-----BEGIN PGP") or key.startswith("/")):
        raise UsageError(f"repository {name}: key is neither an armoured public key nor an absolute path on the node")


def _present_or_not(node: Node, path: str, text: str) -> None:
    if text:
        node.write_file(path, text)
    else:
        node.remove_file(path)
