"""Schemas, users and grants: made once on one member, and replicated; and the row that proves that they are.

CREATE USER and GRANT replicate (total order isolation); writing into the mysql tables would not.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from nornir_stack.errors import DatabaseFailed, Refused
from nornir_stack.node import Node
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.observe import look, member_of
from nornir_stack.tasks.cluster.settings import User

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.secret import Secret
    from nornir_stack.tasks.cluster.member import Member
    from nornir_stack.tasks.cluster.settings import Galera

PROBE_SCHEMA = "nornir_stack"
_ALL, _OPTION = "ALL PRIVILEGES", "GRANT OPTION"
_GRANT = re.compile(r"(.*?) ON (.*?)( WITH GRANT OPTION)?", re.IGNORECASE)
# Privileges have several names, and SHOW GRANTS prints the first of them (MariaDB's manual, GRANT).
_SHOWN = {
    "ALL": _ALL,
    "REPLICATION CLIENT": "BINLOG MONITOR",
    "REPLICA MONITOR": "SLAVE MONITOR",
    "REPLICATION REPLICA": "REPLICATION SLAVE",
    "REPLICATION REPLICA ADMIN": "REPLICATION SLAVE ADMIN",
    "DELETE VERSIONING ROWS": "DELETE HISTORY",
}
TRANSFER_GRANTS = ("RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, REPLICA MONITOR ON *.*",)  # mariabackup's manual
_UNKNOWN_TABLE = (1146, 1049)  # ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR
_WAITED_IN_VAIN = 1205  # ER_LOCK_WAIT_TIMEOUT: for a causal read, after repl.causal_read_timeout (30 s)
_PROBE = f"SET STATEMENT wsrep_sync_wait = 1 FOR SELECT mark FROM {PROBE_SCHEMA}.probe"  # noqa: S608  a constant


def databases(task: Task) -> Result[tuple[str, ...]]:
    """The schemas and users of the settings, with exactly these passwords and at least these grants. The value: users.

    Run it on one member; the others get it by replication. Users that stand nowhere in the settings are left alone.
    """
    node = Node(task)
    galera, _ = member_of(node)
    sql = Sql(node)
    have = {str(row["SCHEMA_NAME"]) for row in sql.read("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")}
    for schema in galera.schemas:
        if schema not in have:
            sql.change(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}", repeatable=True)
    if galera.root_password is not None:
        _root(sql, galera, galera.root_password)
    for user in galera.users:
        _user(sql, galera, user)
    return node.done(tuple(f"{user.name}@{user.host}" for user in galera.users))


def transfer_user(task: Task) -> Result[None]:
    """The user as whom a donor's mariabackup logs in, there before the first joiner asks for a copy."""
    node = Node(task)
    galera, _ = member_of(node)
    if galera.sst_method == "rsync" or galera.sst_password is None:
        return node.skipped("a copy by rsync needs no login")
    _user(Sql(node), galera, User(name=galera.sst_user, host="localhost", password=galera.sst_password, grants=TRANSFER_GRANTS))
    return node.done()


def quoted(name: str) -> str:
    """An identifier in backticks."""
    return "`" + name.replace("`", "``") + "`"


def native_hash(password: str) -> str:
    """mysql_native_password's hash (MariaDB manual, PASSWORD()): it travels instead of the password, into no log."""
    inner = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return "*" + hashlib.sha1(inner, usedforsecurity=False).hexdigest().upper()


def _root(sql: Sql, galera: Galera, password: Secret) -> None:
    """root@localhost logs in by the socket without a password, and elsewhere (TCP to 127.0.0.1) with it."""
    if galera.product != "mariadb":
        return
    wanted = native_hash(password.reveal())
    rows = sql.read("SELECT Priv FROM mysql.global_priv WHERE User = 'root' AND Host = 'localhost'", independent=True)
    ways = json.loads(rows[0]["Priv"]) if rows else {}
    if wanted not in json.dumps(ways):
        sql.change(
            "ALTER USER 'root'@'localhost' IDENTIFIED VIA unix_socket OR mysql_native_password USING %s",
            wanted,
            what="set the password of root@localhost",
            repeatable=True,
        )


