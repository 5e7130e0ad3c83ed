"""dnf and rpm: the commands, and readers of what they print.

dnf waits for its own lock. Packages of this family neither start nor enable their services (systemd presets), so
`no_start` asks for nothing here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.command import Command, sh
from nornir_stack.tasks.system.transaction import Forecast, Installed, State, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

_STATE = r"""
rpm -q --qf '%{NAME}\t%{EVR}\n' "$@" | grep "$(printf '\t')"
sed 's/^/lock /' /etc/dnf/plugins/versionlock.list 2>/dev/null
:
"""
_TEST = """
export LC_ALL=C
rpm -e --test "$@" 2>&1
:
"""
_TRANSACTION = """
export LC_ALL=C
exec </dev/null
installs=$1; shift
set -- "$@" --end
while [ "$installs" -gt 0 ]; do set -- "$@" "$1"; shift; installs=$((installs - 1)); done
gone=
while [ "$1" != --end ]; do gone="$gone $1"; shift; done
shift
if [ -n "$gone" ]; then dnf -y -q --setopt=clean_requirements_on_remove=False remove $gone || exit; fi
if [ $# -gt 0 ]; then dnf -y -q --setopt=install_weak_deps=False install "$@"; fi
"""
_HOLDS = """
export LC_ALL=C
exec </dev/null
dnf versionlock --help >/dev/null 2>&1 || dnf -y -q install python3-dnf-plugin-versionlock || exit
count=$1; shift
while [ "$count" -gt 0 ]; do dnf -q versionlock add "$1" || exit; shift; count=$((count - 1)); done
while [ $# -gt 0 ]; do dnf -q versionlock delete "$1" || exit; shift; done
"""


def state(names: Sequence[str]) -> Command:
    """Look at packages and at the version locks."""
    return sh(_STATE, *names)


def parse_state(text: str) -> State:
    """rpm knows no half configured packages: what it lists is whole."""
    packages: dict[str, Installed] = {}
    held = set()
    for line in text.splitlines():
        if line.startswith("lock "):
            lock = re.match(r"^lock ([A-Za-z0-9][A-Za-z0-9+._-]*?)-\d+:", line)
            held.update([lock[1]] if lock else [])
        else:
            name, _, version = line.partition("\t")
            packages[name] = Installed(version)
    return State(packages, frozenset(held))


def forecast(wanted: Work) -> Command | None:
    """Only what would lose its footing by a removal; dnf itself says what it cannot install."""
    return sh(_TEST, *wanted.remove) if wanted.remove else None


def parse_forecast(text: str) -> Forecast:
    """From `rpm -e --test`: `libx is needed by (installed) app-1.0-1.el9.x86_64`."""
    needed = re.findall(r"is needed by \(installed\) (\S+)-[^-\s]+-[^-\s]+$", text, re.MULTILINE)
    return Forecast(removed=tuple(dict.fromkeys(needed)))


def refresh(seconds: int) -> Command:
    """Fetch the lists."""
    return sh('export LC_ALL=C; exec timeout "$1" dnf -y -q makecache </dev/null', str(seconds + 600))


def transaction(wanted: Work, seconds: int) -> Command:  # noqa: ARG001  dnf waits as long as it takes
    """Remove, then install; what only the removed packages needed is left."""
    return sh(_TRANSACTION, str(len(wanted.install)), *wanted.install, *wanted.remove)


def missing(said: str) -> tuple[str, ...]:
    """The packages that dnf could not find, by its own words."""
    found = re.findall(r"^(?:Error: )?(?:No match for argument|Unable to find a match): (.+)$", said, re.MULTILINE)
    return tuple(dict.fromkeys(name for names in found for name in names.split()))


def holds(hold: Sequence[str], release: Sequence[str], seconds: int) -> Command:  # noqa: ARG001  likewise
    """Lock and unlock versions, by dnf's plugin, which is installed where it is missing."""
    return sh(_HOLDS, str(len(hold)), *hold, *release)
