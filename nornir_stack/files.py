"""Files on a node: how they are looked at and replaced, and how a change of one is shown. Pure; Node acts with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nornir_stack.command import Command, sh
from nornir_stack.errors import UsageError
from nornir_stack.hidden import masked_diff

if TYPE_CHECKING:
    from collections.abc import Mapping

# A link is followed: the target is looked at and replaced, the link stays a link. One that leads nowhere is what there is.
_LOOK = """
link=
[ ! -L "$1" ] || link=link
f=$(readlink -f -- "$1") && [ -e "$f" ] || {
    [ -z "$link" ] || stat -c '%F|%a|%U|%G|%s|link|%n' -- "$1"
    exit
}
stat -c "%F|%a|%U|%G|%s|$link|%n" -- "$f" || exit 1
[ -f "$f" ] && exec cat -- "$f"
:
"""

# The temporary file lies in the same folder, so rename() is atomic and keeps the file system; both are synced.
# On a failure (a full disk, a part of the content only) the old file survives and the temporary one goes. That is readable
# by its owner alone (mktemp) until it has the owner and the mode which the file is to have, and no other mode before.
_WRITE = """
set -e
f=$(readlink -f -- "$1") || { echo "the folder of $1 does not exist" >&2; exit 1; }
d=$(dirname -- "$f")
t=$(mktemp -- "$d/.nornir-stack.XXXXXX")
trap 'rm -f -- "$t"' EXIT
trap 'exit 143' TERM INT HUP
cat > "$t"
n=$(stat -c %s -- "$t")
[ "$n" = "$5" ] || { echo "$n bytes arrived of $5" >&2; exit 1; }
if [ -e "$f" ]; then
    chown --reference="$f" -- "$t"
    if [ -e /sys/fs/selinux/enforce ]; then chcon --reference="$f" -- "$t"; fi
    if [ "$4" = yes ]; then cp -a -- "$f" "$f.$(date +%Y%m%dT%H%M%S).bak"; fi
elif [ -e /sys/fs/selinux/enforce ] && command -v restorecon >/dev/null; then
    fresh=yes
