"""dnf and rpm: the commands, and readers of what they print. Tried with dnf 4.14 and rpm 4.18.

A name may carry a version (`haproxy-2.4.22`, `haproxy-2.4.22-3.el9`) or an architecture, dnf(8) "specifying packages": it is
there when that version is, and dnf goes up or down to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.command import Command, sh
from nornir_stack.tasks.system.transaction import Forecast, Installed, State, Work, patient

if TYPE_CHECKING:
    from collections.abc import Sequence

# A line for each form in which a package may be asked for.
_STATE = r"""
format=
for form in '%{NAME}' '%{NAME}.%{ARCH}' '%{NAME}-%{VERSION}' '%{NAME}-%{VERSION}-%{RELEASE}' '%{NVRA}'; do
    format="$format$form\t%{EVR}\n"
done
rpm -q --qf "$format" "$@" | grep "$(printf '\t')"
sed 's/^/lock /' /etc/dnf/plugins/versionlock.list 2>/dev/null
:
"""

# rpm's test decides whether a removal takes others with it, whoever holds dnf's locks; it names only those that need the
# package themselves, dnf names all. At debug level 3 dnf says in a line each what it would do with a package. It does not wait
# for another dnf here: the transaction does.
_FORECAST = r"""
export LC_ALL=C
exec </dev/null
day=$1 installs=$2; shift 2
would() { dnf -C -d 3 --assumeno --setopt=exit_on_lock=True --setopt=clean_requirements_on_remove=False "$@" 2>&1; }
set -- "$@" --end
while [ "$installs" -gt 0 ]; do set -- "$@" "$1"; shift; installs=$((installs - 1)); done
removing=
while [ "$1" != --end ]; do removing="$removing $1"; shift; done
shift
if [ -n "$removing" ]; then
    rpm -q --qf 'leaves %{NAME} %{EVR}\n' $removing
    rpm -e --test $removing 2>&1 || would remove $removing
