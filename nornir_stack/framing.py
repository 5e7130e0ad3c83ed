"""How commands are put into one persistent POSIX shell, and how their output is found in its two streams. Pure.

The shell reads scripts from its stdin. It leads a session, or sudo does for it (`Way.start`), and a command is in it: what
is younger there than the command can be ended with it, and what earlier ones left is not touched. A session of its own for
each (setsid) would cost a third of a short command. Only those with a long stdin have one, since the shell's own helpers
stand beside them, and those of a shell with a terminal (sudo's use_pty), at which they could ask and wait for ever.

The output ends with a mark that holds a nonce which the command cannot know. The mark needs no line's end before it, so output
is binary-safe. Output begins where the last one ended: a shell into whose streams something may still write is left.

A connection may end in the middle of what is sent. Every script is one `{ ...; }`, which a shell reads to its end before it
runs any of it, and no command begins before its stdin has arrived whole: half a file is not written, half a dump not loaded.
"""

from __future__ import annotations

import re
import secrets
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Longer stdin goes past the shell instead of through its parser, which in bash reads byte by byte, and waits in the memory
# of a `tail` until it is whole. Below it, one write does. Smaller than a pipe holds: nothing can block on a command that
# reads none.
INLINE_STDIN = 16 * 1024

# The locale is C with UTF-8 for characters only: LC_ALL=C.UTF-8 would make every program open a dozen files, a tenth or more
# of what a short command costs.
# `_e` prints the marks at the end. A command may have made the pipe non-blocking, hence the loops.
# A command may signal its process group, which is the shell's too: the shell ignores what it can (but PIPE, of which it dies
# when the connection is gone), and each command takes its signals back. INT and QUIT are ignored in what runs behind `&`.
# Ignored and not trapped: a trap interrupts `wait`, whose status is -1 then in some of bash's releases.
# `_c` gives a command a session of its own where the shell has a terminal.
# `_w NONCE PID` waits for a command; `_r NONCE WORD...` runs one in a session of its own, with fd 3 as its stdin.
# `_l` asks who could still write into the pipes: a process younger than the command that holds one of them. A daemon that
# let go of them does no harm. Younger are the pids from the command's to the kernel's last one: mostly none, or few.
_SIGNALS = "HUP USR1 USR2 ALRM TERM"
PRELUDE = r"""
unset ENV BASH_ENV DEBIAN_FRONTEND
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset LC_ALL LANGUAGE LC_COLLATE LC_MESSAGES LC_MONETARY LC_NUMERIC LC_TIME
unset LC_ADDRESS LC_IDENTIFICATION LC_MEASUREMENT LC_NAME LC_PAPER LC_TELEPHONE
case $(locale -a 2>/dev/null) in *C.utf8* | *C.UTF-8*) LC_CTYPE=C.UTF-8 ;; *) LC_CTYPE=C ;; esac
LANG=C
export PATH LANG LC_CTYPE
umask 022
cd /
_e() {
    until printf '%se%s %s\n' "$1" "$2" "$3" 2>/dev/null; do sleep 0.02; done
    until printf '%se\n' "$1" >&2; do sleep 0.02; done
}
_h() {
    for _f in /proc/"$1"/fd/*; do
        [ "$_f" -ef /proc/$$/fd/1 ] && return
        [ "$_f" -ef /proc/$$/fd/2 ] && return
    done
    return 1
}
_l() {
    read -r _ _ _ _ _x </proc/loadavg
    _i=$1
    if [ "$_x" -ge "$_i" ] && [ "$_x" -le $((_i + 300)) ]; then
        while [ "$_i" -lt "$_x" ]; do
            _i=$((_i + 1))
            [ -e "/proc/$_i" ] && _h "$_i" && return
        done
        return 1
    fi
    for _d in /proc/[0-9]*; do
        _d=${_d#/proc/}
        [ "$_x" -gt "$_i" ] && [ "$_d" -gt "$_x" ] && continue
        [ "$_x" -gt "$_i" ] && [ "$_d" -le "$_i" ] && continue
        [ "$_d" != $$ ] && _h "$_d" && return
    done
    return 1
}
read -r _x </proc/$$/stat
set -- ${_x##*) }
if [ "$5" = 0 ]; then _c=; else _c='setsid --'; fi
trap '' INT QUIT %(signals)s
_w() {
    wait "$2" 2>/dev/null
    _s=$?
    if _l "$2"; then _e "$1" "$_s" 1; else _e "$1" "$_s" 0; fi
}
_r() {
    _n=$1
    shift
    ( trap - %(signals)s; exec setsid -- "$@" ) <&3 3<&- &
    _w "$_n" $!
}
""".replace("%(signals)s", _SIGNALS)

