"""apt and dpkg: the commands, and readers of what they print."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.command import Command, sh
from nornir_stack.tasks.system.transaction import Forecast, Installed, State, Work, patient

if TYPE_CHECKING:
    from collections.abc import Sequence

_DAY = 86400

_STATE = r"""
dpkg-query -W -f '${db:Status-Abbrev}\t${Package}\t${Version}\n' "$@" 2>/dev/null
if [ -d /var/lib/nornir-stack/no-start ]; then echo unfinished; fi
:
"""

# The lists' own times are the server's, so what counts is their folder, which `apt-get update` (below) touches.
_FORECAST = r"""
export LC_ALL=C
lists=/var/lib/apt/lists day=$1 installs=$2; shift 2
set -- "$@" --end
while [ "$installs" -gt 0 ]; do names="$names $1"; set -- "$@" "$1"; shift; installs=$((installs - 1)); done
while [ "$1" != --end ]; do set -- "$@" "$1-"; shift; done
shift
stale=no
ls "$lists" 2>/dev/null | grep -q _ || stale=yes
for source in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/sources.list.d/*; do
    if [ "$source" -nt "$lists" ]; then stale=yes; fi
done
if [ $(( $(date +%s) - $(stat -c %Y "$lists") )) -gt "$day" ]; then stale=yes; fi
echo "stale $stale"
for name in $names; do echo "asked $name"; done
if [ -n "$names" ]; then apt-cache policy $names 2>/dev/null; fi
echo simulation
apt-get -s -q --no-install-recommends install "$@" 2>/dev/null
:
"""

# `patient` runs a command again while somebody else holds one of apt's or dpkg's locks: dpkg itself and `apt-get update`
# do not wait, whatever DPkg::Lock::Timeout says.
_PATIENT = patient(
    "DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none",
    "*'Could not get lock'*|*'Unable to acquire the dpkg frontend lock'*|*'is locked by another process'*|"
    "*'Unable to lock'*|*'lock was locked by'*",
)

# what a dpkg that was cut has left
_FINISH = r"""
if [ -n "$(dpkg --audit)" ] || ls /var/lib/dpkg/updates | grep -q .; then
    patient dpkg --force-confdef --force-confold --configure -a || exit
fi
"""

_REFRESH = (
    _PATIENT
    + r"""
patient apt-get -q -o Acquire::Retries=3 update && touch /var/lib/apt/lists
"""
)

# What invoke-rc.d and deb-systemd-invoke ask before they start a service is /usr/sbin/policy-rc.d; 101 is "no". The one
# that a node had is put back whatever happens. A script that was killed hard leaves $own, and the next transaction,
# whoever asks for it, finishes under the same guard; ours is void after a reboot, so a lost one blocks nothing for ever.
# $own/before are the packages that were there: of the new ones, those built from the same source as a named package
# (mariadb-server and mariadb-server-10.5; percona-xtradb-cluster and -server) have their units disabled.
_TRANSACTION = (
    _PATIENT
    + r"""
own=/var/lib/nornir-stack/no-start policy=/usr/sbin/policy-rc.d
no_start=$1 removing=$2 named=$3; shift 3

here() { dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${source:Package}\n' | grep '^.i ' | cut -d'|' -f2- | sort; }

guard() {
    mkdir -p "$own" || exit 1
    if [ ! -e "$own/before" ]; then here >"$own/before.new" && mv "$own/before.new" "$own/before" || exit 1; fi
    printf '%s\n' $named >>"$own/named"
    if [ -e "$policy" ] || [ -L "$policy" ]; then grep -qs nornir-stack "$policy" || mv "$policy" "$own/policy-rc.d"; fi
    rm -f "$policy"
    cat >"$policy" <<END
#!/bin/sh
# nornir-stack: nothing starts while packages are installed
if [ "\$(cat /proc/sys/kernel/random/boot_id)" = "$(cat /proc/sys/kernel/random/boot_id)" ]; then exit 101; fi
if [ -x $own/policy-rc.d ]; then exec $own/policy-rc.d "\$@"; fi
exit 0
END
    chmod 0755 "$policy"
}

unguard() {
    if [ -e "$own/policy-rc.d" ] || [ -L "$own/policy-rc.d" ]; then mv -f "$own/policy-rc.d" "$policy"
    elif grep -qs nornir-stack "$policy"; then rm -f "$policy"; fi
}

keep_from_boot() {
    here >"$own/after"
    sources=$(grep -hFf "$own/named" "$own/after" | while IFS='|' read -r name source; do
        if grep -qxF "$name" "$own/named"; then echo "$source"; fi; done | sort -u)
    comm -13 "$own/before" "$own/after" | while IFS='|' read -r name source; do
        printf '%s\n' "$sources" | grep -qxF "$source" || continue
        dpkg -L "$name" | sed -n 's#^\(/usr\)\{0,1\}/lib/systemd/system/\([^/@]*\.\(service\|socket\|timer\|path\)\)$#\2#p'
    done | sort -u | while read -r unit; do
        [ "$(systemctl is-enabled "$unit" 2>/dev/null)" = enabled ] || continue
        systemctl disable "$unit" || echo "$unit" >>"$own/failed"
    done
    [ ! -e "$own/failed" ]
}

finish() {
    status=$?
    trap - EXIT
    unguard
    if [ -d "$own" ]; then
        rm -f "$own/failed"
        keep_from_boot || status=1
        if [ "$status" = 0 ] || [ -z "$(dpkg --audit)" ]; then rm -rf "$own"; rmdir /var/lib/nornir-stack 2>/dev/null; fi
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 143' TERM INT HUP

if [ "$no_start" = yes ] || [ -d "$own" ]; then guard; fi
"""
    + _FINISH
    + r"""
if [ $# = 0 ]; then exit 0; fi
patient apt-get -y -q --no-install-recommends $removing -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold -o "DPkg::Lock::Timeout=$seconds" -o Acquire::Retries=3 install "$@"
"""
)

_UPGRADE = (
    _PATIENT
    + _FINISH
    + r"""
patient apt-get -y -q -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    -o "DPkg::Lock::Timeout=$seconds" -o Acquire::Retries=3 --with-new-pkgs upgrade
"""
)

_HOLDS = (
    _PATIENT
    + r"""
count=$1; shift
while [ "$count" -gt 0 ]; do patient apt-mark hold "$1" || exit; shift; count=$((count - 1)); done
while [ $# -gt 0 ]; do patient apt-mark unhold "$1" || exit; shift; done
"""
)


def state(names: Sequence[str]) -> Command:
    """Look at packages: dpkg-query(1), whose status letters are wanted (h: hold), current (i: installed) and error."""
    return sh(_STATE, *names)


def parse_state(text: str) -> State:
    """Packages that only left their configuration behind (`rc`) are not there."""
    packages: dict[str, Installed] = {}
    held = set()
    for line in text.splitlines():
        status, tab, rest = line.partition("\t")
        if not tab:
            continue
        name, _, version = rest.partition("\t")
        if status[0] == "h":
            held.add(name)
        if status[1] in "nc":
            continue
        whole = status[1:3].strip() == "i"
        if name not in packages or not whole:
            packages[name] = Installed(version, whole)
    return State(packages, frozenset(held), unfinished="unfinished" in text.splitlines())


def forecast(wanted: Work) -> Command | None:
    """Look at what apt's lists know and what it would do; needs no lock."""
    if not (wanted.install or wanted.remove):
        return None
    return sh(_FORECAST, str(_DAY), str(len(wanted.install)), *wanted.install, *wanted.remove)


_INST = re.compile(r"^Inst (\S+) (?:\[([^]]+)\] )?\((\S+) ")
_REMV = re.compile(r"^(?:Remv|Purg) (\S+) \[([^]]+)\]")


def parse_forecast(text: str) -> Forecast:
    """From `apt-cache policy` (a package without a candidate is unknown) and the lines of `apt-get -s`."""
    policy, _, simulation = text.partition("simulation\n")
    asked = re.findall(r"^asked (\S+)$", policy, re.MULTILINE)
    found = {
        name
        for name, candidate in re.findall(r"^(\S+):\n  Installed: .*\n  Candidate: (.*)$", policy, re.MULTILINE)
        if candidate != "(none)"
    }
    lines, removed = [], []
    for line in simulation.splitlines():
        if new := _INST.match(line):
            lines += [f"-{new[1]} {new[2]}"] if new[2] else []
            lines.append(f"+{new[1]} {new[3]}")
        elif gone := _REMV.match(line):
            lines.append(f"-{gone[1]} {gone[2]}")
            removed.append(gone[1].partition(":")[0])
    return Forecast(
        tuple(name for name in asked if name not in found), "stale yes" in policy.splitlines(), tuple(lines), tuple(removed)
    )


def refresh(seconds: int) -> Command:
    """Fetch the lists; waits so many seconds for a lock."""
    return sh(_REFRESH, str(seconds))


def transaction(wanted: Work, seconds: int) -> Command:
    """Install and remove in one go; waits so many seconds for a lock."""
    removing = "" if wanted.remove else "--no-remove"
    specs = [*wanted.install, *(f"{name}-" for name in wanted.remove)]
    return sh(_TRANSACTION, str(seconds), "yes" if wanted.no_start else "no", removing, " ".join(wanted.install), *specs)


def upgrade(seconds: int) -> Command:
    """Install all that is newer; nothing is taken out, conffiles stay. Waits so many seconds for a lock."""
    return sh(_UPGRADE, str(seconds))


_MISSING = re.compile(r"^E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate)", re.MULTILINE)


def missing(said: str) -> tuple[str, ...]:
    """The packages that apt could not find, by its own words."""
    found = _MISSING.findall(said)
    return tuple(dict.fromkeys(one or other for one, other in found))


def holds(hold: Sequence[str], release: Sequence[str], seconds: int) -> Command:
    """Hold and release; apt-mark(8) writes dpkg's selections which is locked too."""
    return sh(_HOLDS, str(seconds), str(len(hold)), *hold, *release)
