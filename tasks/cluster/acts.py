"""What may be done to a member, each with a look first. Who may be bootstrapped is decided in `elect`, never here."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import DatabaseFailed, Refused
from nornir_stack.node import CHANGE_SECONDS, Node
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.judge import state_of
from nornir_stack.tasks.cluster.observe import forget_recovered, look, member_of
from nornir_stack.tasks.cluster.position import recover_here
from nornir_stack.tasks.cluster.room import cannot_start
from nornir_stack.tasks.cluster.unit import patiently, settled, shut_down, start, upgraded
from nornir_stack.tasks.loadbalancer.health import check_ports

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
_GIVE_UP = """
file=$1; shift
systemctl stop "$@" || exit
if [ -e "$file" ]; then mv -f -- "$file" "$file.given-up"; fi
"""
# The whole data folder, beside an empty one in its place.
_KEEP = r"""
data=$1 aside=$1.given-up-$(date -u +%Y%m%dT%H%M%SZ); shift
[ $# -eq 0 ] || systemctl stop "$@" || exit
[ -d "$data" ] || exit 0
rm -rf -- "$data.new" && mkdir -- "$data.new" || exit
chown --reference="$data" -- "$data.new" && chmod --reference="$data" -- "$data.new" || exit
mv -T -- "$data" "$aside" && mv -T -- "$data.new" "$data" || exit
if command -v restorecon >/dev/null; then restorecon -R -- "$data"; fi
sync -f "$data"
"""
# Only what the database's user runs: anything else on that port is somebody's own.
_END = r"""
for pid; do
    [ -d "/proc/$pid" ] || continue
    owner=$(stat -c %U "/proc/$pid")
    [ "$owner" = mysql ] || { echo "process $pid is run by $owner: end it by hand" >&2; exit 1; }
    kill "$pid"
    try=0
    while [ -d "/proc/$pid" ] && [ "$try" -lt 50 ]; do try=$((try + 1)); sleep 0.1; done
    [ ! -d "/proc/$pid" ] || kill -KILL "$pid" || :
done
"""
_LEFT_WORD = "systemd's environment holds "
_LEFT_FILE = re.compile(r"the file (/\S+) is left over")
_OPTION = "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'"
_OWN_OPTION = "SET GLOBAL wsrep_provider_pc_bootstrap = ON"
# What the provider's refusal of an option is called: ER_WRONG_ARGUMENTS, and ER_WRONG_VALUE_FOR_VAR (sql/wsrep_plugin.cc)
# where each is a variable of its own.
_REFUSED = frozenset({1210, 1231})
_FIND_SECONDS = 30.0  # after a partition: connections again, then a view of all (evs.suspect_timeout, evs.inactive_timeout)


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
    here = now.recovered if now.suspect and now.recovered else now.position  # marked as unsafe, and kept by the operator's word
    _unmoved(node, here, mandate.position)
    _, product = member_of(node)
    if not now.data:
        _initialise(node)
    _set_flag(node, now, safe=True)
    done = patiently(node, *product.bootstrap, diff=f"+{node.name} starts a cluster")
    if not node.dry_run:
        done.require()
    upgraded(node)
    return node.done(lambda: look(node))


def _unmoved(node: Node, here: Position, seen: Position) -> None:
    if here != seen:
        raise Refused(f"{node.name} has moved since it was looked at: it had {seen} and has {here}. Run this again.")


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
    if by_hand := not_cleared(node.name, now):
        raise Refused(" ".join(by_hand))
    for sentence in now.residue:
        if found := _LEFT_FILE.fullmatch(sentence):
            node.remove_file(found[1])
        else:
            name = sentence.removeprefix(_LEFT_WORD).partition("=")[0]
            node.change("systemctl", "unset-environment", name, repeatable=True)
    return node.done()


def not_cleared(name: str, member: Member) -> list[str]:
    """What would make this member's next start bootstrap, and is in files that are not ours to change."""
    others = [said for said in member.residue if not (said.startswith(_LEFT_WORD) or _LEFT_FILE.fullmatch(said))]
    return [f"{name}: {said}: take it out by hand, it is not in a file of ours." for said in others]


def stop(task: Task) -> Result[None]:
    """Stop a member that is in no Primary component. One that found the others meanwhile is left alone."""
    node = Node(task)
    now = look(node)
    if now.primary or now.starting:
        return node.skipped(f"{state_of(node.name, now)}: it found the cluster by itself, and is not stopped.")
    _, product = member_of(node)
    if now.running:
        shut_down(node, *filter(None, (product.unit, product.bootstrap_unit)))
    return node.done()


def settle(task: Task) -> Result[Member]:
    """Wait for a member that is under way, as long as it gets on. Raises Refused where it does not: it is left as it is."""
    node = Node(task)
    now = settled(node)
    if now.starting and not node.dry_run:
        raise Refused(f"{state_of(node.name, now)}, and does not get on any more: look at its log and its donor's.")
    return node.done(now)


def find_each_other(task: Task) -> Result[Member]:
    """Give a member that runs outside of a Primary component the time to find the others, as it does after a partition.

    Who is made Primary while the others are about to become so by their own majority has a component of its own, and of two
    that meet the one whose view is older aborts ("aborting due to conflicting prims", gcomm/src/pc_proto.cpp).
    """
    node = Node(task)
    now = look(node)
    end = time.monotonic() + _FIND_SECONDS
    while now.outside and not node.dry_run and time.monotonic() < end:
        node.read("sleep", "1")
        now = look(node)
    return node.done(now)


def promote(task: Task, *, mandate: Mandate) -> Result[Member]:
    """Turn the running component of this member Primary (pc.bootstrap); it keeps its gcache, so others can take an IST.

    Where the wsrep-provider plugin is loaded (MariaDB 11.8), provider options cannot be set as one string: ERROR 1210,
    "wsrep_provider_options cannot be changed while the wsrep-provider plugin is loaded". Each is a variable then.
    Raises Refused where the member has moved since the decision.
    """
    node = Node(task)
    if mandate.host != node.name:
        raise Refused(f"{mandate.host} holds the mandate to be made Primary, {node.name} does not")
    now = look(node)
    if now.primary:
        return node.done(now)
    if not now.outside:
        raise Refused(f"{state_of(node.name, now)}: only a member that runs outside of a Primary component is made Primary.")
    _unmoved(node, now.position, mandate.position)
    try:
        statement = _OWN_OPTION if now.own_options else _OPTION
        Sql(node).change(statement, what=f"make {node.name}'s component Primary")
    except DatabaseFailed as error:
        # The provider refuses it while the members are finding each other again: the stage's barrier sees what comes of that.
        if error.code not in _REFUSED:
            raise
    return node.done(lambda: look(node))


def give_up(task: Task, *, seen: Position, keep: bool = False) -> Result[None]:
    """Stop a member whose side the operator gave up, Primary or not, and keep its state file aside, in one step.

    Between a stop and that it would look like a member that only fell behind. `keep`: its data, too. Raises Refused where its
    history is another.
    """
    node = Node(task)
    now = look(node)
    if not now.running:
        return discard(task, seen=now.position, keep=keep)
    if now.position.uuid != seen.uuid:
        _unmoved(node, now.position, seen)
    galera, product = member_of(node)
    units = tuple(filter(None, (product.unit, product.bootstrap_unit)))
    if keep:
        _keep(node, *units, diff=f"-{node.name} serves\n-{seen}\n")
        return node.done()
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


def discard(task: Task, *, seen: Position, keep: bool = False) -> Result[None]:
    """Give up this member's history, on the operator's word: its state file is kept aside, and it takes a full copy.

    `keep`: all its data are kept aside.
    """
    node = Node(task)
    now = look(node)
    if now.running:
        raise Refused(f"{state_of(node.name, now)}: a running member's history is not given up.")
    _unmoved(node, now.position, seen)
    if keep and (now.data or now.grastate is not None):
        _keep(node)
    elif now.grastate is not None:
        _put_aside(node)
    forget_recovered(node)
    return node.done()


def _keep(node: Node, *units: str, diff: str = "") -> None:
    """The data folder aside, after these units were stopped."""
    data = member_of(node)[0].datadir
    diff += f"--- {data}\n+++ {data}.given-up-<now>\n"
    keep = sh(_KEEP, data, *units, label=f"keep {data} aside{f', with {units[0]} stopped' if units else ''}")
    node.change(keep, timeout=CHANGE_SECONDS, diff=diff)


def _put_aside(node: Node, *, why: str = "") -> None:
    """The state file, so that this member takes a full copy."""
    galera, _ = member_of(node)
    path = f"{galera.datadir}/grastate.dat"
    lost = f"-{why}\n" if why else ""
    what = f"give up {why}, by a full copy" if why else ""
    node.change("mv", "--", path, f"{path}.given-up", what=what, diff=f"{lost}--- {path}\n+++ {path}.given-up\n")


def join(task: Task, *, seen: Position) -> Result[Member]:
    """Start this member, so that it joins the cluster that lives; returns when the server says that it is ready.

    Its data may be replaced by a copy of the cluster's (SST): so it has to stand where the decision saw it (`seen`).
    With transactions that its data hold prepared (XA) it takes one: they are in nobody's history, and their row locks, which a
    restart keeps, would stop its applier for ever, and by flow control all others (measured, MariaDB 10.11).
    """
    node = Node(task)
    now = look(node)
    if now.running:
        return node.done(now)
    if now.residue:
        raise Refused(f"{node.name} would bootstrap a second cluster: {'; '.join(now.residue)}.")
    _unmoved(node, now.position, seen)
    ready(node, now)
    _, product = member_of(node)
    start(node, product.unit, diff=f"+{node.name} joins")
    return node.done(lambda: look(node))


def ready(node: Node, now: Member) -> None:
    """Before a member that is down joins: what a cut transfer left is ended, one that crashed replays its log; with prepared
    transactions it takes a full copy.
    """
    _end_transfer(node, now)
    if now.needs_recover and not node.dry_run:  # a dry run would end here, and not tell that it joins
        try:
            now = recover_here(node, now)
        except Refused as error:
            data = member_of(node)[0].datadir
            way = f"move {data} aside and run galera.replace member={node.name}: it takes a full copy"
            raise Refused(f"{error}\nIf its data are beyond repair, {way}.") from None
    if now.prepared and now.grastate is not None:
        _put_aside(node, why=f"{now.prepared} prepared XA transactions of {node.name}, which nobody else has")


def _end_transfer(node: Node, now: Member) -> None:
    """Whoever still listens for a state transfer: a donor would send the copy to it, and the new one has no port."""
    if not now.stale:
        return
    if problems := cannot_start(node.name, now):
        raise Refused(" ".join(problems))
    pids = [str(pid) for pid, _ in now.stale]
    what = f"end {', '.join(f'{program} ({pid})' for pid, program in now.stale)}, left of a state transfer"
    node.change(sh(_END, *pids, label=what), what=what, repeatable=True)


def restart_normally(task: Task, *, bootstrapped: bool = False) -> Result[Member]:
    """Restart a member that was started to bootstrap, so that it is a member like the others.

    It serves until then, so load balancers are told by its drain flag first, where there are any.
    bootstrapped: it was in this run, so that a dry run, in which it was not, still shows the restart.
    """
    node = Node(task)
    now = look(node)
    if not now.new_cluster and not (bootstrapped and node.dry_run):
        return node.done(now)
    if now.residue:
        raise Refused(f"{node.name} would bootstrap a second cluster: {'; '.join(now.residue)}.")
    _, product = member_of(node)
    behind = bool(check_ports(task.host, task.nornir.inventory))
    if product.bootstrap_unit:
        stopped = patiently(node, "systemctl", "stop", product.bootstrap_unit, diff=f"-{node.name} serves", drained=behind)
        if not node.dry_run:
            stopped.require()
        behind = False
    start(node, product.unit, verb="restart", diff=f"+{node.name} restarts normally", drained=behind)
    return node.done(lambda: look(node))
