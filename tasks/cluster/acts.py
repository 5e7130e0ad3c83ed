"""What may be done to a member, each with a look first. Who may be bootstrapped is decided in `elect`, never here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nornir_stack.command import command, sh
from nornir_stack.errors import DatabaseFailed, Refused
from nornir_stack.node import CHANGE_SECONDS, Node
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.judge import state_of
from nornir_stack.tasks.cluster.member import recovered
from nornir_stack.tasks.cluster.observe import forget_recovered, look, member_of, remember_recovered
from nornir_stack.tasks.cluster.unit import START_SECONDS, start

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.cluster.decision import Mandate
    from nornir_stack.tasks.cluster.member import Member, Position

_INITIALISE = """
if command -v mariadb-install-db >/dev/null; then
    mariadb-install-db --user=mysql --datadir="$1" --skip-test-db --auth-root-authentication-method=socket --skip-name-resolve
else
    mysqld --initialize-insecure --user=mysql --datadir="$1"
fi
"""
_RECOVER = """
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
server=$(command -v mariadbd || command -v mysqld) || exit 1
runuser -u mysql -- "$server" --wsrep-recover --log-error="$log.err" --pid-file="$log.pid" 2>"$log" >/dev/null
status=$?
cat "$log" "$log.err" 2>/dev/null
rm -f "$log.err" "$log.pid"
exit $status
"""

_GIVE_UP = """
file=$1; shift
systemctl stop "$@" || exit
if [ -e "$file" ]; then mv -f -- "$file" "$file.given-up"; fi
"""
_WRONG_ARGUMENTS = 1210  # ER_WRONG_ARGUMENTS


def bootstrap(task: Task, *, mandate: Mandate) -> Result[Member]:
    """Start this member as the first of its cluster. Only an election makes a mandate; it names one host and what was seen.

    Raises Refused where the member has moved since.
    """
    node = Node(task)
    if mandate.host != node.name:
        raise Refused(f"{mandate.host} holds the mandate to bootstrap, {node.name} does not")
    now = look(node)
    if now.primary:
        return node.done(now)
    if now.running:
        raise Refused(f"{state_of(node.name, now)}: it started since the election. Look at it, then run this again.")
    _unmoved(node, now, mandate.position)
    _, product = member_of(node)
    if not now.data:
        _initialise(node)
    _set_flag(node, now, safe=True)
    node.change(command(*product.bootstrap), timeout=START_SECONDS, diff=f"+{node.name} starts a cluster")
    return node.done(lambda: look(node))


def _unmoved(node: Node, now: Member, seen: Position) -> None:
    if now.position != seen:
        raise Refused(f"{node.name} has moved since it was looked at: it had {seen} and has {now.position}. Run this again.")


def _initialise(node: Node) -> None:
    """A data folder with the server's own tables; only where there is none."""
    galera, _ = member_of(node)
    node.change(
        sh(_INITIALISE, galera.datadir, label=f"initialise {galera.datadir}"), diff=f"+system tables in {galera.datadir}"
    )


def _set_flag(node: Node, now: Member, *, safe: bool) -> None:
    """`safe_to_bootstrap` in grastate.dat; Galera refuses to bootstrap a member that says 0."""
    if now.grastate is None or now.grastate.empty or now.grastate.safe_to_bootstrap is safe:
        return
    galera, _ = member_of(node)
    path = f"{galera.datadir}/grastate.dat"
    node.edit_lines(path, lambda lines: [re.sub(r"^(safe_to_bootstrap:\s*)\d+", rf"\g<1>{safe:d}", line) for line in lines])


def clear_flag(task: Task) -> Result[None]:
    """`safe_to_bootstrap: 0`: nobody but the elected member can be bootstrapped."""
    node = Node(task)
    now = look(node)
    if now.running:
        raise Refused(f"{state_of(node.name, now)}: its files are its own while it runs.")
    _set_flag(node, now, safe=False)
    return node.done()


def clear_residue(task: Task) -> Result[None]:
    """Take away what would make the next start bootstrap a second cluster: systemd's environment, left-over files."""
    node = Node(task)
    now = look(node)
    for sentence in now.residue:
        kind, _, rest = sentence.partition(" holds ")
        if kind == "systemd's environment":
            node.change("systemctl", "unset-environment", rest.partition("=")[0], repeatable=True)
        elif found := re.fullmatch(r"the file (/\S+) is left over", sentence):
            node.remove_file(found[1])
        else:
            raise Refused(f"{node.name}: {sentence}: take it out by hand, it is not in a file of ours.")
    return node.done()


def stop(task: Task) -> Result[None]:
    """Stop a member that is in no Primary component. Raises Refused where it serves."""
    node = Node(task)
    now = look(node)
    if now.primary:
        raise Refused(f"{state_of(node.name, now)}: it serves, and is not stopped.")
    _, product = member_of(node)
    if now.running:
        node.change("systemctl", "stop", *filter(None, (product.unit, product.bootstrap_unit)), timeout=CHANGE_SECONDS)
    return node.done()