# Ends the command of the shell `shell` with all that it started: politely, and after two seconds by force. Zombies have
# ended: not every PID 1 reaps at once. `apart`: it is found as the child in a session of its own, of the shell or of its
# subshell (two rounds: a child may stand before its parent). Else it is the shell's child, and what is younger than it in the
# shell's session (a tick is 10 ms: then the pid tells) is its doing, but for what an older process there has started. A
# process in the background measures the time: on a busy machine one look at all processes may take half a second, and
# counted looks would not end before this shell is given up.
_END_COMMAND = r"""
apart={apart}
find() {{
    read -r line </proc/{shell}/stat || return
    set -- ${{line##*) }}
    own=$4
    family=" {shell} "
    leaders=
    since=
    for round in 1 2; do
        for s in /proc/[0-9]*/stat; do
            read -r line <$s || continue
            set -- "${{line%% *}}" ${{line##*) }}
            case $family in *" $3 "*) ;; *) continue ;; esac
            if [ "$5" != "$own" ]; then
                leaders="$leaders $5 "
            elif [ "$apart" ]; then
                family="$family$1 "
            elif [ ! "$since" ] || [ "${{21}}" -lt "$since" ]; then
                since=${{21}} first=$1
            fi
        done
    done
}}
ours() {{
    case $leaders in *" $5 "*) return ;; esac
    [ "$since" ] && [ "$5" = "$own" ] || return
    while [ "$5" = "$own" ]; do
        [ "${{21}}" -gt "$since" ] || {{ [ "${{21}}" = "$since" ] && [ "$1" -ge "$first" ]; }} || return
        [ "$3" != {shell} ] || return 0
        read -r line </proc/"$3"/stat || return 0
        set -- "${{line%% *}}" ${{line##*) }}
    done
}}
each() {{
    signal=$1
    found=
    for s in /proc/[0-9]*/stat; do
        read -r line <$s || continue
        set -- "${{line%% *}}" ${{line##*) }}
        [ "$2" != Z ] && ours "$@" && kill "-$signal" "$1" && found=1
    done
}}
timer=
timed() {{
    [ ! "$timer" ] || kill -KILL "$timer"
    sleep "$1" >/dev/null &
    timer=$!
}}
timed 3
while find; [ ! "$leaders$since" ] && kill -0 "$timer"; do sleep 0.1; done
each TERM
each CONT
timed 2
while each 0; [ "$found" ] && kill -0 "$timer"; do sleep 0.1; done
kill -KILL "$timer"
each KILL
kill -CONT {shell}
"""

# The line behind the stdin (see STDIN_END) tells that it is whole; then the mark goes ahead of it to where the command waits.
# The rest of what the command did not read is drained: nothing of it may reach the shell as a script.
_STREAMED = b"""{ echo %(mark)sb
{ { head -c %(size)d && read -r _ && echo %(mark)s >&8; } | tail -c %(size)d; } 8>&1 | {
    read -r _v && [ "$_v" = %(mark)s ] || exit 1
    _r %(mark)s %(words)s 3<&0
    cat >/dev/null
} || exit 1
}
"""
STDIN_END = b"\n"

