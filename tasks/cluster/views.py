"""Who belongs together: memberships compared across members. An equal UUID alone proves nothing (galera #115)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nornir_stack.seen import Seen
    from nornir_stack.tasks.cluster.member import Member, Wsrep


def words(names: Iterable[str]) -> str:
    """Names as people write them: db1, db2 and db3."""
    listed = list(names)
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if listed[2:] else listed)


def unknown(seen: Seen[Member], lost: Sequence[str] = ()) -> list[str]:
    """Why not enough is known to act, one sentence for each member; empty if everything is known."""
    said = []
    for host in seen.hosts:
        if host not in seen:
            if host not in lost:
                reason = seen.missing.get(host, "it did not answer")
                said.append(f"{host} was not seen ({reason}): it may be the living cluster. Bring it back, or name it as lost.")
            continue
        member = seen[host]
        if host in lost and member.running:
            said.append(f"{host} was named as lost, but it runs. Stop it, or do not name it.")
        elif member.crashing:
            said.append(f"The server on {host} fails and is started again and again: look at its log, then stop its unit.")
        elif member.silent:
            said.append(f"The server on {host} answers no SQL: it may be Primary. Look at it (log, login), or stop it.")
        elif member.standalone and (member.schemas or not member.position.blank):
            said.append(
                f"{host} runs without Galera on data of its own: what it writes, nobody else knows. Stop it, or set wsrep_on."
            )
        elif not member.mounted and not member.running:
            said.append(f"The data disk of {host} is not mounted, so its data is not known. Mount it.")
        elif not member.installed and not member.running:
            said.append(f"No database server is installed on {host}. Install it first.")
    return said


def components(seen: Seen[Member]) -> list[list[str]]:
    """The Primary components that live, largest first; more than one is a split brain.

    Members belong together when one lists the other: a member that was looked at before the other joined is no split.
    """
    primary = {host: member.wsrep for host, member in seen.items() if member.primary and member.wsrep}
    groups: list[list[str]] = []
    for host in primary:
        near = [group for group in groups if any(_together(primary, host, other) for other in group)]
        merged = [name for group in near for name in group]
        groups = [group for group in groups if group not in near] + [[*merged, host]]
    return sorted(groups, key=len, reverse=True)


def _together(primary: Mapping[str, Wsrep], first: str, second: str) -> bool:
    one, two = primary[first], primary[second]
    if one.position.uuid != two.position.uuid:
        return False
    if one.own and two.own:
        return one.own in two.listed or two.own in one.listed
    return max(wsrep.size for wsrep in primary.values()) >= len(primary)


def view_differs(seen: Seen[Member], host: str, among: Sequence[str]) -> list[str]:
    """In what the membership that `host` reports differs from exactly `among`."""
    wsrep = seen[host].wsrep
    if wsrep is None:
        return []
    wanted = len(among) + wsrep.arbitrators
    if wsrep.size != wanted:
        return [f"{host} counts {wsrep.size} members where {wanted} live."]
    others = {name: seen[name].wsrep for name in among}
    absent = [name for name, other in others.items() if other and other.own and wsrep.own and other.own not in wsrep.listed]
    return [f"{host} does not list {words(absent)}."] if absent else []
