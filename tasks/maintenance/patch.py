"""`maintenance.patch`: newer packages on every node, out of service while they come, a boot where it is due, back, the next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Check, Plan, Stage, do
from nornir_stack.command import sh
from nornir_stack.errors import ConnectionFailed, Refused, TimedOut
from nornir_stack.node import Node
from nornir_stack.seen import Seen
from nornir_stack.select import hosts, role
from nornir_stack.tasks.cluster.judge import not_grown
from nornir_stack.tasks.cluster.observe import observe_member
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.release import other_release
from nornir_stack.tasks.cluster.roll import back, gate
from nornir_stack.tasks.cluster.roll import restarted as member_started
from nornir_stack.tasks.cluster.steps import AGREE_SECONDS
from nornir_stack.tasks.cluster.upkeep import LOADBALANCER
from nornir_stack.tasks.loadbalancer.deploy import SETTLE_SECONDS
from nornir_stack.tasks.loadbalancer.health import DRAIN_FLAG, drain_flag
from nornir_stack.tasks.loadbalancer.keepalived import given_away, holder, nobody_else, one_of_them_holds
from nornir_stack.tasks.loadbalancer.runtime import set_server
from nornir_stack.tasks.maintenance.power import stop_member
from nornir_stack.tasks.maintenance.reading import kernel as read_kernel
from nornir_stack.tasks.maintenance.survey import NODES, on_purpose
from nornir_stack.tasks.openstack.fleet import computes, names
from nornir_stack.tasks.openstack.fleet_rules import only
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import LOCK_SECONDS, MANAGERS
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.loadbalancer.keepalived import Held
    from nornir_stack.tasks.openstack.fleet import Fleet

CLOUD = role("cloud")
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
# dnf notes a look at an unchanged repository in the time of `primary`, not of repomd.xml
_FRESH = """
if command -v apt-get >/dev/null; then find /var/lib/apt/lists/partial -maxdepth 0 -mmin -360 -exec echo fresh ';' 2>/dev/null
else find /var/cache/dnf -name '*primary.xml*' -mmin -360 -exec echo fresh ';' -quit 2>/dev/null; fi
:
"""


@dataclass(frozen=True)
class Due:
    """What a node has to come. `newer`: package and version; `boot`: why a boot is due, empty if not.

    `role` decides how it is taken out of service; `boot_id` differs after each boot; `active`: services that run;
    `drained`: a run that was cut left it out of service; `compute`: it runs instances of the cloud; `held`: what a load
    balancer has of its virtual address; `here`: it is the machine that this runs on, whose boot would end the run.
    """

    newer: tuple[str, ...] = ()
    boot: str = ""
    role: str = ""
    boot_id: str = ""
    failed: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    version: str = ""
    drained: bool = False
    compute: bool = False
    held: Held | None = None
    here: bool = False

    @property
    def shares(self) -> bool:
        """It serves at a virtual address that another balancer may take."""
        return bool(self.held and self.held.shared and self.held.peers and (self.held.keepalived or self.held.haproxy))

    @property
    def aside(self) -> bool:
        """Its keepalived was left stopped."""
        return self.shares and not (self.held and self.held.keepalived)


def patch(*, nodes: Sequence[str] = (), reboot: bool = True) -> Chain:
    """Bring all nodes' packages to the newest that their sources have, one node after the other.

    A database member goes through galera.roll's gate: drained, stopped, upgraded, booted if that is due, Synced, back in
    service. A load balancer gives its virtual address away first, who has it after the others; refused while none of them
    would take it. Compute nodes are upgraded as they stand, and boot last, those alone that compute.drain has emptied.
    Hypervisors are left to their own chain, since their machines have to be moved, and are named. The first surprise (a
    unit that failed, a member that is not Synced, a node that does not come back) ends it; run again, it goes on from what
    it finds.

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
    found = {host: one for host, one in wanted.items() if one.newer or one.drained or one.aside or (one.boot and reboot)}
    mine = [host for host, one in found.items() if one.here and one.boot and reboot]
    found = {host: one for host, one in found.items() if host not in mine or one.newer}
    left = [host for host, one in found.items() if one.role == "hypervisor"]
    turns = sorted((host for host in found if host not in left), key=lambda host: _place(found[host]))
    # one that was left aside has its turn, and its keepalived back, before the one that has the address
    helds = {host: one.held for host, one in seen.items() if one.held}
    balancers = Seen({host: replace(held, keepalived=held.keepalived or host in turns) for host, held in helds.items()})
    if stuck := [why for host in turns if (held := found[host].held) and held.here for why in nobody_else(balancers, host)]:
        raise Refused(f"Nothing is patched: {'; '.join(stuck)}.")
    # instances would be stopped by a boot: it is for the end, when the cloud says what runs there
    of_cloud = [host for host in turns if found[host].compute and reboot and not found[host].here]
    units: list[Chain | Plan[Fleet]] = [
        turn(host, found[host], reboot=reboot and host not in of_cloud)
        for host in turns
        if host not in of_cloud or found[host].newer or found[host].drained or found[host].aside
    ]
    if of_cloud:
        units.append(Plan("compute nodes", computes, partial(emptied, nodes=tuple(of_cloud)), CLOUD))
    reasons = [f"{host}: {_why(found[host])}." for host in turns] or ["No node has anything to come."]
    due_later = [f"{host} is a hypervisor: its machines have to be moved first ({_why(found[host])})." for host in left]
    due_later += [f"{host} is the machine that this runs on: boot it by hand ({seen[host].boot})." for host in mine]
    return Chain("patch", *units, reasons=reasons, due=due_later)