fi
if [ -n "$3" ]; then chown -- "$3" "$t"; fi
if [ -n "$2" ]; then chmod -- "$2" "$t"; elif [ -e "$f" ]; then chmod --reference="$f" -- "$t"; else chmod 0644 -- "$t"; fi
sync -- "$t"
mv -f -- "$t" "$f"
sync -- "$d"
if [ "$fresh" = yes ]; then restorecon -- "$f"; fi
"""

_ATTRIBUTES = """
set -e
f=$(readlink -f -- "$1")
if [ -n "$3" ]; then chown -- "$3" "$f"; fi
if [ -n "$2" ]; then chmod -- "$2" "$f"; fi
"""

_FOLDER = """
set -e
mkdir -p -- "$1"
chmod -- "${2:-0755}" "$1"
if [ -n "$3" ]; then chown -- "$3" "$1"; fi
if [ -e /sys/fs/selinux/enforce ] && command -v restorecon >/dev/null; then restorecon -- "$1"; fi
"""


LINK = "symbolic link"  # as stat(1) calls one; looked at as such is only one that leads nowhere


@dataclass(frozen=True)
class FileState:
    """A file as it is. `mode` is octal text without a leading zero (`644`); `content` is None for what is no regular file.

    `link`: a link was asked for, and this is where it leads; itself, if it leads nowhere.
    """

    path: str
    kind: str
    mode: str
    owner: str
    group: str
    size: int
    content: bytes | None
    link: bool = False


def look(path: str) -> Command:
    """The command whose stdout `parse_look` reads; one process tree, one round trip."""
    if not path.startswith("/"):
        raise UsageError(f"a path on a node is absolute, and this is not: {path!r}")
    return sh(_LOOK, path, label=f"look at {path}")


def parse_look(out: bytes) -> FileState | None:
    """The file, or None where there is none."""
    if not out:
        return None
    head, _, content = out.partition(b"\n")
    kind, mode, owner, group, size, link, path = head.decode("utf-8", "surrogateescape").split("|", 6)
    regular = kind.startswith("regular")
    return FileState(path, kind, mode, owner, group, int(size), content if regular else None, bool(link))


def write(path: str, content: bytes, *, mode: str, owner: str, backup: bool) -> Command:
    """The command that replaces a file whole. Empty `mode` and `owner` keep what is, or 0644 and root for a new file."""
    words = (path, mode, owner, "yes" if backup else "no", str(len(content)))
    return sh(_WRITE, *words, stdin=content, label=f"write {path}")


def set_attributes(path: str, *, mode: str, owner: str) -> Command:
    return sh(_ATTRIBUTES, path, mode, owner, label=f"set mode and owner of {path}")


def make_folder(path: str, *, mode: str, owner: str) -> Command:
    return sh(_FOLDER, path, mode, owner, label=f"make the folder {path}")


def attributes_differ(now: FileState, *, mode: str, owner: str) -> bool:
    """Whether mode (octal text) or owner (`user` or `user:group`) are not as wanted; empty means: as it is."""
    user, _, group = owner.partition(":")
    return bool((mode and int(mode, 8) != int(now.mode, 8)) or (user and user != now.owner) or (group and group != now.group))


def unified_diff(path: str, old: bytes | None, new: bytes | None) -> str:
    """A unified diff with `/dev/null` for an absent side, secrets hidden; one line for what is no text."""
    if old == new:
        return ""
    before, after = old or b"", new or b""
    if b"\0" in before or b"\0" in after:
        return f"--- {path}\n+++ {path}\nbinary: {len(before)} bytes before, {len(after)} after\n"
    text = [None if side is None else side.decode("utf-8", "replace") for side in (old, new)]
    return masked_diff(path, *text) or f"--- {path}\n+++ {path}\nonly bytes that are no text differ\n"


def removal_diff(path: str, now: FileState) -> str:
    """What goes with a file or a link. What not everybody may read is not shown: nobody knows the secrets of yesterday."""
    if now.content is not None and not now.link and int(now.mode, 8) & 0o004:
        return unified_diff(path, now.content, None)
    what = now.kind if now.content is None else f"{now.size} bytes that not everybody may read"
    if now.link:
        what = "a link that leads nowhere" if now.kind == LINK else f"a link to {now.path}"
    return f"--- {path}\n+++ /dev/null\n-{what}\n"


def ini_value(text: str, section: str, key: str) -> str | None:
    """The value of a key in `[section]` of an ini file, or None. Of a key that stands several times the last counts."""
    found, here = None, False
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            here = line.strip() == f"[{section}]"
        elif here and "=" in line and not line[:1].isspace():
            name, _, value = line.partition("=")
            found = value.strip() if name.strip() == key else found
    return found


def edited_ini(text: str, section: str, values: Mapping[str, str | None]) -> str:
    """`text` of an ini file with `values` set in `[section]` (None: taken out); comments, order and all else are kept.

    A commented example of a key (`#key = x`) stays, and the value is written after it; a missing section is added at the end.
    Of a key that stands several times the last is changed, since that is the one that programs read; the others go.
    """
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip() == f"[{section}]"), None)
    if start is None:
        wanted = [f"{key} = {value}" for key, value in values.items() if value is not None]
        gap = [""] if lines and lines[-1].strip() else []
        return "\n".join([*lines, *gap, f"[{section}]", *wanted, ""]) if wanted else text
    end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    body = lines[start + 1 : end]
    for key, value in values.items():
        body = _edited_key(body, key, value)
    return "\n".join([*lines[: start + 1], *body, *lines[end:], ""])


def _edited_key(body: list[str], key: str, value: str | None) -> list[str]:
    def named(line: str) -> bool:
        return not line[:1].isspace() and line.partition("=")[0].strip() == key and "=" in line

    at = [i for i, line in enumerate(body) if named(line)]
    if at and value is not None and body[at[-1]].partition("=")[2].strip() == value and len(at) == 1:
        return body
    where = at[-1] if at else _place(body, key)
    # an indented line goes on the value above it (oslo.config and configparser), so it goes with it
    gone = {j for i in at for j in (i, *_continued(body, i))}
    new = [] if value is None else [f"{key} = {value}"]
    before = [line for i, line in enumerate(body) if i < where and i not in gone]
    after = [line for i, line in enumerate(body) if i >= where and i not in gone]
    return [*before, *new, *after]


def _continued(body: list[str], at: int) -> list[int]:
    found = []
    for i in range(at + 1, len(body)):
        if not (body[i][:1].isspace() and body[i].strip()):
            break
        found.append(i)
    return found


def _place(body: list[str], key: str) -> int:
    """After the commented example of the key, else after the last line of the section that is not blank."""
    for i in range(len(body) - 1, -1, -1):
        if body[i].lstrip("#; ").partition("=")[0].strip() == key and "=" in body[i]:
            return i + 1
    return max((i + 1 for i, line in enumerate(body) if line.strip()), default=0)


def written(now: FileState | None, path: str, content: bytes, *, mode: str, owner: str) -> FileState:
    """The file as it would be after a write (for the overlay of a dry run)."""
    now = now or FileState(path, "regular file", "644", "root", "root", 0, b"")
    return with_attributes(replace(now, kind="regular file", size=len(content), content=content), mode=mode, owner=owner)


def folder(path: str, *, mode: str, owner: str) -> FileState:
    """A folder as it would be made."""
    return with_attributes(FileState(path, "directory", "755", "root", "root", 0, None), mode=mode, owner=owner)


def with_attributes(now: FileState, *, mode: str, owner: str) -> FileState:
    """The file as it would be with another mode or owner; empty means: as it is."""
    user, _, group = owner.partition(":")
    mode = f"{int(mode, 8):o}" if mode else now.mode
    return replace(now, mode=mode, owner=user or now.owner, group=group or now.group)
