"""Kernel settings: now, and after a boot."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result

_KEY = re.compile(r"^[A-Za-z0-9_-]+([./][A-Za-z0-9_.@:-]+)+$")

# The values, then every line of the files that a boot reads (sysctl.d(5)) which may set one of them.
_LOOK = r"""
for path; do
    if [ -e "/proc/sys/$path" ]; then printf 'value %s %s\n' "$path" "$(cat "/proc/sys/$path" | tr '\t\n' '  ')"; fi
done
grep -sH '^[^#;]*=' /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf \
    /lib/sysctl.d/*.conf /etc/sysctl.conf | sed 's/^/file /'
:
"""
_APPLY = """
while [ $# -gt 0 ]; do printf '%s\\n' "$2" >"/proc/sys/$1" || exit 1; shift 2; done
"""


def sysctl(task: Task, *, values: Mapping[str, str | int], label: str = "settings") -> Result[Mapping[str, str]]:
    """Set kernel settings, `net.ipv4.ip_forward` to 1, now and by `/etc/sysctl.d/90-nornir-stack-LABEL.conf`.

    The file holds exactly `values`; one `label` for each set of them. The value is what was read back. Raises Refused for
    a key that this kernel does not have, and where another file that is read later sets it to something else.
    """
    wanted = {path_of(key): " ".join(str(value).split()) for key, value in values.items()}
    if not wanted:
        raise UsageError("sysctl: no values")
    node = Node(task)
    own = f"/etc/sysctl.d/90-nornir-stack-{label}.conf"
    now, later = parse(node.read(sh(_LOOK, *wanted)).stdout, own)
    refuse(wanted, now, later, node.name)
    node.write_file(own, "".join(f"{key} = {value}\n" for key, value in sorted(wanted.items())))
    differ = {path: value for path, value in wanted.items() if now[path] != value}
    if differ:
        lines = [line for path, value in differ.items() for line in (f"-{path} = {now[path]}", f"+{path} = {value}")]
        words = [word for item in differ.items() for word in item]
        what = f"set {', '.join(f'{path} = {value}' for path, value in differ.items())}"
        diff = "\n".join(["--- /proc/sys", "+++ /proc/sys", *lines, ""])
        node.change(sh(_APPLY, *words), what=what, diff=diff, repeatable=True)
    return node.done(lambda: _read_back(node, wanted, now) if differ else now)


def path_of(key: str) -> str:
    """The path below /proc/sys; of a key that has slashes these are the separators (`net/ipv4/conf/eth0.1/forwarding`)."""
    if not _KEY.match(key) or ".." in key:
        raise UsageError(f"{key!r} is no kernel setting, such as net.ipv4.ip_forward")
    first = re.search(r"[./]", key)
    return key if first and first[0] == "/" else key.translate(str.maketrans("./", "/."))


def parse(text: str, own: str) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """The values by path, and by path the file and value that win over `own` at a boot.

    Files are read in the order of their names whatever their folder; /etc/sysctl.conf is read last, as 99-sysctl.conf.
    """
    now: dict[str, str] = {}
    lines: list[tuple[str, str, str, str]] = []
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "value":
            path, _, value = rest.partition(" ")
            now[path] = " ".join(value.split())
        else:
            file, _, setting = rest.partition(":")
            key, _, value = setting.partition("=")
            order = "99-sysctl.conf" if file == "/etc/sysctl.conf" else file.rpartition("/")[2]
            key = key.strip().removeprefix("-")
            if _KEY.match(key):
                lines.append((order, file, path_of(key), " ".join(value.split())))
    last = own.rpartition("/")[2]
    return now, {path: (file, value) for order, file, path, value in sorted(lines) if order > last}


def refuse(wanted: Mapping[str, str], now: Mapping[str, str], later: Mapping[str, tuple[str, str]], host: str) -> None:
    """Raise Refused where a setting does not exist, or would not last."""
    unknown = [path for path in wanted if path not in now]
    if unknown:
        raise Refused(
            f"{host}: this kernel has no setting {', '.join(unknown)}: check the name, or load the module that brings it"
        )
    for path, value in wanted.items():
        file, other = later.get(path, ("", value))
        if other != value:
            raise Refused(f"{host}: {file} sets {path} to {other} and is read after ours at a boot: take it out there")


def _read_back(node: Node, wanted: Mapping[str, str], now: Mapping[str, str]) -> Mapping[str, str]:
    paths: Sequence[str] = tuple(wanted)
    seen, _ = parse(node.read(sh(_LOOK, *paths)).stdout, "")
    for path, value in wanted.items():
        if seen.get(path) != value:
            raise Refused(
                f"{node.name}: {path} was set to {value} and reads {seen.get(path, now[path])}: the kernel does not take it"
            )
    return seen