def _place(one: Due) -> tuple[int, bool]:
    """The turn of its role; of balancers that share an address the one that has it is the last."""
    return _ORDER.index(one.role) if one.role in _ORDER else 0, one.shares and bool(one.held and one.held.here)


def emptied(seen: Seen[Fleet], *, nodes: Sequence[str]) -> Chain:
    """Compute nodes looked at once more, by what the cloud says of them. Pure."""
    fleet, why = None, ""
    try:
        fleet = only(seen)
    except Refused as error:
        why = str(error)
    return Chain("compute nodes", Plan("boots", due, partial(boots, fleet=fleet, why=why), hosts(*nodes)))


def boots(seen: Seen[Due], *, fleet: Fleet | None, why: str = "") -> Chain:
    """A turn for each compute node that has to boot and that nothing runs on; the others are named as due. Pure."""
    if seen.missing:
        unseen = "; ".join(f"{host} was not seen: {reason}" for host, reason in seen.missing.items())
        raise Refused(f"No compute node boots: {unseen}.")
    waiting = {host: one for host, one in seen.items() if one.boot}
    keeps = {host: in_use(fleet, host) if fleet else f"nobody says what runs there ({why})" for host in waiting}
    free = [host for host in waiting if not keeps[host]]
    return Chain(
        "boots",
        *(turn(host, waiting[host], reboot=True) for host in sorted(free, key=lambda host: _place(waiting[host]))),
        reasons=[f"{host} was emptied: it boots, and is back in service by compute.add node={host}." for host in free],
        due=[
            f"{host}: a boot is due ({one.boot}), and {keeps[host]}: compute.drain node={host}, maintenance.patch nodes={host},"
            f" compute.add node={host}."
            for host, one in waiting.items()
            if keeps[host]
        ],
    )


def in_use(fleet: Fleet, node: str) -> str:
    """What a boot of a compute node would stop, or could meet; '' for nothing. Pure."""
    one = fleet.of(node)
    if one is None:
        return "the cloud has no nova-compute of that name"
    if one.instances:
        return f"instances are on it ({names(one.instances)})"
    return "it is in service, so that one may start at any moment" if one.enabled else ""


def _why(one: Due) -> str:
    count = len(one.newer)
    packages = f"{count} newer package{'s' if count != 1 else ''}" if count else ""
    boot = f"a boot is due ({one.boot})" if one.boot else ""
    drained = "it was left out of service" if one.drained else ""
    aside = "keepalived does not run" if one.aside else ""
    return ", ".join(filter(None, [packages, boot, drained, aside]))


def turn(name: str, one: Due, *, reboot: bool) -> Chain:
    """One node's turn. Pure."""
    reboot = reboot and not one.here
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
    if one.shares:
        may = Check(holder, partial(nobody_else, host=name), LOADBALANCER)
        away = Check(holder, partial(given_away, host=name), LOADBALANCER, within=SETTLE_SECONDS)
        held = Check(holder, partial(one_of_them_holds, host=name), LOADBALANCER, within=SETTLE_SECONDS)
        if one.role != "db":  # keepalived is among what ran, so this is looked at when it runs again
            parts = [replace(upgrade, until=None), Stage("well", [], hosts(name), until=well)]
        parts = [
            Stage("give the address away", [do(address, here=False)], hosts(name), before=may, until=away),
            *parts[:-1],
            Stage("take it back", [do(address, here=True)], hosts(name), always=True, until=held),
            parts[-1],
        ]
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
    # indented is what one of dnf's would replace
    rows = [line.split() for line in at.get("newer", "").splitlines() if not line.startswith("newer  ")]
    newer = [f"{row[1]} {next(word for word in row if word.startswith('(')).strip('(')}" for row in rows if row[:1] == ["Inst"]]
    newer += [f"{row[1].rpartition('.')[0]} {row[2]}" for row in rows if row[:1] == ["newer"] and len(row) == 4]  # noqa: PLR2004  columns
    units = {word: tuple(at.get(word, "").split()) for word in ("failed", "active")}
    return Due(
        tuple(dict.fromkeys(newer)),
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
    held = holder(task).value if "loadbalancer" in roles else None
    compute, here = task.host.has_parent_group("compute"), task.host.get("connection") == "local"
    return node.done(replace(found, role=roles[0] if roles else "", version=version, held=held, compute=compute, here=here))


def lists(task: Task) -> Result[None]:
    """Ask the sources what they have, where that was not done for six hours."""
    node = Node(task)
    if "fresh" not in node.read(sh(_FRESH, label="how old are the lists")).lines:
        fetch = MANAGERS[family(node).manager].refresh(LOCK_SECONDS)
        node.change(fetch, what="fetch the lists of packages", repeatable=True)
    return node.done()


def upgraded(task: Task) -> Result[Due]:
    """Install what is newer; nothing is taken out, files that an operator changed stay, no service is restarted behind it."""
    node = Node(task)
    now = due(task).value
    if now.newer:
        lines = "".join(f"+{package}\n" for package in now.newer)
        diff = f"--- packages\n+++ packages\n{lines}"
        what = f"upgrade {len(now.newer)} packages"
        newest = MANAGERS[family(node).manager].upgrade(LOCK_SECONDS)
        node.change(newest, what=what, diff=diff, timeout=_UPGRADE_SECONDS)
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
