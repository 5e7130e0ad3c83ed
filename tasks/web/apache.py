"""Apache with PHP, and the page that shows which member answered."""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nornir_stack.node import Node
from nornir_stack.secret import Secret
from nornir_stack.settings import settings_of
from nornir_stack.tasks.system.facts import family
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import reload, service, unit_state
from nornir_stack.tasks.system.templates import render
from nornir_stack.tasks.web.settings import Web

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result

_GROUPS = {"debian": "www-data", "redhat": "apache"}
_CONF = "nornir-stack-page.conf"


def apache(task: Task) -> Result[str]:
    """Have Apache with PHP serve the page at `/`, now and after a boot; the value is the page's path.

    The page holds the password of a database user who may only read: its mode lets the web server's group read it, and
    nobody else.
    """
    node = Node(task)
    mine = settings_of(task.host, Web)
    wanted, conf = page_text(mine), conf_text(mine)
    kind = family(node)
    unit = kind.unit("apache")
    packages(task, present=[*kind.package("apache"), *kind.package("apache-php"), "curl"])
    # in a dry run on an empty node the folders come with the packages, and nothing in them is ours
    node.write_file(mine.page, wanted, mode="0640", owner=f"root:{_GROUPS[kind.name]}", independent=True)
    moved = node.write_file(f"{kind.path('apache-sites')}/{_CONF}", conf, independent=True)
    if moved:
        node.then(_reload_if_it_runs, unit=unit)
    node.then(service, unit=unit, state="started", enabled=True)
    return node.done(mine.page)


def _reload_if_it_runs(task: Task, *, unit: str) -> Result[None]:
    if unit_state(task, unit=unit).value.running:
        reload(task, unit=unit)
    return Node(task).done()


def page_text(mine: Web) -> str:
    """The page, with the password in it, which diffs and reports show masked."""
    values = {
        "db_host": php(mine.db_host),
        "user": php(mine.user),
        "password": php(mine.password),
        "database": php(mine.database),
        "db_port": mine.db_port,
        "table": mine.table,
    }
    return render("page.php.j2", _template("page.php.j2"), values)


def conf_text(mine: Web) -> str:
    """Apache's configuration for the folder of the page."""
    page = PurePosixPath(mine.page)
    return render("apache.conf.j2", _template("apache.conf.j2"), {"folder": page.parent, "name": page.name})


def php(value: str | Secret) -> str | Secret:
    r"""A string of PHP in single quotes, where only the backslash and the quote mean something.

    >>> print(php("it's"))
    'it\'s'
    """
    if isinstance(value, Secret):
        # registered in the form in which it will stand in the file, so that a diff masks that too
        inner = str(php(value.reveal()))[1:-1]
        Secret(literal=inner).reveal()
        return Secret(literal=f"'{inner}'")
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _template(name: str) -> str:
    return files("nornir_stack.tasks.web").joinpath(f"templates/{name}").read_text()
