"""What a package manager is asked, what it answers and what it is to do: plain values, and the decisions on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def patient(environment: str, locked: str) -> str:
    """The beginning of a script whose first argument is a time in seconds: so long `patient COMMAND...` is run again while
    somebody else holds a lock. What it says comes once it is over.

    `environment` are the assignments that are exported; `locked` the patterns (of `case`) that "STATUS WORDS" has then.
    """
    return f"""
export LC_ALL=C {environment}
exec </dev/null
seconds=$1; shift
end=$(( $(date +%s) + seconds ))
patient() {{
    while :; do
        said=$("$@" 2>&1) && {{ printf '%s\\n' "$said"; return 0; }}
        status=$?
        case "$status $said" in
        {locked}) ;;
        *) printf '%s\\n' "$said" >&2; return "$status" ;;
        esac
        if [ "$(date +%s)" -ge "$end" ]; then printf '%s\\n' "$said" >&2; return "$status"; fi
        sleep 1
    done
}}
"""


@dataclass(frozen=True)
class Installed:
    """A package that is on the node. `whole`: unpacked and configured, so that it can be used."""

    version: str
    whole: bool = True


@dataclass(frozen=True)
class State:
    """The wanted packages as they are. `unfinished`: an installation without start was cut before its end."""

    packages: Mapping[str, Installed]
    held: frozenset[str] = frozenset()
    unfinished: bool = False

    def installed(self, name: str) -> bool:
        return name in self.packages and self.packages[name].whole


@dataclass(frozen=True)
class Work:
    """What one transaction has to do; `release` are packages to remove that are held."""

    install: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    no_start: bool = False
    finish: bool = False

    @property
    def needed(self) -> bool:
        return bool(self.install or self.remove or self.finish)

    @property
    def what(self) -> str:
        """For people."""
        parts = [
            f"install {' '.join(self.install)}" if self.install else "",
            "without starting anything" if self.install and self.no_start else "",
            f"remove {' '.join(self.remove)}" if self.remove else "",
            "finish an installation that was cut" if self.finish else "",
        ]
        return ", ".join(filter(None, parts))

    @property
    def lines(self) -> list[str]:
        """A diff's lines where the manager gave no forecast."""
        return [*(f"-{name}" for name in self.remove), *(f"+{name}" for name in self.install)]


@dataclass(frozen=True)
class Forecast:
    """What the manager says it would do.

    `unknown`: packages that its lists lack; `removed`: what would go that nobody named, or all that would go; `against`: what
    else speaks against it, a sentence each.
    """

    unknown: tuple[str, ...] = ()
    stale: bool = False
    lines: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


def work(present: Sequence[str], absent: Sequence[str], now: State, *, no_start: bool) -> Work:
    """What is to be done: a package that is there and whole is left alone, whatever its version."""
    remove = tuple(name for name in absent if name in now.packages)
    return Work(
        install=tuple(name for name in present if not now.installed(name)),
        remove=remove,
        release=tuple(name for name in remove if name in now.held),
        no_start=no_start,
        finish=now.unfinished,
    )


def refuse_collateral(forecast: Forecast, wanted: Work, host: str) -> None:
    """Raise Refused where more would go than was asked for."""
    others = [name for name in forecast.removed if name not in wanted.remove]
    if others:
        raise Refused(f"{host}: to {wanted.what} would also remove {', '.join(others)}: name them in absent if they may go")


def not_found(names: Sequence[str], host: str) -> str:
    """The one sentence for packages that the sources lack."""
    return f"{host}: no package {' or '.join(names)} in the node's sources: check the name, or add the repository that has it"


def diff(lines: Sequence[str]) -> str:
    """Lines with `+` and `-` as the diff of a result."""
    return "\n".join(["--- packages", "+++ packages", *lines, ""]) if lines else ""