_PLAIN = re.compile(rb"[^ -~\n]|\\")
_END = re.compile(rb"(\d+) ([01])\n")


def nonce() -> str:
    """128 random bits: nobody's output holds it by chance, and no command can know it."""
    return secrets.token_hex(16)


def command_script(argv: Sequence[str], stdin: bytes, mark: str) -> bytes:
    """What runs `argv` once.

    Where `stdin` is longer than INLINE_STDIN, it is to be written once `Reply.began`, and STDIN_END behind it.
    """
    words = " ".join(map(shlex.quote, argv)).encode("utf-8", "surrogateescape")
    if len(stdin) > INLINE_STDIN:
        return _STREAMED % {b"mark": mark.encode(), b"size": len(stdin), b"words": words}
    call = b"( trap - %s; exec $_c %s )" % (_SIGNALS.encode(), words)
    given = b"printf %%b '%s' | %s" % (_escaped(stdin), call) if stdin else call + b" </dev/null"
    return b"{ %s & _w %s $!\n}\n" % (given, mark.encode())


def end_script(shell: int, *, streamed: bool) -> str:
    """What another shell runs to end the command that the shell with the pid `shell` runs."""
    return "{ " + _END_COMMAND.format(shell=shell, apart="1" if streamed else "") + " } 2>/dev/null"


def shell_script(script: str, mark: str) -> bytes:
    """What runs a script of our own in the persistent shell itself: for locks, which are its file descriptors."""
    body = script.encode("utf-8", "surrogateescape")
    return b"{ { %s\n} </dev/null\n_e %s $? 0\n}\n" % (body, mark.encode())


def _escaped(data: bytes) -> bytes:
    """For `printf %b` within single quotes: printable ASCII as it is, all else as octal."""
    return _PLAIN.sub(lambda found: b"\\0%03o" % found[0][0], data).replace(b"'", b"'\\''")


class Reply:
    """Finds one command's output in the two streams, whatever pieces they come in.

    `streamed`: it is to be told when to write its stdin; `began` then. `left`: something that it started may still write.
    """

    def __init__(self, mark: str, *, streamed: bool = False) -> None:
        self._begin, self._end = f"{mark}b\n".encode(), f"{mark}e".encode()
        self._buffers = (bytearray(), bytearray())
        self._searched = [0, 0]
        self._ended = [False, False]
        self.began = not streamed
        self.status = 0
        self.left = False

    def feed(self, data: bytes, *, stderr: bool) -> bool:
        """Take a piece of stdout or stderr; True once both are complete."""
        if not self._ended[stderr]:
            self._buffers[stderr].extend(data)
            if stderr:
                self._seek_end_of_stderr()
            elif self.began or self._seek_begin():
                self._seek_end_of_stdout()
        return all(self._ended)

    @property
    def out(self) -> bytes:
        return bytes(self._buffers[0])

    @property
    def err(self) -> bytes:
        return bytes(self._buffers[1])

    def _seek_begin(self) -> bool:
        at = self._buffers[0].find(self._begin)
        if at >= 0:
            self.began = True
            del self._buffers[0][: at + len(self._begin)]
        return self.began

    def _seek_end_of_stdout(self) -> None:
        """Only what was not searched yet is searched: long output costs no more than once."""
        buffer = self._buffers[0]
        at = buffer.find(self._end, self._searched[0])
        if at < 0:
            self._searched[0] = max(0, len(buffer) - len(self._end))
        elif found := _END.match(buffer, at + len(self._end)):
            self.status, self.left = int(found[1]), found[2] == b"1"
            self._cut(0, at)
        else:
            self._searched[0] = at

    def _seek_end_of_stderr(self) -> None:
        at = self._buffers[1].find(self._end, self._searched[1])
        if at >= 0:
            self._cut(1, at)
        else:
            self._searched[1] = max(0, len(self._buffers[1]) - len(self._end))

    def _cut(self, stream: int, at: int) -> None:
        del self._buffers[stream][at:]
        self._ended[stream] = True
