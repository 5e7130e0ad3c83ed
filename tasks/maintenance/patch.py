"""`maintenance.patch`: newer packages on every node, out of service while they come, a boot where it is due, back, the next."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import ConnectionFailed, Refused, TimedOut
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster.judge import not_grown
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.release import other_release
from nornir_stack.tasks.cluster.roll import back, gate
from nornir_stack.tasks.cluster.roll import restarted as member_started
from nornir_stack.tasks.cluster.steps import AGREE_SECONDS
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER
from nornir_stack.tasks.loadbalancer.health import DRAIN_FLAG, drain_flag
from nornir_stack.tasks.loadbalancer.runtime import set_server
from nornir_stack.tasks.maintenance.power import stop_member
from nornir_stack.tasks.maintenance.reading import kernel as read_kernel
from nornir_stack.tasks.maintenance.survey import NODES, on_purpose
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

BOOT_SECONDS = 600.0
_UPGRADE_SECONDS = 3600.0
# The order of the turns; a node of several roles has the first of them.
_ORDER = ("", "web", "db", "loadbalancer", "controller", "network", "storage")

# $1: the flag of a member that was taken out of service. What an upgrade would bring, why a boot is due, what failed, what
# runs.
_LOOK = r"""
export LC_ALL=C
s() { printf '\036%s\n' "$1"; }
s newer
if command -v apt-get >/dev/null; then apt-get -qq -s -o Debug::NoLocking=1 --with-new-pkgs upgrade </dev/null | grep '^Inst '
else dnf -q --cacheonly check-update </dev/null | sed 's/^/newer /'; fi
s kernel; if ! systemd-detect-virt --quiet --container 2>/dev/null; then uname -r; ls -d /boot/vmlinuz-* 2>/dev/null; fi
s reboot; if [ -e /run/reboot-required ]; then cat /run/reboot-required.pkgs 2>/dev/null || echo unknown; fi
s drained; if [ -e "$1" ]; then echo yes; fi
s boot; cat /proc/sys/kernel/random/boot_id
s failed; systemctl list-units --all --plain --no-legend --no-pager --state=failed,auto-restart | cut -d ' ' -f 1
s active; systemctl list-units --plain --no-legend --no-pager --type=service --state=running | cut -d ' ' -f 1
:
"""
_UPGRADE = r"""
export LC_ALL=C DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
exec </dev/null
if command -v apt-get >/dev/null; then
    exec apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold --with-new-pkgs upgrade
