"""`galera.rotate`: a new password for a user of the database, while clients still have the old one."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Plan, do
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.database import native_hash
from nornir_stack.tasks.cluster.observe import member_of, observe_member
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.steps import on_one_member

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result

_NATIVE = "mysql_native_password"
_NEW = "the new password alone"
_BOTH = "the new password and the old one, until this is run with finish=yes once its clients have the new one"


def rotate(*, user: str, finish: bool = False) -> Chain:
    """Let a user log in with the password that the inventory has now, and with the one that it had, until that is finished.

    Put the new password into the inventory, run this (before `galera.form`, which would set the new one alone), give it to
    the clients, then run this with finish=yes. MariaDB takes several ways to log in (10.4); CREATE and ALTER USER replicate.

    user: its name; all its hosts of the inventory.
    finish: the old password is taken away.
    """
    task = do(new_password, user=user, finish=finish)
    return Chain("galera.rotate", Plan("user", observe_member, partial(on_one_member, tasks=(task,), name="rotate"), DB))


def new_password(task: Task, *, user: str, finish: bool) -> Result[dict[str, str]]:
    """The user's ways to log in, on one member, for all. The value: the user with each of its hosts, to what lets it in.

    Raises Refused where there is no such user, or it would be finished before it was begun.
    """
    node = Node(task)
    galera, _ = member_of(node)
    found = [one for one in galera.users if one.name == user]
    if galera.product != "mariadb" or not found:
        what = "no user " + repr(user) if galera.product == "mariadb" else "no second password for a user of Percona"
        raise Refused(f"{node.name}: the inventory has {what}. Users stand in galera: users.")
    sql = Sql(node)
    left: dict[str, str] = {}
    for one in found:
        label = f"{one.name}@{one.host}"
        query = "SELECT Priv FROM mysql.global_priv WHERE User = %s AND Host = %s"
        rows = sql.read(query, one.name, one.host, independent=True)
        if not rows:
            raise Refused(f"{node.name}: the database has no user {label}: galera.form makes it.")
        wanted = native_hash(one.password.reveal())
        privileges = json.loads(rows[0]["Priv"])
        ways = wanted_ways(privileges, wanted, label, finish=finish)
        left[label] = _NEW if len(ways or hashes(privileges, label)) == 1 else _BOTH
        if ways:
            via = " OR ".join([f"{_NATIVE} USING %s"] * len(ways))
            what = f"{label} logs in with the new password{'' if finish else ' and with the old one'}"
            sql.change(f"ALTER USER %s@%s IDENTIFIED VIA {via}", one.name, one.host, *ways, what=what, repeatable=True)
    return node.done(left)


def hashes(privileges: Mapping[str, Any], label: str) -> list[str]:
    """The passwords by which a row of mysql.global_priv lets its user in; `{}` in auth_or stands for the row's own.

    Raises Refused for other ways to log in, which would be lost.
    """
    ways = [way or privileges for way in privileges.get("auth_or", [{}])]
    others = sorted({str(way.get("plugin")) for way in ways} - {_NATIVE})
    if others:
        raise Refused(f"{label} logs in by {', '.join(others)}: only a password's change is known here.")
    return [str(way.get("authentication_string", "")) for way in ways]


def wanted_ways(privileges: Mapping[str, Any], wanted: str, label: str, *, finish: bool) -> list[str]:
    """The hashes to set, the new one first; none where all is as wanted."""
    now = hashes(privileges, label)
    if finish:
        if wanted not in now:
            raise Refused(f"{label} has not the new password yet: run this without finish first.")
        return [] if now == [wanted] else [wanted]
    return [] if wanted in now else [wanted, *now]
