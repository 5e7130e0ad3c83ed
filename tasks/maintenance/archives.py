"""Nightly archives of a node's small things: what there is of them, which are wanted, which go. Pure but for the look.

An archive is named NODE-TIME-DIGEST.tar.gz; the digest is that of what was packed, so a night in which nothing changed is known
by it and needs no archive: the newest one is only confirmed, by its time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.maintenance.settings import Backup, Care

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nornir.core.inventory import Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.maintenance.settings import Archive

DIGITS = 12
CONFIRM_SECONDS = 12 * 3600  # an archive that was confirmed this lately is not confirmed again: the same night
_NAME = re.compile(r"(?P<node>.+)-(?P<time>\d{8}T\d{6}Z)-(?P<digest>[0-9a-f]{12})\.tar\.gz", re.ASCII)
# What is packed beside files: how libvirt's machines, networks and pools are defined (with the passwords of their screens),
# and which packages there are. $1: a folder; each comes as a file of it, of one time, so that equal content packs equally.
EXTRAS = r"""
extras() {
    asked() { timeout 30 virsh -q "$@" </dev/null 2>/dev/null; }
    put() { cat >"$1" && touch -d @0 -- "$1"; }
    if command -v virsh >/dev/null; then
        mkdir -p -- "$1/libvirt"
        asked list --all --name | sed '/^$/d' | while read -r n; do
            asked dumpxml --inactive --security-info "$n" | put "$1/libvirt/machine-$n.xml"
        done
        asked net-list --all --name | sed '/^$/d' | while read -r n; do
            asked net-dumpxml --inactive "$n" | put "$1/libvirt/network-$n.xml"
        done
        asked pool-list --all --name | sed '/^$/d' | while read -r n; do
            asked pool-dumpxml --inactive "$n" | put "$1/libvirt/pool-$n.xml"
        done
        touch -d @0 -- "$1/libvirt"
    fi
    if command -v dpkg-query >/dev/null; then dpkg-query -W; else rpm -qa | sort; fi | put "$1/packages"
    touch -d @0 -- "$1"
}
"""
# GNU tar: names in order and no times of access, so the same content is the same stream. It ends with 1 where a file changed
# as it was read, which a night's archive has to bear.
PACK = r"""
pack() {
    extra=$1; shift
    set -- $(for p; do if [ -e "/$p" ] || [ -L "/$p" ]; then printf '%s\n' "$p"; fi; done)
    tar -c --sort=name --format=gnu --numeric-owner --one-file-system --ignore-failed-read --warning=no-file-changed \
        --warning=no-file-ignored -f - -C / "$@" -C "${extra%/*}" "${extra##*/}" || [ $? -eq 1 ]
}
"""
# $1: where archives are kept here, a line each. $2...: what is packed, without its first slash; nothing: only archives are
# looked at. What is packed beside files stands for a moment below /run.
_LOOK = f"""
export LC_ALL=C
umask 077
{EXTRAS}{PACK}
IFS='
'
folders=$1; shift
date -u '+now %s %Y%m%dT%H%M%SZ'
if [ $# -gt 0 ]; then
    w=$(mktemp -d /run/nornir-stack-look.XXXXXX) || exit
    trap 'rm -rf -- "$w"' EXIT
    mkdir -- "$w/extra" && extras "$w/extra"
    printf 'digest '
    {{ pack "$w/extra" "$@" || : >"$w/failed"; }} | sha256sum
    if [ -e "$w/failed" ]; then exit 1; fi
fi
find $folders -mindepth 2 -maxdepth 2 -type f -name '*.tar.gz' -printf 'kept %T@ %s %m %p\\n' 2>/dev/null
:
"""
_LOOK_SECONDS = 300.0


@dataclass(frozen=True)
class Kept:
    """An archive on its keeper. `confirmed`: seconds since the epoch at which its node was last known to be like it."""

    path: str
    node: str
    time: str
    digest: str
    confirmed: float
    size: int
    mode: str


@dataclass(frozen=True)
class Sight:
    """What a node has to be archived, by its digest (nothing where it wants no archive), and the archives that it keeps."""

    now: float
    time: str
    digest: str = ""
    kept: tuple[Kept, ...] = ()
    wanted: Archive | None = None
    keeper: str = ""


def archives(task: Task, *, packing: bool = True) -> Result[Sight]:
    """Observe what a node would have archived, and the archives that it keeps, its own and others'.

    `packing`: pack it, to have its digest; else only the archives are looked at.
    """
    node = Node(task)
    wanted = settings_of(task.host, Care).archive
    folders = sorted({one.folder for one in keeping(task.nornir.inventory, node.name).values()})
    said = node.read(
        sh(_LOOK, "\n".join(folders or ["/nonexistent"]), *(packed(wanted) if packing else ()), label="what is to be archived"),
        timeout=_LOOK_SECONDS,
    ).stdout
    return node.done(parse(said, wanted, keeper_of(node.name, wanted)))


def packed(wanted: Archive | None) -> list[str]:
    """What tar is given, from the root on."""
    return [path.strip("/") for path in wanted.paths] if wanted else []


def keeper_of(name: str, wanted: Archive | None) -> str:
    """The host that keeps a node's archives: itself, if no other is said."""
    return (wanted.keeper if wanted else None) or name


def keeping(inventory: Inventory, keeper: str) -> dict[str, Archive]:
    """The nodes whose archives a host keeps, with what is said of them."""
    found = {name: settings_of(host, Care).archive for name, host in inventory.hosts.items()}
    return {name: one for name, one in found.items() if one is not None and keeper_of(name, one) == keeper}


def expected(inventory: Inventory, keeper: str) -> dict[str, Backup]:
    """What `maintenance.survey` looks for on a keeper: a confirmed archive of every node that it keeps."""
    return {
        f"of {name}": Backup(files=f"{one.folder}/{name}/*.tar.gz", days=one.days)
        for name, one in keeping(inventory, keeper).items()
    }


def parse(text: str, wanted: Archive | None, keeper: str) -> Sight:
    """What the look printed. Pure. A file of another name is nobody's archive."""
    now, time, digest, kept = 0.0, "", "", []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "now":
            now, time = float(rest.split()[0]), rest.split()[1]
        elif word == "digest":
            digest = rest.split()[0][:DIGITS]
        elif word == "kept":
            confirmed, size, mode, path = rest.split(" ", 3)
            if found := _NAME.fullmatch(path.rpartition("/")[2]):
                made = (found["node"], found["time"], found["digest"])
                kept.append(Kept(path, *made, float(confirmed), int(size), mode))
    return Sight(now, time, digest, tuple(sorted(kept, key=lambda one: (one.time, one.confirmed))), wanted, keeper)


def name_of(node: str, seen: Sight) -> str:
    """The archive that a node's content would have now."""
    return f"{node}-{seen.time}-{seen.digest}.tar.gz"


def newest(kept: Iterable[Kept], node: str) -> Kept | None:
    """A node's newest archive."""
    return next((one for one in reversed(tuple(kept)) if one.node == node), None)


def going(kept: Sequence[Kept], keep: Mapping[str, int], coming: Iterable[str] = ()) -> list[str]:
    """Paths of archives that are too many: of each node the oldest go, one more where one is `coming`. Pure."""
    found = []
    for node, most in keep.items():
        mine = [one.path for one in kept if one.node == node]
        found += mine[: max(0, len(mine) - most + (node in coming))]
    return found