def _user(sql: Sql, galera: Galera, user: User) -> None:
    label = f"{user.name}@{user.host}"
    rows = sql.read(
        "SELECT authentication_string AS way FROM mysql.user WHERE User = %s AND Host = %s",
        user.name,
        user.host,
        independent=True,
    )
    if galera.product == "mariadb":
        wanted = native_hash(user.password.reveal())
        if not rows or rows[0]["way"] != wanted:
            verb = "ALTER" if rows else "CREATE"
            what = f"set the password of {label}" if rows else f"create the user {label}"
            sql.change(f"{verb} USER %s@%s IDENTIFIED BY PASSWORD %s", user.name, user.host, wanted, what=what, repeatable=True)
    elif not rows:  # Percona 8 salts its hashes: whether a password is the same cannot be told, so it is set once
        create = "CREATE USER %s@%s IDENTIFIED BY %s"
        sql.change(create, user.name, user.host, user.password.reveal(), what=f"create the user {label}", repeatable=True)
    have = _grants(sql, user) if rows else frozenset()
    for grant in user.grants:
        if not granted(grant, have):
            sql.change(f"GRANT {grant} TO %s@%s", user.name, user.host, what=f"grant {grant} to {label}", repeatable=True)


def _grants(sql: Sql, user: User) -> frozenset[tuple[str, str]]:
    rows = sql.read("SHOW GRANTS FOR %s@%s", user.name, user.host, independent=True)
    return frozenset(one for row in rows for value in row.values() for one in privileges(shown_grant(str(value))))


def shown_grant(line: str) -> str:
    """What SHOW GRANTS prints, without the user: `SELECT ON shop.* WITH GRANT OPTION`."""
    return re.sub(r"^GRANT (.*?) TO .*?( WITH GRANT OPTION)?$", r"\1\2", line)


def granted(grant: str, have: frozenset[tuple[str, str]]) -> bool:
    """Whether what SHOW GRANTS printed has all of a grant."""
    return all(one in have or ((_ALL, one[1]) in have and one[0] != _OPTION) for one in privileges(grant))


def privileges(grant: str) -> frozenset[tuple[str, str]]:
    """Each privilege of a grant with what it is on, as SHOW GRANTS writes it and as people do, made comparable.

    >>> privileges("ALL PRIVILEGES ON `shop`.*") == privileges("all on shop.*")
    True
    """
    plain = re.sub(r"\s+", " ", grant.replace("`", "").replace(chr(92), "")).strip()
    found = _GRANT.fullmatch(plain)
    what, target, option = found.groups() if found else (plain, "", None)
    words = {one.strip().upper() for one in re.findall(r"[^,(]+(?:\([^)]*\))?", what)} | ({_OPTION} if option else set())
    return frozenset((_SHOWN.get(word, word), target) for word in words if word)


# The proof that members replicate: a row for each configuration of the cluster, read on every member.


def write_probe(task: Task) -> Result[str]:
    """A row that names the cluster's present configuration, written on this member unless it is there. The value: its text."""
    node = Node(task)
    mark = _mark(look(node))
    sql = Sql(node)
    if mark in _rows(sql):
        return node.done(mark)
    sql.change(f"CREATE SCHEMA IF NOT EXISTS {PROBE_SCHEMA}", repeatable=True)
    sql.change(f"CREATE TABLE IF NOT EXISTS {PROBE_SCHEMA}.probe (mark VARCHAR(120) PRIMARY KEY)", repeatable=True)
    sql.change(f"DELETE FROM {PROBE_SCHEMA}.probe", repeatable=True)  # noqa: S608  a constant
    sql.change(f"INSERT INTO {PROBE_SCHEMA}.probe (mark) VALUES (%s)", mark, repeatable=True)  # noqa: S608  a constant
    return node.done(mark)


def read_probe(task: Task) -> Result[str]:
    """The row, read here after waiting for all that was written elsewhere. Raises Refused where it is not here."""
    node = Node(task)
    mark = _mark(look(node))
    if mark not in _rows(Sql(node)):
        raise Refused(f"{node.name}: a row that was written on another member is not here: it does not replicate")
    return node.done(mark)


def _mark(now: Member) -> str:
    if now.wsrep is None or not now.primary:
        raise Refused("this member is not Primary: nothing can be proved on it")
    return f"{now.wsrep.position.uuid} configuration {now.wsrep.conf_id} of {now.wsrep.size}"


def _rows(sql: Sql) -> frozenset[str]:
    """A read that must see another member's write waits for it (wsrep_sync_wait, Galera manual)."""
    try:
        rows = sql.read(_PROBE)
    except DatabaseFailed as error:
        if error.code in _UNKNOWN_TABLE:
            return frozenset()
        if error.code == _WAITED_IN_VAIN:
            raise Refused(
                "what others wrote was not applied here within 30 s: SHOW PROCESSLIST on it says what its appliers wait for"
            ) from error
        raise
    return frozenset(str(row["mark"]) for row in rows)
