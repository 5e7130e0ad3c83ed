"""The page: what is written into it, and how it is read and judged."""

from __future__ import annotations

import pytest

from nornir_stack.secret import Secret, mask
from nornir_stack.tasks.web.apache import conf_text, page_text, php
from nornir_stack.tasks.web.page import View, parse, wrong
from nornir_stack.tasks.web.settings import Web

WEB = Web(database="d", table="t", db_host="cluster.lab", user="page", password=Secret(literal="it's \\secret"))
GOOD = View(200, "db1", 2, (("1", "It works"),))
PAGE = """<table id="rows">
<tr><td title="id">1</td><td title="test_name">a &lt;b&gt; &amp; c</td></tr>
</table>
<table id="member">
<tr><th>wsrep_node_name</th><td>db1</td></tr>
<tr><th>wsrep_cluster_size</th><td>3</td></tr>
</table>

---- nornir-stack: status 200
<p id="problem">The database cannot be reached: Can&#039;t connect</p>

---- nornir-stack: status 503

---- nornir-stack: status 000
"""


def test_values_stand_in_the_page_as_strings_of_php() -> None:
    """Quotes and backslashes cannot end the string, and the password is masked in that form too."""
    text = page_text(WEB)
    assert r"real_connect('cluster.lab', 'page', 'it\'s \\secret', 'd', 3306)" in text
    assert "secret" not in mask(text).replace("The password", "").replace("nornir_stack", "")
    assert php("a") == "'a'"


def test_the_folder_of_the_page_shows_it_first() -> None:
    """The distribution's own index.html does not come before the page."""
    text = conf_text(WEB)
    assert '<Directory "/var/www/html">' in text
    assert "DirectoryIndex index.php" in text


def test_fetches_are_read() -> None:
    """A page with its rows and member, one with a problem, and no answer at all."""
    assert parse(PAGE) == (
        View(200, "db1", 3, (("1", "a <b> & c"),)),
        View(503, problem="The database cannot be reached: Can't connect"),
        View(0),
    )


@pytest.mark.parametrize(
    ("views", "problem"),
    [
        ((GOOD, View(200, "db2", 2, GOOD.rows)), ""),
        ((GOOD, GOOD), "of 2 members only db1 answered in 2 fetches"),
        ((GOOD, View(503, problem="cannot be reached")), "1 of 2 fetches failed: cannot be reached"),
        ((View(0),), "1 of 1 fetches failed: no answer"),
        ((View(200),), "HTTP status 200, and no member named"),
        ((View(200, "db1", 1),), "the table is empty"),
    ],
)
def test_members_take_turns_on_the_page(views: tuple[View, ...], problem: str) -> None:
    """As many members as the cluster has, each time with rows."""
    found = wrong(views)
    assert len(found) == bool(problem)
    assert all(problem in text for text in found)
