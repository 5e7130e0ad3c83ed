"""The scripts by which a node takes back a change to its network: saved state, timer, and what runs at the next boot. Pure.

POSIX sh, coreutils, sed, iproute2 and systemd. Everything lies in one folder, which is there exactly as long as a change
waits to be confirmed. Who makes the link `verdict` first decides: the controller (confirmed) or the node (undone).
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.secret import reveal
from nornir_stack.undo_live import LIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.command import Command

HOME = "/var/lib/nornir-stack"
STATE = f"{HOME}/undo"
RECORD = f"{HOME}/undone"
UNIT = "nornir-stack-undo"
LOCK = "/run/lock/nornir-stack"  # the lock on a node, as in locks
WAITING, NO_SYSTEMD, TOO_LATE = 75, 76, 77

_HEAD = f"""
S={STATE} U={UNIT} LOCK={LOCK}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
units="/etc/systemd/system/$U-boot.service /etc/systemd/system/sysinit.target.wants/$U-boot.service
/etc/systemd/system/$U-late.service /etc/systemd/system/multi-user.target.wants/$U-late.service"
"""

# The folder goes first: without it the units do nothing; a folder without units would stay and stop the next change.
# It becomes $1 in one step, which needs no room on a full disk: a change that was undone is never without a record.
_LEAVE = """
leave() {
    rm -rf -- "$1"
    mv -T -- "$S" "$1" || return
    sync -- "${S%/*}"
    rm -f -- $units
    rm -rf -- "$1/files" "$1"/live* "$1"/*.sh "$1/verdict"
    for u in $units; do sync -- "${u%/*}" 2>/dev/null; done
    sync -- "${S%/*}"
}
"""

# The first ends before anything reads the files; it also runs generators anew, which ran before it (netplan).
_BOOT_UNIT = f"""[Unit]
Description=Takes back the files of a network change that nobody confirmed
DefaultDependencies=no
RequiresMountsFor={STATE}
ConditionPathExists={STATE}
After=local-fs.target systemd-remount-fs.service
Before=network-pre.target sysinit.target shutdown.target systemd-networkd.service networking.service network.service
Before=NetworkManager.service nftables.service firewalld.service iptables.service ip6tables.service
Before=netfilter-persistent.service ufw.service openvswitch-switch.service ovsdb-server.service systemd-sysctl.service
Wants=network-pre.target
Conflicts=shutdown.target
[Service]
Type=oneshot
ExecStart=/bin/sh {STATE}/undo.sh boot
"""
_LATE_UNIT = f"""[Unit]
Description=Takes back a network change that nobody confirmed
ConditionPathExists={STATE}
After=network.target {UNIT}-boot.service openvswitch-switch.service firewalld.service nftables.service
[Service]
Type=oneshot
ExecStart=/bin/sh {STATE}/undo.sh late
"""

# `undo.sh timer`: now, on a running node; `boot`: the files, before the network starts; `late`: the rest, after it did.
# What could not be brought back is written into `left`, which the controller reads.
_UNDO = """
left() { echo "$*" | tee -a "$S/left"; }
files() {
    for p in "$S"/files/*.path; do
        [ -e "$p" ] || continue
        f=$(cat "$p"; echo .); f=${f%.} o=${p%.path}
        case $f in /etc/systemd/system/*|/etc/netplan*) reload=1 ;; esac
        if ! [ -e "$o" ] && ! [ -L "$o" ]; then rm -rf -- "$f" || left "$f could not be taken away"; continue; fi
        n=$f.nornir-stack-undo
        rm -rf -- "$n"
        mkdir -p -- "${f%/*}"
        cp -aT -- "$o" "$n" || { rm -rf -- "$n"; left "$f could not be brought back"; continue; }
        if [ -d "$f" ] && ! [ -L "$f" ]; then rm -rf -- "$f"; fi
        mv -fT -- "$n" "$f" || left "$f could not be brought back"
        find "$f" "${f%/*}" -maxdepth 1 -exec sync -- {} + 2>/dev/null
    done
    [ -z "$reload" ] || systemctl daemon-reload
}
commands() {
    timeout 120 sh "$S/restore.sh"
    if [ $? = 124 ]; then left "the restoring commands did not end within 120 s"; fi
}
gone() {
    leave "$2"
    case $1 in
        timer) systemctl stop --no-block "$U.timer" "$U-lock.service" 2>/dev/null ;;
        late) systemctl --no-block daemon-reload ;;  # this manager knows the units, and their files are gone
    esac
    :
}
[ -d "$S" ] || exit 0
if ! ln -s undone "$S/verdict" 2>/dev/null && [ "$(readlink "$S/verdict")" != undone ]; then
    gone "$1" "$S.gone"  # it was confirmed by one who could not tidy up
    rm -rf -- "$S.gone"
    exit 0
fi
exec >>"$S/log" 2>&1
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) undone ($1)"
echo "$1" >"$S/how"
case $1 in
    boot) files; exit 0 ;;
    late)
        exec 8>>"$LOCK"
        if flock -n 8; then cat "$S/about" >"$LOCK"; fi
        commands
        ;;
    timer)
        systemctl stop "$U-apply.service" 2>/dev/null
        files
        if [ -s "$S/restore.sh" ]; then live_restore "$S/live" 3; commands; fi
        restore_devices "$S/live"
        live_restore "$S/live" 6
        while read -r line; do left "$line"; done <"$S/live.left"
        ;;
esac
gone "$1" "$R"
"""

# The pause lets the answer out by the connection that may be cut.
_APPLY = """
sleep 0.2
sh -e "$S/steps.sh" >"$S/out" 2>&1 </dev/null
echo $? >"$S/applied.new"
mv "$S/applied.new" "$S/applied"
[ "$(cat "$S/applied")" = 0 ] || systemctl start --no-block "$U.service"
"""

# Holds the node's lock from the moment on at which the one who holds it now lets go of it, in that one's name.
_HOLD = """
exec 8>>"$LOCK"
flock 8
cat "$S/about" >"$LOCK" 2>/dev/null
while [ -d "$S" ]; do sleep 0.2; done
: >"$LOCK"
"""

# Who was killed between the folder and the timer has done nothing: the steps are begun after that, with `out`.
_ARM = """
set -e
never_begun() {
    [ ! -e "$S/out" ] && [ ! -e "$S/verdict" ] && ! systemctl is-active -q "$U.timer" "$U.service" "$U-apply.service"
}
umask 077
[ -d /run/systemd/system ] || exit 76
mkdir -p "$H"
exec 7>>"$LOCK-arming"
flock 7
N=$S.new
rm -rf -- "$N"
if [ -d "$S" ] && never_begun; then mv -T -- "$S" "$N"; rm -rf -- "$N"; fi
if [ -d "$S" ]; then cat "$S/about"; exit 75; fi
mkdir -p "$N/files"
armed=
trap 'rm -rf -- "$N"; [ "$armed" ] || { stop_units; rm -f -- $units; rm -rf -- "$S"; }' EXIT
trap 'exit 1' HUP INT TERM  # else it would leave a change that waits without a timer
stop_units() { systemctl stop "$U.timer" "$U-lock.service" "$U-apply.service" 2>/dev/null || :; }
put() { base64 -d >"$N/$1"; }
i=0
keep() {
    i=$((i + 1))
    printf %s "$1" >"$N/files/$i.path"
    if [ -e "$1" ] || [ -L "$1" ]; then cp -aT -- "$1" "$N/files/$i"; fi
    if [ -L "$1" ]; then keep "$(readlink -f -- "$1")"; fi
}
"""
_START = """
who=$(cat "$LOCK" 2>/dev/null) || who=
echo "${who:-$about}" >"$N/about"
live_save "$N/live"
put_unit() { base64 -d >"$1"; chmod 0644 "$1"; mkdir -p "$2"; ln -sf "$1" "$2/"; }
"""
_GO = """
i=0  # those of an earlier change are just going
while [ -n "$(systemctl list-units --all --plain --no-legend "$U.*" "$U-lock.*" "$U-apply.*")" ] && [ $i -lt 50 ]; do
    sleep 0.1
    i=$((i + 1))
done
rm -rf -- "$R"
mv -T -- "$N" "$S"
find "$S" "$H" $units -exec sync -- {} +
for u in $units; do sync -- "${u%/*}"; done
systemd-run --quiet --collect --unit="$U" --on-active="$within" --timer-property=AccuracySec=100ms /bin/sh "$S/undo.sh" timer
systemd-run --quiet --collect --unit="$U-lock" /bin/sh "$S/hold.sh"
systemd-run --quiet --collect --unit="$U-apply" /bin/sh "$S/apply.sh"
armed=yes
"""

# Once the verdict is on the disk the change stands, also through a power cut: hence its files are there before it.
# Asked once more it does what is left to do.
CONFIRM = f"""{_HEAD}{_LEAVE}
[ "$(readlink "$S/verdict")" != undone ] || exit {TOO_LATE}
for p in "$S"/files/*.path; do
    [ -e "$p" ] || continue
    f=$(cat "$p"; echo .); f=${{f%.}}
    find "$f" -exec sync -- {{}} + 2>/dev/null
    sync -- "${{f%/*}}/" 2>/dev/null
done
for u in $units; do sync -- "${{u%/*}}" 2>/dev/null; done
ln -s confirmed "$S/verdict" 2>/dev/null || [ "$(readlink "$S/verdict")" = confirmed ] || exit {TOO_LATE}
sync -- "$S"
systemctl stop "$U.timer"
leave "$S.gone"
rm -rf -- "$S.gone"
systemctl stop "$U-lock.service" "$U-apply.service" 2>/dev/null
rmdir "${{S%/*}}" 2>/dev/null
:
"""
# One line: `arming`, `waits STATUS`, `undoing`, `confirmed`, `none` (never begun, or confirmed and tidied up), or
# `undone STATUS HOW LEFT`; then what the steps said. STATUS is - before they ended; LEFT is what is not as before.
LOOK = f"""
S={STATE} R={RECORD}
if [ -e "{LOCK}-arming" ] && ! flock -n "{LOCK}-arming" true; then echo arming; exit; fi
if [ -d "$S" ]; then
    case $(readlink "$S/verdict") in
        undone) echo undoing ;;
        confirmed) echo confirmed ;;
        *) echo "waits $(cat "$S/applied" 2>/dev/null || echo -)" ;;
    esac
    exit
fi
if ! [ -d "$R" ]; then echo none; exit; fi
s=$(cat "$R/applied" 2>/dev/null || echo -) h=$(cat "$R/how" 2>/dev/null || echo -)
echo "undone $s $h $(tr '\\n' ';' <"$R/left" 2>/dev/null)"
cat "$R/out" 2>/dev/null
"""
UNDO_NOW = f"systemctl start --no-block {UNIT}.service"
TIDY = f"rm -rf -- {RECORD}; rmdir {HOME} 2>/dev/null; :"


@dataclass(frozen=True)
class Change:
    """What is to be done on a node and how it is taken back. `within` in seconds; `about`: one line on who does it."""

    steps: Sequence[Command]
    files: Sequence[str]
    restore: Sequence[Command]
    within: float
    about: str


def arm(change: Change) -> str:
    """The script that saves, arms the timer, and starts the steps apart from the connection.

    Ends with WAITING (printing who) where another change waits to be confirmed, with NO_SYSTEMD where none is.
    """
    scripts = {
        "undo.sh": f"{_HEAD}R={RECORD}\n{LIVE}\n{_LEAVE}\n{_UNDO}",
        "apply.sh": _HEAD + _APPLY,
        "hold.sh": _HEAD + _HOLD,
        "steps.sh": script(change.steps),
        "restore.sh": script(change.restore, left=True),
    }
    units = (("boot", "sysinit", _BOOT_UNIT), ("late", "multi-user", _LATE_UNIT))
    folder = "/etc/systemd/system"
    return "".join(
        [
            _HEAD,
            f"H={HOME} R={RECORD} within={change.within:.3f}s about={shlex.quote(change.about)}\n",
            LIVE,
            _ARM,
            *(f"put {name} <<'END'\n{_encoded(text)}\nEND\n" for name, text in scripts.items()),
            *(f"keep {shlex.quote(path)}\n" for path in change.files),
            _START,
            *(
                f"put_unit {folder}/{UNIT}-{name}.service {folder}/{target}.target.wants <<'END'\n{_encoded(text)}\nEND\n"
                for name, target, text in units
            ),
            _GO,
        ]
    )


def script(commands: Sequence[Command], *, left: bool = False) -> str:
    """These commands one after the other; their stdin stands in it. With `left` one that fails is written down there."""
    return "".join(f"{_line(command, left=left)}\n" for command in commands)


def _line(command: Command, *, left: bool) -> str:
    words = shlex.join(command.argv)
    stdin = reveal(command.stdin)
    if left:
        words += f" || echo {shlex.quote(f'`{command.line}` ended with status')} $? | tee -a {STATE}/left"
    return f"base64 -d <<'END' | {words}\n{base64.encodebytes(stdin).decode()}END" if stdin else f"</dev/null {words}"


def _encoded(text: str) -> str:
    return base64.encodebytes(text.encode("utf-8", "surrogateescape")).decode().rstrip()