fi
if [ $# = 0 ]; then exit 0; fi
lists=$(ls -t /var/cache/dnf/*/repodata/*primary.xml* 2>/dev/null | head -n 1) stale=no
if [ -z "$lists" ] || [ $(( $(date +%s) - $(stat -c %Y "$lists") )) -gt "$day" ]; then stale=yes; fi
for source in /etc/yum.repos.d /etc/yum.repos.d/*.repo; do
    if [ "$source" -nt "$lists" ]; then stale=yes; fi
done
echo "stale $stale"
for name; do echo "asked $name"; done
would --setopt=install_weak_deps=False install "$@"
:
"""

# `patient` runs a command again while somebody else holds a lock. dnf waits for another dnf for ever (with exit_on_lock it ends
# with status 200), and dnf and rpm give up at once where rpm is at work.
_PATIENT = (
    patient("", '200\\ *|*"can\'t create transaction lock on"*')
    + """
dnf="dnf -y -q --setopt=exit_on_lock=True"
"""
)

# Red Hat's packages do not start their services, and presets enable few; some packages of others enable theirs themselves. Of
# the new packages, those built from the same source as a named one have their units disabled.
_TRANSACTION = (
    _PATIENT
    + r"""
no_start=$1 installs=$2; shift 2
set -- "$@" --end
while [ "$installs" -gt 0 ]; do set -- "$@" "$1"; shift; installs=$((installs - 1)); done
removing=
while [ "$1" != --end ]; do removing="$removing $1"; shift; done
shift
here() { rpm -qa --qf '%{NAME}\n' | sort -u; }
if [ -n "$removing" ]; then patient $dnf --setopt=clean_requirements_on_remove=False remove $removing || exit; fi
if [ $# = 0 ]; then exit 0; fi
if [ "$no_start" = yes ]; then
    before=$(mktemp) || exit
    trap 'rm -f "$before"' EXIT
    trap 'exit 143' TERM INT HUP
    here >"$before"
fi
patient $dnf --setopt=install_weak_deps=False install "$@" || exit
if [ "$no_start" = yes ]; then
    sources=$(rpm -q --qf '%{SOURCERPM}\n' "$@")
    here | comm -13 "$before" - | while read -r name; do
        rpm -q --qf '%{SOURCERPM}\n' "$name" | grep -qxF "$sources" || continue
        rpm -ql "$name" | sed -n 's#^/usr/lib/systemd/system/\([^/@]*\.\(service\|socket\|timer\|path\)\)$#\1#p'
    done | sort -u | while read -r unit; do
        [ "$(systemctl is-enabled "$unit" 2>/dev/null)" = enabled ] || continue
        systemctl disable "$unit" || exit 1
    done
fi
"""
)
_HOLDS = (
    _PATIENT
    + r"""
dnf versionlock --help >/dev/null 2>&1 || patient $dnf install python3-dnf-plugin-versionlock || exit
count=$1; shift
while [ "$count" -gt 0 ]; do patient $dnf versionlock add "$1" || exit; shift; count=$((count - 1)); done
while [ $# -gt 0 ]; do patient $dnf versionlock delete "$1" || exit; shift; done
"""
)
# $1: a file of keys. By which names rpm would know them, of those that it knows.
_KEYS = r"""
[ -f "$1" ] || exit 0
names=
scratch=$(mktemp -d) || exit
rpm --dbpath "$scratch" --import "$1" && names=$(rpm --dbpath "$scratch" -q gpg-pubkey)
rm -rf "$scratch"
for name in $names; do if rpm -q "$name" >/dev/null 2>&1; then echo "$name"; fi; done
"""
_DAY = 86400


def state(names: Sequence[str]) -> Command:
    """Look at packages and at the version locks."""
    return sh(_STATE, *names)


def parse_state(text: str) -> State:
    """rpm knows no half configured packages: what it lists is whole."""
    packages: dict[str, Installed] = {}
    held: set[str] = set()
    for line in text.splitlines():
        if line.startswith("lock "):
            lock = re.match(r"^lock ([A-Za-z0-9][A-Za-z0-9+._-]*?)-\d+:([^-\s]+)-(\S+?)(?:\.[^.\s]+)?$", line)
            held.update((lock[1], f"{lock[1]}-{lock[2]}", f"{lock[1]}-{lock[2]}-{lock[3]}") if lock else ())
        else:
            name, _, version = line.partition("\t")
            packages[name] = Installed(version)
    return State(packages, frozenset(held))


def forecast(wanted: Work) -> Command | None:
    """Look at what the lists on the node know, what dnf would do, and what would lose its footing by a removal."""
    if not (wanted.install or wanted.remove):
        return None
    return sh(_FORECAST, str(_DAY), str(len(wanted.install)), *wanted.install, *wanted.remove)


_WOULD = re.compile(
    r"^---> Package (\S+)\.\S+ (\S+) will be (installed|upgraded|an upgrade|a downgrade|erased|obsoleted)$", re.MULTILINE
)
_NEEDED = re.compile(r"is needed by \(installed\) (\S+)-[^-\s]+-[^-\s]+$", re.MULTILINE)
_BARRED = re.compile(r"^All matches were filtered out by \S+ filtering for argument: (\S+)$", re.MULTILINE)


def parse_forecast(text: str) -> Forecast:
    """From `---> Package app.x86_64 1.0-1.el9 will be installed` and rpm's `libx is needed by (installed) app-1.0-1.el9`.

    What a package that comes obsoletes is replaced by it: that is in the lines, and is no removal.
    """
    named = dict(re.findall(r"^leaves (\S+) (\S+)$", text, re.MULTILINE))
    going, coming = dict(named), []
    erased = list(_NEEDED.findall(text))
    for name, version, how in _WOULD.findall(text):
        if how == "erased":
            going.setdefault(name, version)
            erased.append(name)
        else:
            coming.append(f"{'-' if how in {'upgraded', 'obsoleted'} else '+'}{name} {version}")
    barred = list(dict.fromkeys(_BARRED.findall(text)))
    unknown = tuple(name for name in missing(text) if name not in barred)
    stale = "stale yes" in text.splitlines() or "Cache-only enabled but no cache" in text
    kept_out = [
        f"the sources have {name}, and a version lock, an exclude or its module's stream keeps it out: take that away first"
        for name in barred
    ]
    return Forecast(
        unknown=unknown,
        stale=stale,
        lines=(*(f"-{name} {version}" for name, version in going.items()), *coming),
        removed=tuple(dict.fromkeys(name for name in erased if name not in named)),
        against=(*kept_out, *_others(text, coming)) if not unknown else (),
    )


def _others(text: str, coming: Sequence[str]) -> list[str]:
    """Of what was asked for, what dnf knows as something that another package provides."""
    names = [line[1:].partition(" ")[0] for line in coming if line.startswith("+")]
    there = re.findall(r"^Package (\S+) is already installed\.$", text, re.MULTILINE)
    taken = " and ".join([*names, *there])
    own = tuple(f"{name}{mark}" for name in names for mark in "-.")
    asked = re.findall(r"^asked (\S+)$", text, re.MULTILINE) if taken else []
    return [
        f"there is no package {name} to install, what provides it is among {taken}: name that"
        for name in asked
        if name not in names and not name.startswith(own)
    ]


def refresh(seconds: int) -> Command:
    """Fetch the lists."""
    return sh(_PATIENT + "patient $dnf makecache\n", str(seconds))


def transaction(wanted: Work, seconds: int) -> Command:
    """Remove, then install; what only the removed packages needed is left. Waits so many seconds for a lock."""
    no_start = "yes" if wanted.no_start else "no"
    return sh(_TRANSACTION, str(seconds), no_start, str(len(wanted.install)), *wanted.install, *wanted.remove)


def upgrade(seconds: int) -> Command:
    """Install all that is newer. Waits so many seconds for a lock."""
    return sh(_PATIENT + "patient $dnf upgrade\n", str(seconds))


def missing(said: str) -> tuple[str, ...]:
    """The packages that dnf could not find, by its own words."""
    found = re.findall(r"^(?:Error: )?(?:No match for argument|Unable to find a match): (.+)$", said, re.MULTILINE)
    return tuple(dict.fromkeys(name for names in found for name in names.split()))


def holds(hold: Sequence[str], release: Sequence[str], seconds: int) -> Command:
    """Lock and unlock versions, by dnf's plugin, which is installed where it is missing."""
    return sh(_HOLDS, str(seconds), str(len(hold)), *hold, *release)


def keys(path: str) -> Command:
    """Look which keys of a file rpm trusts: dnf gives a repository's key to rpm, which takes it for every package."""
    return sh(_KEYS, path)


def forget(names: Sequence[str], seconds: int) -> Command:
    """Let rpm trust these keys no more."""
    return sh(_PATIENT + 'patient rpm -e "$@"\n', str(seconds), *names)
