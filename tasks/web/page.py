"""The page as a visitor sees it: which member answered, and whether they take turns."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nornir_stack.command import sh
from nornir_stack.errors import UsageError
from nornir_stack.node import Node

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

_MARK = "---- nornir-stack: status "
_FETCH = r"""
i=0
while [ $i -lt "$1" ]; do
    curl -s --max-time 20 -w "\n$2%{http_code}\n" http://127.0.0.1/
    i=$((i + 1))
done
"""
_SETTING = re.compile(r"<tr><th>(\w+)</th><td>(.*?)</td></tr>")
_ROW = re.compile(r"<tr>((?:<td [^>]*>.*?</td>)+)</tr>", re.DOTALL)
_CELL = re.compile(r"<td [^>]*>(.*?)</td>", re.DOTALL)
_PROBLEM = re.compile(r'<p id="problem">(.*?)</p>', re.DOTALL)


@dataclass(frozen=True)
class View:
    """The page once. `status` is HTTP's (0: no answer), `member` who answered, `rows` the table's, `size` the cluster's."""

    status: int
    member: str = ""
    size: int = 0
    rows: tuple[tuple[str, ...], ...] = ()
    problem: str = ""


def page(task: Task, *, tries: int = 6) -> Result[tuple[View, ...]]:
    """Observe: fetch the page `tries` times on the web server itself, one after the other."""
    if tries < 1:
        raise UsageError(f"tries is at least 1, not {tries}")
    node = Node(task)
    return node.done(parse(node.read(sh(_FETCH, str(tries), _MARK), timeout=30.0 * tries).stdout))


def members_take_turns(seen: Seen[tuple[View, ...]]) -> list[str]:
    """Every fetch brought the page with its rows, and as many members answered as the cluster has."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    for host, views in seen.items():
        problems += [f"{host}: {problem}" for problem in wrong(views)]
    return problems


def wrong(views: tuple[View, ...]) -> list[str]:
    """What is wrong with what one web server showed, a sentence each."""
    bad = [view for view in views if view.status != 200 or not view.member]  # noqa: PLR2004  HTTP: OK
    if bad:
        first = bad[0]
        why = first.problem or ("no answer" if not first.status else f"HTTP status {first.status}, and no member named")
        return [f"{len(bad)} of {len(views)} fetches failed: {why}"]
    if not all(view.rows for view in views):
        return ["the page shows no row: the table is empty"]
    members = sorted({view.member for view in views})
    size = max(view.size for view in views)
    if len(members) < size:
        return [f"of {size} members only {', '.join(members)} answered in {len(views)} fetches"]
    return []


def parse(said: str) -> tuple[View, ...]:
    """The views from what the fetches printed: each page, then a line with the mark and HTTP's status."""
    views: list[View] = []
    lines: list[str] = []
    for line in said.splitlines():
        if line.startswith(_MARK):
            views.append(_view("\n".join(lines), int(line.removeprefix(_MARK))))
            lines = []
        else:
            lines.append(line)
    return tuple(views)


def _view(body: str, status: int) -> View:
    shown = {name: html.unescape(value) for name, value in _SETTING.findall(body)}
    problem = _PROBLEM.search(body)
    size = shown.get("wsrep_cluster_size", "")
    return View(
        status,
        shown.get("wsrep_node_name", ""),
        int(size) if size.isdigit() else 0,
        tuple(tuple(html.unescape(cell) for cell in _CELL.findall(row)) for row in _ROW.findall(body)),
        html.unescape(problem[1]) if problem else "",
    )
