"""What a file holds that nobody may read in a diff: found by its key, and by where secrets stand now. Pure."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from nornir_stack.secret import MASK, mask

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_CONTEXT = 3
_ASSIGNMENT = re.compile(r"(?P<before>\s*(?:[#;]\s*)?(?P<key>[^=:\s#;][^=:]*?)\s*[=:]\s*)(?P<value>.*)")
_SECRET_KEY = re.compile(
    r"pass(word|wd|phrase)?$|(^|_)pw$|secret|token|(^|_)(key|p?sk)$|(^|_)hmac|credential|hash_path_(prefix|suffix)"
    r"|auth_encryption|sst_auth",
    re.IGNORECASE,
)
# what is no secret, whatever its key says: a number, a switch, a path, another option, nothing
_HARMLESS = re.compile(r"-?\d+(\.\d+)?|true|false|yes|no|on|off|none|<[^>]*>|/[\w./-]*|\$\{?\w+\}?|", re.IGNORECASE)
_FIRST_WORD = re.compile(r"\s*['\"]?[^\s=:('\"]*")
_BETWEEN = re.compile(r"[\s=:('\"]*")
# the password in scheme://user:password@host; there may be several in one value (transport_url)
_IN_URL = re.compile(r"(://[^:/@\s]*:)\S+(@)")


def hidden(line: str) -> str:
    """The line of a file with passwords, keys and tokens blotted out; those in comments too.

    >>> hidden("connection = mysql+pymysql://nova:s3cret@db/nova")
    'connection = mysql+pymysql://nova:********@db/nova'
    >>> hidden("admin_password: s3cret"), hidden("key_file = /etc/ssl/private/nova.pem")
    ('admin_password: ********', 'key_file = /etc/ssl/private/nova.pem')
    """
    found = _ASSIGNMENT.fullmatch(line)
    if found and _is_secret(found["key"], found["value"]):
        return f"{found['before']}{MASK}"
    return _IN_URL.sub(rf"\1{MASK}\2", line)


def _is_secret(key: str, value: str) -> bool:
    return bool(_SECRET_KEY.search(key) and not _HARMLESS.fullmatch(value.strip()))


def hidden_lines(text: str) -> list[str]:
    """Every line, hidden; a secret that goes on over lines that are indented more as a whole."""
    found: list[str] = []
    secret: int | None = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if secret is not None and indent > secret and line.strip():
            found.append(f"{line[:indent]}{MASK}")
            continue
        shown = hidden(line)
        secret = indent if shown.endswith(MASK) else None
        found.append(shown)
    return found


def masked_diff(path: str, old: str | None, new: str | None) -> str:
    """A unified diff in which secrets are blotted out, and one that changed still shows as a change. None: no file.

    The secrets of today are known; the one that stood there before is not. It is found by the name of its key, and by its
    place: a line that goes is hidden behind the word with which a line begins that holds a secret now.
    """
    if old == new:
        return ""
    before, after = (old or "").splitlines(), (new or "").splitlines()
    shown_before, shown_after = hidden_lines(old or ""), hidden_lines(new or "")
    places = _places(after) if mask(new or "") != new else frozenset()
    lines = [f"--- {path if old is not None else '/dev/null'}", f"+++ {path if new is not None else '/dev/null'}"]
    for group in difflib.SequenceMatcher(None, before, after).get_grouped_opcodes(_CONTEXT):
        lines.append(f"@@ -{_range(group[0][1], group[-1][2])} +{_range(group[0][3], group[-1][4])} @@")
        for kind, i1, i2, j1, j2 in group:
            gone = shown_before[i1:i2]
            lines += _hunk(kind, gone if kind == "equal" else [_hidden_at(places, line) for line in gone], shown_after[j1:j2])
    if len(lines) == 2:  # noqa: PLR2004  the two lines of the head
        lines.append("only line ends differ" if old and new else "empty")
    return "\n".join(lines) + "\n"


def _places(lines: Sequence[str]) -> frozenset[str]:
    """The first words of the lines that hold a secret; '' where one is nothing but a secret (of a key in PEM)."""
    shown = ((line, mask(line)) for line in lines)
    return frozenset(_FIRST_WORD.match(masked.partition(MASK)[0])[0].strip() for line, masked in shown if masked != line)  # type: ignore[index]


def _hidden_at(places: Collection[str], line: str) -> str:
    """A line that goes, hidden if it begins as one of these places does."""
    if "" in places and line.strip():
        return MASK
    bare = line.lstrip()
    for word in places:
        if word and bare.startswith(word) and not (word[-1].isalnum() and re.match(r"[\w-]", bare[len(word) :])):
            begin = line[: len(line) - len(bare) + len(word)]
            return f"{begin}{_BETWEEN.match(bare[len(word) :])[0]}{MASK}"  # type: ignore[index]
    return line


def _hunk(kind: str, before: list[str], after: list[str]) -> Iterator[str]:
    if kind == "equal":
        yield from (f" {line}" for line in before)
        return
    yield from (f"-{line}" for line in before)
    yield from (f"+{line}" for line in after)


def _range(start: int, end: int) -> str:
    """As diff(1) writes it: the first line, and how many if not one."""
    return f"{start + 1 if end > start else start}" + ("" if end - start == 1 else f",{end - start}")
