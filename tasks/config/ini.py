"""Configuration files of OpenStack as text that is edited in place: comments, order and all else stay as they are. Pure.

Two dialects, as the programs read them:
- `oslo`: oslo.config's iniparser. A key may stand several times (MultiOpt), an indented line goes on the value above it, a
  blank line ends it, quotes around a value are taken off, `$name` is another option.
- `paste`: ConfigParser as PasteDeploy and Swift use it: indented comments are comments, quotes stay, `%(name)s` is a key.
Sections of the same name are one. oslo.config does not tell `[Database]` from `[database]`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from nornir_stack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Dialect: TypeAlias = Literal["oslo", "paste"]

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_KEY = re.compile(r"[^\s=:\[#;](?:[^=:\r\n]*[^\s=:])?")
_SECTION = re.compile(r"[^\s\[\]](?:[^\[\]\r\n]*[^\s\[\]])?")
_INDENT = "    "
_Parsed: TypeAlias = "dict[str, dict[str, tuple[str, ...]]]"


@dataclass(frozen=True)
class Entry:
    """One assignment: lines `start` to `end` (not included). `prefix` is what stands before the value on its first line."""

    section: str
    key: str
    value: str
    prefix: str
    start: int
    end: int


@dataclass
class _Scan:
    """A file's lines with their ends, its assignments and section headers (name, line), and what no program could read."""

    lines: list[str]
    dialect: Dialect
    entries: list[Entry] = field(default_factory=list)
    headers: list[tuple[str, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def parsed(text: str, *, dialect: Dialect = "oslo") -> dict[str, dict[str, tuple[str, ...]]]:
    """Section to key to the values in the order of the file. Of several the last counts, unless the option takes many."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    scan = _scan(_split(text), dialect)
    for name, _ in scan.headers:
        found.setdefault(_same(name, dialect), {})
    for entry in scan.entries:
        keys = found.setdefault(_same(entry.section, dialect), {})
        keys[entry.key] = (*keys.get(entry.key, ()), entry.value)
    return found


def values(text: str, section: str, key: str, *, dialect: Dialect = "oslo") -> tuple[str, ...]:
    """The values of a key, as the file has them (nothing is interpolated); none where it is not set."""
    return parsed(text, dialect=dialect).get(_same(section, dialect), {}).get(key, ())


def unreadable(text: str, *, dialect: Dialect = "oslo") -> tuple[str, ...]:
    """What the programs would not read, a sentence each: `line 7: ...`. They do not start with such a file."""
    return tuple(_scan(_split(text), dialect).problems)


def edited(text: str, wanted: Mapping[str, Mapping[str, Sequence[str]]], *, dialect: Dialect = "oslo") -> str:
    """`text` with the keys of `wanted` (section to key to values; no value: taken out) as said, and nothing else touched.

    A value that is there is replaced where it stands, with the writing before it kept. A new line goes below the commented
    default of its key (`#key = x`), else to the end of its section, a new section to the end of the file. Twice is as once.
    Raises UsageError for a name or a value that would not read back as it is, or where the file's form does not allow it.
    """
    lines = _split(text)
    now = parsed(text, dialect=dialect)
    for section, keys in wanted.items():
        for key, several in keys.items():
            _check(section, key, several, dialect)
            if now.setdefault(_same(section, dialect), {}).get(key, ()) == tuple(several):
                continue  # reading the file anew for each of a hundred keys takes seconds
            now[_same(section, dialect)][key] = tuple(several)
            lines = _with(lines, dialect, section, key, tuple(several))
    new = "".join(lines)
    if new != text:
        _compare(parsed(text, dialect=dialect), parsed(new, dialect=dialect), wanted, dialect)
    return new


def _compare(before: _Parsed, after: _Parsed, wanted: Mapping[str, Mapping[str, Sequence[str]]], dialect: Dialect) -> None:
    """That exactly the wanted keys have changed: a new line between indented ones would take those for its own."""
    for section, keys in wanted.items():
        for key, several in keys.items():
            before.setdefault(_same(section, dialect), {})[key] = tuple(several)
    there, here = ({(s, k): v for s, keys in one.items() for k, v in keys.items() if v} for one in (before, after))
    if there != here:
        odd = sorted(f"[{s}] {k}" for s, k in {*there, *here} if there.get((s, k)) != here.get((s, k)))
        raise UsageError(f"this would touch {', '.join(odd)} too, by how the lines there are indented: mend the file by hand")


# reading


def _split(text: str) -> list[str]:
    return _LINE.findall(text)


def _same(section: str, dialect: Dialect) -> str:
    return section if dialect == "paste" or section == "DEFAULT" else section.lower()


def _scan(lines: list[str], dialect: Dialect) -> _Scan:
    scan = _Scan(lines, dialect)
    section, at = "", 0
    while at < len(lines):
        line = lines[at].rstrip()
        if not line or line.startswith(("#", ";")) or (dialect == "paste" and line.lstrip().startswith(("#", ";"))):
            at += 1
        elif line.startswith("["):
            section = _header(scan, line, at) or section
            at += 1
        elif dialect == "oslo" and line.startswith((" ", "\t")):
            scan.problems.append(f"line {at + 1}: it is indented, and there is no value above that it could go on")
            at += 1
        else:
            at = _assignment(scan, section, at)
    return scan


def _header(scan: _Scan, line: str, at: int) -> str:
    name = line[1:-1]
    if not line.endswith("]") or not name:
        scan.problems.append(f"line {at + 1}: a section is a name in brackets and nothing behind them")
        return ""
    scan.headers.append((name, at))
    return name


def _assignment(scan: _Scan, section: str, at: int) -> int:
    """Note the assignment that begins at this line; the line after it."""
    line = scan.lines[at].rstrip()
    key, sign, value = _parts(line)
    end = _end(scan, at)
    if not sign or not key.strip():
        scan.problems.append(f"line {at + 1}: neither a comment, nor a section, nor `key = value`")
    elif not section:
        scan.problems.append(f"line {at + 1}: {key.strip()} stands before the first section")
    else:
        prefix = line[: len(line) - len(value.lstrip())] if value.strip() else line
        more = [scan.lines[i].strip() for i in range(at + 1, end) if not _passed_over(scan, i)]
        whole = "\n".join([_unquoted(value.strip(), scan.dialect), *more])
        scan.entries.append(Entry(section, key.strip(), whole, prefix, at, end))
    return end


def _parts(line: str) -> tuple[str, str, str]:
    """Key, sign and value, at the first `=` or `:`."""
    found = re.search("[=:]", line)
    return (line[: found.start()], found.group(), line[found.end() :]) if found else (line, "", "")


def _unquoted(value: str, dialect: Dialect) -> str:
    quoted = dialect == "oslo" and value[:1] in {"'", '"'} and value[:1] == value[-1:]
    return value[1:-1] if quoted else value


def _passed_over(scan: _Scan, at: int) -> bool:
    """A comment or a blank line within a value: only ConfigParser knows those."""
    return scan.dialect == "paste" and (not scan.lines[at].strip() or scan.lines[at].lstrip().startswith(("#", ";")))


def _end(scan: _Scan, at: int) -> int:
    """The line after the assignment that begins at `at`: what is indented more goes on its value."""
    indent, end, i = _indent(scan.lines[at]), at + 1, at + 1
    while i < len(scan.lines):
        if _passed_over(scan, i):
            i += 1
            continue
        line = scan.lines[i]
        goes_on = line.startswith((" ", "\t")) if scan.dialect == "oslo" else _indent(line) > indent
        if not line.strip() or not goes_on:
            break
        i += 1
        end = i
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


# writing


def _check(section: str, key: str, several: Sequence[str], dialect: Dialect) -> None:
    if not _SECTION.fullmatch(section):
        raise UsageError(f"{section!r} is no name of a section")
    if not _KEY.fullmatch(key):
        raise UsageError(f"{key!r} is no key: in [{section}]")
    for value in several:
        text = f"[{section}]\n{key} = {_encoded(value, dialect)}\n"
        scan = _scan(_split(text), dialect)
        if scan.problems or [(e.key, e.value) for e in scan.entries] != [(key, value)]:
            # the value may be a secret: it is not shown
            raise UsageError(f"the value of [{section}] {key} has blank lines or characters that would not read back")


def _encoded(value: str, dialect: Dialect, end: str = "\n") -> str:
    first, *more = value.split("\n")
    if dialect == "oslo" and (first != first.strip() or (first[:1] in {"'", '"'} and first[:1] == first[-1:])):
        first = f'"{first}"'
    return "".join([first, *(f"{end}{_INDENT}{line}" for line in more)])


def _with(lines: list[str], dialect: Dialect, section: str, key: str, wanted: tuple[str, ...]) -> list[str]:
    scan = _scan(lines, dialect)
    same = _same(section, dialect)
    found = [entry for entry in scan.entries if entry.key == key and _same(entry.section, dialect) == same]
    if tuple(entry.value for entry in found) == wanted:
        return lines
    kept = found[-len(wanted) :] if wanted else []
    new = list(lines)
    if len(kept) < len(wanted):
        _insert(scan, new, (section, key), wanted[len(kept) :], kept[-1] if kept else None)
    end = _line_end(lines)
    for entry, value in reversed([*zip(kept, wanted, strict=False)]):
        if entry.value != value:
            space = " " if entry.prefix.endswith((" =", " :")) else ""
            last = end if new[entry.end - 1].endswith(("\r", "\n")) else ""
            new[entry.start : entry.end] = [f"{entry.prefix}{space}{_encoded(value, dialect, end)}".rstrip() + last]
    for entry in reversed(found[: len(found) - len(kept)]):
        del new[entry.start : entry.end]
    return _split("".join(new))


def _insert(scan: _Scan, new: list[str], name: tuple[str, str], wanted: tuple[str, ...], after: Entry | None) -> None:
    """Put new lines below `after`, or where the key's commented default stands, or at the end of section or file."""
    end, (section, key) = _line_end(scan.lines), name
    spans = _spans(scan, section)
    if after:
        at, before = after.end, after.prefix.rstrip() + " " if after.prefix.endswith(("=", ":")) else after.prefix
    elif spans:
        at, before = _place(scan, spans, key)
    else:
        gap = [end] if new and new[-1].strip() else []
        new += [*gap, f"[{section}]{end}"]
        _end_line(new, len(scan.lines), end)
        at, before = len(new), f"{key} = "
    new[at:at] = [f"{before}{_encoded(value, scan.dialect, end)}".rstrip() + end for value in wanted]
    _end_line(new, at, end)


def _end_line(lines: list[str], at: int, end: str) -> None:
    """Let the line before `at` end: the last of a file may not, and something follows it now."""
    if at and not lines[at - 1].endswith(("\r", "\n")):
        lines[at - 1] += end


def _spans(scan: _Scan, section: str) -> list[tuple[int, int]]:
    """First line after the header, and line after the last, of every section of this name."""
    ends = [at for _, at in scan.headers[1:]] + [len(scan.lines)]
    same = _same(section, scan.dialect)
    return [(at + 1, end) for (name, at), end in zip(scan.headers, ends, strict=False) if _same(name, scan.dialect) == same]


def _place(scan: _Scan, spans: list[tuple[int, int]], key: str) -> tuple[int, str]:
    """The line at which a new assignment goes, and how it begins."""
    example = re.compile(rf"[#;] ?{re.escape(key)}(\s*[=:]\s*)")
    for start, end in spans:
        for i in reversed(range(start, end)):
            found = example.match(scan.lines[i].rstrip("\r\n"))
            if found:
                sign = found.group(1)
                return _outside(scan, i + 1), f"{key}{sign}" + (" " if sign != sign.lstrip() and sign == sign.rstrip() else "")
    start, end = spans[0]
    last = max((i + 1 for i in range(start, end) if scan.lines[i].strip()), default=start)
    return _outside(scan, last), f"{key} = "


def _outside(scan: _Scan, at: int) -> int:
    """The same line, or the one after the value that it lies within."""
    return next((entry.end for entry in scan.entries if entry.start < at < entry.end), at)


def _line_end(lines: list[str]) -> str:
    return "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
