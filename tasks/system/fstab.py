"""Lines of /etc/fstab, by pure functions: everything that is not ours stays as it stands, comments too."""

from __future__ import annotations

from dataclasses import dataclass, replace

PATH = "/etc/fstab"
NETWORK = "_netdev"  # mount(8): on a device over the network


@dataclass(frozen=True)
class Entry:
    """One line of fstab(5). `source` as written: a path, `UUID=...`, `LABEL=...`; a swap's `mount` is `none`."""

    source: str
    mount: str
    filesystem: str
    options: str = "defaults"
    dump: str = "0"
    check: str = "0"

    @property
    def line(self) -> str:
        return " ".join([_escaped(self.source), _escaped(self.mount), self.filesystem, self.options, self.dump, self.check])

    @property
    def at_boot(self) -> bool:
        return "noauto" not in self.options.split(",")


def parse(line: str) -> Entry | None:
    """The entry of a line; None for a comment, an empty line, or what is none."""
    words = line.split()
    if len(words) < 3 or words[0].startswith("#"):  # noqa: PLR2004  the first three fields must stand, see fstab(5)
        return None
    more = [*words[3:6], *("defaults", "0", "0")[max(len(words) - 3, 0) :]]
    return Entry(_plain(words[0]), _plain(words[1]), words[2], *more[:3])


def entries(lines: list[str]) -> list[Entry]:
    return [entry for line in lines if (entry := parse(line))]


def with_mount(lines: list[str], wanted: Entry) -> list[str]:
    """`wanted` as the one entry of its mount point, at the place of the first that is there.

    Options that an operator gave the same source stay; that it is over the network is added to them.
    """
    at = [i for i, line in enumerate(lines) if (entry := parse(line)) and entry.mount == wanted.mount]
    return _replaced(lines, at, wanted)


def with_swap(lines: list[str], path: str) -> list[str]:
    """The swap file `path` once, used at boot; an entry with options of its own stays."""
    at = [i for i, line in enumerate(lines) if (entry := parse(line)) and entry.source == path and entry.filesystem == "swap"]
    return _replaced(lines, at, Entry(path, "none", "swap"))


def _replaced(lines: list[str], at: list[int], wanted: Entry) -> list[str]:
    if not at:
        return [*lines, wanted.line]
    kept = _kept(lines[at[0]], wanted)
    return [kept if i == at[0] else line for i, line in enumerate(lines) if i == at[0] or i not in at]


def _kept(line: str, wanted: Entry) -> str:
    """A line for the same place as `wanted` that stays as far as it may."""
    now = parse(line)
    if now is None or (now.source, now.filesystem, now.at_boot) != (wanted.source, wanted.filesystem, True):
        return wanted.line
    options = now.options.split(",")
    if NETWORK in wanted.options.split(",") and NETWORK not in options:
        return replace(now, options=",".join([*options, NETWORK])).line
    return line


def _escaped(word: str) -> str:
    return word.replace("\\", "\\134").replace(" ", "\\040").replace("\t", "\\011")


def _plain(word: str) -> str:
    return word.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