def promote(task: Task, *, mandate: Mandate) -> Result[Member]:
    """Turn the running component of this member Primary (`pc.bootstrap=YES`); it keeps its gcache, so others can take an IST.

    For MariaDB before 11.2 (MDEV-32800). Raises Refused where the member has moved since the decision.
    """
    node = Node(task)
    if mandate.host != node.name:
        raise Refused(f"{mandate.host} holds the mandate to be made Primary, {node.name} does not")
    now = look(node)
    if now.primary:
        return node.done(now)
    if not now.outside:
        raise Refused(f"{state_of(node.name, now)}: only a member that runs outside of a Primary component is made Primary.")
    _unmoved(node, now, mandate.position)
    try:
        Sql(node).change("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'", what=f"make {node.name}'s component Primary")
    except DatabaseFailed as error:
        # The provider refuses it while the members are finding each other again: the stage's barrier sees what comes of that.
        if error.code != _WRONG_ARGUMENTS:
            raise
    return node.done(lambda: look(node))


def give_up(task: Task, *, seen: Position) -> Result[None]:
    """Stop a member whose side the operator gave up, Primary or not, and keep its state file aside, in one step.

    Between a stop and that it would look like a member that only fell behind. Raises Refused where its history is another.
    """
    node = Node(task)
    now = look(node)
    if not now.running:
        return discard(task, seen=now.position)
    if now.position.uuid != seen.uuid:
        _unmoved(node, now, seen)
    galera, product = member_of(node)
    units = filter(None, (product.unit, product.bootstrap_unit))
    stopped = sh(_GIVE_UP, f"{galera.datadir}/grastate.dat", *units, label=f"stop {product.unit} and give up its history")
    node.change(stopped, timeout=CHANGE_SECONDS, diff=f"-{node.name} serves\n-{seen}")
    return node.done()


def set_aside(task: Task) -> Result[None]:
    """Move gvwstate.dat away, keeping a copy: a broken one makes the start fail, a good one re-forms an old view."""
    node = Node(task)
    now = look(node)
    if now.running:
        raise Refused(f"{state_of(node.name, now)}: its files are its own while it runs.")
    if now.gvwstate is not None:
        galera, _ = member_of(node)
        path = f"{galera.datadir}/gvwstate.dat"
        node.change("mv", "--", path, f"{path}.set-aside", diff=f"--- {path}\n+++ {path}.set-aside\n")
    return node.done()


def discard(task: Task, *, seen: Position) -> Result[None]:
    """Give up this member's history, on the operator's word: its state file is kept aside, and it takes a full copy."""
    node = Node(task)
    now = look(node)
    if now.running:
        raise Refused(f"{state_of(node.name, now)}: a running member's history is not given up.")
    _unmoved(node, now, seen)
    if now.grastate is not None:
        galera, _ = member_of(node)
        path = f"{galera.datadir}/grastate.dat"
        node.change("mv", "--", path, f"{path}.given-up", diff=f"--- {path}\n+++ {path}.given-up\n")
    forget_recovered(node)
    return node.done()


def recover_position(task: Task) -> Result[Position]:
    """Ask the server's own data for its position (`--wsrep-recover`); it replays InnoDB's log, so it is a change.

    Later looks in the same run know it (`Member.recovered`).
    """
    node = Node(task)
    now = look(node)
    if now.running:
        raise Refused(f"{state_of(node.name, now)}: only a server that is down can be asked.")
    if not now.needs_recover:
        return node.done(now.position)
    printed = node.change(sh(_RECOVER, label="mariadbd --wsrep-recover"), ok=None, repeatable=True)
    try:
        position = recovered(now, printed.stdout).position
    except ValueError:
        said = printed.stdout.strip()[-600:]
        raise Refused(f"{node.name}: --wsrep-recover found no position; it said: {said}") from None
    remember_recovered(node, printed.stdout)
    return node.done(position)


def join(task: Task, *, seen: Position) -> Result[Member]:
    """Start this member, so that it joins the cluster that lives; returns when the server says that it is ready.

    Its data may be replaced by a copy of the cluster's (SST): so it has to stand where the decision saw it (`seen`).
    """
    node = Node(task)
    now = look(node)
    if now.running:
        return node.done(now)
    if now.residue:
        raise Refused(f"{node.name} would bootstrap a second cluster: {'; '.join(now.residue)}.")
    _unmoved(node, now, seen)
    _, product = member_of(node)
    start(node, product.unit, diff=f"+{node.name} joins")
    return node.done(lambda: look(node))


def restart_normally(task: Task, *, bootstrapped: bool = False) -> Result[Member]:
    """Restart a member that was started to bootstrap, so that it is a member like the others.

    bootstrapped: it was in this run, so that a dry run, in which it was not, still shows the restart.
    """
    node = Node(task)
    now = look(node)
    if not now.new_cluster and not (bootstrapped and node.dry_run):
        return node.done(now)
    if now.residue:
        raise Refused(f"{node.name} would bootstrap a second cluster: {'; '.join(now.residue)}.")
    _, product = member_of(node)
    if product.bootstrap_unit:
        node.change("systemctl", "stop", product.bootstrap_unit, timeout=CHANGE_SECONDS)
    start(node, product.unit, verb="restart", diff=f"+{node.name} restarts normally")
    return node.done(lambda: look(node))
