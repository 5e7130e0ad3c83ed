"""packstack as a unit of systemd on the controller: it goes on without us, and says itself where it is and how it ended."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.secret import mask
from nornir_stack.settings import settings_of
from nornir_stack.tasks.maintenance.trouble import few
from nornir_stack.tasks.packstack.answers import answer_file, answers
from nornir_stack.tasks.packstack.settings import Packstack

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

UNIT = "nornir-stack-packstack"
FOLDER = "/etc/nornir-stack/packstack"
ANSWERS = f"{FOLDER}/answers.txt"
STATE = "/var/lib/nornir-stack/packstack"
_TAIL = 12
# packstack writes the answer file that it was given anew, with all that it asked and guessed: it gets a copy.
_WORK = r"""
umask 077
cd "$1" && cp -- "$2" answers.txt || exit
rm -f -- status
export PYTHONUNBUFFERED=1 LANG=C.UTF-8
"$3" --answer-file="$1/answers.txt" >output 2>&1
echo "$? $4" >status
"""
_START = r"""
set -e
mkdir -p -- "$1"; chmod 700 -- "$1"
rm -f -- "$1/status" "$1/output"
systemctl reset-failed -- "$6.service" 2>/dev/null || :
exec systemd-run --quiet --collect --unit="$6" --setenv=HOME=/root --working-directory="$1" \
    /bin/sh -c "$5" sh "$1" "$2" "$3" "$4"
"""
# $1 the state's folder, $2 the unit. The output without its colours, and without what it wrote over (a manifest's end comes
# after a carriage return); packstack's log by the name that its output tells.
_LOOK = r"""
cd "$1" 2>/dev/null || exit 0
systemctl is-active --quiet "$2.service" && echo running
[ -f status ] && sed 's/^/ended /' status
[ -f output ] && sed 's/\x1b\[[0-9;]*m//g; s/.*\r//; s/^/said /' output
log=$(sed -n 's/.*log file[^/]*\(\/[^ ]*openstack-setup\.log\).*/\1/p' output 2>/dev/null | tail -n 1)
[ -f "$log" ] && { echo "log $log"; grep -aE '::(ERROR|WARNING)::' "$log" | tail -n 5 | sed 's/^/logged /'; }
:
"""
_STATE_LINE = re.compile(r"^(?P<what>.*?)\s*\[ (?P<state>DONE|ERROR) \]$")


@dataclass(frozen=True)
class Progress:
    """Where packstack is. `status` is its exit status, None while there is none; `sha256` of the answers that it was run with.

    `steps` are those that it says are done, `at` the one that it works on, `logged` the errors and warnings of its log.
    """

    running: bool = False
    status: int | None = None
    sha256: str = ""
    steps: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    at: str = ""
    output: tuple[str, ...] = ()
    log: str = ""
    logged: tuple[str, ...] = ()

    def ended_with(self, sha256: str) -> bool:
        """Whether it did all that these answers ask for."""
        return self.status == 0 and self.sha256 == sha256


def written_answers(task: Task) -> Result[None]:
    """The answer file on the controller, readable by root alone."""
    node = Node(task)
    if node.stat(FOLDER) is None:
        node.make_folder(FOLDER, mode="0700")
    node.write_file(ANSWERS, answer_file(answers(task.nornir.inventory)), mode="0600")
    return node.done()


def begun(task: Task) -> Result[Progress]:
    """packstack started with the answers of the inventory, unless it runs, with whatever answers, or has done that already."""
    node = Node(task)
    wanted = digest(task)
    now = _progress(node)
    if now.running or now.ended_with(wanted):
        return node.done(now)
    program = settings_of(task.host, Packstack).program
    node.change(
        sh(_START, STATE, ANSWERS, program, wanted, _WORK, UNIT, label=f"{program} --answer-file={ANSWERS}, as {UNIT}"),
        diff=f"+{UNIT}.service runs {program}\n",
    )
    return node.done(lambda: _progress(node))


def digest(task: Task) -> str:
    """SHA-256 of the answer file that the inventory makes."""
    return hashlib.sha256(answer_file(answers(task.nornir.inventory)).encode()).hexdigest()


def progress(task: Task) -> Result[Progress]:
    """Observe where packstack is on the controller, or how it ended, by its own lines."""
    node = Node(task)
    return node.done(_progress(node))


def finished(task: Task) -> Result[Progress]:
    """Observe packstack's end. Raises Refused with its own words where it was not a good one."""
    node = Node(task)
    now = _progress(node)
    if node.dry_run:
        return node.done(now)
    if text := verdict(now, digest(task)):
        raise Refused(text)
    return node.done(now)


def _progress(node: Node) -> Progress:
    return parse(node.read(sh(_LOOK, STATE, UNIT, label="where packstack is"), independent=True).stdout)


def parse(text: str) -> Progress:
    """What the look printed. Pure. A step's line ends in `[ DONE ]`, of a manifest that is applied there is one before."""
    lines = [line.partition(" ") for line in text.splitlines()]
    said = tuple(rest.rstrip() for word, _, rest in lines if word == "said" and rest.strip())
    states = [found for line in said if (found := _STATE_LINE.match(line.strip()))]
    done = tuple(found["what"].rstrip(":") for found in states if found["state"] == "DONE")
    failed = tuple(found["what"].rstrip(":") for found in states if found["state"] == "ERROR")
    status, _, sha256 = next((rest for word, _, rest in lines if word == "ended"), "").partition(" ")
    applying = [line.removeprefix("Applying ") for line in said if line.startswith("Applying ")]
    open_ = [name for name in applying if name not in done and name not in failed]
    return Progress(
        running=any(word == "running" for word, _, _ in lines),
        status=int(status) if status else None,
        sha256=sha256,
        steps=done,
        failed=failed,
        at=few(open_) if open_ else done[-1] if done else "",
        output=said,
        log=next((rest for word, _, rest in lines if word == "log"), ""),
        logged=tuple(rest for word, _, rest in lines if word == "logged"),
    )


def still_runs(seen: Seen[Progress]) -> list[str]:
    """Where packstack is while it runs; nothing once it has ended, however. Pure."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    return problems + [
        f"{host}: packstack runs, {len(now.steps)} steps are done, at: {now.at or 'its beginning'}"
        for host, now in seen.items()
        if now.running
    ]


def verdict(now: Progress, sha256: str) -> str:
    """What is wrong with how packstack ended; nothing where all is well. Pure."""
    if now.running:
        return "packstack still runs: run this again to go on following it"
    if now.status is None:
        return f"packstack was ended from outside, or never began: journalctl -u {UNIT} says more; run this again"
    if now.status == 0 and now.sha256 != sha256:
        return "packstack ended well, with other answers than those of the inventory now: run this again"
    if now.status == 0 and not now.failed:
        return ""
    own = [*now.logged, *now.output[-_TAIL:]]
    where = f" at {few(now.failed)}" if now.failed else ""
    return mask(
        "\n".join([f"packstack ended with status {now.status}{where}; its log is {now.log or 'not to be found'}", *own])
    )