fi
exec dnf -y -q upgrade
"""
# dnf keeps its lists fresh by itself (metadata_expire).
_LISTS = "exec apt-get -q -o DPkg::Lock::Timeout=300 update </dev/null"
_FRESH = """
command -v apt-get >/dev/null || { echo fresh; exit 0; }
find /var/lib/apt/lists/partial -maxdepth 0 -mmin -360 -exec echo fresh ';' 2>/dev/null
:
"""


@dataclass(frozen=True)
class Due:
    """What a node has to come. `newer`: package and version; `boot`: why a boot is due, empty if not.

    `role` decides how it is taken out of service; `boot_id` differs after each boot; `active`: services that run;
    `drained`: a run that was cut left it out of service.
    """

    newer: tuple[str, ...] = ()
    boot: str = ""
    role: str = ""
    boot_id: str = ""
    failed: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    version: str = ""
    drained: bool = False


def patch(*, nodes: Sequence[str] = (), reboot: bool = True) -> Chain:
    """Bring all nodes' packages to the newest that their sources have, one node after the other.

    A database member goes through galera.roll's gate: drained, stopped, upgraded, booted if that is due, Synced, back in
    service. A load balancer gives its virtual address away first, if another one can take it. Hypervisors are left to their
    own chain, since their machines have to be moved, and are named. The first surprise (a unit that failed, a member that is
    not Synced, a node that does not come back) ends it; run again, it goes on from what it finds.

    nodes: these and no others.
    reboot: boot a node where a newer kernel or a package asks for it.
    """
    decide = partial(planned, nodes=tuple(nodes), reboot=reboot)
    return Chain("maintenance.patch", Stage("lists", [lists], NODES), Plan("look", due, decide, NODES))


# decisions


def planned(seen: Seen[Due], *, nodes: Sequence[str], reboot: bool) -> Chain:
    """A unit for each node that has something to come. Raises Refused where a node was not seen or is not well before. Pure."""
    unseen = [f"{host} was not seen: {why}" for host, why in seen.missing.items() if not on_purpose(why)]
    ill = [f"{host}: {', '.join(one.failed)} failed" for host, one in seen.items() if one.failed]
    unknown = [f"there is no node {name}" for name in nodes if name not in seen.hosts]
    beyond = [
        f"{host}: the packages would bring {to} of the database, another release: that is galera.upgrade"
        for host, one in seen.items()
        if one.role == "db" and (to := other_release(one.version, [f"+{package}" for package in one.newer]))
    ]
    if problems := [*unknown, *unseen, *ill, *beyond]:
        raise Refused(f"Nothing is patched: {'; '.join(problems)}.")
    wanted = {host: one for host, one in seen.items() if not nodes or host in nodes}
    found = {host: one for host, one in wanted.items() if one.newer or one.drained or (one.boot and reboot)}
    left = [host for host, one in found.items() if one.role == "hypervisor"]
    turns = sorted((host for host in found if host not in left), key=lambda host: _place(found[host].role))
    units = [turn(host, found[host], alone=_alone(host, seen), reboot=reboot) for host in turns]
    reasons = [f"{host}: {_why(found[host])}." for host in turns] or ["No node has anything to come."]
    due_later = [f"{host} is a hypervisor: its machines have to be moved first ({_why(found[host])})." for host in left]
    return Chain("patch", *units, reasons=reasons, due=due_later)


def _place(role: str) -> int:
    return _ORDER.index(role) if role in _ORDER else 0


def _alone(host: str, seen: Seen[Due]) -> bool:
    return [name for name, one in seen.items() if one.role == seen[host].role] == [host]


def _why(one: Due) -> str:
    count = len(one.newer)
    packages = f"{count} newer package{'s' if count != 1 else ''}" if count else ""
    boot = f"a boot is due ({one.boot})" if one.boot else ""
    drained = "it was left out of service" if one.drained else ""
    return ", ".join(filter(None, [packages, boot, drained]))


def turn(name: str, one: Due, *, alone: bool, reboot: bool) -> Chain:
    """One node's turn. Pure."""
    well = Check(due, partial(not_well, name=name, before=one.active), hosts(name), within=120.0)
    upgrade = Stage("upgrade", [upgraded, *([do(rebooted)] if reboot else [])], hosts(name), until=well)
    parts: list[Stage] = [upgrade]
    if one.role == "db":
        joined = Check(observe_member, partial(not_grown, name=name), DB, within=AGREE_SECONDS)
        # the database is not up before it is started here, so what ran is looked at after that
        parts = [
            Stage("drain", [do(set_server, server=name, state="drain")], LOADBALANCER, before=gate(name)),
            Stage("flag", [do(drain_flag, drained=True)], hosts(name), before=gate(name)),
            Stage("stop", [stop_member], hosts(name), before=gate(name)),
            Stage("upgrade", [upgraded, *([do(rebooted)] if reboot else [])], hosts(name)),
            Stage("join", [member_up], hosts(name), before=gate(name), until=joined),
            *back(name),
            Stage("well", [], hosts(name), until=well),
        ]
    elif one.role == "loadbalancer" and not alone:
        parts = [Stage("give the address away", [do(address, here=False)], hosts(name)), upgrade]
        parts.append(Stage("take it back", [do(address, here=True)], hosts(name), always=True))
    left = f"{name} may be left out of service: run maintenance.patch again"
    return Chain(name, *parts, unit=True, left=left)


def not_well(seen: Seen[Due], *, name: str, before: Sequence[str]) -> list[str]:
    """What is not as it was on a node after its upgrade: units that failed, services that ran and do not. Pure."""
    if name not in seen:
        return [f"{name} was not seen: {seen.missing.get(name, '')}"]
    now = seen[name]
    gone = sorted(unit for unit in before if unit not in now.active and not _comes_and_goes(unit))
    problems = [f"{name}: {unit} failed" for unit in now.failed]
    return problems + ([f"{name}: {', '.join(gone)} ran before and does not now"] if gone else [])


