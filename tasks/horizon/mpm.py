"""Apache's Multi-Processing Module: which is enabled, which runs, and what a change takes. Pure.

Debian (a2enmod(8)): links in mods-enabled. Red Hat: exactly one LoadModule line of conf.modules.d/00-mpm.conf is no comment.
mod_php is not thread-safe in the packages of either family, and depends on prefork.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from nornir_stack.errors import Refused

if TYPE_CHECKING:
    from nornir_stack.tasks.system.family import Family

Mpm: TypeAlias = Literal["event", "worker", "prefork"]
MPMS: tuple[Mpm, ...] = ("event", "worker", "prefork")

_LINE = re.compile(
    r"^(?P<comment>[ \t]*#[ \t]*)?(?P<load>LoadModule[ \t]+mpm_(?P<mpm>event|worker|prefork)_module\b.*)$", re.MULTILINE
)
_PHP = re.compile(r"^[ \t]*LoadModule[ \t]+(php[57]?_module)\b", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Layout:
    """Where the families keep it. `ctl` is the program that tests a configuration; `user` runs the server."""

    ctl: str
    folder: str
    config: str
    sites: str


DEBIAN = Layout("apache2ctl", "/etc/apache2/mods-enabled", "", "/etc/apache2/conf-enabled")
REDHAT = Layout("apachectl", "/etc/httpd/conf.modules.d", "/etc/httpd/conf.modules.d/00-mpm.conf", "/etc/httpd/conf.d")


def layout_of(family: Family) -> Layout:
    return DEBIAN if family.name == "debian" else REDHAT


@dataclass(frozen=True)
class Apache:
    """What is enabled on the disk, what the running server has loaded (None: it does not run), and modules of PHP."""

    enabled: tuple[Mpm, ...]
    running: Mpm | None
    php: tuple[str, ...] = ()
    text: str = ""  # of Red Hat's file


def enabled_by_links(names: tuple[str, ...]) -> tuple[Mpm, ...]:
    """From the names in Debian's mods-enabled."""
    return tuple(mpm for mpm in MPMS if f"mpm_{mpm}.load" in names)


def enabled_by_lines(text: str) -> tuple[Mpm, ...]:
    """From Red Hat's 00-mpm.conf: the lines that are no comments."""
    found = {match["mpm"] for match in _LINE.finditer(text) if not match["comment"]}
    return tuple(mpm for mpm in MPMS if mpm in found)


def with_mpm(text: str, to: Mpm) -> str:
    """Red Hat's file with exactly this one enabled, all else as it was. Raises Refused where it has no line for it."""
    if to not in {match["mpm"] for match in _LINE.finditer(text)}:
        raise Refused(
            f"{REDHAT.config} has no line for mpm_{to}_module, not as a comment either: is that Apache older than 2.4?"
        )
    chosen = next((m.start() for m in _LINE.finditer(text) if m["mpm"] == to and not m["comment"]), None)
    if chosen is None:
        chosen = next(m.start() for m in _LINE.finditer(text) if m["mpm"] == to)

    def line(match: re.Match[str]) -> str:
        if match.start() == chosen:
            return match["load"]
        return match.group() if match["comment"] else f"#{match['load']}"

    return _LINE.sub(line, text)


def php_by_links(names: tuple[str, ...]) -> tuple[str, ...]:
    """Debian's modules of PHP within Apache, `php8.2`."""
    return tuple(name.removesuffix(".load") for name in names if re.fullmatch(r"php[\d.]*\.load", name))


def php_by_lines(text: str) -> tuple[str, ...]:
    """Red Hat's, from all files of conf.modules.d. What is within `<IfModule prefork.c>` is harmless."""
    outside = re.sub(r"<IfModule\s+!?(?:mod_mpm_)?prefork\.c>.*?</IfModule>", "", text, flags=re.DOTALL | re.IGNORECASE)
    return tuple(match[1] for match in _PHP.finditer(outside))


def needed(now: Apache, to: Mpm) -> bool:
    """Whether what is enabled has to change. Raises Refused where PHP within Apache needs prefork, with the way out."""
    if now.enabled == (to,):
        return False
    if to != "prefork" and now.php:
        raise Refused(
            f"PHP runs within Apache here ({', '.join(now.php)}), which works with prefork only: "
            "say php=fpm to have PHP served by php-fpm beside it, or take the module out if nobody needs it"
        )
    return True


def mapped(maps: str) -> Mpm | None:
    """Which MPM a running server has loaded, by the files that are mapped into its process."""
    return next((mpm for mpm in MPMS if f"mod_mpm_{mpm}.so" in maps), None)
