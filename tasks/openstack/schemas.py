"""The services' databases: made with their users, and gone through the migrations that the installed packages bring."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pymysql

from nornir_stack.command import sh
from nornir_stack.errors import ConnectionFailed, Refused
from nornir_stack.node import Node
from nornir_stack.secret import mask
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.database import native_hash, quoted
from nornir_stack.tasks.openstack.plane import plane_of, user_of
from nornir_stack.tasks.system.packages import packages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.openstack.plane import Plane
    from nornir_stack.tasks.openstack.programs import Program, Schema

LOCAL = "/etc/mysql/mariadb.conf.d/90-openstack.cnf"
_SECONDS = 30
_NO_TABLE, _NO_SCHEMA, _DENIED = 1146, 1049, (1044, 1045)  # ER_NO_SUCH_TABLE, ER_BAD_DB_ERROR, ER_*_ACCESS_DENIED
_HEADS = r"""
for d; do
    echo "== $d"
    for p in /usr/lib/python3*/dist-packages /usr/lib/python3*/site-packages; do
        if [ -d "$p/$d" ]; then grep -rhE '^(down_revision|depends_on|revision) *[:=]' --include='*.py' "$p/$d"; fi
    done
done
:
"""


def local_database(task: Task) -> Result[None]:
    """A MariaDB of the controller's own, which its other hosts reach: where the inventory has no cluster."""
    from nornir_stack.tasks.openstack.applied import applied  # noqa: PLC0415

    node = Node(task)
    plane = plane_of(task.nornir.inventory)
    packages(task, present=("mariadb-server",))
    node.write_file(LOCAL, f"[mysqld]\nbind-address = {plane.address}\nmax_connections = 1000\n", independent=True)
    node.then(applied, unit="mariadb.service", files=[LOCAL])
    return node.done()


def service_databases(task: Task) -> Result[tuple[str, ...]]:
    """A database for each service of the control plane, and its user with its password. The value: the databases.

    Run it on one member of a cluster: the others get it by replication.
    """
    node = Node(task)
    plane = plane_of(task.nornir.inventory)
    sql = Sql(node)
    wanted = tuple(schema.name for program in plane.programs for schema in program.schemas)
    have = {str(row["SCHEMA_NAME"]) for row in sql.read("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA")}
    for user in dict.fromkeys(map(user_of, wanted)):
        _user(sql, user, native_hash(plane.password(f"database {user}").reveal()))
    for schema in wanted:
        if schema not in have:
            sql.change(f"CREATE SCHEMA {quoted(schema)} CHARACTER SET utf8mb3", repeatable=True)
        _grant(sql, schema)
    return node.done(wanted)


def _user(sql: Sql, user: str, wanted: str) -> None:
    rows = sql.read(
        "SELECT authentication_string AS way FROM mysql.user WHERE User = %s AND Host = '%%'", user, independent=True
    )
    if not rows or rows[0]["way"] != wanted:
        verb, what = ("ALTER", "set the password of") if rows else ("CREATE", "create")
        sql.change(f"{verb} USER %s@'%%' IDENTIFIED BY PASSWORD %s", user, wanted, what=f"{what} {user}@%", repeatable=True)


def _grant(sql: Sql, schema: str) -> None:
    user = user_of(schema)
    rows = sql.read(
        "SELECT COUNT(*) AS n FROM mysql.db WHERE User = %s AND Host = '%%' AND Db = %s AND Create_priv = 'Y'",
        user,
        schema,
        independent=True,
    )
    if not int(rows[0]["n"]):
        sql.change(
            f"GRANT ALL ON {quoted(schema)}.* TO %s@'%%'", user, what=f"grant all on {schema} to {user}", repeatable=True
        )


def migrate(node: Node, plane: Plane, program: Program) -> bool:
    """Bring a service's databases to where its installed packages want them; True if there was something to do."""
    folders = list(dict.fromkeys(schema.migrations for schema in program.schemas))
    wanted = heads(node.read(sh(_HEADS, *folders, label="the packages' migrations"), independent=True).stdout)
    behind = [
        schema.name
        for schema in program.schemas
        if _now(node, plane, schema.name) != wanted[schema.migrations] or not _ended(node, plane, schema)
    ]
    if not behind and not any(step.cell and step.cell not in _cells(node, plane) for step in program.sync):
        return False
    for step in program.sync:
        if step.cell and not node.dry_run and step.cell in _cells(node, plane):
            continue
        node.change("runuser", "-u", program.name, "--", *step.argv, what=" ".join(step.argv[:3]), repeatable=not step.cell)
    return True


def _ended(node: Node, plane: Plane, schema: Schema) -> bool:
    """Whether what comes after the migrations was done too."""
    return not schema.last or bool(rows(node, plane, schema.name, f"SELECT 1 FROM {quoted(schema.last)} LIMIT 1"))  # noqa: S608


def heads(text: str) -> dict[str, frozenset[str]]:
    """Folder to the revisions that no other follows or depends on: where a database that went through all stands. Pure."""
    found = {}
    for block in text.split("== ")[1:]:
        folder, _, lines = block.partition("\n")
        all_: set[str] = set()
        before: set[str] = set()
        for line in lines.splitlines():
            (all_ if line.startswith("revision") else before).update(re.findall(r"['\"]([\w-]+)['\"]", line))
        found[folder] = frozenset(all_ - before)
    return found


def _now(node: Node, plane: Plane, schema: str) -> frozenset[str]:
    return frozenset(str(row[0]) for row in rows(node, plane, schema, "SELECT version_num FROM alembic_version"))


def _cells(node: Node, plane: Plane) -> frozenset[str]:
    return frozenset(str(row[0]) for row in rows(node, plane, "nova_api", "SELECT name FROM cell_mappings"))


def rows(node: Node, plane: Plane, schema: str, sql: str) -> list[tuple[Any, ...]]:
    """What a service's own login reads in its database, from this node; nothing where table or database is not there yet.

    Raises Refused where the database does not answer or lets it not in: it is not what the inventory describes.
    """
    where = "{}:{}".format(*plane.database)
    try:
        return node.gate.look(sql, lambda: list(_ask(node, plane, schema, sql)), independent=True)
    except pymysql.MySQLError as error:
        number = error.args[0] if error.args else 0
        if number in {_NO_TABLE, _NO_SCHEMA} or (number in _DENIED and node.dry_run):
            return []
        said = mask(str(error.args[-1] if error.args else error))
        raise Refused(f"the database at {where} does not let {user_of(schema)} read {schema}: {said}") from None
    except (ConnectionFailed, OSError):
        if node.dry_run and node.connection.alive:
            return []
        raise Refused(f"{node.name} does not reach the database at {where}") from None


def _ask(node: Node, plane: Plane, schema: str, sql: str) -> Iterable[tuple[Any, ...]]:
    plug = node.connection.open_socket(plane.database)
    try:
        plug.settimeout(_SECONDS)
        user = user_of(schema)
        link: pymysql.Connection[pymysql.cursors.Cursor] = pymysql.Connection(
            user=user, password=plane.password(f"database {user}").reveal(), database=schema, defer_connect=True
        )
        link.connect(plug)
        with link, link.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    finally:
        plug.close()