def _comes_and_goes(unit: str) -> bool:
    """Sessions, and what systemd starts for a moment or on demand."""
    return "@" in unit or unit.startswith(("user-", "apt-", "dnf-", "packagekit", "systemd-", "polkit", "run-", "man-db"))


def parse(text: str) -> Due:
    """What the look printed; the role is not in it. Pure."""
    at: Mapping[str, str] = {name: body for name, _, body in (part.partition("\n") for part in text.split("\x1e")[1:])}
    kernel = read_kernel(at.get("kernel", ""), at.get("reboot", ""), "")
    boot = ", ".join(kernel.reboot)
    if kernel.newest and kernel.newest != kernel.running:
        boot = f"{kernel.newest} is installed, {kernel.running} runs"
    rows = [line.split() for line in at.get("newer", "").splitlines()]
    newer = [f"{row[1]} {next(word for word in row if word.startswith('(')).strip('(')}" for row in rows if row[:1] == ["Inst"]]
    newer += [f"{row[1].rpartition('.')[0]} {row[2]}" for row in rows if row[:1] == ["newer"] and len(row) == 4]  # noqa: PLR2004  columns
    units = {word: tuple(at.get(word, "").split()) for word in ("failed", "active")}
    return Due(
        tuple(newer),
        boot,
        "",
        at.get("boot", "").strip(),
        units["failed"],
        units["active"],
        drained="yes" in at.get("drained", ""),
    )


# looks and acts


def due(task: Task) -> Result[Due]:
    """Observe what newer packages a node's sources have, and whether a boot is due."""
    node = Node(task)
    found = parse(node.read(sh(_LOOK, DRAIN_FLAG, label="look for what is to come"), timeout=180.0).stdout)
    roles = [role for role in ("hypervisor", *_ORDER) if role and task.host.has_parent_group(role)]
    version = (observe_member(task).value.version or "") if "db" in roles else ""
    values: dict[str, Any] = {**vars(found), "role": roles[0] if roles else "", "version": version}
    return node.done(Due(**values))


def lists(task: Task) -> Result[None]:
    """Ask the sources what they have, where that was not done for six hours."""
    node = Node(task)
    if "fresh" not in node.read(sh(_FRESH, label="how old are the lists")).lines:
        node.change(sh(_LISTS, label="fetch the lists of packages"), repeatable=True)
    return node.done()


def upgraded(task: Task) -> Result[Due]:
    """Install what is newer; nothing is taken out, files that an operator changed stay, no service is restarted behind it."""
    node = Node(task)
    now = due(task).value
    if now.newer:
        lines = "".join(f"+{package}\n" for package in now.newer)
        diff = f"--- packages\n+++ packages\n{lines}"
        what = f"upgrade {len(now.newer)} packages"
        node.change(sh(_UPGRADE, label="upgrade"), what=what, diff=diff, timeout=_UPGRADE_SECONDS)
    return node.done(lambda: due(task).value)


def rebooted(task: Task) -> Result[Due]:
    """Boot the node where that is due, and wait for it, ten minutes at most."""
    node = Node(task)
    now = due(task).value
    if not now.boot:
        return node.done(now)
    later = ("systemd-run", "--quiet", "--on-active=2", "systemctl", "reboot")
    node.change(*later, what="boot the node", diff=f"+{node.name} boots")
    return node.done(lambda: _came_back(task, now.boot_id))


def _came_back(task: Task, boot_id: str) -> Due:
    node = Node(task)
    waited = 0.0
    while waited < BOOT_SECONDS:
        try:
            now = due(task).value
        except (ConnectionFailed, TimedOut):
            now = Due(boot_id=boot_id)
        if now.boot_id != boot_id:
            return now
        node.gate.wait(2.0, "the node to boot")
        waited += 2.0
    raise Refused(f"{node.name} did not come back within {BOOT_SECONDS / 60:.0f} minutes: look at its console")


def member_up(task: Task) -> Result[Any]:
    """Start the member after its node's upgrade, unless systemd has done so and it is Synced."""
    now = observe_member(task)
    return now if now.value.synced else member_started(task)


def address(task: Task, *, here: bool) -> Result[Any]:
    """Have keepalived run or not: without it the virtual address goes to another balancer."""
    return service(task, unit="keepalived.service", state="started" if here else "stopped")
